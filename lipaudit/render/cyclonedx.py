"""The report as a CycloneDX 1.6 ML-BOM: each model a component whose model card has the proven numbers as metrics."""

from __future__ import annotations

import json
import uuid
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import ClassVar, final

from lipaudit.render import numbers, words
from lipaudit.render.base import Reporter
from lipaudit.render.safe import safe
from lipaudit.render.wire import Json
from lipaudit.report.report import AuditReport, Radii

SCHEMA = "http://cyclonedx.org/schema/bom-1.6.schema.json"
_LONGEST = 400


@final
class CyclonedxReporter(Reporter):
    """JSON in ASCII. A metric's confidence interval is the proven bracket: the truth lies in it, without a "probably".

    There is no time stamp, and the serial number is of the content: the same report is the same file.
    """

    name: ClassVar[str] = "cyclonedx"
    media_type: ClassVar[str] = "application/vnd.cyclonedx+json; version=1.6"

    def render(self, report: AuditReport) -> str:
        components = [_component(part, f"model-{n}") for n, part in enumerate(report.parts or (report,), 1)]
        tool: Json = {"type": "application", "name": "lipaudit"}
        if version := report.run.versions.get("lipaudit"):
            tool["version"] = version
        metadata: Json = {"tools": {"components": [tool]}}
        if report.verdict is not None:
            metadata["properties"] = [{"name": "lipaudit:verdict", "value": report.verdict}]
        text = json.dumps(components, sort_keys=True, ensure_ascii=True, allow_nan=False)
        content: Json = {
            "$schema": SCHEMA,
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, text)}",
            "version": 1,
            "metadata": metadata,
            "components": components,
        }
        return json.dumps(content, indent=2, ensure_ascii=True, allow_nan=False).replace("\x7f", "\\u007f") + "\n"


def _component(report: AuditReport, ref: str) -> Json:
    model = report.model
    parameters: Json = {
        "inputs": [{"format": safe(words.tensor(tensor), _LONGEST)} for tensor in model.inputs],
        "outputs": [{"format": safe(words.tensor(tensor), _LONGEST)} for tensor in model.outputs],
    }
    card: Json = {"modelParameters": parameters}
    if metrics := _metrics(report):
        card["quantitativeAnalysis"] = {"performanceMetrics": metrics}
    if report.assumptions:
        card["considerations"] = {"technicalLimitations": [safe(text, 2000) for text in report.assumptions]}
    if report.findings:
        card["properties"] = [
            {"name": f"lipaudit:{f.code}", "value": safe(f"{f.subject}: {f.message}", 2000)} for f in report.findings
        ]
    component: Json = {"type": "machine-learning-model", "bom-ref": ref, "name": safe(model.path, _LONGEST)}
    if model.sha256:
        component["hashes"] = [{"alg": "SHA-256", "content": model.sha256}]
    return {**component, "modelCard": card}


def _metrics(report: AuditReport) -> list[Json]:
    about = f"{words.region(report.problem)}, {safe(report.problem.units, 60)}"
    found = _constant(report, about)
    samples, regions = report.samples, report.regions
    if samples is not None and len(samples.values):
        for name, value in words.quantiles(samples).items():
            kind = f"Jacobian norm, {name} of {len(samples.values)} samples ({words.norms(report.problem)}, numeric)"
            found.append({"type": kind, "value": numbers.nearest(value), "slice": safe(samples.source, _LONGEST)})
    if regions is not None and len(regions.values):
        kind = f"Lipschitz constant within {words.plain(regions.radius)} of a sample, largest (certified)"
        largest = numbers.upper(float(regions.values.max()))
        found.append({"type": kind, "value": largest, "slice": safe(regions.source, _LONGEST)})
    if report.radii is not None and len(report.radii.values) and report.radii.tolerance is None:
        found += _accuracies(report, report.radii)
    return found


def _constant(report: AuditReport, about: str) -> list[Json]:
    """The bracket of the constant; without a finite upper end an interval that is open above."""
    upper = None if report.upper is None or report.command == "certify" else report.upper.bound
    interval: Json = {}
    if report.lower is not None:
        interval["lowerBound"] = numbers.lower(report.lower.bound.value)
    metric: Json = {"type": f"Lipschitz constant ({words.norms(report.problem)}, certified)"}
    if upper is not None and upper.finite:
        metric["value"] = interval["upperBound"] = numbers.upper(upper.value)
    return [{**metric, "slice": about, "confidenceInterval": interval}] if interval else []


def _accuracies(report: AuditReport, radii: Radii) -> list[Json]:
    """Clean accuracy, and the accuracy that is certified; it is at most that under attack, or the clean one."""
    source = safe(radii.source, _LONGEST)
    found: list[Json] = [{"type": "accuracy", "value": _share(radii.clean_accuracy, ROUND_FLOOR), "slice": source}]
    for radius in report.certified_at:
        low, high = radii.accuracy_at(radius), radii.clean_accuracy
        if radii.attack is not None:
            high = min(high, radii.attack.accuracy_at(radius))
        interval = {"lowerBound": _share(low, ROUND_FLOOR), "upperBound": _share(high, ROUND_CEILING)}
        kind = f"accuracy within radius {words.plain(radius)} ({report.problem.norm_in}, certified)"
        value = interval["lowerBound"]
        found.append({"type": kind, "value": value, "slice": source, "confidenceInterval": interval})
    return found


def _share(value: float, rounding: str) -> str:
    """A count over a total: what is meant is the ratio, and 24/25 is 0.96, not the float64 a little below it."""
    return f"{Decimal(repr(value)).quantize(Decimal('0.000001'), rounding=rounding).normalize():f}"
