"""A ball's network of bent neurons, exactly: affine rows of every neuron, on any choice of sides.

With u_r = v_r - knot_r for the neurons' own inputs v_r, d = x - centre and z_k = f_k(v_k) - f_k(knot_k) - slope_k u_k,

    u_r = start_r + C_r d + sum over earlier k of D_rk z_k,    z_k = right_k u_k above the knot, left_k u_k below it,

exactly in real arithmetic (`reduced`; right and left are the slopes of f_k less slope_k). Wherever z_k is a multiple of
u_k its row folds into those behind it: so on a cell, where some neurons are held to one side of their knot, everything
that reads only such neurons is one affine function of d, and what the others can do is their spread, as over any
region. Two points of a cell need no segment within it: a neuron held to one side has the slope of that side between
them. A segment of the ball is cut into finitely many intervals by the pieces of f, each within one cell of any
partition that covers the ball: so the largest bound of a partition's cells is a bound over the ball (compare Jordan and
Dimakis 2020, arXiv:2003.01219, Theorem 1), and a cell that is proven empty may be left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import final

import torch

from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.numerics.rounding import U, gamma, tensor_down, tensor_up, up
from lipaudit.ranges.ball import Ball
from lipaudit.ranges.constants import Slopes, joined_between, norm_of
from lipaudit.ranges.cover import Block, form
from lipaudit.ranges.entries import Unknown
from lipaudit.ranges.near import Near
from lipaudit.ranges.reduced import Reduced

_MORE = 1.0 + 2.0**-30
"""More than sums and norms of some thousand terms are understated by."""

INPUTS = 10
"""Up to which the corners of a cube of inputs are looked at one by one."""

_LOST = 2.0**-900
"""More than all products lose by underflow."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Folded:
    """Rows on B cells: u_r = start_r + C_r d + D_r z over the neurons that were kept.

    rows: [B, R, n]; inner: [B, R, U], 0 where folded; start: [B, R]; error: [B, R, 3], how far the exact ones may be
    from these, C and D in l2.
    """

    rows: torch.Tensor
    inner: torch.Tensor
    start: torch.Tensor
    error: torch.Tensor


@final
@dataclass(frozen=True, slots=True, eq=False)
class Sides:
    """B cells of one ball: the side that each neuron is held to (1, -1, 0 for neither), and ranges of u, [B, U]."""

    signs: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor

    @property
    def open(self) -> torch.Tensor:
        """[B, U] bool: on neither side."""
        return (self.signs == 0) & (self.low < 0) & (self.high > 0)

    @property
    def above(self) -> torch.Tensor:
        """[B, U] bool: on the right side, of those that are on one."""
        return (self.signs > 0) | ((self.signs == 0) & (self.low >= 0))

    def at(self, which: torch.Tensor) -> Sides:
        return Sides(self.signs[which], self.low[which], self.high[which])

    def split(self, neuron: torch.Tensor) -> Sides:
        """[2 B]: every cell on both sides of one of its neurons, [B]."""
        one = torch.nn.functional.one_hot(neuron, self.signs.shape[1]).bool()
        over = Sides(torch.where(one, 1, self.signs), torch.where(one, self.low.clamp(min=0.0), self.low), self.high)
        under = Sides(torch.where(one, -1, self.signs), self.low, torch.where(one, self.high.clamp(max=0.0), self.high))
        parts = zip((over.signs, over.low, over.high), (under.signs, under.low, under.high), strict=True)
        return Sides(*(torch.cat(pair) for pair in parts))


@final
@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """One ball's bent neurons, and the functionals asked for as its last rows; every tensor with a leading 1.

    columns: the rows of every node, in order, and those asked for. left, right: slopes less `slope`; spread: at least
    both in size.
    """

    near: Near
    ball: Ball
    box: Box
    columns: tuple[slice, ...]
    rows: torch.Tensor
    inner: torch.Tensor
    start: torch.Tensor
    error: torch.Tensor
    left: torch.Tensor
    right: torch.Tensor
    spread: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor

    @staticmethod
    def of(near: Near, seeds: torch.Tensor) -> list[Cells]:
        """Of every ball, for the functionals seeds [B, K, *output_shape] (exact numbers).

        Raises Unknown where a node has no model, or where neurons are left open that are not two half-lines.
        """
        joined = joined_between(near)
        pulls = [rows for _, rows in joined.pulls(near.graph.output, lambda part: seeds[:, part], seeds.shape[1])]
        # of `whole` only what is the same between all pairs of points is read: no remainder from the centre, no slack
        whole, last = Reduced.of(joined, near.ball, near.boxes, near.centres), joined.block(pulls)
        if bool((whole.held & ~whole.bent).any()):
            raise Unknown("a neuron is left open that is not two half-lines")
        asked = whole.asked(last)
        blocks = [*joined.blocks, last]
        row_error = torch.cat([b.error for b in blocks], 1)
        none = torch.zeros_like(row_error[:, :1])
        inner_error = torch.cat([_joint(list(b.inner_error.values()), none.expand_as(b.error)) for b in blocks], 1)
        found = []
        for ball in range(len(near.ball)):
            held = whole.held[ball].nonzero()[:, 0]
            kept = torch.cat([held, torch.arange(asked.rows.shape[1]) + whole.held.shape[1]])
            part = whole.regions(slice(ball, ball + 1))
            ends = [int((held < c.stop).sum()) for c in whole.columns]
            edges = [0, *ends, len(kept)]
            rows = torch.cat([part.rows, asked.rows[ball : ball + 1]], 1)[:, kept]
            inner = torch.cat([part.inner, asked.inner[ball : ball + 1]], 1)[:, kept][:, :, held]
            base = row_error[ball : ball + 1, kept], inner_error[ball : ball + 1, kept]
            found.append(Cells._of(near, part, held, [slice(a, b) for a, b in pairwise(edges)], rows, inner, base))
        return found

    @staticmethod
    def _of(
        near: Near,
        part: Reduced,
        held: torch.Tensor,
        columns: list[slice],
        rows: torch.Tensor,
        inner: torch.Tensor,
        base: tuple[torch.Tensor, torch.Tensor],
    ) -> Cells:
        knot, slope, spread = (x[:, held] for x in (part.knot, part.slope, part.spread))
        left, right = part.left[:, held] - slope, part.right[:, held] - slope
        centre = part.centre.map(lambda x: x[:, held])
        middle = (centre.lower + centre.upper) / 2
        radius = tensor_up((centre.upper - centre.lower) * 0.5 * _MORE + (middle.abs() + knot.abs()) * (4.0 * U))
        u = middle - knot
        z = torch.where(u < 0, left, right) * u
        slip = spread * radius + 4.0 * U * z.abs() + _LOST
        count = rows.shape[1] - len(held)
        pad = torch.zeros(1, count, dtype=torch.float64)
        own, around = torch.cat([u, pad], 1), torch.cat([radius, pad], 1)
        start = own - (inner @ z.unsqueeze(2)).squeeze(2)
        size = own.abs() + (inner.abs() @ z.abs().unsqueeze(2)).squeeze(2)
        length = torch.linalg.vector_norm(z.abs() + slip, dim=1)[:, None] + 2.0**-500
        off = around + (inner.abs() @ slip.unsqueeze(2)).squeeze(2) + base[1] * length
        off = (off + gamma(len(held) + 8) * size) * _MORE + _LOST
        error = torch.stack([*base, off], 2)
        ends = [x[:, held] - knot for x in (part.range.lower, part.range.upper)]
        low, high = tensor_down(ends[0]), tensor_up(ends[1])
        ball, box = part.ball, part.box
        return Cells(near, ball, box, tuple(columns), rows, inner, start, error, left, right, spread, low, high)

    def whole(self) -> Sides:
        """The ball itself, as one cell."""
        return Sides(torch.zeros_like(self.low, dtype=torch.int8), self.low, self.high)

    def folded(self, factor: torch.Tensor, kept: torch.Tensor) -> Folded:
        """The rows where z_k = factor_k u_k + (what is kept of it), [B, U] both; kept: [B, U] bool.

        factor: any floats, taken as exact, or right and left, which carry one rounding of their own. Entry by entry the
        recursion is a sum of products; an error of l2 length passes on by absolute values.
        """
        u, n = factor.shape[1], self.rows.shape[2]
        lead = len(factor)
        own = torch.where(kept[:, None], self.inner, 0.0)
        whole = torch.cat([self.rows.expand(lead, -1, -1), own, self.start.expand(lead, -1).unsqueeze(2)], 2)
        sums, sizes, errors = whole[:, :0], whole.new_zeros(lead, 0, 3), whole.new_zeros(lead, 0, 3)
        for block in self.columns:
            part, error = whole[:, block], self.error[:, block].expand(lead, -1, -1)
            if block.start:
                weight = self.inner[:, block, : block.start] * factor[:, None, : block.start]
                size = _sizes(part, n) + weight.abs() @ sizes
                part = part + weight @ sums
                most = torch.linalg.vector_norm(factor[:, : block.start, None] * (sizes + errors), dim=1)
                error = error + weight.abs() @ errors + self.error[:, block, 1:2] * (most[:, None] + 2.0**-500)
                error = (error + gamma(u + 8) * size) * _MORE + _LOST
            sums, errors = torch.cat([sums, part], 1), torch.cat([errors, error], 1)
            sizes = torch.cat([sizes, _sizes(part, n)], 1)
        return Folded(sums[:, :, :n], sums[:, :, n : n + u], sums[:, :, n + u], errors)

    def sided(self, cells: Sides) -> torch.Tensor:
        """[B, U]: z / u on the side that each neuron is on."""
        return torch.where(cells.above, self.right, self.left)

    def relaxed(self, cells: Sides) -> tuple[Folded, torch.Tensor, torch.Tensor]:
        """(rows, low, high): the neurons that are open replaced by their chord, and what is left of z by it.

        low, high: [B, U], of z - chord u, between the ends of the range and the knot.
        """
        free, under, over = cells.open, cells.low, cells.high
        width = torch.where(free, over - under, 1.0)
        chord = torch.where(free, (self.right * over - self.left * under) / width, 0.0)
        ends = [(self.right - chord) * over, (self.left - chord) * under]
        zero = torch.zeros_like(chord)
        size = (self.right.abs() + self.left.abs() + chord.abs()) * torch.maximum(over, -under) * (8.0 * U) + _LOST
        low = torch.where(free, torch.minimum(torch.minimum(*ends), zero) - size, 0.0)
        high = torch.where(free, torch.maximum(torch.maximum(*ends), zero) + size, 0.0)
        return self.folded(torch.where(free, chord, self.sided(cells)), free), low, high

    def slopes(self, cells: Sides) -> Slopes:
        """What the open neurons can do between two points of each cell, all others being folded."""
        free = cells.open
        found = self.folded(torch.where(free, 0.0, self.sided(cells)), free)
        spread, blocks = torch.where(free, self.spread, 0.0), list[Block]()
        for place, block in enumerate(self.columns):
            asked = place == len(self.columns) - 1
            used = torch.ones_like(found.start[:, block]) if asked else free[:, block].double()
            inner = {i: found.inner[:, block, c] * used.unsqueeze(2) for i, c in enumerate(self.columns[:place])}
            errors = dict.fromkeys(range(place), found.error[:, block, 1] * used)
            rows, error = found.rows[:, block] * used.unsqueeze(2), found.error[:, block, 0] * used
            blocks.append(Block(rows, error, inner, errors, None if asked else spread[:, block]))
        return Slopes(self.near, tuple(blocks[:-1]), blocks[-1])


def norms_of(slopes: Slopes, norm: Norm) -> torch.Tensor:
    """[B]: the operator norm of all rows over each cell, rounded up, by what is cheap; exact where nothing is open."""
    n = slopes.asked.rows.shape[2]
    if norm is Norm.LINF and n <= INPUTS:  # |J|_inf is met at a corner of the cube, and each has a recursion of its own
        corners = torch.cartesian_prod(*[torch.tensor([1.0, -1.0], dtype=torch.float64)] * n).reshape(-1, n)
        return slopes.along(corners[: max(1, len(corners) // 2)].T).entries().amax((1, 2))
    if norm is Norm.LINF or (norm is Norm.L1 and n > INPUTS):
        return slopes.norms(norm, 0)
    if norm is Norm.L1:
        return slopes.columns()
    found = norm_of(form([*slopes.blocks, slopes.asked]), 0, slopes.near.deadline)
    lengths = tensor_up(slopes.sums(norm).square().sum(1) * up(1.0 + gamma(slopes.asked.rows.shape[1] + 8)) + _LOST)
    return torch.minimum(found, tensor_up(tensor_up(lengths.sqrt())))


def _sizes(rows: torch.Tensor, n: int) -> torch.Tensor:
    """[B, R, 3]: the l2 lengths of C and D and the size of the start, rather above."""
    u = rows.shape[2] - n - 1
    parts = [torch.linalg.vector_norm(part, dim=2) for part in torch.split(rows, [n, u, 1], 2)]
    return torch.stack(parts, 2) * _MORE + 2.0**-500


def _joint(lengths: list[torch.Tensor], none: torch.Tensor) -> torch.Tensor:
    return torch.stack(lengths).square().sum(0).sqrt() * _MORE + 2.0**-500 if lengths else none
