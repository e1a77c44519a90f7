"""Second derivatives of scalar functions: what a network's curvature is made of.

Extremal values are outward-rounded from 40-digit ones; tests/ops/test_bends.py holds all of them against ball
arithmetic.
"""

from __future__ import annotations

import math

import torch

from lipaudit.ops.scalar import TAIL, Bend, Function, Mark

INF = math.inf


def _odd(fn: Function, at: float, value: float, error: tuple[float, float]) -> Bend:
    """Odd, extreme at -at (value) and at (-value), 0 at both ends of the line."""
    return Bend(fn, (0.0, 0.0), (Mark(-at, (value,)), Mark(at, (-value,))), error)


def _logistic(x: torch.Tensor) -> torch.Tensor:
    """The derivative of the logistic function."""
    return torch.sigmoid(x) * torch.sigmoid(-x)


def sigmoid() -> Bend:
    """Of 1 / (1 + e^-x): -s' tanh(x/2), s' its derivative."""
    at = 1.3169578969248168  # log(2 + sqrt(3))
    return _odd(lambda x: -_logistic(x) * torch.tanh(x / 2), at, 0.09622504486493764, (64.0, TAIL))


def tanh() -> Bend:
    """Of tanh x: -2 tanh x (1 - tanh^2 x), by the logistic density at 2x."""
    at = 0.6584789484624084
    return _odd(lambda x: -8.0 * _logistic(2.0 * x) * torch.tanh(x), at, 0.76980035891950105, (64.0, TAIL))


def softplus() -> Bend:
    """Of log(1 + e^x): the logistic density."""
    return Bend(_logistic, (0.0, 0.0), (Mark(0.0, (0.25,)),), (32.0, TAIL))


def softsign() -> Bend:
    """Of x / (1 + |x|): -2 sign(x) / (1 + |x|)^3, which jumps at 0."""
    return Bend(
        lambda x: -2.0 * x.sign() * (1.0 / (1.0 + x.abs())) ** 3,
        (0.0, 0.0),
        (Mark(0.0, (2.0, -2.0)),),
        (16.0, TAIL),
    )


def exponential_linear(left: float, width: float) -> Bend:
    """Of left width (e^(x/width) - 1) below 0, with the slope `left`, and a line of that slope above; width > 0."""
    most = left / width

    def fn(x: torch.Tensor) -> torch.Tensor:
        below = most * torch.exp(torch.clamp(x, max=0.0) / width)
        return torch.where(x > 0, torch.zeros_like(x), below)

    return Bend(fn, (0.0, 0.0), (Mark(0.0, (most, 0.0)),), (32.0, 4.0 * abs(most)))


def erf() -> Bend:
    """Of erf x: -4 x e^(-x^2) / sqrt(pi)."""
    factor = -4.0 / math.sqrt(math.pi)

    def fn(x: torch.Tensor) -> torch.Tensor:
        near = x.clamp(-50.0, 50.0)  # beyond, e^(-x^2) is 0, and x^2 may overflow
        return factor * near * torch.exp(-near * near)

    return _odd(fn, math.sqrt(0.5), 0.96788289807657340, (32.0, 64.0))


def gelu() -> Bend:
    """phi(x) (2 - x^2), phi the density of the normal distribution."""
    density = 1.0 / math.sqrt(2.0 * math.pi)

    def fn(x: torch.Tensor) -> torch.Tensor:
        near = x.clamp(-50.0, 50.0)  # beyond, e^(-x^2/2) is 0, and x^2 may overflow
        return density * torch.exp(-0.5 * near * near) * (2.0 - near * near)

    least = Mark(-2.0, (-0.10798193302637611,)), Mark(2.0, (-0.10798193302637611,))
    return Bend(fn, (0.0, 0.0), (*least, Mark(0.0, (0.79788456080286541,))), (64.0, 64.0))


def gelu_tanh(kappa: float = 0.044715, room: float = 0.0) -> Bend:
    """Of x sigmoid(u) with u = c (x + kappa x^3): s' (2 u' + x u'' - x u'^2 tanh(u/2)), s' the logistic density at u.

    room: more than a kappa that is not 0.044715 moves it, in units of u.
    """
    factor = 2.0 * math.sqrt(2.0 / math.pi)

    def fn(x: torch.Tensor) -> torch.Tensor:
        near = x.clamp(-50.0, 50.0)  # beyond, s' is 0
        u = factor * (near + kappa * near * near * near)
        first, second = factor * (1.0 + 3.0 * kappa * near * near), 6.0 * factor * kappa * near
        return _logistic(u) * (2.0 * first + near * second - near * first * first * torch.tanh(u / 2))

    at, least = 2.0134807246242579, -0.10791351589036792
    marks = Mark(-at, (least,)), Mark(at, (least,)), Mark(0.0, (0.79788456080286541,))
    return Bend(fn, (0.0, 0.0), marks, (64.0, 1024.0 + room))


def swish(alpha: float) -> Bend:
    """Of x sigmoid(alpha x): alpha h(alpha x) with h(y) = s'(y) (2 - y tanh(y/2))."""

    def fn(x: torch.Tensor) -> torch.Tensor:
        y = (alpha * x).clamp(-1e3, 1e3)  # beyond, s' is 0
        return alpha * (_logistic(y) * (2.0 - y * torch.tanh(y / 2)))

    at, least = 3.435840993535110689 / abs(alpha), -0.036914373199893186 * alpha
    marks = Mark(-at, (least,)), Mark(at, (least,)), Mark(0.0, (0.5 * alpha,))
    return Bend(fn, (0.0, 0.0), marks, (64.0, 64.0 * abs(alpha)))


def mish() -> Bend:
    """Of x g with g = tanh(softplus(x)): (1 - g^2) (2 s + x (s' - 2 g s^2)), s the logistic function."""

    def fn(x: torch.Tensor) -> torch.Tensor:
        near = x.clamp(-1e3, 1e3)  # beyond, all factors of x are 0
        s = torch.sigmoid(near)
        g = torch.tanh(torch.logaddexp(near, torch.zeros_like(near)))
        return (1.0 - g) * (1.0 + g) * (2.0 * s + near * (_logistic(near) - 2.0 * g * s * s))

    return Bend(
        fn,
        (0.0, 0.0),
        (
            Mark(-3.2673378465204046, (-0.041732070706611026,)),
            Mark(-0.087934431314914211, (0.64420463723697243,)),
            Mark(2.1148425630208771, (-0.059033356953936293,)),
        ),
        (64.0, 256.0),
    )


def sine() -> Bend:
    """Of sin x."""
    half = math.pi / 2
    return Bend(lambda x: -torch.sin(x), (-1.0, 1.0), (Mark(half, (-1.0,)), Mark(-half, (1.0,))), (8.0, 8.0))


def cosine() -> Bend:
    """Of cos x."""
    return Bend(lambda x: -torch.cos(x), (-1.0, 1.0), (Mark(0.0, (-1.0,)), Mark(math.pi, (1.0,))), (8.0, 8.0))


def arctangent() -> Bend:
    """Of arctan x: -2x / (1 + x^2)^2."""

    def fn(x: torch.Tensor) -> torch.Tensor:
        inverse = 1.0 / (1.0 + x * x)
        return -2.0 * (x * inverse) * inverse

    return _odd(fn, math.sqrt(1.0 / 3.0), 0.64951905283832899, (32.0, TAIL))


def inverse_hyperbolic_sine() -> Bend:
    """Of arsinh x: -x / (1 + x^2)^(3/2)."""

    def fn(x: torch.Tensor) -> torch.Tensor:
        length = torch.hypot(x, torch.ones_like(x))
        return -(x / length) / length / length

    return _odd(fn, math.sqrt(0.5), 0.38490017945975051, (32.0, TAIL))


def hyperbolic_sine() -> Bend:
    """Of sinh x."""
    return Bend(torch.sinh, (-INF, INF), (), (32.0, TAIL))


def hyperbolic_cosine() -> Bend:
    """Of cosh x."""
    return Bend(torch.cosh, (INF, INF), (Mark(0.0, (1.0,)),), (32.0, TAIL))


def exponential() -> Bend:
    """Of e^x."""
    return Bend(torch.exp, (0.0, INF), (), (16.0, TAIL))


def power(exponent: int) -> Bend:
    """Of x^exponent, exponent >= 2."""
    factor = float(exponent * (exponent - 1))
    even = exponent % 2 == 0
    limits = (factor, factor) if exponent == 2 else (INF if even else -INF, INF)
    zero = Mark(0.0, (factor if exponent == 2 else 0.0,))
    return Bend(lambda x: factor * torch.pow(x, exponent - 2.0), limits, (zero,), (8.0 + 4.0 * exponent, TAIL))
