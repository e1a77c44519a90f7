"""Ops that are not continuous: their rules are asked for an affine modulus (--modulus), and for nothing else."""

from __future__ import annotations

import math

import torch
from numpy import broadcast_shapes

from lipaudit.errors import Unsupported
from lipaudit.linear.map import Shape
from lipaudit.linear.pointwise import Diagonal
from lipaudit.linear.selection import NOTHING, Selection
from lipaudit.ops import activations, jumping
from lipaudit.ops.affine import Affine
from lipaudit.ops.elementwise import Elementwise
from lipaudit.ops.jumping import Choose, Look, Pick, Stair, Step, Winner, Zero
from lipaudit.ops.maxlike import PointwiseMax, stacking
from lipaudit.ops.onnx.arithmetic import operands, signed_sum
from lipaudit.ops.registry import Constant, Data, RawNode, Value, float32, onnx_op, registry, room

_MINUS = torch.tensor(-1.0, dtype=torch.float64)

_WHOLE = {2: (0, 255), 3: (-128, 127), 4: (0, 65535), 5: (-32768, 32767), 21: (0, 15), 22: (-8, 7)}
"""The range of the types that QuantizeLinear rounds to, by the protobuf's numbers."""


def _stair(node: RawNode, stair: Stair) -> Data:
    x = node.data()
    return x if node.kinds.get(x.number) == "int" and stair.rounds else node.emit(Step(stair, x.shape), x)


def _complement(node: RawNode, x: Data) -> Data:
    """1 - x."""
    return node.affine(Diagonal(_MINUS, x.shape), x, torch.ones(x.shape, dtype=torch.float64))


def _as_data(node: RawNode, value: Value, shape: Shape, like: Data) -> Data:
    """The value in that shape; a constant depends on `like` with the factor 0."""
    if isinstance(value, Data):
        return node.broadcast(value, shape)
    nothing = Selection.of(like.shape, torch.full(shape, NOTHING))
    return node.emit(Affine((nothing,), value.value.double().expand(shape).contiguous()), like)


@onnx_op("Floor", versions=(1, 6, 13), jumps=True)
def _floor(node: RawNode, *, consumed_inputs: list[int] | None = None) -> Data:
    """(1, 1 an entry)"""
    return _stair(node, jumping.FLOOR)


@onnx_op("Ceil", versions=(1, 6, 13), jumps=True)
def _ceil(node: RawNode, *, consumed_inputs: list[int] | None = None) -> Data:
    """(1, 1 an entry)"""
    return _stair(node, jumping.CEIL)


@onnx_op("Round", versions=(11, 22), jumps=True)
def _round(node: RawNode) -> Data:
    """(1, 1 an entry)"""
    return _stair(node, jumping.ROUND)


@onnx_op("Sign", versions=(9, 13), jumps=True)
def _sign(node: RawNode) -> Data:
    """(0, 2 an entry)"""
    return _stair(node, jumping.SIGN)


# ------------------------------------------------------------------------------------------- comparisons


def _difference(node: RawNode, sign: float, axis: int | None = None) -> Data:
    """sign (a - b); float64 gives its sign, and whether it is 0, exactly."""
    a, b, shape = operands(node, axis)
    return signed_sum(node, [(a, sign), (b, -sign)], shape)


@onnx_op("Greater", versions=(1, 7, 9, 13), jumps=True)
def _greater(node: RawNode, *, axis: int | None = None, broadcast: int = 0) -> Data:
    """(0, 1 an entry)"""
    x = _difference(node, 1.0, axis)
    return node.emit(Step(jumping.POSITIVE, x.shape), x)


@onnx_op("GreaterOrEqual", versions=(12, 16), jumps=True)
def _greater_or_equal(node: RawNode) -> Data:
    """(0, 1 an entry)"""
    x = _difference(node, 1.0)
    return node.emit(Step(jumping.NOT_NEGATIVE, x.shape), x)


@onnx_op("Less", versions=(1, 7, 9, 13), jumps=True)
def _less(node: RawNode, *, axis: int | None = None, broadcast: int = 0) -> Data:
    """(0, 1 an entry)"""
    x = _difference(node, -1.0, axis)
    return node.emit(Step(jumping.POSITIVE, x.shape), x)


@onnx_op("LessOrEqual", versions=(12, 16), jumps=True)
def _less_or_equal(node: RawNode) -> Data:
    """(0, 1 an entry)"""
    x = _difference(node, -1.0)
    return node.emit(Step(jumping.NOT_NEGATIVE, x.shape), x)


@onnx_op("Equal", versions=(1, 7, 11, 13, 19), jumps=True)
def _equal(node: RawNode, *, axis: int | None = None, broadcast: int = 0) -> Data:
    """(0, 1 an entry)"""
    x = _difference(node, 1.0, axis)
    return node.emit(Zero(x.shape), x)


@onnx_op("Not", versions=(1,), jumps=True)
def _not(node: RawNode) -> Data:
    """1, of a truth value"""
    return _complement(node, node.data())


def _extremum(node: RawNode, sign: float) -> Data:
    """Of truth values: the smallest is And, the largest Or."""
    a, b, shape = operands(node)
    like = a if isinstance(a, Data) else b
    assert isinstance(like, Data)
    both = [_as_data(node, value, shape, like) for value in (a, b)]
    return node.emit(PointwiseMax(shape, 2, sign), node.emit(stacking(2, shape), *both))


@onnx_op("And", versions=(1, 7), jumps=True)
def _and(node: RawNode, *, axis: int | None = None, broadcast: int = 0) -> Data:
    """1 jointly, of truth values"""
    return _extremum(node, -1.0)


@onnx_op("Or", versions=(1, 7), jumps=True)
def _or(node: RawNode, *, axis: int | None = None, broadcast: int = 0) -> Data:
    """1 jointly, of truth values"""
    return _extremum(node, 1.0)


@onnx_op("Xor", versions=(1, 7), jumps=True)
def _xor(node: RawNode, *, axis: int | None = None, broadcast: int = 0) -> Data:
    """1 for each, of truth values: |a - b|"""
    a, b, shape = operands(node)
    numbers = [Constant(v.value.double()) if isinstance(v, Constant) else v for v in (a, b)]
    x = signed_sum(node, [(numbers[0], 1.0), (numbers[1], -1.0)], shape)
    return node.emit(Elementwise(activations.absolute(), shape), x)


@onnx_op("Where", versions=(9, 16), jumps=True)
def _where(node: RawNode) -> Data:
    """1 for each choice; the jump is how far apart the choices may be"""
    condition = node.arg(0)
    if not isinstance(condition, Data):
        return _ordinary(node)
    a, b = node.args[1], node.args[2]
    assert a is not None
    assert b is not None
    shape = tuple(broadcast_shapes(condition.shape, a.shape, b.shape))
    room(*shape)
    choices = [_as_data(node, value, shape, condition) for value in (a, b)]
    return node.emit(Choose(shape), node.broadcast(condition, shape), *choices)


# ------------------------------------------------------------------------------------------- types


@onnx_op("Cast", versions=(1, 6, 9, 13, 19, 21, 23, 24, 25, 28), jumps=True)
def _cast(node: RawNode, *, to: int, saturate: int = 1, round_mode: str = "up") -> Data:
    """1 to a real type; (1, 1 an entry) to whole numbers; (0, 1 an entry) to truth values"""
    x = node.data()
    before = node.kinds.get(x.number, "real")
    if to == 9:
        if before == "bool":
            return x
        return _complement(node, node.emit(Zero(x.shape), x))
    if before == "real" and to in _INTEGERS:
        return node.emit(Step(jumping.TRUNCATE, x.shape), x)
    # a value of its own, since it is of another type than the one it comes from
    return x if before == "real" else node.affine(Selection.reshape(x.shape, x.shape), x)


_INTEGERS = (2, 3, 4, 5, 6, 7, 12, 13)


@onnx_op("QuantizeLinear", versions=(10, 13, 19, 21, 23, 24, 25, 28), jumps=True)
def _quantize(
    node: RawNode,
    *,
    axis: int = 1,
    saturate: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    precision: int = 0,
) -> Data:
    """(1 / scale, 1 an entry)"""
    x, scale = node.data(), node.constant(1, "scale").double()
    if output_dtype not in _WHOLE or block_size:
        raise Unsupported("it rounds to a type, or in blocks, that is not supported")
    zero = node.optional(2, "zero point")
    scale, zero = _by_axis(scale, x.shape, axis), _by_axis(_or_zero(zero), x.shape, axis)
    exact = bool((torch.frexp(scale).mantissa.abs() == 0.5).all())
    rounded = node.emit(Step(jumping.ROUND, x.shape), node.affine(Diagonal(1.0 / scale, x.shape, int(not exact)), x))
    moved = node.affine(Selection.reshape(x.shape, x.shape), rounded, zero.expand(x.shape).contiguous())
    low, high = (torch.tensor(float(end), dtype=torch.float64) for end in _WHOLE[output_dtype])
    return node.emit(Elementwise(activations.clip(low, high), x.shape), moved)


@onnx_op("DequantizeLinear", versions=(10, 13, 19, 21, 23, 24, 25, 28), jumps=True)
def _dequantize(node: RawNode, *, axis: int = 1, block_size: int = 0, output_dtype: int = 0) -> Data:
    """scale"""
    x, scale = node.data(), node.constant(1, "scale").double()
    if block_size:
        raise Unsupported("it scales in blocks, which is not supported")
    scale = _by_axis(scale, x.shape, axis)
    offset = (-scale * _by_axis(_or_zero(node.optional(2, "zero point")), x.shape, axis)).expand(x.shape).contiguous()
    return node.emit(Affine((Diagonal(scale, x.shape),), offset, offset.abs() * 2.0**-52), x)


def _or_zero(zero: torch.Tensor | None) -> torch.Tensor:
    return torch.zeros((), dtype=torch.float64) if zero is None else zero.double()


def _by_axis(values: torch.Tensor, shape: Shape, axis: int) -> torch.Tensor:
    if values.numel() == 1:
        return values.reshape(())
    place = axis % len(shape)
    return values.reshape(*[-1 if at == place else 1 for at in range(len(shape))])


# ------------------------------------------------------------------------------------------- indices


def _winner(node: RawNode, axis: int, keepdims: int, sign: float, last: int) -> Data:
    x = node.data()
    at = axis % len(x.shape)
    rest = (*x.shape[:at], *x.shape[at + 1 :])
    rows = node.pick(x, lambda places: places.movedim(at, -1).reshape(-1, x.shape[at]))
    found = node.emit(Winner(math.prod(rest), x.shape[at], sign, bool(last)), rows)
    return node.reshape(found, (*x.shape[:at], 1, *x.shape[at + 1 :]) if keepdims else rest)


@onnx_op("ArgMax", versions=(1, 11, 12, 13), jumps=True)
def _argmax(node: RawNode, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Data:
    """(0, how far apart the places are that may win)"""
    return _winner(node, axis, keepdims, 1.0, select_last_index)


@onnx_op("ArgMin", versions=(1, 11, 12, 13), jumps=True)
def _argmin(node: RawNode, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Data:
    """(0, how far apart the places are that may win)"""
    return _winner(node, axis, keepdims, -1.0, select_last_index)


@onnx_op("OneHot", versions=(9, 11), jumps=True)
def _one_hot(node: RawNode, *, axis: int = -1) -> Data:
    """(0, 1 for each place that may be the one or not, times how far on is from off)"""
    x, depth, values = node.data(), node.integers(1, "depth")[0], node.constant(2, "values").double().reshape(-1)
    room(*x.shape, depth)
    at = axis % (len(x.shape) + 1)
    shape = (*x.shape[:at], depth, *x.shape[at:])
    wide = node.pick(x, lambda places: places.unsqueeze(at).expand(shape))
    places = torch.arange(depth, dtype=torch.float64).reshape(*[-1 if n == at else 1 for n in range(len(shape))])
    found = []
    for turn in (0, 1):  # a place below 0 counts from the back
        offset = (-(places - turn * depth)).expand(shape).contiguous()
        moved = node.affine(Selection.reshape(shape, shape), wide, offset)
        found.append(node.emit(Zero(shape), moved))
    hit = signed_sum(node, [(part, 1.0) for part in found], shape)
    off, on = values[0], values[1]
    return node.affine(Diagonal(on - off, shape, 1), hit, off.expand(shape).contiguous())


@onnx_op("Gather", versions=(1, 11, 13), jumps=True)
def _gather(node: RawNode, *, axis: int = 0) -> Data:
    """(0, the spread of a constant table over the places that are possible)"""
    table, places = node.arg(0), node.arg(1)
    if not isinstance(places, Data):
        return _ordinary(node, axis=axis)
    if not isinstance(table, Constant) or axis % max(1, len(table.shape)) != 0:
        raise Unsupported("its indices depend on the input, and what they point into is no table of rows")
    room(*places.shape, *table.shape[1:])
    return node.emit(Look(table.value.double(), places.shape), places)


@onnx_op("GatherElements", versions=(11, 13), jumps=True)
def _gather_elements(node: RawNode, *, axis: int = 0) -> Data:
    """(sqrt(picks of a row) in l2, the spread of a row)"""
    x, places = node.arg(0), node.arg(1)
    if not isinstance(places, Data):
        return _ordinary(node, axis=axis)
    if not isinstance(x, Data):
        raise Unsupported("its indices depend on the input, and what they point into does not")
    at = axis % len(x.shape)
    rest = (*x.shape[:at], *x.shape[at + 1 :])
    if rest != (*places.shape[:at], *places.shape[at + 1 :]):
        raise Unsupported("its indices depend on the input and name a part of the rows only")
    size, count = x.shape[at], places.shape[at]
    rows = [node.pick(v, lambda p: p.movedim(at, -1).reshape(-1, p.shape[at])) for v in (x, places)]
    picked = node.emit(Pick(math.prod(rest), size, count), *rows)
    return node.pick(picked, lambda p: p.reshape(*rest, count).movedim(-1, at))


# ------------------------------------------------------------------------------------------- thresholds


@onnx_op("ThresholdedRelu", versions=(10, 22), jumps=True)
def _thresholded_relu(node: RawNode, *, alpha: float = 1.0) -> Data:
    """x where x > alpha, 0 elsewhere: the sum of max(x - alpha, 0) and a step of height alpha"""
    x, height = node.data(), float32(alpha)
    moved = node.affine(Selection.reshape(x.shape, x.shape), x, torch.full(x.shape, -height, dtype=torch.float64))
    step = node.emit(Step(jumping.POSITIVE, x.shape), moved)
    ramp = node.emit(Elementwise(activations.relu(), x.shape), moved)
    scale = Diagonal(torch.tensor(height, dtype=torch.float64), x.shape)
    return node.emit(Affine((Selection.reshape(x.shape, x.shape), scale)), ramp, step)


def _ordinary(node: RawNode, **attributes: int) -> Data:
    """What the op is where nothing of it jumps."""
    result = registry()[node.op].parser(node, **attributes)
    assert isinstance(result, Data)
    return result
