"""Optimised lines: below every value that is met, never above the linear program's optimum and close to it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from scipy.optimize import linprog

from lipaudit.graph.graph import Graph
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.ranges import lines
from lipaudit.ranges.ball import Ball
from lipaudit.ranges.near import near, reaches
from lipaudit.ranges.reduced import Asked, Reduced
from lipaudit.ranges.rows import Weights, pulled
from tests.cases.graphs import FAMILIES, Family
from tests.engines.test_entrywise import mlp
from tests.laws.lines_laws import both_ways, network_holds, problem_holds


@pytest.mark.parametrize("norm", Norm)
@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_no_value_is_below_its_bound(family: Family, norm: Norm) -> None:
    for seed in range(3):
        network_holds(family, norm, seed)


@pytest.mark.parametrize("norm", Norm)
@pytest.mark.parametrize("slack", [0.0, 0.05])
def test_the_problem_itself_holds(norm: Norm, slack: float) -> None:
    problem_holds(mlp(4, 8, 6, 2)[0], norm, 0.6, slack, 1)


@pytest.mark.parametrize("norm", Norm)
def test_a_cut_region_holds(norm: Norm) -> None:
    problem_holds(mlp(4, 8, 6, 2)[0], norm, 0.8, 0.0, 2, cut=True)


def built(graph: Graph, norm: Norm, radius: float, domain: Box | None = None) -> tuple[Reduced, Asked]:
    """One region, so that nothing is padded."""
    centre = torch.rand(1, *graph.input_shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    region = Ball(centre, torch.full((1,), radius, dtype=torch.float64), norm, domain)
    return near(graph, region, Weights()).reduced(both_ways(graph, 1))


def triangles(problem: Reduced, asked: Asked, r: int) -> float:
    """The linear program: d in the box, v free, w between the two half-lines and their chord."""
    n, u = problem.rows.shape[2], problem.rows.shape[1]
    k, left, right, knot = (x[0].numpy() for x in (problem.slope, problem.left, problem.right, problem.knot))
    c = ((problem.centre.lower + problem.centre.upper)[0] / 2).numpy()
    low, high = problem.range.lower[0].numpy(), problem.range.upper[0].numpy()

    def bent(x: float, j: int) -> float:
        return float((left[j] if x < knot[j] else right[j]) * (x - knot[j]))

    above, limits = [], []
    for j in range(u):
        # variables d, dv, w: w >= both half-lines, w <= chord, all less the line through the centre
        for slope in (left[j], right[j]):
            row = torch.zeros(n + 2 * u, dtype=torch.float64)
            row[n + j], row[n + u + j] = slope - k[j], -1.0
            above.append(row)
            limits.append(bent(c[j], j) - slope * (c[j] - knot[j]))
        chord = (bent(high[j], j) - bent(low[j], j)) / (high[j] - low[j])
        row = torch.zeros(n + 2 * u, dtype=torch.float64)
        row[n + j], row[n + u + j] = -(chord - k[j]), 1.0
        above.append(row)
        limits.append(bent(low[j], j) - bent(c[j], j) + chord * (c[j] - low[j]))
    same = torch.cat([problem.rows[0], -torch.eye(u, dtype=torch.float64), problem.inner[0]], 1)
    goal = torch.cat([asked.rows[0, r], torch.zeros(u, dtype=torch.float64), asked.inner[0, r]])
    box = problem.box
    room = [(box.lower - problem.ball.centre)[0].flatten(), (box.upper - problem.ball.centre)[0].flatten()]
    bounds: list[tuple[float | None, float | None]] = [(float(p), float(q)) for p, q in zip(*room, strict=True)]
    bounds += [(float(p), float(q)) for p, q in zip(low - c, high - c, strict=True)] + [(None, None)] * u
    found = linprog(
        goal.numpy(), torch.stack(above).numpy(), limits, same.numpy(), torch.zeros(u).numpy(), bounds, method="highs"
    )
    assert found.success
    assert found.fun is not None
    return float(found.fun)


@pytest.mark.parametrize(("widths", "share"), [((6, 20, 3), 1e-3), ((6, 12, 10, 3), 0.1)])
@pytest.mark.parametrize("cut", [False, True])
def test_close_to_the_linear_program_and_never_above(widths: tuple[int, ...], share: float, cut: bool) -> None:
    graph, _ = mlp(*widths)
    domain = Box(torch.zeros(1, 6, dtype=torch.float64), torch.ones(1, 6, dtype=torch.float64)) if cut else None
    problem, asked = built(graph, Norm.LINF, 0.4, domain)
    found = lines.below(problem, asked, 100)
    start = lines.below(problem, asked, 0)
    for r in range(asked.slack.shape[1]):
        best = triangles(problem, asked, r)
        assert float(found[0, r]) <= best + 1e-7 * abs(best)
        assert float(found[0, r]) >= best - share * abs(best)
    assert bool((found >= start).all())


@pytest.mark.parametrize("norm", Norm)
def test_never_looser_than_parallel_lines(norm: Norm) -> None:
    graph, _ = mlp(10, 20, 16, 3)
    centre = torch.rand(2, 10, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    around = near(graph, Ball(centre, torch.full((2,), 0.4, dtype=torch.float64), norm), Weights())
    seeds = both_ways(graph, 2)
    problem, asked = around.reduced(seeds)
    rows = pulled(graph, around.secants, around.weights, graph.output, seeds)
    parallel = -reaches(rows, around.secants, around.ball, around.boxes[0])[0]
    assert bool((lines.below(problem, asked, 0) >= parallel - 1e-9 * parallel.abs()).all())


def test_neurons_held_to_a_side_by_the_linear_program() -> None:
    problem, asked = built(mlp(6, 12, 3)[0], Norm.LINF, 0.5)
    generator = torch.Generator().manual_seed(0)
    for _ in range(4):
        step = (torch.rand(1, 1, 6, generator=generator, dtype=torch.float64) - 0.5) @ problem.rows.mT
        some = torch.rand(problem.slope.shape, generator=generator) < 0.5
        signs = torch.where(some, (problem.centre.lower + step[:, 0] - problem.knot).sign(), 0.0)
        found = lines.below(problem, asked, 150, signs)
        held = replace(problem, range=problem.cut(signs))
        for r in range(asked.slack.shape[1]):
            best = triangles(held, asked, r)
            assert best - 0.05 * abs(best) <= float(found[0, r]) <= best + 1e-7 * abs(best)


def test_only_bent_neurons_are_held() -> None:
    problem, asked = built(mlp(6, 12, 3)[0], Norm.L2, 0.5)
    other = replace(problem, bent=torch.zeros_like(problem.bent))
    with pytest.raises(ValueError, match="half-lines"):
        lines.below(other, asked, 0, torch.ones_like(problem.slope))
