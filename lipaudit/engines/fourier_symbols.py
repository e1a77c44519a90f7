"""Frequencies of a lattice, symbols of linear steps on them, and what coarsening does to a symbol.

D^(w) = sum_m D[m] e^{-i w.m}. A step D+[m] = sum_t K_t D[m + shift_t] is D+^(w) = (sum_t K_t e^{i w.shift_t}) D^(w).
A step to a lattice with f times fewer cells, D+[m] = sum_t K_t D[f m + shift_t], takes the block-circulant Y with
symbols Y^(w) to the one with symbols  Y+^(w') = mean over the w with f w = w' of T(w) Y^(w) T(w)^*.

Everything is real in space, so the symbol at -w is the conjugate of the one at w: only half of the frequencies are
kept, the rest is defined by that.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import final

import torch

from lipaudit.engines.fourier_program import Linear
from lipaudit.linear.map import Shape


@final
@dataclass(frozen=True, slots=True, eq=False)
class Half:
    """Half of the frequencies 2 pi index / cells: int64 [F, axes]; weight: how many of all each stands for, [F]."""

    cells: Shape
    index: torch.Tensor
    weight: torch.Tensor

    def __len__(self) -> int:
        return len(self.index)

    def places(self, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Where frequencies (of any whole numbers) are in this half, and whether as the conjugate."""
        cells = torch.tensor(self.cells)
        index = index % cells
        turned = index[..., -1] > self.cells[-1] // 2
        index = torch.where(turned[..., None], (-index) % cells, index)
        kept = (*self.cells[:-1], self.cells[-1] // 2 + 1)
        place = torch.zeros(index.shape[:-1], dtype=torch.int64)
        for axis, n in enumerate(kept):
            place = place * n + index[..., axis]
        return place, turned


@lru_cache(maxsize=64)
def half(cells: Shape) -> Half:
    """The frequencies of a lattice; a single real one for a lattice of one cell without axes."""
    if not cells:
        return Half(cells, torch.zeros(1, 0, dtype=torch.int64), torch.ones(1, dtype=torch.float64))
    kept = (*cells[:-1], cells[-1] // 2 + 1)
    index = torch.cartesian_prod(*map(torch.arange, kept)).reshape(-1, len(cells))
    last = index[:, -1]
    own = (last == 0) | (2 * last == cells[-1])
    return Half(cells, index, torch.where(own, 1.0, 2.0).to(torch.float64))


@lru_cache(maxsize=64)
def _roots(points: int) -> torch.Tensor:
    """e^{2 pi i t / points}, within 23 u: |angle| <= pi is known to 4 u, cos and sin to an ulp."""
    turns = (t if 2 * t <= points else t - points for t in range(points))
    return torch.tensor([cmath.rect(1.0, 2.0 * math.pi * t / points) for t in turns], dtype=torch.complex128)


def symbol(step: Linear, cells: Shape, part: slice = slice(None)) -> torch.Tensor:
    """T(w) at the frequencies of the lattice before the step: [F, rows, columns], complex, real without axes.

    An entry is within (32 axes + ..) u of what the blocks mean, see `fourier_verify`; twiddles are products of one
    root of unity an axis, within 32 u an axis.
    """
    frequencies = half(cells)
    index = frequencies.index[part]
    rows, columns = step.majorant.shape
    dtype = torch.complex128 if cells else torch.float64
    result = torch.zeros(len(index), rows, columns, dtype=dtype)
    for block in step.blocks:
        count, height, width = block.weight.shape
        at = (slice(None), slice(block.row, block.row + height), slice(block.column, block.column + width))
        flat = block.weight.reshape(count, height * width)
        if not cells:
            result[at] += flat.sum(0).reshape(height, width)
            continue
        if count == 1 and not bool(block.shifts.any()):
            result[at] += block.weight
            continue
        twiddle = torch.ones(len(index), count, dtype=torch.complex128)
        for axis, n in enumerate(cells):
            twiddle = twiddle * _roots(n)[index[:, axis, None] * block.shifts[:, axis] % n]
        shape = (len(index), height, width)
        result[at] += torch.complex((twiddle.real @ flat).reshape(shape), (twiddle.imag @ flat).reshape(shape))
    return result


Product = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def folded(
    left: torch.Tensor, right: torch.Tensor, cells: Shape, factor: Shape, product: Product = torch.matmul
) -> torch.Tensor:
    """The mean over all w with f w = w' of left right^*, given for the half of the w: for the half of the w'."""
    if all(f == 1 for f in factor):
        return product(left, right.mH)
    place, turned = aliases(cells, factor)
    total = None
    for k in range(place.shape[1]):
        taken = product(left[place[:, k]], right[place[:, k]].mH)
        taken = torch.where(turned[:, k, None, None], taken.conj(), taken)
        total = taken if total is None else total + taken
    assert total is not None
    return total / place.shape[1]


def aliases(cells: Shape, factor: Shape) -> tuple[torch.Tensor, torch.Tensor]:
    """For every frequency w' of the coarse half: where those w with factor w = w' are, and whether as conjugates."""
    coarse = tuple(n // f for n, f in zip(cells, factor, strict=True))
    steps = torch.cartesian_prod(*map(torch.arange, factor)).reshape(-1, len(cells)) * torch.tensor(coarse)
    return half(cells).places(half(coarse).index[:, None] + steps)
