"""The attack of `certify`: candidates are given to onnxruntime and to exact arithmetic, and only then count."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

from lipaudit.audit.confirming import Change, Confirm
from lipaudit.audit.subject import Subject
from lipaudit.graph.graph import Graph
from lipaudit.numerics.norms import Norm
from lipaudit.probes.attack import nearest_changes
from lipaudit.probes.witness import batches
from lipaudit.report.report import Attack, Nearest, Radii

LABEL = "boundary walks and shrinking balls, confirmed by onnxruntime"
SECONDS = 10.0

SHOWN = 12
"""How many counterexamples are kept beside their samples, to be shown."""

_SEARCH = 2.0 / 3.0
"""Of the seconds: what the search is worth."""

_PATIENT, _HURRY = 4.0, 3.0
"""Times the seconds is the longest that is waited for; and seconds for what was found before Ctrl-C."""


def attacked(
    target: Subject,
    norm: Norm,
    search: Graph,
    exact: Graph,
    points: torch.Tensor,
    radii: Radii,
    change: Change,
    seconds: float,
    progress: Callable[[int], None] | None = None,
) -> tuple[Attack, bool, bool]:
    """Counterexamples of the samples [N, *input_shape] that are right and inside the domain; whether Ctrl-C cut it,
    and whether the clock did.

    search, exact: the model up to the outputs that are compared, simplified and as the file has it. change: what is
    looked for. The work is reckoned (`probes/attack.py`); only a machine that needs four times as long is not waited
    for. What is reported is an input, exactly representable in the model's own type where the domain has room for it,
    whose output changes in onnxruntime and, enclosed in intervals, in real arithmetic too.
    """
    started = time.monotonic()
    tried = torch.as_tensor(radii.correct & _inside(points, target))
    where = tried.nonzero()[:, 0]
    values = np.where(radii.correct, np.inf, 0.0)
    answers = np.where(radii.correct, -1, _answers(exact, points))
    kept = np.full(tuple(points.shape), np.nan)
    unconfirmed, cut, late = 0, False, False
    if len(where):
        found = nearest_changes(
            search,
            norm,
            points[where],
            change.aim(where),
            target.region,
            seconds=_SEARCH * seconds,
            deadline=started + _PATIENT * seconds,
            seed=target.settings.seed,
            progress=progress,
        )
        tried[where], cut, late = found.tried, found.cut, found.late
        some = found.distances.isfinite()
        until = time.monotonic() + (_HURRY if cut else _PATIENT * seconds)
        rows = where[some].numpy()
        confirm = Confirm(target, norm, exact, points, change, until)
        values[rows], answers[rows], kept[rows] = confirm(found.points[some], rows)
        unconfirmed = int(np.isinf(values[rows]).sum())
    right = np.flatnonzero((answers >= 0) & radii.correct)
    order = right[np.argsort(values[right], kind="stable")][:SHOWN].tolist()
    nearest = tuple(Nearest(row, points[row].numpy().copy(), kept[row].copy()) for row in order)
    took = time.monotonic() - started
    return Attack(LABEL, values, answers, kept, tried.numpy(), unconfirmed, took, nearest), cut, late


def contradicted(attack: Attack, radii: Radii) -> np.ndarray:
    """The samples whose counterexample lies inside their certified radius, which no sound radius allows."""
    return np.flatnonzero(attack.found & np.asarray(radii.correct) & (attack.values < radii.values))


def _inside(points: torch.Tensor, target: Subject) -> np.ndarray:
    if target.region is None:
        return np.ones(len(points), dtype=bool)
    within = (points >= target.region.lower) & (points <= target.region.upper)
    return np.asarray(within.reshape(len(points), -1).all(1).numpy(), dtype=bool)


def _answers(logits: Graph, points: torch.Tensor) -> np.ndarray:
    """[N]: the entry of the output that is largest."""
    with torch.no_grad():
        rows = [logits.forward(points[part]).flatten(1) for part in batches(logits, len(points))]
    return np.asarray(torch.cat(rows).argmax(1).numpy())
