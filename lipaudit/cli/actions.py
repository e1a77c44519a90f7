"""Where the gate runs in GitHub Actions: annotations beside the run, its outputs, and the report as its summary."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lipaudit.cli.files import append_whole

if TYPE_CHECKING:
    from lipaudit.report.report import AuditReport

LARGEST_SUMMARY = 2**20 - 2**12
"""GitHub drops what a step's summary has beyond 1 MiB, all of it."""


def announce(report: AuditReport, *, annotate: bool) -> None:
    """Says there what the report says: annotations on stderr (the runner reads both streams), outputs, a summary.

    Nothing where GITHUB_ACTIONS is not "true". Raises UsageError for a summary that cannot be written.
    """
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return
    if annotate:
        from lipaudit.render.github import GithubReporter

        sys.stderr.write(GithubReporter().render(report))
        sys.stderr.flush()
    if output := os.environ.get("GITHUB_OUTPUT"):
        append_whole(Path(output), _outputs(report).encode())
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        path = Path(summary)
        size = path.stat().st_size if path.is_file() else 0
        append_whole(path, _summary(report, LARGEST_SUMMARY - size))


def _outputs(report: AuditReport) -> str:
    """For later steps of a workflow: only words and numbers of our own, nothing that a model's file says."""
    from lipaudit.render import numbers

    found: dict[str, str] = {"verdict": report.verdict or ""}
    upper = None if report.upper is None else report.upper.bound
    if upper is not None and upper.finite:
        found["upper"] = numbers.upper(upper.value, 6)
    if report.lower is not None:
        found["lower"] = numbers.lower(report.lower.bound.value, 6)
    return "".join(f"{name}={value}\n" for name, value in found.items())


def _summary(report: AuditReport, room: int) -> bytes:
    """The whole report in markdown; where that is too long only its beginning and its end, whole blocks of each."""
    from lipaudit.render.markdown import MarkdownReporter

    text = MarkdownReporter().render(report) + "\n"
    if len(text.encode()) <= room:
        return text.encode()
    first, last = text.split("\n\n", 1)[0], text.rstrip("\n").rsplit("\n\n", 1)[-1]
    return f"{first}\n\nThe whole report is too long for this page.\n\n{last}\n\n".encode()
