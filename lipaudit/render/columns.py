"""What a report knows of each sample: the columns that the formats with one row a sample share."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lipaudit.report.report import AuditReport

Value = float | int | bool | str | None


def columns(report: AuditReport) -> dict[str, np.ndarray]:
    """The columns by name, each [count]; empty for an audit that looked at no samples.

    norm: of the Jacobian (numeric). lower, upper: of the constant over the ball around the sample, attained and
    certified. label: as given.
    radius: certified, in raw units. whole_domain: the one from constants over the whole domain alone.
    correct: classified as labelled.
    attacked: the distance of the nearest counterexample found, rounded up (inf: none);
    answer: its class, for a regression the output that moved most (-1: none).
    """
    found: dict[str, np.ndarray] = {}
    if report.samples is not None:
        found["norm"] = report.samples.values
    if report.regions is not None:
        found["lower"] = report.regions.lower
        found["upper"] = report.regions.values
    if report.radii is not None:
        if report.radii.labels is not None:
            found["label"] = report.radii.labels
        found["radius"] = report.radii.values
        if report.radii.whole is not None:
            found["whole_domain"] = report.radii.whole
        found["correct"] = np.asarray(report.radii.correct, dtype=bool)
        if report.radii.attack is not None:
            found |= {"attacked": report.radii.attack.values, "answer": report.radii.attack.answers}
    return found


def rows(report: AuditReport) -> Iterator[dict[str, Value]]:
    """One row a sample: its index among those given, and what is known of it, under the same names in every row.

    Where several models were audited the first entry names the row's model. None where an audit looked at fewer
    samples than another of the same model.
    """
    for part in report.parts or (report,):
        known = columns(part)
        start: dict[str, Value] = {"model": part.model.path} if report.parts else {}
        blank: dict[str, Value] = dict.fromkeys(header(report)[len(start) + 1 :])
        for row in range(max(map(len, known.values()), default=0)):
            values = {name: column[row].item() for name, column in known.items() if row < len(column)}
            yield start | {"index": part.index(row)} | blank | values


def header(report: AuditReport) -> list[str]:
    """The names of the columns, in the order in which they are written."""
    parts = report.parts or (report,)
    known = dict.fromkeys(name for part in parts for name in columns(part))
    return [*(["model"] if report.parts else []), "index", *known]
