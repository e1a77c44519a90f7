"""Sorted pairs near a point: max(a, b) = a + relu(b - a), min(a, b) = b - relu(b - a), one neuron a pair."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch

from lipaudit.numerics.box import Box
from lipaudit.numerics.rounding import tensor_down, tensor_up, up
from lipaudit.ops import activations
from lipaudit.ops.elementwise import Elementwise
from lipaudit.ops.maxlike import SortPair
from lipaudit.ranges.entries import Unknown
from lipaudit.ranges.local import Local, Neurons, between, from_centre, one_hot


@final
@dataclass(frozen=True, slots=True, eq=False)
class Swaps(Local):
    """relu: the model of f = relu of v = b - a, [B, *shape]; (a, b) and (max, min) are stacked along a first axis.

    d(max) = d(a) + k dv + w and d(min) = d(b) - k dv - w, with w = df - k dv: M is ((1 - k, k), (k, 1 - k)) for every
    pair, with k in [0, 1], and b_j adds to the larger what it takes from the smaller.
    """

    relu: Neurons

    @property
    def spread(self) -> torch.Tensor:
        return self.relu.spread

    @property
    def low(self) -> torch.Tensor:
        return self.relu.low

    @property
    def high(self) -> torch.Tensor:
        return self.relu.high

    @property
    def slope(self) -> torch.Tensor:
        """k_j, [B, neurons]."""
        return self.relu.slope.flatten(1)

    def pull(self, rows: torch.Tensor) -> torch.Tensor:
        largest, least = rows[:, :, 0], rows[:, :, 1]
        moved = (largest - least) * self.relu.slope.unsqueeze(1)
        return torch.stack([largest - moved, least + moved], 2)

    def coefficients(self, rows: torch.Tensor) -> torch.Tensor:
        return (rows[:, :, 0] - rows[:, :, 1]).flatten(2)

    def inputs(self, which: torch.Tensor) -> torch.Tensor:
        unit = one_hot(which, self.relu.slope.shape[1:])
        return torch.stack([-unit, unit], 2)

    def differences(self, box: Box, which: torch.Tensor) -> Box:
        """A box around v_j for neurons which [B, U], the node's input being in the box."""
        v = _difference(box)
        return Box(v.lower.flatten(1).gather(1, which), v.upper.flatten(1).gather(1, which))

    @property
    def gain(self) -> torch.Tensor:
        # (1 - k) + k = 1 in every row and column; what is rounded is of size 1 + 2k and counted in `roundings`
        return torch.ones(len(self.relu.slope), dtype=torch.float64)

    @property
    def reading(self) -> float:
        return up(math.sqrt(2.0))

    @property
    def roundings(self) -> int:
        return 9


def _difference(box: Box) -> Box:
    """b - a of stacked pairs."""
    return Box(tensor_down(box.lower[:, 1] - box.upper[:, 0]), tensor_up(box.upper[:, 1] - box.lower[:, 0]))


def _swaps(relu: Local) -> Swaps:
    assert isinstance(relu, Neurons)
    return Swaps(relu)


@between.register
def _(op: SortPair, box: Box) -> Local:
    return _swaps(between(Elementwise(activations.relu(), op.shape), _difference(box)))


@from_centre.register
def _(op: SortPair, box: Box, centre: Box) -> Local:
    if not box.finite:
        raise Unknown("a pair is sorted whose difference is not bounded near the centre")
    return _swaps(from_centre(Elementwise(activations.relu(), op.shape), _difference(box), _difference(centre)))
