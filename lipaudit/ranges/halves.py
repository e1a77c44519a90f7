"""Lower bounds of functionals over a ball, with some neurons held to one side of their knot.

Of the reduced problem of a region (`reduced`), F(x) - F(c) = g d + h w + e and dv = C d + D w + e', and so for any
numbers m (Lagrange multipliers of the second equation)

    F(x) - F(c) = (g - m C) d + sum_k (n_k w_k + m_k dv_k) + e - m e',    n = h - m D.

F is at least F(c) minus the ball's width along the first row, plus the minima of the brackets, less the slack. For a
neuron of two half-lines a bracket is a function of v alone, linear on either side of the knot: its minimum is at an end
of its range or at the knot, and at an end of what is left of the range where the neuron is held to a side. The best m
gives the bound of the relaxation by triangles (Bunel et al. 2020, arXiv:2002.10410), and with sides that of beta-CROWN
(Wang et al. 2021, arXiv:2103.06624), whose multipliers of the sides are part of m here. m may come from anywhere: what
is claimed is `Halved.proven`, one evaluation with every rounding outward.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch

from lipaudit.numerics.rounding import U, gamma, tensor_down, tensor_up
from lipaudit.ranges.ball import Ball
from lipaudit.ranges.near import Near
from lipaudit.ranges.reduced import Asked, Reduced

_MORE = 1.0 + 2.0**-30
"""More than sums and norms of some thousand terms are understated by."""

_LOST = 2.0**-500
"""More than sums of products lose by underflow, in units of the numbers that are multiplied."""


@final
@dataclass(frozen=True, eq=False)
class Halved:
    """One region's undecided neurons, U of them, and J functionals of it with values of at least `margins` [J] at c."""

    reduced: Reduced
    asked: Asked
    margins: torch.Tensor

    @staticmethod
    def of(around: Near, seeds: torch.Tensor, margins: torch.Tensor) -> Halved:
        """Of one ball (a batch of one) and the functionals seeds [1, J, *output_shape], exact numbers.

        Raises Unknown where a node on the way has no model, or too many neurons are undecided.
        """
        return Halved(*around.reduced(seeds), margins)

    @property
    def ball(self) -> Ball:
        return self.reduced.ball

    @cached_property
    def bent(self) -> torch.Tensor:
        """[U]: the neurons of two half-lines, which can be held to a side."""
        return (self.reduced.bent & self.reduced.held)[0]

    @cached_property
    def decided(self) -> torch.Tensor:
        """[U]: the side that a neuron is on anyway, by its range: -1 left, 1 right, 0 for none."""
        r = self.reduced
        signs = (r.range.lower >= r.knot)[0].double() - (r.range.upper <= r.knot)[0].double()
        return torch.where(self.bent, signs, 0.0)

    @cached_property
    def slopes(self) -> tuple[torch.Tensor, torch.Tensor]:
        """[U] each: of w over v left and right of the knot, to nearest."""
        r = self.reduced
        left, right = (torch.where(self.bent, (x - r.slope)[0], 0.0) for x in (r.left, r.right))
        return left, right

    @cached_property
    def span(self) -> tuple[torch.Tensor, torch.Tensor]:
        """[U] each: v - knot at least and at most, to nearest."""
        r = self.reduced
        return (r.range.lower - r.knot)[0], (r.range.upper - r.knot)[0]

    @cached_property
    def here(self) -> torch.Tensor:
        """[U]: about v - knot at the centre."""
        r = self.reduced
        return ((r.centre.lower + r.centre.upper) / 2 - r.knot)[0]

    def ends(self, signs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """[N, U] each, to nearest: v - knot at least on the sides that signs [N, U] say, what is nearest to 0, at most.

        Raises ValueError where another than a bent neuron is held to a side.
        """
        within = self.reduced.cut(signs)
        low, high = within.lower - self.reduced.knot, within.upper - self.reduced.knot
        return low, torch.minimum(torch.maximum(torch.zeros_like(low), low), high), high

    def value(self, t: torch.Tensor) -> torch.Tensor:
        """Where v - knot is t: w, up to a constant."""
        left, right = self.slopes
        return torch.where(t < 0, left * t, right * t)

    def proven(self, which: torch.Tensor, signs: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
        """[N]: at most every value of the functionals `which` [N] over a part of the ball; -inf where none is proven.

        The part is where the neurons are on the sides that signs [N, U] say: -1 left of the knot, 1 right of it, 0 on
        either. m: [N, U], any numbers at all, of bent neurons alone: the others' are taken for 0.
        Raises ValueError where another than a bent neuron is held to a side.
        """
        r, (g, h, slack) = self.reduced, (x[0][which] for x in (self.asked.rows, self.asked.inner, self.asked.slack))
        m = torch.where(self.bent, m, 0.0)
        size, count = m.abs(), m.shape[1]
        row, n = g - m @ r.rows[0], h - m @ r.inner[0]
        # a sum of count + 1 products is gamma_(count + 2) of its absolute terms away: in row that meets |d|, in n |w|
        most = torch.maximum(-r.low, r.high)[0]
        lengths = torch.linalg.vector_norm(r.rows[0], dim=1) + _LOST
        along = (torch.linalg.vector_norm(g, dim=1) + size @ lengths + _LOST) * self.ball.reach()
        across = h.abs() @ most + size @ (r.inner[0].abs() @ most) + _LOST * most.sum()
        terms, error = self._brackets(signs, n, m)
        total = terms.sum(1)
        slip = slack + size @ r.slack[0] + error.sum(1) + gamma(count + 4) * (along + across + terms.abs().sum(1))
        below = self.ball.widths(row[None], r.box)[0][0]
        slip = slip * _MORE + 8.0 * U * (total.abs() + below + self.margins[which].abs())
        bound = tensor_down(self.margins[which] + total - below - slip)
        return torch.where(bound.isnan(), -torch.inf, bound)

    def _brackets(self, signs: torch.Tensor, n: torch.Tensor, m: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(the least of n w + m dv on each neuron's side [N, U], how far that may be from the exact one)."""
        r, here = self.reduced, self.value(self.here)
        values = torch.stack([n * (self.value(t) - here) + m * (t - self.here) for t in self.ends(signs)])
        loose = torch.where(n > 0, n * r.low[0], n * r.high[0])
        # places, slopes, differences and products are rounded once each, relative to these; v(c) is anywhere in its box
        far = torch.maximum(self.span[0].abs(), self.span[1].abs()) + self.here.abs() + r.knot[0].abs()
        steep = (r.left.abs() + r.right.abs() + 2.0 * r.slope.abs())[0]
        wide = tensor_up(r.centre.upper - r.centre.lower)[0]
        error = (n.abs() * steep + m.abs()) * (wide + far * (16.0 * U)) + (1.0 + n.abs() + m.abs()) * 2.0**-900
        return torch.where(self.bent, values.amin(0), loose), torch.where(self.bent, error, loose.abs() * U + 2.0**-900)
