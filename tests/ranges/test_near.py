"""Ranges over balls enclose every value that is met, and the constants read from them every slope."""

from __future__ import annotations

import pytest
import torch

from lipaudit.graph.graph import Graph, fold
from lipaudit.graph.simplify import simplify
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.ranges.ball import Ball
from lipaudit.ranges.constants import Slopes
from lipaudit.ranges.entries import Unknown
from lipaudit.ranges.near import near
from lipaudit.ranges.rows import Weights
from tests.cases.graphs import FAMILIES, Family
from tests.engines.test_entrywise import mlp
from tests.laws.region_laws import ball_around, ranges_hold, slopes_hold, units

BOUNDED = [family for family in FAMILIES if family.bounded]


@pytest.mark.parametrize("norm", Norm)
@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_ranges_enclose_what_is_met(family: Family, norm: Norm) -> None:
    for seed in range(4):
        graph = family.build(seed)
        for form in (graph, simplify(graph)):
            ball = ball_around(form, norm, seed)
            ranges_hold(near(form, ball, Weights()), seed)
            ranges_hold(near(form, ball, Weights(), apart=True), seed)


@pytest.mark.parametrize("norm", Norm)
@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_no_slope_in_a_ball_exceeds_its_constant(family: Family, norm: Norm) -> None:
    for seed in range(4):
        graph = simplify(family.build(seed))
        ball = ball_around(graph, norm, seed)
        try:
            bounds = Slopes.of(near(graph, ball, Weights()), units(graph, len(ball))).norms(norm)
        except Unknown:
            continue
        slopes_hold(graph, ball, bounds, seed, 30)


@pytest.mark.parametrize("norm", Norm)
def test_ranges_and_slopes_in_a_domain(norm: Norm) -> None:
    graph, _ = mlp(6, 12, 9, 3)
    centre = torch.rand(4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64).round(decimals=1)
    domain = Box(torch.zeros(1, 6, dtype=torch.float64), torch.ones(1, 6, dtype=torch.float64))
    ball = Ball(centre, torch.full((4,), 0.7, dtype=torch.float64), norm, domain)
    around = near(graph, ball, Weights())
    ranges_hold(around, 0)
    slopes_hold(graph, ball, Slopes.of(around, units(graph, 4)).norms(norm), 0)
    free = near(graph, Ball(centre, ball.radius, norm), Weights())
    width, wider = (sum(float((b.upper - b.lower).sum()) for b in n.boxes) for n in (around, free))
    assert width < wider


@pytest.mark.parametrize("norm", Norm)
def test_a_ball_without_undecided_neurons_has_its_jacobian_norm(norm: Norm) -> None:
    from tests.laws.engine_laws import jacobians, norms

    graph, _ = mlp(8, 20, 15, 4)
    centre = torch.randn(3, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ball = Ball(centre, torch.full((3,), 1e-7, dtype=torch.float64), norm)
    found = Slopes.of(near(graph, ball, Weights()), units(graph, 3)).norms(norm)
    assert torch.allclose(found, norms(jacobians(graph, centre), norm), rtol=1e-9, atol=0)


@pytest.mark.parametrize("norm", Norm)
def test_relaxation_is_narrower_than_intervals(norm: Norm) -> None:
    graph, _ = mlp(20, 30, 30, 5)
    centre = torch.randn(4, 20, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    ball = Ball(centre, torch.full((4,), 0.2, dtype=torch.float64), norm)
    plain = fold(graph, ball.box(), lambda node, args: node.op.interval(*args))
    around = near(graph, ball, Weights())
    for value in (1, 3):
        widths = [float((box.upper - box.lower).mean()) for box in (around.boxes[value], plain[value])]
        assert widths[0] <= widths[1]
    if norm is not Norm.LINF:
        assert widths[0] < 0.6 * widths[1]


def test_batches_and_threads_change_nothing() -> None:
    graph, _ = mlp(8, 20, 15, 4)
    centre = torch.randn(6, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    radius = torch.linspace(0.01, 0.5, 6, dtype=torch.float64)

    def bounds(graph: Graph, rows: slice) -> torch.Tensor:
        ball = Ball(centre[rows], radius[rows], Norm.L2)
        return Slopes.of(near(graph, ball, Weights()), units(graph, len(ball))).norms(Norm.L2)

    together = bounds(graph, slice(None))
    apart = torch.cat([bounds(graph, slice(i, i + 1)) for i in range(6)])
    assert torch.allclose(together, apart, rtol=1e-6, atol=0)
