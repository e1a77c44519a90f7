"""Continuous functions that are a line on each of several intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

import torch

from lipaudit.ops.scalar import Mark, Scalar

Line = tuple[float, float]
"""(slope, intercept)."""


def piecewise_linear(knots: Sequence[float], lines: Sequence[Line]) -> Scalar:
    """lines[i] between knots[i - 1] and knots[i], the first and the last without an end. Knots rise.

    Raises ValueError where two neighbours do not meet at their knot, exactly.
    A line is evaluated with two roundings, of at most u (|f| + |b|) and u |f|; at a knot both sides' slopes are met.
    """
    if len(lines) != len(knots) + 1 or any(a >= b for a, b in pairwise(knots)):
        raise ValueError("a function of n knots, which rise, has n + 1 lines")
    for knot, left, right in zip(knots, lines, lines[1:], strict=False):
        if exact(left, knot) != exact(right, knot):
            raise ValueError(f"the lines beside {knot} do not meet there")

    def fn(x: torch.Tensor) -> torch.Tensor:
        value = lines[0][0] * x + lines[0][1]
        for knot, (slope, intercept) in zip(knots, lines[1:], strict=True):
            value = torch.where(x >= knot, slope * x + intercept, value)
        return value

    def derivative(x: torch.Tensor) -> torch.Tensor:
        value = torch.full_like(x, lines[0][0])
        for knot, (slope, _) in zip(knots, lines[1:], strict=True):
            value = torch.where(x >= knot, torch.full_like(x, slope), value)
        return value

    first, last = lines[0], lines[-1]
    beside = zip(knots, lines, lines[1:], strict=False)
    return Scalar(
        "PiecewiseLinear",
        fn,
        derivative,
        limits=(_limit(first, -1.0), _limit(last, 1.0)),
        slope_limits=(first[0], last[0]),
        value_marks=tuple(Mark(k, (float(exact(line, k)),)) for k, line in zip(knots, lines, strict=False)),
        slope_marks=tuple(Mark(knot, (left[0], right[0])) for knot, left, right in beside),
        fn_error=(4.0, 4.0 * max(abs(intercept) for _, intercept in lines)),
    )


def exact(line: Line, x: float) -> Fraction:
    """The line's value, without any rounding."""
    return Fraction(line[0]) * Fraction(x) + Fraction(line[1])


def _limit(line: Line, side: float) -> float:
    return line[1] if line[0] == 0.0 else math.copysign(math.inf, line[0] * side)
