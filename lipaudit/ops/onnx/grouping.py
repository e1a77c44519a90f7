"""A tensor seen as rows of the entries that belong together along some axes."""

from __future__ import annotations

import math

import torch

from lipaudit.linear.map import Shape
from lipaudit.ops.registry import Data, RawNode


def windows_of(shape: Shape, axes: tuple[int, ...]) -> torch.Tensor:
    """Flat indices [groups, members]: the entries that share their place on the other axes."""
    rest = [axis for axis in range(len(shape)) if axis not in axes]
    members = math.prod(shape[axis] for axis in axes)
    places = torch.arange(math.prod(shape)).reshape(shape)
    return places.permute(*rest, *axes).reshape(math.prod(shape) // max(1, members), members)


def reduced(shape: Shape, axes: tuple[int, ...], *, keep: bool) -> Shape:
    """The shape after a reduction over axes."""
    if keep:
        return tuple(1 if axis in axes else n for axis, n in enumerate(shape))
    return tuple(n for axis, n in enumerate(shape) if axis not in axes)


def group(node: RawNode, x: Data, axes: tuple[int, ...]) -> Data:
    """x as [groups, members]; a mere reshape where the axes are the last ones."""
    return node.pick(x, lambda places: windows_of(tuple(places.shape), axes))


def ungroup(node: RawNode, rows: Data, shape: Shape, axes: tuple[int, ...]) -> Data:
    """The inverse of `group`."""
    back = torch.empty(math.prod(shape), dtype=torch.int64)
    windows = windows_of(shape, axes).reshape(-1)
    back[windows] = torch.arange(len(windows))
    return node.pick(rows, lambda places: places.reshape(-1)[back].reshape(shape))
