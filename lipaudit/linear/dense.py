"""Dense maps: a matrix (or a stack of matrices) along one axis."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from numpy import broadcast_shapes

from lipaudit.linear.map import LinearMap, Shape


@final
@dataclass(frozen=True, slots=True, eq=False)
class Dense(LinearMap):
    """y[..., :, t] = weight @ x[..., :, t]: a matrix on one axis, the same or another one for each leading index.

    weight: float64 [*batch, n_out, n_in], batch broadcastable to `lead` without enlarging it.
    lead, trail: the input is seen as [*lead, n_in, trail] and the output as [*lead, n_out, trail].
    source, target: the shapes that the tensors have outside.
    weight_roundings: how many roundings away from the intended numbers the stored weight may be.
    """

    weight: torch.Tensor
    lead: Shape
    trail: int
    source: Shape
    target: Shape
    weight_roundings: int = 0

    def __post_init__(self) -> None:
        n_out, n_in = self.weight.shape[-2:]
        outer = math.prod(self.lead) * self.trail
        if math.prod(self.source) != outer * n_in or math.prod(self.target) != outer * n_out:
            raise ValueError(f"a weight {tuple(self.weight.shape)} does not take {self.source} to {self.target}")
        batch = self.weight.shape[:-2]
        if broadcast_shapes(batch, self.lead) != tuple(self.lead):
            raise ValueError(f"a stack of {tuple(batch)} matrices does not fit {self.lead}")

    @staticmethod
    def plain(weight: torch.Tensor, weight_roundings: int = 0) -> Dense:
        """x -> weight @ x for vectors."""
        n_out, n_in = weight.shape
        return Dense(weight, (), 1, (n_in,), (n_out,), weight_roundings)

    @property
    def in_shape(self) -> Shape:
        return self.source

    @property
    def out_shape(self) -> Shape:
        return self.target

    @property
    def roundings(self) -> int:
        return max(self.weight.shape[-2:]) + self.weight_roundings

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        inside = x.reshape(len(x), *self.lead, self.weight.shape[-1], self.trail)
        return self._product(self.weight, inside).reshape(len(x), *self.target)

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        inside = y.reshape(len(y), *self.lead, self.weight.shape[-2], self.trail)
        return self._product(self.weight.mT, inside).reshape(len(y), *self.source)

    def _product(self, weight: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        if self.trail == 1 and weight.dim() == 2:  # one large product instead of many matrix-vector ones
            return (x.squeeze(-1) @ weight.T).unsqueeze(-1)
        return weight @ x

    def majorant(self) -> LinearMap:
        return Dense(self.weight.abs(), self.lead, self.trail, self.source, self.target, self.weight_roundings)

    def describe(self) -> str:
        n_out, n_in = self.weight.shape[-2:]
        return f"{n_in}->{n_out}"
