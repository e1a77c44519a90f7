"""`lipaudit init`: a commented configuration to start from, for a given model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lipaudit.cli import stdout
from lipaudit.cli.files import check_target, write_whole
from lipaudit.cli.options import Audit, Machine, expanded
from lipaudit.cli.settings import build
from lipaudit.errors import UsageError
from lipaudit.gate.policy import ModelPolicy

if TYPE_CHECKING:
    from lipaudit.report.report import AuditReport


@expanded
def init(
    audit: Audit,
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="The ONNX file to judge.")],
    file: Annotated[
        Path, typer.Option("--file", metavar="FILE", help="The configuration to write; never over an existing file.")
    ] = Path("lipaudit.toml"),
) -> int:
    """Write a commented configuration for a model.

    What the options say is filled in; the rest stands there as comments. A model that cannot be audited gets none
    (exit 3; `lipaudit check` lists the reasons).
    """
    if file.exists() or file.is_symlink():
        raise UsageError(f"{file} exists: give another name with --file, or remove it")
    check_target(file, [model])
    settings = build(audit, Machine(), ModelPolicy(model=model))

    from lipaudit import audit as rooms
    from lipaudit.cli.starting import configuration

    report = rooms.check(model, settings)
    write_whole(file, configuration(report, audit, model, file).encode("utf-8"))
    stdout.write(_next_steps(report, audit, file))
    return 0


def _next_steps(report: AuditReport, audit: Audit, file: Path) -> str:
    from lipaudit.render.safe import safe

    where = "" if file == Path("lipaudit.toml") else f" --config {safe(str(file))}"
    steps = [] if audit.preprocess is not None else [f"declare the preprocessing in {safe(str(file))}"]
    if report.findings and audit.domain is None:
        steps.append("declare the domain: without it the constant is infinite")
    steps += [f"lipaudit baseline write{where}", f"lipaudit gate{where}"]
    return (
        "\n".join([f"wrote {safe(str(file))}", "next:", *(f"  {n}. {step}" for n, step in enumerate(steps, 1))]) + "\n"
    )
