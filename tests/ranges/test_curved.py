"""Models of nodes that mix entries hold for values of the op, and bounds over balls for graphs of them."""

from __future__ import annotations

import pytest
import torch

from lipaudit.graph.simplify import simplify
from lipaudit.numerics.norms import Norm
from lipaudit.ranges.ball import Ball
from lipaudit.ranges.constants import Slopes, constants_of, norms_over
from lipaudit.ranges.entries import Unknown
from lipaudit.ranges.near import near
from lipaudit.ranges.nested import Nested
from lipaudit.ranges.rows import Weights
from tests.cases.graphs import Family
from tests.cases.mixers import MIXERS
from tests.cases.ops import OpCase, all_op_cases
from tests.engines.test_entrywise import mlp
from tests.laws.curved_laws import all_hold
from tests.laws.engine_laws import jacobians, norms
from tests.laws.region_laws import ball_around, ranges_hold, slopes_hold, units

MODELLED = [case for case in all_op_cases() if not case.name.startswith(("affine-", "elementwise-"))]
WITHOUT = {"unit-vector-l1", "length-p1", "length-p3-overlapping", "length-p1.5-overlapping"}
"""No model; every other op has one over a small box."""


@pytest.mark.parametrize("case", MODELLED, ids=str)
def test_the_model_of_a_node_holds(case: OpCase) -> None:
    known = [all_hold(case.build(), seed) for seed in range(2)]
    assert any(known) or case.name in WITHOUT or case.name.startswith("local-response"), f"{case} has no model"


@pytest.mark.parametrize("norm", Norm)
@pytest.mark.parametrize("family", MIXERS, ids=str)
def test_ranges_and_constants_hold(family: Family, norm: Norm) -> None:
    for seed in range(6):
        graph = simplify(family.build(seed))
        ball = ball_around(graph, norm, seed)
        around = near(graph, ball, Weights())
        ranges_hold(around, seed)
        try:
            bounds = norms_over(around, units(graph, len(ball)))
        except Unknown:
            continue
        slopes_hold(graph, ball, bounds, seed, 30)


@pytest.mark.parametrize("norm", Norm)
@pytest.mark.parametrize("family", MIXERS, ids=str)
def test_a_tiny_ball_has_its_jacobian_norm(family: Family, norm: Norm) -> None:
    near_exact = 0
    for seed in range(4):
        graph = simplify(family.build(seed))
        centre = torch.randn(2, *graph.input_shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        ball = Ball(centre, torch.full((2,), 1e-8, dtype=torch.float64), norm)
        found = norms_over(near(graph, ball, Weights()), units(graph, 2))
        met = norms(jacobians(graph, centre), norm)
        assert bool((met <= found * (1 + 1e-12)).all())
        near_exact += int((found <= met * (1 + 1e-4) + 1e-9).all())
    assert near_exact >= 3


@pytest.mark.parametrize("norm", Norm)
def test_rows_node_by_node_are_no_tighter_than_the_ellipsoid_allows(norm: Norm) -> None:
    """Both are above what is met, and the constants of single functionals are what the joint way reads too."""
    graph, _ = mlp(6, 12, 9, 3)
    centre = torch.randn(3, 6, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    ball = Ball(centre, torch.full((3,), 0.2, dtype=torch.float64), norm)
    around, rows = near(graph, ball, Weights()), units(graph, 3)
    nested = Nested.of(around, rows)
    slopes_hold(graph, ball, nested.norms(), 0, 60)
    single = Slopes.of(around, rows).sums(norm)
    assert torch.allclose(nested.lengths(), single, rtol=1e-9, atol=0)


def test_margins_behind_an_attention_have_constants() -> None:
    graph = simplify(MIXERS[0].build(5))
    ball = ball_around(graph, Norm.L2, 0, rows=1)
    seeds = units(graph, 1)
    found = constants_of(near(graph, ball, Weights()), seeds, torch.ones(1, seeds.shape[1], dtype=torch.float64))
    assert bool(found.isfinite().all())
