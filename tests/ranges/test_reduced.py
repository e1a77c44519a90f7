"""The reduced problem is the network: at every point of a region its rows hold, exactly, within their slack."""

from __future__ import annotations

import pytest
import torch

from lipaudit.graph.graph import Graph
from lipaudit.graph.simplify import simplify
from lipaudit.numerics.norms import Norm
from lipaudit.ranges.ball import Ball
from lipaudit.ranges.entries import Unknown
from lipaudit.ranges.near import Near, near
from lipaudit.ranges.rows import Weights, pulled
from tests.cases.graphs import FAMILIES, Family
from tests.engines.test_entrywise import mlp
from tests.laws.reduced_laws import rows_hold, rows_hold_exactly
from tests.laws.region_laws import ball_around, units


@pytest.mark.parametrize("norm", Norm)
@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_the_rows_are_the_network(family: Family, norm: Norm) -> None:
    for seed in range(4):
        graph = simplify(family.build(seed))
        try:
            rows_hold(near(graph, ball_around(graph, norm, seed), Weights()), seed)
        except Unknown:
            continue


@pytest.mark.parametrize("norm", Norm)
def test_the_slack_covers_what_was_rounded(norm: Norm) -> None:
    rows_hold_exactly(norm)


def test_the_slack_counts_what_was_rounded_at_every_neuron() -> None:
    graph, _ = mlp(6, 9, 8, 3)
    there = around(graph, 1.0)
    problem, asked = there.reduced(units(graph, 2))
    rows = pulled(graph, there.secants, there.weights, graph.output, units(graph, 2))
    most = torch.maximum(-problem.low, problem.high)
    total = rows.input_error * there.ball.reach()[:, None]
    for place, columns in zip(there.joined.places, problem.columns, strict=True):
        assert bool((rows.errors[place] > 0).all())
        total = total + rows.errors[place] * torch.linalg.vector_norm(most[:, columns], dim=1)[:, None]
    assert bool((asked.slack >= total).all())


def test_neurons_of_one_node_read_none_of_each_other() -> None:
    graph, _ = mlp(6, 9, 8, 3)
    problem, asked = around(graph, 1.0).reduced(units(graph, 2))
    assert problem.inner.shape == (2, sum(problem.sizes), sum(problem.sizes))
    assert bool((problem.inner.triu() == 0).all())
    for columns in problem.columns:
        assert bool((problem.inner[:, columns, columns] == 0).all())
    assert asked.inner.shape == (2, 3, sum(problem.sizes))


def around(graph: Graph, radius: float) -> Near:
    centre = torch.randn(2, *graph.input_shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return near(graph, Ball(centre, torch.full((2,), radius, dtype=torch.float64), Norm.L2), Weights())


def test_cut_ranges_end_at_the_knot() -> None:
    graph, _ = mlp(6, 9, 8, 3)
    problem, _asked = around(graph, 1.0).reduced(units(graph, 2))
    signs = torch.randint(-1, 2, problem.slope.shape, generator=torch.Generator().manual_seed(0)) * problem.bent
    cut = problem.cut(signs)
    assert bool((cut.lower[signs > 0] >= problem.knot[signs > 0]).all())
    assert bool((cut.upper[signs < 0] <= problem.knot[signs < 0]).all())
    assert bool((cut.lower[signs == 0] == problem.range.lower[signs == 0]).all())


def test_regions_are_taken_apart() -> None:
    graph, _ = mlp(6, 9, 8, 3)
    problem, _asked = around(graph, 1.0).reduced(units(graph, 2))
    twice = problem.regions(torch.tensor([1, 1, 0]))
    slope = torch.rand(3, 4, sum(problem.sizes), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found, same = twice.remainders(slope)[0], problem.remainders(slope[[2, 1]])[0]
    assert bool((found[[2, 1]] == same).all())
