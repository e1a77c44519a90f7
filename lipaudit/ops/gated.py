"""x times a gate, for gates whose constants an exporter rounded: tanh-GELU near its own, and any hard swish."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import torch

from lipaudit.numerics.rounding import U, down, up
from lipaudit.ops import activations, bends
from lipaudit.ops.scalar import Mark, Scalar

KAPPA = 0.044715
"""The cubic coefficient of tanh-GELU."""

FARTHEST = 1e-5
"""How far from it a coefficient may lie: float32 rounding moves it by 4e-9."""


def gelu_tanh_near(kappa: float, off: float) -> Scalar:
    """y sigmoid(c (y + k y^3)), c = 2 sqrt(2/pi), for every k within `off` of kappa, and kappa within 1e-5 of 0.044715.

    With u = c (y + k y^3): |d slope / dk| <= e^-|u| (4 c |y|^3 + c^2 y^4 (1 + 3 k y^2)) < 8 and
    |d value / dk| <= c y^4 e^-|u| < 2 (u >= c |y|), so the ranges for 0.044715, read from this function's own values at
    the ends of an interval, hold with room of twice 8 and twice 2 times the distance. |d bend / dk| is likewise at most
    e^-|u| (c |y|^3 (2 u' + 6 c k y^2 + |y| u'^2) + 12 c y^2 + 6 c |y|^3 u' + c y^4 u'^2 / 2) < 15.
    """
    distance = abs(kappa - KAPPA) + off
    if not distance <= FARTHEST:
        raise ValueError(f"{kappa} is not near {KAPPA}")
    known, factor = activations.gelu_tanh(), 2.0 * math.sqrt(2.0 / math.pi)

    def inner(x: torch.Tensor) -> torch.Tensor:
        return factor * (x + kappa * x * x * x)

    def derivative(x: torch.Tensor) -> torch.Tensor:
        s = torch.sigmoid(inner(x))
        rate = s * torch.sigmoid(-inner(x)) * factor
        return s + torch.where(rate == 0, rate, x * rate * (1.0 + 3 * kappa * x * x))

    room = 4.0 * distance
    (low, high), slopes = known.span, known.slope_span
    assert isinstance(low, float)
    assert isinstance(slopes[0], float)
    assert isinstance(slopes[1], float)
    return replace(
        known,
        fn=lambda x: x * torch.sigmoid(inner(x)),
        derivative=derivative,
        span=(down(low - room), high),
        slope_span=(down(slopes[0] - 4.0 * room), up(slopes[1] + 4.0 * room)),
        fn_error=(known.fn_error[0], known.fn_error[1] + room / U),
        slope_error=(known.slope_error[0], known.slope_error[1] + 4.0 * room / U),
        bend=bends.gelu_tanh(kappa, 8.0 * room / U),
    )


def hard_gate(a: float, b: float, high: float) -> Scalar:
    """x min(max(a x + b, 0), high) with a, high > 0: slopes 0, then 2 a x + b from -b up to 2 high - b, then high.

    Kinks at -b/a and (high - b)/a are found exactly and rounded; no float64 lies between a kink and its rounding, and
    at the rounding itself both sides' slopes are met. The vertex of the parabola between them is at -b/(2a).
    """
    if not (0.0 < a < math.inf and 0.0 < high < math.inf and math.isfinite(b)):
        raise ValueError("a hard gate rises, and between finite values")
    first, last = (float((Fraction(end) - Fraction(b)) / Fraction(a)) for end in (0.0, high))
    vertex = float(-Fraction(b) / (2 * Fraction(a)))

    def fn(x: torch.Tensor) -> torch.Tensor:
        return torch.where(x <= first, torch.zeros_like(x), torch.where(x >= last, high * x, x * (a * x + b)))

    def derivative(x: torch.Tensor) -> torch.Tensor:
        inside = 2.0 * a * x + b
        return torch.where(x <= first, torch.zeros_like(x), torch.where(x >= last, torch.full_like(x, high), inside))

    size = abs(b) + high
    marks = tuple(
        Mark(at, values)
        for place, values in ((first, (0.0, -b)), (last, (2.0 * high - b, high)))
        for at in (down(place), place, up(place))
    )
    value = fn(torch.tensor([first, vertex, last], dtype=torch.float64)).tolist()
    return Scalar(
        "HardGate",
        fn,
        derivative,
        limits=(0.0, math.inf),
        slope_limits=(0.0, high),
        value_marks=tuple(Mark(at, (v,)) for at, v in zip((first, vertex, last), value, strict=True)),
        slope_marks=marks,
        slope_span=(min(0.0, -b), up(max(high, 2.0 * high - b))),
        fn_error=(8.0, 16.0 * size * size / a),
        slope_error=(8.0, 16.0 * size),
    )
