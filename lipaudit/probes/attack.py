"""The nearest inputs that change the output, searched for: candidates only, which somebody else has to confirm."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, final

import torch

from lipaudit.graph.graph import Graph
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.probes.aims import Aim
from lipaudit.probes.chase import AFTER, SHRINK, WALK, Chase
from lipaudit.probes.seeds import inside
from lipaudit.probes.witness import batches
from lipaudit.probes.work import step_seconds, work

_EACH = 3
"""How many targets, or ways to begin, a round has for every sample."""

_IDLE = 4
"""Rounds without gain after which a batch is done, once each kind of round has been."""

_GAIN = 1e-4
"""Relative: less is none."""

_POOL = 512
"""How many of the other samples one looks at for a start."""

Kind = Literal["walk", "home", "data", "again", "astray", "around"]

_ROUNDS: tuple[tuple[Kind, int], ...] = (
    ("walk", 0),
    ("again", 0),
    ("home", 0),
    ("data", 0),
    ("home", 1),
    ("astray", 0),
    ("again", 0),
    ("around", 0),
    ("home", 2),
    ("again", 0),
)
"""What is done in turn, and with which of the targets: the nearest three, the next three, the last. Then the last six
kinds come again for as long as the work lasts."""

_WALKS = ("walk", "astray")

_FIRST_STEPS = (0.05, 0.3, 1.0)
"""Of the shrinking balls that begin at what was found."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """points [N, *shape]: the nearest input found that counts as changed (the sample itself where none was found).

    distances: [N], inf where none was found. tried: [N] bool, false where time was over before the sample's turn.
    cut: whether Ctrl-C ended the search; what was found before stays. late: whether the deadline did, before the work
    was done: then alone the answer depends on the machine.
    """

    points: torch.Tensor
    distances: torch.Tensor
    tried: torch.Tensor
    cut: bool = False
    late: bool = False


def nearest_changes(
    graph: Graph,
    norm: Norm,
    x: torch.Tensor,
    aim: Aim,
    region: Box | None,
    *,
    seconds: float = 5.0,
    deadline: float = float("inf"),
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Candidates:
    """For each x [N, *input_shape], none of which counts as changed, a near input that does.

    First a walk along the boundary, from the sample towards the nearest few targets; then descents within shrinking
    balls: from the sample, from what was found, from other samples that count as changed, from points around, and
    towards further targets; after each round the last steps on the linear piece and the halving of the segment. All
    samples have their first round before any has its second. Inside the region. Float64, to nearest: nothing is proven.

    seconds: as much work as a current core does in about that time, so that the answer depends on the seed alone; what
    does not fit at all is not tried. deadline: for a machine that needs much longer.
    """
    search = _Search(graph, norm, x, aim, region, deadline, torch.Generator().manual_seed(seed))
    try:
        search.run(seconds, progress)
    except KeyboardInterrupt:
        return Candidates(search.best, search.reach, search.tried, cut=True)
    return Candidates(search.best, search.reach, search.tried, late=time.monotonic() > deadline)


class _Search:
    """All samples, what was found for each, and the rounds."""

    def __init__(
        self,
        graph: Graph,
        norm: Norm,
        x: torch.Tensor,
        aim: Aim,
        region: Box | None,
        deadline: float,
        generator: torch.Generator,
    ) -> None:
        self.graph, self.norm, self.region, self.deadline = graph, norm, region, deadline
        self.x, self.aim, self.generator = x, aim, generator
        self.best, self.reach = x.clone(), torch.full((len(x),), torch.inf, dtype=torch.float64)
        self.tried = torch.zeros(len(x), dtype=torch.bool)
        self.size = int(max(1, min(256, graph.batch // (2 * _EACH), 3e9 // work(graph))))

    def run(self, seconds: float, progress: Callable[[int], None] | None) -> None:
        """Rounds over all batches, as many as the work allows; the first one of them whatever it takes."""
        left = seconds
        parts = [torch.arange(at, min(at + self.size, len(self.x))) for at in range(0, len(self.x), self.size)]
        idle, done = [0] * len(parts), 0
        for number in itertools.count():
            kind, part = _ROUNDS[number] if number < len(_ROUNDS) else _ROUNDS[4 + (number - 4) % (len(_ROUNDS) - 4)]
            for place, rows in enumerate(parts):
                cost = ((WALK if kind in _WALKS else SHRINK) + AFTER) * step_seconds(self.graph, len(rows) * _EACH)
                if (left < cost and self.tried.any()) or time.monotonic() > self.deadline:
                    return
                if idle[place] >= _IDLE and number >= len(_ROUNDS):
                    continue
                left, before = left - cost, self.reach[rows]
                self._round(kind, part, rows)
                self.tried[rows] = True
                gained = self.reach[rows] < before * (1.0 - _GAIN)
                idle[place] = 0 if bool(gained.any()) else idle[place] + 1
                done += 1
                if progress is not None:
                    spent = max(1.0 - left / seconds, done / (len(_ROUNDS) * len(parts)))
                    progress(int(min(1.0, spent) * len(self.x)))
            if number >= len(_ROUNDS) and min(idle) >= _IDLE:
                return

    def _round(self, kind: Kind, part: int, rows: torch.Tensor) -> None:
        """One round of one batch: each sample once for each of a few targets or starts, the best of which is kept."""
        targets = self._targets(rows, kind, part)
        each = targets.shape[1]
        if not each:
            return
        many = rows.repeat_interleave(each)
        chase = Chase(
            self.graph,
            self.norm,
            self.region,
            self.deadline,
            self.aim.take(many),
            self.x[many],
            targets.reshape(-1),
            self.best[many],
            self.reach[many],
        )
        chase = self._moved(chase, kind, each, rows)
        top = chase.reach.reshape(-1, each).argmin(1) + torch.arange(len(rows)) * each
        chase = Chase(
            self.graph,
            self.norm,
            self.region,
            self.deadline,
            self.aim.take(rows),
            self.x[rows],
            chase.targets[top],
            chase.found[top],
            chase.reach[top],
        ).polished()
        self.best[rows], self.reach[rows] = chase.found, chase.reach

    def _moved(self, chase: Chase, kind: Kind, each: int, rows: torch.Tensor) -> Chase:
        many, guess = len(chase.x), 0.1 * self.norm.of(chase.x).clamp(min=1e-3)
        first = torch.full((many,), _FIRST_STEPS[1], dtype=torch.float64)
        match kind:
            case "walk":  # one entry after the other, as l1 has it, leads nowhere from afar
                return chase.walked(chase.x, Norm.L2 if self.norm is Norm.L1 else self.norm)
            case "astray":
                return chase.walked(self._around(chase, guess), self.norm)
            case "home":
                return chase.shrunk(chase.x, first, guess)
            case "data":
                return chase.shrunk(self._others(rows, each), first, guess)
            case "around":
                return chase.shrunk(self._around(chase, guess), first, guess)
            case "again":
                first = torch.tensor(_FIRST_STEPS, dtype=torch.float64)[torch.arange(many) % each]
                return chase.shrunk(chase.found, first, guess)

    def _targets(self, rows: torch.Tensor, kind: Kind, part: int) -> torch.Tensor:
        """int64 [B, T]: by their margin over its slope at the sample; or what the point that was found has reached."""
        x, aim = self.x[rows], self.aim.take(rows)
        if kind in ("again", "data"):
            starts = self.best[rows].repeat_interleave(_EACH, 0) if kind == "again" else self._others(rows, _EACH)
            with torch.no_grad():
                outputs = self.graph.forward(starts).flatten(1)
            return self.aim.take(rows.repeat_interleave(_EACH)).reached(outputs).reshape(-1, _EACH)
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        leaf = x.detach().requires_grad_(True)
        outputs = self.graph.forward(leaf).flatten(1)
        with torch.no_grad():
            moved = self.graph.forward(inside(x + 1e-3 * noise, self.region)).flatten(1)
            likely = aim.likely(torch.stack([outputs.detach(), moved]))
        if likely.shape[1] <= 1 or not outputs.requires_grad:
            return likely[:, :1] if part == 0 else likely[:, :0]
        ratios = []
        for column in range(likely.shape[1]):
            margin = aim.margin(outputs, likely[:, column])
            (gradient,) = torch.autograd.grad(margin.sum(), leaf, retain_graph=True)
            slope = self.norm.dual.of(torch.nan_to_num(gradient))
            ratios.append(margin.detach() / slope.clamp(min=1e-300))
        order = torch.stack(ratios, 1).argsort(dim=1, stable=True)[:, _EACH * part : _EACH * (part + 1)]
        return likely.gather(1, order)

    def _others(self, rows: torch.Tensor, each: int) -> torch.Tensor:
        """[B * each, *shape]: for each sample the nearest of the others that count as changed; itself without any."""
        pool = torch.arange(len(self.x))[:: max(1, -(-len(self.x) // _POOL))]
        with torch.no_grad():
            outputs = torch.cat([self.graph.forward(self.x[pool[part]]) for part in batches(self.graph, len(pool))])
            outputs = outputs.flatten(1)
        apart = torch.cdist(self.x[rows].flatten(1), self.x[pool].flatten(1))
        for place, row in enumerate(rows):
            aim = self.aim.take(row.expand(len(pool)))
            apart[place] = torch.where(aim.changed(outputs), apart[place], torch.inf)
        near, which = apart.topk(min(each, len(pool)), 1, largest=False)
        which = torch.where(near.isfinite(), pool[which], rows[:, None])
        which = torch.cat([which, which[:, :1].expand(-1, each - which.shape[1])], 1)
        return self.x[which.reshape(-1)]

    def _around(self, chase: Chase, guess: torch.Tensor) -> torch.Tensor:
        """Random points about half as far away as what was found; as far as is guessed, where nothing was."""
        noise = torch.randn(chase.x.shape, generator=self.generator, dtype=torch.float64)
        share = torch.rand(len(chase.x), generator=self.generator, dtype=torch.float64)
        length = torch.where(chase.reach.isfinite(), chase.reach, guess * 4.0 ** (4.0 * share - 1.0))
        length = length * share / self.norm.of(noise).clamp(min=1e-300)
        return inside(chase.x + length.reshape(-1, *[1] * (chase.x.dim() - 1)) * noise, self.region)
