"""What an attack looks for: another class, or an output that has moved too far."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch

from lipaudit.numerics.norms import Norm

LIKELY = 10
"""Of how many targets a gradient is taken, at most."""

_HEAD_START = 0.05
"""Of the tolerance: how much a target's own entry counts for more, so that the sample itself has a way to go."""


class Aim(ABC):
    """Of a batch of samples: which outputs count as changed, and how far they are from it. Float64, to nearest.

    A target is a number: one of the ways in which the output can change. outputs are [B, K] throughout.
    """

    @abstractmethod
    def take(self, rows: torch.Tensor) -> Aim:
        """The aim of these samples, in this order; a sample may come several times."""

    @abstractmethod
    def changed(self, outputs: torch.Tensor) -> torch.Tensor:
        """[B] bool, strictly: a tie has not changed."""

    @abstractmethod
    def margin(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """[B], differentiable: how far the output is from changing towards its target; negative only if changed."""

    @abstractmethod
    def reached(self, outputs: torch.Tensor) -> torch.Tensor:
        """int64 [B]: the target that the outputs are nearest to, or furthest beyond."""

    @abstractmethod
    def likely(self, around: torch.Tensor) -> torch.Tensor:
        """int64 [B, T]: targets to look at. around: [2, B, K], the outputs at the samples and at points beside them."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class OtherClass(Aim):
    """Another output is strictly larger than the label's. labels: int64 [B]; a target is a class."""

    labels: torch.Tensor

    def take(self, rows: torch.Tensor) -> Aim:
        return OtherClass(self.labels[rows])

    def changed(self, outputs: torch.Tensor) -> torch.Tensor:
        return self._others(outputs).amax(1) > _pick(outputs, self.labels)

    def margin(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return _pick(outputs, self.labels) - _pick(outputs, targets)

    def reached(self, outputs: torch.Tensor) -> torch.Tensor:
        return self._others(outputs).argmax(1)

    def likely(self, around: torch.Tensor) -> torch.Tensor:
        return self._others(around[0]).topk(min(LIKELY, around.shape[2] - 1), 1).indices

    def _others(self, outputs: torch.Tensor) -> torch.Tensor:
        return outputs.scatter(1, self.labels[:, None], -torch.inf)


@final
@dataclass(frozen=True, slots=True, eq=False)
class TooFar(Aim):
    """The output is strictly further than the tolerance from its value [B, K] at the sample, in the norm.

    Target 2k is entry k going up, 2k + 1 going down. In linf these are all there is; in another norm they only say
    where to go first, and the margin is of the norm (from below, so that a negative margin has changed).
    """

    values: torch.Tensor
    tolerance: float
    norm: Norm

    def take(self, rows: torch.Tensor) -> Aim:
        return TooFar(self.values[rows], self.tolerance, self.norm)

    def changed(self, outputs: torch.Tensor) -> torch.Tensor:
        return self.norm.of(outputs - self.values) > self.tolerance

    def margin(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        moved = outputs - self.values
        way = torch.zeros_like(moved).scatter(1, (targets // 2)[:, None], 1.0 - 2.0 * (targets % 2)[:, None].double())
        if self.norm is not Norm.LINF and moved.shape[1] > 1:
            ahead = moved.detach() + _HEAD_START * self.tolerance * way
            way = self.norm.dual_vector(torch.nan_to_num(ahead))
        return self.tolerance - (way * moved).sum(1)

    def reached(self, outputs: torch.Tensor) -> torch.Tensor:
        moved = outputs - self.values
        top = moved.abs().argmax(1, keepdim=True)
        return 2 * top[:, 0] + (moved.gather(1, top)[:, 0] < 0.0)

    def likely(self, around: torch.Tensor) -> torch.Tensor:
        top = (around[1] - around[0]).abs().topk(min(LIKELY // 2, around.shape[2]), 1).indices
        return torch.cat([2 * top, 2 * top + 1], 1)


def _pick(outputs: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    return outputs.gather(1, classes[:, None])[:, 0]
