"""Slopes of pairs of points, proven from below: the only thing that is called attained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch

from lipaudit.graph.graph import Graph, Node, evaluate
from lipaudit.numerics.bound import LowerBound
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import NormPair, Norms
from lipaudit.numerics.rounding import div_down, tensor_down, up


@final
@dataclass(frozen=True, slots=True, eq=False)
class Witness:
    """Two inputs [*input_shape] and the slope that is proven between them."""

    bound: LowerBound
    x: torch.Tensor
    y: torch.Tensor


def values_at(graph: Graph, points: torch.Tensor) -> Box:
    """Boxes [B, *output_shape] around the exact values f(points), rounding of the evaluation included."""
    parts = [evaluate(graph, Box.point(points[rows]), _interval) for rows in batches(graph, len(points))]
    return Box(torch.cat([part.lower for part in parts]), torch.cat([part.upper for part in parts]))


def batches(graph: Graph, count: int) -> list[slice]:
    """Consecutive slices of `count` samples that the graph takes at once."""
    return [slice(start, start + graph.batch) for start in range(0, count, graph.batch)]


def _interval(node: Node, args: tuple[Box, ...]) -> Box:
    return node.op.interval(*args)


def slopes_below(graph: Graph, norms: Norms, x: torch.Tensor, y: torch.Tensor) -> list[float]:
    """Lower bounds of |f(y) - f(x)| / |y - x| for each row of x, y [B, *input_shape], in one norm or a pair.

    Sound: f(x) and f(y) are enclosed in boxes, |f(y) - f(x)| is at least the gap between them entry by entry, and
    every operation is rounded towards 0. No differentiability is needed: a pair's slope is a lower bound of the
    constant on any convex set that holds both points.
    """
    pair = NormPair.of(norms)
    fx, fy = values_at(graph, x), values_at(graph, y)
    gap = torch.maximum(tensor_down(fy.lower - fx.upper), tensor_down(fx.lower - fy.upper))
    gap = torch.nan_to_num(gap, nan=0.0, posinf=0.0, neginf=0.0).clamp(min=0.0)
    slopes = []
    for rise, step in zip(gap, y - x, strict=True):
        length = up(pair.source.bounds_of(step)[1] * up(1.0 + 2.0**-51))  # y - x is rounded once an entry
        slopes.append(div_down(pair.target.bounds_of(rise)[0], length) if length > 0.0 else 0.0)
    return slopes


def best_witness(
    graph: Graph, norms: Norms, points: torch.Tensor, directions: torch.Tensor, region: Box | None
) -> Witness | None:
    """The steepest proven pair along the given directions through the given points, within the region.

    points, directions: [k, *input_shape]; several step lengths are tried on both sides: short ones follow the
    derivative, long ones leave less to rounding. None where nothing above 0 can be proven.
    """
    x, y = _pairs(points, directions, region)
    with torch.no_grad():
        moves = [graph.forward(y[rows]) - graph.forward(x[rows]) for rows in batches(graph, len(x))]
    pair = NormPair.of(norms)
    rises = pair.target.of(torch.cat(moves)) / pair.source.of(y - x)
    rises = torch.nan_to_num(rises, nan=0.0, posinf=0.0)
    # the best few of every step length, since the shortest ones look steep by rounding alone
    by_step = rises.reshape(len(_STEPS), -1)
    chosen = (
        by_step.topk(min(2, by_step.shape[1]), 1).indices + torch.arange(len(_STEPS))[:, None] * by_step.shape[1]
    ).reshape(-1)
    x, y = x[chosen], y[chosen]
    slopes = slopes_below(graph, norms, x, y)
    best = max(range(len(slopes)), key=slopes.__getitem__)
    if slopes[best] <= 0.0:
        return None
    return Witness(LowerBound(slopes[best], "slope between two points"), x[best], y[best])


_STEPS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)


def _pairs(points: torch.Tensor, directions: torch.Tensor, region: Box | None) -> tuple[torch.Tensor, torch.Tensor]:
    """All (x, y) with x - y along a direction, [steps * sides * k, *input_shape], moved into the region."""
    scale = points.abs().amax(tuple(range(1, points.dim())), keepdim=True).clamp(min=1e-3)
    ones = directions.abs().amax(tuple(range(1, points.dim())), keepdim=True).clamp(min=2.0**-1000)
    unit = directions / ones
    firsts, seconds = [], []
    for step in _STEPS:
        move = step * scale * unit
        base = points if region is None else _room_for(points, move.abs(), region)
        for start, end in ((0.0, 1.0), (-1.0, 0.0), (-0.5, 0.5)):
            firsts.append(base + start * move)
            seconds.append(base + end * move)
    x, y = torch.cat(firsts), torch.cat(seconds)
    if region is not None:
        x, y = (torch.minimum(torch.maximum(end, region.lower), region.upper) for end in (x, y))
    return x, y


def _room_for(points: torch.Tensor, move: torch.Tensor, region: Box) -> torch.Tensor:
    """The points, as far from the region's faces as a step takes: on a face, no step would keep its direction."""
    low, high = region.lower + move, region.upper - move
    kept = torch.minimum(torch.maximum(points, low), high)
    return torch.where(low <= high, kept, points)
