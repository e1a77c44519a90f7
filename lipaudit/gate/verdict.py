"""The verdict: each rule held against what was proven. A rule passes only by a finite number within its limit.

Whatever is missing (a number, a proof, data, a unit, a record) is "inconclusive": the gate does not pass on what it
does not know, at no level and with no waiver.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Literal

from lipaudit.gate.levels import level_of
from lipaudit.gate.limits import Relative
from lipaudit.gate.policy import ModelPolicy
from lipaudit.gate.ratchet import Record, unrecorded
from lipaudit.gate.rules import NOT_PROVEN, Rule, rules_of
from lipaudit.gate.waivers import excused
from lipaudit.report.report import AuditReport
from lipaudit.report.rule import Level, Result, RuleResult

Verdict = Literal["pass", "fail", "inconclusive"]


def judge(
    policy: ModelPolicy, reports: Sequence[AuditReport], record: Record | None = None, today: date | None = None
) -> tuple[tuple[RuleResult, ...], Verdict]:
    """Every rule of the policy with its result, and the verdict over them.

    reports: the audits of this one model (bound, local, certify), as far as they were made. record: the model's in the
    baseline, held against these very audits. today: for waivers (default: the day it is, in UTC).
    """
    subject = str(policy.model) if policy.model is not None else next((r.model.path for r in reports), "")
    blocked, results = _blocked(policy, reports), list[RuleResult]()
    for rule in rules_of(policy, reports):
        if (level := level_of(rule.code, policy.levels)) != "off":
            results.append(_result(subject, rule, level, blocked, record))
    setting = level_of("LIP011", policy.levels)
    if setting != "off" and not blocked and record is not None:
        results += unrecorded(results, setting)
    judged = excused(results, policy.waivers, today or datetime.now(UTC).date())
    return judged, verdict_of(judged)


def verdict_of(rules: Iterable[RuleResult]) -> Verdict:
    """fail where a rule failed that decides, else inconclusive where one is (or there is none at all), else pass."""
    rules = list(rules)
    if any(rule.result == "fail" and rule.decides for rule in rules):
        return "fail"
    return "inconclusive" if not rules or any(rule.result == "inconclusive" for rule in rules) else "pass"


def _result(subject: str, rule: Rule, level: Level, blocked: str, record: Record | None) -> RuleResult:
    value, detail = rule.reading
    if value is not None and not math.isfinite(value):
        value, detail = None, detail or "the value is not finite"
    limit, recorded, why = _resolved(rule, record)
    result: Result
    if blocked or value is None or limit is None:
        result, detail = "inconclusive", blocked or (detail if value is None else why)
    else:
        result = "pass" if rule.holds(value, limit) else "fail"
    return RuleResult(rule.id, subject, value, limit, result, detail, rule.code, rule.sign, level, recorded)


def _resolved(rule: Rule, record: Record | None) -> tuple[float | None, float | None, str]:
    """The limit as a number, the baseline's value where it is relative to it, and why there is none."""
    if not isinstance(rule.limit, Relative):
        return rule.limit, None, ""
    if record is None:
        return None, None, "LIP012 there is no baseline yet: run lipaudit baseline write"
    recorded, why = record.value(rule.id)
    if recorded is None:
        return None, None, why
    # In decimals, as a person would multiply the two numbers of the two files.
    return float(Decimal(repr(rule.limit.factor)) * Decimal(repr(recorded))), recorded, ""


def _blocked(policy: ModelPolicy, reports: Sequence[AuditReport]) -> str:
    """Why no rule about this model can be judged; empty where they can."""
    for report in reports:
        for finding in report.findings:
            if finding.severity == "error" and finding.code != NOT_PROVEN:
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
