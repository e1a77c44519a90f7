"""Elementary functions met as ONNX ops, many of them only locally Lipschitz."""

from __future__ import annotations

import math

import torch

from lipaudit.numerics.rounding import up
from lipaudit.ops import bends
from lipaudit.ops.scalar import TAIL, Mark, Scalar

INF = math.inf


def sine() -> Scalar:
    half = math.pi / 2
    return Scalar(
        "Sin", torch.sin, torch.cos, (-1.0, 1.0), (-1.0, 1.0),
        value_marks=(Mark(half, (1.0,)), Mark(-half, (-1.0,))),
        slope_marks=(Mark(0.0, (1.0,)), Mark(math.pi, (-1.0,))),
        span=(-1.0, 1.0), slope_span=(-1.0, 1.0), fn_error=(8.0, 8.0), slope_error=(8.0, 8.0), period=2 * math.pi,
        bend=bends.sine(),
    )  # fmt: skip


def cosine() -> Scalar:
    half = math.pi / 2
    return Scalar(
        "Cos", torch.cos, lambda x: -torch.sin(x), (-1.0, 1.0), (-1.0, 1.0),
        value_marks=(Mark(0.0, (1.0,)), Mark(math.pi, (-1.0,))),
        slope_marks=(Mark(-half, (1.0,)), Mark(half, (-1.0,))),
        span=(-1.0, 1.0), slope_span=(-1.0, 1.0), fn_error=(8.0, 8.0), slope_error=(8.0, 8.0), period=2 * math.pi,
        bend=bends.cosine(),
    )  # fmt: skip


def arctangent() -> Scalar:
    quarter = up(math.pi / 2)
    return Scalar(
        "Atan", torch.atan, lambda x: 1.0 / (1.0 + x * x), (-quarter, quarter), (0.0, 0.0),
        slope_marks=(Mark(0.0, (1.0,)),), span=(-quarter, quarter), slope_span=(0.0, 1.0),
        fn_error=(16.0, TAIL), slope_error=(16.0, TAIL),
        bend=bends.arctangent(),
    )  # fmt: skip


def tangent() -> Scalar:
    """On the branch around 0; next to another pole the constant is infinite all the same."""
    return Scalar(
        "Tan", torch.tan, lambda x: 1.0 + torch.tan(x) ** 2, (-INF, INF), (INF, INF),
        domain=(-math.pi / 2, math.pi / 2),
        slope_marks=(Mark(0.0, (1.0,)),), slope_span=(1.0, INF), fn_error=(32.0, TAIL), slope_error=(64.0, TAIL),
    )  # fmt: skip


def _cosine_of_arcsine(x: torch.Tensor) -> torch.Tensor:
    return torch.sqrt((1.0 - x) * (1.0 + x))


def arcsine() -> Scalar:
    quarter = up(math.pi / 2)
    return Scalar(
        "Asin", torch.asin, lambda x: 1.0 / _cosine_of_arcsine(x), (-quarter, quarter), (INF, INF), domain=(-1.0, 1.0),
        slope_marks=(Mark(0.0, (1.0,)),), span=(-quarter, quarter), slope_span=(1.0, INF),
        fn_error=(32.0, TAIL), slope_error=(16.0, TAIL),
    )  # fmt: skip


def arccosine() -> Scalar:
    return Scalar(
        "Acos", torch.acos, lambda x: -1.0 / _cosine_of_arcsine(x), (up(math.pi), 0.0), (-INF, -INF),
        domain=(-1.0, 1.0),
        slope_marks=(Mark(0.0, (-1.0,)),), span=(0.0, up(math.pi)), slope_span=(-INF, -1.0),
        fn_error=(32.0, TAIL), slope_error=(16.0, TAIL),
    )  # fmt: skip


def hyperbolic_sine() -> Scalar:
    return Scalar(
        "Sinh", torch.sinh, torch.cosh, (-INF, INF), (INF, INF), slope_marks=(Mark(0.0, (1.0,)),),
        slope_span=(1.0, INF), fn_error=(32.0, TAIL), slope_error=(32.0, TAIL),
        bend=bends.hyperbolic_sine(),
    )  # fmt: skip


def hyperbolic_cosine() -> Scalar:
    return Scalar(
        "Cosh", torch.cosh, torch.sinh, (INF, INF), (-INF, INF), value_marks=(Mark(0.0, (1.0,)),),
        span=(1.0, INF), fn_error=(32.0, TAIL), slope_error=(32.0, TAIL),
        bend=bends.hyperbolic_cosine(),
    )  # fmt: skip


def inverse_hyperbolic_sine() -> Scalar:
    return Scalar(
        "Asinh", torch.asinh, lambda x: 1.0 / torch.hypot(x, torch.ones_like(x)), (-INF, INF), (0.0, 0.0),
        slope_marks=(Mark(0.0, (1.0,)),), slope_span=(0.0, 1.0), fn_error=(32.0, TAIL), slope_error=(16.0, TAIL),
        bend=bends.inverse_hyperbolic_sine(),
    )  # fmt: skip


def inverse_hyperbolic_cosine() -> Scalar:
    return Scalar(
        "Acosh", torch.acosh, lambda x: 1.0 / (torch.sqrt(x - 1.0) * torch.sqrt(x + 1.0)), (0.0, INF), (INF, 0.0),
        domain=(1.0, INF),
        span=(0.0, INF), slope_span=(0.0, INF), fn_error=(32.0, 64.0), slope_error=(16.0, TAIL),
    )  # fmt: skip


def inverse_hyperbolic_tangent() -> Scalar:
    return Scalar(
        "Atanh", torch.atanh, lambda x: 1.0 / ((1.0 - x) * (1.0 + x)), (-INF, INF), (INF, INF), domain=(-1.0, 1.0),
        slope_marks=(Mark(0.0, (1.0,)),), slope_span=(1.0, INF), fn_error=(32.0, 64.0), slope_error=(16.0, TAIL),
    )  # fmt: skip


def soft_threshold(width: float) -> Scalar:
    """x moved by `width` towards 0, and 0 between -width and width (proximal map of the absolute value)."""
    return Scalar(
        "Shrink", lambda x: x - torch.clamp(x, -width, width), lambda x: (x.abs() > width).to(x.dtype), (-INF, INF),
        (1.0, 1.0), slope_marks=(Mark(-width, (0.0, 1.0)), Mark(width, (0.0, 1.0))), slope_span=(0.0, 1.0),
        fn_error=(1.0, 0.0),
    )  # fmt: skip


def exponential() -> Scalar:
    return Scalar(
        "Exp", torch.exp, torch.exp, (0.0, INF), (0.0, INF), span=(0.0, INF), slope_span=(0.0, INF),
        fn_error=(16.0, TAIL), slope_error=(16.0, TAIL),
        bend=bends.exponential(),
    )  # fmt: skip


def logarithm() -> Scalar:
    return Scalar(
        "Log", torch.log, torch.reciprocal, (-INF, INF), (INF, 0.0), domain=(0.0, INF),
        fn_error=(16.0, TAIL), slope_error=(2.0, TAIL),
    )  # fmt: skip


def square_root() -> Scalar:
    return Scalar(
        "Sqrt", torch.sqrt, lambda x: 0.5 / torch.sqrt(x), (0.0, INF), (INF, 0.0), domain=(0.0, INF),
        span=(0.0, INF), fn_error=(2.0, TAIL), slope_error=(4.0, TAIL),
    )  # fmt: skip


def reciprocal() -> Scalar:
    return Scalar(
        "Reciprocal", torch.reciprocal, lambda x: -1.0 / (x * x), (0.0, 0.0), (0.0, 0.0), poles=(0.0,),
        fn_error=(2.0, TAIL), slope_error=(4.0, TAIL),
    )  # fmt: skip


def _power_name(exponent: float) -> str:
    """Every digit: rewrites tell exponents apart by it."""
    return f"Pow({int(exponent) if exponent.is_integer() else repr(exponent)})"


def power(exponent: float) -> Scalar:
    """x^exponent. Whole exponents >= 1 on the whole line, others for x > 0 only (below it is not a real number)."""
    if exponent == 0.0:
        return Scalar("Pow(0)", torch.ones_like, torch.zeros_like, (1.0, 1.0), (0.0, 0.0))
    if exponent == 1.0:
        return Scalar("Pow(1)", lambda x: x, torch.ones_like, (-INF, INF), (1.0, 1.0))
    whole = exponent == int(exponent)
    rounded = (8.0 + 4.0 * abs(exponent), TAIL)

    def fn(x: torch.Tensor) -> torch.Tensor:
        return torch.pow(x, exponent)

    def derivative(x: torch.Tensor) -> torch.Tensor:
        return exponent * torch.pow(x, exponent - 1.0)

    if whole and exponent > 0:
        even = int(exponent) % 2 == 0
        return Scalar(
            _power_name(exponent), fn, derivative, (INF if even else -INF, INF), (-INF if even else INF, INF),
            value_marks=(Mark(0.0, (0.0,)),), slope_marks=(Mark(0.0, (0.0,)),), fn_error=rounded, slope_error=rounded,
            bend=bends.power(int(exponent)),
        )  # fmt: skip
    if whole:
        even = int(exponent) % 2 == 0
        return Scalar(
            _power_name(exponent), fn, derivative, (0.0, 0.0), (0.0, 0.0), poles=(0.0,),
            fn_error=rounded, slope_error=rounded,
        )  # fmt: skip
    rising = exponent > 0
    return Scalar(
        _power_name(exponent), fn, derivative, (0.0, INF if rising else 0.0),
        (INF, (INF if exponent > 1 else 0.0) if rising else 0.0), domain=(0.0, INF),
        fn_error=rounded, slope_error=rounded,
    )  # fmt: skip
