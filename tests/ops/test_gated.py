# ruff: noqa: E501 - a table
"""Gated functions with an exporter's rounded constants, against ball arithmetic."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from flint import arb
from hypothesis import given
from hypothesis import strategies as st

from lipaudit.ops import activations, gated
from lipaudit.ops.registry import float32
from tests.cases.scalars import INF, Piece, ScalarCase, whole
from tests.laws import scalar_laws


def _gelu_tanh(kappa: float) -> Any:
    def formula(x: Any) -> Any:
        u = 2 * (arb(2) / arb.pi()).sqrt() * (x + arb(kappa) * x * x * x)
        return x / (1 + (-u).exp())

    return formula


def _hard(a: float, b: float, high: float) -> tuple[Piece, ...]:
    first, last = -b / a, (high - b) / a
    return (
        Piece(-INF, first, lambda x: 0 * x),
        Piece(first, last, lambda x: x * (arb(a) * x + arb(b))),
        Piece(last, INF, lambda x: arb(high) * x),
    )


SIXTH = float32(1 / 6)
KAPPA = float32(0.044715)
CASES = [
    ScalarCase("gelu-tanh-float32", "gelu_tanh_near", lambda: gated.gelu_tanh_near(KAPPA, 0.0), whole(_gelu_tanh(KAPPA)), (-0.7524, 1.4185), reach=40.0),
    ScalarCase("gelu-tanh-off", "gelu_tanh_near", lambda: gated.gelu_tanh_near(KAPPA, 5e-6), whole(_gelu_tanh(KAPPA + 5e-6)), (-0.7524, 1.4185), reach=40.0),
    ScalarCase("gelu-tanh-off-below", "gelu_tanh_near", lambda: gated.gelu_tanh_near(KAPPA, 5e-6), whole(_gelu_tanh(KAPPA - 5e-6)), (-0.7524, -1.4185), reach=40.0),
    ScalarCase("hard-clip-six", "hard_gate", lambda: gated.hard_gate(1.0, 3.0, 6.0), _hard(1.0, 3.0, 6.0), (-1.5,)),
    ScalarCase("hard-sixth", "hard_gate", lambda: gated.hard_gate(0.25, 0.5, 1.0), _hard(0.25, 0.5, 1.0), (-1.0,)),
    ScalarCase("hard-positive", "hard_gate", lambda: gated.hard_gate(2.0, -1.0, 4.0), _hard(2.0, -1.0, 4.0), (0.25,)),
    ScalarCase("hard-late-vertex", "hard_gate", lambda: gated.hard_gate(0.5, 8.0, 2.0), _hard(0.5, 8.0, 2.0), (-8.0,)),
]  # fmt: skip
every_case = pytest.mark.parametrize("case", CASES, ids=str)


@every_case
@given(low=st.floats(-12.0, 12.0), width=st.sampled_from((0.0, 1e-9, 1e-3, 0.7, 5.0, 1e3)))
def test_ranges_enclose(case: ScalarCase, low: float, width: float) -> None:
    scalar_laws.range_encloses(case, low, low + width)


@every_case
def test_ranges_enclose_where_it_turns(case: ScalarCase) -> None:
    for x in case.telling:
        for low, high in ((x, x), (x - 1e-3, x), (x, x + 1e-3), (math.nextafter(x, -INF), math.nextafter(x, INF))):
            scalar_laws.range_encloses(case, low, high)
    scalar_laws.range_encloses(case, -INF, INF)


@every_case
def test_global_slopes_are_proven(case: ScalarCase) -> None:
    scalar_laws.global_slope_range_is_proven(case)


def test_a_rounded_kink_is_met_from_both_sides() -> None:
    """With a = float32(1/6) neither kink is a float64: the slopes at their roundings are both sides'."""
    function = gated.hard_gate(SIXTH, 0.5, 1.0)
    for kink, slopes in ((-0.5 / SIXTH, (-0.5, 0.0)), (0.5 / SIXTH, (1.0, 1.5))):
        _, _, low, high = scalar_laws.ranges(function, kink, kink)
        assert low <= slopes[0]
        assert high >= slopes[1]


def test_a_coefficient_that_is_too_far_is_refused() -> None:
    with pytest.raises(ValueError, match="is not near"):
        gated.gelu_tanh_near(0.0448, 0.0)


def test_a_planted_range_is_caught() -> None:
    """Without the room for its coefficient, or without a kink's other slope, a law fails."""
    case = CASES[1]
    narrow = replace(
        gated.gelu_tanh_near(KAPPA, 0.0), slope_error=(0.0, 0.0), slope_span=activations.gelu_tanh().slope_span
    )
    with pytest.raises(AssertionError):
        scalar_laws.range_encloses(case, 1.4185, 1.4185, narrow)
    hard = replace(gated.hard_gate(1.0, 3.0, 6.0), slope_span=(-2.9, 9.0))
    with pytest.raises(AssertionError):
        scalar_laws.range_encloses(CASES[3], -3.0, -2.9999, hard)
