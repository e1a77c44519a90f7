"""Bounds on halves of neurons, and radii that trees prove, against every piece of small networks."""

from __future__ import annotations

import math

import pytest
import torch

from lipaudit.audit.raising import raised
from lipaudit.numerics.norms import Norm
from lipaudit.ranges.ball import Ball
from lipaudit.ranges.branching import Effort, positive
from lipaudit.ranges.halves import Halved
from lipaudit.ranges.near import near
from lipaudit.ranges.rows import Weights
from tests.laws import branching_laws
from tests.laws.branching_laws import KINDS, drawn, functionals, place, sample, unmet


@pytest.mark.parametrize("norm", Norm)
@pytest.mark.parametrize("number", range(len(KINDS)), ids=KINDS)
def test_nothing_proven_is_above_the_least_value(number: int, norm: Norm) -> None:
    for seed in (number, number + len(KINDS)):
        branching_laws.never_above_the_least(seed, norm, 0.4 if seed % 3 else 1.5)


@pytest.mark.parametrize("norm", Norm)
@pytest.mark.parametrize("slack", [0.0, 0.05])
def test_nothing_proven_of_a_part_is_above_a_value_in_it(slack: float, norm: Norm) -> None:
    branching_laws.halves_hold(3, norm, slack)


@pytest.mark.parametrize("norm", Norm)
def test_nothing_proven_of_a_neuron_is_above_its_values(norm: Norm) -> None:
    for seed in range(2):
        branching_laws.rows_of_neurons_hold(seed, norm)


@pytest.mark.parametrize("norm", [Norm.L1, Norm.LINF])
def test_roundings_go_outward(norm: Norm) -> None:
    for seed in range(5):
        branching_laws.rounded_outward(seed, norm)


@pytest.mark.parametrize("norm", Norm)
def test_the_sign_is_decided_on_both_sides_of_the_exact_radius(norm: Norm) -> None:
    assert sum(branching_laws.decided_on_both_sides(seed, norm) for seed in range(10)) >= 3


@pytest.mark.parametrize("norm", [Norm.L1, Norm.LINF])
def test_the_sign_is_decided_on_both_sides_of_an_integer_program(norm: Norm) -> None:
    for seed in range(3):
        branching_laws.decided_on_both_sides_of_the_least(seed, norm)


@pytest.mark.parametrize("norm", Norm)
def test_radii_are_raised_to_the_exact_one_and_no_further(norm: Norm) -> None:
    assert sum(branching_laws.raised_to_the_exact_radius(seed, norm) for seed in range(5)) >= 2


@pytest.mark.parametrize("norm", Norm)
def test_neurons_without_sides_stay_as_they_are(norm: Norm) -> None:
    for seed in range(2):
        branching_laws.bent_neurons_among_others_hold(seed, norm)


@pytest.mark.parametrize("norm", Norm)
def test_what_is_no_number_proves_nothing(norm: Norm) -> None:
    branching_laws.never_closed_without_a_number(0, norm)


def test_a_ball_without_a_number_does_not_exist() -> None:
    known, _ = sample(0, Norm.L2)
    for wrong in (math.nan, math.inf):
        with pytest.raises(ValueError, match="finite"):
            known.stays(wrong, Effort(1e8))


def test_the_same_is_found_every_time() -> None:
    for seed in (0, 1):
        known, exact = sample(seed, Norm.L2)
        start = 0.3 * min(exact, 1.0)
        assert raised(known, start, 4e8) == raised(known, start, 4e8)


def test_only_what_has_sides_is_held_to_one() -> None:
    graph, ball = drawn(0, "sigmoid"), place(0, Norm.LINF)
    seeds, margins = functionals(graph, ball, 0)
    halved = Halved.of(near(graph, ball, Weights()), seeds, margins)
    signs = torch.ones(1, len(halved.bent), dtype=torch.float64)
    with pytest.raises(ValueError, match="half-lines"):
        halved.proven(torch.zeros(1, dtype=torch.int64), signs, torch.zeros_like(signs))


def test_a_ball_of_one_point_is_its_centre() -> None:
    graph, ball = drawn(0), place(0, Norm.L2)
    seeds, margins = functionals(graph, ball, 0)
    halved = Halved.of(near(graph, Ball(ball.centre, torch.zeros(1).double(), Norm.L2), Weights()), seeds, margins)
    for shift in (1e-6, -1e-6):
        level = Halved(halved.reduced, halved.asked, torch.full_like(margins, shift))
        assert positive(level, unmet, Effort(1e8)).proven == (shift > 0)
