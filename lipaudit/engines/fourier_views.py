"""How the graph's tensors look at the values of a lattice's state."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import final

import torch

from lipaudit.engines.fourier_blocks import Value
from lipaudit.engines.fourier_taps import Order
from lipaudit.linear.map import Shape
from lipaudit.linear.selection import NOTHING
from lipaudit.ops.maxlike import WindowMax


@final
@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A tensor of the graph: entry i, of shape `shape`, is entry order[i] (i itself for None) of a value's image."""

    value: int
    shape: Shape
    order: torch.Tensor | None = None

    def moved(self, move: Order) -> View:
        """The same entries in another order."""
        if move.index is None:
            return replace(self, shape=move.shape)
        return View(self.value, move.shape, move.index if self.order is None else self.order[move.index])

    def columns(self, value: Value, matrix: torch.Tensor) -> torch.Tensor:
        """[.., entries of the tensor] -> [.., channels, *size]."""
        if self.order is not None:
            matrix = torch.empty_like(matrix).index_copy_(-1, self.order, matrix)
        return matrix.reshape(*matrix.shape[:-1], value.channels, *value.size)

    def is_image(self, value: Value) -> bool:
        """Whether the tensor is the image itself, with one axis in front."""
        return bool(value.size) and self.order is None and self.shape == (1, value.channels, *value.size)


def image(shape: Shape) -> Value:
    """A tensor as an image where it has axes behind one sample and its channels, else as a vector."""
    if len(shape) > 2 and shape[0] == 1 and 0 not in shape:
        return Value(shape[1], tuple(shape[2:]), (1,) * (len(shape) - 2))
    return Value(math.prod(shape), (), ())


def by_channel(op: WindowMax) -> bool:
    """Whether every output reads entries of its own channel alone. Both are images."""
    if op.source[1] != op.target[1]:
        return False
    own = torch.arange(math.prod(op.target)) // math.prod(op.target[2:])
    read = op.windows // math.prod(op.source[2:])
    return bool(((read == own[:, None]) | (op.windows == NOTHING)).all())


def same_order(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    """Whether two views' orders are one."""
    if one is None or other is None:
        return one is other
    return torch.equal(one, other)
