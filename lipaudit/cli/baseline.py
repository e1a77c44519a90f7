"""`lipaudit baseline write|diff`: the numbers a team has accepted, and what has become of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lipaudit.cli.config import sources
from lipaudit.cli.files import check_target, write_whole
from lipaudit.cli.gate import judged
from lipaudit.cli.options import Audit, Machine, Output, expanded
from lipaudit.cli.output import note, publish, targets
from lipaudit.cli.progress import progress
from lipaudit.errors import UsageError
from lipaudit.gate.policy import BASELINE, ModelPolicy

if TYPE_CHECKING:
    from lipaudit.cli.output import Target
    from lipaudit.gate.baseline import Baseline, Entry
    from lipaudit.report.report import AuditReport

baseline = typer.Typer(
    help="Record numbers that limits are relative to.",
    rich_markup_mode=None,
    no_args_is_help=False,
)

_Models = Annotated[
    list[Path] | None,
    typer.Argument(metavar="MODEL", help="ONNX files to audit instead of those the configuration names."),
]
_File = Annotated[
    Path | None,
    typer.Option(
        "--file", metavar="FILE", help=f"The baseline file (default: the configuration's baseline, or {BASELINE})."
    ),
]


@baseline.command()
@expanded
def write(machine: Machine, output: Output, models: _Models = None, file: _File = None) -> int:
    """Record the audits' numbers, rounded outward, and the settings that made them.

    Records of other models in the file are kept. A model that cannot be audited is not recorded (exit 3).
    """
    path, chosen = _where(file, judged(models or [], machine, "baseline"), machine)
    read = _read(chosen, machine)
    check_target(path, read)
    wanted = targets(output, [*read, path])
    if any(target.path.resolve() == path.resolve() for target in wanted):
        raise UsageError(f"a report and the baseline cannot be one file: {path}")
    report, old, entries = _audited(path, chosen, machine, output)
    if entries:
        from lipaudit.cli.recording import baseline_bytes

        write_whole(path, baseline_bytes(old, entries, path))
        count = sum(len(entry.values) for entry in entries)
        note(f"recorded {count} numbers of {', '.join(entry.model for entry in entries)} in {path}", output)
    return publish(report, output, wanted)


@baseline.command()
@expanded
def diff(machine: Machine, output: Output, models: _Models = None, file: _File = None) -> int:
    """Audit again and show every number beside its record; judges nothing."""
    path, chosen = _where(file, judged(models or [], machine, "baseline"), machine)
    if not path.is_file():
        raise UsageError(f"there is no baseline {path} yet: lipaudit baseline write")
    wanted: list[Target] = targets(output, [*_read(chosen, machine), path])
    return publish(_audited(path, chosen, machine, output)[0], output, wanted)


def _where(file: Path | None, chosen: list[ModelPolicy], machine: Machine) -> tuple[Path, list[ModelPolicy]]:
    """The one baseline file of these models."""
    given = {entry.baseline for entry in chosen if entry.baseline is not None} if file is None else {file}
    if len(given) > 1:
        raise UsageError(f"the models have {len(given)} baseline files; say which with --file")
    folder = Path() if machine.config is None else machine.config.parent
    return given.pop() if given else folder / BASELINE, chosen


def _read(chosen: list[ModelPolicy], machine: Machine) -> list[Path]:
    return [path for entry in chosen for path in sources(entry, Audit(), machine, entry.inputs, entry.labels)]


def _audited(
    path: Path, chosen: list[ModelPolicy], machine: Machine, output: Output
) -> tuple[AuditReport, Baseline | None, list[Entry]]:
    from lipaudit.cli.judging import grouped, recorded_report
    from lipaudit.cli.recording import read_baseline
    from lipaudit.cli.settings import build

    old = read_baseline(path)
    reports, entries = [], []
    for policy in chosen:
        settings = build(Audit(), machine, policy)
        with progress(output) as tell:
            report, entry = recorded_report(policy, settings, tell, path, old)
        reports.append(report)
        entries += [] if entry is None else [entry]
    return grouped(reports), old, entries
