"""Selections: every output entry is one input entry, or 0. Reshape, transpose, slice, pad, expand, tile..."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch

from lipaudit.linear.map import LinearMap, Shape

NOTHING = -1
"""The index of an output entry that is 0 whatever the input."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Selection(LinearMap):
    """out[i] = in[index[i]] over flattened entries, or 0 where index[i] is NOTHING.

    index: int64 of shape [out_size], None for the identity up to shape (a reshape).
    """

    index: torch.Tensor | None
    source: Shape
    target: Shape

    def __post_init__(self) -> None:
        if self.index is None:
            if math.prod(self.source) != math.prod(self.target):
                raise ValueError(f"a reshape of {self.source} to {self.target} changes the number of entries")
            return
        if self.index.numel() != math.prod(self.target):
            raise ValueError("a selection needs one index for each output entry")
        if self.index.numel() and not (
            int(self.index.min()) >= NOTHING and int(self.index.max()) < math.prod(self.source)
        ):
            raise ValueError("a selection's index points outside its input")

    @staticmethod
    def reshape(source: Shape, target: Shape) -> Selection:
        return Selection(None, source, target)

    @staticmethod
    def of(source: Shape, picked: torch.Tensor) -> Selection:
        """From a tensor of flat source indices in the shape of the output."""
        flat = picked.reshape(-1).to(torch.int64)
        target = tuple(picked.shape)
        if flat.numel() == math.prod(source) and torch.equal(flat, torch.arange(flat.numel())):
            return Selection(None, source, target)
        return Selection(flat, source, target)

    @property
    def in_shape(self) -> Shape:
        return self.source

    @property
    def out_shape(self) -> Shape:
        return self.target

    @property
    def roundings(self) -> int:
        if self.index is None:
            return 0
        return max(0, self.most_copies() - 1)  # the adjoint adds up the copies

    def indices(self) -> torch.Tensor:
        """The index tensor, spelt out for a reshape too."""
        return torch.arange(self.out_size) if self.index is None else self.index

    def copies(self) -> torch.Tensor:
        """How often each input entry is used, int64 [in_size]."""
        index = self.indices()
        return torch.bincount(index[index != NOTHING], minlength=self.in_size)

    def most_copies(self) -> int:
        """max of copies(): the square of the l2 norm, the l1 norm; at most 1 exactly when entries only move."""
        if self.index is None:
            return 1 if self.in_size else 0
        return int(self.copies().max()) if self.in_size else 0

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        flat = x.reshape(len(x), -1)
        if self.index is None:
            return flat.reshape(len(x), *self.target)
        if bool((self.index == NOTHING).any()):
            flat = torch.cat([flat, flat.new_zeros(len(x), 1)], 1)  # index -1 is this last, zero, column
        return flat[:, self.index].reshape(len(x), *self.target)

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        flat = y.reshape(len(y), -1)
        if self.index is None:
            return flat.reshape(len(y), *self.source)
        used = self.index != NOTHING
        total = flat.new_zeros(len(y), self.in_size)
        total = total.index_add(1, self.index[used], flat[:, used])
        return total.reshape(len(y), *self.source)

    def majorant(self) -> LinearMap:
        return self

    def describe(self) -> str:
        return "" if self.index is None else f"select {self.in_size}->{self.out_size}"
