"""Laws of balls, ranges and regional bounds: functions that raise AssertionError."""

from __future__ import annotations

from collections.abc import Callable

import torch

import lipaudit.audit.growing as growing
from lipaudit.graph.graph import Graph, fold
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.ranges.ball import Ball
from lipaudit.ranges.near import Near
from tests.laws.engine_laws import jacobians, norms

Regional = Callable[[Graph, Ball], torch.Tensor]
"""Upper bounds [B] of the constant over each ball."""


def inside_of(ball: Ball, count: int, seed: int) -> torch.Tensor:
    """Points [B, count, *shape] of every region: on the sphere, near it and inside, dense, sparse and by sign alone."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(ball), count, *ball.centre.shape[1:])
    d = torch.randn(shape, generator=generator, dtype=torch.float64)
    kind = torch.arange(count) % 4
    sparse = torch.rand(shape, generator=generator) < 0.2
    lead = [1, -1] + [1] * (len(shape) - 2)
    d = torch.where((kind == 1).reshape(lead), d * sparse, d)
    d = torch.where((kind == 2).reshape(lead), d.sign(), d)
    length = ball.norm.of(d.flatten(0, 1)).reshape(len(ball), count).clamp_min(1e-300)
    share = torch.where(kind % 2 == 0, 1.0, torch.rand(count, generator=generator, dtype=torch.float64))
    size = ball.radius[:, None] * share * (1.0 - 1e-12) / length
    points = ball.centre.unsqueeze(1) + d * size.reshape(*size.shape, *[1] * (len(shape) - 2))
    if ball.domain is not None:  # towards the centre, entry by entry: stays in the ball
        points = torch.minimum(torch.maximum(points, ball.domain.lower), ball.domain.upper)
    return points


def widths_hold(ball: Ball, seed: int) -> None:
    """No point of the region moves a linear form further than its width."""
    generator = torch.Generator().manual_seed(seed)
    size = ball.centre[0].numel()
    rows = torch.randn(len(ball), 5, size, generator=generator, dtype=torch.float64)
    below, above = ball.widths(rows)
    points = inside_of(ball, 400, seed)
    steps = (points - ball.centre.unsqueeze(1)).flatten(2)
    if ball.domain is None:  # and the steepest points themselves
        dual = {Norm.L2: rows, Norm.LINF: rows.sign()}.get(ball.norm)
        if dual is not None:
            length = ball.norm.of(dual.flatten(0, 1)).reshape(len(ball), 5, 1)
            steps = torch.cat([steps, dual / length * ball.radius[:, None, None]], 1)
    moved = torch.einsum("brn,bpn->brp", rows, steps)
    assert bool((moved.amax(2) <= above * (1 + 1e-12) + 1e-12).all())
    assert bool((-moved.amin(2) <= below * (1 + 1e-12) + 1e-12).all())


def slopes_hold(graph: Graph, ball: Ball, bounds: torch.Tensor, seed: int, count: int = 60) -> torch.Tensor:
    """No Jacobian and no pair inside a ball is steeper than its bound. Gives met / bound [B]."""
    points = inside_of(ball, count, seed)
    met = []
    for row, own in enumerate(points):
        steep = torch.nan_to_num(norms(jacobians(graph, own), ball.norm), nan=0.0, posinf=0.0)
        values = graph.forward(own).flatten(1)
        rise = ball.norm.of(values[1:] - values[:-1]) - 1e-12 * (1.0 + ball.norm.of(values[1:]))
        pairs = torch.nan_to_num(rise / ball.norm.of(own[1:] - own[:-1]), nan=0.0, posinf=0.0)
        most = max(float(steep.max()), float(pairs.max()))
        assert most <= float(bounds[row]) * (1 + 1e-9) + 1e-12, f"{most!r} is met, {float(bounds[row])!r} is the bound"
        met.append(most / float(bounds[row]) if 0.0 < float(bounds[row]) < torch.inf else 0.0)
    return torch.tensor(met, dtype=torch.float64)


def ball_around(graph: Graph, norm: Norm, seed: int, rows: int = 3) -> Ball:
    """A few balls around random points, of very different sizes."""
    generator = torch.Generator().manual_seed(seed)
    centre = torch.randn(rows, *graph.input_shape, generator=generator, dtype=torch.float64)
    radius = torch.tensor([1e-3, 0.05, 0.4, 2.0], dtype=torch.float64)[torch.arange(seed, seed + rows) % 4]
    return Ball(centre, radius, norm)


def units(graph: Graph, batch: int) -> torch.Tensor:
    """All outputs' unit vectors: [batch, K, *output_shape]."""
    size = int(torch.Size(graph.output_shape).numel())
    eye = torch.eye(size, dtype=torch.float64).reshape(1, size, *graph.output_shape)
    return eye.expand(batch, *eye.shape[1:])


def ranges_hold(around: Near, seed: int, count: int = 100) -> None:
    """Every value at every point of every ball is in its range."""
    points = inside_of(around.ball, count, seed)
    values = fold(around.graph, points.flatten(0, 1), lambda node, args: node.op.forward(*args))
    for value, box in zip(values, around.boxes, strict=True):
        x = value.reshape(len(points), count, *value.shape[1:])
        room = 1e-11 * (1.0 + x.abs())
        assert bool((x >= box.lower.unsqueeze(1) - room).all())
        assert bool((x <= box.upper.unsqueeze(1) + room).all())


def grown_radii(
    graph: Graph, norm: Norm, points: torch.Tensor, labels: torch.Tensor, domain: Box | None, budget: float = 0.0
) -> torch.Tensor:
    """Radii from balls, and from trees of a budget: nothing is known over the whole domain."""
    size = int(torch.Size(graph.output_shape).numel())
    pairs = torch.full((size, size), torch.inf, dtype=torch.float64).fill_diagonal_(0.0)
    known, worth = torch.zeros(len(points), dtype=torch.float64), torch.ones(len(points), dtype=torch.bool)
    return growing.local_radii(graph, norm, domain, points, labels, pairs, known, worth, torch.inf, budget).values


def attacks(graph: Graph, ball: Ball, labels: torch.Tensor, seed: int, count: int) -> torch.Tensor:
    """Points of every ball, [B, 2 count, *shape]: at random, and walked from there against the nearest margin."""
    start = inside_of(ball, count, seed)
    x = start.clone()
    for _ in range(3):
        flat = x.flatten(0, 1).clone().requires_grad_(True)
        values = graph.forward(flat).flatten(1)
        own = labels.repeat_interleave(count)[:, None]
        others = values.scatter(1, own, -torch.inf)
        (slope,) = torch.autograd.grad((values.gather(1, own)[:, 0] - others.amax(1)).sum(), flat)
        step = -ball.norm.dual.dual_vector(slope.flatten(1)) if ball.norm is not Norm.L2 else -slope.flatten(1)
        size = ball.norm.of(step).clamp_min(1e-300)[:, None]
        moved = ball.centre.unsqueeze(1) + (step / size).reshape(x.shape) * (
            ball.radius.reshape(-1, 1, *[1] * (x.dim() - 2)) * (1.0 - 1e-12)
        )
        if ball.domain is not None:
            moved = torch.minimum(torch.maximum(moved, ball.domain.lower), ball.domain.upper)
        x = moved
    return torch.cat([start, x], 1)


def classes_hold(graph: Graph, ball: Ball, labels: torch.Tensor, seed: int, count: int = 40) -> int:
    """No point found in a certified ball has another class, or a tie. Gives how many were tried."""
    points = attacks(graph, ball, labels, seed, count)
    values = graph.forward(points.flatten(0, 1)).flatten(1)
    own = labels.repeat_interleave(points.shape[1])[:, None]
    margin = values.gather(1, own)[:, 0] - values.scatter(1, own, -torch.inf).amax(1)
    certified = (ball.radius > 0).repeat_interleave(points.shape[1])
    assert bool((margin[certified] > 0).all()), f"a class changes inside a radius: {float(margin[certified].min())!r}"
    return int(certified.sum())
