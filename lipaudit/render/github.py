"""The findings as workflow commands of GitHub Actions, which shows them beside the run and in a pull request."""

from __future__ import annotations

from typing import ClassVar, final

from lipaudit.render import words
from lipaudit.render.base import Reporter
from lipaudit.render.problems import Problem, problems
from lipaudit.render.safe import safe
from lipaudit.report.report import AuditReport

_KINDS = {"error": "error", "warning": "warning", "note": "notice"}
_LONGEST = 2000


@final
class GithubReporter(Reporter):
    """One line a finding, errors first (GitHub shows ten of a kind in a step), after the headline of each model.

    A name is data here: what would end a property or a message is written as %XX, as the runner reads it back.
    """

    name: ClassVar[str] = "github"
    media_type: ClassVar[str] = "text/plain; charset=utf-8"

    def render(self, report: AuditReport) -> str:
        lines = [_headline(part) for part in report.parts or (report,)]
        lines += [_annotation(problem) for problem in problems(report)]
        return "".join(f"{line}\n" for line in lines)


def _headline(report: AuditReport) -> str:
    verdict = "" if report.verdict is None else f"verdict {report.verdict}: "
    return _command("notice", "lipaudit", report.model.path, verdict + words.headlines(report)[0])


def _annotation(problem: Problem) -> str:
    subject = f"{safe(problem.subject, 160)}: " if problem.subject else ""
    said = f"{subject}{safe(problem.message, _LONGEST)}. {problem.remedy}"
    return _command(_KINDS[problem.severity], problem.title, problem.path, said)


def _command(kind: str, title: str, path: str, message: str) -> str:
    where = f"file={_property(path)}," if path else ""
    return f"::{kind} {where}title={_property(title)}::{_data(safe(message, 2 * _LONGEST))}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(safe(text, 400)).replace(":", "%3A").replace(",", "%2C")
