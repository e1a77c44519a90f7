"""What is attained inside balls: of each a steep pair of its points, with a slope that is proven."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import final

import torch

from lipaudit.errors import InvalidInput
from lipaudit.graph.graph import Graph
from lipaudit.numerics.rounding import up
from lipaudit.probes.homotopy import uphill
from lipaudit.probes.jacobian import jacobian_norms
from lipaudit.probes.projection import steepest, to_ball
from lipaudit.probes.seeds import inside
from lipaudit.probes.surrogate import smoothed, value_scales
from lipaudit.probes.witness import batches, slopes_below
from lipaudit.probes.work import step_seconds
from lipaudit.ranges.ball import Ball

STEPS, LEAST = 60, 8
"""Steps of one ascent, and as few as are worth beginning one."""

CLIMBS = 8
"""Ascents at most: from the centre, then from points of the ball in turn with the best one so far."""

_STEP = (0.3, 0.01)
"""The first and last step of an ascent, relative to the radius."""

_SHARP = (5.0, 300.0)
"""How sharp the stand-in network is at the first and last step, in units of each layer's usual values."""

_KEPT = 0.75
"""Of the direction of the steps before, in every step."""

_LENGTHS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""Of the pairs that are tried, relative to the radius: a short one stays on its linear piece, a long one loses less to
rounding."""

_TRIED = 2
"""Of the lengths, how many are proven: an enclosure of the function costs several evaluations."""

_NOISE = 1e-14
"""Of a value of the function, about what an enclosure of it is wide: a guess."""

_WITHIN = 1.0 - 2.0**-30
"""Of the radius: what a search uses of it, so that no rounding carries its points over the edge."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Attained:
    """Of each ball a pair x, y [B, *shape] of its points and a lower bound [B] of their slope; 0 for none."""

    values: torch.Tensor
    x: torch.Tensor
    y: torch.Tensor


def attained_in(
    graph: Graph,
    guide: Graph,
    ball: Ball,
    starts: torch.Tensor,
    *,
    seconds: float = 0.0,
    seed: int = 0,
    deadline: float = math.inf,
) -> Attained:
    """Lower bounds of the constants over the balls, each cut by its domain.

    starts: [S, B, *shape], points that are known to be steep, NaN for none; the centre is always one. guide: an equal
    function that is cheaper to evaluate, for the search; slopes are proven on `graph`.
    seconds: the ascents are laid out to take so long on a current core, and are not timed; the deadline only ends them.

    Sound whatever the search does: a ball cut by a box is convex, and the slope between two of its points is a lower
    bound of the constant over it, kinks or not. `slopes_below` proves the slope; that both points belong to the ball
    and to the domain is checked with every rounding outward, also for a centre outside the domain.
    """
    search = _Search(guide, ball, seed, deadline)
    best = search.best_of(torch.cat([ball.centre.unsqueeze(0), starts]))
    once = 3.0 * step_seconds(guide, len(ball))
    steps = min(STEPS, int(seconds / once))
    for number in range(min(CLIMBS, int(seconds / (once * max(1, steps))))):
        if steps < LEAST or time.monotonic() > deadline:
            break
        begin = ball.centre if number == 0 else search.drawn() if number % 2 else best.points
        best = search.best_of(search.climbed(begin, steps), best)
    return search.proven(graph, best)


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Best:
    """Of each ball the point [B, *shape] with the largest norm [B] of the Jacobian, and its direction; -1: none."""

    points: torch.Tensor
    norms: torch.Tensor
    directions: torch.Tensor


class _Search:
    """Points of the balls, to nearest: nothing here is a proof but `proven`."""

    def __init__(self, graph: Graph, ball: Ball, seed: int, deadline: float) -> None:
        self.graph, self.ball, self.deadline = graph, ball, deadline
        self.generator = torch.Generator().manual_seed(seed)
        self.radius = ball.radius * _WITHIN

    def within(self, points: torch.Tensor) -> torch.Tensor:
        """The points [B, *shape], moved into their balls and into the domain."""
        move = to_ball(self.ball.norm, (points - self.ball.centre).flatten(1), self.radius)
        return inside(self.ball.centre + move.reshape(points.shape), self.ball.domain)

    def drawn(self) -> torch.Tensor:
        """One point of each ball, near its edge."""
        move = torch.randn(self.ball.centre.shape, generator=self.generator, dtype=torch.float64).flatten(1)
        move = steepest(self.ball.norm, move) * self.radius[:, None]
        return self.within(self.ball.centre + move.reshape(self.ball.centre.shape))

    def best_of(self, points: torch.Tensor, before: _Best | None = None) -> _Best:
        """Of points [P, B, *shape] and what was best before, the best of each ball."""
        ball = self.ball
        if before is None:
            none = torch.full_like(ball.radius, -1.0)
            before = _Best(ball.centre, none, torch.zeros_like(ball.centre))
        for own in points:
            known = own.flatten(1).isfinite().all(1)
            at = self.within(torch.where(self._wide(known), own, ball.centre))
            norms, directions = self._measured(at, known)
            better = norms > before.norms
            wide = self._wide(better)
            before = _Best(
                torch.where(wide, at, before.points),
                torch.where(better, norms, before.norms),
                torch.where(wide, directions, before.directions),
            )
        return before

    def _measured(self, points: torch.Tensor, known: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(norms [B], -1 where the point does not count or has no Jacobian; directions)."""
        norms, directions = torch.full_like(self.radius, -1.0), torch.zeros_like(points)
        todo = [known.nonzero()[:, 0]]
        while todo:
            rows = todo.pop()
            if not len(rows):
                continue
            try:
                found = jacobian_norms(self.graph.forward, points[rows], self.ball.norm, directions=True)
            except InvalidInput:  # somewhere the function has no derivative: 0/0, the root of 0
                if len(rows) > 1:
                    todo += [rows[: len(rows) // 2], rows[len(rows) // 2 :]]
                continue
            assert found.direction is not None
            norms[rows], directions[rows] = found.norm, found.direction
        return norms, directions

    def climbed(self, start: torch.Tensor, steps: int) -> torch.Tensor:
        """Points [4, B, *shape] on the way up the norm of a smooth stand-in that sharpens.

        Each step goes along the steepest direction of the ball's own norm, and back into the ball.
        """
        x, ball, seen = start, self.ball, [start]
        scales = value_scales(self.graph, ball.centre)
        outputs = int(torch.Size(self.graph.output_shape).numel())
        u = torch.randn(len(ball), outputs, generator=self.generator, dtype=torch.float64)
        along = torch.zeros_like(x).flatten(1)
        for step in range(steps):
            if time.monotonic() > self.deadline:
                break
            share = step / max(1, steps - 1)
            soft = smoothed(self.graph, scales, _SHARP[0] * (_SHARP[1] / _SHARP[0]) ** share)
            slope, u = uphill(soft, ball.norm, x, u)
            slope = torch.nan_to_num(slope.flatten(1), nan=0.0, posinf=0.0, neginf=0.0)
            along = _KEPT * along + slope / slope.abs().sum(1, keepdim=True).clamp(min=1e-300)
            length = self.radius * (_STEP[1] + (_STEP[0] - _STEP[1]) * (1.0 + math.cos(math.pi * share)) / 2.0)
            move = (length[:, None] * steepest(ball.norm, along)).reshape(x.shape)
            x = self.within(x + move)
            if (step + 1) % -(-steps // 3) == 0 or step == steps - 1:
                seen.append(x)
        return torch.stack(seen[-4:])

    def proven(self, graph: Graph, best: _Best) -> Attained:
        """The steepest proven pair along the directions through the best points: of the lengths that promise most."""
        ball = self.ball
        found = Attained(torch.zeros_like(ball.radius), ball.centre.clone(), ball.centre.clone())
        for rows in batches(graph, len(ball)):
            pairs = [tuple(end[rows] for end in self._pair(best, length)) for length in _LENGTHS]
            promise = torch.stack([_promise(graph, ball, x, y) for x, y in pairs])
            ends = [torch.stack(end) for end in zip(*pairs, strict=True)]
            own = torch.arange(promise.shape[1])
            for chosen in promise.topk(_TRIED, 0).indices:
                if time.monotonic() > self.deadline:
                    return found
                x, y = (end[chosen, own] for end in ends)
                for row, slope in enumerate(slopes_below(graph, ball.norm, x, y), rows.start):
                    mine, other = x[row - rows.start], y[row - rows.start]
                    if slope > float(found.values[row]) and belongs(ball, row, mine) and belongs(ball, row, other):
                        found.values[row], found.x[row], found.y[row] = slope, mine, other
        return found

    def _pair(self, best: _Best, length: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Both ends about the best points, which are moved towards the centre and off the faces to make room."""
        centre, domain = self.ball.centre, self.ball.domain
        half = self._wide(self.radius * (length / 2.0)) * best.directions
        middle = centre + (1.0 - length) * (best.points - centre)
        if domain is not None:
            low, high = domain.lower + half.abs(), domain.upper - half.abs()
            middle = torch.where(low <= high, torch.minimum(torch.maximum(middle, low), high), middle)
        return inside(middle - half, domain), inside(middle + half, domain)

    def _wide(self, row: torch.Tensor) -> torch.Tensor:
        return row.reshape(-1, *[1] * (self.ball.centre.dim() - 1))


def _promise(graph: Graph, ball: Ball, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """[B]: about what can be proven of the slopes of the pairs, to nearest."""
    with torch.no_grad():
        before, after = graph.forward(x).flatten(1), graph.forward(y).flatten(1)
    rise = ball.norm.of(after - before) - _NOISE * ball.norm.of(before)
    return torch.nan_to_num(rise / ball.norm.of(y - x), nan=0.0, posinf=0.0, neginf=0.0)


def belongs(ball: Ball, row: int, point: torch.Tensor) -> bool:
    """Whether a point [*shape] is proven to lie in one of the balls and in its domain."""
    # each difference is rounded once
    distance = up(ball.norm.bounds_of(point - ball.centre[row])[1] * up(1.0 + 2.0**-51))
    if not distance <= float(ball.radius[row]):
        return False
    domain = ball.domain
    return domain is None or bool(((point >= domain.lower[0]) & (point <= domain.upper[0])).all())
