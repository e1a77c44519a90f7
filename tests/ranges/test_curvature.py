"""Falls by curvature: never below what is met, exact where the answer is known, none where a slope jumps."""

from __future__ import annotations

import pytest
import torch

from lipaudit.graph.graph import Graph
from lipaudit.graph.simplify import simplify
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.ops import activations
from lipaudit.ranges.ball import Ball
from lipaudit.ranges.constants import drops_of
from lipaudit.ranges.curvature import Curvature, smooth
from lipaudit.ranges.entries import Unknown
from lipaudit.ranges.near import near
from lipaudit.ranges.rows import Weights
from tests.cases import smooth as cases
from tests.cases.graphs import family
from tests.laws.curvature_laws import (
    falls_hold,
    falls_of,
    functionals,
    gradients,
    hessians_hold,
    ranges,
    split_holds,
    steepest_fall,
    suprema_hold,
)
from tests.laws.region_laws import ball_around, classes_hold, grown_radii


def around(graph: Graph, radius: float, norm: Norm = Norm.L2, rows: int = 2, seed: int = 0) -> Ball:
    centre = torch.randn(rows, *graph.input_shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Ball(centre, torch.full((rows,), radius, dtype=torch.float64), norm)


@pytest.mark.parametrize("norm", [Norm.L2, Norm.LINF])
def test_no_hessian_bends_more(norm: Norm) -> None:
    for seed in range(4):
        graph = simplify(cases.smooth(seed))
        hessians_hold(graph, ball_around(graph, norm, seed, 2), seed)


@pytest.mark.parametrize("norm", Norm)
def test_nothing_falls_further(norm: Norm) -> None:
    met = []
    for seed in range(6):
        graph = simplify(cases.smooth(seed))
        ball = ball_around(graph, norm, seed, 2)
        met += falls_hold(graph, ball, seed)
        edge = ball.centre.abs().amax(0, keepdim=True)
        falls_hold(graph, Ball(ball.centre, ball.radius, norm, Box(-edge, edge)), seed)
    assert max(met) > 0.9


@pytest.mark.parametrize("norm", [Norm.L2, Norm.LINF])
def test_nothing_inside_a_radius_changes_class(norm: Norm) -> None:
    tried = 0
    for seed in (0, 2):
        graph = simplify(cases.smooth(seed))
        points = around(graph, 1.0, rows=2, seed=seed).centre
        labels = graph.forward(points).argmax(1)
        radii = grown_radii(graph, norm, points, labels, None).clamp(max=1e6)
        tried += classes_hold(graph, Ball(points, radii, norm), labels, seed)
    assert tried > 0


def test_suprema_are_those_of_eigenvectors() -> None:
    for seed in range(30):
        suprema_hold(seed)


def test_what_a_domain_stops_moves_no_further() -> None:
    for seed in range(12):
        split_holds(seed)


def test_squares_are_exact() -> None:
    """f = A (W x)^2 has one Hessian everywhere: the fall over a ball, to the rounding of the proof."""
    for seed in range(4):
        graph, w, a = cases.squares(seed)
        ball = around(graph, 0.8, seed=seed)
        seeds = functionals(graph, len(ball), seed)
        falls = falls_of(graph, ball, seeds)
        for row in range(len(ball)):
            for k in range(seeds.shape[1]):
                hessian = 2.0 * w.T @ ((seeds[row, k] @ a)[:, None] * w)
                exact = steepest_fall(hessian @ ball.centre[row], hessian, 0.8)
                assert exact <= float(falls[row, k]) <= exact * (1 + 1e-4) + 1e-6


def test_small_balls_are_linear() -> None:
    """As the ball shrinks, the fall is that of the gradient at the centre, but for the share that SLACKS leave."""
    graph = cases.mlp(activations.tanh, 8, 20, 16, 3)
    for radius, within in ((1e-2, 0.05), (1e-4, 3e-3), (1e-7, 3e-3)):
        ball = around(graph, radius)
        seeds = functionals(graph, len(ball), 0)
        falls = falls_of(graph, ball, seeds)
        slopes = [gradients(graph, ball.centre[i : i + 1], row) for i in range(2) for row in seeds[i]]
        linear = torch.stack(slopes).flatten(1).norm(dim=1).reshape(2, 3) * radius
        assert bool((falls >= linear * (1 - within)).all())
        assert bool((falls <= linear * (1 + within) + 1e-12).all())


def test_less_than_by_lines_where_it_matters() -> None:
    graph = cases.mlp(activations.gelu, 16, 40, 30, 4, scale=1.5)
    ball = around(graph, 0.2)
    seeds, ones = functionals(graph, len(ball), 0), torch.ones(2, 3, dtype=torch.float64)
    old = drops_of(near(graph, ball, Weights()), seeds, ones, 8)
    assert float((falls_of(graph, ball, seeds) / old).median()) < 0.95


def test_radii_are_larger_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = cases.mlp(activations.gelu, 8, 16, 12, 3, scale=1.5)
    points = around(graph, 1.0, rows=4).centre
    labels = graph.forward(points).argmax(1)
    more = grown_radii(graph, Norm.L2, points, labels, None)
    monkeypatch.setattr("lipaudit.audit.growing.smooth", lambda _: False)
    less = grown_radii(graph, Norm.L2, points, labels, None)
    assert bool((more >= less).all())
    assert float((more / less).max()) > 1.02


def test_kinks_and_jumps_are_refused_by_name() -> None:
    graph = simplify(family("all-on").build(0))
    ball = ball_around(graph, Norm.L2, 0, 1)
    assert not smooth(graph)
    with pytest.raises(Unknown, match="Relu"):
        Curvature.of(ranges(graph, ball), functionals(graph, 1, 0), ball)
    assert bool(falls_of(graph, ball, functionals(graph, 1, 0)).isinf().all())


def test_only_what_is_wanted_is_found() -> None:
    graph = cases.mlp(activations.softplus, 5, 9, 7, 3)
    ball = around(graph, 0.3, rows=3)
    seeds = functionals(graph, 3, 1)
    every = falls_of(graph, ball, seeds)
    wanted = torch.tensor([[True, False, True], [False, False, False], [False, True, False]])
    some = falls_of(graph, ball, seeds, wanted)
    assert torch.equal(some.isinf(), ~wanted)
    assert torch.allclose(some[wanted], every[wanted], rtol=0.3)
