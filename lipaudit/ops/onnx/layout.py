"""Ops that pad or crop the border of a tensor, or trade depth for space."""

from __future__ import annotations

import math

import torch

from lipaudit.errors import Unsupported
from lipaudit.linear.selection import NOTHING, Selection
from lipaudit.ops.registry import Data, RawNode, onnx_op, room


@onnx_op("Pad", versions=(1, 2, 11, 13, 18, 19, 21, 23, 24, 25))
def _pad(
    node: RawNode,
    *,
    mode: str = "constant",
    pads: list[int] | None = None,
    paddings: list[int] | None = None,
    value: float = 0.0,
) -> Data:
    """1 for constants; sqrt(copies) in l2 where entries are repeated"""
    x = node.data()
    fill = value
    amounts = pads or paddings or []
    axes = list(range(len(x.shape)))
    if node.version >= 11:
        amounts = node.integers(1, "pads")
        constant = node.optional(2, "constant value")
        fill = 0.0 if constant is None else float(constant.reshape(()))
        if node.arg(3) is not None:
            axes = [axis % len(x.shape) for axis in node.integers(3, "axes")]
    if mode not in ("constant", "edge", "reflect", "wrap"):
        raise Unsupported(f"mode {mode!r} is not known")
    index = torch.arange(math.prod(x.shape)).reshape(x.shape)
    for place, axis in enumerate(axes):
        extra = amounts[place] + amounts[place + len(axes)]
        room(index.numel() // max(1, index.shape[axis]), max(0, index.shape[axis] + extra))
        index = _pad_axis(index, axis, amounts[place], amounts[place + len(axes)], mode)
    part = Selection.of(x.shape, index)
    offset = None
    if fill != 0.0 and mode == "constant":
        offset = torch.where(index == NOTHING, torch.tensor(fill, dtype=torch.float64), 0.0).double()
    return node.affine(part, x, offset)


def _pad_axis(index: torch.Tensor, axis: int, begin: int, end: int, mode: str) -> torch.Tensor:
    """Positions -begin .. size + end - 1 along one axis; negative amounts crop."""
    size = index.shape[axis]
    at = torch.arange(-begin, size + end)
    if mode == "edge":
        return index.index_select(axis, at.clamp(0, size - 1))
    if mode == "wrap":
        return index.index_select(axis, torch.remainder(at, size))
    if mode == "reflect":
        period = max(1, 2 * (size - 1))
        folded = torch.remainder(at, period)
        return index.index_select(axis, torch.where(folded < size, folded, period - folded))
    taken = index.index_select(axis, at.clamp(0, size - 1))
    shape = [1] * index.dim()
    shape[axis] = -1
    inside = ((at >= 0) & (at < size)).reshape(shape)
    return torch.where(inside, taken, torch.full_like(taken, NOTHING))


@onnx_op("DepthToSpace", versions=(1, 11, 13, 28))
def _depth_to_space(node: RawNode, *, blocksize: int, mode: str = "DCR") -> Data:
    """1"""
    x = node.data()
    n, c, h, w = x.shape
    b = blocksize
    if mode not in ("DCR", "CRD"):
        raise Unsupported(f"mode {mode!r} is not known")
    split = (n, b, b, c // b**2, h, w) if mode == "DCR" else (n, c // b**2, b, b, h, w)
    order = (0, 3, 4, 1, 5, 2) if mode == "DCR" else (0, 1, 4, 2, 5, 3)
    target = (n, c // b**2, h * b, w * b)
    return node.pick(x, lambda places: places.reshape(split).permute(order).reshape(target))


@onnx_op("SpaceToDepth", versions=(1, 13, 28))
def _space_to_depth(node: RawNode, *, blocksize: int, mode: str = "DCR") -> Data:
    """1"""
    x = node.data()
    n, c, h, w = x.shape
    b = blocksize
    order = {"DCR": (0, 3, 5, 1, 2, 4), "CRD": (0, 1, 3, 5, 2, 4)}
    if mode not in order:
        raise Unsupported(f"mode {mode!r} is not known")
    split, target = (n, c, h // b, b, w // b, b), (n, c * b * b, h // b, w // b)
    return node.pick(x, lambda places: places.reshape(split).permute(order[mode]).reshape(target))
