"""The rules of a policy: what each measures in the audits of one model, before anything is judged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, final

import numpy as np

from lipaudit.gate.levels import RULES
from lipaudit.gate.limits import QUANTILES, Limit, Limits, Relative
from lipaudit.gate.policy import ModelPolicy
from lipaudit.report.report import AuditReport, Layer

NOT_PROVEN = "LIP202"
"""The one error that speaks only of the audit it is in: the other audits of the model still count."""

Reading = tuple[float | None, str]
"""A measured value, or None, and a word on it: why there is none, or of what kind it is."""


@final
@dataclass(frozen=True, slots=True)
class Rule:
    """A limit on one number. code: of its kind; reading: what was measured; sign: how it is held against the limit."""

    code: str
    id: str
    limit: Limit
    reading: Reading
    sign: Literal["<=", ">="] = "<="

    def holds(self, value: float, limit: float) -> bool:
        """Whether a value is finite and within the limit: false for NaN."""
        return math.isfinite(value) and (value <= limit if self.sign == "<=" else value >= limit)


def rules_of(policy: ModelPolicy, reports: Sequence[AuditReport]) -> list[Rule]:
    """Every rule of the policy, in the order of the report."""
    limits = policy.limits
    return [
        *_bracket_rules(limits, reports),
        *_layer_rules(limits, reports),
        *_local_rules(policy, reports),
        *_certified_rules(policy, reports),
    ]


def certified_id(radius: float) -> str:
    """The id of the rule on the accuracy at a radius."""
    return f"certified@{repr(radius).removesuffix('.0')}"


def _made(command: str, reports: Sequence[AuditReport]) -> AuditReport | None:
    return next((report for report in reports if report.command == command), None)


def _unproven(report: AuditReport | None, otherwise: str) -> str:
    """Why a report has no number: what it says itself (LIP202), or `otherwise`."""
    findings = () if report is None else report.findings
    return next((finding.message for finding in findings if finding.code == NOT_PROVEN), otherwise)


def _bracket_rules(limits: Limits, reports: Sequence[AuditReport]) -> list[Rule]:
    report = _made("bound", reports)
    rules: list[Rule] = []
    if limits.upper is not None:
        rules.append(Rule(RULES["upper"], "global", limits.upper, _global(report, limits.upper)))
    if limits.ratio is not None:
        value = None if report is None else report.ratio
        reading = (value, "" if value is not None else "there is no bracket")
        rules.append(Rule(RULES["ratio"], "ratio", limits.ratio, reading))
    return rules


def _global(report: AuditReport | None, limit: Limit) -> Reading:
    """The certified upper bound; where there is none, an attained value that is over the limit settles it too."""
    if report is None:
        return None, "no bound was computed"
    if report.upper is not None and report.upper.bound is not None and report.upper.bound.finite:
        return report.upper.bound.value, ""
    if report.lower is not None and not isinstance(limit, Relative) and report.lower.bound.value > limit:
        return report.lower.bound.value, "attained: the constant is at least this"
    return None, "no finite upper bound was proven"


def _layer_rules(limits: Limits, reports: Sequence[AuditReport]) -> list[Rule]:
    report = _made("bound", reports)
    layers = () if report is None else report.layers
    code, rules = RULES["layer"], list[Rule]()
    for layer in layers:
        limit = _layer_limit(limits, layer)
        if limit is not None:
            reading = (layer.gain.value, "" if layer.gain.finite else "the layer has no finite gain")
            rules.append(Rule(code, f"layer:{layer.node}", limit, reading))
    for pattern, limit in limits.layers:
        if limit is not None and not any(_matches(pattern, layer) for layer in layers):
            rules.append(Rule(code, f"layer:{pattern}", limit, (None, "no layer of the model has this name")))
    if limits.layer is not None and not layers:
        rules.append(Rule(code, "layer", limits.layer, (None, "no layer gains were computed")))
    return rules


def _layer_limit(limits: Limits, layer: Layer) -> Limit | None:
    """The limit of a layer: of its exact name, else of the first pattern that matches, else of every layer."""
    for name, limit in limits.layers:
        if name in (layer.node, *layer.nodes):
            return limit
    matching = (limit for pattern, limit in limits.layers if _matches(pattern, layer))
    return next(matching, limits.layer)


def _matches(pattern: str, layer: Layer) -> bool:
    """Whether a name or pattern means the layer: by a node that it consists of, or as op:Gemm by one of its ops."""
    if pattern.startswith("op:"):
        return any(fnmatchcase(op, pattern.removeprefix("op:")) for op in (layer.op, *layer.op.split("+")))
    return any(name == pattern or fnmatchcase(name, pattern) for name in (layer.node, *layer.nodes))


def _local_rules(policy: ModelPolicy, reports: Sequence[AuditReport]) -> list[Rule]:
    report = _made("local", reports)
    samples = None if report is None else report.samples
    unproven = _unproven(report, "nothing was measured")
    rules: list[Rule] = []
    for name, limit in policy.limits.local:
        reading: Reading = (None, "the policy gives no inputs" if policy.inputs is None else unproven)
        if samples is not None and len(samples.values) == 0:
            reading = (None, "there are no samples")
        elif samples is not None and not np.all(np.isfinite(samples.values)):
            reading = (None, "a sample has no finite norm")
        elif samples is not None:
            count = len(samples.values)
            reading = (samples.quantile(QUANTILES[name]), f"numeric, of {count} sample{'s' * (count != 1)}")
        rules.append(Rule(RULES["local"], f"local.{name}", limit, reading))
    return rules


def _certified_rules(policy: ModelPolicy, reports: Sequence[AuditReport]) -> list[Rule]:
    report = _made("certify", reports)
    radii = None if report is None else report.radii
    rules: list[Rule] = []
    missing = _unproven(report, "nothing was certified")
    if policy.inputs is None or (policy.labels is None and policy.tolerance is None):
        missing = "the policy gives no inputs" if policy.inputs is None else "the policy gives no labels"
    elif radii is not None and (len(radii.values) == 0 or bool(np.any(np.isnan(radii.values)))):
        missing, radii = "there are no samples" if len(radii.values) == 0 else "a radius is not a number", None
    for radius, accuracy in policy.limits.certified:
        reading: Reading = (None, missing) if radii is None else (radii.accuracy_at(radius), "")
        rules.append(Rule(RULES["certified"], certified_id(radius), accuracy, reading, ">="))
    if policy.limits.clean_accuracy is not None:
        reading = (None, missing) if radii is None else (radii.clean_accuracy, "")
        if radii is not None and radii.tolerance is not None:
            reading = (None, "a regression has no accuracy")
        rules.append(Rule(RULES["clean_accuracy"], "clean", policy.limits.clean_accuracy, reading, ">="))
    return rules
