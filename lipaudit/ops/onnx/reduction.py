"""Reductions over axes, softmax and the normalisations."""

from __future__ import annotations

import math

import torch

from lipaudit.errors import Unsupported
from lipaudit.linear.map import Shape
from lipaudit.linear.pointwise import Diagonal
from lipaudit.ops.maxlike import WindowMax
from lipaudit.ops.onnx.linear import average
from lipaudit.ops.registry import Data, RawNode, float32, onnx_op
from lipaudit.ops.smooth import LogSoftmax, Normalise, Softmax


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


def _reduce_extremum(node: RawNode, axes: tuple[int, ...], keepdims: int, sign: float) -> Data:
    x = node.data()
    if not axes:
        return x
    kept = tuple(1 if axis in axes else n for axis, n in enumerate(x.shape))
    places = torch.arange(math.prod(x.shape)).reshape(x.shape)
    rest = [axis for axis in range(len(x.shape)) if axis not in axes]
    windows = places.permute(*rest, *axes).reshape(math.prod(kept), -1)
    target: Shape = kept if keepdims else tuple(x.shape[axis] for axis in rest)
    return node.emit(WindowMax(windows, x.shape, target, sign), x)


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


def _softmax_shape(node: RawNode, axis: int | None) -> tuple[Shape, int]:
    """The shape to work in and the axis. Before revision 13 the input is flattened to a matrix at `axis` (default 1)."""
    shape = node.data().shape
    if node.version >= 13:
        return shape, (-1 if axis is None else axis) % len(shape)
    cut = (1 if axis is None else axis) % max(1, len(shape))
    return (math.prod(shape[:cut]), math.prod(shape[cut:])), 1


@onnx_op("Softmax", versions=(1, 11, 13))
def _softmax(node: RawNode, *, axis: int | None = None) -> Data:
    """1/2 in all norms"""
    x, (shape, along) = node.data(), _softmax_shape(node, axis)
    return node.reshape(node.emit(Softmax(shape, along), node.reshape(x, shape)), x.shape)


@onnx_op("LogSoftmax", versions=(1, 11, 13))
def _log_softmax(node: RawNode, *, axis: int | None = None) -> Data:
    """sqrt(n) in l2, n - 1 in l1, 2 in linf"""
    x, (shape, along) = node.data(), _softmax_shape(node, axis)
    return node.reshape(node.emit(LogSoftmax(shape, along), node.reshape(x, shape)), x.shape)


@onnx_op("LayerNormalization", versions=(17,))
def _layer_normalization(
    node: RawNode, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Data:
    """max |scale| / min sqrt(var + epsilon)"""
    if node.outputs > 1:
        raise Unsupported("its mean and deviation are outputs, which is not supported")
    x, scale, bias = node.data(), node.constant(1, "scale"), node.optional(2, "bias")
    cut = axis % len(x.shape)
    grouped = (math.prod(x.shape[:cut]), math.prod(x.shape[cut:]))
    return normalised(node, x, grouped, epsilon, scale, bias)


def normalised(
    node: RawNode, x: Data, grouped: Shape, epsilon: float, scale: torch.Tensor, bias: torch.Tensor | None
) -> Data:
    """Normalise over the rows of x seen as `grouped`, then scale and shift (broadcast to the shape of x)."""
    if not float32(epsilon) > 0:
        raise Unsupported("epsilon is 0: the constant is infinite at constant inputs")
    y = node.emit(Normalise(grouped[0], grouped[1], float32(epsilon)), node.reshape(x, grouped))
    offset = None if bias is None else bias.expand(x.shape).contiguous()
    return node.affine(Diagonal(scale, x.shape), node.reshape(y, x.shape), offset)


@onnx_op("InstanceNormalization", versions=(1, 6, 22))
def _instance_normalization(
    node: RawNode, *, epsilon: float = 1e-5, consumed_inputs: list[int] | None = None
) -> Data:
    """max |scale| / min sqrt(var + epsilon), over each channel"""
    x, scale, bias = node.data(), node.constant(1, "scale"), node.constant(2, "bias")
    channel = (1, -1, *[1] * (len(x.shape) - 2))
    grouped = (x.shape[0] * x.shape[1], math.prod(x.shape[2:]))
    return normalised(node, x, grouped, epsilon, scale.reshape(channel), bias.reshape(channel))
