"""Elementary functions of one variable: trigonometric, hyperbolic, exponential, powers."""

from __future__ import annotations

import torch
from numpy import broadcast_shapes

from lipaudit.errors import Unsupported
from lipaudit.linear.map import LinearMap
from lipaudit.linear.pointwise import Diagonal
from lipaudit.linear.selection import NOTHING, Selection
from lipaudit.ops import functions
from lipaudit.ops.affine import Affine
from lipaudit.ops.elementwise import Elementwise
from lipaudit.ops.onnx.activation import apply
from lipaudit.ops.registry import Constant, Data, RawNode, onnx_op

_MOST_EXPONENTS = 64


@onnx_op("Sin", versions=(7, 22))
def _sin(node: RawNode) -> Data:
    """slope in [-1, 1]"""
    return apply(node, functions.sine())


@onnx_op("Cos", versions=(7, 22))
def _cos(node: RawNode) -> Data:
    """slope in [-1, 1]"""
    return apply(node, functions.cosine())


@onnx_op("Tan", versions=(7, 22))
def _tan(node: RawNode) -> Data:
    """1 / min cos(x)^2: needs a domain within (-pi/2, pi/2)"""
    return apply(node, functions.tangent())


@onnx_op("Asin", versions=(7, 22))
def _asin(node: RawNode) -> Data:
    """1 / min sqrt(1 - x^2): needs a domain within (-1, 1)"""
    return apply(node, functions.arcsine())


@onnx_op("Acos", versions=(7, 22))
def _acos(node: RawNode) -> Data:
    """1 / min sqrt(1 - x^2): needs a domain within (-1, 1)"""
    return apply(node, functions.arccosine())


@onnx_op("Atan", versions=(7, 22))
def _atan(node: RawNode) -> Data:
    """slope in (0, 1]"""
    return apply(node, functions.arctangent())


@onnx_op("Sinh", versions=(9, 22))
def _sinh(node: RawNode) -> Data:
    """max cosh(x): needs a domain"""
    return apply(node, functions.hyperbolic_sine())


@onnx_op("Cosh", versions=(9, 22))
def _cosh(node: RawNode) -> Data:
    """max |sinh(x)|: needs a domain"""
    return apply(node, functions.hyperbolic_cosine())


@onnx_op("Asinh", versions=(9, 22))
def _asinh(node: RawNode) -> Data:
    """slope in (0, 1]"""
    return apply(node, functions.inverse_hyperbolic_sine())


@onnx_op("Acosh", versions=(9, 22))
def _acosh(node: RawNode) -> Data:
    """1 / min sqrt(x^2 - 1): needs a domain above 1"""
    return apply(node, functions.inverse_hyperbolic_cosine())


@onnx_op("Atanh", versions=(9, 22))
def _atanh(node: RawNode) -> Data:
    """1 / min (1 - x^2): needs a domain within (-1, 1)"""
    return apply(node, functions.inverse_hyperbolic_tangent())


@onnx_op("Exp", versions=(1, 6, 13))
def _exp(node: RawNode, *, consumed_inputs: list[int] | None = None) -> Data:
    """unbounded above: needs a domain"""
    return apply(node, functions.exponential())


@onnx_op("Log", versions=(1, 6, 13))
def _log(node: RawNode, *, consumed_inputs: list[int] | None = None) -> Data:
    """1 / min x: needs a domain above 0"""
    return apply(node, functions.logarithm())


@onnx_op("Sqrt", versions=(1, 6, 13))
def _sqrt(node: RawNode, *, consumed_inputs: list[int] | None = None) -> Data:
    """1 / (2 sqrt(min x)): needs a domain above 0"""
    return apply(node, functions.square_root())


@onnx_op("Reciprocal", versions=(1, 6, 13))
def _reciprocal(node: RawNode, *, consumed_inputs: list[int] | None = None) -> Data:
    """1 / min x^2: needs a domain away from 0"""
    return apply(node, functions.reciprocal())


@onnx_op("Pow", versions=(1, 7, 12, 13, 15))
def _pow(node: RawNode, *, axis: int | None = None, broadcast: int = 0) -> Data:
    """c x^(c-1) for a constant exponent c, |ln b| b^x for a constant base b: needs a domain unless c is 0 or 1"""
    base, exponent = node.arg(0), node.arg(1)
    if isinstance(base, Constant):
        return _exponential(node, base.value.double(), node.data(1))
    x = node.data()
    if not isinstance(exponent, Constant):
        raise Unsupported("its base and its exponent both depend on the input")
    if node.version < 7 and axis is not None:
        missing = len(x.shape) - axis - len(exponent.shape)
        exponent = Constant(exponent.value.reshape(*exponent.shape, *[1] * missing))
    exponents = sorted(set(exponent.value.double().reshape(-1).tolist()))
    if len(exponents) == 1:
        shape = broadcast_shapes(x.shape, exponent.shape)
        return apply(node, functions.power(exponents[0]), node.broadcast(x, shape))
    return _mixed_powers(node, x, exponent.value.double(), exponents)


def _exponential(node: RawNode, base: torch.Tensor, x: Data) -> Data:
    """base^x = exp(x ln base) for a positive base."""
    if not bool((base > 0).all()):
        raise Unsupported("its constant base is not positive")
    shape = broadcast_shapes(base.shape, x.shape)
    # the logarithm is rounded to within a few units in its last place (of 1 is 0, exactly)
    scaled = node.affine(Diagonal(torch.log(base), tuple(shape), 4), node.broadcast(x, shape))
    return apply(node, functions.exponential(), scaled)


def _mixed_powers(node: RawNode, x: Data, exponent: torch.Tensor, exponents: list[float]) -> Data:
    """One power for each exponent, of the entries that have it, put together again."""
    if len(exponents) > _MOST_EXPONENTS:
        raise Unsupported(f"its exponent takes {len(exponents)} values, more than the {_MOST_EXPONENTS} that are read")
    shape = tuple(broadcast_shapes(x.shape, exponent.shape))
    x, exponent = node.broadcast(x, shape), exponent.expand(shape).reshape(-1)
    parts: list[Data] = []
    maps: list[LinearMap] = []
    for value in exponents:
        places = (exponent == value).nonzero().reshape(-1)
        some = node.affine(Selection.of(shape, places), x)
        parts.append(node.emit(Elementwise(functions.power(value), some.shape), some))
        index = torch.full((len(exponent),), NOTHING)
        index[places] = torch.arange(len(places))
        maps.append(Selection.of(some.shape, index.reshape(shape)))
    return node.emit(Affine(tuple(maps)), *parts)
