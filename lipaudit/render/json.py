"""The JSON report, written out key by key: renaming a field of the report cannot silently change the contract."""

from __future__ import annotations

import json
import math
from typing import ClassVar, final

import numpy as np

from lipaudit.numerics.bound import LowerBound, UpperBound
from lipaudit.render.base import Reporter
from lipaudit.report.finding import Finding
from lipaudit.report.report import (
    AuditReport,
    Layer,
    Method,
    Model,
    Problem,
    Radii,
    RuleResult,
    Samples,
    Tensor,
)

SCHEMA_VERSION = "1"

Json = dict[str, object]


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
        "model": None if group else _model(report.model),
        "problem": None if group else _problem(report.problem),
        "layers": [_layer(layer) for layer in report.layers],
        "bounds": [_method(method) for method in report.methods],
        "upper": None,
        "lower": None,
    }
    if report.upper is not None and report.upper.bound is not None:
        content["upper"] = {**_bound(report.upper.bound), "method": report.upper.name}
    if report.lower is not None:
        content["lower"] = {**_bound(report.lower.bound), "method": report.lower.name}
    if report.samples is not None:
        content["samples"] = _samples(report.samples)
    if report.radii is not None:
        content |= _certified(report.radii, report.certified_at)
    if report.command == "gate":
        content["rules"] = [_rule(rule) for rule in report.rules]
    content["findings"] = [_finding(finding) for finding in report.findings]
    content["verdict"] = report.verdict
    content["assumptions"] = list(report.assumptions)
    content["run"] = {
        "seconds": _number(report.run.seconds),
        "seed": report.run.seed,
        "versions": dict(report.run.versions),
    }
    if group:
        content["models"] = [document(part) for part in report.parts]
    return content


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _numbers(values: np.ndarray) -> list[float | None]:
    return [_number(value) for value in np.asarray(values, dtype=np.float64).reshape(-1).tolist()]


def _bound(bound: UpperBound | LowerBound) -> Json:
    value, finite = float(bound.value), math.isfinite(bound.value)
    return {
        "value": value if finite else None,
        "log10": math.log10(value) if finite and value > 0.0 else None,
        "hex": value.hex() if finite else None,
        "finite": finite,
        "kind": "certified" if isinstance(bound, UpperBound) else "attained",
        "evidence": bound.evidence,
    }


def _tensor(tensor: Tensor) -> Json:
    return {"name": tensor.name, "shape": list(tensor.shape), "dtype": tensor.dtype}


def _model(model: Model) -> Json:
    parity = model.parity
    return {
        "path": model.path,
        "sha256": model.sha256 or None,
        "opset": model.opset or None,
        "inputs": [_tensor(tensor) for tensor in model.inputs],
        "outputs": [_tensor(tensor) for tensor in model.outputs],
        "parity": None
        if parity is None
        else {
            "points": parity.points,
            "max_abs_difference": _number(parity.max_abs_difference),
            "tolerance": _number(parity.tolerance),
        },
    }


def _problem(problem: Problem) -> Json:
    region = problem.region
    return {
        "norm_in": problem.norm_in,
        "norm_out": problem.norm_out,
        "region": None
        if region is None
        else {
            "kind": region.kind,
            "low": _number(region.low),
            "high": _number(region.high),
            "source": region.source,
        },
        "units": problem.units,
        "function": problem.function,
    }


def _layer(layer: Layer) -> Json:
    return {
        "node": layer.node,
        "op": layer.op,
        "nodes": list(layer.nodes),
        "weight": layer.weight,
        "gain": _bound(layer.gain),
    }


def _method(method: Method) -> Json:
    content: Json = {
        "method": method.name,
        "label": method.label,
        "status": "declined" if method.bound is None else "bounded",
        "reason": method.reason,
        "seconds": _number(method.seconds),
    }
    return content if method.bound is None else content | _bound(method.bound)


def _samples(samples: Samples) -> Json:
    norm: Json = dict.fromkeys(("min", "p5", "median", "p95", "max", "argmax"))
    if len(samples.values):
        shares = {"min": 0.0, "p5": 0.05, "median": 0.5, "p95": 0.95, "max": 1.0}
        norm = {name: _number(samples.quantile(share)) for name, share in shares.items()}
        norm["argmax"] = samples.argmax
    return {
        "count": len(samples.values),
        "norm": norm,
        "kind": "numeric",
        "source": samples.source,
        "method": samples.method,
        "seconds": _number(samples.seconds),
        "per_sample": _numbers(samples.values),
    }


def _certified(radii: Radii, wanted: tuple[float, ...]) -> Json:
    right = radii.values[radii.correct]
    low, high = radii.lipschitz
    summary: Json = {
        "count": len(right),
        "misclassified": len(radii.values) - len(right),
        "median": _number(float(np.median(right))) if len(right) else None,
        "min": _number(float(right.min())) if len(right) else None,
        "max": _number(float(right.max())) if len(right) else None,
        "per_sample": _numbers(radii.values),
        "correct": np.asarray(radii.correct, dtype=bool).tolist(),
        "kind": "certified",
        "source": radii.source,
        "method": radii.method,
        "lipschitz": {"min": _number(low), "max": _number(high)},
        "tolerance": radii.tolerance,
        "seconds": _number(radii.seconds),
    }
    some = len(radii.values) > 0
    return {
        "clean_accuracy": radii.clean_accuracy if some and radii.tolerance is None else None,
        "certified": [
            {"radius": radius, "accuracy": radii.accuracy_at(radius) if some else None} for radius in wanted
        ],
        "radii": summary,
    }


def _rule(rule: RuleResult) -> Json:
    return {
        "id": rule.id,
        "subject": rule.subject,
        "measured": None if rule.measured is None else _number(rule.measured),
        "limit": _number(rule.limit),
        "result": rule.result,
        "detail": rule.detail,
    }


def _finding(finding: Finding) -> Json:
    kind = finding.kind
    return {
        "code": finding.code,
        "severity": kind.severity,
        "subject": finding.subject,
        "op": finding.op,
        "message": finding.message,
        "remedy": kind.remedy,
    }
