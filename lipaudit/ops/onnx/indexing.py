"""Ops that read or write entries at constant places: Gather..., Scatter..., Where, Trilu, TopK."""

from __future__ import annotations

import math

import torch
from numpy import broadcast_shapes

from lipaudit.errors import Unsupported
from lipaudit.linear.map import Adjoint, LinearMap, Shape
from lipaudit.linear.selection import NOTHING, Selection
from lipaudit.ops.affine import Affine
from lipaudit.ops.onnx.grouping import group, ungroup
from lipaudit.ops.registry import Constant, Data, RawNode, Value, onnx_op, room
from lipaudit.ops.sorting import Largest


@onnx_op("Gather", versions=(1, 11, 13))
def _gather(node: RawNode, *, axis: int = 0) -> Data:
    """sqrt(copies) in l2, copies in l1, 1 in linf"""
    x, index = node.data(), node.constant(1, "index")
    along = axis % len(x.shape)
    room(*x.shape[:along], *index.shape, *x.shape[along + 1 :])
    flat = _wrapped(index.reshape(-1), x.shape[along])

    def select(places: torch.Tensor) -> torch.Tensor:
        taken = places.index_select(along, flat)
        return taken.reshape((*x.shape[:along], *index.shape, *x.shape[along + 1 :]))

    return node.pick(x, select)


def _wrapped(index: torch.Tensor, size: int) -> torch.Tensor:
    """Negative places counted from the end. Raises Unsupported for one that lies outside."""
    if index.numel() and not (int(index.min()) >= -size and int(index.max()) < size):
        raise Unsupported(f"an index lies outside [-{size}, {size})")
    return torch.remainder(index, size) if size else index


@onnx_op("GatherElements", versions=(11, 13))
def _gather_elements(node: RawNode, *, axis: int = 0) -> Data:
    """sqrt(copies) in l2, copies in l1, 1 in linf"""
    x, index = node.data(), node.constant(1, "index")
    along = axis % len(x.shape)
    chosen = _wrapped(index, x.shape[along])
    return node.pick(x, lambda places: places[_crop(places, chosen, along)].gather(along, chosen))


def _crop(places: torch.Tensor, index: torch.Tensor, along: int) -> tuple[slice, ...]:
    """The part of the input that an index of these sizes reads: all of it along the axis."""
    return tuple(slice(None) if axis == along else slice(0, index.shape[axis]) for axis in range(places.dim()))


@onnx_op("GatherND", versions=(11, 12, 13))
def _gather_nd(node: RawNode, *, batch_dims: int = 0) -> Data:
    """sqrt(copies) in l2, copies in l1, 1 in linf"""
    x, index = node.data(), node.constant(1, "index")
    places = torch.arange(math.prod(x.shape)).reshape(x.shape)
    lead = x.shape[:batch_dims]
    depth = index.shape[-1]
    if tuple(index.shape[:batch_dims]) != lead or not 1 <= depth <= len(x.shape) - batch_dims:
        raise Unsupported(f"an index of shape {list(index.shape)} does not fit {list(x.shape)}")
    rows = places.reshape(-1, *x.shape[batch_dims:])
    tables = index.reshape(len(rows), -1, depth)
    taken = torch.stack([row[_coordinates(table, row)] for row, table in zip(rows, tables, strict=True)])
    target = (*index.shape[:-1], *x.shape[batch_dims + depth :])
    return node.affine(Selection.of(x.shape, taken.reshape(target)), x)


def _coordinates(table: torch.Tensor, row: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return tuple(_wrapped(column, row.shape[axis]) for axis, column in enumerate(table.T))


@onnx_op("ScatterND", versions=(11, 13, 16, 18))
def _scatter_nd(node: RawNode, *, reduction: str = "none") -> Data:
    """1 for entries replaced; sqrt(writes) in l2 for entries added up"""
    base, index = _argument(node, 0, "data"), node.constant(1, "index")
    places = torch.arange(math.prod(base.shape)).reshape(base.shape)
    depth = index.shape[-1]
    if not 1 <= depth <= len(base.shape):
        raise Unsupported(f"an index of shape {list(index.shape)} does not fit {list(base.shape)}")
    written = places[_coordinates(index.reshape(-1, depth), places)]
    return _scattered(node, base, _argument(node, 2, "updates"), written.reshape(-1), reduction)


@onnx_op("ScatterElements", versions=(11, 13, 16, 18))
def _scatter_elements(node: RawNode, *, axis: int = 0, reduction: str = "none") -> Data:
    """1 for entries replaced; sqrt(writes) in l2 for entries added up"""
    return _written_elements(node, axis, reduction)


@onnx_op("Scatter", versions=(9, 11))
def _scatter(node: RawNode, *, axis: int = 0) -> Data:
    """1 for entries replaced"""
    return _written_elements(node, axis, "none")


def _written_elements(node: RawNode, axis: int, reduction: str) -> Data:
    base, index = _argument(node, 0, "data"), node.constant(1, "index")
    along = axis % len(base.shape)
    chosen = _wrapped(index, base.shape[along])
    places = torch.arange(math.prod(base.shape)).reshape(base.shape)
    written = places[_crop(places, chosen, along)].gather(along, chosen)
    return _scattered(node, base, _argument(node, 2, "updates"), written.reshape(-1), reduction)


def _argument(node: RawNode, place: int, what: str) -> Value:
    value = node.arg(place)
    if value is None:
        raise Unsupported(f"its {what} is missing")
    return value


def _scattered(node: RawNode, base: Value, updates: Value, written: torch.Tensor, reduction: str) -> Data:
    """base with updates (flat, in order) written to the flat places `written`, or added there."""
    if reduction not in ("none", "add"):
        raise Unsupported(f"reduction={reduction!r} is not supported")
    if math.prod(updates.shape) != len(written):
        raise Unsupported(f"updates of shape {list(updates.shape)} do not fit its index")
    if reduction == "none" and len(set(written.tolist())) != len(written):
        raise Unsupported("it writes one entry twice, and which write remains is not defined")
    kept = torch.arange(math.prod(base.shape))
    if reduction == "none":
        kept[written] = NOTHING
    there = Selection.of(base.shape, kept.reshape(base.shape))
    # reading the written places, turned round: what is written twice is added up
    moved = Adjoint(Selection.of(base.shape, written.reshape(updates.shape)))
    if reduction == "none":
        source = torch.full((math.prod(base.shape),), NOTHING)
        source[written] = torch.arange(len(written))
        return _joined(node, [(base, there), (updates, Selection.of(updates.shape, source.reshape(base.shape)))])
    return _joined(node, [(base, there), (updates, moved)])


def _joined(node: RawNode, parts: list[tuple[Value, LinearMap]]) -> Data:
    """The sum of maps of values, of which the constant ones make the offset."""
    maps = [part for value, part in parts if isinstance(value, Data)]
    data = [value for value, _ in parts if isinstance(value, Data)]
    constants = [(value.value.double(), part) for value, part in parts if isinstance(value, Constant)]
    offset = error = None
    for value, part in constants:
        moved = part.apply(value.unsqueeze(0))[0]
        size = part.majorant().apply(value.abs().unsqueeze(0))[0] * (2.0**-52 * max(1, part.roundings))
        error = size if part.roundings else None
        offset = moved if offset is None else offset + moved
    return node.emit(Affine(tuple(maps), offset, error), *data)


@onnx_op("Where", versions=(9, 16))
def _where(node: RawNode) -> Data:
    """1 for each choice of a constant condition; a condition that depends on the input jumps"""
    condition = node.constant(0, "condition")
    a, b = _argument(node, 1, "first choice"), _argument(node, 2, "second choice")
    shape: Shape = tuple(broadcast_shapes(condition.shape, a.shape, b.shape))
    room(*shape)
    chosen = (condition != 0).expand(shape)
    return _joined(node, [(a, _masked(a.shape, chosen)), (b, _masked(b.shape, ~chosen))])


def _masked(source: Shape, kept: torch.Tensor) -> Selection:
    """x broadcast to the shape of the mask, 0 where it is false."""
    places = torch.arange(math.prod(source)).reshape(source).expand(kept.shape)
    return Selection.of(source, torch.where(kept, places, torch.full_like(places, NOTHING)))


@onnx_op("Trilu", versions=(14,))
def _trilu(node: RawNode, *, upper: int = 1) -> Data:
    """1"""
    x = node.data()
    k = 0 if node.arg(1) is None else node.integers(1, "k")[0]
    ones = torch.ones(x.shape[-2:], dtype=torch.bool)
    kept = torch.triu(ones, k) if upper else torch.tril(ones, k)
    return node.affine(_masked(x.shape, kept.expand(x.shape)), x)


@onnx_op("ReverseSequence", versions=(10, 28))
def _reverse_sequence(node: RawNode, *, batch_axis: int = 1, time_axis: int = 0) -> Data:
    """1"""
    x, lengths = node.data(), node.integers(1, "sequence_lens")
    batch, time = batch_axis % len(x.shape), time_axis % len(x.shape)
    if {batch, time} != {0, 1} or len(lengths) != x.shape[batch] or not all(0 <= n <= x.shape[time] for n in lengths):
        raise Unsupported(f"lengths {lengths} do not fit {list(x.shape)}")

    def reverse(places: torch.Tensor) -> torch.Tensor:
        turned = places.movedim(batch, 0).clone()  # time is now the first axis of each row
        for row, n in zip(turned, lengths, strict=True):
            row[:n] = row[:n].flip(0).clone()
        return turned.movedim(0, batch)

    return node.pick(x, reverse)


@onnx_op("Compress", versions=(9, 11, 28))
def _compress(node: RawNode, *, axis: int | None = None) -> Data:
    """1"""
    x, kept = node.data(), node.constant(1, "condition").reshape(-1)
    at = (kept != 0).nonzero().reshape(-1)
    return node.pick(x, lambda p: p.reshape(-1)[at] if axis is None else p.index_select(axis % len(x.shape), at))


@onnx_op("TopK", versions=(1, 10, 11, 24))
def _top_k(node: RawNode, *, axis: int = -1, k: int | None = None, largest: int = 1, sorted: int = 1) -> Data:
    """1 in all norms for the values; the indices jump"""
    x = node.data()
    if node.needed > 1:
        raise Unsupported("its indices are used, which jump")
    if not sorted:
        raise Unsupported("sorted=0 leaves the order of its values undefined")
    count = k if node.version < 10 else node.integers(1, "k")[0]
    along = (axis % len(x.shape),)
    rows = group(node, x, along)
    if count is None or not 0 <= count <= rows.shape[1]:
        raise Unsupported(f"k = {count} does not fit {rows.shape[1]} entries")
    top = node.emit(Largest(rows.shape[0], rows.shape[1], count, 1.0 if largest else -1.0), rows)
    target = tuple(count if place in along else n for place, n in enumerate(x.shape))
    return ungroup(node, top, target, along)
