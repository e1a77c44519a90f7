"""Waivers: failures excused by name, with a reason and a last day. One without either is no waiver.

A waiver excuses a failure, which is a number that was measured and is over its limit. What is inconclusive was not
measured, and no waiver turns it into a pass. Every waiver is told in the report: used, expired or without a use.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from fnmatch import fnmatchcase
from pathlib import PurePath

from lipaudit.errors import UsageError
from lipaudit.gate.fields import Fields
from lipaudit.report.finding import Finding
from lipaudit.report.rule import RuleResult, Waiver

EXPIRED = "LIP021"


def parse_waivers(tables: Iterable[Mapping[str, object]], where: str) -> tuple[Waiver, ...]:
    """The [[waivers]] of a policy. Raises UsageError for one without a rule, a reason or a last day."""
    found = []
    for number, table in enumerate(tables, 1):
        place = f"{where} {number}"
        fields = Fields(table, place, ("rule", "reason", "expires", "model"))
        rule, reason, expires = fields.text("rule"), fields.text("reason"), fields.day("expires")
        if rule is None:
            raise UsageError(f'{place}: say which rule is waived: rule = "layer:/head/*", or a code')
        if reason is None or not reason.strip():
            raise UsageError(f"{place}: a waiver needs a reason")
        if expires is None:
            raise UsageError(f"{place}: a waiver needs its last day: expires = 2027-01-31")
        found.append(Waiver(rule, reason, expires.isoformat(), fields.text("model") or "*"))
    return tuple(found)


def excused(rules: Sequence[RuleResult], waivers: Sequence[Waiver], today: date) -> tuple[RuleResult, ...]:
    """The rules, each failure with the first waiver that holds for it today; and one failed rule an expired waiver."""
    standing = [waiver for waiver in waivers if not _over(waiver, today)]
    results = []
    for rule in rules:
        match = next((w for w in standing if _is_for(w, rule)), None) if rule.result == "fail" else None
        results.append(rule if match is None else replace(rule, waiver=match))
    subjects = {rule.subject for rule in rules}
    for waiver in waivers:
        if _over(waiver, today) and any(_is_of(waiver, subject) for subject in subjects):
            days = float((today - date.fromisoformat(waiver.expires)).days)
            subject = next(iter(sorted(subjects)))
            detail = f"days since it ended on {waiver.expires}: {waiver.reason}"
            results.append(RuleResult(f"waiver:{waiver.rule}", subject, days, 0.0, "fail", detail, EXPIRED))
    return tuple(results)


def without_use(waivers: Iterable[Waiver], rules: Sequence[RuleResult], today: date) -> tuple[Finding, ...]:
    """A finding for every waiver in force that no rule has needed."""
    used = {rule.waiver for rule in rules}
    return tuple(
        Finding("LIP022", waiver.rule, f"the waiver until {waiver.expires} excuses nothing: {waiver.reason}")
        for waiver in dict.fromkeys(waivers)
        if waiver not in used and not _over(waiver, today)
    )


def _over(waiver: Waiver, today: date) -> bool:
    return today > date.fromisoformat(waiver.expires)


def _is_for(waiver: Waiver, rule: RuleResult) -> bool:
    named = waiver.rule in (rule.id, rule.code) or fnmatchcase(rule.id, waiver.rule)
    return named and _is_of(waiver, rule.subject)


def _is_of(waiver: Waiver, subject: str) -> bool:
    """Whether the model is meant: its path as a whole, or its last parts."""
    return waiver.model == subject or PurePath(subject).match(waiver.model)
