"""Binary and variadic arithmetic, with constants (affine) or between two data tensors."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from numpy import broadcast_shapes

from lipaudit.errors import Unsupported
from lipaudit.linear.map import LinearMap, Shape
from lipaudit.linear.pointwise import Diagonal
from lipaudit.linear.selection import Selection
from lipaudit.ops import activations, functions
from lipaudit.ops.affine import Affine
from lipaudit.ops.bilinear import Divide, Multiply
from lipaudit.ops.elementwise import Elementwise
from lipaudit.ops.maxlike import PointwiseMax, stacking
from lipaudit.ops.registry import Constant, Data, RawNode, Value, onnx_op, room

_BINARY = (1, 6, 7, 13, 14)


def operands(node: RawNode, axis: int | None = None) -> tuple[Value, Value, Shape]:
    """Both arguments and their common shape. Before revision 7 the second is aligned at `axis`."""
    a, b = node.args[0], node.args[1]
    assert a is not None
    assert b is not None
    if node.version < 7 and axis is not None and isinstance(b, Constant):
        missing = len(a.shape) - axis - len(b.shape)
        b = Constant(b.value.reshape(*b.value.shape, *[1] * missing))
    shape = tuple(broadcast_shapes(a.shape, b.shape))
    room(*shape)
    return a, b, shape


def _scaled(node: RawNode, x: Data, factor: torch.Tensor, shape: Shape, roundings: int = 0) -> Data:
    return node.affine(Diagonal(factor, shape, roundings), node.broadcast(x, shape))


def signed_sum(node: RawNode, terms: list[tuple[Value, float]], shape: Shape) -> Data:
    """The sum of signed terms, data or constant."""
    maps: list[LinearMap] = []
    data: list[Data] = []
    constants = [value.value.expand(shape) * sign for value, sign in terms if isinstance(value, Constant)]
    for value, sign in terms:
        if isinstance(value, Data):
            data.append(node.broadcast(value, shape))
            minus = Diagonal(torch.tensor(sign, dtype=torch.float64), shape)
            maps.append(Selection.reshape(shape, shape) if sign > 0 else minus)
    offset = error = None
    if constants:
        offset = torch.stack(constants).sum(0)
        if len(constants) > 1:
            error = torch.stack(constants).abs().sum(0) * (len(constants) * 2.0**-52)
    return node.emit(Affine(tuple(maps), offset, error), *data)


@onnx_op("Add", versions=_BINARY)
def _add(
    node: RawNode, *, axis: int | None = None, broadcast: int = 0, consumed_inputs: list[int] | None = None
) -> Data:
    """sum of the arguments' constants, or their joint norm"""
    a, b, shape = operands(node, axis)
    return signed_sum(node, [(a, 1.0), (b, 1.0)], shape)


@onnx_op("Sub", versions=_BINARY)
def _sub(
    node: RawNode, *, axis: int | None = None, broadcast: int = 0, consumed_inputs: list[int] | None = None
) -> Data:
    """sum of the arguments' constants, or their joint norm"""
    a, b, shape = operands(node, axis)
    return signed_sum(node, [(a, 1.0), (b, -1.0)], shape)


@onnx_op("Sum", versions=(1, 6, 8, 13))
def _variadic_sum(node: RawNode, *, consumed_inputs: list[int] | None = None) -> Data:
    """sum of the arguments' constants, or their joint norm"""
    return _total(node)


def _total(node: RawNode) -> Data:
    values = [arg for arg in node.args if arg is not None]
    return signed_sum(node, [(v, 1.0) for v in values], tuple(broadcast_shapes(*(v.shape for v in values))))


@onnx_op("Mean", versions=(1, 6, 8, 13))
def _variadic_mean(node: RawNode, *, consumed_inputs: list[int] | None = None) -> Data:
    """mean of the arguments' constants, or their joint norm"""
    total = _total(node)
    return _scaled(node, total, torch.tensor(1.0 / len(node.args), dtype=torch.float64), total.shape, 1)


@onnx_op("Neg", versions=(1, 6, 13))
def _neg(node: RawNode, *, consumed_inputs: list[int] | None = None) -> Data:
    """1"""
    x = node.data()
    return _scaled(node, x, torch.tensor(-1.0, dtype=torch.float64), x.shape)


@onnx_op("Mul", versions=_BINARY)
def _mul(
    node: RawNode, *, axis: int | None = None, broadcast: int = 0, consumed_inputs: list[int] | None = None
) -> Data:
    """max |constant|; of two data tensors, each bounded by the other's range"""
    a, b, shape = operands(node, axis)
    if isinstance(a, Data) and isinstance(b, Data):
        if a == b:
            return node.emit(Elementwise(functions.power(2.0), a.shape), a)
        return node.emit(Multiply(shape), node.broadcast(a, shape), node.broadcast(b, shape))
    data, constant = (a, b) if isinstance(a, Data) else (b, a)
    assert isinstance(data, Data)
    assert isinstance(constant, Constant)
    return _scaled(node, data, constant.value, shape)


@onnx_op("Div", versions=_BINARY)
def _div(
    node: RawNode, *, axis: int | None = None, broadcast: int = 0, consumed_inputs: list[int] | None = None
) -> Data:
    """max 1 / |constant|; a data divisor needs a range without 0"""
    a, b, shape = operands(node, axis)
    if isinstance(b, Constant):
        assert isinstance(a, Data)
        if not bool((b.value != 0).all()):
            raise Unsupported("it divides by a constant 0")
        exact = bool((torch.frexp(b.value.double()).mantissa.abs() == 0.5).all())  # powers of two
        return _scaled(node, a, 1.0 / b.value.double(), shape, 0 if exact else 1)
    if isinstance(a, Constant):
        inverse = node.emit(Elementwise(functions.reciprocal(), b.shape), b)
        return _scaled(node, inverse, a.value, shape)
    return node.emit(Divide(shape), node.broadcast(a, shape), node.broadcast(b, shape))


def _extremum(node: RawNode, sign: float, fold: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Data:
    values = [arg for arg in node.args if arg is not None]
    shape = tuple(broadcast_shapes(*(v.shape for v in values)))
    data = [node.broadcast(v, shape) for v in values if isinstance(v, Data)]
    distinct = list(dict.fromkeys(data))
    result = distinct[0]
    if len(distinct) > 1:
        together = node.emit(stacking(len(distinct), shape), *distinct)
        result = node.emit(PointwiseMax(shape, len(distinct), sign), together)
    limits = [v.value for v in values if isinstance(v, Constant)]
    if not limits:
        return result
    limit = limits[0]
    for other in limits[1:]:
        limit = fold(limit, other)
    clip = activations.clip(limit, math.inf) if sign > 0 else activations.clip(-math.inf, limit)
    return node.emit(Elementwise(clip, shape), result)


@onnx_op("Max", versions=(1, 6, 8, 12, 13))
def _max(node: RawNode, *, consumed_inputs: list[int] | None = None) -> Data:
    """1 jointly in all norms"""
    return _extremum(node, 1.0, torch.maximum)


@onnx_op("Min", versions=(1, 6, 8, 12, 13))
def _min(node: RawNode, *, consumed_inputs: list[int] | None = None) -> Data:
    """1 jointly in all norms"""
    return _extremum(node, -1.0, torch.minimum)
