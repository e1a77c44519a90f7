"""The findings as SARIF 2.1.0, for code scanning and other viewers of static analysis."""

from __future__ import annotations

import json
from typing import ClassVar, final
from urllib.parse import quote

from lipaudit.render import words
from lipaudit.render.base import Reporter
from lipaudit.render.problems import Problem, problems
from lipaudit.render.safe import safe
from lipaudit.render.wire import Json, bound_json
from lipaudit.report.finding import CODES
from lipaudit.report.report import AuditReport

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LONGEST = 1000


@final
class SarifReporter(Reporter):
    """One run; a result a finding, at the model's file and the node's name. ASCII only, no NaN and no Infinity.

    A level "error" stands there exactly where the exit code is not 0.
    """

    name: ClassVar[str] = "sarif"
    media_type: ClassVar[str] = "application/sarif+json"

    def render(self, report: AuditReport) -> str:
        found = problems(report)
        codes = list(dict.fromkeys(problem.code for problem in found))
        run: Json = {
            "tool": {"driver": _driver(report, codes)},
            "invocations": [{"executionSuccessful": all(problem.severity != "error" for problem in found)}],
            "artifacts": [_artifact(part) for part in report.parts or (report,)],
            "results": [_result(problem, codes) for problem in found],
            "columnKind": "utf16CodeUnits",
            "properties": {"command": report.command, "verdict": report.verdict},
        }
        content = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
        return json.dumps(content, indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def _driver(report: AuditReport, codes: list[str]) -> Json:
    version = report.run.versions.get("lipaudit")
    rules = [_rule(code) for code in codes]
    return {"name": "lipaudit", **({"version": version} if version else {}), "rules": rules}


def _rule(code: str) -> Json:
    kind = CODES[code]
    return {
        "id": code,
        "shortDescription": {"text": kind.title},
        "fullDescription": {"text": kind.meaning},
        "help": {"text": kind.remedy},
        "defaultConfiguration": {"level": kind.severity},
    }


def _artifact(report: AuditReport) -> Json:
    """The audited file with its hash, and the bracket in words and as the JSON report has it."""
    properties: Json = {"summary": words.headlines(report)}
    if report.upper is not None and report.upper.bound is not None:
        properties["upper"] = bound_json(report.upper.bound)
    if report.lower is not None:
        properties["lower"] = bound_json(report.lower.bound)
    content: Json = {"location": {"uri": _uri(report.model.path)}, "properties": properties}
    if report.model.sha256:
        content["hashes"] = {"sha-256": report.model.sha256}
    return content


def _result(problem: Problem, codes: list[str]) -> Json:
    subject = safe(problem.subject, 400)
    place: Json = {"physicalLocation": {"artifactLocation": {"uri": _uri(problem.path)}, "region": {"startLine": 1}}}
    if subject:
        place["logicalLocations"] = [{"fullyQualifiedName": subject}]
    said = f"{subject}: {safe(problem.message, _LONGEST)}" if subject else safe(problem.message, _LONGEST)
    return {
        "ruleId": problem.code,
        "ruleIndex": codes.index(problem.code),
        "level": problem.severity,
        "message": {"text": f"{said}. {problem.remedy}"},
        "locations": [place],
    }


def _uri(path: str) -> str:
    """The path as a URI reference: percent-encoded, so that no name has a meaning of its own in it."""
    name = quote(path.encode("utf-8", "surrogatepass"), safe="/")
    return f"file://{name}" if name.startswith("/") else name or "."
