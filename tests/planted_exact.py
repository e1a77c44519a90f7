"""Planted mistakes of the branch and bound: each is seen by the enumeration of cells, or by the law of its proofs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import lipaudit.engines.exact as exact_module
import lipaudit.engines.exact_cells as cells_module
import lipaudit.engines.exact_pieces as pieces_module
from lipaudit.engines.exact_cells import Cell, has_no_interior
from lipaudit.engines.exact_pieces import Form
from tests.laws import exact_laws
from tests.planted import Plant, attribute


def enumeration(_: Path) -> None:
    for seed in range(18):
        exact_laws.is_exact(seed)


def catalogue() -> list[Plant]:
    scaled = pieces_module._scaled
    return [
        Plant("a cell without a sample in it is empty", _sampled_only, enumeration),
        Plant(
            "the linear program is believed",
            attribute(exact_module._Search, "_refuted", lambda self, cell, weights: True),
            _believing,
        ),
        Plant("a feasible half is dropped", _one_sided, enumeration),
        Plant(
            "neurons are what they are at the middle of the box",
            attribute(pieces_module, "_scaled", lambda step, form, *_: scaled(step, form, *_middle(form))),
            enumeration,
        ),
        Plant(
            "a smaller box by the wrong side",
            attribute(exact_module, "shrunk", lambda cell, low, high: cells_module.shrunk(_negated(cell), low, high)),
            enumeration,
        ),
        Plant(
            "the errors of sides are forgotten",
            attribute(cells_module, "_room", lambda weights, values, *_: np.zeros(values.shape[1])),
            _doubtful,
        ),
        Plant("ties belong to nobody", attribute(exact_module._Search, "_choice", lambda self, node: None), _loose),
    ]


def _sampled_only(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(exact_module, "_POINTS", 8)
    patch.setattr(exact_module, "look_inside", lambda *_: cells_module.Look(None, None))
    patch.setattr(exact_module._Search, "_refuted", lambda self, cell, weights: True)


def _believing(path: Path) -> None:
    """With a program that fails (as solvers do), nothing may be called empty."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact_module, "look_inside", lambda *_: cells_module.Look(None, None))
        patch.setattr(exact_module, "firm_weights", lambda *_: None)
        patch.setattr(exact_module, "_POINTS", 0)
        for seed in range(12):
            exact_laws.is_exact(seed, tight=False)


def _doubtful(_: Path) -> None:
    """A side that is positive for some of the numbers it may stand for refutes nothing."""
    cell = Cell(np.array([[-1.0]]), np.array([[1e-3]]), np.array([-1e-4]), np.array([2e-4]))
    assert not has_no_interior(cell, np.ones(1), np.zeros(1), np.ones(1))


def _loose(path: Path) -> None:
    """A bound of the whole region, undivided, is no exact value."""
    for seed in range(8):
        exact_laws.is_exact(seed)


def _one_sided(patch: pytest.MonkeyPatch) -> None:
    real = exact_module._Search._children
    patch.setattr(exact_module._Search, "_children", lambda self, *args: real(self, *args)[:1])


def _middle(form: Form) -> tuple[np.ndarray, np.ndarray]:
    middle = form.low + form.high
    return middle >= 0.0, middle < 0.0


def _negated(cell: Cell) -> Cell:
    return Cell(-cell.slope, cell.slope_error, -cell.start, cell.start_error)
