"""The gate's audits: for each model only those that a rule asks for, joined into one judged report."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeVar

import numpy as np

from lipaudit import audit as rooms
from lipaudit.audit import Progress, Settings, refused_report
from lipaudit.errors import Unsupported
from lipaudit.gate.policy import ModelPolicy
from lipaudit.gate.verdict import NOT_PROVEN, judge, verdict_of
from lipaudit.loading import Refusal, RefusedModel
from lipaudit.loading.arrays import read_array
from lipaudit.report.finding import Finding
from lipaudit.report.report import AuditReport, Command, Model

T = TypeVar("T")


def gate_report(policy: ModelPolicy, settings: Settings, progress: Progress | None) -> AuditReport:
    """One model with its rules and its verdict."""
    reports = _audits(policy, settings, progress)
    rules, verdict = judge(policy, reports)
    joined = _joined(reports)
    found = list(joined.findings)
    name = str(policy.model)
    if policy.preprocess is None:
        found.append(Finding("LIP203", name, "the configuration does not declare any preprocessing"))
    for rule in rules:
        if rule.result == "fail":
            found.append(Finding("LIP201", rule.id, f"{rule.measured!r} against a limit of {rule.limit!r}"))
        elif rule.result == "inconclusive" and not any(f.code in rule.detail for f in found):
            found.append(Finding(NOT_PROVEN, rule.id, rule.detail))
    return replace(joined, command="gate", rules=rules, verdict=verdict, findings=tuple(dict.fromkeys(found)))


def grouped(reports: list[AuditReport]) -> AuditReport:
    """The only report, or one over several models, with all their rules and findings."""
    if len(reports) == 1:
        return reports[0]
    rules = tuple(rule for report in reports for rule in report.rules)
    first, paths = reports[0], ", ".join(report.model.path for report in reports)
    return AuditReport(
        "gate",
        Model(paths, "", 0, (), (), None),
        first.problem,
        replace(first.run, seconds=sum(report.run.seconds for report in reports)),
        rules=rules,
        verdict=verdict_of(rules),
        findings=tuple(_of_model(finding, report) for report in reports for finding in report.findings),
        assumptions=_distinct(text for report in reports for text in report.assumptions),
        parts=tuple(reports),
    )


def _of_model(finding: Finding, report: AuditReport) -> Finding:
    path = report.model.path
    subject = finding.subject if finding.subject in ("", path) else f"{path}: {finding.subject}"
    return replace(finding, subject=subject or path)


def _audits(policy: ModelPolicy, settings: Settings, progress: Progress | None) -> list[AuditReport]:
    path, limits, spec = str(policy.model), policy.limits, policy.inputs
    points = None if spec is None else read_array(spec, "x", "inputs")
    source = spec or "inputs"
    wanted: list[tuple[Command, Callable[[], AuditReport]]] = []
    if limits.of_bound:
        wanted.append(("bound", lambda: rooms.bound(path, settings, progress, starts=points, source=source)))
    if limits.local and points is not None:
        data = points
        wanted.append(("local", lambda: rooms.local(path, data, settings, source=source, progress=progress)))
    if limits.of_certify and points is not None and (policy.labels is not None or policy.tolerance is not None):
        wanted.append(("certify", lambda: _certify(policy, points, settings, progress)))
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


def _certify(policy: ModelPolicy, points: np.ndarray, settings: Settings, progress: Progress | None) -> AuditReport:
    regression = policy.tolerance is not None
    labels = None if regression or policy.labels is None else read_array(policy.labels, "y", "labels")
    return rooms.certify(
        str(policy.model),
        points,
        labels,
        settings,
        source=policy.inputs or "inputs",
        labels_source=policy.labels or "labels",
        radii=tuple(radius for radius, _ in policy.limits.certified),
        tolerance=policy.tolerance,
        progress=progress,
    )


def _unproven(path: str, command: Command, why: str, settings: Settings, others: list[AuditReport]) -> AuditReport:
    """An audit that could not be made, beside others of the same model that were."""
    refused = refused_report(RefusedModel(path, (Refusal("", path, why, NOT_PROVEN),)), command, settings)
    return replace(refused, model=others[0].model, problem=others[0].problem) if others else refused


def _joined(reports: list[AuditReport]) -> AuditReport:
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
