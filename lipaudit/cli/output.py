"""Where a report goes: rendered to stdout, written to files, and turned into an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, final

from lipaudit.cli import stdout
from lipaudit.cli.actions import announce
from lipaudit.cli.files import check_target, write_whole
from lipaudit.cli.options import Output
from lipaudit.errors import InternalError, UsageError
from lipaudit.render import FORMATS, PER_SAMPLE, reporter

if TYPE_CHECKING:
    from lipaudit.report.report import AuditReport

DATA = (*PER_SAMPLE, "npz")
"""What an audit of samples can also write; `bound` has no samples, but a witness for npz."""

_EXTRAS = {"html": ("html", ("jinja2", "matplotlib"))}
"""The extra that a format needs, and what it installs."""

INTERRUPTED = 130

_NARROW, _WIDE, _WIDTH = 60, 240, 80


@final
@dataclass(frozen=True, slots=True)
class Target:
    """A file to write, its format, and the files that it must not replace."""

    kind: str
    path: Path
    protected: tuple[Path, ...] = ()


def targets(output: Output, protected: Iterable[Path], data: tuple[str, ...] = ()) -> list[Target]:
    """What -o asks for, looked at before the audit begins; data: the formats of its data. Raises UsageError."""
    known = (*(name for name in FORMATS if name not in PER_SAMPLE), *data)
    if output.output_format not in known:
        raise UsageError(f"--output-format {output.output_format} has one row a sample, and this command looks at none")
    _installed(output.output_format)
    inputs, found = tuple(protected), list[Target]()
    for spec in output.files or ():
        kind, colon, name = spec.partition(":")
        if not colon or not name or kind not in known:
            raise UsageError(f"-o {spec!r} is not FORMAT:PATH with a format of {', '.join(known)}")
        _installed(kind)
        target = Target(kind, Path(name), inputs)
        check_target(target.path, [*inputs, *(other.path for other in found)])
        if any(other.path.absolute() == target.path.absolute() for other in found):
            raise UsageError(f"-o {spec!r}: two reports cannot be one file")
        found.append(target)
    return found


def _installed(kind: str) -> None:
    extra, modules = _EXTRAS.get(kind, ("", ()))
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise UsageError(f"the {kind} report needs {' and '.join(missing)}: pip install 'lipaudit[{extra}]'")


def publish(report: AuditReport, output: Output, wanted: list[Target]) -> int:
    """Writes the files, prints the report, and gives the exit code.

    A file that cannot be written does not keep the others from being written, nor the report from being printed; it is
    an error after them. Raises UsageError.
    """
    failed = [said for target in wanted if (said := _written(report, target, output))]
    stdout.write(_rendered(report, output.output_format, _width(), _colored(output.color), output.verbose))
    if report.command == "gate":
        announce(report, annotate=output.output_format != "github" and not output.quiet)
    if failed:
        raise UsageError("; ".join(failed))
    return exit_code(report)


def _written(report: AuditReport, target: Target, output: Output) -> str:
    """Why the file could not be written; empty where it was."""
    content = _content(report, target.kind, output)
    if content is None:
        note(f"{target.path} is not written: this audit has no data", output)
        return ""
    try:
        check_target(target.path, target.protected)  # again: the audit took its time, and links can be moved
        write_whole(target.path, content)
    except UsageError as error:
        return str(error)
    return ""


def note(text: str, output: Output) -> None:
    """A word on stderr beside the report."""
    if not output.quiet:
        from lipaudit.render.safe import safe

        sys.stderr.write(f"lipaudit: note: {safe(text)}\n")


def exit_code(report: AuditReport) -> int:
    """0 audited (gate: passed), 1 a rule failed, 3 something not audited or proven, 4 our fault, 130 interrupted."""
    if any(finding.code == "LIP901" for finding in report.findings):
        return InternalError.exit_code
    if any(finding.code == "LIP401" for finding in report.findings):
        return INTERRUPTED
    if report.command == "gate":
        return {"pass": 0, "fail": 1}.get(report.verdict or "", 3)
    if any(finding.severity == "error" for finding in report.findings):
        return 3
    if report.modulus is not None:
        return 0 if report.modulus.slope.finite and report.modulus.jump.finite else 3
    bound = None if report.upper is None else report.upper.bound
    if report.command in ("bound", "certify") and (bound is None or not bound.finite):
        return 3
    return 0


def _content(report: AuditReport, kind: str, output: Output) -> bytes | None:
    """The bytes of a file; None where there is no data for it."""
    if kind == "npz":
        from lipaudit.cli.data import npz_bytes

        return npz_bytes(report)
    if kind in PER_SAMPLE:
        from lipaudit.render.columns import columns

        if not any(map(columns, report.parts or (report,))):
            return None
    return _rendered(report, kind, 120, False, output.verbose).encode("utf-8")


def _rendered(report: AuditReport, kind: str, width: int, color: bool, verbose: bool) -> str:
    if kind == "text":
        from lipaudit.render.text import TextReporter

        return TextReporter(width, color, verbose).render(report)
    if kind == "markdown":
        from lipaudit.render.markdown import MarkdownReporter

        return MarkdownReporter(verbose).render(report)
    return reporter(kind)().render(report)


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
