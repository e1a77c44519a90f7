"""Maxima as ReLUs of differences: the same function, and more of it certified."""

from __future__ import annotations

import pytest
import torch

from lipaudit.graph.simplify import simplify
from lipaudit.numerics.norms import Norm
from lipaudit.ops.scalar import Scalar
from lipaudit.ranges.ball import Ball
from lipaudit.ranges.constants import drops_of
from lipaudit.ranges.hinges import hinged
from lipaudit.ranges.near import near
from lipaudit.ranges.reduced import Reduced
from lipaudit.ranges.rows import Weights
from tests.cases.graphs import FAMILIES, Family
from tests.laws.hinge_laws import BEFORE, never_above_the_radius_on_a_line, pooled, same_function
from tests.laws.reduced_laws import rows_hold
from tests.laws.region_laws import ball_around, ranges_hold, units


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_the_same_function(family: Family) -> None:
    for seed in range(3):
        graph = simplify(family.build(seed))
        same_function(graph, seed)


@pytest.mark.parametrize("before", BEFORE, ids=lambda f: "nothing" if f is None else f.name)
def test_windows_with_gaps_after_functions(before: Scalar | None) -> None:
    for seed in range(12):
        same_function(pooled(seed, before), seed)


@pytest.mark.parametrize("norm", Norm)
def test_ranges_and_rows_hold(norm: Norm) -> None:
    for seed in range(6):
        graph = hinged(pooled(seed, BEFORE[seed % len(BEFORE)]))
        around = near(graph, ball_around(graph, norm, seed), Weights())
        ranges_hold(around, seed)
        rows_hold(around, seed)


def test_never_above_the_radius_on_a_line() -> None:
    never_above_the_radius_on_a_line(Norm.L2, range(2))


def test_all_neurons_are_half_lines_and_fall_less() -> None:
    graph = pooled(0, BEFORE[1], 6)
    ball = Ball(torch.zeros(1, 6, dtype=torch.float64), torch.tensor([0.8], dtype=torch.float64), Norm.L2)
    drops = []
    for own in (graph, hinged(graph)):
        around = near(own, ball, Weights())
        seeds = units(own, 1)
        drops.append(drops_of(around, seeds, torch.ones(seeds.shape[:2], dtype=torch.float64), 8))
    problem = Reduced.of(around.joined, ball, around.boxes, around.centres)
    assert bool((problem.bent | ~problem.held).all())
    assert bool((drops[1] <= drops[0] * (1 + 1e-6)).all())
    assert float(drops[1].sum()) < 0.9 * float(drops[0].sum())
