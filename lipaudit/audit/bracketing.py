"""The other end of the certified constants over balls: what pairs of points inside each of them attain."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from lipaudit.audit.regions import batches
from lipaudit.audit.subject import Subject
from lipaudit.numerics.bound import LowerBound
from lipaudit.probes.around import attained_in
from lipaudit.probes.witness import Witness
from lipaudit.ranges.ball import Ball
from lipaudit.report.finding import Finding
from lipaudit.report.report import Regions

SHARE = 1.0 / 6.0
"""Of the budget, what the searches of all balls together are laid out to take; it comes on top of the bounds' own."""

_PATIENT = 8.0
"""Times as long is the longest that they take, on however slow or busy a machine."""


def bracketed(
    target: Subject,
    points: torch.Tensor,
    above: Regions,
    met: torch.Tensor,
    progress: Callable[[int], None] | None = None,
) -> tuple[Regions, Witness | None, tuple[Finding, ...]]:
    """(the constants with what is attained inside each ball, the steepest of the pairs, what contradicts itself).

    met: [N, *input_shape], points of the balls that are known to be steep, NaN for none.

    Sound: two points of one ball are points of the domain, so the steepest pair counts for the whole of it too. A bound
    that lies below what is attained is withdrawn and said (LIP901).
    """
    started, settings = time.monotonic(), target.settings
    graph, norm = target.simplified, settings.one_norm("a ball's bound is known in one norm only")
    seconds = settings.budget * SHARE
    values, best = torch.zeros(len(points), dtype=torch.float64), None
    for rows in batches(graph, len(points)):
        centre = points[rows]
        ball = Ball(centre, torch.full((len(centre),), above.radius, dtype=torch.float64), norm, target.region)
        found = attained_in(
            target.graph,
            graph,
            ball,
            met[rows].unsqueeze(0),
            seconds=seconds * len(centre) / len(points),
            seed=settings.seed,
            deadline=started + _PATIENT * seconds,
        )
        values[rows] = found.values
        top = int(found.values.argmax())
        slope = float(found.values[top])
        if slope > (0.0 if best is None else best.bound.value):
            best = Witness(LowerBound(slope, "slope between two points"), found.x[top], found.y[top])
        if progress is not None:
            progress(rows.start + len(centre))
    lower = values.numpy()
    wrong = np.flatnonzero(lower > above.values)
    seconds = above.seconds + time.monotonic() - started
    if not len(wrong):
        return replace(above, lower=lower, seconds=seconds), best, ()
    said = f"around sample {wrong[0]} and {len(wrong) - 1} others the bound lies below what is attained in the ball"
    kept = np.where(lower > above.values, np.inf, above.values)
    finding = Finding("LIP901", "constants over balls", said)
    return replace(above, values=kept, lower=lower, seconds=seconds), best, (finding,)
