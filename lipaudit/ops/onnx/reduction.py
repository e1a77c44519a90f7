"""Reductions over axes, and softmax."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from lipaudit.errors import Unsupported
from lipaudit.linear.map import Shape
from lipaudit.linear.selection import Selection
from lipaudit.ops import activations, functions
from lipaudit.ops.bilinear import Multiply
from lipaudit.ops.elementwise import Elementwise
from lipaudit.ops.lengths import WindowLogSumExp, WindowNorm
from lipaudit.ops.maxlike import WindowMax
from lipaudit.ops.onnx.grouping import reduced, windows_of
from lipaudit.ops.onnx.linear import average
from lipaudit.ops.op import Op
from lipaudit.ops.registry import Data, RawNode, onnx_op
from lipaudit.ops.smooth import LogSoftmax, Softmax


def _axes(node: RawNode, axes: list[int] | None, noop: int, since: int) -> tuple[int, ...]:
    """The reduced axes, none for a no-op. An attribute before revision `since`, an argument from there on."""
    rank = len(node.data().shape)
    if node.version >= since:
        axes = None if node.arg(1) is None else node.integers(1, "axes")
    if not axes:
        return () if noop and node.version >= since else tuple(range(rank))
    return tuple(sorted(axis % rank for axis in axes))


@onnx_op("ReduceMean", versions=(1, 11, 13, 18))
def _reduce_mean(
    node: RawNode, *, axes: list[int] | None = None, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Data:
    """1 / sqrt(m) in l2, 1/m in l1, 1 in linf, over m entries"""
    chosen = _axes(node, axes, noop_with_empty_axes, 18)
    return average(node, node.data(), chosen, keep=bool(keepdims)) if chosen else node.data()


@onnx_op("ReduceSum", versions=(1, 11, 13))
def _reduce_sum(
    node: RawNode, *, axes: list[int] | None = None, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Data:
    """sqrt(m) in l2, 1 in l1, m in linf, over m entries"""
    chosen = _axes(node, axes, noop_with_empty_axes, 13)
    return average(node, node.data(), chosen, keep=bool(keepdims), divide=False) if chosen else node.data()


def _windowed(
    node: RawNode, axes: tuple[int, ...], keepdims: int, make: Callable[[torch.Tensor, Shape, Shape], Op]
) -> Data:
    """make(windows, shape of x, target): the op that turns each group of entries into one."""
    x = node.data()
    target = reduced(x.shape, axes, keep=bool(keepdims))
    return node.emit(make(windows_of(x.shape, axes), x.shape, target), x)


def _reduce_extremum(node: RawNode, axes: tuple[int, ...], keepdims: int, sign: float) -> Data:
    if not axes:
        return node.data()
    return _windowed(node, axes, keepdims, lambda windows, shape, target: WindowMax(windows, shape, target, sign))


@onnx_op("ReduceMax", versions=(1, 11, 12, 13, 18, 20))
def _reduce_max(
    node: RawNode, *, axes: list[int] | None = None, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Data:
    """1 in all norms"""
    return _reduce_extremum(node, _axes(node, axes, noop_with_empty_axes, 18), keepdims, 1.0)


@onnx_op("ReduceMin", versions=(1, 11, 12, 13, 18, 20))
def _reduce_min(
    node: RawNode, *, axes: list[int] | None = None, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Data:
    """1 in all norms"""
    return _reduce_extremum(node, _axes(node, axes, noop_with_empty_axes, 18), keepdims, -1.0)


@onnx_op("ReduceL1", versions=(1, 11, 13, 18))
def _reduce_l1(
    node: RawNode, *, axes: list[int] | None = None, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Data:
    """sqrt(m) in l2, 1 in l1, m in linf, over m entries: |x|, then a sum"""
    x = node.data()
    return _sum(node, node.emit(Elementwise(activations.absolute(), x.shape), x), axes, keepdims, noop_with_empty_axes)


@onnx_op("ReduceSumSquare", versions=(1, 11, 13, 18))
def _reduce_sum_square(
    node: RawNode, *, axes: list[int] | None = None, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Data:
    """max 2 |x|, then a sum: needs a domain"""
    x = node.data()
    return _sum(node, node.emit(Elementwise(functions.power(2.0), x.shape), x), axes, keepdims, noop_with_empty_axes)


def _sum(node: RawNode, x: Data, axes: list[int] | None, keepdims: int, noop: int) -> Data:
    chosen = _axes(node, axes, noop, 18)
    return average(node, x, chosen, keep=bool(keepdims), divide=False) if chosen else x


@onnx_op("ReduceLogSum", versions=(1, 11, 13, 18, 28))
def _reduce_log_sum(
    node: RawNode, *, axes: list[int] | None = None, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Data:
    """1 / min sum x: needs a domain above 0"""
    total = _sum(node, node.data(), axes, keepdims, noop_with_empty_axes)
    return node.emit(Elementwise(functions.logarithm(), total.shape), total)


@onnx_op("ReduceL2", versions=(1, 11, 13, 18))
def _reduce_l2(
    node: RawNode, *, axes: list[int] | None = None, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Data:
    """1 in l2 and l1, sqrt(m) in linf, over m entries"""
    chosen = _axes(node, axes, noop_with_empty_axes, 18)
    return _windowed(node, chosen, keepdims, lambda windows, shape, target: WindowNorm(windows, shape, target, 2.0))


@onnx_op("ReduceLogSumExp", versions=(1, 11, 13, 18, 28))
def _reduce_log_sum_exp(
    node: RawNode, *, axes: list[int] | None = None, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Data:
    """1 in all norms"""
    return _windowed(node, _axes(node, axes, noop_with_empty_axes, 18), keepdims, WindowLogSumExp)


@onnx_op("ReduceProd", versions=(1, 11, 13, 18))
def _reduce_prod(
    node: RawNode, *, axes: list[int] | None = None, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Data:
    """products of the other factors' ranges: needs a domain"""
    x, chosen = node.data(), _axes(node, axes, noop_with_empty_axes, 18)
    target = reduced(x.shape, chosen, keep=bool(keepdims))
    windows = windows_of(x.shape, chosen)
    if not windows.shape[1]:
        raise Unsupported("it multiplies no entries")
    factors = [node.affine(Selection.of(x.shape, column.reshape(target)), x) for column in windows.T]
    while len(factors) > 1:  # a balanced tree
        pairs = [node.emit(Multiply(target), a, b) for a, b in zip(factors[::2], factors[1::2], strict=False)]
        factors = pairs + factors[len(pairs) * 2 :]
    return factors[0]


def _softmax_shape(node: RawNode, axis: int | None) -> tuple[Shape, int]:
    """The shape to work in and the axis. Before revision 13 the input is made a matrix at `axis` (default 1)."""
    shape = node.data().shape
    if node.version >= 13:
        return shape, (-1 if axis is None else axis) % len(shape)
    cut = (1 if axis is None else axis) % max(1, len(shape))
    return (math.prod(shape[:cut]), math.prod(shape[cut:])), 1


@onnx_op("Softmax", versions=(1, 11, 13))
def _softmax(node: RawNode, *, axis: int | None = None) -> Data:
    """1/2 in all norms"""
    x, (shape, along) = node.data(), _softmax_shape(node, axis)
    keep = node.masks.get(x.number)
    softmax = Softmax(shape, along, None if keep is None else keep.reshape(shape))
    return node.reshape(node.emit(softmax, node.reshape(x, shape)), x.shape)


@onnx_op("LogSoftmax", versions=(1, 11, 13))
def _log_softmax(node: RawNode, *, axis: int | None = None) -> Data:
    """sqrt(n) in l2, n - 1 in l1, 2 in linf"""
    x, (shape, along) = node.data(), _softmax_shape(node, axis)
    return node.reshape(node.emit(LogSoftmax(shape, along), node.reshape(x, shape)), x.shape)
