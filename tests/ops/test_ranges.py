"""Ranges that once were too narrow: each of these was a bug."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch

from lipaudit.graph.problem import Problem
from lipaudit.linear.dense import Dense
from lipaudit.linear.map import Adjoint, Compose, LinearMap
from lipaudit.linear.pointwise import Diagonal
from lipaudit.linear.selection import Selection
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.numerics.rounding import MAX
from lipaudit.ops import functions
from lipaudit.ops.affine import Affine
from lipaudit.ops.bilinear import Divide, MatMulData
from lipaudit.ops.smooth import Normalise
from tests.cases.graphs import Sketch
from tests.laws.engine_laws import layer_product


def box(low: float, high: float, *shape: int) -> Box:
    return Box(torch.full((1, *shape), low, dtype=torch.float64), torch.full((1, *shape), high, dtype=torch.float64))


def test_the_finite_ends_of_half_infinite_intervals_are_rounded_too() -> None:
    """The sum of a thousand values that are all above -1.758: the lower end is a sum of floats like any other."""
    end = -1.7580993408473766
    total = Affine((Adjoint(Selection(torch.zeros(1001, dtype=torch.int64), (1,), (1001,))),))
    said = total.interval(box(end, math.inf, 1001))
    assert Fraction(float(said.lower)) <= 1001 * Fraction(end)
    assert float(said.upper) == math.inf
    scaled = Affine((Diagonal(torch.tensor(0.7, dtype=torch.float64), (1,), 8),))
    said = scaled.interval(box(end, math.inf, 1))
    assert Fraction(float(said.lower)) <= Fraction(end) * Fraction(0.7) * (1 + Fraction(8, 2**53))


def test_a_value_that_overflows_is_still_a_number() -> None:
    """log(exp(x)) near 1000: exp overflows, but the logarithm's slope there is not 0."""
    s = Sketch((1,), 0)
    graph = s.graph(s.function(s.function(0, functions.exponential()), functions.logarithm()))
    for norm in Norm:
        assert layer_product(Problem.over(graph, norm, box(1000.0, 1001.0, 1))) >= 1.0


@pytest.mark.parametrize("count", [2, 3])
def test_a_small_weight_does_not_hide_an_unbounded_argument(count: int) -> None:
    pieces: list[LinearMap] = [Dense.plain(torch.full((1, 1), 1e-150, dtype=torch.float64)) for _ in range(count)]
    said = Affine((Compose(tuple(pieces)),)).interval(box(-math.inf, math.inf, 1))
    assert (float(said.lower), float(said.upper)) == (-math.inf, math.inf)


def test_products_below_the_smallest_number_are_in_the_range() -> None:
    pieces = tuple(Dense.plain(torch.full((1, 1), 2.0**e, dtype=torch.float64)) for e in (-900, -200, 1000))
    said = Affine((Compose(pieces),)).interval(box(1.0, 1.0, 1))
    assert Fraction(float(said.upper)) >= Fraction(1, 2**100)


@pytest.mark.parametrize("low", [-MAX, 0.5 * MAX])
def test_ranges_of_huge_arguments_exist(low: float) -> None:
    """What overflows on the way is unbounded, not an error."""
    weight = torch.tensor([[3.0, -2.0], [1.0, 1.0]], dtype=torch.float64)
    for op, count in ((Affine((Dense.plain(weight),)), 1), (MatMulData((2, 2), (2, 2)), 2), (Normalise(1, 2, 1e-5), 1)):
        said = op.interval(*(box(low, MAX, *op.in_shapes[i]) for i in range(count)))
        assert bool((said.lower <= said.upper).all())


def test_a_quotient_by_huge_numbers_is_not_constant() -> None:
    """x / y for y near 1e200: its slope in y, near 1e-400, is not 0."""
    in_x, in_y = Divide((1,)).gains(Norm.L2, box(1.0, 2.0, 1), box(1e200, 2e200, 1))
    assert in_x.value >= 1e-200
    assert in_y.value > 0.0


def test_layers_far_apart_have_no_slope_of_zero() -> None:
    """The spread of a row near 1e155: its square overflows, and the slope is not the smallest number."""
    wide = Box(
        torch.tensor([[[0.0, 1.4e154]]], dtype=torch.float64), torch.tensor([[[0.0, 1.4e154]]], dtype=torch.float64)
    )
    for norm in Norm:
        assert Normalise(1, 2, 1e-5).gains(norm, wide)[0].value >= 1e-155
