"""Cells of a ball: ranges of their neurons, and proofs that a cell is empty.

Every neuron that is held to a side gives a half-space that the cell lies in, g d + b >= 0, whether or not what it reads
is decided (what is open is relaxed). For any weights beta >= 0,

    0 <= sum beta_i (g_i d + b_i) <= sup over the ball of (sum beta_i g_i) d + sum beta_i b_i

on the cell: if the right side is negative, the cell is empty (Farkas; Lagrange multipliers as in beta-CROWN, Wang et
al. 2021, arXiv:2103.06624). Whoever finds the weights is trusted for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch

from lipaudit.numerics.norms import Norm
from lipaudit.numerics.rounding import U, gamma, tensor_down, tensor_up
from lipaudit.ranges.ball import Ball
from lipaudit.ranges.cells import Cells, Sides

_MORE = 1.0 + 2.0**-30

_LOST = 2.0**-900

RATE = 2.0
"""Of the weights' exponents, in units of the half-spaces' widths."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Halves:
    """Half-spaces g d + b >= 0 [B, U, n], [B, U], one a neuron, real where `used`; width: [B, U], sup of |g d|."""

    slope: torch.Tensor
    start: torch.Tensor
    used: torch.Tensor
    width: torch.Tensor


def tightened(cells: Cells, sides: Sides) -> tuple[Sides, torch.Tensor, Halves]:
    """(the cells with smaller ranges, which are not empty by any one neuron [B] bool, their half-spaces)."""
    fold, least, most = cells.relaxed(sides)
    count = sides.low.shape[1]
    rows, inner = fold.rows[:, :count], fold.inner[:, :count]
    start, error = fold.start[:, :count], fold.error[:, :count]
    below, above = cells.ball.widths(rows, cells.box)
    reach = torch.maximum(-least, most)
    low = torch.where(inner > 0, inner * least[:, None], inner * most[:, None]).sum(2)
    high = torch.where(inner > 0, inner * most[:, None], inner * least[:, None]).sum(2)
    size = (inner.abs() @ reach.unsqueeze(2)).squeeze(2)
    length = torch.linalg.vector_norm(reach, dim=1)[:, None] + 2.0**-500
    slip = error[..., 0] * cells.ball.reach()[:, None] + error[..., 1] * length + error[..., 2]
    slip = (slip + gamma(count + 8) * (size + start.abs())) * _MORE + _LOST
    room = tensor_up(slip + (below + above) * 2.0**-50)
    bottom = tensor_down(tensor_down(start - below) + (low - room))
    top = tensor_up(tensor_up(start + above) + (high + room))
    bottom, top = tensor_down(bottom - bottom.abs() * 2.0**-50), tensor_up(top + top.abs() * 2.0**-50)
    # where the squares of a length overflow nothing is known: a range that is not a number would count as decided
    bottom = torch.where(bottom.isfinite(), bottom, -torch.inf)
    top = torch.where(top.isfinite(), top, torch.inf)
    alive = ~(((sides.signs > 0) & (top < 0)) | ((sides.signs < 0) & (bottom > 0))).any(1)
    new_low, new_high = torch.maximum(bottom, sides.low), torch.minimum(top, sides.high)
    # beyond rounding, only an empty cell has a range that is none
    alive &= ~(new_low > new_high).any(1)
    off = new_low > new_high
    found = Sides(sides.signs, torch.where(off, sides.low, new_low), torch.where(off, sides.high, new_high))
    sign = sides.signs.double()
    beyond = tensor_up(torch.where(sign > 0, high, -low) + room)
    halves = Halves(
        sign.unsqueeze(2) * rows,
        tensor_up(sign * start + beyond),
        sides.signs != 0,
        torch.maximum(below, above),
    )
    return found, alive, halves


def excess(cells: Cells, halves: Halves, weights: torch.Tensor) -> torch.Tensor:
    """[B]: at least the sum of weights [B, U] times the half-spaces, all over the ball; negative: the cell is empty.

    inf where a weight is negative or not a number.
    """
    fine = ((weights >= 0) & weights.isfinite()).all(1)
    own = torch.where(halves.used & fine[:, None], weights, 0.0).unsqueeze(1)
    slope = own @ halves.slope
    above = cells.ball.widths(slope, cells.box)[1][:, 0]
    terms = own[:, 0] * halves.start
    lengths = torch.linalg.vector_norm(halves.slope, dim=2) + 2.0**-500
    count = weights.shape[1]
    slip = gamma(count + 8) * ((own[:, 0] * lengths).sum(1) * cells.ball.reach() + terms.abs().sum(1))
    total = tensor_up(above + terms.sum(1) + slip * _MORE + _LOST)
    total = tensor_up(total + (above + total.abs()) * (4.0 * U))
    return torch.where(fine & total.isfinite(), total, torch.inf)


def weighed(cells: Cells, halves: Halves, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(weights [B, U] for which `excess` is small, points d [B, n] of the ball that nearly meet all half-spaces).

    Multiplicative weights: the half-spaces that the ball's steepest point misses gain; that points' mean misses little.
    """
    scale = torch.where(halves.used, halves.width.clamp_min(1e-300), 1.0)
    slope, start = halves.slope / scale.unsqueeze(2), halves.start / scale
    power = torch.zeros_like(start).masked_fill(~halves.used, -torch.inf)
    some = halves.used.any(1)
    power = torch.where(some[:, None], power, 0.0)
    best, value, mean = torch.softmax(power, 1), torch.full_like(start[:, 0], torch.inf), torch.zeros_like(slope[:, 0])
    for step in range(steps):
        weights = torch.softmax(power, 1)
        d = steepest(cells.ball, cells.box.lower, cells.box.upper, (weights.unsqueeze(1) @ slope)[:, 0])
        over = torch.where(halves.used, (slope @ d.unsqueeze(2)).squeeze(2) + start, 0.0)
        found = (weights * over).sum(1)
        better = found < value
        best, value = torch.where(better[:, None], weights, best), torch.minimum(found, value)
        mean = mean + (d - mean) / (step + 1)
        power = power - RATE * over / (1.0 + step / 8.0) ** 0.5
    return torch.where(halves.used, best / scale, 0.0), mean


def steepest(ball: Ball, lower: torch.Tensor, upper: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
    """[B, n]: about where in the ball, cut to the box, slope d is largest; d inside both, to nearest."""
    centre, radius = ball.centre.flatten(1), ball.radius[:, None]
    down, room = lower.flatten(1) - centre, upper.flatten(1) - centre
    edge = torch.where(slope >= 0, room, down)
    if ball.norm is Norm.LINF:
        return edge
    if ball.norm is Norm.L1:
        gain = slope.abs() * torch.minimum(edge.abs(), radius)
        first = torch.nn.functional.one_hot(gain.argmax(1), slope.shape[1]).double()
        return first * torch.minimum(torch.maximum(slope.sign() * radius, down), room)
    free = slope
    stopped = torch.zeros_like(slope)
    for _ in range(4):
        left = (radius.square() - stopped.square().sum(1, keepdim=True)).clamp(min=0.0).sqrt()
        length = torch.linalg.vector_norm(free, dim=1, keepdim=True).clamp_min(1e-300)
        step = free / length * left
        over = (step > room) | (step < down)
        stopped = torch.where(over, edge, stopped)
        free = torch.where(over, 0.0, free)
    length = torch.linalg.vector_norm(free, dim=1, keepdim=True).clamp_min(1e-300)
    left = (radius.square() - stopped.square().sum(1, keepdim=True)).clamp(min=0.0).sqrt()
    d = torch.minimum(torch.maximum(stopped + free / length * left, down), room)
    size = torch.linalg.vector_norm(d, dim=1, keepdim=True).clamp_min(1e-300)
    return d * torch.clamp(radius / size, max=1.0)
