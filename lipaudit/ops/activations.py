"""The activation functions of neural networks, as scalar functions with proven slopes.

Constants are outward-rounded from 40-digit values and re-proven in ball arithmetic by tests/ops/test_scalars.py.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from lipaudit.numerics.rounding import down, up
from lipaudit.ops import bends
from lipaudit.ops.scalar import TAIL, Mark, Number, Scalar

INF = math.inf
_SQRT_HALF = math.sqrt(0.5)
_INV_SQRT_2PI = 1.0 / math.sqrt(2.0 * math.pi)


def kinked(name: str, knot: Number, left: Number, right: Number) -> Scalar:
    """left (x - knot) below the knot, right (x - knot) above it."""

    def fn(x: torch.Tensor) -> torch.Tensor:
        at, below, above = (_beside(number, x) for number in (knot, left, right))
        return torch.where(x >= at, (x - at) * above, (x - at) * below)

    def derivative(x: torch.Tensor) -> torch.Tensor:
        return torch.where(x >= knot, torch.zeros_like(x) + right, torch.zeros_like(x) + left)

    return Scalar(
        name,
        fn,
        derivative,
        limits=(_signed_inf(left, -1.0), _signed_inf(right, 1.0)),
        slope_limits=(left, right),
        value_marks=(Mark(knot, (0.0,)),),
        slope_marks=(Mark(knot, (left, right)),),
        fn_error=(3.0, 0.0),
    )


def _beside(number: Number, x: torch.Tensor) -> Number:
    """The number on the device of x."""
    return number.to(x.device) if isinstance(number, torch.Tensor) else number


def _signed_inf(slope: Number, side: float) -> Number:
    """The limit of slope * x at side * inf: 0 for a flat side."""
    if isinstance(slope, torch.Tensor):
        return torch.where(slope == 0, torch.zeros_like(slope), slope.sign() * side * INF)
    return 0.0 if slope == 0 else math.copysign(INF, slope * side)


def relu() -> Scalar:
    return Scalar(
        "Relu",
        functional.relu,
        lambda x: (x > 0).to(x.dtype),
        limits=(0.0, INF),
        slope_limits=(0.0, 1.0),
        slope_marks=(Mark(0.0, (0.0, 1.0)),),
    )


def leaky_relu(alpha: Number) -> Scalar:
    return kinked("LeakyRelu", 0.0, alpha, 1.0)


def prelu(alpha: torch.Tensor) -> Scalar:
    return kinked("PRelu", 0.0, alpha, 1.0)


def absolute() -> Scalar:
    return kinked("Abs", 0.0, -1.0, 1.0)


def clip(low: Number, high: Number) -> Scalar:
    """min(max(x, low), high) with low <= high; either may be infinite, or a tensor of one number an entry."""
    bottom, top = torch.as_tensor(low, dtype=torch.float64), torch.as_tensor(high, dtype=torch.float64)

    def fn(x: torch.Tensor) -> torch.Tensor:
        return torch.minimum(torch.maximum(x, bottom.to(x.device)), top.to(x.device))

    def derivative(x: torch.Tensor) -> torch.Tensor:
        return ((x > bottom) & (x < top)).to(x.dtype)

    return Scalar(
        "Clip",
        fn,
        derivative,
        limits=(low, high),
        # an infinite end leaves the slope 1 all the way
        slope_limits=(_unit_where_infinite(bottom), _unit_where_infinite(top)),
        slope_marks=(Mark(low, (0.0, 1.0)), Mark(high, (0.0, 1.0))),
    )


def _unit_where_infinite(end: torch.Tensor) -> torch.Tensor:
    return torch.isinf(end).double()


def sigmoid() -> Scalar:
    def derivative(x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(x) * torch.sigmoid(-x)

    return Scalar(
        "Sigmoid",
        torch.sigmoid,
        derivative,
        limits=(0.0, 1.0),
        slope_limits=(0.0, 0.0),
        slope_marks=(Mark(0.0, (0.25,)),),
        span=(0.0, 1.0),
        slope_span=(0.0, 0.25),
        fn_error=(16.0, TAIL),
        slope_error=(32.0, TAIL),
        bend=bends.sigmoid(),
    )


def tanh() -> Scalar:
    def derivative(x: torch.Tensor) -> torch.Tensor:
        return 4.0 * torch.sigmoid(2.0 * x) * torch.sigmoid(-2.0 * x)

    return Scalar(
        "Tanh",
        torch.tanh,
        derivative,
        limits=(-1.0, 1.0),
        slope_limits=(0.0, 0.0),
        slope_marks=(Mark(0.0, (1.0,)),),
        span=(-1.0, 1.0),
        slope_span=(0.0, 1.0),
        fn_error=(16.0, TAIL),
        slope_error=(32.0, TAIL),
        bend=bends.tanh(),
    )


def softplus() -> Scalar:
    return Scalar(
        "Softplus",
        lambda x: torch.logaddexp(x, torch.zeros_like(x)),
        torch.sigmoid,
        limits=(0.0, INF),
        slope_limits=(0.0, 1.0),
        span=(0.0, INF),
        slope_span=(0.0, 1.0),
        fn_error=(32.0, TAIL),
        slope_error=(16.0, TAIL),
        bend=bends.softplus(),
    )


def softsign() -> Scalar:
    return Scalar(
        "Softsign",
        lambda x: x / (1.0 + x.abs()),
        lambda x: (1.0 / (1.0 + x.abs())) ** 2,
        limits=(-1.0, 1.0),
        slope_limits=(0.0, 0.0),
        slope_marks=(Mark(0.0, (1.0,)),),
        span=(-1.0, 1.0),
        slope_span=(0.0, 1.0),
        fn_error=(8.0, 0.0),
        slope_error=(16.0, 0.0),
        bend=bends.softsign(),
    )


def elu(alpha: float) -> Scalar:
    """x above 0, alpha (e^x - 1) below. The slope jumps from alpha to 1 at 0; monotone on each side."""
    return _exponential_linear("Elu", alpha, 1.0, 1.0)


def selu(alpha: float, gamma: float) -> Scalar:
    return _exponential_linear("Selu", alpha, gamma, 1.0)


def celu(alpha: float) -> Scalar:
    """max(0, x) + min(0, alpha (e^(x/alpha) - 1)), alpha != 0."""
    return _exponential_linear("Celu", alpha, 1.0, alpha)


def _exponential_linear(name: str, alpha: float, gamma: float, width: float) -> Scalar:
    """gamma x above 0, gamma alpha (e^(x/width) - 1) below."""
    left = gamma * alpha / width  # exact: alpha and gamma are float32 values, and width is 1 or alpha

    def fn(x: torch.Tensor) -> torch.Tensor:
        below = gamma * (alpha * torch.expm1(torch.clamp(x, max=0.0) / width))
        return torch.where(x > 0, gamma * x, below)

    def derivative(x: torch.Tensor) -> torch.Tensor:
        below = left * torch.exp(torch.clamp(x, max=0.0) / width)
        return torch.where(x > 0, torch.full_like(x, gamma), below)

    return Scalar(
        name,
        fn,
        derivative,
        limits=(-gamma * alpha, _signed_inf(gamma, 1.0)),
        slope_limits=(0.0, gamma),
        value_marks=(Mark(0.0, (0.0,)),),
        slope_marks=(Mark(0.0, (left, gamma)),),
        slope_span=(min(0.0, left, gamma), max(0.0, left, gamma)),
        fn_error=(32.0, TAIL),
        slope_error=(32.0, 2.0 * abs(left)),  # x / width is rounded: |y| e^y <= 1/e units more
        bend=bends.exponential_linear(left, width) if left == gamma and width > 0.0 else None,
    )


def erf() -> Scalar:
    peak = up(2.0 / math.sqrt(math.pi) * (1 + 4e-16))
    return Scalar(
        "Erf",
        torch.erf,
        lambda x: 2.0 / math.sqrt(math.pi) * torch.exp(-x * x),
        limits=(-1.0, 1.0),
        slope_limits=(0.0, 0.0),
        slope_marks=(Mark(0.0, (peak,)),),
        span=(-1.0, 1.0),
        slope_span=(0.0, peak),
        fn_error=(32.0, TAIL),
        slope_error=(32.0, 64.0),
        bend=bends.erf(),
    )


def _normal_cdf(x: torch.Tensor) -> torch.Tensor:
    return 0.5 * torch.erfc(-x * _SQRT_HALF)


def gelu() -> Scalar:
    """x Phi(x), Phi the normal distribution function."""
    bend = math.sqrt(2.0)
    return Scalar(
        "Gelu",
        lambda x: x * _normal_cdf(x),
        lambda x: _normal_cdf(x) + x * _INV_SQRT_2PI * torch.exp(-0.5 * x * x),
        limits=(0.0, INF),
        slope_limits=(0.0, 1.0),
        value_marks=(Mark(-0.75179152469356446, (-0.16997120747990367,)),),
        slope_marks=(Mark(-bend, (-0.1289041451851548,)), Mark(bend, (1.1289041451851548,))),
        span=(down(-0.16997120747990370), INF),
        slope_span=(-0.1289041451851549, 1.1289041451851549),
        fn_error=(64.0, 64.0),
        slope_error=(64.0, 64.0),
        bend=bends.gelu(),
    )


def gelu_tanh() -> Scalar:
    """x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), written with the logistic function (no cancellation)."""
    factor = 2.0 * math.sqrt(2.0 / math.pi)

    def inner(x: torch.Tensor) -> torch.Tensor:
        return factor * (x + 0.044715 * x * x * x)

    def derivative(x: torch.Tensor) -> torch.Tensor:
        s = torch.sigmoid(inner(x))
        rate = s * torch.sigmoid(-inner(x)) * factor
        return s + torch.where(rate == 0, rate, x * rate * (1.0 + 3 * 0.044715 * x * x))

    bend = 1.4185040087908284
    return Scalar(
        "Gelu(tanh)",
        lambda x: x * torch.sigmoid(inner(x)),
        derivative,
        limits=(0.0, INF),
        slope_limits=(0.0, 1.0),
        value_marks=(Mark(-0.75246142207101626, (-0.17004075057125406,)),),
        slope_marks=(Mark(-bend, (-0.1289930686587718,)), Mark(bend, (1.1289930686587718,))),
        span=(-0.17004075057125412, INF),
        slope_span=(-0.1289930686587719, 1.1289930686587719),
        fn_error=(64.0, 256.0),
        slope_error=(64.0, 1024.0),
        bend=bends.gelu_tanh(),
    )


def swish(alpha: float) -> Scalar:
    """x sigmoid(alpha x): SiLU for 1, QuickGELU for 1.702. The slope range is one for every alpha != 0."""
    if alpha == 0.0:
        return kinked("Swish", 0.0, 0.5, 0.5)
    bend, turn, least = 2.3993572805154677 / abs(alpha), 1.2784645427610738, 0.2784645427610738
    edges = (
        Mark(-math.copysign(bend, alpha), (-0.0998393201288670,)),
        Mark(math.copysign(bend, alpha), (1.0998393201288670,)),
    )

    def derivative(x: torch.Tensor) -> torch.Tensor:
        s = torch.sigmoid(alpha * x)
        rate = s * torch.sigmoid(-alpha * x)
        return s + torch.where(rate == 0, rate, alpha * x * rate)  # alpha x may overflow there

    lowest = -least / abs(alpha)
    return Scalar(
        "Swish",
        lambda x: x * torch.sigmoid(alpha * x),
        derivative,
        limits=(0.0, INF) if alpha > 0 else (-INF, 0.0),
        slope_limits=(0.0, 1.0) if alpha > 0 else (1.0, 0.0),
        value_marks=(Mark(-turn / alpha, (lowest if alpha > 0 else -lowest,)),),
        slope_marks=edges,
        slope_span=(-0.0998393201288671, 1.0998393201288671),
        fn_error=(64.0, 64.0 / abs(alpha)),
        slope_error=(64.0, 64.0),
        bend=bends.swish(alpha),
    )


def mish() -> Scalar:
    """x tanh(softplus(x))."""

    def gate(x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(functional.softplus(x, threshold=60.0))

    def derivative(x: torch.Tensor) -> torch.Tensor:
        t = gate(x)
        return t + x * torch.sigmoid(x) * (1.0 - t) * (1.0 + t)

    return Scalar(
        "Mish",
        lambda x: x * gate(x),
        derivative,
        limits=(0.0, INF),
        slope_limits=(0.0, 1.0),
        value_marks=(Mark(-1.1924312145154953, (-0.3088434130172505,)),),
        slope_marks=(
            Mark(-2.2563763963607932, (-0.1125261223894626,)),
            Mark(1.4905711794854285, (1.0884981612517279,)),
        ),
        span=(-0.3088434130172506, INF),
        slope_span=(-0.1125261223894627, 1.0884981612517280),
        fn_error=(64.0, 64.0),
        slope_error=(64.0, 128.0),
        bend=bends.mish(),
    )


def hard_swish() -> Scalar:
    """x max(0, min(1, x/6 + 1/2)); the slope (2x + 3)/6 inside (-3, 3) jumps at both ends."""

    def derivative(x: torch.Tensor) -> torch.Tensor:
        inside = (2.0 * x + 3.0) / 6.0
        return torch.where(x <= -3, torch.zeros_like(x), torch.where(x >= 3, torch.ones_like(x), inside))

    return Scalar(
        "HardSwish",
        lambda x: x * torch.clamp(x / 6.0 + 0.5, 0.0, 1.0),
        derivative,
        limits=(0.0, INF),
        slope_limits=(0.0, 1.0),
        value_marks=(Mark(-1.5, (-0.375,)), Mark(-3.0, (0.0,))),
        slope_marks=(Mark(-3.0, (-0.5, 0.0)), Mark(3.0, (1.0, 1.5))),
        slope_span=(-0.5, 1.5),
        fn_error=(8.0, 8.0),
        slope_error=(8.0, 8.0),
    )
