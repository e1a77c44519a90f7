"""The nearest points of a hyperplane inside a box, and of a ball, in l2, l1 and linf: the steps of an attack."""

from __future__ import annotations

import torch

from lipaudit.numerics.norms import Norm

_HALVINGS = 40

_PART = 100
"""In l1 a step is along one entry in so many, the steepest."""


def to_hyperplane(
    norm: Norm, normal: torch.Tensor, target: torch.Tensor, low: torch.Tensor, high: torch.Tensor
) -> torch.Tensor:
    """The shortest d [B, n] with low <= d <= high and normal . d <= target, to nearest; the best corner where none is.

    normal: [B, n]; target: [B], not above 0; low <= 0 <= high: [B, n], infinite ends allowed.
    The shortest one moves along the signs of the normal (linf), along the normal (l2), as far as the box lets it, up to
    a common multiple that is found by halving; or the largest entries of the normal one after the other (l1).
    """
    if norm is Norm.L1:
        return _greedy(normal, target, low, high)
    along = -(normal.sign() if norm is Norm.LINF else normal)
    gain = (normal * along).sum(1).clamp(max=-1e-300)
    least = (target / gain).clamp(min=0.0)  # enough where the box stops nothing
    move = torch.minimum(torch.maximum(least[:, None] * along, low), high)
    short = (normal * move).sum(1) > target * (1.0 - 1e-9)
    if not bool(short.any()):
        return move
    few, most = least.clone(), (least * 2.0**40).clamp(min=1e-300)
    for _ in range(_HALVINGS):
        middle = (few * most).clamp(min=0.0).sqrt()
        tried = torch.minimum(torch.maximum(middle[:, None] * along, low), high)
        enough = (normal * tried).sum(1) <= target
        few, most = torch.where(enough, few, middle), torch.where(enough, middle, most)
    stopped = torch.minimum(torch.maximum(most[:, None] * along, low), high)
    return torch.where(short[:, None], stopped, move)


def _greedy(normal: torch.Tensor, target: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """l1: entries in the order of |normal|, each to the end of its range, until the target is met."""
    order = normal.abs().argsort(1, descending=True)
    slope = normal.gather(1, order)
    room = torch.where(slope > 0.0, low.gather(1, order), high.gather(1, order))
    gains = torch.where(slope == 0.0, torch.zeros_like(slope), slope * room)  # <= 0, what the whole range gives
    gains = gains.clamp(min=-1e300)
    before = torch.cat([torch.zeros_like(gains[:, :1]), gains.cumsum(1)[:, :-1]], 1)
    missing = (target[:, None] - before).clamp(max=0.0)
    share = torch.where(gains < 0.0, (missing / gains.clamp(max=-1e-300)).clamp(0.0, 1.0), torch.zeros_like(gains))
    unbounded = room.isinf() & (slope != 0.0)
    exact = torch.where(unbounded, missing / torch.where(slope == 0.0, torch.ones_like(slope), slope), share * room)
    move = torch.where(unbounded | (share > 0.0), exact, torch.zeros_like(exact))
    return torch.zeros_like(move).scatter(1, order, torch.nan_to_num(move))


def to_ball(norm: Norm, move: torch.Tensor, radius: torch.Tensor) -> torch.Tensor:
    """The nearest point, in l2, to each move [B, n] of the ball of its radius [B] around 0, to nearest."""
    if norm is Norm.LINF:
        return torch.minimum(torch.maximum(move, -radius[:, None]), radius[:, None])
    if norm is Norm.L2:
        return move * (radius / norm.of(move).clamp(min=1e-300)).clamp(max=1.0)[:, None]
    size = move.abs()
    ordered = size.sort(1, descending=True).values
    over = ordered.cumsum(1) - radius[:, None]
    count = torch.arange(1, move.shape[1] + 1, dtype=move.dtype)
    last = ((ordered * count > over).sum(1, keepdim=True) - 1).clamp(min=0)
    less = (over.gather(1, last) / (last + 1)).clamp(min=0.0)
    return torch.where(size.sum(1, keepdim=True) <= radius[:, None], move, move.sign() * (size - less).clamp(min=0.0))


def steepest(norm: Norm, slope: torch.Tensor) -> torch.Tensor:
    """The move [B, n] of length 1 in the norm along which the slope is largest; in l1 spread over a few entries."""
    if norm is Norm.LINF:
        return slope.sign()
    if norm is Norm.L2:
        return slope / norm.of(slope).clamp(min=1e-300)[:, None]
    count = max(1, slope.shape[1] // _PART)
    top = slope.abs().topk(count, 1).indices
    return torch.zeros_like(slope).scatter(1, top, slope.gather(1, top).sign() / count)
