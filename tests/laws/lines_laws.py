"""Laws of linear relaxation on reduced problems: functions that raise AssertionError."""

from __future__ import annotations

from dataclasses import replace

import torch

from lipaudit.graph.graph import Graph
from lipaudit.graph.simplify import simplify
from lipaudit.numerics.norms import Norm
from lipaudit.ranges import lines
from lipaudit.ranges.ball import Ball
from lipaudit.ranges.entries import Unknown
from lipaudit.ranges.near import near
from lipaudit.ranges.reduced import Asked, Reduced
from lipaudit.ranges.rows import Weights
from tests.cases.graphs import Family
from tests.laws.region_laws import ball_around, inside_of, units


def both_ways(graph: Graph, batch: int) -> torch.Tensor:
    """The outputs, and the outputs turned round."""
    rows = units(graph, batch)
    return torch.cat([rows, -rows], 1)


def network_holds(family: Family, norm: Norm, seed: int, count: int = 60) -> None:
    """No value met in a ball is below the bound of any functional, whatever the slopes."""
    graph = simplify(family.build(seed))
    region = ball_around(graph, norm, seed)
    try:
        problem, asked = near(graph, region, Weights()).reduced(both_ways(graph, len(region)))
    except Unknown:
        return
    points = inside_of(region, count, seed)
    own = graph.forward(region.centre).flatten(1).unsqueeze(1)
    rise = graph.forward(points.flatten(0, 1)).reshape(len(region), count, -1) - own
    least = torch.cat([rise, -rise], 2).amin(1)
    room = 1e-10 * (1.0 + own.abs().amax() + rise.abs().amax())
    for steps in (0, 4):
        assert bool((lines.below(problem, asked, steps) <= least + room).all())
    generator = torch.Generator().manual_seed(seed)
    for scale in (0.1, 1.0, 10.0):  # any multipliers at all
        mu = torch.randn(asked.inner.shape, generator=generator, dtype=torch.float64) * scale
        assert bool((lines.certified(problem, asked, mu) <= least + room).all())


def simulated(
    problem: Reduced, asked: Asked, points: torch.Tensor, seed: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(F, v, fine) at points [B, P, *input] of a problem of bent neurons alone, its errors e drawn up to the slack.

    fine: [B, P], where every v is inside its range.
    """
    generator = torch.Generator().manual_seed(seed)

    def drawn(slack: torch.Tensor) -> torch.Tensor:
        sign = torch.rand(*points.shape[:2], slack.shape[1], generator=generator, dtype=torch.float64) * 2.0 - 1.0
        return torch.where(sign.abs() > 0.5, sign.sign(), sign) * slack.unsqueeze(1)

    step = (points - problem.ball.centre.unsqueeze(1)).flatten(2)
    centre = (problem.centre.lower + problem.centre.upper).unsqueeze(1) / 2
    rise = step @ problem.rows.mT + drawn(problem.slack)
    w, v = torch.zeros_like(rise), torch.zeros_like(rise)

    def bent(x: torch.Tensor) -> torch.Tensor:
        x = x - problem.knot.unsqueeze(1)
        return torch.where(x < 0, problem.left.unsqueeze(1) * x, problem.right.unsqueeze(1) * x)

    for columns in problem.columns:
        rise = rise + 0.0
        rise[..., columns] += w @ problem.inner[:, columns].mT
        v[..., columns] = (centre + rise)[..., columns]
        own = bent(v) - bent(centre) - problem.slope.unsqueeze(1) * rise
        w[..., columns] = torch.where(problem.held.unsqueeze(1), own, 0.0)[..., columns]
    inside = (v >= problem.range.lower.unsqueeze(1)) & (v <= problem.range.upper.unsqueeze(1))
    fine = (inside | ~problem.held.unsqueeze(1)).all(2)
    return step @ asked.rows.mT + w @ asked.inner.mT + drawn(asked.slack), v, fine


def problem_holds(graph: Graph, norm: Norm, radius: float, slack: float, seed: int, cut: bool = False) -> None:
    """The bounds hold for every point, and every error within the slack, of a problem of its own; where cut, of the
    points on the right side."""
    generator = torch.Generator().manual_seed(seed)
    centre = torch.randn(3, *graph.input_shape, generator=generator, dtype=torch.float64)
    region = Ball(centre, torch.full((3,), radius, dtype=torch.float64), norm)
    problem, asked = near(graph, region, Weights()).reduced(both_ways(graph, 3))
    problem, asked = replace(problem, slack=problem.slack + slack), replace(asked, slack=asked.slack + slack)
    points = inside_of(region, 400, seed)
    values, v, fine = simulated(problem, asked, points, seed)
    for pick in range(8 if cut else 1):
        signs, there = None, fine
        if cut:  # the sides of a point that is met, at some of the neurons
            some = torch.rand(problem.slope.shape, generator=generator) < 0.4
            signs = torch.where(some & problem.bent, (v[:, pick] - problem.knot).sign(), 0.0)
            side = v - problem.knot.unsqueeze(1)
            there = fine & ((side * signs.unsqueeze(1) >= 0) | (signs.unsqueeze(1) == 0)).all(2)
        least = torch.where(there.unsqueeze(2), values, torch.inf).amin(1)
        for steps in (0, 6):
            found = lines.below(problem, asked, steps, signs)
            assert bool((found <= least + 1e-10 * (1.0 + values.abs().amax())).all())
        mu = torch.randn(asked.inner.shape, generator=generator, dtype=torch.float64)
        assert bool((lines.certified(problem, asked, mu, signs) <= least + 1e-9 * (1.0 + values.abs().amax())).all())
