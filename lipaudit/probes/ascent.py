"""The search for inputs with a large Jacobian norm: smooth ascent, hops, flips and crossings, from many seeds."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal, final

import torch

from lipaudit.errors import InvalidInput
from lipaudit.graph.graph import Graph
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm, NormPair, Norms
from lipaudit.probes.homotopy import climb
from lipaudit.probes.jacobian import jacobian_norms
from lipaudit.probes.mixed_jacobian import is_hard
from lipaudit.probes.moves import Flips, blends, crossings, hops, shaken
from lipaudit.probes.reduce import Reduced, input_reduced
from lipaudit.probes.seeds import flat_groups, inside, samples
from lipaudit.probes.witness import Witness, best_witness
from lipaudit.probes.work import step_seconds, work

_ELITE = 12
_PATIENCE, _STUCK = 24, 6
"""Rounds without gain after which the search ends, and after which new seeds are mixed in."""

_PATIENT = 4.0
"""Times `seconds` is the longest that a search takes, on however slow or busy a machine."""

_SOFT, _SHARP = (2.0, 200.0), (10.0, 300.0)
"""The sharpness of the stand-in networks in the first ascent and in those that begin again from good points."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """Points with their Jacobian norms and most amplified directions, largest first."""

    points: torch.Tensor
    norms: torch.Tensor
    directions: torch.Tensor

    def best(self, count: int) -> _Found:
        """The largest, one of each value: points of one linear piece would crowd out all others."""
        order = torch.argsort(self.norms, descending=True, stable=True).tolist()
        kept: list[int] = []
        for row in order:
            if not kept or float(self.norms[row]) < float(self.norms[kept[-1]]) * (1.0 - 1e-9):
                kept.append(row)
            if len(kept) == count:
                break
        return _Found(self.points[kept], self.norms[kept], self.directions[kept])

    def joined(self, other: _Found) -> _Found:
        pairs = ((self.points, other.points), (self.norms, other.norms), (self.directions, other.directions))
        return _Found(*(torch.cat(pair) for pair in pairs))


def ascend(
    graph: Graph,
    norm: Norms,
    region: Box | None,
    *,
    starts: torch.Tensor | None = None,
    seconds: float = 4.0,
    seed: int = 0,
    guide: Graph | None = None,
) -> Witness | None:
    """A pair of points in the region with a large proven slope; None where none above 0 was found.

    starts: known inputs [N, *input_shape] to begin from too. guide: an equal function that is cheaper to evaluate, for
    the search; the slope is proven on `graph`. The search itself proves nothing; what it returns does.
    seconds: the work is laid out to take about half of this on a current core, so that the answer depends on the seed
    alone; only a machine that needs eight times as long is not waited for.
    """
    deadline = time.monotonic() + _PATIENT * seconds
    inner = graph if guide is None else guide
    reduced = input_reduced(inner) if region is None and norm is Norm.L2 else None
    if reduced is not None:
        inner = reduced.graph
        starts = None if starts is None else reduced.project(starts)
    search = _Search(inner, norm, region, deadline, torch.Generator().manual_seed(seed))
    found = search.run(starts, 0.5 * seconds)
    if not len(found.points):
        return None
    points, directions = (_lifted(reduced, part, graph) for part in (found.points, found.directions))
    return best_witness(graph, norm, inside(points, region), directions, region)


def _lifted(reduced: Reduced | None, points: torch.Tensor, graph: Graph) -> torch.Tensor:
    return points if reduced is None else reduced.lift(points, graph.input_shape)


class _Search:
    """One search: what does not change while it runs, and its rounds."""

    def __init__(
        self, graph: Graph, norm: Norms, region: Box | None, deadline: float, generator: torch.Generator
    ) -> None:
        self.graph, self.norm, self.region = graph, norm, region
        self.deadline, self.generator = deadline, generator
        self.work = work(graph)
        self.batch = int(min(48, max(4, 4e8 // self.work)))

    def run(self, starts: torch.Tensor | None, seconds: float) -> _Found:
        """The best points of rounds that are worth `seconds` in all (of the time that they are reckoned to take)."""
        many = int(min(2**14, max(24, 5e7 // self.work)))
        drawn = samples(self.graph, self.region, many, self.generator)
        known = drawn if starts is None else torch.cat([inside(starts[:256], self.region), drawn])
        found = self.measured(known)
        if not len(found.points) or all(node.op.family == "Affine" for node in self.graph.nodes):
            return found.best(_ELITE)
        likely = torch.cat([found.best(self.batch // 3).points, drawn])[: self.batch]
        found = found.best(_ELITE)
        flat = flat_groups(self.graph, self.region, found.points[:4], self.generator, self.deadline)
        found = found.joined(self.measured(flat)).best(_ELITE)
        found = found.joined(self.measured(self.climbed(likely, 150, 0.1, _SOFT))).best(_ELITE)
        flips = Flips(self.graph)
        idle, spent, number = 0, self.seconds_of(150), 0
        while idle < _PATIENCE and spent < seconds and time.monotonic() < self.deadline:
            if number % 4 == 0:
                again = self._again(found, fresh=idle >= _STUCK)
                children, cost = self.climbed(again[: self.batch], 100, 0.05, _SHARP), self.seconds_of(100)
            else:
                children, cost = self._around(found, number, flips), self.seconds_of(4)
            merged = found.joined(self.measured(inside(children, self.region))).best(_ELITE)
            idle = 0 if float(merged.norms[0]) > float(found.norms[0]) * (1.0 + 1e-6) else idle + 1
            found, spent, number = merged, spent + cost, number + 1
        return found

    def _again(self, found: _Found, *, fresh: bool) -> torch.Tensor:
        """Where the next ascent begins: the best points, shaken; half of them new ones where nothing was gained."""
        count = -(-self.batch // len(found.points))
        again = inside(shaken(found.points, count, self.generator), self.region)
        if fresh:
            drawn = samples(self.graph, self.region, self.batch // 2, self.generator)
            again = torch.cat([drawn, again])
        return again

    def _around(self, found: _Found, number: int, flips: Flips) -> torch.Tensor:
        """Neighbours of the best points, by the kind of move whose turn it is."""
        most = 4 * self.batch
        if number % 4 == 1 and self.region is not None:
            return blends(found.points, self._mates(found, most), self.generator)
        if number % 4 == 1 and flips.known:
            return torch.cat([flips(point, most, self.generator) for point in found.points[:3]])
        if number % 4 == 3:
            return torch.cat([crossings(self.graph, point, self.batch // 2) for point in found.points])
        return hops(found.points, found.directions, max(1, most // len(found.points)), self.generator)

    def _mates(self, found: _Found, count: int) -> torch.Tensor:
        """In a region: others of the best points, its corners and its samples, which the steepest points often share
        many entries with."""
        assert self.region is not None
        again = found.points[torch.randint(len(found.points), (count,), generator=self.generator)]
        drawn = samples(self.graph, self.region, count, self.generator)
        if not self.region.finite:
            return torch.cat([again[: count // 2], drawn[: count // 2]])
        low = torch.rand(drawn.shape, generator=self.generator) < 0.5
        corners = torch.where(low, self.region.lower, self.region.upper)
        third = count // 3
        return torch.cat([again[:third], drawn[:third], corners[:third]])

    def climbed(self, points: torch.Tensor, steps: int, rate: float, beta: tuple[float, float]) -> torch.Tensor:
        return climb(
            self.graph,
            self.norm,
            points,
            steps=steps,
            rate=rate,
            beta=beta,
            region=self.region,
            deadline=self.deadline,
            generator=self.generator,
        )

    def seconds_of(self, steps: int) -> float:
        """What so many steps of the ascent are reckoned to take."""
        return steps * step_seconds(self.graph, self.batch)

    def measured(self, points: torch.Tensor) -> _Found:
        """What is found at the points. Those where the function has no derivative (0/0, the root of 0) are left out."""
        if not len(points):
            return _Found(points, points.new_zeros(0), points)
        try:
            method: Literal["auto", "ascent"] = "ascent" if is_hard(NormPair.of(self.norm)) else "auto"
            answer = jacobian_norms(
                self.graph.forward, points, self.norm, method=method, tolerance=1e-3, directions=True
            )
        except InvalidInput:
            if len(points) == 1:
                return _Found(points[:0], points.new_zeros(0), points[:0])
            half = len(points) // 2
            return self.measured(points[:half]).joined(self.measured(points[half:]))
        assert answer.direction is not None
        return _Found(points, answer.norm, answer.direction)
