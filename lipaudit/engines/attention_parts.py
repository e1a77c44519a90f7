"""What the queries, keys, values and shares of an attention may be, for tokens in balls."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch

from lipaudit.graph.attention import Attention, Part
from lipaudit.graph.problem import Problem
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.numerics.rounding import U, add_up, gamma, sqrt_up, tensor_up, up
from lipaudit.ops.affine import Affine

_MOST_PAIRS = 2**30
"""Of biased keys that are compared, all queries and heads together (seconds); beyond, a share may be 1."""

_TINY_SHARE = 1e-300
"""Added to every bound of a share: what exp may lose below the normal range."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Ball:
    """Tokens centre + w, |w|_2 <= radius, over the region; `free` where the centre is 0 and w sums to 0 besides."""

    centre: torch.Tensor
    radius: float
    free: bool


def matrices(part: Part, free: bool) -> tuple[torch.Tensor, tuple[float, ...]]:
    """G (G P, P = I - 11'/d, where the tokens sum to 0) and a bound of its error's Frobenius norm, for each head."""
    g, error = part.each.matrix, part.each.error
    if not free:
        return g, error
    mean = g.mean(-1, keepdim=True)
    lost = (g.abs() + g.abs().mean(-1, keepdim=True)) * gamma(g.shape[-1] + 4)
    return g - mean, tuple(add_up(e, Norm.L2.bounds_of(entries)[1]) for e, entries in zip(error, lost, strict=True))


def by_head(attention: Attention, part: Part, x: torch.Tensor) -> torch.Tensor:
    """[B, heads, tokens, rows] of q, k or v as it stands in the graph."""
    count = attention.queries if part is attention.query else attention.keys
    if part is attention.key:
        return x.reshape(len(x), attention.heads, -1, count).transpose(-1, -2)
    return x.reshape(len(x), attention.heads, count, -1)


def offsets(problem: Problem, attention: Attention, part: Part, ball: Ball) -> Box:
    """c: [heads, tokens, rows], the part at the centre of its tokens, enclosed."""
    op = problem.graph.nodes[part.value - 1].op
    assert isinstance(op, Affine)
    box = op.interval(Box.point(ball.centre))
    return box.map(lambda end: by_head(attention, part, end)[0])


def row_lengths(rows: torch.Tensor) -> list[float]:
    """Upper bounds of the 2-norms along the last axis of a stack, flattened."""
    flat = rows.reshape(-1, rows.shape[-1])
    squares = (flat * flat).sum(-1) * up(1.0 + gamma(flat.shape[-1] + 2))
    return [add_up(sqrt_up(float(s)), 1e-150) if s else 1e-150 for s in squares]


def range_radius(problem: Problem, attention: Attention, part: Part) -> list[float]:
    """For each head: a radius of all tokens' values together, from their range over the region."""
    box = problem.boxes[part.value]
    low, high = (by_head(attention, part, end).transpose(0, 1).flatten(1, 2) for end in (box.lower, box.upper))
    if not box.finite:
        return [math.inf] * attention.heads
    half = tensor_up(tensor_up(high.amax(1) - low.amin(1)) / 2.0)
    return row_lengths(half)


def shares(problem: Problem, attention: Attention, spread: torch.Tensor) -> torch.Tensor:
    """pbar [heads, queries, keys]: at least every key's share, for logits that differ by `spread` and their biases."""
    shape = (attention.heads, attention.queries, attention.keys)
    bias, doubt, spread = attention.bias, attention.doubt, spread.unsqueeze(-1)
    keep = torch.ones(shape, dtype=torch.bool) if attention.keep is None else attention.keep
    if attention.keep is None and not bool(bias.any()) and not bool(doubt.any()):  # all others are alike
        least = torch.exp(-spread * (1.0 + 2.0**-50)) * (1.0 - 2.0**-40)
        total = (least * float(attention.keys - 1)).expand(shape)
    else:
        total = torch.zeros(shape, dtype=torch.float64)
        pairs = attention.keys * total.numel()
        for j in range(attention.keys if pairs <= _MOST_PAIRS else 0):  # what another key must have, beside each
            other, unsure = bias[..., j : j + 1], doubt[..., j : j + 1]
            size = bias.abs() + other.abs() + doubt + unsure + spread
            gap = other - bias - spread - (doubt + unsure) - size * (8.0 * U)
            here = torch.arange(attention.keys) == j
            total = total + torch.where(keep[..., j : j + 1] & ~here, torch.exp(gap) * (1.0 - 2.0**-40), 0.0)
    total = total * (1.0 - gamma(attention.keys + 8))
    most = (1.0 / (1.0 + total)) * (1.0 + 2.0**-50) + _TINY_SHARE
    box = problem.boxes[attention.shares].upper.amax(0).reshape(shape)
    most = torch.minimum(torch.minimum(most, box), torch.ones(shape, dtype=torch.float64))
    return torch.where(keep, most, 0.0)
