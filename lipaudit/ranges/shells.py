"""Radii from balls that grow: a margin may fall by the sum over shells of each ball's constant times its thickness.

For m Lipschitz with constant L_k on the region {x : |x - c| <= r_k} cut by a convex domain (r_0 = 0), and x with
r_{k-1} <= |x - c| <= r_k,

    m(x) > m(c) - sum over i < k of L_i (r_i - r_{i-1}) - L_k (|x - c| - r_{k-1})

along the segment from c to x, whose part in each shell lies in the ball of that shell: the integral of the constants
over the radius. Where a relaxation shows m >= b > 0 on the whole of a ball, the sum may start again from b at its edge.
Every ball that passes is a proof by itself, so that nothing has to be monotone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch

from lipaudit.numerics.rounding import tensor_down, tensor_up
from lipaudit.ranges.joined import Late

Evaluate = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""(rows, radii [r]) -> (constants [r, J] of the margins over the rows' balls, lower bounds [r, J] of them there)."""

GROWTH = 4.0
"""Of the ball, at most, as long as margins stay positive, and of what it shrinks by while they do not, squared."""

ENOUGH = 1.002
"""A ball that is larger than what is proven by less is not looked at."""

SHORT = 0.9995
"""Of the radius where margins are expected to be used up: a ball a little inside it passes, one outside does not."""

WIDER = 1.02
"""Times what is proven is looked at where nothing is known of the balls beyond it, or of the next one too little."""

IDLE = 1.05
"""Times the first ball is what a shell around it should reach with that ball's constants, smaller than its own.
Where it reaches less, shells are not worth their constants."""

EXPONENT = 2.0
"""With which power of the radius margins are expected to fall, where a single ball is known."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Radii [B]; rounds: how many balls were answered; late: whether the deadline came before the last of them.

    idle: [B], where the constants over a ball that passed are so large that a further shell adds next to nothing.
    """

    radii: torch.Tensor
    rounds: int
    late: bool
    idle: torch.Tensor


@final
@dataclass(slots=True)
class _State:
    """Of every sample: how far its margins are known to be positive, and how large they still are there.

    failed, short: the smallest ball that did not pass, and what is known of the margins there. before, fell: a ball
    that passed before the last one, and by how much margins had fallen there.
    """

    reached: torch.Tensor
    left: torch.Tensor
    best: torch.Tensor
    failed: torch.Tensor
    short: torch.Tensor
    before: torch.Tensor
    fell: torch.Tensor
    idle: torch.Tensor


def grown(
    evaluate: Evaluate,
    margins: torch.Tensor,
    anywhere: torch.Tensor,
    known: torch.Tensor,
    start: torch.Tensor,
    rounds: int,
    enough: float = ENOUGH,
    shells: bool = False,
) -> Found:
    """Radii [B], rounded down: while |x - c| is smaller, every margin stays positive.

    margins: [B, J], lower bounds at the centres, positive; anywhere: [B, J], their constants over the whole domain
    (inf: none known); known: [B], radii that are proven already; start: [B], the first to look at, inf for none;
    rounds: how many balls are looked at, for each sample at most; enough: times what is proven is not worth a ball;
    shells: whether a sample is done where its constants are `idle`: they only grow with the ball. Where `evaluate` is
    Late, what it has answered is all there is.
    """
    zero, never = torch.zeros(len(margins), dtype=torch.float64), torch.full_like(margins, -torch.inf)
    ends = torch.full_like(zero, torch.inf)
    state = _State(
        zero, margins.clone(), known.clone(), ends, never, zero.clone(), torch.zeros_like(margins), zero.bool()
    )
    radius, done = start, 0
    for done in range(rounds):
        open_ended = (radius > state.reached) & radius.isfinite() & (radius < state.failed)
        rows = (open_ended & (state.failed > state.best * enough) & ~(shells & state.idle)).nonzero()[:, 0]
        if not len(rows):
            break
        try:
            constants, above = evaluate(rows, radius[rows])
        except Late:
            return Found(state.best, done, True, state.idle)
        _step(state, rows, radius[rows], margins[rows], torch.minimum(constants, anywhere[rows]), above)
        state.best = torch.maximum(state.best, _further(state.reached, state.left, anywhere))
        radius = _next(state, margins, enough)
    else:
        done = rounds
    return Found(state.best, done, False, state.idle)


def _step(
    state: _State,
    rows: torch.Tensor,
    radius: torch.Tensor,
    margins: torch.Tensor,
    constants: torch.Tensor,
    above: torch.Tensor,
) -> None:
    """One ball a row: a row whose margins stay positive moves to its edge, another remembers how far it came."""
    reached, left = state.reached[rows], state.left[rows]
    fall = tensor_up(constants * tensor_up(radius - reached)[:, None])
    remaining = torch.maximum(tensor_down(left - torch.where(fall.isnan(), torch.inf, fall)), above)
    passed = (remaining > 0).all(1)
    further = torch.minimum(_further(reached, left, constants), radius)
    state.best[rows] = torch.maximum(state.best[rows], torch.where(passed, radius, further))
    again = passed & (reached > 0)
    state.before[rows] = torch.where(again, reached, state.before[rows])
    state.fell[rows] = torch.where(again[:, None], margins - left, state.fell[rows])
    state.reached[rows] = torch.where(passed, radius, reached)
    state.left[rows] = torch.where(passed[:, None], remaining, left)
    state.failed[rows] = torch.where(passed, state.failed[rows], radius)
    state.short[rows] = torch.where(passed[:, None], state.short[rows], remaining)
    state.idle[rows] |= passed & (reached == 0) & (_further(radius, remaining, constants) < radius * IDLE)


def _next(state: _State, margins: torch.Tensor, enough: float) -> torch.Tensor:
    """[B]: the next ball: a little within where the first margin is expected to be used up.

    A fall is taken for a power of the radius: through the balls on either side of that place, through the last two that
    passed, or, where a single one is known, of EXPONENT (of 1 where none passed: a smaller step too many is cheaper).
    """
    passed, failed = state.reached > 0, state.failed.isfinite()
    low, high = state.reached, torch.where(failed, state.failed, state.before)
    here, there = (_share(x, margins) for x in (margins - state.left, margins - state.short))
    there = torch.where(failed[:, None], there, _share(state.fell, margins))
    two = passed & (high > 0)
    apart = torch.where(two, (high / torch.where(passed, low, 1.0)).log(), 1.0)[:, None]
    power = torch.where(apart == 0, EXPONENT, (there / here).log() / apart).clamp(1.0, 16.0)
    power = torch.where(two[:, None], power, EXPONENT)
    ahead = low[:, None] * here ** (-1.0 / power)
    back = torch.where(failed, state.failed, 1.0)[:, None] / there
    guess = SHORT * torch.where(passed[:, None], ahead, back).amin(1)
    # where more is proven than these balls have shown, that is what they are measured by
    guess = torch.where(~failed & (low * WIDER < state.best), torch.minimum(guess, state.best * WIDER), guess)
    room = state.failed - state.best
    least = torch.where(failed, torch.minimum(state.best + room / 8, state.best * WIDER), state.best * enough)
    most = torch.where(failed, state.failed - room / 16, torch.maximum(low * GROWTH, state.best * enough))
    # no fall slows down: where the rest of a margin is small, so is what there is to gain
    over = passed & (low * enough >= state.best) & (low / here.amax(1) <= state.best * enough)
    return torch.where(over, torch.inf, torch.minimum(torch.maximum(guess, least), most))


def _share(fall: torch.Tensor, margins: torch.Tensor) -> torch.Tensor:
    """A fall in shares of the margin, neither so small nor so large that a power of the radius says nothing."""
    share = torch.nan_to_num(fall / margins.clamp_min(1e-300), nan=1.0, posinf=torch.inf)
    return share.clamp(1e-3, GROWTH * GROWTH)


def _further(reached: torch.Tensor, left: torch.Tensor, constants: torch.Tensor) -> torch.Tensor:
    """reached + min_j left_j / constants_j, rounded down; a constant of 0 never ends, one of inf stops at once."""
    ratio = tensor_down(left / constants)
    ratio = torch.where(constants == 0, torch.inf, torch.where(constants.isinf(), 0.0, ratio))
    return tensor_down(reached + ratio.amin(1).clamp(min=0.0)).clamp(min=0.0)
