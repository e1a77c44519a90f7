"""What every scalar function owes, against ball arithmetic: functions that raise AssertionError."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from flint import arb

from lipaudit.numerics.box import Box
from lipaudit.ops.scalar import Scalar
from tests.cases.scalars import Piece, ScalarCase, taylor


def _one(x: float) -> torch.Tensor:
    return torch.full((1, 1), x, dtype=torch.float64)


def ranges(function: Scalar, low: float, high: float) -> tuple[float, float, float, float]:
    """(least value, largest value, least slope, largest slope) said over [low, high]."""
    box = Box(_one(low), _one(high))
    values, slopes = function.value_range(box), function.slope_range(box)
    return tuple(float(end) for end in (values.lower, values.upper, slopes.lower, slopes.upper))  # type: ignore[return-value]


def _defined(piece: Piece, low: float, high: float, x: float) -> bool:
    return max(low, piece.lower) <= x <= min(high, piece.upper) and math.isfinite(x)


def _certainly_outside(value: Any, low: float, high: float) -> bool:
    return bool(value < arb(low)) or bool(value > arb(high))


def range_encloses(case: ScalarCase, low: float, high: float, function: Scalar | None = None, steps: int = 9) -> None:
    """Values and slopes at points of [low, high], both sides' at a kink, are in the ranges said."""
    least, most, flattest, steepest = ranges(case.build() if function is None else function, low, high)
    for piece in case.pieces:
        for x in points(case, low, high, steps):
            if not _defined(piece, low, high, x):
                continue
            value, slope = taylor(piece, x)
            if value.is_nan() or not value.is_finite():
                continue
            assert not _certainly_outside(value, least, most), f"f({x!r}) = {value} is not in [{least!r}, {most!r}]"
            if slope.is_finite():
                outside = _certainly_outside(slope, flattest, steepest)
                assert not outside, f"f'({x!r}) = {slope} is not in [{flattest!r}, {steepest!r}]"


def points(case: ScalarCase, low: float, high: float, steps: int) -> Iterable[float]:
    """Points of [low, high]: both ends, where the function turns, and some between; large ones for an infinite end."""
    left = low if math.isfinite(low) else min(-1e3, high - 1.0 if math.isfinite(high) else -1e3)
    right = high if math.isfinite(high) else max(1e3, left + 1.0)
    found = {left, right, *(p for p in case.telling if low <= p <= high)}
    found |= {min(right, max(left, left + (right - left) * k / steps)) for k in range(1, steps)}
    if math.isinf(low):
        found |= {min(high, -1e154), min(high, -1e3)}
    if math.isinf(high):
        found |= {max(low, 1e154), max(low, 1e3)}
    return sorted(x for x in found if low <= x <= high and math.isfinite(x))


def narrow_range_is_tight(case: ScalarCase, x: float, function: Scalar | None = None) -> None:
    """At one point the ranges are as narrow as rounding, away from kinks: 1e-9, of ordinary numbers."""
    least, most, flattest, steepest = ranges(case.build() if function is None else function, x, x)
    if math.isfinite(least) and math.isfinite(most):
        assert most - least <= 1e-9 * (1.0 + abs(least)), f"f({x!r}) in [{least!r}, {most!r}]"
    if x not in case.kinks and math.isfinite(flattest):
        assert steepest - flattest <= 1e-9 * (1.0 + abs(flattest)), f"f'({x!r}) in [{flattest!r}, {steepest!r}]"


WINDOW = 40.0
_LESS_THAN_AN_ULP = arb(2) ** -58
"""Where a constant is attained (1/4 by the sigmoid at 0), balls around it cannot lie on one side of it."""


def global_slope_range_is_proven(case: ScalarCase, function: Scalar | None = None) -> None:
    """The slope range of the whole line holds on [-40, 40] and, on cells that double, out to case.reach."""
    _, _, low, high = ranges(case.build() if function is None else function, -math.inf, math.inf)
    if math.isinf(low) and math.isinf(high):
        return
    for piece in case.pieces:
        window = min(WINDOW, case.reach)
        left, right = max(piece.lower, -window), min(piece.upper, window)
        cells = [(left + (right - left) * k / 64, left + (right - left) * (k + 1) / 64) for k in range(64)]
        edge = WINDOW
        while 2 * edge <= case.reach:
            cells += [(edge, 2 * edge)] if piece.upper > 2 * edge else []
            cells += [(-2 * edge, -edge)] if piece.lower < -2 * edge else []
            edge *= 2
        for cell in cells:
            _prove(piece, *cell, arb(low) - _LESS_THAN_AN_ULP, arb(high) + _LESS_THAN_AN_ULP)


def _prove(piece: Piece, left: float, right: float, low: Any, high: Any) -> None:
    pending = [(left, right)]
    steps = 0
    while pending:
        a, b = pending.pop()
        steps += 1
        assert steps < 20_000, f"{piece} resists on [{a}, {b}]"
        if _inside(_slope_on(piece, a, b), low, high):
            continue
        middle = (a + b) / 2
        assert a < middle < b, f"the slope at {a!r}, {taylor(piece, a)[1]}, is not in [{low}, {high}]"
        pending += [(a, middle), (middle, b)]


def _slope_on(piece: Piece, a: float, b: float) -> list[Any]:
    """Balls whose union holds every slope on [a, b]; at the ends only, where the slope is monotone between."""
    ball = arb(a).union(arb(b))
    _, slope, bend = taylor(piece, ball, 3)
    if not (bend.is_finite() and slope.is_finite()):
        return [arb.nan()]
    if bend >= 0 or bend <= 0:
        return [taylor(piece, a)[1], taylor(piece, b)[1]]
    middle = (a + b) / 2
    third = taylor(piece, ball, 4)[3]
    _, at, turn, _ = taylor(piece, middle, 4)
    half = ball - middle
    # f'(x) = f'(m) + f''(m) (x - m) + f'''(xi) (x - m)^2 / 2; the coefficients carry their factorials
    expanded = at + 2 * turn * half + 3 * third * half * half
    return [expanded if expanded.rad() < slope.rad() else slope]


def _inside(balls: list[Any], low: Any, high: Any) -> bool:
    return all(ball >= low and ball <= high for ball in balls)


def global_slope_range_is_tight(case: ScalarCase, within: float = 1e-9) -> None:
    """Each finite end of the global slope range is nearly attained, or is its limit."""
    _, _, low, high = ranges(case.build(), -math.inf, math.inf)
    met = [
        float(taylor(piece, x)[1].mid())
        for piece in case.pieces
        for x in points(case, -math.inf, math.inf, 9)
        if _defined(piece, -math.inf, math.inf, x) and taylor(piece, x)[1].is_finite()
    ]
    if math.isfinite(low):
        assert min(met) <= low + within
    if math.isfinite(high):
        assert max(met) >= high - within
