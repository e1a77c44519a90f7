"""Quadratic dual certificates: never below a fall that is met, close to it for few neurons."""

from __future__ import annotations

import math
import time

import pytest
import torch

from lipaudit.ranges import quadratic, semidefinite
from tests.cases.graphs import FAMILIES, Family
from tests.laws.quadratic_laws import (
    any_multipliers_hold,
    best,
    drawn,
    drawn_holds,
    indefinite_proves_nothing,
    network_holds,
    suprema_hold,
)


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_no_output_falls_further(family: Family) -> None:
    for seed in range(2):
        network_holds(family, seed)


@pytest.mark.parametrize("slack", [0.0, 0.2])
@pytest.mark.parametrize("bent", [True, False])
def test_no_fall_of_drawn_neurons_is_larger(bent: bool, slack: float) -> None:
    ratios = drawn_holds(range(6), slack=slack, bent=bent)
    if bent and not slack:  # the relaxation of two layers of two: nearly the truth
        assert sorted(ratios)[len(ratios) // 2] < 1.15


def test_any_multipliers_are_sound() -> None:
    assert any_multipliers_hold(range(6)) > 3
    any_multipliers_hold(range(3), bent=False)


def test_suprema_are_over_the_curve() -> None:
    suprema_hold(range(6))


def test_what_proves_nothing_is_infinite() -> None:
    region, functional = drawn(1)
    right = best(region, functional)
    assert quadratic.certified(region, functional, right) < math.inf
    indefinite_proves_nothing(range(3))
    for wrong in (
        quadratic.Shape(right.vv * torch.nan, right.vw, right.ww, right.v, right.w, right.sector, right.mu),
        quadratic.Shape(right.vv, right.vw, right.ww, right.v, right.w, right.sector - 1.0, right.mu),
        quadratic.Shape(right.vv, right.vw, right.ww, right.v, right.w, right.sector, -right.mu),
    ):
        assert quadratic.certified(region, functional, wrong) == math.inf


def test_more_inputs_than_neurons_are_seen_in_few_coordinates() -> None:
    """The same region, turned into a space of seven inputs: the bound is the same."""
    region, functional = drawn(3)
    turn = torch.linalg.qr(torch.randn(7, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64))[0][:2]
    wide = quadratic.Region(
        region.radius, region.rows @ turn, region.inner, region.slack, region.centre, region.range, region.slope,
        region.spread, region.low, region.high, region.bent, region.knot, region.left, region.right,
    )  # fmt: skip
    there = quadratic.Functional(functional.rows @ turn, functional.inner, 0.0)
    ours = quadratic.certified(region, functional, best(region, functional))
    assert abs(quadratic.certified(wide, there, best(wide, there)) / ours - 1.0) < 5e-3


def test_a_deadline_ends_the_search() -> None:
    region, functional = drawn(1)
    data = quadratic.program(region, functional, 1.0)
    assert data is not None
    found = semidefinite.solve(data, math.inf, time.monotonic() - 1.0)
    assert found is not None
    assert quadratic.certified(region, functional, quadratic.shape(region, found, 1.0)) < math.inf
