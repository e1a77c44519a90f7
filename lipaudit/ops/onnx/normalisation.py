"""Layer, instance, group, RMS, Lp, mean-variance and local response normalisation."""

from __future__ import annotations

import math

import torch

from lipaudit.errors import Unsupported
from lipaudit.linear.map import Shape
from lipaudit.linear.pointwise import Diagonal
from lipaudit.linear.selection import Selection
from lipaudit.ops import functions
from lipaudit.ops.affine import Affine
from lipaudit.ops.elementwise import Elementwise
from lipaudit.ops.onnx.grouping import group, ungroup
from lipaudit.ops.onnx.linear import average
from lipaudit.ops.op import Op
from lipaudit.ops.registry import Data, RawNode, float32, onnx_op
from lipaudit.ops.scaled import LocalResponse, RootMeanSquare, UnitVector
from lipaudit.ops.smooth import Normalise


def _normalised(
    node: RawNode, x: Data, axes: tuple[int, ...], op: type[Normalise] | type[RootMeanSquare], epsilon: float
) -> Data:
    """Normalise (or RootMeanSquare) over the axes of x, in the shape of x."""
    if not float32(epsilon) > 0:
        raise Unsupported("epsilon is 0: the constant is infinite at constant inputs")
    rows = group(node, x, axes)
    return ungroup(node, node.emit(op(rows.shape[0], rows.shape[1], float32(epsilon)), rows), x.shape, axes)


def _scaled(node: RawNode, y: Data, scale: torch.Tensor, bias: torch.Tensor | None) -> Data:
    offset = None if bias is None else bias.expand(y.shape).contiguous()
    return node.affine(Diagonal(scale, y.shape), y, offset)


@onnx_op("LayerNormalization", versions=(17,))
def _layer_normalization(
    node: RawNode, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> tuple[Data, ...]:
    """max |scale| / min sqrt(var + epsilon)"""
    x, scale, bias = node.data(), node.constant(1, "scale"), node.optional(2, "bias")
    axes = tuple(range(axis % len(x.shape), len(x.shape)))
    y = _scaled(node, _normalised(node, x, axes, Normalise, epsilon), scale, bias)
    if node.needed == 1:
        return (y,)
    mean = average(node, x, axes, keep=True)
    if node.needed == 2:
        return y, mean
    return y, mean, _inverse_deviation(node, x, mean, axes, epsilon)


def _inverse_deviation(node: RawNode, x: Data, mean: Data, axes: tuple[int, ...], epsilon: float) -> Data:
    """1 / sqrt(var + epsilon), by its parts."""
    minus = Diagonal(torch.tensor(-1.0, dtype=torch.float64), x.shape)
    same = Selection.reshape(x.shape, x.shape)
    centred = node.emit(Affine((same, minus)), x, node.broadcast(mean, x.shape))
    square = node.emit(Elementwise(functions.power(2.0), x.shape), centred)
    variance = average(node, square, axes, keep=True)
    offset = torch.full(variance.shape, float32(epsilon), dtype=torch.float64)
    shifted = node.affine(Selection.reshape(variance.shape, variance.shape), variance, offset)
    return node.emit(Elementwise(functions.power(-0.5), variance.shape), shifted)


@onnx_op("RMSNormalization", versions=(23,))
def _rms_normalization(node: RawNode, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1) -> Data:
    """max |scale| / min sqrt(mean square + epsilon)"""
    x, scale = node.data(), node.constant(1, "scale")
    axes = tuple(range(axis % len(x.shape), len(x.shape)))
    return _scaled(node, _normalised(node, x, axes, RootMeanSquare, epsilon), scale, None)


def _per_channel(x: Shape) -> Shape:
    return (1, -1, *[1] * (len(x) - 2))


@onnx_op("InstanceNormalization", versions=(1, 6, 22))
def _instance_normalization(node: RawNode, *, epsilon: float = 1e-5, consumed_inputs: list[int] | None = None) -> Data:
    """max |scale| / min sqrt(var + epsilon), over each channel"""
    x, scale, bias = node.data(), node.constant(1, "scale"), node.constant(2, "bias")
    if len(x.shape) < 3:
        raise Unsupported(f"its input {list(x.shape)} has no axis behind the channels to normalise over")
    y = _normalised(node, x, tuple(range(2, len(x.shape))), Normalise, epsilon)
    channel = _per_channel(x.shape)
    return _scaled(node, y, scale.reshape(channel), bias.reshape(channel))


@onnx_op("GroupNormalization", versions=(18, 21))
def _group_normalization(node: RawNode, *, num_groups: int, epsilon: float = 1e-5, stash_type: int = 1) -> Data:
    """max |scale| / min sqrt(var + epsilon), over each group of channels"""
    x, scale, bias = node.data(), node.constant(1, "scale"), node.constant(2, "bias")
    n, channels, *rest = x.shape
    if num_groups < 1 or channels % num_groups:
        raise Unsupported(f"{channels} channels are not made of {num_groups} groups")
    if node.version < 21:  # one number a group, where later revisions have one a channel
        if scale.numel() != num_groups or bias.numel() != num_groups:
            raise Unsupported(f"revision 18 has one scale and bias a group, here {scale.numel()} for {num_groups}")
        scale, bias = (part.repeat_interleave(channels // num_groups) for part in (scale, bias))
    split = node.reshape(x, (n, num_groups, channels // num_groups * math.prod(rest)))
    y = node.reshape(_normalised(node, split, (2,), Normalise, epsilon), x.shape)
    channel = _per_channel(x.shape)
    return _scaled(node, y, scale.reshape(channel), bias.reshape(channel))


@onnx_op("LpNormalization", versions=(1, 22))
def _lp_normalization(node: RawNode, *, axis: int = -1, p: int = 2) -> Data:
    """1 / min |x|_2 (2 / min |x|_1 in l1): needs a domain away from 0"""
    if p not in (1, 2):
        raise Unsupported(f"p = {p} is not 1 or 2")
    x = node.data()
    return _rowwise(node, x, (axis % len(x.shape),), UnitVector, p)


def _rowwise(node: RawNode, x: Data, axes: tuple[int, ...], op: type[UnitVector], *arguments: int | float) -> Data:
    rows = group(node, x, axes)
    made: Op = op(rows.shape[0], rows.shape[1], *arguments)  # type: ignore[arg-type]
    return ungroup(node, node.emit(made, rows), x.shape, axes)


@onnx_op("MeanVarianceNormalization", versions=(9, 13))
def _mean_variance_normalization(node: RawNode, *, axes: list[int] | None = None) -> Data:
    """1 / (min deviation + 1e-9): the standard's own definition adds 1e-9 to the deviation"""
    x = node.data()
    chosen = tuple(sorted(axis % len(x.shape) for axis in ([0, 2, 3] if axes is None else axes)))
    rows = group(node, x, chosen)
    count, size = rows.shape
    mean = average(node, rows, (1,), keep=True)
    minus = Diagonal(torch.tensor(-1.0, dtype=torch.float64), rows.shape)
    same = Selection.reshape(rows.shape, rows.shape)
    centred = node.emit(Affine((same, minus)), rows, node.broadcast(mean, rows.shape))
    # z / (|z| / sqrt(d) + e) = sqrt(d) z / (|z| + sqrt(d) e)
    root = math.sqrt(size)
    unit = node.emit(UnitVector(count, size, 2, root * float32(1e-9), True), centred)
    y = node.affine(Diagonal(torch.tensor(root, dtype=torch.float64), rows.shape, 1), unit)
    return ungroup(node, y, x.shape, chosen)


@onnx_op("LRN", versions=(1, 13))
def _local_response(node: RawNode, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0) -> Data:
    """bias^-beta (1 + 2 beta sqrt(size)) in linf, (1 + beta (size + 1)) in l1, the root of both in l2"""
    x = node.data()
    a, b, c = float32(alpha), float32(beta), float32(bias)
    if not (a >= 0 and b >= 0 and c > 0):
        raise Unsupported(f"alpha {a:g}, beta {b:g}, bias {c:g}: its denominator may be 0")
    shape = (x.shape[0], x.shape[1], math.prod(x.shape[2:]))
    return node.reshape(node.emit(LocalResponse(shape, size, a, b, c), node.reshape(x, shape)), x.shape)
