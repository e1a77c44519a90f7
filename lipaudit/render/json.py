"""The JSON report, written out key by key: renaming a field of the report cannot silently change the contract."""

from __future__ import annotations

import json
from typing import ClassVar, final

from lipaudit.render.base import Reporter
from lipaudit.render.wire import (
    Json,
    bound_json,
    model_json,
    modulus_json,
    number,
    problem_json,
    radii_json,
    regions_json,
    samples_json,
)
from lipaudit.report.baseline import Change, Comparison
from lipaudit.report.finding import Finding
from lipaudit.report.report import AuditReport, Layer, Method
from lipaudit.report.rule import RuleResult, Waiver

SCHEMA_VERSION = "1"


@final
class JsonReporter(Reporter):
    """ASCII only, no NaN and no Infinity; a number that is not finite is null."""

    name: ClassVar[str] = "json"
    media_type: ClassVar[str] = "application/json"

    def render(self, report: AuditReport) -> str:
        text = json.dumps(document(report), indent=2, ensure_ascii=True, allow_nan=False)
        return text.replace("\x7f", "\\u007f") + "\n"


def document(report: AuditReport) -> Json:
    """The report as plain values, in the order of the contract."""
    group = bool(report.parts)
    content: Json = {
        "schema_version": SCHEMA_VERSION,
        "command": report.command,
        "tool": {"name": "lipaudit", "version": report.run.versions.get("lipaudit")},
        "model": None if group else model_json(report.model),
        "problem": None if group else problem_json(report.problem),
        "layers": [_layer(layer) for layer in report.layers],
        "bounds": [_method(method) for method in report.methods],
        "upper": None,
        "lower": None,
    }
    if report.upper is not None and report.upper.bound is not None:
        content["upper"] = {**bound_json(report.upper.bound), "method": report.upper.name}
    if report.lower is not None:
        content["lower"] = {**bound_json(report.lower.bound), "method": report.lower.name}
    if report.modulus is not None:
        content["modulus"] = modulus_json(report.modulus)
    if report.drawn is not None:
        content["drawn"] = [int(place) for place in report.drawn]
    if report.samples is not None:
        content["samples"] = samples_json(report.samples)
    if report.regions is not None:
        content["regions"] = regions_json(report.regions)
    if report.radii is not None:
        content |= radii_json(report.radii, report.certified_at)
    if report.command == "gate":
        content["rules"] = [_rule(rule) for rule in report.rules]
    if report.baseline is not None:
        content["baseline"] = _comparison(report.baseline)
    content["findings"] = [_finding(finding) for finding in report.findings]
    content["verdict"] = report.verdict
    content["assumptions"] = list(report.assumptions)
    content["run"] = {
        "seconds": number(report.run.seconds),
        "seed": report.run.seed,
        "versions": dict(report.run.versions),
    }
    if group:
        content["models"] = [document(part) for part in report.parts]
    return content


def _layer(layer: Layer) -> Json:
    return {
        "node": layer.node,
        "op": layer.op,
        "nodes": list(layer.nodes),
        "weight": layer.weight,
        "gain": bound_json(layer.gain),
        "norms": layer.norms or None,
        "lower": None if layer.lower is None else bound_json(layer.lower),
        "gap": layer.gap,
        "seconds": None if layer.seconds is None else number(layer.seconds),
    }


def _method(method: Method) -> Json:
    content: Json = {
        "method": method.name,
        "label": method.label,
        "status": "declined" if method.bound is None else "bounded",
        "reason": method.reason,
        "seconds": number(method.seconds),
    }
    if method.bound is None:
        return content
    if method.bound.floor is not None:
        content["floor"] = number(method.bound.floor)
    return content | bound_json(method.bound)


def _rule(rule: RuleResult) -> Json:
    return {
        "id": rule.id,
        "subject": rule.subject,
        "measured": None if rule.measured is None else number(rule.measured),
        "limit": None if rule.limit is None else number(rule.limit),
        "result": rule.result,
        "detail": rule.detail,
        "code": rule.code,
        "sign": rule.sign,
        "level": rule.level,
        "recorded": None if rule.recorded is None else number(rule.recorded),
        "waiver": None if rule.waiver is None else _waiver(rule.waiver),
    }


def _waiver(waiver: Waiver) -> Json:
    return {"rule": waiver.rule, "model": waiver.model, "reason": waiver.reason, "expires": waiver.expires}


def _comparison(comparison: Comparison) -> Json:
    return {
        "source": comparison.source,
        "model": comparison.model,
        "sha256": comparison.sha256,
        "recorded": comparison.recorded,
        "same_model": comparison.same_model,
        "differences": list(comparison.differences),
        "changes": [_change(change) for change in comparison.changes],
    }


def _change(change: Change) -> Json:
    return {
        "id": change.id,
        "recorded": None if change.recorded is None else number(change.recorded),
        "measured": None if change.measured is None else number(change.measured),
        "trend": change.trend,
    }


def _finding(finding: Finding) -> Json:
    kind = finding.kind
    return {
        "code": finding.code,
        "severity": finding.severity,
        "subject": finding.subject,
        "op": finding.op,
        "message": finding.message,
        "remedy": kind.remedy,
    }
