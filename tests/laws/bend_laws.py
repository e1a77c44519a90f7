"""What every second derivative owes, against ball arithmetic: functions that raise AssertionError."""

from __future__ import annotations

import math

import torch
from flint import arb

from lipaudit.numerics.box import Box
from lipaudit.ops.scalar import Scalar
from tests.cases.scalars import ScalarCase, taylor
from tests.laws.scalar_laws import points


def bends(function: Scalar, low: float, high: float) -> tuple[float, float]:
    """(least, largest) second derivative said over [low, high]."""
    ends = [torch.full((1, 1), x, dtype=torch.float64) for x in (low, high)]
    found = function.bend_range(Box(*ends))
    assert found is not None
    return float(found.lower), float(found.upper)


def bend_encloses(case: ScalarCase, low: float, high: float, function: Scalar | None = None, steps: int = 13) -> None:
    """Second derivatives at points of [low, high], both sides' where they jump, are in the range said."""
    least, most = bends(case.build() if function is None else function, low, high)
    for piece in case.pieces:
        for x in points(case, low, high, steps):
            if not max(low, piece.lower) <= x <= min(high, piece.upper):
                continue
            bend = 2 * taylor(piece, x, 3)[2]
            if bend.is_nan() or not bend.is_finite():
                continue
            outside = bool(bend < arb(least)) or bool(bend > arb(most))
            assert not outside, f"f''({x!r}) = {bend} is not in [{least!r}, {most!r}]"


def slopes_differ_by_no_more(case: ScalarCase, low: float, high: float, function: Scalar | None = None) -> None:
    """The quotient of the difference of two slopes of [low, high], each exact to 90 digits, is in the range said."""
    least, most = bends(case.build() if function is None else function, low, high)
    met = []
    for piece in case.pieces:
        met += [
            (x, taylor(piece, x)[1])
            for x in points(case, low, high, 13)
            if max(low, piece.lower) <= x <= min(high, piece.upper)
        ]
    for x, p in met:
        for y, q in met:
            if x < y and p.is_finite() and q.is_finite():
                quotient = (q - p) / (arb(y) - arb(x))
                outside = bool(quotient < arb(least)) or bool(quotient > arb(most))
                assert not outside, f"slopes from {x!r} to {y!r} change by {quotient}, said [{least!r}, {most!r}]"


def bend_of_a_point_is_tight(case: ScalarCase, x: float) -> None:
    """At one point, away from jumps, the range is as narrow as rounding."""
    least, most = bends(case.build(), x, x)
    if math.isfinite(least) and math.isfinite(most):
        assert most - least <= 1e-9 * (1.0 + abs(least))
