"""The report as JUnit XML, which every CI shows: a test suite a model, a test case a rule."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, final
from xml.etree import ElementTree

from lipaudit.render import words
from lipaudit.render.base import Reporter
from lipaudit.render.problems import NOT_PROVEN, Problem, held, problems
from lipaudit.render.safe import safe
from lipaudit.report.report import AuditReport
from lipaudit.report.rule import RuleResult

_LONGEST = 2000


@final
class JunitReporter(Reporter):
    """XML in ASCII. A rule that failed is a failure, one that is inconclusive an error: neither is ever a pass.

    A failure that does not decide (at the level warn, or waived) is told in its case's output.

    What keeps the audit from a number is an error of the case "audit", which every suite has. There is no time stamp:
    the same report is the same file.
    """

    name: ClassVar[str] = "junit"
    media_type: ClassVar[str] = "application/xml"

    def render(self, report: AuditReport) -> str:
        suites = [_suite(part) for part in report.parts or (report,)]
        root = ElementTree.Element("testsuites", {"name": "lipaudit", **_counts(suites), "time": _time(report)})
        root.extend(suites)
        ElementTree.indent(root)
        body: bytes = ElementTree.tostring(root, encoding="us-ascii")
        return f'<?xml version="1.0" encoding="UTF-8"?>\n{body.decode("ascii")}\n'


def _suite(report: AuditReport) -> ElementTree.Element:
    ids = {rule.id for rule in report.rules if rule.result != "pass"}
    told = [problem for problem in problems(report) if problem.subject not in ids]
    cases = [_audit(report, told), *(_rule(rule) for rule in report.rules)]
    path = safe(report.model.path, 400)
    suite = ElementTree.Element("testsuite", {"name": path, **_counts(cases), "time": _time(report)})
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in _facts(report):
        ElementTree.SubElement(properties, "property", {"name": name, "value": value})
    suite.extend(cases)
    remarks = [_line(problem) for problem in told if problem.severity != "error"]
    ElementTree.SubElement(suite, "system-out").text = "\n".join([*words.headlines(report), *remarks])
    return suite


def _audit(report: AuditReport, told: Iterable[Problem]) -> ElementTree.Element:
    """Whether the audit itself was made: an error of it is in no rule."""
    case = ElementTree.Element("testcase", {"classname": "lipaudit", "name": "audit", "time": _time(report)})
    errors = [problem for problem in told if problem.severity == "error"]
    if errors:
        attributes = {"type": errors[0].code, "message": _line(errors[0])}
        ElementTree.SubElement(case, "error", attributes).text = "\n".join(
            f"{_line(problem)}\n  -> {problem.remedy}" for problem in errors
        )
    return case


def _rule(rule: RuleResult) -> ElementTree.Element:
    case = ElementTree.Element("testcase", {"classname": "lipaudit", "name": safe(rule.id, 400), "time": "0"})
    said = safe(held(rule), _LONGEST)
    if rule.result == "pass" or (rule.result == "fail" and not rule.decides):
        ElementTree.SubElement(case, "system-out").text = said
    else:
        kind, code = ("failure", rule.code) if rule.result == "fail" else ("error", NOT_PROVEN)
        ElementTree.SubElement(case, kind, {"type": code, "message": said}).text = said
    return case


def _line(problem: Problem) -> str:
    subject = f" {safe(problem.subject, 160)}" if problem.subject else ""
    return f"{problem.code}{subject}: {safe(problem.message, _LONGEST)}"


def _facts(report: AuditReport) -> list[tuple[str, str]]:
    facts = [("command", report.command), ("verdict", report.verdict or ""), ("sha256", report.model.sha256)]
    facts += [("norms", words.norms(report.problem)), ("region", words.region(report.problem))]
    facts += [("units", report.problem.units), ("lipaudit", report.run.versions.get("lipaudit", ""))]
    return [(name, safe(value, 400)) for name, value in facts if value]


def _counts(elements: Iterable[ElementTree.Element]) -> dict[str, str]:
    """How many cases there are in the elements (suites, or cases themselves), and how many went wrong and how."""
    cases = [case for element in elements for case in element.iter("testcase")]
    wrong = {kind: sum(case.find(kind) is not None for case in cases) for kind in ("failure", "error")}
    return {"tests": str(len(cases)), "failures": str(wrong["failure"]), "errors": str(wrong["error"]), "skipped": "0"}


def _time(report: AuditReport) -> str:
    return f"{report.run.seconds:.3f}"
