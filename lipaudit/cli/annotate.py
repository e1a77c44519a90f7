"""`lipaudit annotate`: the gains and the bracket in the model's own metadata, for viewers such as Netron."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lipaudit.cli import stdout
from lipaudit.cli.config import resolve, sources
from lipaudit.cli.files import check_target, write_whole
from lipaudit.cli.options import Audit, Effort, Machine, ModelArgument, Output, expanded
from lipaudit.cli.output import exit_code
from lipaudit.cli.settings import build
from lipaudit.errors import InternalError, UsageError

if TYPE_CHECKING:
    from lipaudit.report.report import AuditReport


@expanded
def annotate(
    audit: Audit,
    machine: Machine,
    effort: Effort,
    out: Annotated[Path, typer.Option("-o", "--output-file", metavar="OUT.onnx", help="The annotated copy to write.")],
    model: ModelArgument = None,
) -> int:
    """Copy a model with its gains as metadata.

    For viewers such as Netron; the function stays as it is. Never written over the model. Exit code 3 where
    no finite bound could be written.
    """
    path, policy = resolve(model, machine, Output(quiet=True))
    read = sources(policy, audit, machine)
    if out.resolve() == path.resolve() or out.suffix.lower() != ".onnx":
        raise UsageError(f"-o {out}: name another file than the model, ending in .onnx")
    check_target(out, read)
    settings = build(audit, machine, policy, effort=effort)

    from lipaudit import audit as rooms
    from lipaudit.loading.annotate import annotated
    from lipaudit.render import words
    from lipaudit.render.safe import safe

    report = rooms.bound(path, settings)
    code = exit_code(report)
    if code == InternalError.exit_code:
        raise InternalError(f"{path}: an upper bound is contradicted, nothing was written; please report the model")
    write_whole(out, annotated(path, report.model.sha256, _facts(report), _nodes(report)))
    stdout.write(f"{words.headlines(report)[0]}\nwrote {safe(str(out), 400)}\n")
    return code


def _facts(report: AuditReport) -> dict[str, str]:
    """What is said of the model as a whole. The hash is that of the file without these notes."""
    from lipaudit.render import numbers, words

    upper = None if report.upper is None else report.upper.bound
    facts = {
        "version": report.run.versions.get("lipaudit", ""),
        "audited_sha256": report.model.sha256,
        "norms": words.norms(report.problem),
        "region": words.region(report.problem),
        "units": report.problem.units,
        "lipschitz_upper": "" if upper is None or not upper.finite else f"{numbers.upper(upper.value, 6)} (certified)",
        "lipschitz_lower": "" if report.lower is None else f"{numbers.lower(report.lower.bound.value, 6)} (attained)",
    }
    return {key: value for key, value in facts.items() if value}


def _nodes(report: AuditReport) -> dict[str, dict[str, str]]:
    """The gain at every node; nodes that are bounded together have that of all of them, and say so."""
    from lipaudit.render import numbers, words

    found: dict[str, dict[str, str]] = {}
    for layer in report.layers:
        gain = "no finite bound" if not layer.gain.finite else f"<= {numbers.upper(layer.gain.value, 6)} (certified)"
        notes = {"gain": gain, "norms": layer.norms or words.norms(report.problem)}
        if len(layer.nodes) > 1:
            notes["of"] = f"{layer.op}, {len(layer.nodes)} nodes together"
        found |= dict.fromkeys(layer.nodes, notes)
    return found
