"""Where a report goes: rendered to stdout, written to files, and turned into an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

from lipaudit.cli import stdout
from lipaudit.cli.files import check_target, write_whole
from lipaudit.cli.options import Output
from lipaudit.errors import InternalError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from lipaudit.report.report import AuditReport

REPORTS = ("text", "json", "markdown")
DATA = ("csv", "npz")
_NARROW, _WIDE, _WIDTH = 60, 240, 80


@final
@dataclass(frozen=True, slots=True)
class Target:
    """A file to write, and its format."""

    kind: str
    path: Path


def targets(output: Output, protected: Iterable[Path], data: tuple[str, ...] = ()) -> list[Target]:
    """What -o asks for, looked at before the audit begins; data: the formats of its data. Raises UsageError."""
    known = (*REPORTS, *data)
    protected, found = list(protected), list[Target]()
    for spec in output.files or ():
        kind, colon, name = spec.partition(":")
        if not colon or not name or kind not in known:
            raise UsageError(f"-o {spec!r} is not FORMAT:PATH with a format of {', '.join(known)}")
        target = Target(kind, Path(name))
        check_target(target.path, [*protected, *(other.path for other in found)])
        if any(other.path == target.path for other in found):
            raise UsageError(f"-o {spec!r}: two reports cannot be one file")
        found.append(target)
    return found


def publish(report: AuditReport, output: Output, wanted: list[Target], labels: np.ndarray | None = None) -> int:
    """Writes the files, prints the report, and gives the exit code."""
    for target in wanted:
        if target.kind in DATA and report.samples is None and report.radii is None and report.lower is None:
            continue  # a refused model has no data; the report says why
        write_whole(target.path, _content(report, target.kind, output, labels))
    stdout.write(_rendered(report, output.output_format, _width(), _colored(output.color), output.verbose))
    return exit_code(report)


def note(text: str, output: Output) -> None:
    """A word on stderr beside the report."""
    if not output.quiet:
        from lipaudit.render.safe import safe

        sys.stderr.write(f"lipaudit: note: {safe(text)}\n")


def exit_code(report: AuditReport) -> int:
    """0 audited (gate: passed), 1 a rule failed, 3 something was not audited or not proven, 4 a fault of ours."""
    if any(finding.code == "LIP901" for finding in report.findings):
        return InternalError.exit_code
    if report.command == "gate":
        return {"pass": 0, "fail": 1}.get(report.verdict or "", 3)
    if any(finding.kind.severity == "error" for finding in report.findings):
        return 3
    bound = None if report.upper is None else report.upper.bound
    if report.command in ("bound", "certify") and (bound is None or not bound.finite):
        return 3
    return 0


def _content(report: AuditReport, kind: str, output: Output, labels: np.ndarray | None) -> bytes:
    from lipaudit.cli.data import csv_bytes, npz_bytes

    if kind == "csv":
        return csv_bytes(report, labels)
    if kind == "npz":
        return npz_bytes(report, labels)
    return _rendered(report, kind, 120, False, output.verbose).encode("utf-8")


def _rendered(report: AuditReport, kind: str, width: int, color: bool, verbose: bool) -> str:
    from lipaudit.render.json import JsonReporter
    from lipaudit.render.markdown import MarkdownReporter
    from lipaudit.render.text import TextReporter

    if kind == "json":
        return JsonReporter().render(report)
    return (MarkdownReporter(verbose) if kind == "markdown" else TextReporter(width, color, verbose)).render(report)


def _width() -> int:
    """COLUMNS where somebody set it, 80 otherwise: the same report in a terminal, a pipe and a log."""
    given = os.environ.get("COLUMNS", "")
    return min(max(int(given), _NARROW), _WIDE) if given.isdecimal() else _WIDTH


def _colored(wanted: str) -> bool:
    """Colours: as asked; for auto NO_COLOR, then CLICOLOR_FORCE, then whether a person is looking."""
    if wanted != "auto":
        return wanted == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("CLICOLOR_FORCE", "0") not in ("", "0"):
        return True
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
