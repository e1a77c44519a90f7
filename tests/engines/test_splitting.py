"""Branch and bound over balls: exact against enumeration, valid at every time, and its proofs never wrong."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest
import torch

from lipaudit.engines.splitting import Search
from lipaudit.graph.simplify import simplify
from lipaudit.numerics.norms import Norm
from lipaudit.ranges.ball import Ball
from lipaudit.ranges.cells import Cells
from lipaudit.ranges.entries import Unknown
from lipaudit.ranges.near import near
from lipaudit.ranges.rows import Weights
from tests.cases.graphs import FAMILIES
from tests.engines.test_entrywise import mlp
from tests.laws import exact_laws, splitting_laws
from tests.laws.region_laws import ball_around, slopes_hold, units
from tests.planted import Plant
from tests.planted_splitting import catalogue


@pytest.mark.parametrize("norm", Norm)
def test_it_is_the_largest_norm_of_all_cells_of_the_ball(norm: Norm) -> None:
    for seed in range(18):
        splitting_laws.is_exact(seed, norm, tight=splitting_laws.plain(seed))


@pytest.mark.parametrize("norm", Norm)
def test_stopped_early_it_is_above_the_truth(norm: Norm) -> None:
    for limit in (1, 4, 40):
        for seed in range(0, 12, 3):
            splitting_laws.is_exact(seed, norm, tight=False, limit=limit)


@pytest.mark.parametrize("norm", Norm)
def test_no_slope_met_in_a_ball_exceeds_it(norm: Norm) -> None:
    looked_at = 0
    for family, seed in itertools.product(FAMILIES, range(2)):
        graph = simplify(family.build(seed))
        ball = ball_around(graph, norm, seed)
        try:
            cells = Cells.of(near(graph, ball, Weights()), units(graph, len(ball)))
        except Unknown:
            continue
        values = [Search(own, norm, 60, time.monotonic() + 60.0).run().value for own in cells]
        slopes_hold(graph, ball, torch.tensor(values, dtype=torch.float64), seed, 30)
        looked_at += 1
    assert looked_at > 4


def test_no_weights_prove_a_cell_empty_that_holds_a_point() -> None:
    for seed in range(12):
        splitting_laws.cells_hold_their_points(seed)
        splitting_laws.cells_hold_their_points(seed, "concave")


def test_rows_on_sides_are_within_their_errors() -> None:
    for seed in range(24):
        splitting_laws.rows_hold(seed)


def test_the_answer_depends_on_the_limit_alone() -> None:
    small = exact_laws.draw(4)
    ball = splitting_laws.ball_of(small, Norm.L2, 4)
    first, second = (splitting_laws.explored(small, ball, Norm.L2, 9) for _ in range(2))
    assert (first.value, first.nodes) == (second.value, second.nodes)


@pytest.mark.parametrize("plant", catalogue(), ids=str)
def test_a_planted_mistake_is_seen(plant: Plant, tmp_path: Path) -> None:
    plant.law(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        plant.patch(patch)
        with pytest.raises(AssertionError):
            plant.law(tmp_path)


@pytest.mark.parametrize("norm", Norm)
@pytest.mark.parametrize("radius", [1e100, 1e160, 1e300])
def test_where_squares_overflow_nothing_counts_as_decided(norm: Norm, radius: float) -> None:
    graph, _ = mlp(8, 16, 12, 4)
    centre = torch.zeros(1, *graph.input_shape, dtype=torch.float64)
    found = []
    for size in (1.0, radius):
        ball = Ball(centre, torch.full((1,), size, dtype=torch.float64), norm)
        (cells,) = Cells.of(near(graph, ball, Weights()), units(graph, 1))
        found.append(Search(cells, norm, 40, time.monotonic() + 60.0).run())
    assert found[1].value >= found[0].met
