"""Diagonal maps: an entrywise factor (a batch norm's scale, a division by a constant)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from numpy import broadcast_shapes

from lipaudit.linear.map import LinearMap, Shape


@final
@dataclass(frozen=True, slots=True, eq=False)
class Diagonal(LinearMap):
    """x -> scale * x entrywise.

    scale: float64, broadcastable to `shape` without enlarging it.
    scale_roundings: how many roundings away from the intended numbers the stored scale may be.
    """

    scale: torch.Tensor
    shape: Shape
    scale_roundings: int = 0

    def __post_init__(self) -> None:
        if broadcast_shapes(self.scale.shape, self.shape) != tuple(self.shape):
            raise ValueError(f"a scale of shape {tuple(self.scale.shape)} does not fit {self.shape}")

    @property
    def in_shape(self) -> Shape:
        return self.shape

    @property
    def out_shape(self) -> Shape:
        return self.shape

    @property
    def roundings(self) -> int:
        return self.scale_roundings + 1

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return y * self.scale

    def majorant(self) -> LinearMap:
        return Diagonal(self.scale.abs(), self.shape, self.scale_roundings)

    def describe(self) -> str:
        return f"diag {self.scale.numel()}" if self.scale.numel() > 1 else f"{float(self.scale.reshape(())):.4g}"
