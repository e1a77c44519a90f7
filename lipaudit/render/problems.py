"""What stands in the way of a clean exit, for the formats that other tools read: JUnit, SARIF, GitHub annotations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import final

from lipaudit.render import words
from lipaudit.render.sections import comparison, rule_note
from lipaudit.report.codes import Severity
from lipaudit.report.finding import CODES, Finding
from lipaudit.report.report import AuditReport
from lipaudit.report.rule import RuleResult

NOT_PROVEN = "LIP202"


@final
@dataclass(frozen=True, slots=True)
class Problem:
    """A finding about one model. path: of the model; subject: a node, a rule, a file, or empty."""

    code: str
    severity: Severity
    path: str
    subject: str
    message: str

    @property
    def title(self) -> str:
        """The code with its name."""
        return f"{self.code} {CODES[self.code].title}"

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return CODES[self.code].remedy


def problems(report: AuditReport) -> list[Problem]:
    """Every finding and every rule that is not kept, errors first.

    One of severity "error" is among them exactly where the exit code is not 0. So a tool that reads only these cannot
    take an audit without a number, or a gate that does not pass, for a success.
    """
    found = [problem for part in report.parts or (report,) for problem in _of(part)]
    told = {(problem.code, problem.message) for problem in found}
    own = report.findings if report.parts else ()  # what is of no single model
    found += [problem for problem in _findings("", own) if (problem.code, problem.message) not in told]
    if _unsettled(report) and all(problem.severity != "error" for problem in found):
        found.append(_nothing_proven(report))
    order = {"error": 0, "warning": 1, "note": 2}
    return sorted(found, key=lambda problem: order[problem.severity])


def _findings(path: str, findings: Iterable[Finding]) -> Iterator[Problem]:
    for finding in findings:
        subject = " ".join(part for part in (finding.op, finding.subject) if part and part != path)
        yield Problem(finding.code, finding.severity, path, subject, finding.message)


def _of(report: AuditReport) -> Iterator[Problem]:
    path = report.model.path
    yield from _findings(path, report.findings)
    told = {finding.subject for finding in report.findings}
    for rule in report.rules if not report.parts else ():
        if rule.result != "pass" and rule.id not in told:
            failed = rule.result == "fail"
            severity: Severity = "warning" if failed and not rule.decides else "error"
            yield Problem(rule.code if failed else NOT_PROVEN, severity, path, rule.id, held(rule))


def _unsettled(report: AuditReport) -> bool:
    """Whether the exit code is not 0, apart from what findings of severity "error" say."""
    if report.command == "gate":
        return report.verdict != "pass"
    if report.modulus is not None:
        return not (report.modulus.slope.finite and report.modulus.jump.finite)
    upper = None if report.upper is None else report.upper.bound
    return report.command in ("bound", "certify") and (upper is None or not upper.finite)


def _nothing_proven(report: AuditReport) -> Problem:
    said = f"the verdict is {report.verdict or 'missing'}" if report.command == "gate" else words.headlines(report)[0]
    return Problem(NOT_PROVEN, "error", report.model.path, "", said)


def held(rule: RuleResult) -> str:
    """What a rule says, with its measured value: "7.322 is not <= 7"."""
    limit, measured = comparison(rule)
    said = {"pass": f"{measured.text} {limit}", "fail": f"{measured.text} is not {limit}"}
    detail = f": {why}" if (why := rule_note(rule)) else ""
    return said.get(rule.result, f"not proven to be {limit}") + detail
