"""A region of a network reduced to its undecided neurons: a small problem that any relaxation can work on.

With d = x - c, x a point of the region and c its centre, dv_j = v_j(x) - v_j(c) for the neurons' own inputs v_j, and
F the rows asked for, exactly in real arithmetic

    dv_j = C_j d + sum over earlier k of D_jk w_k + e_j,    w_j = psi_j(dv_j),    |e_j| <= slack_j,
    F(x) - F(c) = g d + h w + e,                                                |e| <= slack,

with C, D, g, h the floats stored here; e is what pulling the rows rounded (`rows.Pulled`), bounded over the region:
|C - exact|_2 |d|_2 and |D - exact|_2 |w|_2. D is strictly lower triangular in the order of the columns, block by block:
neurons of one node read none of each other. What is known of w:

- elementwise nodes: w_j = f(v_j) - f(v_j(c)) - k_j (v_j - v_j(c)), v_j in `range`, k_j in `slope`. Where `bent`, f is
  two half-lines, of slopes `left` and `right`, that meet at `knot`; for others `remainders` bounds lines of any slope;
- sorted pairs are relu of v_j = b - a: `bent`, like that relu (`swaps`);
- maxima: v_j is an entry less another of its window, w_j = (s - k_j) dv_j for a share s. Where those two alone can win,
  the share is a slope of a half-line: `bent`, at 0. Of others nothing more is known (neither `bent` nor `smooth`);
- all: w_j in [low_j, high_j], |w_j| <= spread_j |dv_j|, and w_j = 0 where not `held` (padding).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import final

import torch

from lipaudit.numerics.box import Box
from lipaudit.numerics.rounding import U, tensor_down, tensor_up
from lipaudit.ops.elementwise import Elementwise
from lipaudit.ranges.ball import Ball
from lipaudit.ranges.cover import Block
from lipaudit.ranges.entries import Unknown
from lipaudit.ranges.joined import JOINED, Neurons
from lipaudit.ranges.local import Neurons as Entrywise
from lipaudit.ranges.local import Pieces, Winners, kink
from lipaudit.ranges.swaps import Swaps

PIECES = 16
"""How many parts of a smooth neuron's range its lines are read from."""

_MORE = 1.0 + 2.0**-30
"""More than sums and norms of some thousand terms are understated by."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """Functionals F of the region: g [B, R, n], h [B, R, U], and slack [B, R]."""

    rows: torch.Tensor
    inner: torch.Tensor
    slack: torch.Tensor

    def take(self, which: torch.Tensor) -> Asked:
        """Some of them: which [B, r]."""
        rows, inner = (x.gather(1, which.unsqueeze(2).expand(-1, -1, x.shape[2])) for x in (self.rows, self.inner))
        return Asked(rows, inner, self.slack.gather(1, which))


@final
@dataclass(frozen=True, slots=True, eq=False)
class Reduced:
    """B regions with U undecided neurons each; see above.

    ball, box: the regions, and the boxes around them; sizes: how many neurons each node has, in order, sum U.
    rows: C [B, U, n]; inner: D [B, U, U]; everything else is [B, U].
    smooth: by node, the pieces of a function that is not bent [P + 1, B, its neurons], None for the rest.
    """

    ball: Ball
    box: Box
    sizes: tuple[int, ...]
    rows: torch.Tensor
    inner: torch.Tensor
    slack: torch.Tensor
    centre: Box
    range: Box
    slope: torch.Tensor
    spread: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor
    held: torch.Tensor
    bent: torch.Tensor
    knot: torch.Tensor
    left: torch.Tensor
    right: torch.Tensor
    smooth: tuple[Pieces | None, ...]

    @staticmethod
    def of(joined: Neurons, ball: Ball, boxes: Sequence[Box], centres: Sequence[Box]) -> Reduced:
        """The neurons joined so far, over the balls. boxes, centres: by value, as in `Near`, as far as they are read.

        Raises Unknown where a node's neurons are too many to be joined.
        """
        if joined.size > JOINED:
            raise Unknown(f"more than {JOINED} neurons are undecided")
        count, n = len(ball), ball.centre[0].numel()
        pairs = zip(joined.places, joined.which, strict=True)
        parts = [_Part.of(joined, place, which, boxes, centres) for place, which in pairs]
        sizes = tuple(part.slope.shape[1] for part in parts)

        def column(read: Callable[[_Part], torch.Tensor]) -> torch.Tensor:
            return _cat([read(part) for part in parts], (count, 0), 1)

        low, high = column(lambda p: p.low), column(lambda p: p.high)
        most = torch.maximum(-low, high)
        return Reduced(
            ball=ball,
            box=boxes[0],
            sizes=sizes,
            rows=_cat([block.rows for block in joined.blocks], (count, 0, n), 1),
            inner=_cat([_inner(block, sizes) for block in joined.blocks], (count, 0, 0), 1),
            slack=_cat([_slack(block, ball, sizes, most) for block in joined.blocks], (count, 0), 1),
            centre=Box(column(lambda p: p.centre.lower), column(lambda p: p.centre.upper)),
            range=Box(column(lambda p: p.range.lower), column(lambda p: p.range.upper)),
            slope=column(lambda p: p.slope),
            spread=column(lambda p: p.spread),
            low=low,
            high=high,
            held=column(lambda p: p.held).bool(),
            bent=column(lambda p: p.bent).bool(),
            knot=column(lambda p: p.knot),
            left=column(lambda p: p.left),
            right=column(lambda p: p.right),
            smooth=tuple(part.pieces for part in parts),
        )

    def asked(self, block: Block) -> Asked:
        """Rows of the same regions (`Neurons.block`), pulled through all neurons of this problem."""
        most = torch.maximum(-self.low, self.high)
        return Asked(block.rows, _inner(block, self.sizes), _slack(block, self.ball, self.sizes, most))

    @property
    def reach(self) -> torch.Tensor:
        """[B, U]: at least |dv_j|."""
        below = tensor_up(self.centre.upper - self.range.lower)
        return torch.maximum(below, tensor_up(self.range.upper - self.centre.lower)).clamp(min=0.0)

    @property
    def columns(self) -> tuple[slice, ...]:
        """The neurons of each node."""
        ends = [sum(self.sizes[:i]) for i in range(len(self.sizes) + 1)]
        return tuple(slice(a, b) for a, b in pairwise(ends))

    def regions(self, which: torch.Tensor | slice) -> Reduced:
        """Some of the regions, or one several times."""
        boxes = [Box(b.lower[which], b.upper[which]) for b in (self.box, self.centre, self.range)]
        names = ("rows", "inner", "slack", "slope", "spread", "low", "high", "held", "bent", "knot", "left", "right")
        smooth = tuple(p if p is None else p.map(lambda x: x[..., which, :]) for p in self.smooth)
        own = {name: getattr(self, name)[which] for name in names}
        return Reduced(
            self.ball.rows(which), boxes[0], self.sizes, centre=boxes[1], range=boxes[2], smooth=smooth, **own
        )

    def cut(self, signs: torch.Tensor) -> Box:
        """`range`, on one side of the knot where signs [B, U] say so: 1 for v >= knot, -1 for v <= knot, 0 for both.

        Only bent neurons may be cut. Where no point of the range is on the side, the knot stands for it: of nothing,
        anything may be said.
        """
        if bool((signs.bool() & ~self.bent).any()):
            raise ValueError("only a neuron that is two half-lines is cut at its knot")
        low = torch.where(signs > 0, torch.maximum(self.range.lower, self.knot), self.range.lower)
        high = torch.where(signs < 0, torch.minimum(self.range.upper, self.knot), self.range.upper)
        nothing = low > high
        return Box(torch.where(nothing, self.knot, low), torch.where(nothing, self.knot, high))

    def remainders(self, slope: torch.Tensor, signs: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """(low, high) [B, R, U] with low <= w_j - (a_j - k_j) dv_j <= high for the slopes a [B, R, U], any at all.

        For elementwise nodes that is f(v) - f(c) - a (v - c) over the range, cut by the signs (see `cut`). Proven: two
        half-lines have their extremes at the ends and the knot; smooth functions piece by piece (`local.Pieces`).
        """
        low, high = self._straight(slope)
        bent_low, bent_high = self._bent(slope, self.range if signs is None else self.cut(signs))
        bent, held = self.bent.unsqueeze(1), self.held.unsqueeze(1)
        low, high = torch.where(bent, bent_low, low), torch.where(bent, bent_high, high)
        for columns, pieces in zip(self.columns, self.smooth, strict=True):
            if pieces is not None:
                found = pieces.map(lambda x: x.unsqueeze(-2)).remainder(slope[..., columns])
                low[..., columns], high[..., columns] = found
        # padding: w = 0
        tilt = tensor_up((slope - self.slope.unsqueeze(1)).abs() * (1.0 + 2.0 * U) * self.reach.unsqueeze(1))
        return torch.where(held, low, -tilt), torch.where(held, high, tilt)

    def _straight(self, slope: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """From w in [low, high] alone."""
        tilt = tensor_up((slope - self.slope.unsqueeze(1)).abs() * (1.0 + 2.0 * U) * self.reach.unsqueeze(1))
        return tensor_down(self.low.unsqueeze(1) - tilt), tensor_up(self.high.unsqueeze(1) + tilt)

    def _bent(self, slope: torch.Tensor, within: Box) -> tuple[torch.Tensor, torch.Tensor]:
        """h(v) = bent(v - knot) - a (v - knot): over the range, less what it is at the centre."""
        knot, left, right = (x.unsqueeze(1) for x in (self.knot, self.left, self.right))
        ends = [x.unsqueeze(1) - knot for x in (within.lower, within.upper, self.centre.lower, self.centre.upper)]
        at = [torch.where(x < 0, left - slope, right - slope) * x for x in ends]
        # each carries the roundings of its difference, of its slope's and of the product, relative to these
        size = torch.stack([(torch.maximum(left.abs(), right.abs()) + slope.abs()) * x.abs() for x in ends]).amax(0)
        error = size * (16.0 * U) + 2.0**-1000
        zero = torch.zeros_like(at[0])
        over = torch.stack([at[0], at[1], torch.where((ends[0] < 0) & (ends[1] > 0), zero, at[0])])
        here = torch.stack([at[2], at[3], torch.where((ends[2] < 0) & (ends[3] > 0), zero, at[2])])
        return tensor_down(over.amin(0) - here.amax(0) - error), tensor_up(over.amax(0) - here.amin(0) + error)


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """The columns of one node, [B, u] each."""

    centre: Box
    range: Box
    slope: torch.Tensor
    spread: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor
    held: torch.Tensor
    bent: torch.Tensor
    knot: torch.Tensor
    left: torch.Tensor
    right: torch.Tensor
    pieces: Pieces | None

    @staticmethod
    def of(joined: Neurons, place: int, which: torch.Tensor, boxes: Sequence[Box], centres: Sequence[Box]) -> _Part:
        node, model = joined.graph.nodes[place - 1], joined.models[place]
        box, centre, shape = boxes[node.inputs[0]], centres[node.inputs[0]], node.op.in_shapes[0]

        def taken(x: torch.Tensor) -> torch.Tensor:
            flat = x.reshape(*x.shape[: x.dim() - len(shape)], -1)
            return flat.gather(-1, which.expand(*flat.shape[:-1], -1))

        spread = model.spread.gather(1, which)
        held, zero = spread > 0, torch.zeros_like(spread)
        knot, left, right, bent, pieces = zero, zero, zero, torch.zeros_like(held), None
        if isinstance(model, Winners):
            ends = [model.differences(x, which) for x in (centre, box)]
            slope = model.shares.flatten(1).gather(1, which)
            # max(a, b) = b + relu(a - b), min(a, b) = b - relu(b - a)
            bent = held & (slope == 0.5)
            left, right = (zero + x for x in ((0.0, 1.0) if model.sign > 0 else (1.0, 0.0)))
        elif isinstance(model, Swaps):
            ends = [model.differences(x, which) for x in (centre, box)]
            slope, right, bent = model.slope.gather(1, which), zero + 1.0, held
        else:
            assert isinstance(model, Entrywise)
            assert isinstance(node.op, Elementwise)
            ends = [x.map(taken) for x in (centre, box)]
            slope, found = taken(model.slope), kink(node.op.function, node.op.shape)
            if found is not None:
                knot, left, right = (taken(x.expand_as(box.lower)) for x in found)
                bent = held
            else:
                pieces = Pieces.of(node.op.function, box, centre, PIECES).map(taken)
        around, here = (x.map(lambda end: torch.where(held, end, 0.0)) for x in (ends[1], ends[0]))
        low, high = (torch.where(held, x.gather(1, which), 0.0) for x in (model.low, model.high))
        return _Part(here, around, slope, spread, low, high, held, bent, knot, left, right, pieces)


def _inner(block: Block, sizes: tuple[int, ...]) -> torch.Tensor:
    """D of a block's rows, [B, u, sum of the sizes]."""
    lead = block.rows.shape[:2]
    parts = [block.inner.get(i, block.rows.new_zeros(*lead, size)) for i, size in enumerate(sizes)]
    return _cat(parts, (*lead, 0), 2)


def _slack(block: Block, ball: Ball, sizes: tuple[int, ...], most: torch.Tensor) -> torch.Tensor:
    """[B, u]: what the errors of a block's rows amount to over the region. most: |w| at most."""
    total = block.error * ball.reach()[:, None]
    for number, length in enumerate(torch.split(most, list(sizes), 1)):
        if number in block.inner_error:
            total = total + block.inner_error[number] * (torch.linalg.vector_norm(length, dim=1)[:, None] + 2.0**-500)
    return tensor_up(total * _MORE)


def _cat(parts: Sequence[torch.Tensor], empty: tuple[int, ...], axis: int) -> torch.Tensor:
    return torch.cat(list(parts), axis) if parts else torch.zeros(empty, dtype=torch.float64)
