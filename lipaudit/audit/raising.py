"""Radii raised by branch and bound on the sides of the undecided neurons around each sample."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import final

import torch

from lipaudit.audit.stages import Grown
from lipaudit.graph.graph import Graph
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.ops.elementwise import Elementwise
from lipaudit.ops.maxlike import PointwiseMax, SortPair, WindowMax
from lipaudit.ranges.ball import Ball
from lipaudit.ranges.branching import Effort, positive
from lipaudit.ranges.entries import Unknown
from lipaudit.ranges.halves import Halved
from lipaudit.ranges.joined import Late
from lipaudit.ranges.local import kink
from lipaudit.ranges.near import Near, near
from lipaudit.ranges.rows import Weights

SHARE = 0.5
"""Of the budget, for branch and bound, shared by all samples. It is reckoned in work, not timed."""

RATE = 2e9
"""About how many multiplications a second the trees of one core do."""

FIRST, DEEPER = 2e8, 4.0
"""Multiplications of one tree to begin with, and how many times as many where no radius closes with them any more."""

ENTRIES = 2**26
"""Of the rows of all functionals at the input: of more, no tree is begun."""

TREES = 32
"""Of one sample at most: where no class is ever reached, each only grows."""

GROWTH, SMALL, ENOUGH = 1.3, 1.06, 1.01
"""Of a radius that closed, the next one: at first, and once more work is given; the search ends below the last one."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One input [1, *shape] with functionals of at least margins_j + seeds_j (f(x) - f(point)), all positive there.

    seeds: [1, J, *output_shape], exact numbers; margins: [J].
    """

    graph: Graph
    norm: Norm
    domain: Box | None
    point: torch.Tensor
    seeds: torch.Tensor
    margins: torch.Tensor
    weights: Weights

    def stays(self, radius: float, effort: Effort) -> tuple[bool, float]:
        """(whether all functionals are proven to be positive within the radius, at what distance one seems not to be).

        The distance is that of a point, by float64 alone; inf where none was met. Raises Late, and Unknown where the
        region has too many neurons to split, or a node without a model.
        """
        if self.seeds.shape[1] * self.point.numel() > ENTRIES:
            raise Unknown("the rows of all functionals are too many")
        ball = Ball(self.point, torch.tensor([radius], dtype=torch.float64), self.norm, self.domain)
        around = near(self.graph, ball, self.weights, effort.deadline)
        effort.left -= cost(around)
        halved = Halved.of(around, self.seeds, self.margins)
        here, rows = self.graph.forward(self.point).flatten(1), self.seeds[0].flatten(1)

        def met(which: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
            points = (self.point.flatten(1) + step).reshape(len(step), *self.point.shape[1:])
            moved = self.graph.forward(points).flatten(1) - here
            return self.margins[which] + (moved * rows[which]).sum(1)

        found = positive(halved, met, effort)
        reach = math.inf if found.against is None else float(self.norm.of(found.against[None])[0])
        return found.proven, reach

    def farthest(self) -> float:
        """At least the distance of every input of the domain, inf without one."""
        if self.domain is None:
            return math.inf
        away = torch.maximum((self.point - self.domain.lower).abs(), (self.domain.upper - self.point).abs())
        return float(self.norm.of(away.flatten(1))[0]) * (1.0 + 2.0**-30)


def further(
    found: Grown,
    worth: torch.Tensor,
    graph: Graph,
    sample_of: Callable[[torch.Tensor], Sample],
    deadline: float,
    budget: float,
    tell: Callable[[int], None] | None,
) -> Grown:
    """The radii [N] found, raised sample by sample: each has as much work as its part of SHARE of the budget.

    worth: [N], the samples that were looked at; sample_of: of one row [1]. Ctrl-C ends it, and keeps what there is.
    """
    able = (worth & (found.values > 0) & found.values.isfinite()).nonzero()[:, 0]
    if found.cut or not len(able) or not splits(graph):
        return found
    values, work = found.values.clone(), SHARE * budget * RATE / len(able)
    cut = False
    try:
        for done, row in enumerate(able, start=1):
            now = time.monotonic()
            if now >= deadline:
                break
            late = now + min(deadline - now, 2.0 * (deadline - now) / (len(able) - done + 1))
            values[row] = raised(sample_of(row[None]), float(values[row]), work, late)
            if tell is not None:
                tell(int(worth.sum()) + done)
    except KeyboardInterrupt:
        cut = True
    return replace(found, values=values, cut=cut, raised=int((values > found.values).sum()))


def cost(around: Near) -> float:
    """Multiplications that finding the ranges of one ball counts for: lines of all neurons, through those before."""
    neurons, inputs = around.joined.size, around.ball.centre[0].numel()
    return 5e7 + 3e3 * neurons * (neurons / 2 + inputs)


def splits(graph: Graph) -> bool:
    """Whether some of its neurons may be two half-lines."""
    ops = [node.op for node in graph.nodes]
    if any(isinstance(op, WindowMax | PointwiseMax | SortPair) for op in ops):
        return True
    return any(isinstance(op, Elementwise) and kink(op.function, op.shape) is not None for op in ops)


def raised(sample: Sample, known: float, work: float, deadline: float = math.inf) -> float:
    """A radius that is proven, at least the known one, which is positive and finite.

    A radius is tried by one tree. One that closes is followed by a larger one, one that does not by one between; where
    that comes to its end, trees may be larger. work: multiplications in all. What is tried depends on it and not on the
    clock; at the deadline (time.monotonic()) what is proven is all there is.
    """
    farthest = sample.farthest()
    best, above, failed, most, growth = known, math.inf, math.inf, FIRST, GROWTH
    for _ in range(TREES):
        if work <= 0 or best >= farthest or above <= best * ENOUGH:
            break
        if failed < best * ENOUGH:
            failed, most, growth = math.inf, most * DEEPER, SMALL
        bound = min(above, failed)
        radius = min(best * growth, math.sqrt(best * bound) if math.isfinite(bound) else math.inf)
        if not best < radius < math.inf:
            break
        effort = Effort(min(most, work), deadline)
        given = effort.left
        try:
            proven, reach = sample.stays(radius, effort)
        except (Late, Unknown, MemoryError):
            break
        work -= given - effort.left
        if proven:
            best = radius
        elif math.isfinite(reach):
            above = min(above, max(reach, best))
        else:
            failed = radius
    return best
