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

GROWTH = 1.6
"""Of the ball, as long as margins stay positive."""

ENOUGH = 1.01
"""A ball that is larger than what is proven by less is not looked at."""


@final
@dataclass(slots=True)
class _State:
    """Of every sample: how far its margins are known to be positive, and how large they still are there."""

    reached: torch.Tensor
    left: torch.Tensor
    best: torch.Tensor
    failed: torch.Tensor


def grown(
    evaluate: Evaluate,
    margins: torch.Tensor,
    anywhere: torch.Tensor,
    known: torch.Tensor,
    start: torch.Tensor,
    rounds: int,
) -> torch.Tensor:
    """Radii [B], rounded down: while |x - c| is smaller, every margin stays positive.

    margins: [B, J], lower bounds at the centres, positive; anywhere: [B, J], their constants over the whole domain
    (inf: none known); known: [B], radii that are proven already; start: [B], the first to look at; rounds: how many
    balls are looked at, for each sample at most. Where `evaluate` is Late, what it has answered is all there is.
    """
    zero = torch.zeros(len(margins), dtype=torch.float64)
    state = _State(zero, margins, known, torch.full_like(zero, torch.inf))
    radius = start
    for _ in range(rounds):
        open_ended = (radius > state.reached) & radius.isfinite() & (radius < state.failed)
        rows = (open_ended & (state.failed > state.best * ENOUGH)).nonzero()[:, 0]
        if not len(rows):
            break
        try:
            constants, above = evaluate(rows, radius[rows])
        except Late:
            break
        _step(state, rows, radius[rows], torch.minimum(constants, anywhere[rows]), above)
        state.best = torch.maximum(state.best, _further(state.reached, state.left, anywhere))
        larger = torch.maximum(state.reached * GROWTH, state.best * ENOUGH)
        # far apart, by orders of magnitude; near each other, by halves
        far = torch.maximum((state.best * state.failed).sqrt(), state.failed / 8)
        between = torch.where(state.failed > 8 * state.best, far, (state.best + state.failed) / 2)
        radius = torch.where(state.failed.isinf(), larger, between)
    return state.best


def _step(
    state: _State, rows: torch.Tensor, radius: torch.Tensor, constants: torch.Tensor, above: torch.Tensor
) -> None:
    """One ball a row: a row whose margins stay positive moves to its edge, another remembers how far it came."""
    reached, left = state.reached[rows], state.left[rows]
    fall = tensor_up(constants * tensor_up(radius - reached)[:, None])
    remaining = torch.maximum(tensor_down(left - torch.where(fall.isnan(), torch.inf, fall)), above)
    passed = (remaining > 0).all(1)
    further = torch.minimum(_further(reached, left, constants), radius)
    state.best[rows] = torch.maximum(state.best[rows], torch.where(passed, radius, further))
    state.reached[rows] = torch.where(passed, radius, reached)
    state.left[rows] = torch.where(passed[:, None], remaining, left)
    state.failed[rows] = torch.where(passed, state.failed[rows], radius)


def _further(reached: torch.Tensor, left: torch.Tensor, constants: torch.Tensor) -> torch.Tensor:
    """reached + min_j left_j / constants_j, rounded down; a constant of 0 never ends, one of inf stops at once."""
    ratio = tensor_down(left / constants)
    ratio = torch.where(constants == 0, torch.inf, torch.where(constants.isinf(), 0.0, ratio))
    return tensor_down(reached + ratio.amin(1).clamp(min=0.0)).clamp(min=0.0)
