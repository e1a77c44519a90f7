"""LinearMap: the small interface every linear map has, and its algebra (compose, add, adjoint)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch

Shape = tuple[int, ...]


class LinearMap(ABC):
    """A linear map A from R^in_shape to R^out_shape, applied to float64 batches.

    The stored weights may stand for slightly different real numbers (a batch norm folded in float64, say).
    The map meant is the exact one, and `roundings` bounds both that and the evaluation:

        |fl(apply(x)) - A x| <= gamma(roundings) * majorant().apply(|x|)   entrywise, and the same for adjoint,

    with |A| <= majorant() entrywise up to the same factor (1 + gamma(roundings)).
    """

    __slots__ = ()

    @property
    @abstractmethod
    def in_shape(self) -> Shape: ...

    @property
    @abstractmethod
    def out_shape(self) -> Shape: ...

    @property
    @abstractmethod
    def roundings(self) -> int:
        """How many nested float64 roundings an entry of apply (or adjoint) may carry."""

    @abstractmethod
    def apply(self, x: torch.Tensor) -> torch.Tensor:
        """A x for every row: [B, *in_shape] -> [B, *out_shape]."""

    @abstractmethod
    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        """A' y for every row: [B, *out_shape] -> [B, *in_shape]."""

    @abstractmethod
    def majorant(self) -> LinearMap:
        """A map with non-negative entries, at least |A| entrywise (equal to it for a map made of one piece)."""

    @abstractmethod
    def describe(self) -> str:
        """The weight in a few characters, for a table: '64->96', '3x3 1->16 /2'."""

    @property
    def in_size(self) -> int:
        return math.prod(self.in_shape)

    @property
    def out_size(self) -> int:
        return math.prod(self.out_shape)

    def as_matrix(self) -> torch.Tensor:
        """The dense matrix [out_size, in_size], from unit vectors on the smaller side. Small maps and tests only."""
        if self.in_size <= self.out_size:
            eye = torch.eye(self.in_size, dtype=torch.float64).reshape(self.in_size, *self.in_shape)
            return self.apply(eye).reshape(self.in_size, self.out_size).T.contiguous()
        eye = torch.eye(self.out_size, dtype=torch.float64).reshape(self.out_size, *self.out_shape)
        return self.adjoint(eye).reshape(self.out_size, self.in_size).contiguous()


@final
@dataclass(frozen=True, slots=True, eq=False)
class Compose(LinearMap):
    """The product of maps, written as applied: maps[0] first."""

    maps: tuple[LinearMap, ...]

    def __post_init__(self) -> None:
        for first, second in zip(self.maps, self.maps[1:], strict=False):
            if first.out_shape != second.in_shape:
                raise ValueError(f"cannot chain {first.out_shape} into {second.in_shape}")

    @property
    def in_shape(self) -> Shape:
        return self.maps[0].in_shape

    @property
    def out_shape(self) -> Shape:
        return self.maps[-1].out_shape

    @property
    def roundings(self) -> int:
        # gamma_a + gamma_b + gamma_a gamma_b <= gamma_{a+b} (Higham 2002, Lemma 3.3)
        return sum(part.roundings for part in self.maps)

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        for part in self.maps:
            x = part.apply(x)
        return x

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        for part in reversed(self.maps):
            y = part.adjoint(y)
        return y

    def majorant(self) -> LinearMap:
        return Compose(tuple(part.majorant() for part in self.maps))

    def describe(self) -> str:
        return " . ".join(part.describe() for part in self.maps if part.describe())


@final
@dataclass(frozen=True, slots=True, eq=False)
class Sum(LinearMap):
    """The sum of maps between the same spaces."""

    terms: tuple[LinearMap, ...]

    def __post_init__(self) -> None:
        if len({(t.in_shape, t.out_shape) for t in self.terms}) != 1:
            raise ValueError("only maps between the same spaces add up")

    @property
    def in_shape(self) -> Shape:
        return self.terms[0].in_shape

    @property
    def out_shape(self) -> Shape:
        return self.terms[0].out_shape

    @property
    def roundings(self) -> int:
        return max(term.roundings for term in self.terms) + len(self.terms) - 1

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        total = self.terms[0].apply(x)
        for term in self.terms[1:]:
            total = total + term.apply(x)
        return total

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        total = self.terms[0].adjoint(y)
        for term in self.terms[1:]:
            total = total + term.adjoint(y)
        return total

    def majorant(self) -> LinearMap:
        return Sum(tuple(term.majorant() for term in self.terms))

    def describe(self) -> str:
        return " + ".join(term.describe() or "id" for term in self.terms)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Adjoint(LinearMap):
    """The transpose of a map (a sum over axes is the transpose of a broadcast, a transposed convolution of one)."""

    of: LinearMap

    @property
    def in_shape(self) -> Shape:
        return self.of.out_shape

    @property
    def out_shape(self) -> Shape:
        return self.of.in_shape

    @property
    def roundings(self) -> int:
        return self.of.roundings

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        return self.of.adjoint(x)

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return self.of.apply(y)

    def majorant(self) -> LinearMap:
        return Adjoint(self.of.majorant())

    def describe(self) -> str:
        inner = self.of.describe()
        return f"({inner})'" if inner else ""
