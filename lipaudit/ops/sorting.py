"""The k largest entries of each row, in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch

from lipaudit.linear.map import Shape
from lipaudit.numerics.bound import ONE, ZERO, UpperBound
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.ops.op import Op


@final
@dataclass(frozen=True, slots=True, eq=False)
class Largest(Op):
    """The `count` largest (sign 1) or smallest (sign -1) entries of each row of [groups, size], sorted.

    Sound: on each piece it is a permutation followed by dropping entries, and it is continuous, so it is 1-Lipschitz
    in every norm that a permutation keeps (Anil, Lucas, Grosse 2019, arXiv:1811.05381, section 4). The i-th largest
    entry is monotone in every entry, so ends map to ends.
    """

    groups: int
    size: int
    count: int
    sign: float = 1.0
    family: ClassVar[str] = "MaxLike"
    rule: ClassVar[str] = "1 in all norms"

    @property
    def in_shapes(self) -> tuple[Shape, ...]:
        return ((self.groups, self.size),)

    @property
    def out_shape(self) -> Shape:
        return (self.groups, self.count)

    def forward(self, *args: torch.Tensor) -> torch.Tensor:
        return torch.sort(args[0], -1, descending=self.sign > 0).values[..., : self.count]

    def interval(self, *boxes: Box) -> Box:
        return Box(self.forward(boxes[0].lower), self.forward(boxes[0].upper))

    def gains(self, norm: Norm, *boxes: Box) -> tuple[UpperBound, ...]:
        return (ONE if self.groups * self.count else ZERO,)
