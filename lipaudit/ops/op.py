"""Op: what every node of a graph computes, and the four questions it answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch

from lipaudit.linear.map import Shape
from lipaudit.numerics.bound import UpperBound
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm


class Op(ABC):
    """A function of one or more tensors to one tensor; shapes are those of one audited sample.

    Boxes are batches, like points: [B, *shape]; a gain holds over each box of its batch.

    Laws (tests/laws): forward(x) is in interval(box) for x in box; for x, y in the box,
    |f(x) - f(y)| <= sum of gains(norm, box)_i |x_i - y_i|, and <= joint_gain(norm, box) |x - y| for the
    arguments taken together as one vector. Boxes may be infinite; a gain may be inf, with `caveat` saying why.
    """

    __slots__ = ()
    family: ClassVar[str]
    rule: ClassVar[str] = ""
    """The gain rule in a few words, for docs/ops.md."""

    @property
    @abstractmethod
    def in_shapes(self) -> tuple[Shape, ...]: ...

    @property
    @abstractmethod
    def out_shape(self) -> Shape: ...

    @abstractmethod
    def forward(self, *args: torch.Tensor) -> torch.Tensor:
        """The value for every row of a float64 batch: [B, *in_shape]... -> [B, *out_shape]."""

    @abstractmethod
    def interval(self, *boxes: Box) -> Box:
        """Boxes [B, *out_shape] around the values over the argument boxes [B, *in_shape], rounded outward."""

    @abstractmethod
    def gains(self, norm: Norm, *boxes: Box) -> tuple[UpperBound, ...]:
        """For each argument: an upper bound of the Lipschitz constant in it alone, over the boxes."""

    def joint_gain(self, norm: Norm, *boxes: Box) -> UpperBound:
        """An upper bound of the Lipschitz constant in all arguments together, as one vector."""
        values = [gain.value for gain in self.gains(norm, *boxes)]
        # |sum g_i d_i| <= |g|_dual |d|, with d the vector of the arguments' norms
        return UpperBound(norm.dual.combine_up(values), "arguments combined")

    def caveat(self, *boxes: Box) -> str | None:
        """Why the gain over these boxes is infinite, and what would help; None where it is finite."""
        return None
