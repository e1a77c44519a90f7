"""Certified constants over balls around inputs: the smallest of every valid certificate, sample by sample."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch

from lipaudit.audit.bounding import engines_for
from lipaudit.audit.subject import Subject
from lipaudit.engines.engine import Declined, Engine, run
from lipaudit.engines.entrywise import entry_sums
from lipaudit.engines.layer_product import LayerProduct
from lipaudit.engines.splitting import Search, cost
from lipaudit.graph.graph import Graph
from lipaudit.graph.problem import Problem
from lipaudit.linear.norms.operator import OperatorNorms
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm, NormPair
from lipaudit.ranges.ball import Ball
from lipaudit.ranges.cells import Cells
from lipaudit.ranges.constants import ROWS, norms_over
from lipaudit.ranges.entries import Unknown
from lipaudit.ranges.joined import Late
from lipaudit.ranges.near import Near, batch_size, near
from lipaudit.ranges.rows import Weights
from lipaudit.report.report import Regions

GLOBAL = "the bound over the whole domain"
UNREACHED = f"{GLOBAL}: the budget did not reach the ball"
SHARE = 1.0 / 3.0
"""Of the budget, for the bound over the whole domain that no ball's may exceed."""

ENDED = "branch and bound on the sides of the neurons, run to its end"
STOPPED = "branch and bound on the sides of the neurons, stopped"
SPLIT_SHARE = 1.0 / 3.0
"""Of the budget, for the branch and bound, shared by all balls. It is reckoned in cells, not timed."""

LEAST_CELLS = 8
"""A ball for which the share is not enough for as many is left as it is."""

Measure = Callable[[Problem, Near], torch.Tensor]
"""Upper bounds [B] over the balls; the problem has their ranges. Raises Declined or Unknown where it has none."""


@final
@dataclass(frozen=True, slots=True)
class Way:
    """One certificate of a ball's constant, and the norms it has something to say in."""

    label: str
    measure: Measure
    norms: frozenset[Norm] = frozenset(Norm)


def by_product(problem: Problem, near: Near) -> torch.Tensor:
    """The product of layer gains over each ball's own ranges."""
    values = [_alone(LayerProduct(), problem, row) for row in range(len(near.ball))]
    return torch.tensor(values, dtype=torch.float64)


def _alone(engine: Engine, problem: Problem, row: int) -> float:
    """An engine's bound over one region of the batch."""
    region, *boxes = (Box(b.lower[row : row + 1], b.upper[row : row + 1]) for b in (problem.region, *problem.boxes))
    return engine.bound(replace(problem, region=region, boxes=tuple(boxes))).value


def by_slopes(problem: Problem, near: Near) -> torch.Tensor:
    """What the undecided neurons of each ball can do, all others being linear."""
    return norms_over(near, _units(problem.graph, len(near.ball)))


def _units(graph: Graph, count: int) -> torch.Tensor:
    """[count, K, *output_shape]: every output. Raises Unknown where they are too many."""
    size = int(torch.Size(graph.output_shape).numel())
    if size > ROWS:
        raise Unknown(f"{size} outputs are more than the {ROWS} whose rows are pulled through each region")
    units = torch.eye(size, dtype=torch.float64).reshape(1, size, *graph.output_shape)
    return units.expand(count, *units.shape[1:])


WAYS: tuple[Way, ...] = (
    Way("product of layer gains over the ball", by_product),
    Way("entries of the Jacobian over the ball", lambda p, _: entry_sums(p), frozenset({Norm.L1, Norm.LINF})),
    Way("slopes of the neurons over the ball", by_slopes),
)


def regions(
    target: Subject,
    points: torch.Tensor,
    radius: float,
    source: str,
    progress: Callable[[int], None] | None = None,
) -> tuple[Regions, torch.Tensor]:
    """Upper bounds of the Lipschitz constant over {x' : |x' - x| <= radius} cut by the domain, for every x of points.

    Never above the bound over the whole domain. A sample that the budget does not reach gets that one.
    Also the points [N, *input_shape] with the largest norm that the branch and bound met, NaN where it met none.
    """
    started, settings = time.monotonic(), target.settings
    deadline = started + settings.budget
    graph, norm = target.simplified, settings.one_norm("a ball's bound is known in one norm only")
    whole = whole_bound(Problem.over(graph, norm, target.region, settings.budget * SHARE, settings.limits))
    ways = [way for way in WAYS if norm in way.norms]
    values = torch.full((len(points),), whole, dtype=torch.float64)
    looked_at, unreached = len(ways) + 2, len(ways) + 3
    chosen = torch.full((len(points),), unreached, dtype=torch.int64)
    weights = Weights(OperatorNorms(replace(settings.limits, deadline=deadline)))
    met = torch.full_like(points, torch.nan)
    worth, split_seconds = dict[int, float](), settings.budget * SPLIT_SHARE / max(1, len(points))
    for rows in batches(graph, len(points)):
        centre = points[rows]
        ball = Ball(centre, torch.full((len(centre),), radius, dtype=torch.float64), norm, target.region)
        try:
            around = near(graph, ball, weights, deadline)
            problem = Problem(graph, NormPair.of(norm), around.boxes[0], around.boxes, weights.norms, deadline)
            for place, way in enumerate(ways):
                _take(values[rows], chosen[rows], place, way, problem, around)
        except Late:
            break
        chosen[rows].masked_fill_(chosen[rows] == unreached, looked_at)
        worth[rows.start] = split_seconds / cost(around.joined.size, around.joined.size, centre[0].numel())
        if progress is not None:
            progress(rows.stop)
    for rows in batches(graph, len(points)):
        if worth.get(rows.start, 0.0) < LEAST_CELLS:
            continue
        ball = Ball(points[rows], torch.full_like(values[rows], radius), norm, target.region)
        if not _divide(values[rows], chosen[rows], met[rows], len(ways), graph, ball, weights, split_seconds, deadline):
            break
    nothing = np.zeros(len(points))  # is attained yet
    labels = (*(way.label for way in ways), ENDED, STOPPED, GLOBAL, UNREACHED)
    return Regions(source, radius, values.numpy(), labels, chosen.numpy(), nothing, time.monotonic() - started), met


def _divide(
    values: torch.Tensor,
    chosen: torch.Tensor,
    met: torch.Tensor,
    place: int,
    graph: Graph,
    ball: Ball,
    weights: Weights,
    seconds: float,
    deadline: float,
) -> bool:
    """Lowers the values, in place, by branch and bound over every ball. False where no other ball is for it.

    met: what it met is written there.
    """
    try:
        around = near(graph, ball, weights, deadline)
        found = Cells.of(around, _units(graph, len(ball)))
    except (Late, Unknown):
        return False
    for row, cells in enumerate(found):
        limit = int(seconds / cost(cells.inner.shape[1], cells.inner.shape[2], cells.rows.shape[2]))
        if limit < LEAST_CELLS:
            continue
        explored = Search(cells, ball.norm, limit, deadline).run()
        if explored.point is not None:
            met[row] = ball.centre[row] + explored.point.reshape(ball.centre[row].shape)
        if explored.value < float(values[row]):
            values[row], chosen[row] = explored.value, place + (not explored.complete)
        if time.monotonic() > deadline:
            return False
    return True


def _take(values: torch.Tensor, chosen: torch.Tensor, place: int, way: Way, problem: Problem, around: Near) -> None:
    """Lowers the values, in place, where the way proves less."""
    try:
        found = way.measure(problem, around)
    except (Declined, Unknown, MemoryError):
        return
    better = found < values
    values[:] = torch.where(better, found, values)
    chosen[:] = torch.where(better, place, chosen)


def whole_bound(problem: Problem) -> float:
    """The smallest bound of all engines over the problem's region, inf where none has any."""
    found = [outcome.bound.value for engine in engines_for(problem.norm) if (outcome := run(engine, problem)).bound]
    return min(found, default=math.inf)


def batches(graph: Graph, count: int) -> list[slice]:
    """Consecutive slices of samples: few enough for their rows to fit, and for the budget to be looked at."""
    step = batch_size(graph)
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]


def drawn(count: int, limit: int | None, seed: int) -> np.ndarray | None:
    """The places of `limit` of `count` samples, drawn without replacement by the seed, in order; None for all."""
    if limit is None or limit >= count:
        return None
    picked = torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:limit]
    return picked.sort().values.numpy()


def drawing(count: int, of: int, seed: int) -> str:
    """The sampling rule, for the report."""
    return f"{count} of the {of} samples were audited, drawn without replacement with seed {seed}"
