"""The gate's audits: for each model only those that a rule asks for, joined into one judged report."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from lipaudit import audit as rooms
from lipaudit.audit import Progress, Settings, refused_report
from lipaudit.cli.recording import entry_from, entry_of, read_baseline, record_of
from lipaudit.errors import Unsupported
from lipaudit.gate.baseline import Baseline, Entry
from lipaudit.gate.policy import ModelPolicy
from lipaudit.gate.ratchet import compare
from lipaudit.gate.rules import NOT_PROVEN
from lipaudit.gate.verdict import judge, verdict_of
from lipaudit.loading import Refusal, RefusedModel
from lipaudit.loading.arrays import read_array
from lipaudit.render import numbers, words
from lipaudit.report.finding import Finding
from lipaudit.report.report import AuditReport, Command, Model
from lipaudit.report.rule import RuleResult

T = TypeVar("T")


def gate_report(policy: ModelPolicy, settings: Settings, progress: Progress | None) -> AuditReport:
    """One model with its rules and its verdict."""
    path, entry = policy.baseline, None
    if path is not None:
        entry = entry_of(policy, path, read_baseline(path))
    limits = policy.limits
    reports = audits(policy, settings, progress, (limits.of_bound, bool(limits.local), limits.of_certify), entry)
    record = None if path is None else record_of(policy, entry, path, settings, reports)
    rules, verdict = judge(policy, reports, record)
    report = joined(reports)
    found = list(report.findings)
    if policy.preprocess is None:
        found.append(Finding("LIP203", str(policy.model), "the configuration does not declare any preprocessing"))
    found += [finding for rule in rules for finding in _told(rule)]
    return replace(
        report,
        command="gate",
        rules=rules,
        verdict=verdict,
        baseline=None if record is None else compare(record, reports),
        findings=_distinct(found),
    )


def recorded_report(
    policy: ModelPolicy, settings: Settings, progress: Progress | None, path: Path, old: Baseline | None
) -> tuple[AuditReport, Entry | None]:
    """All that a baseline records of one model: its report, beside its older record, and its new one.

    Without a model that can be audited there is no new record.
    """
    entry = entry_of(policy, path, old)
    reports = audits(policy, settings, progress, (True, True, True), entry)
    record = record_of(policy, entry, path, settings, reports)
    report = replace(joined(reports), command="baseline", baseline=None if record is None else compare(record, reports))
    if any(finding.severity == "error" for finding in report.findings):
        return report, None
    return report, entry_from(policy, path, settings, reports)


def _told(rule: RuleResult) -> list[Finding]:
    """What the findings say of a rule: nothing where it passed."""
    if rule.result == "inconclusive":
        code, _, why = rule.detail.partition(" ")
        if not code.startswith("LIP"):
            return [Finding(NOT_PROVEN, rule.id, rule.detail)]
        return [Finding(code, rule.id, why, level="error")] if code == "LIP012" else []
    if rule.result == "pass":
        return []
    limit = "" if rule.limit is None else words.plain(rule.limit)
    rounded = numbers.upper if rule.sign == "<=" else numbers.lower
    value = "" if rule.measured is None else rounded(rule.measured, 6)
    message = f"{value} is not {rule.sign} {limit}" + (f" ({rule.detail})" if rule.detail else "")
    if rule.waiver is not None:
        return [Finding("LIP020", rule.id, f"{message}; until {rule.waiver.expires}: {rule.waiver.reason}")]
    return [Finding(rule.code, rule.id, message, level="warning" if rule.level == "warn" else "error")]


def grouped(reports: list[AuditReport]) -> AuditReport:
    """The only report, or one over several models, with all their rules and findings."""
    if len(reports) == 1:
        return reports[0]
    rules = tuple(rule for report in reports for rule in report.rules)
    first, paths = reports[0], ", ".join(report.model.path for report in reports)
    return AuditReport(
        first.command,
        Model(paths, "", 0, (), (), None),
        first.problem,
        replace(first.run, seconds=sum(report.run.seconds for report in reports)),
        rules=rules,
        verdict=verdict_of(rules) if first.command == "gate" else None,
        findings=tuple(_of_model(finding, report) for report in reports for finding in report.findings),
        assumptions=_distinct(text for report in reports for text in report.assumptions),
        parts=tuple(reports),
    )


def _of_model(finding: Finding, report: AuditReport) -> Finding:
    path = report.model.path
    subject = finding.subject if finding.subject in ("", path) else f"{path}: {finding.subject}"
    return replace(finding, subject=subject or path)


def audits(
    policy: ModelPolicy,
    settings: Settings,
    progress: Progress | None,
    which: tuple[bool, bool, bool],
    entry: Entry | None,
) -> list[AuditReport]:
    """The audits of one model; which: bound, local, certify, the latter two as far as the policy gives data for them.

    entry: its record, whose radii are certified at too.
    """
    path, spec = str(policy.model), policy.inputs
    of_bound, of_samples, of_radii = which
    points = None if spec is None else read_array(spec, "x", "inputs")
    source = spec or "inputs"
    wanted: list[tuple[Command, Callable[[], AuditReport]]] = []
    if of_bound:
        wanted.append(("bound", lambda: rooms.bound(path, settings, progress, starts=points, source=source)))
    if of_samples and points is not None:
        data = points
        wanted.append(("local", lambda: rooms.local(path, data, settings, source=source, progress=progress)))
    if of_radii and points is not None and (policy.labels is not None or policy.tolerance is not None):
        wanted.append(("certify", lambda: _certify(policy, points, settings, progress, entry)))
    if not wanted:
        wanted.append(("check", lambda: rooms.check(path, settings)))
    reports: list[AuditReport] = []
    for command, run in wanted:
        try:
            reports.append(run())
        except RefusedModel as error:
            return [refused_report(error, command, settings)]
        except Unsupported as error:
            reports.append(_unproven(path, command, str(error), settings, reports))
    return reports


def _certify(
    policy: ModelPolicy, points: np.ndarray, settings: Settings, progress: Progress | None, entry: Entry | None
) -> AuditReport:
    wanted = [radius for radius, _ in policy.limits.certified]
    wanted += [] if entry is None else [float(name[10:]) for name in entry.values if name.startswith("certified@")]
    regression = policy.tolerance is not None
    labels = None if regression or policy.labels is None else read_array(policy.labels, "y", "labels")
    return rooms.certify(
        str(policy.model),
        points,
        labels,
        settings,
        source=policy.inputs or "inputs",
        labels_source=policy.labels or "labels",
        radii=_distinct(wanted),
        tolerance=policy.tolerance,
        progress=progress,
    )


def _unproven(path: str, command: Command, why: str, settings: Settings, others: list[AuditReport]) -> AuditReport:
    """An audit that could not be made, beside others of the same model that were."""
    refused = refused_report(RefusedModel(path, (Refusal("", path, why, NOT_PROVEN),)), command, settings)
    return replace(refused, model=others[0].model, problem=others[0].problem) if others else refused


def joined(reports: list[AuditReport]) -> AuditReport:
    """All that was found about one model in one report. The bracket is of `bound`, whose problem is the model's own."""
    first = reports[0]
    return replace(
        first,
        samples=next((report.samples for report in reports if report.samples is not None), None),
        radii=next((report.radii for report in reports if report.radii is not None), None),
        certified_at=next((report.certified_at for report in reports if report.certified_at), ()),
        findings=_distinct(finding for report in reports for finding in report.findings),
        assumptions=_distinct(text for report in reports for text in report.assumptions),
        run=replace(first.run, seconds=sum(report.run.seconds for report in reports)),
    )


def _distinct(items: Iterable[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(items))
