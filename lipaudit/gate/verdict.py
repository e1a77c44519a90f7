"""The verdict: each rule held against what was proven. A rule passes only by a finite number within its limit.

Every comparison is written `value <= limit`, which is false for NaN. Whatever is missing (a number, a proof, data, a
unit) is "inconclusive": the gate does not pass on what it does not know.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Literal

import numpy as np

from lipaudit.gate.limits import QUANTILES, Limits
from lipaudit.gate.policy import ModelPolicy
from lipaudit.report.report import AuditReport, Layer, RuleResult

NOT_PROVEN = "LIP202"
"""The one error that speaks only of the audit it is in: the other audits of the model still count."""

Verdict = Literal["pass", "fail", "inconclusive"]
Reading = tuple[float | None, str]
"""A measured value, or None, and a word on it: why there is none, or of what kind it is."""


def judge(policy: ModelPolicy, reports: Sequence[AuditReport]) -> tuple[tuple[RuleResult, ...], Verdict]:
    """Every rule of the policy with its result, and the verdict over them.

    reports: the audits of this one model (bound, local, certify), as far as they were made.
    """
    subject = str(policy.model) if policy.model is not None else next((r.model.path for r in reports), "")
    rules = [*_bracket_rules(policy.limits, reports), *_layer_rules(policy.limits, reports)]
    rules += [*_local_rules(policy, reports), *_certified_rules(policy, reports)]
    blocked = _blocked(policy, reports)
    results = tuple(_result(subject, rule, blocked) for rule in rules)
    return results, verdict_of(results)


def verdict_of(rules: Iterable[RuleResult]) -> Verdict:
    """fail where a rule failed, else inconclusive where one is (or there is none at all), else pass."""
    results = {rule.result for rule in rules}
    if "fail" in results:
        return "fail"
    return "pass" if results == {"pass"} else "inconclusive"


_Rule = tuple[str, float, Reading, Callable[[float, float], bool]]


def _at_most(value: float, limit: float) -> bool:
    return math.isfinite(value) and value <= limit


def _at_least(value: float, limit: float) -> bool:
    return math.isfinite(value) and value >= limit


def _result(subject: str, rule: _Rule, blocked: str) -> RuleResult:
    name, limit, (value, detail), holds = rule
    if value is not None and not math.isfinite(value):
        value, detail = None, detail or "the value is not finite"
    if blocked:
        return RuleResult(name, subject, value, limit, "inconclusive", blocked)
    if value is None:
        return RuleResult(name, subject, None, limit, "inconclusive", detail)
    return RuleResult(name, subject, value, limit, "pass" if holds(value, limit) else "fail", detail)


def _blocked(policy: ModelPolicy, reports: Sequence[AuditReport]) -> str:
    """Why no rule about this model can be judged; empty where they can."""
    for report in reports:
        for finding in report.findings:
            if finding.kind.severity == "error" and finding.code != NOT_PROVEN:
                return f"{finding.code} {finding.kind.title}"
        parity = report.model.parity
        if parity is None or not parity.max_abs_difference <= parity.tolerance:
            return "the model was not confirmed against onnxruntime"
        if _contradicted(report):
            return "LIP901 contradicted engine"
    if policy.preprocess is None:
        return 'LIP203 undeclared preprocessing: write preprocess = "none" (or a scale and shift) in the configuration'
    return ""


def _contradicted(report: AuditReport) -> bool:
    if report.lower is None or report.upper is None or report.upper.bound is None:
        return False
    return not report.lower.bound.value <= report.upper.bound.value


def _made(command: str, reports: Sequence[AuditReport]) -> AuditReport | None:
    return next((report for report in reports if report.command == command), None)


def _unproven(report: AuditReport | None, otherwise: str) -> str:
    """Why a report has no number: what it says itself (LIP202), or `otherwise`."""
    findings = () if report is None else report.findings
    return next((finding.message for finding in findings if finding.code == NOT_PROVEN), otherwise)


def _bracket_rules(limits: Limits, reports: Sequence[AuditReport]) -> list[_Rule]:
    report = _made("bound", reports)
    rules: list[_Rule] = []
    if limits.upper is not None:
        rules.append(("global", limits.upper, _global(report, limits.upper), _at_most))
    if limits.ratio is not None:
        value = None if report is None else report.ratio
        rules.append(("ratio", limits.ratio, (value, "" if value is not None else "there is no bracket"), _at_most))
    return rules


def _global(report: AuditReport | None, limit: float) -> Reading:
    """The certified upper bound; where there is none, an attained value that is over the limit settles it too."""
    if report is None:
        return None, "no bound was computed"
    if report.upper is not None and report.upper.bound is not None and report.upper.bound.finite:
        return report.upper.bound.value, ""
    if report.lower is not None and report.lower.bound.value > limit:
        return report.lower.bound.value, "attained: the constant is at least this"
    return None, "no finite upper bound was proven"


def _layer_rules(limits: Limits, reports: Sequence[AuditReport]) -> list[_Rule]:
    report = _made("bound", reports)
    layers = () if report is None else report.layers
    rules: list[_Rule] = []
    for layer in layers:
        limit = _layer_limit(limits, layer)
        if limit is not None:
            reading = (layer.gain.value, "" if layer.gain.finite else "the layer has no finite gain")
            rules.append((f"layer:{layer.node}", limit, reading, _at_most))
    for pattern, limit in limits.layers:
        if not any(_matches(pattern, layer) for layer in layers):
            rules.append((f"layer:{pattern}", limit, (None, "no layer of the model has this name"), _at_most))
    if limits.layer is not None and not layers:
        rules.append(("layer", limits.layer, (None, "no layer gains were computed"), _at_most))
    return rules


def _layer_limit(limits: Limits, layer: Layer) -> float | None:
    """The limit of a layer: of its exact name, else of the first pattern that matches, else of every layer."""
    for name, limit in limits.layers:
        if name in (layer.node, *layer.nodes):
            return limit
    matching = (limit for pattern, limit in limits.layers if _matches(pattern, layer))
    return next(matching, limits.layer)


def _matches(pattern: str, layer: Layer) -> bool:
    return any(name == pattern or fnmatchcase(name, pattern) for name in (layer.node, *layer.nodes))


def _local_rules(policy: ModelPolicy, reports: Sequence[AuditReport]) -> list[_Rule]:
    report = _made("local", reports)
    samples = None if report is None else report.samples
    unproven = _unproven(report, "nothing was measured")
    rules: list[_Rule] = []
    for name, limit in policy.limits.local:
        reading: Reading = (None, "the policy gives no inputs" if policy.inputs is None else unproven)
        if samples is not None and len(samples.values) == 0:
            reading = (None, "there are no samples")
        elif samples is not None and not np.all(np.isfinite(samples.values)):
            reading = (None, "a sample has no finite norm")
        elif samples is not None:
            count = len(samples.values)
            reading = (samples.quantile(QUANTILES[name]), f"numeric, of {count} sample{'s' * (count != 1)}")
        rules.append((f"local.{name}", limit, reading, _at_most))
    return rules


def _certified_rules(policy: ModelPolicy, reports: Sequence[AuditReport]) -> list[_Rule]:
    report = _made("certify", reports)
    radii = None if report is None else report.radii
    rules: list[_Rule] = []
    missing = _unproven(report, "nothing was certified")
    if policy.inputs is None or (policy.labels is None and policy.tolerance is None):
        missing = "the policy gives no inputs" if policy.inputs is None else "the policy gives no labels"
    elif radii is not None and (len(radii.values) == 0 or bool(np.any(np.isnan(radii.values)))):
        missing, radii = "there are no samples" if len(radii.values) == 0 else "a radius is not a number", None
    for radius, accuracy in policy.limits.certified:
        reading: Reading = (None, missing) if radii is None else (radii.accuracy_at(radius), "")
        rules.append((f"certified@{repr(radius).removesuffix('.0')}", accuracy, reading, _at_least))
    if policy.limits.clean_accuracy is not None:
        reading = (None, missing) if radii is None else (radii.clean_accuracy, "")
        if radii is not None and radii.tolerance is not None:
            reading = (None, "a regression has no accuracy")
        rules.append(("clean", policy.limits.clean_accuracy, reading, _at_least))
    return rules
