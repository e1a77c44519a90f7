"""Every scalar function: how it is made, and what it is, written once more in ball arithmetic."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from flint import arb, arb_series, ctx

from lipaudit.ops import activations, functions
from lipaudit.ops.scalar import Scalar

ctx.prec = 320

Formula = Callable[[Any], Any]
INF = math.inf


class Piece(NamedTuple):
    """The function on (lower, upper), as a formula in an arb_series."""

    lower: float
    upper: float
    formula: Formula


class ScalarCase(NamedTuple):
    """maker: the function in lipaudit.ops whose case it is; pieces: the smooth ones, in order, over its domain."""

    name: str
    maker: str
    build: Callable[[], Scalar]
    pieces: tuple[Piece, ...]
    points: tuple[float, ...] = ()
    reach: float = 160.0
    """How far out the subdivision goes: beyond, a formula's balls are wider than what it tends to."""

    def __str__(self) -> str:
        return self.name

    @property
    def kinks(self) -> tuple[float, ...]:
        return tuple(p.upper for p in self.pieces[:-1])

    @property
    def telling(self) -> tuple[float, ...]:
        """Where boxes should end: kinks, and where something turns."""
        return tuple(dict.fromkeys((*self.kinks, *self.points, 0.0)))


def whole(formula: Formula) -> tuple[Piece, ...]:
    return (Piece(-INF, INF, formula),)


def two(knot: float, left: Formula, right: Formula) -> tuple[Piece, ...]:
    return (Piece(-INF, knot, left), Piece(knot, INF, right))


def sigmoid(x: Any) -> Any:
    return 1 / (1 + (-x).exp())


def _mish(x: Any) -> Any:
    return x * (1 - 2 / (1 + (1 + x.exp()) * (1 + x.exp())))


def _gelu_tanh(x: Any) -> Any:
    return x * sigmoid(2 * (2 / arb.pi()).sqrt() * (x + arb("0.044715") * x * x * x))


def _power(n: int) -> Formula:
    def formula(x: Any) -> Any:
        total = x
        for _ in range(abs(n) - 1):
            total = total * x
        return total if n > 0 else 1 / total

    return formula


def _swish(alpha: float) -> Formula:
    return lambda x: x * sigmoid(arb(alpha) * x)


def _linear(slope: float, knot: float = 0.0) -> Formula:
    return lambda x: arb(slope) * (x - knot)


def _constant(value: float) -> Formula:
    return lambda x: 0 * x + value


A32 = float(torch.tensor(0.01, dtype=torch.float32))
SELU = (1.67326319217681884765625, 1.05070102214813232421875)
C32 = float(torch.tensor(0.3, dtype=torch.float32))

SCALARS: tuple[ScalarCase, ...] = (
    ScalarCase("relu", "relu", activations.relu, two(0.0, _constant(0.0), _linear(1.0))),
    ScalarCase(
        "kinked",
        "kinked",
        lambda: activations.kinked("K", 0.5, 2.0, -3.0),
        two(0.5, _linear(2.0, 0.5), _linear(-3.0, 0.5)),
    ),
    ScalarCase("leaky-relu", "leaky_relu", lambda: activations.leaky_relu(A32), two(0.0, _linear(A32), _linear(1.0))),
    ScalarCase("leaky-relu-2", "leaky_relu", lambda: activations.leaky_relu(2.0), two(0.0, _linear(2.0), _linear(1.0))),
    ScalarCase(
        "leaky-relu-negative", "leaky_relu", lambda: activations.leaky_relu(-1.5), two(0.0, _linear(-1.5), _linear(1.0))
    ),
    ScalarCase(
        "prelu",
        "prelu",
        lambda: activations.prelu(torch.tensor([-2.5], dtype=torch.float64)),
        two(0.0, _linear(-2.5), _linear(1.0)),
    ),
    ScalarCase("abs", "absolute", activations.absolute, two(0.0, _linear(-1.0), _linear(1.0))),
    ScalarCase(
        "clip",
        "clip",
        lambda: activations.clip(-1.0, 6.0),
        (
            Piece(-INF, -1.0, _constant(-1.0)),
            Piece(-1.0, 6.0, _linear(1.0)),
            Piece(6.0, INF, _constant(6.0)),
        ),
    ),
    ScalarCase("clip-below", "clip", lambda: activations.clip(0.25, INF), two(0.25, _constant(0.25), _linear(1.0))),
    ScalarCase("clip-above", "clip", lambda: activations.clip(-INF, 0.25), two(0.25, _linear(1.0), _constant(0.25))),
    ScalarCase("clip-nothing", "clip", lambda: activations.clip(-INF, INF), whole(_linear(1.0))),
    ScalarCase("sigmoid", "sigmoid", activations.sigmoid, whole(sigmoid), (-709.9, -745.2, 36.8)),
    ScalarCase("tanh", "tanh", activations.tanh, whole(lambda x: 1 - 2 / (1 + (2 * x).exp())), (-354.9, 354.9, 18.4)),
    ScalarCase(
        "softplus",
        "softplus",
        activations.softplus,
        two(0.0, lambda x: (1 + x.exp()).log(), lambda x: x + (1 + (-x).exp()).log()),
        (-745.0, 37.0),
    ),
    ScalarCase(
        "softsign",
        "softsign",
        activations.softsign,
        two(0.0, lambda x: x / (1 - x), lambda x: x / (1 + x)),
        (1e154, -1.4e154, 1e160),
    ),
    ScalarCase("elu", "elu", lambda: activations.elu(1.0), two(0.0, lambda x: x.exp() - 1, _linear(1.0)), (-745.0,)),
    ScalarCase("elu-3", "elu", lambda: activations.elu(3.0), two(0.0, lambda x: 3 * (x.exp() - 1), _linear(1.0))),
    ScalarCase(
        "elu-negative", "elu", lambda: activations.elu(-3.0), two(0.0, lambda x: -3 * (x.exp() - 1), _linear(1.0))
    ),
    ScalarCase(
        "selu",
        "selu",
        lambda: activations.selu(*SELU),
        two(0.0, lambda x: arb(SELU[0]) * arb(SELU[1]) * (x.exp() - 1), _linear(SELU[1])),
    ),
    ScalarCase(
        "celu",
        "celu",
        lambda: activations.celu(C32),
        two(0.0, lambda x: arb(C32) * ((x / arb(C32)).exp() - 1), _linear(1.0)),
        (-60.3, -190.7),
    ),
    ScalarCase(
        "exponential-linear",
        "_exponential_linear",
        lambda: activations._exponential_linear("E", 2.0, 1.5, 1.0),
        two(0.0, lambda x: 3 * (x.exp() - 1), _linear(1.5)),
    ),
    ScalarCase("erf", "erf", activations.erf, whole(lambda x: x.erf()), (26.5, 5.9)),
    ScalarCase(
        "gelu",
        "gelu",
        activations.gelu,
        whole(lambda x: x / 2 * (-x / arb(2).sqrt()).erfc()),
        (-0.75179152469356446, -math.sqrt(2), math.sqrt(2), -8.3, -37.5),
    ),
    ScalarCase(
        "gelu-tanh",
        "gelu_tanh",
        activations.gelu_tanh,
        whole(_gelu_tanh),
        (-0.75246142207101626, -1.4185040087908284, 1.4185040087908284, -10.5),
        reach=40.0,
    ),
    ScalarCase(
        "silu",
        "swish",
        lambda: activations.swish(1.0),
        whole(_swish(1.0)),
        (-1.2784645427610738, -2.3993572805154677, 2.3993572805154677, -720.0),
    ),
    ScalarCase(
        "quick-gelu",
        "swish",
        lambda: activations.swish(1.702),
        whole(_swish(1.702)),
        (-2.3993572805154677 / 1.702, 2.3993572805154677 / 1.702),
    ),
    ScalarCase(
        "swish-negative",
        "swish",
        lambda: activations.swish(-0.5),
        whole(_swish(-0.5)),
        (2 * 1.2784645427610738, 2 * 2.3993572805154677, -2 * 2.3993572805154677),
    ),
    ScalarCase("swish-0", "swish", lambda: activations.swish(0.0), whole(_linear(0.5))),
    ScalarCase(
        "swish-steep",
        "swish",
        lambda: activations.swish(300.0),
        whole(_swish(300.0)),
        (-2.3993572805154677 / 300, 2.3993572805154677 / 300),
        reach=0.5,
    ),
    ScalarCase(
        "mish",
        "mish",
        activations.mish,
        whole(_mish),
        (-1.1924312145154953, -2.2563763963607932, 1.4905711794854285, -740.0, 60.0),
    ),
    ScalarCase(
        "hard-swish",
        "hard_swish",
        activations.hard_swish,
        (
            Piece(-INF, -3.0, _constant(0.0)),
            Piece(-3.0, 3.0, lambda x: x * (x + 3) / 6),
            Piece(3.0, INF, _linear(1.0)),
        ),
        (-1.5,),
    ),
    ScalarCase("sin", "sine", functions.sine, whole(lambda x: x.sin()), (math.pi / 2, -math.pi, 1e6, 1e16)),
    ScalarCase(
        "cos",
        "cosine",
        functions.cosine,
        whole(lambda x: x.cos()),
        (math.pi, -math.pi / 2, math.pi / 2, 2 * math.pi, 1e6, 1e16),
    ),
    ScalarCase(
        "tan", "tangent", functions.tangent, (Piece(-math.pi / 2, math.pi / 2, lambda x: x.tan()),), (1.57, -1.5707963)
    ),
    ScalarCase(
        "asin", "arcsine", functions.arcsine, (Piece(-1.0, 1.0, lambda x: x.asin()),), (0.999999, -0.9999999999)
    ),
    ScalarCase(
        "acos", "arccosine", functions.arccosine, (Piece(-1.0, 1.0, lambda x: x.acos()),), (0.999999, -0.9999999999)
    ),
    ScalarCase("atan", "arctangent", functions.arctangent, whole(lambda x: x.atan()), (1.35e154, 1e160)),
    ScalarCase(
        "sinh", "hyperbolic_sine", functions.hyperbolic_sine, whole(lambda x: (x.exp() - (-x).exp()) / 2), (710.0,)
    ),
    ScalarCase(
        "cosh", "hyperbolic_cosine", functions.hyperbolic_cosine, whole(lambda x: (x.exp() + (-x).exp()) / 2), (710.0,)
    ),
    ScalarCase(
        "asinh",
        "inverse_hyperbolic_sine",
        functions.inverse_hyperbolic_sine,
        two(0.0, lambda x: -((x * x + 1).sqrt() - x).log(), lambda x: (x + (x * x + 1).sqrt()).log()),
        (1e155, -1e200),
    ),
    ScalarCase(
        "acosh",
        "inverse_hyperbolic_cosine",
        functions.inverse_hyperbolic_cosine,
        (Piece(1.0, INF, lambda x: (x + (x * x - 1).sqrt()).log()),),
        (1.0000001, 1e155),
    ),
    ScalarCase(
        "atanh",
        "inverse_hyperbolic_tangent",
        functions.inverse_hyperbolic_tangent,
        (Piece(-1.0, 1.0, lambda x: ((1 + x) / (1 - x)).log() / 2),),
        (0.9999999, -0.99999),
    ),
    ScalarCase(
        "shrink",
        "soft_threshold",
        lambda: functions.soft_threshold(0.5),
        (
            Piece(-INF, -0.5, lambda x: x + arb(0.5)),
            Piece(-0.5, 0.5, _constant(0.0)),
            Piece(0.5, INF, lambda x: x - arb(0.5)),
        ),
    ),
    ScalarCase("exp", "exponential", functions.exponential, whole(lambda x: x.exp()), (709.7, -745.1, 710.0)),
    ScalarCase("log", "logarithm", functions.logarithm, (Piece(0.0, INF, lambda x: x.log()),), (1.0, 1e-310, 5e-324)),
    ScalarCase("sqrt", "square_root", functions.square_root, (Piece(0.0, INF, lambda x: x.sqrt()),), (1.0, 1e-310)),
    ScalarCase(
        "reciprocal",
        "reciprocal",
        functions.reciprocal,
        two(0.0, lambda x: 1 / x, lambda x: 1 / x),
        (1e-170, 1.4e154, 1e160),
    ),
    ScalarCase("power-0", "power", lambda: functions.power(0.0), whole(_constant(1.0))),
    ScalarCase("power-1", "power", lambda: functions.power(1.0), whole(_linear(1.0))),
    ScalarCase("square", "power", lambda: functions.power(2.0), whole(_power(2)), (1e155, 1e-170)),
    ScalarCase("cube", "power", lambda: functions.power(3.0), whole(_power(3)), (1e110,)),
    ScalarCase("power-7", "power", lambda: functions.power(7.0), whole(_power(7)), (1e44,)),
    ScalarCase("power-minus-1", "power", lambda: functions.power(-1.0), two(0.0, _power(-1), _power(-1)), (1.4e154,)),
    ScalarCase(
        "power-minus-2", "power", lambda: functions.power(-2.0), two(0.0, _power(-2), _power(-2)), (1.4e154, 1e-100)
    ),
    ScalarCase("power-half", "power", lambda: functions.power(0.5), (Piece(0.0, INF, lambda x: x.sqrt()),), (1e-300,)),
    ScalarCase(
        "power-1.5", "power", lambda: functions.power(1.5), (Piece(0.0, INF, lambda x: x * x.sqrt()),), (1e-300,)
    ),
    ScalarCase(
        "power-minus-half",
        "power",
        lambda: functions.power(-0.5),
        (Piece(0.0, INF, lambda x: 1 / x.sqrt()),),
        (1e-300,),
    ),
)


def makers() -> set[str]:
    """Every function of lipaudit.ops that makes a Scalar."""
    names = set()
    for module in (activations, functions):
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if function.__module__ == module.__name__ and inspect.signature(function).return_annotation == "Scalar":
                names.add(name)
    return names


def taylor(piece: Piece, at: Any, order: int = 2) -> list[Any]:
    """[f, f', f''/2, ...] at a ball: each an enclosure of that coefficient at every point of it."""
    try:
        series = piece.formula(arb_series([arb(at), 1], prec=order))
    except (ValueError, ZeroDivisionError):  # a denominator that is not known to be nonzero there
        return [arb.nan()] * order
    found = list(series.coeffs()) if isinstance(series, arb_series) else [arb(series)]
    return (found + [arb(0)] * order)[:order]
