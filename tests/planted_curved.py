"""Mistakes in the models of nodes that mix entries, each planted in the code; a law of the tests must see it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import lipaudit.ranges.curved as curved_module
import lipaudit.ranges.jacobians as jacobians_module
import lipaudit.ranges.nested as nested_module
from lipaudit.graph.simplify import simplify
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.ops.bilinear import Divide, MatMulData, Multiply
from lipaudit.ops.lengths import WindowNorm
from lipaudit.ops.maxlike import SortPair
from lipaudit.ops.op import Op
from lipaudit.ops.scaled import UnitVector
from lipaudit.ops.smooth import Normalise, Softmax
from lipaudit.ops.sorting import Largest
from lipaudit.ranges.constants import norms_over
from lipaudit.ranges.jacobians import Grouped, Multiplied
from lipaudit.ranges.near import near
from lipaudit.ranges.nested import Nested
from lipaudit.ranges.rows import Weights
from lipaudit.ranges.swaps import Swaps
from tests.cases.mixers import MIXERS
from tests.laws.curved_laws import all_hold
from tests.laws.region_laws import ball_around, ranges_hold, slopes_hold, units
from tests.planted import Law, Plant

Patch = Callable[[pytest.MonkeyPatch], None]


def node_law(op: Op) -> Law:
    """The models of an op hold for its values."""

    def law(_: Path) -> None:
        for seed in range(3):
            all_hold(op, seed)

    return law


def attention_law(_: Path) -> None:
    """Ranges and constants behind attention hold."""
    for seed in range(4):
        graph = simplify(MIXERS[0].build(seed))
        region = ball_around(graph, Norm.L2, seed)
        around = near(graph, region, Weights())
        ranges_hold(around, seed)
        slopes_hold(graph, region, norms_over(around, units(graph, len(region))), seed, 60)


def _at_the_middle(patch: pytest.MonkeyPatch) -> None:
    """The Jacobian at the middle of a box is taken for all that is met."""
    right = jacobians_module.entries

    def wrong(*args: Any) -> Any:
        centre, radius = right(*args)
        return centre, radius * 0.0

    patch.setattr(curved_module, "entries", wrong)


def _differences_forgotten(patch: pytest.MonkeyPatch) -> None:
    """(x - c)(y - d) is taken for 0."""
    right = curved_module.jacobian

    def wrong(op: Op, boxes: tuple[Box, ...]) -> Any:
        symmetric = all(torch.equal(box.lower, -box.upper) for box in boxes)
        return right(op, tuple(Box.point(box.upper * 0.0) for box in boxes) if symmetric else boxes)

    wrong.dispatch = right.dispatch  # type: ignore[attr-defined]
    patch.setattr(curved_module, "jacobian", wrong)


def _one_deviation(patch: pytest.MonkeyPatch) -> None:
    """The standard deviation at the centre is taken for that of the whole box."""
    right = curved_module._deviation
    patch.setattr(
        curved_module, "_deviation", lambda q, eps, d, reach, least: right(q, eps, d, reach * 0.0, least * 0.0)
    )


def _never_zero(patch: pytest.MonkeyPatch) -> None:
    """A vector is divided by its length at the middle of the box, though it may be 0."""
    patch.setattr(curved_module, "_unit", lambda box, length: Box.point((box.upper + box.lower) / 2 / length.upper))


def _order_of_the_middle(patch: pytest.MonkeyPatch) -> None:
    """Entries keep the places that they have at the middle of the box."""
    right = curved_module.jacobian

    def wrong(op: Op, boxes: tuple[Box, ...]) -> Any:
        return right(op, tuple(Box.point((box.lower + box.upper) / 2) for box in boxes))

    wrong.dispatch = right.dispatch  # type: ignore[attr-defined]
    patch.setattr(curved_module, "jacobian", wrong)


def _wrong_side(patch: pytest.MonkeyPatch) -> None:
    """d(in) C is pulled back as if it were C d(in)'s deviation: rows and columns changed over."""
    right = Multiplied.moved

    def wrong(self: Multiplied, lengths: torch.Tensor) -> torch.Tensor:
        return right(Multiplied(self.centre, self.radius.mT, self.shape, self.left), lengths)

    patch.setattr(Multiplied, "moved", wrong)


def _rows_for_columns(patch: pytest.MonkeyPatch) -> None:
    right = Grouped.moved

    def wrong(self: Grouped, lengths: torch.Tensor) -> torch.Tensor:
        radius = self.radius.diagonal(dim1=-2, dim2=-1)
        return right(
            Grouped(self.centre, torch.diag_embed(radius), self.index, self.order, self.source, self.target), lengths
        )

    patch.setattr(Grouped, "moved", wrong)


def _both_rise(patch: pytest.MonkeyPatch) -> None:
    """What a swap gives to the larger is not taken from the smaller."""
    patch.setattr(Swaps, "coefficients", lambda _, rows: (rows[:, :, 0] + rows[:, :, 1]).flatten(2))


def _nothing_added(patch: pytest.MonkeyPatch) -> None:
    """The nodes' deviations are left out of the rows."""
    right = nested_module._Walk.added
    patch.setattr(nested_module._Walk, "added", lambda self, rows: right(self, rows) * 0.1)


def _longest_alone(patch: pytest.MonkeyPatch) -> None:
    """The norm of all rows together is taken for that of the longest."""
    patch.setattr(Nested, "norms", lambda self: self.lengths().amax(1))


def catalogue() -> list[Plant]:
    """Every mistake with the law that must see it."""
    windows = torch.arange(6).reshape(2, 3)
    return [
        Plant("softmax at the middle", _at_the_middle, node_law(Softmax((4,), 0))),
        Plant("normalisation at the middle", _at_the_middle, node_law(Normalise(1, 4, 0.1))),
        Plant("quotient at the middle", _order_of_the_middle, node_law(Divide((3,)))),
        Plant("product of the differences forgotten", _differences_forgotten, node_law(Multiply((3,)))),
        Plant(
            "product of the matrices' differences forgotten",
            _differences_forgotten,
            node_law(MatMulData((2, 3), (3, 2))),
        ),
        Plant("one deviation for the box", _one_deviation, node_law(Normalise(1, 4, 1e-3))),
        Plant("length that is never 0", _never_zero, node_law(WindowNorm(windows, (6,), (2,), 2.0))),
        Plant("unit vector that never turns", _never_zero, node_law(UnitVector(1, 3, floor=0.1))),
        Plant("order of the middle", _order_of_the_middle, node_law(Largest(1, 4, 3))),
        Plant("rows for columns", _wrong_side, node_law(MatMulData((3, 3), (3, 3)))),
        Plant("entries that move only themselves", _rows_for_columns, node_law(Softmax((4,), 0))),
        Plant("a swap that gives without taking", _both_rise, node_law(SortPair((3,)))),
        Plant("deviations left out of the rows", _nothing_added, attention_law),
        Plant("longest row for all rows", _longest_alone, attention_law),
    ]
