"""The nearest inputs of another class, searched for: candidates only, which somebody else has to confirm."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch

from lipaudit.graph.graph import Graph
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.probes.projection import to_hyperplane
from lipaudit.probes.work import work

_TARGETS = 3
"""How many other classes are walked to, the nearest by their slope first."""

_STEPS, _HALVINGS = 30, 30
_OVERSHOOT, _BIAS, _BACK = 1.05, (0.25, 0.5), 0.9
"""Of the boundary walk: how far beyond the boundary, how much towards the sample, and how far back after a find."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """points [N, *shape]: the nearest input found whose class differs (the sample itself where none was found).

    distances: [N], inf where none was found. tried: [N] bool, false where time was over before the sample's turn.
    """

    points: torch.Tensor
    distances: torch.Tensor
    tried: torch.Tensor


def nearest_changes(
    graph: Graph,
    norm: Norm,
    x: torch.Tensor,
    labels: torch.Tensor,
    region: Box | None,
    *,
    deadline: float = float("inf"),
    restarts: int = 3,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Candidates:
    """For each x [N, *input_shape], whose largest output is its label [N], a near input where it is not.

    From the sample, and then from random points around it (`restarts` walks in all), towards the nearest other classes:
    projections on the linearised boundary, biased towards the sample (the FAB attack, Croce and Hein 2020,
    arXiv:1907.02044), then halving of the segment. All samples have their first walk before any has its second.
    Inside the region. Float64, to nearest: nothing here is proven.
    """
    generator = torch.Generator().manual_seed(seed)
    best, distances = x.clone(), torch.full((len(x),), torch.inf, dtype=torch.float64)
    tried = torch.zeros(len(x), dtype=torch.bool)
    size = int(max(1, min(256, graph.batch // (2 * _TARGETS), 3e9 // work(graph))))
    done, total = 0, restarts * len(x)
    for restart in range(restarts):
        for at in range(0, len(x), size):
            if time.monotonic() > deadline:
                return Candidates(best, distances, tried)
            rows = slice(at, at + size)
            walk = _Walk(graph, norm, x[rows], labels[rows], region, deadline)
            best[rows], distances[rows] = walk.from_start(best[rows], distances[rows], restart, generator)
            tried[rows] = True
            done += len(x[rows])
            if progress is not None:
                progress(done * len(x) // total)
    return Candidates(best, distances, tried)


class _Walk:
    """The walks of one batch of samples, each repeated once for every class that it is walked to."""

    def __init__(
        self, graph: Graph, norm: Norm, x: torch.Tensor, labels: torch.Tensor, region: Box | None, deadline: float
    ) -> None:
        self.graph, self.norm, self.region, self.deadline = graph, norm, region, deadline
        self.x, self.labels, self.shape = x, labels, x.shape[1:]
        self.geometry = norm  # of the steps; distances are always in the norm itself

    def from_start(
        self, best: torch.Tensor, distances: torch.Tensor, restart: int, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        targets = self._nearest_classes()
        each = targets.shape[1]
        start, labels = self.x.repeat_interleave(each, 0), self.labels.repeat_interleave(each)
        found, reach = best.repeat_interleave(each, 0), distances.repeat_interleave(each)
        # one entry after the other, as l1 has it, leads nowhere from afar: first a walk in l2, the next begins there
        self.geometry = Norm.L2 if self.norm is Norm.L1 and restart % 3 == 0 else self.norm
        x = start if restart == 0 else self._around(start, reach, restart, generator)
        if self.norm is Norm.L1 and restart % 3 == 1:
            x = torch.where(self._wide(reach.isfinite()), start + _BACK * (found - start), x)
        found, reach = self._walk(x, start, labels, targets.reshape(-1), found, reach)
        found, reach = self._halved(found, start, labels, reach)
        top = reach.reshape(-1, each).argmin(1, keepdim=True)
        rows = torch.arange(len(self.x)) * each + top[:, 0]
        return found[rows], reach[rows]

    def _walk(
        self,
        x: torch.Tensor,
        start: torch.Tensor,
        labels: torch.Tensor,
        targets: torch.Tensor,
        found: torch.Tensor,
        reach: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        for _ in range(_STEPS):
            if time.monotonic() > self.deadline:
                break
            leaf = x.detach().requires_grad_(True)
            logits = self.graph.forward(leaf).reshape(len(x), -1)
            margin = _pick(logits, labels) - _pick(logits, targets)
            if not margin.requires_grad:
                break
            (gradient,) = torch.autograd.grad(margin.sum(), leaf)
            gradient = torch.nan_to_num(gradient).reshape(len(x), -1)
            margin, changed = margin.detach(), _changed(logits.detach(), labels)
            length = self.norm.of(x - start)
            nearer = changed & (length < reach)
            found = torch.where(self._wide(nearer), x, found)
            reach = torch.where(nearer, length, reach)
            x = torch.where(self._wide(changed), start + _BACK * (x - start), x)
            # the margin after going back, to first order: the walk corrects what is left of the error
            margin = torch.where(changed, margin + (1.0 - _BACK) * (gradient * self._flat(start - x)).sum(1), margin)
            x = self._step(x, start, gradient, margin)
        return found, reach

    def _step(self, x: torch.Tensor, start: torch.Tensor, gradient: torch.Tensor, margin: torch.Tensor) -> torch.Tensor:
        own = self._projected(x, gradient, -margin)
        # the same hyperplane seen from the sample: gradient . d = gradient . (x - start) - margin
        home = self._projected(start, gradient, (gradient * self._flat(x - start)).sum(1) - margin)
        ahead, back = self.geometry.of(own), self.geometry.of(home)
        weight = (ahead / (ahead + back).clamp(min=1e-300)).clamp(*_BIAS)
        moved = (1.0 - self._wide(weight)) * (x + _OVERSHOOT * own.reshape(x.shape))
        moved = moved + self._wide(weight) * (start + _OVERSHOOT * home.reshape(x.shape))
        return self._inside(torch.where(moved.isfinite(), moved, x))

    def _projected(self, x: torch.Tensor, gradient: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        flat = self._flat(x)
        if self.region is None:
            low, high = torch.full_like(flat, -torch.inf), torch.full_like(flat, torch.inf)
        else:
            low, high = self._flat(self.region.lower) - flat, self._flat(self.region.upper) - flat
        back = target > 0.0  # beyond the boundary already: back to it
        return to_hyperplane(self.geometry, torch.where(back[:, None], -gradient, gradient), -target.abs(), low, high)

    def _halved(
        self, found: torch.Tensor, start: torch.Tensor, labels: torch.Tensor, reach: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The nearest point of each segment from the sample to what was found that still has another class."""
        known = reach.isfinite()
        if not bool(known.any()):
            return found, reach
        low, high = torch.zeros_like(reach), torch.ones_like(reach)
        with torch.no_grad():
            for _ in range(_HALVINGS):
                middle = (low + high) / 2
                logits = self.graph.forward(start + self._wide(middle) * (found - start)).reshape(len(start), -1)
                changed = _changed(logits, labels)
                low, high = torch.where(changed, low, middle), torch.where(changed, middle, high)
        # where nothing nearer was seen to change, the point itself: start + 1 (found - start) need not be it
        nearer = known & (high < 1.0)
        nearest = torch.where(self._wide(nearer), start + self._wide(high) * (found - start), found)
        return nearest, torch.where(known, self.norm.of(nearest - start), reach)

    def _nearest_classes(self) -> torch.Tensor:
        """[B, T]: the classes with the least margin over its slope at the sample, of those with the largest outputs."""
        leaf = self.x.detach().requires_grad_(True)
        logits = self.graph.forward(leaf).reshape(len(leaf), -1)
        others = logits.detach().scatter(1, self.labels[:, None], -torch.inf)
        likely = others.topk(min(10, logits.shape[1] - 1), 1).indices
        if likely.shape[1] <= 1 or not logits.requires_grad:
            return likely[:, :1]
        ratios = []
        for column in range(likely.shape[1]):
            margin = _pick(logits, self.labels) - _pick(logits, likely[:, column])
            (gradient,) = torch.autograd.grad(margin.sum(), leaf, retain_graph=True)
            slope = self.norm.dual.of(torch.nan_to_num(gradient))
            ratios.append(margin.detach() / slope.clamp(min=1e-300))
        order = torch.stack(ratios, 1).argsort(1)[:, :_TARGETS]
        return likely.gather(1, order)

    def _around(
        self, start: torch.Tensor, reach: torch.Tensor, restart: int, generator: torch.Generator
    ) -> torch.Tensor:
        """Random points about half as far away as what was found; ever further from the sample, where nothing was."""
        noise = torch.randn(start.shape, generator=generator, dtype=torch.float64)
        own = 0.1 * 4.0 ** min(restart, 6) * self.norm.of(start).clamp(min=1e-3)
        share = torch.rand(len(start), generator=generator, dtype=torch.float64)
        length = torch.where(reach.isfinite(), reach, own) * share / self.norm.of(noise).clamp(min=1e-300)
        return self._inside(start + self._wide(length) * noise)

    def _inside(self, x: torch.Tensor) -> torch.Tensor:
        return x if self.region is None else torch.minimum(torch.maximum(x, self.region.lower), self.region.upper)

    def _wide(self, row: torch.Tensor) -> torch.Tensor:
        return row.reshape(-1, *[1] * len(self.shape))

    def _flat(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(len(x), -1)


def _pick(logits: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    return logits.gather(1, classes[:, None])[:, 0]


def _changed(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """[B] bool: whether another output is strictly larger than the label's."""
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return others.amax(1) > _pick(logits, labels)
