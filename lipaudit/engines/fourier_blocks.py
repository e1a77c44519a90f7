"""Maps between values as blocks of a linear step: which channels of which cell read which."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch

from lipaudit.engines.fourier_program import Block
from lipaudit.engines.fourier_taps import Taps
from lipaudit.linear.map import Shape


@final
@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """A value of the state: an image of `channels` and `size`, q positions of it in a cell along every axis.

    A vector has no axes. It stands for 2^exponent of itself. clean: 0 outside its window, for certain.
    """

    channels: int
    size: Shape
    q: Shape
    exponent: int = 0
    clean: bool = True

    @property
    def width(self) -> int:
        return self.channels * math.prod(self.q)

    @property
    def entries(self) -> int:
        return self.channels * math.prod(self.size)

    def written_out(self) -> Value:
        """The vector of its entries."""
        return Value(self.entries, (), (), self.exponent)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """A map to a vector: weight, majorant [out, in channels, *size], |W - weight| <= eta majorant + loss."""

    weight: torch.Tensor
    majorant: torch.Tensor
    eta: float
    loss: float


Part = Taps | Matrix


@final
@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """What a linear step makes: a value, the sum of maps of values of the state."""

    value: Value
    parts: tuple[tuple[int, Part], ...]


def blocks_of(made: Value, value: Value, part: Part, shift: int) -> Iterator[tuple[Block, torch.Tensor]]:
    """The blocks of 2^shift times a map from `value` to `made`, each with the sum of its weights' majorants.

    Rows and columns count from the first of the two values. made: as it is on the lattice after the step.
    """
    return _of_matrix(value, part, shift) if isinstance(part, Matrix) else _of_taps(made, value, part, shift)


def _of_matrix(value: Value, part: Matrix, shift: int) -> Iterator[tuple[Block, torch.Tensor]]:
    """Every position of the source is a tap, at its cell."""
    weight, above = (_scaled(w, shift).reshape(*w.shape[:2], -1) for w in (part.weight, part.majorant))
    above = torch.maximum(above, weight.abs())
    if not value.size:
        none = torch.zeros(1, 0, dtype=torch.int64)
        yield Block(0, 0, weight.permute(2, 0, 1), none), above.sum(2)
        return
    places = torch.cartesian_prod(*map(torch.arange, value.size)).reshape(-1, len(value.size))
    q = torch.tensor(value.q)
    cells, phases = places.div(q, rounding_mode="floor"), places % q
    for number, phase in enumerate(itertools.product(*map(range, value.q))):
        taken = (phases == torch.tensor(phase)).all(1)
        if bool(taken.any()):
            column = number * value.channels
            yield Block(0, column, weight[..., taken].permute(2, 0, 1), cells[taken]), above[..., taken].sum(2)


def _of_taps(made: Value, value: Value, part: Taps, shift: int) -> Iterator[tuple[Block, torch.Tensor]]:
    """Phase r of cell m, position q m + r of the target, reads by tap a a position of the source: of what cell, and of
    what phase there, is the same for all m up to a shift."""
    groups: dict[tuple[int, int], list[tuple[int, Shape]]] = {}
    for row, position in enumerate(itertools.product(*map(range, made.q))):
        for tap, indices in enumerate(itertools.product(*map(range, part.kernel.shape[2:]))):
            read = _read(part, position, indices)
            if read is not None:
                split = [divmod(place, q) for place, q in zip(read, value.q, strict=True)]
                column = 0
                for (_, phase), q in zip(split, value.q, strict=True):
                    column = column * q + phase
                groups.setdefault((row, column), []).append((tap, tuple(cell for cell, _ in split)))
    kernel = _scaled(part.kernel.flatten(2), shift)
    for (row, column), members in groups.items():
        weight = kernel[..., [tap for tap, _ in members]].permute(2, 0, 1)
        shifts = torch.tensor([cells for _, cells in members], dtype=torch.int64)
        yield Block(row * made.channels, column * value.channels, weight, shifts), weight.abs().sum(0)


def _read(part: Taps, position: Shape, tap: Shape) -> Shape | None:
    """The position of the source that a tap reads for a position of the target, None for none."""
    places = []
    for i, (j, a) in enumerate(zip(position, tap, strict=True)):
        step = part.dilation[i] * a - part.offset[i]
        if not part.transposed:
            places.append(part.stride[i] * j + step)
        elif (j - step) % part.stride[i]:
            return None
        else:
            places.append((j - step) // part.stride[i])
    return tuple(places)


def everything(value: Value) -> Matrix:
    """The identity of all entries of a value."""
    eye = torch.eye(value.entries, dtype=torch.float64).reshape(value.entries, value.channels, *value.size)
    return Matrix(eye, eye, 0.0, 0.0)


def _scaled(x: torch.Tensor, exponent: int) -> torch.Tensor:
    """x 2^exponent, exact but for entries that leave the normal range (off by 2 TINY at most)."""
    if exponent == 0:
        return x
    half = exponent // 2
    return x * 2.0 ** max(half, -1022) * 2.0 ** max(exponent - half, -1022)
