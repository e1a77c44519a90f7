"""Radii in l2 raised by quadratic certificates of the margins, sample by sample."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import final

import torch

from lipaudit.audit.stages import Grown
from lipaudit.graph.graph import Graph
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.ranges.ball import Ball
from lipaudit.ranges.constants import drops_of
from lipaudit.ranges.entries import Unknown
from lipaudit.ranges.joined import Late
from lipaudit.ranges.near import near
from lipaudit.ranges.quadratic import LARGEST, Forms, numbered, shown
from lipaudit.ranges.reduced import Asked, Reduced
from lipaudit.ranges.rows import Weights

BALLS, AHEAD = 16, 4
"""That a sample is looked at, at most; and for how many of them one functional is followed alone."""

GROWTH, ENOUGH = 1.5, 1.05
"""Of a radius that was shown, the next one; and how near the one that was not ends the search."""

STEPS = 8
"""Of the descent in the ellipsoid's multipliers."""

SECONDS = 4e-8
"""About what a search takes, times the cube of the number of neurons: it is not begun where there is no time for it."""


SHARE = 0.5
"""Of the budget, for all samples together, if that much is left."""


def squared(
    found: Grown,
    worth: torch.Tensor,
    deadline: float,
    budget: float,
    sample: Callable[[torch.Tensor, float], Squares],
) -> Grown:
    """The radii [N] found so far raised, of the samples `worth` [N] that have any: sample([row], deadline).

    Each has its part of SHARE of the budget. Ctrl-C ends it: every radius so far is a proof by itself.
    """
    values, now = found.values.clone(), time.monotonic()
    places, until = (worth & (values > 0) & values.isfinite()).nonzero()[:, 0], min(deadline, now + SHARE * budget)
    cut = found.cut
    try:
        for number, row in enumerate(places):
            now = time.monotonic()
            if cut or now >= until:
                break
            late = now + (until - now) / (len(places) - number)
            values[row] = sample(row[None], late).raised(float(values[row]))
    except KeyboardInterrupt:
        cut = True
    return replace(found, values=values, cut=cut, squared=int((values > found.values).sum()))


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Around:
    """A ball: the reduced problem with its functionals, and what they are known to fall without quadratic forms."""

    problem: Reduced
    asked: Asked
    places: torch.Tensor
    drops: torch.Tensor

    @property
    def neurons(self) -> int:
        return len(self.places)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Squares:
    """One input [1, *shape] with functionals of at least margins_j + seeds_j (f(x) - f(point)), all positive there.

    seeds: [1, J, *output_shape], exact numbers; margins: [1, J]. found: forms by functional, kept between balls.
    """

    graph: Graph
    domain: Box | None
    point: torch.Tensor
    seeds: torch.Tensor
    margins: torch.Tensor
    weights: Weights
    deadline: float
    found: dict[int, Forms] = field(default_factory=dict)

    def raised(self, known: float) -> float:
        """A radius that is proven, at least the known one, which is positive and finite.

        The ball in which all functionals are shown to be positive is a proof by itself. One of them, the hardest so
        far, is followed alone first, and the others are looked at in the largest ball where it is shown, as long as
        there is time for them all. At the deadline (time.monotonic()) what is proven is all there is.
        """
        best, top, failed, hard, ahead = known, known, math.inf, -1, 0
        around: _Around | None = None
        with contextlib.suppress(Late, Unknown, MemoryError):
            for number in range(BALLS):
                radius = min(top * GROWTH, math.sqrt(top * failed))
                enough = failed < top * ENOUGH or (top > best and (ahead == AHEAD or number == BALLS - 1))
                there = None if enough else self._around(radius)
                if there is not None and self._time(there):
                    ahead += 1
                    hard = int((self.margins[0] - there.drops).argmin()) if hard < 0 else hard
                    if self._shown(there, hard):
                        top, around = radius, there
                    else:
                        failed = radius
                elif around is not None and top > best:
                    ahead = 0
                    others = (self.margins[0] - around.drops).argsort().tolist()
                    wrong = next((j for j in others if not self._shown(around, j)), None)
                    if wrong is None:
                        best = top
                    else:
                        failed, top, hard = top, best, wrong
                elif failed < best * ENOUGH:
                    break
                else:
                    failed = radius
        return best

    def _around(self, radius: float) -> _Around:
        """Raises Late, and Unknown where quadratic forms have nothing to add."""
        ball = Ball(self.point, torch.tensor([radius], dtype=torch.float64), Norm.L2, self.domain)
        around = near(self.graph, ball, self.weights, self.deadline)
        drops = drops_of(around, self.seeds, 1.0 / self.margins.clamp_min(1e-150).square(), STEPS)[0]
        problem, asked = around.reduced(self.seeds)
        if not bool(problem.bent.any()):  # of slopes' ranges alone, lines and the ellipsoid know as much
            raise Unknown("no neuron is two half-lines")
        return _Around(problem, asked, numbered(around.joined, problem, 0), drops)

    def _time(self, around: _Around) -> bool:
        """Whether there is time to look at all functionals of the ball."""
        open_ones = int((around.drops >= self.margins[0]).sum())
        seconds = 1.2 * SECONDS * open_ones * around.neurons**3
        return open_ones == 0 or (around.neurons <= LARGEST and time.monotonic() + seconds < self.deadline)

    def _shown(self, around: _Around, which: int) -> bool:
        """Whether a functional is proven to be positive in the ball. Raises Late where there is no time to find out."""
        room = float(self.margins[0, which])
        if float(around.drops[which]) < room:
            return True
        if around.neurons > LARGEST:
            return False
        if time.monotonic() + SECONDS * around.neurons**3 > self.deadline:
            raise Late
        return shown(around.problem, around.asked, 0, which, room, self.deadline, around.places, self.found) < room
