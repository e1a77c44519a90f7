"""Multipliers for `halves`, guessed: ascent in the slopes of lower lines and in what holds a neuron to its side.

From the last neurons to the first, each bracket n_k w_k + m_k dv_k is given the m_k that a line under it has: where the
bracket n_k psi is convex a line through the knot, of any slope between the two, where it is concave the chord, and on a
side that side's own slope, plus a multiplier of the right sign. The slopes and the sides' multipliers climb by Adam (as
in alpha- and beta-CROWN: Xu et al. 2021, arXiv:2011.13824; Wang et al. 2021, arXiv:2103.06624). Plain float64: nothing
here is proven, and `Halved.proven` of the best m is what counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch

from lipaudit.ranges.halves import Halved

RATES, DECAY = (0.1, 0.25), 0.95
"""The first step of the ascent, of the lines and of what holds a side, and what becomes of it from step to step."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Guess:
    """Of N nodes, each a functional and sides: value [N], about what m [N, U] proves; step [N, n], a point of the ball
    as seen from the centre, where the relaxed problem is least; loss [N, U], what a bracket has less than it might;
    share, held [N, U]: where the ascent stands.
    """

    value: torch.Tensor
    m: torch.Tensor
    step: torch.Tensor
    loss: torch.Tensor
    share: torch.Tensor
    held: torch.Tensor

    def better(self, other: Guess) -> Guess:
        """Node by node the one of the larger value."""
        wins = other.value > self.value
        own, others = (tuple(getattr(x, name) for name in Guess.__slots__) for x in (self, other))
        return Guess(*(_where(wins, b, a) for a, b in zip(own, others, strict=True)))


def _where(rows: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.where(rows.reshape(-1, *[1] * (a.dim() - 1)), a, b)


def begun(halved: Halved, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(share, held) [count, U] to begin with: lower lines parallel to the chord, nothing held."""
    low, high = halved.span
    share = (high / (high - low).clamp_min(1e-300)).clamp(0.0, 1.0)
    return share.expand(count, -1), torch.zeros(count, len(share), dtype=torch.float64)


def climbed(
    halved: Halved, which: torch.Tensor, signs: torch.Tensor, share: torch.Tensor, held: torch.Tensor, steps: int
) -> Guess:
    """The best of so many steps of ascent from share and held, for functionals which [N] on the sides signs [N, U]."""
    climb = _Climb(halved, which, signs)
    guess = climb.at(share, held)
    best, moments = guess, [torch.zeros_like(share) for _ in range(4)]
    for step in range(1, steps + 1):
        moved = []
        for i, (x, slope) in enumerate(zip((guess.share, guess.held), climb.slopes(), strict=True)):
            moments[i] = 0.9 * moments[i] + 0.1 * slope
            moments[i + 2] = 0.98 * moments[i + 2] + 0.02 * slope * slope
            size = (moments[i + 2] / (1 - 0.98**step)).sqrt() + 1e-12
            moved.append(x + RATES[i] * climb.scales[i] * DECAY**step * (moments[i] / (1 - 0.9**step)) / size)
        guess = climb.at(moved[0].clamp(0.0, 1.0), moved[1].clamp(min=0.0))
        best = best.better(guess)
    return best


class _Climb:
    """One batch of nodes; `slopes` is of the last point that `at` was asked about."""

    def __init__(self, halved: Halved, which: torch.Tensor, signs: torch.Tensor) -> None:
        r = halved.reduced
        self.blocks, self.bent, self.signs = r.columns, halved.bent, signs
        self.rows, self.inner = r.rows[0], r.inner[0]
        self.asked, self.asked_inner = halved.asked.rows[0][which], halved.asked.inner[0][which]
        self.margins, self.low, self.high = halved.margins[which], r.low[0], r.high[0]
        self.ball, self.box = halved.ball, r.box
        left, right = halved.slopes
        low, high = halved.span
        ends, here = halved.ends(signs), halved.value(halved.here)
        self.moves = torch.stack([t - halved.here for t in ends])
        self.adds = torch.stack([halved.value(t) - here for t in ends])
        self.left, self.turn = left, right - left
        self.chord = (halved.value(high) - halved.value(low)) / (high - low).clamp_min(1e-300)
        self.side = torch.where(signs > 0, right, left)
        self.free = (signs == 0) & self.bent
        self.scales: tuple[torch.Tensor, ...] = ()

    def at(self, share: torch.Tensor, held: torch.Tensor) -> Guess:
        n, m, lines = self.asked_inner.clone(), torch.zeros_like(share), torch.zeros_like(share)
        for b in reversed(self.blocks):
            own = n[:, b]
            line = torch.where(own * self.turn[b] > 0, self.left[b] + share[:, b] * self.turn[b], self.chord[b])
            lines[:, b] = torch.where(self.bent[b], torch.where(self.free[:, b], line, self.side[:, b]), 0.0)
            m[:, b] = self.signs[:, b] * held[:, b] - own * lines[:, b]
            if b.start:
                n[:, : b.start] -= m[:, b] @ self.inner[b, : b.start]
        row = self.asked - m @ self.rows
        step = self.ball.lowest(row[None], self.box)[0]
        brackets = n * self.adds + m * self.moves
        least, at = brackets.min(0)
        loose = torch.where(n > 0, n * self.low, n * self.high)
        value = self.margins + (row * step).sum(1) + torch.where(self.bent, least, loose).sum(1)
        # a convex bracket lies above its line at both ends, a concave one above the chord at the knot
        over = torch.minimum(brackets[0] - brackets[1], brackets[2] - brackets[1])
        under = brackets[1] - torch.minimum(brackets[0], brackets[2])
        loss = torch.where(self.free, torch.where(n * self.turn > 0, over, under), 0.0)
        add = torch.where(self.bent, self.adds.gather(0, at[None])[0], torch.where(n > 0, self.low, self.high))
        if not self.scales:
            size = (n * self.turn).abs()
            self.scales = torch.ones_like(size), size + 0.3 * size.mean(1, keepdim=True)
        self._last = n, lines, step, add, self.moves.gather(0, at[None])[0]
        return Guess(value, m, step, loss.clamp(min=0.0), share, held)

    def slopes(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Of the value in share and held.

        That is what the equations of dv miss where the brackets and the row are least, carried on by the lines, as m
        moves n of earlier neurons, and with it their m.
        """
        n, lines, step, add, move = self._last
        missed = move - step @ self.rows.T
        for b in self.blocks:
            if b.start:
                past = slice(0, b.start)
                missed[:, b] -= (add[:, past] - lines[:, past] * missed[:, past]) @ self.inner[b, past].T
            missed[:, b] *= self.bent[b]
        share = torch.where(self.free & (n * self.turn > 0), -n * self.turn * missed, 0.0)
        return share, self.signs * missed
