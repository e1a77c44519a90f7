"""The ratchet: a model's audits held against its record in the baseline, and a new record made of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import final

import numpy as np

from lipaudit.gate.baseline import Entry, at_least, at_most, outward
from lipaudit.gate.limits import QUANTILES
from lipaudit.gate.rules import certified_id
from lipaudit.report.baseline import Change, Comparison, Trend
from lipaudit.report.report import AuditReport
from lipaudit.report.rule import Level, RuleResult

NOTICE = 1e-3
"""The share by which a bound must be smaller than its record before the ratchet asks for a new one: anytime methods end
a little lower or higher each time. An accuracy counts as soon as it is higher."""

OF_ALL = ("norm", "region", "units", "domain_sha256", "input", "fix")
OF_SAMPLES = ("inputs_sha256", "labels_sha256", "tolerance")
"""The settings without which two numbers cannot be compared: all of them, and those of samples."""


@final
@dataclass(frozen=True, slots=True)
class Record:
    """A model's entry in the baseline, and the settings of the audits that are held against it."""

    entry: Entry
    source: str
    settings: Mapping[str, str]

    def differences(self, keys: Iterable[str]) -> tuple[str, ...]:
        """Which of these settings differ, in words."""
        then, now = self.entry.settings, self.settings
        return tuple(
            f"{key.replace('_', ' ')}: {then.get(key, 'none')} then, {now.get(key, 'none')} now"
            for key in keys
            if then.get(key) != now.get(key)
        )

    def value(self, rule: str) -> tuple[float | None, str]:
        """The recorded value of a rule, or None and why a limit cannot be relative to it."""
        if different := self.differences(OF_ALL if _kind(rule) == "bound" else (*OF_ALL, *OF_SAMPLES)):
            return None, f"LIP012 the baseline was recorded with other settings ({different[0]})"
        if rule not in self.entry.values:
            return None, f"LIP012 the baseline records no {rule} of {self.entry.model}"
        return self.entry.values[rule], ""


def settings_of(report: AuditReport, files: Mapping[str, str], extra: Mapping[str, str]) -> dict[str, str]:
    """What the numbers of an audit depend on. files: sha256 of what was read, by what it is; extra: of the policy."""
    problem = report.problem
    region = problem.region
    found = {
        "norm": f"{problem.norm_in} -> {problem.norm_out}",
        "region": "all inputs" if region is None else f"{region.kind} [{region.low!r}, {region.high!r}]",
        "units": problem.units,
        "function": problem.function,
        "seed": str(report.run.seed),
    }
    return found | {f"{name}_sha256": digest for name, digest in files.items()} | dict(extra)


def measured(reports: Iterable[AuditReport]) -> dict[str, float]:
    """Every number that a baseline records, by the id of the gate's rule on it; only finite ones."""
    found: dict[str, float] = {}
    for report in reports:
        if report.upper is not None and report.upper.bound is not None and report.command != "certify":
            found["global"] = report.upper.bound.value
        if report.lower is not None and report.command != "local":
            found["lower"] = report.lower.bound.value
        if report.ratio is not None and report.command != "certify":
            found["ratio"] = report.ratio
        found |= {f"layer:{layer.node}": layer.gain.value for layer in report.layers}
        samples, radii = report.samples, report.radii
        if samples is not None and len(samples.values) and np.all(np.isfinite(samples.values)):
            found |= {f"local.{name}": samples.quantile(share) for name, share in QUANTILES.items()}
        if radii is not None and len(radii.values) and not np.any(np.isnan(radii.values)):
            found |= {certified_id(radius): radii.accuracy_at(radius) for radius in report.certified_at}
            if radii.tolerance is None:
                found["clean"] = radii.clean_accuracy
    return {name: value for name, value in found.items() if math.isfinite(value)}


def new_entry(
    name: str, reports: Sequence[AuditReport], settings: Mapping[str, str], version: str, today: date
) -> Entry:
    """A record of these audits, every number rounded outward."""
    values = {rule: outward(rule, value) for rule, value in measured(reports).items()}
    return Entry(name, reports[0].model.sha256, today, version, dict(settings), values)


def compare(record: Record, reports: Sequence[AuditReport]) -> Comparison:
    """Every number of the audits beside its record; of the record those whose kind was audited now."""
    entry, now = record.entry, measured(reports)
    kinds = {_kind(rule) for rule in now}
    ids = [rule for rule in entry.values if rule in now or _kind(rule) in kinds]
    ids += [rule for rule in now if rule not in entry.values]
    changes = tuple(_change(rule, entry.values.get(rule), now.get(rule)) for rule in ids)
    return Comparison(
        record.source,
        entry.model,
        entry.sha256,
        entry.recorded.isoformat(),
        entry.sha256 == reports[0].model.sha256,
        record.differences((*OF_ALL, *OF_SAMPLES)),
        changes,
    )


def _kind(rule: str) -> str:
    """The audit that a number comes from."""
    if rule.startswith("local."):
        return "local"
    return "certify" if at_least(rule) else "bound"


def _change(rule: str, recorded: float | None, value: float | None) -> Change:
    if recorded is None or value is None:
        return Change(rule, recorded, value, "new" if recorded is None else "gone")
    trend: Trend
    if outward(rule, value) == recorded:
        trend = "same"
    elif not (at_most(rule) or at_least(rule)):
        trend = "changed"
    else:
        trend = "better" if (value < recorded) == at_most(rule) else "worse"
    return Change(rule, recorded, value, trend)


def unrecorded(rules: Sequence[RuleResult], level: Level) -> list[RuleResult]:
    """A failed rule for every number that is better than the record its limit is relative to."""
    found = []
    for rule in rules:
        if rule.recorded is None or rule.measured is None or rule.result != "pass":
            continue
        up, recorded = rule.sign == "<=", rule.recorded
        value = outward(rule.id, rule.measured)
        if value < recorded * (1.0 - NOTICE) if up else value > recorded:
            detail = "better than recorded: run lipaudit baseline write"
            found.append(
                RuleResult(
                    f"recorded:{rule.id}",
                    rule.subject,
                    rule.measured,
                    recorded,
                    "fail",
                    detail,
                    "LIP011",
                    ">=" if up else "<=",
                    level,
                    recorded,
                )
            )
    return found
