"""What is attained inside balls: pairs of their points, with slopes that hold, near the largest there is."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from lipaudit.numerics.norms import Norm
from lipaudit.probes.around import attained_in
from lipaudit.ranges.ball import Ball
from tests.laws.around_laws import below_every_pattern, pairs_hold
from tests.planted import Plant
from tests.planted_around import catalogue
from tests.probes.test_witness import chain


@pytest.mark.parametrize("norm", Norm)
@pytest.mark.parametrize("seed", range(4))
def test_a_pair_is_of_its_ball_and_its_slope_holds(norm: Norm, seed: int) -> None:
    pairs_hold(norm, seed)


@pytest.mark.parametrize("norm", Norm)
def test_it_is_never_above_the_exact_constant_and_often_is_it(norm: Norm) -> None:
    shares = [share for seed in range(6) if not math.isnan(share := below_every_pattern(norm, seed))]
    assert sum(share > 0.99 for share in shares) >= len(shares) / 2


@pytest.mark.parametrize("plant", catalogue(), ids=str)
def test_a_planted_mistake_is_seen(plant: Plant, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        plant.patch(patch)
        with pytest.raises(AssertionError):
            plant.law(tmp_path)


def test_a_known_steep_point_is_tried_and_one_outside_is_moved_inside() -> None:
    graph, _ = chain(3, 4, 8, 6, 3)
    ball = Ball(torch.zeros(1, 4, dtype=torch.float64), torch.tensor([0.5], dtype=torch.float64), Norm.L2)
    none = torch.full((1, 1, 4), torch.nan, dtype=torch.float64)
    steep = torch.tensor([[[3.0, -2.0, 1.0, 4.0]]], dtype=torch.float64)
    alone = float(attained_in(graph, graph, ball, none).values)  # of the centre, where every neuron is at its kink
    found = attained_in(graph, graph, ball, steep)
    assert float(found.values) > 1.1 * alone
    assert float(torch.linalg.vector_norm(found.x[0])) <= 0.5
