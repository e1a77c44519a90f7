"""The program of the Fourier recursion: values on one periodic lattice of cells, the same in every cell.

A value is an image (c, *size) of differences, f(x) - f(y) for two inputs. On a lattice of `cells` it has q positions
an axis in every cell, position i being phase i mod q of cell i // q; so a state of C = sum c prod q channels a cell.
Maps that treat all cells alike are one C x C matrix at every frequency of the lattice. A lattice without axes has one
cell: values are vectors and all of this is the dense recursion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch

from lipaudit.linear.map import Shape


@final
@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """target channels at cell m += weight[t] (source channels at cell factor m + shifts[t]), summed over t.

    weight: float64 [T, rows, columns]; shifts: int64 [T, axes]; row, column: where the block begins.
    """

    row: int
    column: int
    weight: torch.Tensor
    shifts: torch.Tensor


@final
@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """state+ = T state, T the sum of the blocks, on the lattice with `factor` times fewer cells (None: one cell).

    majorant: float64 [rows, columns], at least the sum of |weight| over the taps; the entries of the map meant, summed
    over the taps with any phases, are within eta majorant + loss of those of the blocks. kept_first: rows that repeat
    the state as it was. terms: the most products that make an entry of the symbol.
    """

    blocks: tuple[Block, ...]
    factor: Shape | None
    majorant: torch.Tensor
    eta: float
    loss: float
    terms: int


@final
@dataclass(frozen=True, slots=True, eq=False)
class Bend:
    """state+ = (state[rest], S state[source]), S diagonal with entries within radius of centre, in every cell anew."""

    source: torch.Tensor
    rest: torch.Tensor
    centre: torch.Tensor
    radius: torch.Tensor


@final
@dataclass(frozen=True, slots=True, eq=False)
class Gain:
    """state+ = (state[rest], w), |w of group g| <= factor |state[source] of group g| in l2 over all cells, for every g.

    group, spread: the group of each source and of each channel of w, from 0 on; one group where all are bounded
    together. cells: the lattice from here on, where nothing is kept; None for the same lattice.
    """

    source: torch.Tensor
    rest: torch.Tensor
    factor: float
    group: torch.Tensor
    spread: torch.Tensor
    cells: Shape | None

    @property
    def groups(self) -> int:
        return int(self.group.max()) + 1 if len(self.group) else 1

    @property
    def closed(self) -> bool:
        """Whether its multiplier is known: the largest eigenvalue."""
        return not len(self.rest) and self.groups == 1


Step = Linear | Bend | Gain


@final
@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """Steps from the input, `channels` a cell on the lattice `cells`, to the channels `output` of the last state.

    exponent: the output stands for 2^exponent of it. dense: whether the output is a vector, entry i in channel i.
    """

    cells: Shape
    channels: int
    steps: tuple[Step, ...]
    output: torch.Tensor
    exponent: int
    dense: bool

    def lattices(self) -> list[Shape]:
        """The lattice before every step, and after the last."""
        found = [self.cells]
        for step in self.steps:
            cells = found[-1]
            match step:
                case Linear(factor=None):
                    cells = ()
                case Linear(factor=factor):
                    cells = tuple(n // f for n, f in zip(cells, factor or (), strict=True))
                case Gain() if step.cells is not None:
                    cells = step.cells
                case _:
                    pass
            found.append(cells)
        return found

    def widths(self) -> list[int]:
        """The number of channels a cell before every step, and after the last."""
        found = [self.channels]
        for step in self.steps:
            match step:
                case Linear():
                    found.append(step.majorant.shape[0])
                case Bend():
                    found.append(len(step.rest) + len(step.source))
                case Gain():
                    found.append(len(step.rest) + len(step.spread))
        return found
