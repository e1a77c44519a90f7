"""Radii raised by branch and bound on the undecided neurons around each sample."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch

from lipaudit.graph.graph import Graph
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.ranges.ball import Ball
from lipaudit.ranges.branching import Effort, positive
from lipaudit.ranges.entries import Unknown
from lipaudit.ranges.halves import Halved
from lipaudit.ranges.joined import Late
from lipaudit.ranges.near import near
from lipaudit.ranges.rows import Weights

RATE = 3e9
"""About how many multiplications a second the trees of one core do."""

FIRST, DEEPER = 2e8, 4.0
"""Multiplications of one tree to begin with, and how many times as many where no radius closes with them any more."""

LEAST = 1e7
"""Multiplications that a tree counts for at least: what finding the ranges takes beside it."""

GROWTH, SMALL, ENOUGH = 1.3, 1.06, 1.015
"""Of a radius that closed, the next one: at first, and once more work is given; the search ends below the last one."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One input [1, *shape] with functionals [1, J, *output_shape] of at least `margins` [J], all positive, there."""

    graph: Graph
    norm: Norm
    domain: Box | None
    point: torch.Tensor
    seeds: torch.Tensor
    margins: torch.Tensor
    weights: Weights

    def stays(self, radius: float, effort: Effort) -> tuple[bool, float]:
        """(whether all functionals are proven to be positive within the radius, at what distance one seems not to be).

        The distance is that of a point, by float64 alone; inf where none was met. Raises Late and Unknown.
        """
        ball = Ball(self.point, torch.tensor([radius], dtype=torch.float64), self.norm, self.domain)
        around = near(self.graph, ball, self.weights, effort.deadline)
        halved = Halved.of(around, self.seeds, self.margins)

        def met(which: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
            points = (self.point.flatten(1) + step).reshape(len(step), *self.point.shape[1:])
            values = self.graph.forward(points).flatten(1)
            return (values * self.seeds[0].flatten(1)[which]).sum(1)

        found = positive(halved, met, effort)
        reach = math.inf if found.against is None else float(self.norm.of(found.against[None])[0])
        return found.proven, reach


def raised(sample: Sample, known: float, work: float, deadline: float = math.inf) -> tuple[float, int]:
    """(a radius that is proven, at least the known one, which is positive; how many nodes that took).

    A radius is tried by one tree. One that closes is followed by a larger one, one that does not by one between; where
    that comes to its end, trees may be larger. work: multiplications in all. What is tried depends on it and not on the
    clock; at the deadline (time.monotonic()) what is proven is all there is.
    """
    best, above, failed, most, growth, nodes = known, math.inf, math.inf, FIRST, GROWTH, 0
    while work > 0 and above > best * ENOUGH:
        if failed < best * ENOUGH:
            failed, most, growth = math.inf, most * DEEPER, SMALL
        bound = min(above, failed)
        radius = min(best * growth, math.sqrt(best * bound) if math.isfinite(bound) else math.inf)
        effort = Effort(min(most, work), deadline)
        given = effort.left
        try:
            proven, reach = sample.stays(radius, effort)
        except (Late, Unknown, MemoryError):
            break
        work -= max(given - effort.left, LEAST)
        nodes += effort.nodes
        if proven:
            best = radius
        elif math.isfinite(reach):
            above = min(above, radius)
        else:
            failed = radius
    return best, nodes
