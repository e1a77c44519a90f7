"""Ops that move, repeat or drop entries."""

from __future__ import annotations

import math

import torch
from numpy import broadcast_shapes

from lipaudit.errors import Discontinuous, Unsupported
from lipaudit.linear.map import LinearMap
from lipaudit.linear.selection import NOTHING, Selection
from lipaudit.ops.affine import Affine
from lipaudit.ops.registry import Constant, Data, RawNode, onnx_op, room


@onnx_op("Identity", versions=(1, 13, 14, 16, 19, 21, 23, 24, 25))
def _identity(node: RawNode) -> Data:
    """1"""
    return node.data()


@onnx_op("Dropout", versions=(1, 6, 7, 10, 12, 13, 22))
def _dropout(
    node: RawNode,
    *,
    ratio: float = 0.5,
    is_test: int | None = None,
    seed: int | None = None,
    consumed_inputs: list[int] | None = None,
) -> Data:
    """1 (inference, or a ratio of 0)"""
    mode = node.optional(2, "training_mode")
    training = bool(mode.reshape(())) if mode is not None else node.version < 7 and not is_test
    if training and not _never_drops(node, ratio):
        raise Unsupported("it is in training mode, where its output is random")
    return node.data()


def _never_drops(node: RawNode, ratio: float) -> bool:
    """Whether the ratio, an argument from revision 12 on, is known to be 0."""
    given = node.arg(1)
    if node.version < 12 or given is None:
        return ratio == 0.0
    return isinstance(given, Constant) and not bool(given.value.any())


@onnx_op("Cast", versions=(1, 6, 9, 13, 19, 21, 23, 24, 25, 28))
def _cast(node: RawNode, *, to: int, saturate: int = 1, round_mode: str = "up") -> Data:
    """1 between real types, whose rounding is not part of the function; to integers it jumps"""
    if to not in _REAL_TYPES:
        raise Discontinuous("a cast to an integer or boolean type jumps: there is no finite Lipschitz constant")
    return node.data()


@onnx_op("CastLike", versions=(15, 19, 21, 23, 24, 25))
def _cast_like(node: RawNode, *, saturate: int = 1, round_mode: str = "up") -> Data:
    """1 between real types, whose rounding is not part of the function; to integers it jumps"""
    like = node.arg(1)
    if isinstance(like, Constant) and not like.real:
        raise Discontinuous("a cast to an integer or boolean type jumps: there is no finite Lipschitz constant")
    return node.data()


_REAL_TYPES = {1: "float32", 10: "float16", 11: "float64", 16: "bfloat16"}


@onnx_op("Flatten", versions=(1, 9, 11, 13, 21, 23, 24, 25))
def _flatten(node: RawNode, *, axis: int = 1) -> Data:
    """1"""
    x = node.data()
    cut = axis + len(x.shape) if axis < 0 else axis
    return node.reshape(x, (math.prod(x.shape[:cut]), math.prod(x.shape[cut:])))


@onnx_op("Reshape", versions=(1, 5, 13, 14, 19, 21, 23, 24, 25))
def _reshape(
    node: RawNode, *, allowzero: int = 0, shape: list[int] | None = None, consumed_inputs: list[int] | None = None
) -> Data:
    """1"""
    x = node.data()
    wanted = list(shape or []) if node.version < 5 else node.integers(1, "shape")
    if not allowzero:
        wanted = [x.shape[place] if n == 0 and place < len(x.shape) else n for place, n in enumerate(wanted)]
    if wanted.count(-1) == 1:
        known = math.prod(n for n in wanted if n != -1)
        if known == 0 or math.prod(x.shape) % known:
            raise Unsupported(f"{list(x.shape)} does not fit into {wanted}")
        wanted = [math.prod(x.shape) // known if n == -1 else n for n in wanted]
    if math.prod(wanted) != math.prod(x.shape) or min(wanted, default=1) < 0:
        raise Unsupported(f"{list(x.shape)} does not fit into {wanted} for one sample; see --shape")
    return node.reshape(x, wanted)


def _axes(node: RawNode, attribute: list[int] | None, since: int) -> list[int] | None:
    """The axes, an attribute before revision `since`, an argument from there on."""
    if node.version < since:
        return attribute
    return None if node.arg(1) is None else node.integers(1, "axes")


@onnx_op("Squeeze", versions=(1, 11, 13, 21, 23, 24, 25))
def _squeeze(node: RawNode, *, axes: list[int] | None = None) -> Data:
    """1"""
    x, chosen = node.data(), _axes(node, axes, 13)
    rank = len(x.shape)
    drop = {axis % rank for axis in (chosen if chosen is not None else [a for a, n in enumerate(x.shape) if n == 1])}
    if any(x.shape[axis] != 1 for axis in drop):
        raise Unsupported(f"an axis of {list(x.shape)} that is not 1 cannot be squeezed")
    return node.reshape(x, [n for axis, n in enumerate(x.shape) if axis not in drop])


@onnx_op("Unsqueeze", versions=(1, 11, 13, 21, 23, 24, 25))
def _unsqueeze(node: RawNode, *, axes: list[int] | None = None) -> Data:
    """1"""
    x, chosen = node.data(), _axes(node, axes, 13) or []
    rank = len(x.shape) + len(chosen)
    new = {axis % rank for axis in chosen}
    sizes = iter(x.shape)
    return node.reshape(x, [1 if axis in new else next(sizes) for axis in range(rank)])


@onnx_op("Transpose", versions=(1, 13, 21, 23, 24, 25))
def _transpose(node: RawNode, *, perm: list[int] | None = None) -> Data:
    """1"""
    x = node.data()
    order = perm or list(reversed(range(len(x.shape))))
    return node.pick(x, lambda places: places.permute(order))


@onnx_op("Concat", versions=(1, 4, 11, 13))
def _concat(node: RawNode, *, axis: int = 1) -> Data:
    """hypot in l2, sum in l1, max in linf of its parts; 1 for parts of one tensor"""
    shapes = [arg.shape for arg in node.args if arg is not None]
    rank = len(shapes[0])
    along = axis % rank
    target = list(shapes[0])
    target[along] = sum(shape[along] for shape in shapes)
    room(len(shapes), *target)  # a table of the size of the result for each part
    offset = torch.zeros(target, dtype=torch.float64)
    maps: list[LinearMap] = []
    data: list[Data] = []
    start = 0
    for arg, shape in zip((a for a in node.args if a is not None), shapes, strict=True):
        part = [slice(None)] * rank
        part[along] = slice(start, start + shape[along])
        start += shape[along]
        if isinstance(arg, Constant):
            offset[tuple(part)] = arg.value
        else:
            index = torch.full(target, NOTHING)
            index[tuple(part)] = torch.arange(math.prod(shape)).reshape(shape)
            maps.append(Selection.of(shape, index))
            data.append(arg)
    constant = offset if bool((offset != 0).any()) else None
    return node.emit(Affine(tuple(maps), constant), *data)


@onnx_op("Split", versions=(1, 2, 11, 13, 18))
def _split(
    node: RawNode, *, axis: int = 0, split: list[int] | None = None, num_outputs: int | None = None
) -> tuple[Data, ...]:
    """1 for all parts together"""
    x = node.data()
    along = axis % len(x.shape)
    sizes = split
    if node.arg(1) is not None:
        sizes = node.integers(1, "split")
    if sizes is None:
        parts = num_outputs or node.outputs
        each = -(-x.shape[along] // parts)
        sizes = [each] * (parts - 1) + [x.shape[along] - each * (parts - 1)]
    if sum(sizes) != x.shape[along] or min(sizes) < 0:
        raise Unsupported(f"the parts {sizes} do not make up {x.shape[along]}")
    places = torch.arange(math.prod(x.shape)).reshape(x.shape)
    return tuple(node.affine(Selection.of(x.shape, part), x) for part in torch.split(places, sizes, along))


@onnx_op("Slice", versions=(1, 10, 11, 13))
def _slice(
    node: RawNode, *, starts: list[int] | None = None, ends: list[int] | None = None, axes: list[int] | None = None
) -> Data:
    """1"""
    x = node.data()
    steps = None
    if node.version >= 10:
        starts, ends = node.integers(1, "starts"), node.integers(2, "ends")
        axes = None if node.arg(3) is None else node.integers(3, "axes")
        steps = None if node.arg(4) is None else node.integers(4, "steps")
    starts, ends = starts or [], ends or []
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps

    def select(places: torch.Tensor) -> torch.Tensor:
        for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
            kept = range(places.shape[axis])[slice(start, _end(end, step, places.shape[axis]), step)]
            places = places.index_select(axis, torch.tensor(list(kept), dtype=torch.int64))
        return places

    return node.pick(x, select)


def _end(end: int, step: int, size: int) -> int | None:
    """ONNX clamps an end below the first entry to -1 for a negative step, where python would count from the back."""
    return None if step < 0 and (end <= -size - 1) else end


@onnx_op("Expand", versions=(8, 13))
def _expand(node: RawNode) -> Data:
    """sqrt(copies) in l2, copies in l1, 1 in linf"""
    x = node.data()
    return node.broadcast(x, broadcast_shapes(x.shape, tuple(node.integers(1, "shape"))))


@onnx_op("Tile", versions=(1, 6, 13))
def _tile(node: RawNode) -> Data:
    """sqrt(copies) in l2, copies in l1, 1 in linf"""
    x, repeats = node.data(), node.integers(1, "repeats")
    if node.version < 6:  # the first revision repeats along one axis
        (times,), (axis,) = repeats, node.integers(2, "axis")
        repeats = [times if place == axis % len(x.shape) else 1 for place in range(len(x.shape))]
    room(math.prod(x.shape), *repeats)
    return node.pick(x, lambda places: places.repeat(repeats))
