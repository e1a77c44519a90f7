"""Jacobians of vector-valued nodes over boxes: a matrix and how far every entry may be from it.

For a node f that is smooth or piecewise smooth on a box, and C, R with |J - C| <= R entrywise for every (Clarke)
Jacobian J that f has there, f(x) - f(y) = (C + E)(x - y) for some |E| <= R, for all x and y of the box: E is the mean
of J - C along the segment, which the box holds. C and R are stored as floats; C may be any matrix at all, so that only
R is rounded, upwards.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch

from lipaudit.linear.selection import NOTHING
from lipaudit.numerics.box import Box
from lipaudit.numerics.rounding import gamma, tensor_up, up

LOST = 2.0**-990
"""More than a sum of products loses by underflow."""


class Jacobian(ABC):
    """(C, R) of one argument, for B regions."""

    __slots__ = ()

    @abstractmethod
    def pull(self, rows: torch.Tensor) -> torch.Tensor:
        """C' of rows [B, R, *out_shape], to nearest: [B, R, *in_shape]."""

    @abstractmethod
    def moved(self, lengths: torch.Tensor) -> torch.Tensor:
        """At least R x for x = lengths [B, entries of the argument] >= 0: [B, entries of the output]."""

    @abstractmethod
    def size(self, lengths: torch.Tensor) -> torch.Tensor:
        """At least |C| x: as `moved`."""

    @property
    @abstractmethod
    def gain(self) -> torch.Tensor:
        """[B]: at least the l2 norm of C, and of the matrix of its absolute values."""

    @property
    @abstractmethod
    def roundings(self) -> int:
        """How many nested roundings an entry of pull carries."""


def schur(matrix: torch.Tensor) -> torch.Tensor:
    """At least the l2 norm of |matrix| [..., m, n], each: sqrt of its largest row sum times its largest column sum."""
    size = matrix.abs()
    if not size.numel():
        return size.new_zeros(size.shape[:-2])
    product = size.sum(-1).amax(-1) * size.sum(-2).amax(-1)
    return tensor_up(product.sqrt() * up(1.0 + gamma(sum(size.shape[-2:]) + 8)) + 2.0**-500)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Grouped(Jacobian):
    """Groups of entries with a matrix each: centre, radius [B, G, out, in].

    index: flat inputs [G, in], NOTHING for none, each in one group; order: the place of every output in [G, out].
    """

    centre: torch.Tensor
    radius: torch.Tensor
    index: torch.Tensor
    order: torch.Tensor
    source: tuple[int, ...]
    target: tuple[int, ...]

    def pull(self, rows: torch.Tensor) -> torch.Tensor:
        groups = rows.flatten(2)[:, :, self._placed()].reshape(*rows.shape[:2], *self.centre.shape[1:3])
        image = torch.einsum("brgo,bgoi->brgi", groups, self.centre)
        size = int(torch.Size(self.source).numel())
        total = rows.new_zeros(*rows.shape[:2], size + 1)
        place = torch.where(self.index == NOTHING, size, self.index).reshape(-1)
        total[:, :, place] = image.flatten(2)
        return total[..., :size].reshape(*rows.shape[:2], *self.source)

    def moved(self, lengths: torch.Tensor) -> torch.Tensor:
        return self._times(self.radius, lengths)

    def size(self, lengths: torch.Tensor) -> torch.Tensor:
        return self._times(self.centre.abs(), lengths)

    def _times(self, matrix: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        padded = torch.cat([lengths, lengths.new_zeros(len(lengths), 1)], 1)
        image = torch.einsum("bgoi,bgi->bgo", matrix, padded[:, self.index])
        image = image * up(1.0 + gamma(matrix.shape[-1] + 6)) + LOST
        return image.flatten(1)[:, self.order]

    def _placed(self) -> torch.Tensor:
        """Flat outputs by their place in [G, out]."""
        return torch.argsort(self.order)

    @property
    def gain(self) -> torch.Tensor:
        found = schur(self.centre)
        return found.amax(1) if found.numel() else found.new_zeros(len(self.centre))

    @property
    def roundings(self) -> int:
        return int(self.centre.shape[2]) + 2


@final
@dataclass(frozen=True, slots=True, eq=False)
class Scaled(Jacobian):
    """Entry by entry: a diagonal matrix, centre and radius [B, *shape]."""

    centre: torch.Tensor
    radius: torch.Tensor

    def pull(self, rows: torch.Tensor) -> torch.Tensor:
        return rows * self.centre.unsqueeze(1)

    def moved(self, lengths: torch.Tensor) -> torch.Tensor:
        return tensor_up(self.radius.flatten(1) * lengths)

    def size(self, lengths: torch.Tensor) -> torch.Tensor:
        return tensor_up(self.centre.flatten(1).abs() * lengths)

    @property
    def gain(self) -> torch.Tensor:
        flat = self.centre.flatten(1).abs()
        return flat.amax(1) if flat.shape[1] else flat.new_zeros(len(flat))

    @property
    def roundings(self) -> int:
        return 1


@final
@dataclass(frozen=True, slots=True, eq=False)
class Multiplied(Jacobian):
    """d(in) @ C for one factor of a product of matrices, or C @ d(in) where `left`.

    centre, radius: [B, *, rows, columns].
    shape: of the argument, of one sample.
    """

    centre: torch.Tensor
    radius: torch.Tensor
    shape: tuple[int, ...]
    left: bool

    def pull(self, rows: torch.Tensor) -> torch.Tensor:
        other = self.centre.unsqueeze(1).mT
        return other @ rows if self.left else rows @ other

    def moved(self, lengths: torch.Tensor) -> torch.Tensor:
        return self._times(self.radius, lengths)

    def size(self, lengths: torch.Tensor) -> torch.Tensor:
        return self._times(self.centre.abs(), lengths)

    def _times(self, other: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        own = lengths.reshape(len(lengths), *self.shape)
        image = other @ own if self.left else own @ other
        inner = other.shape[-1 if self.left else -2]
        return (image * up(1.0 + gamma(inner + 6)) + LOST).flatten(1)

    @property
    def gain(self) -> torch.Tensor:
        found = schur(self.centre).reshape(len(self.centre), -1)
        return found.amax(1) if found.shape[1] else found.new_zeros(len(found))

    @property
    def roundings(self) -> int:
        return int(self.centre.shape[-2 if self.left else -1]) + 2


def entries(low: torch.Tensor, high: torch.Tensor, size: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(C, R) of entries between low and high, whose dozen roundings are each relative to `size` at most."""
    error = size * gamma(32) + LOST
    return Box(low - error, high + error).centre_radius()


def products(a: Box, b: Box) -> tuple[torch.Tensor, torch.Tensor]:
    """(low, high) of all products of two numbers, broadcast, each rounded once."""
    corners = torch.stack([p * q for p in (a.lower, a.upper) for q in (b.lower, b.upper)])
    return corners.amin(0), corners.amax(0)
