"""Radii from constants over balls around each sample: never below the ones from constants over the whole domain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch

from lipaudit.audit.curving import curved_radii
from lipaudit.audit.raising import Sample, further
from lipaudit.audit.squaring import Squares, squared
from lipaudit.audit.stages import Grown, in_stages
from lipaudit.graph.graph import Graph
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.numerics.rounding import tensor_down
from lipaudit.probes.witness import values_at
from lipaudit.ranges.ball import Ball
from lipaudit.ranges.constants import ROWS, constants_of, drops_of
from lipaudit.ranges.curvature import Ranges, bent_falls, smooth
from lipaudit.ranges.hinges import hinged
from lipaudit.ranges.joined import Late
from lipaudit.ranges.near import Near, batch_size, near
from lipaudit.ranges.rows import Weights

FIRST = 0.35
"""Of the distance at which the margin's linear part would be used up: the first ball that is looked at."""

STEPS = 8
"""Of the descent in the multipliers of one ball."""


def local_radii(
    logits: Graph,
    norm: Norm,
    domain: Box | None,
    points: torch.Tensor,
    labels: torch.Tensor,
    pairs: torch.Tensor,
    known: torch.Tensor,
    worth: torch.Tensor,
    deadline: float,
    budget: float,
    tell: Callable[[int], None] | None = None,
) -> Grown:
    """Certified radii from balls that grow, by curvature, by quadratic certificates (in l2) and by branch and bound.

    They are never below those that are known [N].

    worth: [N], the samples to look at: classified as labelled, and inside the domain. pairs: [K, K], the constants of
    the differences of two outputs over the whole domain. budget: seconds, of which the last two have a share. The
    curvature is that of smooth networks, and not looked at in l1, where it showed nothing new.
    """
    weights, logits = Weights(), hinged(logits)
    if len(pairs) > ROWS:
        return Grown(known, int(worth.sum()))

    def batch(rows: torch.Tensor, late: float) -> _Batch:
        return _Batch.of(logits, norm, domain, points[rows], labels[rows], pairs, weights, late)

    def sample_of(row: torch.Tensor) -> Sample:
        own = batch(row, deadline)
        return Sample(logits, norm, domain, own.points, own.seeds, own.margins[0], weights)

    def squares_of(row: torch.Tensor, late: float) -> Squares:
        own = batch(row, late)
        return Squares(logits, domain, own.points, own.seeds, own.margins, weights, late)

    found = in_stages(known, worth, batch_size(logits), deadline, batch, tell)
    if norm is not Norm.L1 and smooth(logits):
        found = curved_radii(found, worth, batch_size(logits), deadline, batch)
    if norm is Norm.L2:
        found = squared(found, worth, deadline, budget, squares_of)
    return further(found, worth, logits, sample_of, deadline, budget, tell)


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    """Some samples with the functionals f_y - f_j of their labels y and all other classes j."""

    graph: Graph
    norm: Norm
    domain: Box | None
    points: torch.Tensor
    seeds: torch.Tensor
    margins: torch.Tensor
    anywhere: torch.Tensor
    weights: Weights
    deadline: float

    @staticmethod
    def of(
        graph: Graph,
        norm: Norm,
        domain: Box | None,
        points: torch.Tensor,
        labels: torch.Tensor,
        pairs: torch.Tensor,
        weights: Weights,
        deadline: float,
    ) -> _Batch:
        count, size = len(labels), len(pairs)
        others = torch.arange(size).expand(count, size)
        others = others[others != labels[:, None]].reshape(count, size - 1)
        units = torch.eye(size, dtype=torch.float64)
        seeds = (units[labels].unsqueeze(1) - units[others]).reshape(count, size - 1, *graph.output_shape)
        values = values_at(graph, points)
        low, high = values.lower.reshape(count, size), values.upper.reshape(count, size)
        margins = tensor_down(low.gather(1, labels[:, None]) - high.gather(1, others))
        anywhere = pairs[labels].gather(1, others)
        return _Batch(graph, norm, domain, points, seeds, margins, anywhere, weights, deadline)

    def first(self) -> torch.Tensor:
        """Where the linear part of some margin would be used up, in part: a guess of where to look."""
        with torch.enable_grad():
            leaf = self.points.clone().requires_grad_(True)
            values = self.graph.forward(leaf).flatten(1).unsqueeze(1)
            read = (values * self.seeds.flatten(2)).sum(2)
            nearest = (read / self.anywhere.clamp_min(1e-300)).detach().argmin(1, keepdim=True)
            (slope,) = torch.autograd.grad(read.gather(1, nearest).sum(), leaf)
        steep = self.norm.dual.of(slope)
        guess = FIRST * read.detach().gather(1, nearest)[:, 0] / steep.clamp_min(1e-300)
        return torch.nan_to_num(guess, nan=0.0, posinf=0.0).clamp(0.0, 1e100)

    def plain(self, rows: torch.Tensor, radius: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        around = self._near(rows, radius, apart=True)
        return torch.full_like(self.margins[rows], torch.inf), self._left(around, rows, 0)

    def relaxed(self, rows: torch.Tensor, radius: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        around = self._near(rows, radius)
        return torch.full_like(self.margins[rows], torch.inf), self._left(around, rows, 0)

    def whole(self, rows: torch.Tensor, radius: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        around = self._near(rows, radius)
        try:
            constants = constants_of(around, self.seeds[rows], self._weights(rows), STEPS)
        except MemoryError:
            raise Late from None
        return constants, self._left(around, rows, STEPS)

    def ranges(self, radius: torch.Tensor) -> Ranges:
        return Ranges.of(self._near(torch.arange(len(radius)), radius))

    def curved(
        self, rows: torch.Tensor, radius: torch.Tensor, inner: Sequence[Ranges]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        around = self._near(rows, radius)
        left = self._left(around, rows, STEPS)
        falls = bent_falls(Ranges.of(around), inner, self.seeds[rows], left <= 0)
        return torch.full_like(left, torch.inf), torch.maximum(left, tensor_down(self.margins[rows] - falls))

    def _weights(self, rows: torch.Tensor) -> torch.Tensor:
        return 1.0 / self.margins[rows].clamp_min(1e-150).square()

    def _near(self, rows: torch.Tensor, radius: torch.Tensor, apart: bool = False) -> Near:
        ball = Ball(self.points[rows], radius, self.norm, self.domain)
        return near(self.graph, ball, self.weights, self.deadline, apart)

    def _left(self, around: Near, rows: torch.Tensor, steps: int) -> torch.Tensor:
        """[r, J]: at most the margins anywhere in the balls, from their drops and from the ranges of the outputs."""
        g, box = self.seeds[rows].flatten(2), around.boxes[self.graph.output]
        low, high = box.lower.flatten(1).unsqueeze(1), box.upper.flatten(1).unsqueeze(1)
        # entries 1, -1 and 0 alone: a difference of two ends, rounded once
        by_range = tensor_down(torch.where(g > 0, low, torch.where(g < 0, -high, 0.0)).sum(2))
        by_drop = tensor_down(self.margins[rows] - drops_of(around, self.seeds[rows], self._weights(rows), steps))
        return torch.maximum(by_drop, torch.nan_to_num(by_range, nan=-torch.inf))
