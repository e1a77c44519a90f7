"""Constants over one ball by branch and bound on the sides of its bent neurons; exact where it runs to its end."""

from __future__ import annotations

import heapq
import itertools
import time
from dataclasses import dataclass
from typing import final

import torch

from lipaudit.engines.splitting_inside import look_inside
from lipaudit.numerics.norms import Norm
from lipaudit.ranges.cells import Cells, Sides, norms_of
from lipaudit.ranges.constants import Slopes
from lipaudit.ranges.joined import Late
from lipaudit.ranges.refuted import Halves, excess, tightened, weighed

BATCH = 16
"""Cells that are split at once: it changes what is looked at, so it follows from nothing but this."""

INPUTS = 64
"""Up to which a small convex program is solved for every cell that is split without a point of it being known."""

TOLERANCE = 1e-9
"""Relative: cells whose bound is no further above what is met are not split."""

LATER = 1e-3
"""How much less a neuron counts while what it reads is not decided: its half-space is then not known exactly."""

_STEPS = 40
"""Of the search for weights that prove a cell empty."""

_POINTS = 2048

_ENTRIES = 2**23
"""Of the points' rows at once."""


def cost(rows: int, neurons: int, inputs: int) -> float:
    """About how many seconds one cell takes, the same on every machine: what limits are reckoned with."""
    return 1e-3 + 8e-10 * rows * neurons * (inputs + neurons)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Explored:
    """What became of the branch and bound.

    value: an upper bound of the constant; met: the largest norm of a Jacobian that was met, to nearest; point: [n],
    where, None if none; nodes: how many cells were looked at; complete: nothing is left that could be split.
    """

    value: float
    met: float
    point: torch.Tensor | None
    nodes: int
    complete: bool


@final
@dataclass(slots=True, eq=False)
class _Pool:
    """Points of the ball: their sides [P, U], their norms [P], the points less the centre [P, n]."""

    signs: torch.Tensor
    norms: torch.Tensor
    points: torch.Tensor


_Entry = tuple[float, int, Sides, int]
"""-bound, order, the cell, the neuron to split (-1: none is open)."""


class Search:
    """L = max over cells of the norm of the Jacobian, best first.

    `limit`: how many cells are looked at, at most; the deadline (time.monotonic()) only ends it earlier.
    """

    def __init__(self, cells: Cells, norm: Norm, limit: int, deadline: float) -> None:
        self.cells, self.norm, self.limit, self.deadline = cells, norm, limit, deadline
        self.pool = self._met(self._scattered())
        self.order = itertools.count()
        self.heap: list[_Entry] = []
        self.dropped = 0.0
        self.nodes = 0

    def run(self) -> Explored:
        """Until nothing is left, or the limit or the deadline."""
        complete = False
        try:
            self._look(self.cells.whole(), torch.full((1,), torch.inf, dtype=torch.float64))
            while True:
                chosen = self._popped()
                if not chosen:
                    complete = not self.heap or -self.heap[0][0] <= max(self.met * (1.0 + TOLERANCE), self.dropped)
                    break
                if self.nodes >= self.limit or time.monotonic() > self.deadline:
                    for entry in chosen:
                        heapq.heappush(self.heap, entry)
                    break
                sides = _stacked([entry[2] for entry in chosen])
                above = torch.tensor([-entry[0] for entry in chosen], dtype=torch.float64)
                neuron = torch.tensor([entry[3] for entry in chosen])
                self._look(sides.split(neuron), torch.cat([above, above]))
        except Late:
            return Explored(torch.inf, self.met, self._best(), self.nodes, False)
        top = -self.heap[0][0] if self.heap else 0.0
        return Explored(max(top, self.dropped), self.met, self._best(), self.nodes, complete)

    @property
    def met(self) -> float:
        return float(self.pool.norms.max()) if len(self.pool.norms) else 0.0

    def _best(self) -> torch.Tensor | None:
        return self.pool.points[int(self.pool.norms.argmax())] if len(self.pool.norms) else None

    def _popped(self) -> list[_Entry]:
        """The cells to split next: the largest bounds, without those that are empty or need no splitting."""
        found: list[_Entry] = []
        while self.heap and len(found) < BATCH:
            if -self.heap[0][0] <= max(self.met * (1.0 + TOLERANCE), self.dropped):
                break
            entry = heapq.heappop(self.heap)
            small = self.cells.rows.shape[2] <= INPUTS or entry[3] < 0
            if small and not self._holds(entry[2]) and self._empty(entry[2]):
                continue
            if entry[3] < 0:  # nothing is open: this is what it is
                self.dropped = max(self.dropped, -entry[0])
                continue
            found.append(entry)
        return found

    def _empty(self, sides: Sides) -> bool:
        """Whether a convex program proves the cell empty; a point that it finds instead joins the pool."""
        _, alive, halves = tightened(self.cells, sides)
        if not bool(alive[0]):
            return True
        point, weights = look_inside(self.cells, halves, 0)
        if point is not None:
            new = self._met(point[None])
            pool = self.pool
            self.pool = _Pool(*(torch.cat([getattr(pool, k), getattr(new, k)]) for k in ("signs", "norms", "points")))
        return weights is not None and bool(excess(self.cells, halves, weights[None])[0] < 0)

    def _holds(self, sides: Sides) -> bool:
        return bool(self._held(sides)[0])

    def _held(self, sides: Sides) -> torch.Tensor:
        """[B]: whether a point of the pool is in the cell."""
        signs, own = sides.signs.double(), self.pool.signs.double()
        # of the held neurons, as many agree as there are
        return ((signs @ own.T) == signs.abs().sum(1, keepdim=True)).any(1)

    def _look(self, sides: Sides, above: torch.Tensor) -> None:
        """Cells join the heap, with bounds; those that are proven empty do not."""
        self.nodes += len(above)
        sides, alive, halves = tightened(self.cells, sides)
        unsure = (alive & ~self._held(sides)).nonzero()[:, 0]
        if len(unsure):
            part = Halves(halves.slope[unsure], halves.start[unsure], halves.used[unsure], halves.width[unsure])
            weights, _ = weighed(self.cells, part, _STEPS)
            alive[unsure] &= ~(excess(self.cells, part, weights) < 0)
        left = alive.nonzero()[:, 0]
        if not len(left):
            return
        sides = sides.at(left)
        slopes = self.cells.slopes(sides)
        own = norms_of(slopes, self.norm)
        bounds = torch.where(own <= above[left], own, above[left])  # also where it overflowed to no number
        score = scores(slopes, sides, self.norm)
        best = score.amax(1) if score.shape[1] else bounds.new_zeros(len(left))
        which = score.argmax(1) if score.shape[1] else torch.zeros(len(left), dtype=torch.int64)
        which = torch.where(best > 0, which, -1)
        for row, (bound, neuron) in enumerate(zip(bounds.tolist(), which.tolist(), strict=True)):
            entry = (-bound, next(self.order), sides.at(torch.tensor([row])), neuron)
            heapq.heappush(self.heap, entry)

    def _scattered(self) -> torch.Tensor:
        """[P, n]: points of the ball less its centre, some deep inside and some near the edge."""
        ball, n = self.cells.ball, self.cells.rows.shape[2]
        each = sum(self.cells.rows.shape[1:]) * sum(self.cells.rows.shape[1:2]) or 1
        count = max(16, min(_POINTS, _ENTRIES // each))
        source = torch.Generator().manual_seed(0)
        steps = torch.randn(count, n, generator=source, dtype=torch.float64)
        share = torch.rand(count, 1, generator=source, dtype=torch.float64)
        if ball.norm is Norm.LINF:
            steps = torch.rand(count, n, generator=source, dtype=torch.float64) * 2.0 - 1.0
            steps[::2] = steps[::2].sign()
        size = ball.norm.of(steps)[:, None].clamp_min(1e-300)
        steps = steps / size * ball.radius[:, None] * share ** (1.0 / n) * (1.0 - 1e-9)
        steps[:1] = 0.0
        centre = ball.centre.flatten(1)
        lower, upper = self.cells.box.lower.flatten(1) - centre, self.cells.box.upper.flatten(1) - centre
        return torch.minimum(torch.maximum(steps, lower), upper)

    def _met(self, points: torch.Tensor) -> _Pool:
        """Points with their sides and the norms of their Jacobians, to nearest."""
        cells = self.cells
        u = torch.zeros(len(points), 0, dtype=torch.float64)
        for block in cells.columns[:-1]:
            past = slice(0, block.start)
            z = torch.where(u < 0, cells.left[:, past], cells.right[:, past]) * u
            own = points @ cells.rows[0, block].T + cells.start[:, block] + z @ cells.inner[0, block, past].T
            u = torch.cat([u, own], 1)
        signs = torch.where(u < 0, -1, 1).to(torch.int8)
        sides = Sides(signs, torch.full_like(u, -torch.inf), torch.full_like(u, torch.inf))
        norms = []
        for start in range(0, len(points), 256):
            part = sides.at(torch.arange(start, min(start + 256, len(points))))
            fold = cells.folded(cells.sided(part), torch.zeros_like(part.open))
            jacobian = fold.rows[:, cells.columns[-1]]
            if self.norm is Norm.L2:
                norms.append(torch.linalg.matrix_norm(jacobian, 2))
            else:
                norms.append(jacobian.abs().sum(2 if self.norm is Norm.LINF else 1).amax(1))
        return _Pool(signs, torch.cat(norms), points)


def scores(slopes: Slopes, sides: Sides, norm: Norm) -> torch.Tensor:
    """[B, U]: how much of the bound each open neuron's spread accounts for: what reads it, its spread, what it reads.

    Of the recursion n = |C| + |D| spread n of `constants`: its derivative by the spread, times the spread; to nearest.
    """
    blocks = (*slopes.blocks, slopes.asked)
    lengths = [b.rows.abs().sum(2) if norm is Norm.LINF else torch.linalg.vector_norm(b.rows, dim=2) for b in blocks]
    found = list[torch.Tensor]()
    for block, own in zip(blocks, lengths, strict=True):
        for number, d in block.inner.items():
            spread = slopes.blocks[number].spread
            assert spread is not None
            own = own + (d.abs() @ (spread * found[number]).unsqueeze(2)).squeeze(2)
        found.append(own)
    share = torch.ones_like(found[-1])
    if norm is Norm.LINF:
        share = torch.nn.functional.one_hot(found[-1].argmax(1), found[-1].shape[1]).double()
    read: list[torch.Tensor] = [torch.zeros_like(x) for x in found[:-1]] + [share]
    for place in range(len(blocks) - 1, -1, -1):
        block = blocks[place]
        if block.spread is not None:
            read[place] = read[place] * block.spread
        for number, d in block.inner.items():
            read[number] = read[number] + (read[place].unsqueeze(1) @ d.abs())[:, 0]
    parts = [r * n for r, n in zip(read[:-1], found[:-1], strict=True)]
    joint = torch.cat(parts, 1) if parts else torch.zeros(len(share), 0, dtype=torch.float64)
    reads = [sum((d.abs().sum(2) for d in b.inner.values()), start=torch.zeros_like(b.error)) for b in slopes.blocks]
    straight = torch.cat(reads, 1) == 0 if reads else joint > 0
    return torch.where(sides.open, torch.where(straight, joint, joint * LATER), 0.0)


def _stacked(sides: list[Sides]) -> Sides:
    return Sides(*(torch.cat([getattr(s, name) for s in sides]) for name in ("signs", "low", "high")))
