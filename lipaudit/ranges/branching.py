"""Branch and bound on the sides of undecided neurons: whether functionals are positive on the whole of a ball.

A node of the tree is a functional and signs, which hold some neurons to one side of their knot. Where its bound
(`halves`) is not positive, a neuron is chosen and the node gives way to two, one for either side: together they are all
of it, the knot itself in both. When no node is left, every functional is positive everywhere in the ball.

The ranges are the region's, found with lines of their own slopes (`near`). The neuron to split is, of the few whose
bracket loses most to its line (Bunel et al. 2020, arXiv:2002.10410), the one whose two nodes look best as they are,
without any ascent of their own (filtered smart branching, De Palma et al. 2021, arXiv:2104.06718).
"""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch

from lipaudit.ranges.halves import Halved
from lipaudit.ranges.joined import Late
from lipaudit.ranges.multipliers import begun, climbed

ROOT, STEPS, LEAF = 30, 12, 200
"""Steps of ascent: of a root, of a node, and where there is nothing left to split."""

TOGETHER = 64
"""Nodes whose children are looked at together."""

ENTRIES = 2**22
"""Of the nodes' rows at the input, at once."""

TRIED = 5
"""Neurons of a node that are tried as the one to split."""

Met = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(which [N], steps from the centre [N, n]) -> about the functionals' values there [N], of the network itself."""


@final
@dataclass(slots=True)
class Effort:
    """Multiplications that may still be done, and when to stop whatever is left. nodes: how many were looked at."""

    left: float
    deadline: float = math.inf
    nodes: int = 0

    def spend(self, halved: Halved, rows: int, steps: int) -> None:
        """Of the ascent of some rows: products of matrices are quick, and what is done entry by entry is not.

        Raises Late where the deadline has come.
        """
        if time.monotonic() > self.deadline:
            raise Late
        neurons, inputs = halved.reduced.rows.shape[1:]
        self.left -= (steps + 1) * (2.0 * rows * neurons * ((neurons / 2 + inputs) / 4 + 100) + 1e6)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """proven: the functionals are positive in the ball.

    against: [n], a step from the centre where one seems not to be.
    """

    proven: bool
    against: torch.Tensor | None = None


def positive(halved: Halved, met: Met, effort: Effort) -> Outcome:
    """Whether every functional of the region is proven to be positive on all of it, within the effort.

    met: asked where the relaxed problems are least, so that the search ends where it cannot succeed; proves nothing.
    Raises Late where the deadline comes first.
    """
    count, inputs = len(halved.margins), halved.reduced.rows.shape[2]
    together = max(1, min(TOGETHER, ENTRIES // (2 * TRIED * inputs)))
    which, signs = torch.arange(count), halved.decided.expand(count, -1)
    share, held = begun(halved, count)
    roots = _Nodes(which, signs, torch.full((count,), -torch.inf).double(), share, held, torch.zeros_like(share))
    waiting, number = list[tuple[float, int, list[torch.Tensor]]](), 0
    try:
        nodes = _looked_at(halved, roots, met, ROOT, effort)
        while True:
            for row in (~_closed(nodes.bound)).nonzero()[:, 0].tolist():
                number += 1
                heapq.heappush(waiting, (float(nodes.bound[row]), number, [x[row] for x in nodes.columns]))
            if not waiting or effort.left <= 0:
                return Outcome(not waiting)
            taken = [heapq.heappop(waiting)[2] for _ in range(min(together, len(waiting)))]
            nodes = _Nodes(*(torch.stack(column) for column in zip(*taken, strict=True)))
            exact = (nodes.loss > 0).sum(1) == 0
            if bool(exact.any()):
                polished = _looked_at(halved, nodes.rows(exact), met, LEAF, effort)
                if bool((~_closed(polished.bound) & ((polished.loss > 0).sum(1) == 0)).any()):
                    return Outcome(False)
                nodes = nodes.rows(~exact).joined(polished)
            else:
                nodes = _looked_at(halved, _children(nodes, _chosen(halved, nodes, effort)), met, STEPS, effort)
    except _Against as found:
        return Outcome(False, found.step)


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Nodes:
    """which, bound [N]; signs, and share, held, loss of the best guess [N, U]."""

    which: torch.Tensor
    signs: torch.Tensor
    bound: torch.Tensor
    share: torch.Tensor
    held: torch.Tensor
    loss: torch.Tensor

    @property
    def columns(self) -> list[torch.Tensor]:
        return [self.which, self.signs, self.bound, self.share, self.held, self.loss]

    def rows(self, which: torch.Tensor) -> _Nodes:
        return _Nodes(*(x[which] for x in self.columns))

    def joined(self, other: _Nodes) -> _Nodes:
        return _Nodes(*(torch.cat(pair) for pair in zip(self.columns, other.columns, strict=True)))


class _Against(Exception):
    """A point of the ball at which the network itself has a functional that is not positive."""

    def __init__(self, step: torch.Tensor) -> None:
        super().__init__()
        self.step = step


def _closed(bound: torch.Tensor) -> torch.Tensor:
    """False for NaN."""
    return bound > 0


def _looked_at(halved: Halved, nodes: _Nodes, met: Met, steps: int, effort: Effort) -> _Nodes:
    """The nodes bounded by an ascent from where theirs stand. Raises _Against."""
    effort.spend(halved, len(nodes.which), steps)
    effort.nodes += len(nodes.which)
    guess = climbed(halved, nodes.which, nodes.signs, nodes.share, nodes.held, steps)
    bound = halved.proven(nodes.which, nodes.signs, guess.m)
    step = _inside(halved, guess.step)
    values = met(nodes.which, step)
    if float(values.min()) <= 0.0:
        raise _Against(step[values.argmin()])
    return _Nodes(nodes.which, nodes.signs, bound, guess.share, guess.held, guess.loss)


def _inside(halved: Halved, step: torch.Tensor) -> torch.Tensor:
    """The steps [N, n], shortened until they stay in the region, but for rounding."""
    ball, box = halved.ball, halved.reduced.box
    step = torch.minimum(
        torch.maximum(step, (box.lower - ball.centre).flatten(1)), (box.upper - ball.centre).flatten(1)
    )
    return step * (ball.radius[0] / ball.norm.of(step).clamp_min(1e-300)).clamp(max=1.0)[:, None]


def _children(nodes: _Nodes, chosen: torch.Tensor) -> _Nodes:
    """The nodes with the chosen neuron [N] right of its knot, and then with it left of it."""
    right, left = (nodes.signs.scatter(1, chosen[:, None], side) for side in (1.0, -1.0))
    both = nodes.joined(nodes)
    return _Nodes(both.which, torch.cat([right, left]), both.bound, both.share, both.held, both.loss)


def _chosen(halved: Halved, nodes: _Nodes, effort: Effort) -> torch.Tensor:
    """[N]: the neuron to split, of those that lose most."""
    most = nodes.loss.topk(min(TRIED, nodes.loss.shape[1]), 1)
    tried = most.indices.shape[1]
    each = torch.arange(len(nodes.which)).repeat_interleave(tried)
    # a neuron that loses nothing may be one that has no sides: the first stands for it
    indices = torch.where(most.values > 0, most.indices, most.indices[:, :1])
    pairs = _children(nodes.rows(each), indices.flatten())
    effort.spend(halved, len(pairs.which), 0)
    guess = climbed(halved, pairs.which, pairs.signs, pairs.share, pairs.held, 0)
    right, left = guess.value.reshape(2, len(nodes.which), tried)
    score = torch.minimum(right, left) + 0.1 * torch.maximum(right, left)
    score = torch.where(most.values > 0, score, -torch.inf)
    return most.indices.gather(1, score.argmax(1, keepdim=True))[:, 0]
