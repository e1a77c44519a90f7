"""Planted mistakes of the branch and bound over balls: each is seen by the enumeration of cells or by a law."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lipaudit.engines import splitting
from lipaudit.numerics.norms import Norm
from lipaudit.ranges.cells import Cells, Folded, Sides
from lipaudit.ranges.refuted import Halves, excess
from tests.laws import splitting_laws
from tests.planted import Plant, attribute


def enumeration(_: Path) -> None:
    for seed in range(7):
        for norm in Norm:
            splitting_laws.is_exact(seed, norm, tight=False)


def emptiness(_: Path) -> None:
    for seed in range(6):
        splitting_laws.cells_hold_their_points(seed)


def rounding(_: Path) -> None:
    for seed in range(8):
        splitting_laws.rows_hold(seed)


def catalogue() -> list[Plant]:
    return [
        Plant("a child is forgotten", _one_child, enumeration),
        Plant("a negative multiplier proves a cell empty", _negative, emptiness),
        Plant("the half-space of the wrong side", _other_half, emptiness),
        Plant(
            "the slope of the other side",
            _sided(lambda self, c: torch.where(c.above, self.left, self.right)),
            enumeration,
        ),
        Plant(
            "a side takes the spread away and leaves the slope",
            _sided(lambda self, c: 0.0 * self.left * c.low),
            enumeration,
        ),
        Plant("neurons that are open are their chord", _chord, emptiness),
        Plant("midpoint rounding: the rows carry no error", _exact_rows, rounding),
    ]


Patch = Callable[[pytest.MonkeyPatch], None]


def _sided(wrong: Callable[[Any, Sides], torch.Tensor]) -> Patch:
    return attribute(Cells, "sided", wrong)


def _one_child(patch: pytest.MonkeyPatch) -> None:
    right = Sides.split

    def wrong(self: Sides, neuron: torch.Tensor) -> Sides:
        both = right(self, neuron)
        return both.at(torch.arange(len(neuron)).repeat(2))

    patch.setattr(Sides, "split", wrong)


def _negative(patch: pytest.MonkeyPatch) -> None:
    right = excess

    def wrong(cells: Cells, halves: Halves, weights: torch.Tensor) -> torch.Tensor:
        sign = torch.where(weights < 0, -1.0, 1.0).double()
        flipped = replace(halves, slope=halves.slope * sign.unsqueeze(2), start=halves.start * sign)
        return right(cells, flipped, weights.abs())

    patch.setattr(splitting, "excess", wrong)


def _other_half(patch: pytest.MonkeyPatch) -> None:
    right = excess

    def wrong(cells: Cells, halves: Halves, weights: torch.Tensor) -> torch.Tensor:
        return right(cells, replace(halves, slope=-halves.slope, start=-halves.start), weights)

    patch.setattr(splitting, "excess", wrong)


def _chord(patch: pytest.MonkeyPatch) -> None:
    right = Cells.relaxed

    def wrong(self: Cells, cells: Sides) -> tuple[Folded, torch.Tensor, torch.Tensor]:
        fold, low, high = right(self, cells)
        return fold, 0.0 * low, 0.0 * high

    patch.setattr(Cells, "relaxed", wrong)


def _exact_rows(patch: pytest.MonkeyPatch) -> None:
    right = Cells.folded

    def wrong(self: Cells, factor: torch.Tensor, kept: torch.Tensor) -> Folded:
        return replace(right(self, factor, kept), error=self.error.expand(len(factor), -1, -1))

    patch.setattr(Cells, "folded", wrong)
