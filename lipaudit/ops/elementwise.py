"""The elementwise family: one scalar function on every entry. Same constant in every norm: the largest |slope|."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch

from lipaudit.linear.map import Shape
from lipaudit.numerics.bound import UpperBound
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.ops.op import Op
from lipaudit.ops.scalar import Scalar


@final
@dataclass(frozen=True, slots=True, eq=False)
class Elementwise(Op):
    """y_i = f(x_i). Sound: the Jacobian is diagonal, its norm the largest |f'| in l1, l2 and linf alike."""

    function: Scalar
    shape: Shape
    family: ClassVar[str] = "Elementwise"
    rule: ClassVar[str] = "largest |slope| met"

    @property
    def in_shapes(self) -> tuple[Shape, ...]:
        return (self.shape,)

    @property
    def out_shape(self) -> Shape:
        return self.shape

    def forward(self, *args: torch.Tensor) -> torch.Tensor:
        return self.function.fn(args[0])

    def interval(self, *boxes: Box) -> Box:
        return self.function.value_range(boxes[0])

    def slopes(self, box: Box) -> Box:
        """Every slope met, entrywise."""
        return self.function.slope_range(box)

    def gains(self, norm: Norm, *boxes: Box) -> tuple[UpperBound, ...]:
        largest = self.slopes(boxes[0]).magnitude
        return (UpperBound(float(largest.max()) if largest.numel() else 0.0, f"slope of {self.function.name}"),)

    def caveat(self, *boxes: Box) -> str | None:
        worst = self.slopes(boxes[0]).magnitude
        if not torch.isinf(worst).any():
            return None
        where = torch.isinf(worst).reshape(-1).nonzero()[0, 0]
        low, high = (float(end.reshape(-1)[where]) for end in (boxes[0].lower, boxes[0].upper))
        reason = f"the slope of {self.function.name} is unbounded on [{low:.6g}, {high:.6g}]"
        return f"{reason}; a --domain that keeps its input away from there makes the bound finite"
