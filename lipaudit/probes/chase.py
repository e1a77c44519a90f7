"""Moves of an attack: a walk along the boundary, balls that shrink, and the last steps on a linear piece."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import final

import torch

from lipaudit.graph.graph import Graph
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.probes.aims import Aim
from lipaudit.probes.projection import steepest, to_ball, to_hyperplane
from lipaudit.probes.seeds import inside

WALK, SHRINK, _HALVINGS, _POLISH = 30, 100, 30, 3
"""Steps of a walk, of a ball that shrinks, of the halving of a segment, and of the last ones."""

AFTER = 10
"""Steps that the halving and the last ones are reckoned as: they are done for one target alone, mostly forward."""

_OVERSHOOT, _BIAS, _BACK = 1.05, (0.25, 0.5), 0.9
"""Of the boundary walk: how far beyond the boundary, how much towards the sample, and how far back after a find."""

_STEP, _CLOSER = 1e-3, (0.05, 5e-4)
"""Of the shrinking balls: the last step, and the first and last change of the radius, relative to the radius."""

_BEYOND = 1.0 + 1e-9
"""Of the last steps: beyond the boundary of the linear piece by what rounding may take back."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Chase:
    """Samples x [B, *shape], each with a target [B] of its aim, and the nearest changed input found so far.

    found: [B, *shape]; reach: [B], its distance in the norm, inf where there is none.
    """

    graph: Graph
    norm: Norm
    region: Box | None
    deadline: float
    aim: Aim
    x: torch.Tensor
    targets: torch.Tensor
    found: torch.Tensor
    reach: torch.Tensor

    def walked(self, start: torch.Tensor, geometry: Norm) -> Chase:
        """From points [B, *shape] by projections on the linearised boundary, biased towards the sample.

        The FAB attack (Croce and Hein 2020, arXiv:1907.02044). geometry: of the steps.
        """
        at, best = start, self
        for _ in range(WALK):
            seen = best._seen(at)
            if seen is None:
                break
            best, margin, slope, changed = seen
            at = torch.where(self._wide(changed), self.x + _BACK * (at - self.x), at)
            # the margin after going back, to first order: the walk corrects what is left of the error
            back = margin + (1.0 - _BACK) * (slope * self._flat(self.x - at)).sum(1)
            margin = torch.where(changed, back, margin)
            own = self._projected(geometry, at, slope, -margin)
            # the same hyperplane seen from the sample: slope . d = slope . (at - x) - margin
            home = self._home(geometry, at, slope, margin)
            ahead, behind = geometry.of(own), geometry.of(home)
            weight = self._wide((ahead / (ahead + behind).clamp(min=1e-300)).clamp(*_BIAS))
            moved = (1.0 - weight) * (at + _OVERSHOOT * own) + weight * (self.x + _OVERSHOOT * home)
            at = inside(torch.where(moved.isfinite(), moved, at), self.region)
        return best

    def shrunk(self, start: torch.Tensor, first: torch.Tensor, guess: torch.Tensor) -> Chase:
        """From points [B, *shape], down the margin within a ball that shrinks after a find and grows without one.

        The FMN attack (Pintor, Roli, Brendel, Biggio 2021, arXiv:2102.12827) with steps in units of the radius. first:
        [B], the first step; it and the changes of the radius fall along a cosine. guess: [B], the radius where nothing
        is found yet.
        """
        low, high = (None, None) if self.region is None else self._room()
        move, best = self._flat(start - self.x), self
        radius = torch.where(self.reach.isfinite(), self.reach, guess)
        for number in range(SHRINK):
            seen = best._seen(self.x + move.reshape(self.x.shape))
            if seen is None:
                break
            best, _, slope, changed = seen
            cosine = (1.0 + math.cos(math.pi * number / SHRINK)) / 2.0
            closer = _CLOSER[1] + (_CLOSER[0] - _CLOSER[1]) * cosine
            radius = torch.where(changed, torch.minimum(radius, best.reach) * (1.0 - closer), radius * (1.0 + closer))
            radius = torch.minimum(radius, best.reach * (1.0 - _CLOSER[1]))
            if low is not None and high is not None:
                stuck = ((move <= low) & (slope > 0.0)) | ((move >= high) & (slope < 0.0))
                slope = torch.where(stuck, 0.0, slope)
            step = (_STEP + (first - _STEP) * cosine) * radius
            move = to_ball(self.norm, move - step[:, None] * steepest(self.norm, slope), radius)
            if low is not None and high is not None:
                move = torch.minimum(torch.maximum(move, low), high)
        return best

    def polished(self) -> Chase:
        """The nearest point of the linear piece at what was found, or a point on the way that has changed.

        Where the nearest input lies inside a piece of a piecewise linear network, one step is exact.
        """
        best = self
        for _ in range(_POLISH):
            known = best.reach.isfinite()
            seen = best._seen(best.found)
            if seen is None or not bool(known.any()):
                break
            _, margin, slope, _ = seen
            goal = self.x + _BEYOND * self._home(self.norm, best.found, slope, margin)
            for share in (1.0, 0.5, 0.125):
                tried = inside(best.found + share * (goal - best.found), self.region)
                best = best._kept(tried, self._changed(tried) & known)
        return best.halved()

    def halved(self) -> Chase:
        """The nearest point of each segment from the sample to what was found that still counts as changed."""
        known = self.reach.isfinite()
        if not bool(known.any()):
            return self
        low, high = torch.zeros_like(self.reach), torch.ones_like(self.reach)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            changed = self._changed(self.x + self._wide(middle) * (self.found - self.x))
            low, high = torch.where(changed, low, middle), torch.where(changed, middle, high)
        # where nothing nearer was seen to change, the point itself: x + 1 (found - x) need not be it
        nearest = self.x + self._wide(high) * (self.found - self.x)
        return self._kept(nearest, known & (high < 1.0))

    def _seen(self, at: torch.Tensor) -> tuple[Chase, torch.Tensor, torch.Tensor, torch.Tensor] | None:
        """(what is known now, margins [B], their gradients [B, n], changed [B]) at the points; None when time is over.

        None too where the margin does not depend on the input.
        """
        if time.monotonic() > self.deadline:
            return None
        with torch.enable_grad():
            leaf = at.detach().requires_grad_(True)
            outputs = self.graph.forward(leaf).flatten(1)
            margin = self.aim.margin(outputs, self.targets)
            if not margin.requires_grad:
                return None
            (slope,) = torch.autograd.grad(margin.sum(), leaf)
        changed = self.aim.changed(outputs.detach())
        return self._kept(at, changed), margin.detach(), self._flat(torch.nan_to_num(slope)), changed

    def _kept(self, at: torch.Tensor, changed: torch.Tensor) -> Chase:
        length = self.norm.of(at - self.x)
        nearer = changed & (length < self.reach)
        found = torch.where(self._wide(nearer), at, self.found)
        return replace(self, found=found, reach=torch.where(nearer, length, self.reach))

    def _changed(self, at: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return self.aim.changed(self.graph.forward(at).flatten(1))

    def _home(self, geometry: Norm, at: torch.Tensor, slope: torch.Tensor, margin: torch.Tensor) -> torch.Tensor:
        """The shortest move from the sample onto the boundary as it is linearised at other points."""
        return self._projected(geometry, self.x, slope, (slope * self._flat(at - self.x)).sum(1) - margin)

    def _projected(self, geometry: Norm, at: torch.Tensor, slope: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        flat = self._flat(at)
        if self.region is None:
            low, high = torch.full_like(flat, -torch.inf), torch.full_like(flat, torch.inf)
        else:
            low, high = self._flat(self.region.lower) - flat, self._flat(self.region.upper) - flat
        back = target > 0.0  # beyond the boundary already: back to it
        normal = torch.where(back[:, None], -slope, slope)
        return to_hyperplane(geometry, normal, -target.abs(), low, high).reshape(at.shape)

    def _room(self) -> tuple[torch.Tensor, torch.Tensor]:
        assert self.region is not None
        return self._flat(self.region.lower - self.x), self._flat(self.region.upper - self.x)

    def _wide(self, row: torch.Tensor) -> torch.Tensor:
        return row.reshape(-1, *[1] * (self.x.dim() - 1))

    def _flat(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(len(x), -1)
