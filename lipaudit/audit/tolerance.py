"""Radii of a regression: within which no output vector moves further than a tolerance."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
import torch

from lipaudit.audit.bounding import best_upper
from lipaudit.audit.growing import FIRST, STEPS
from lipaudit.audit.raising import Sample, further
from lipaudit.audit.stages import Grown, in_stages
from lipaudit.audit.subject import Subject
from lipaudit.errors import UsageError
from lipaudit.graph.graph import Graph
from lipaudit.graph.problem import Problem
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm, NormPair
from lipaudit.numerics.rounding import gamma, tensor_down, tensor_up, up
from lipaudit.probes.radii import regression_radius
from lipaudit.ranges.ball import Ball
from lipaudit.ranges.constants import ROWS, Slopes, constants_of, drops_of
from lipaudit.ranges.entries import Unknown
from lipaudit.ranges.hinges import hinged
from lipaudit.ranges.joined import Late
from lipaudit.ranges.near import Near, batch_size, near
from lipaudit.ranges.rows import Weights
from lipaudit.report.report import Method, Radii

LABEL = "tolerance used up by the constants over growing balls"

_LOOKED = 16
"""Outputs whose slope at the centre says where to look first."""


def global_radii(target: Subject, points: torch.Tensor, tolerance: float, source: str) -> tuple[Radii, Method]:
    """The tolerance over the constant of the whole domain, the same for every sample. Raises UsageError."""
    if not tolerance > 0.0:
        raise UsageError(f"--tolerance {tolerance} is not positive")
    settings = target.settings
    method = best_upper(Problem.over(target.simplified, settings.norm, target.region, settings.budget, settings.limits))
    constant = math.inf if method.bound is None else method.bound.value
    values = np.full(len(points), regression_radius(constant, tolerance))
    everyone = np.ones(len(points), dtype=bool)
    return Radii(source, values, everyone, (constant, constant), method.label, tolerance), method


def local_tolerance_radii(
    graph: Graph,
    pair: NormPair,
    domain: Box | None,
    points: torch.Tensor,
    tolerance: float,
    constant: float,
    known: torch.Tensor,
    worth: torch.Tensor,
    deadline: float,
    budget: float,
    tell: Callable[[int], None] | None = None,
) -> Grown:
    """Radii from balls that grow, never below those that are known [N]; constant: over the whole domain.

    Along the segment from the centre the output moves by at most the sum over shells of each ball's constant times its
    thickness (`ranges/shells.py`), so the tolerance takes the place of a margin. Where the norm of the output is the
    largest of its entries, branch and bound on each of them, up and down, goes on from there.
    """
    graph, weights, count = hinged(graph), Weights(), math.prod(graph.output_shape)
    if count > ROWS:
        return Grown(known, int(worth.sum()))

    def batch(rows: torch.Tensor, late: float) -> _Batch:
        return _Batch(graph, pair, domain, points[rows], tolerance, constant, weights, late)

    found = in_stages(known, worth, batch_size(graph), deadline, batch, tell)
    if count > 1 and pair.target is not Norm.LINF:
        return found
    units = torch.eye(count, dtype=torch.float64).reshape(1, count, *graph.output_shape)
    seeds, margins = torch.cat([units, -units], 1), torch.full((2 * count,), tolerance, dtype=torch.float64)

    def sample_of(row: torch.Tensor) -> Sample:
        return Sample(graph, pair.source, domain, points[row], seeds, margins, weights)

    return further(found, worth, graph, sample_of, deadline, budget, tell)


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    """Some samples, with the outputs themselves as functionals."""

    graph: Graph
    pair: NormPair
    domain: Box | None
    points: torch.Tensor
    tolerance: float
    constant: float
    weights: Weights
    deadline: float

    @property
    def margins(self) -> torch.Tensor:
        return torch.full((len(self.points), 1), self.tolerance, dtype=torch.float64)

    @property
    def anywhere(self) -> torch.Tensor:
        return torch.full((len(self.points), 1), self.constant, dtype=torch.float64)

    def first(self) -> torch.Tensor:
        """Where the linear part would use the tolerance up, in part: a guess of where to look."""
        with torch.enable_grad():
            leaf = self.points.clone().requires_grad_(True)
            values = self.graph.forward(leaf).flatten(1)
            if not values.requires_grad:
                return torch.ones(len(leaf), dtype=torch.float64)
            slopes = [
                torch.autograd.grad(values[:, k].sum(), leaf, retain_graph=True)[0]
                for k in range(min(_LOOKED, values.shape[1]))
            ]
        steep = torch.stack([self.pair.source.dual.of(slope) for slope in slopes], 1)
        guess = FIRST * self.tolerance / self.pair.target.of(steep).clamp_min(1e-300)
        return torch.nan_to_num(guess, nan=0.0, posinf=0.0).clamp(0.0, 1e100)

    def plain(self, rows: torch.Tensor, radius: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        left = self._left(self._near(rows, radius, apart=True), 0)
        return torch.full_like(left, torch.inf), left

    def relaxed(self, rows: torch.Tensor, radius: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        left = self._left(self._near(rows, radius), 0)
        return torch.full_like(left, torch.inf), left

    def whole(self, rows: torch.Tensor, radius: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        around = self._near(rows, radius)
        seeds = self._seeds(len(rows))
        try:
            found = _length(self.pair.target, constants_of(around, seeds, self._even(seeds), STEPS))
            if self.pair.source is self.pair.target and self.pair.target is not Norm.LINF and seeds.shape[1] > 1:
                with contextlib.suppress(Unknown):
                    found = torch.minimum(found, Slopes.of(around, seeds).norms(self.pair.source, STEPS))
        except MemoryError:
            raise Late from None
        return found[:, None], self._left(around, STEPS)

    def _near(self, rows: torch.Tensor, radius: torch.Tensor, apart: bool = False) -> Near:
        ball = Ball(self.points[rows], radius, self.pair.source, self.domain)
        return near(self.graph, ball, self.weights, self.deadline, apart)

    def _seeds(self, count: int) -> torch.Tensor:
        size = math.prod(self.graph.output_shape)
        units = torch.eye(size, dtype=torch.float64).reshape(1, size, *self.graph.output_shape)
        return units.expand(count, *units.shape[1:]).contiguous()

    def _even(self, seeds: torch.Tensor) -> torch.Tensor:
        return torch.ones(seeds.shape[:2], dtype=torch.float64)

    def _left(self, around: Near, steps: int) -> torch.Tensor:
        """[r, 1]: the tolerance less the most that the output moves in the balls, by drops and by ranges."""
        units = self._seeds(len(around.ball))
        seeds = torch.cat([units, -units], 1)
        down, rise = drops_of(around, seeds, self._even(seeds), steps).chunk(2, 1)
        box, centre = around.boxes[self.graph.output], around.centres[self.graph.output]
        wide = torch.maximum(tensor_up(box.upper - centre.lower), tensor_up(centre.upper - box.lower)).flatten(1)
        moved = torch.minimum(torch.maximum(down, rise), torch.nan_to_num(wide, nan=torch.inf))
        return tensor_down(self.tolerance - _length(self.pair.target, moved))[:, None]


def _length(norm: Norm, entries: torch.Tensor) -> torch.Tensor:
    """[B]: at least the norm of each row of entries [B, K] that are not negative; inf for NaN."""
    if norm is Norm.LINF:
        return torch.nan_to_num(entries, nan=torch.inf, posinf=torch.inf).amax(1)
    size = norm.of(entries) * up(1.0 + gamma(entries.shape[1] + 8)) + 2.0**-500
    return torch.nan_to_num(tensor_up(size), nan=torch.inf, posinf=torch.inf)
