"""Planted mistakes of the branch and bound on slope corners: each is seen by the enumeration of corners."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import lipaudit.engines.corners_ascent as ascent_module
import lipaudit.engines.corners_node as node_module
from lipaudit.engines.corners import Closed, Corners
from lipaudit.engines.corners_ascent import Corner, Sides
from lipaudit.engines.corners_node import Hidden, Node
from lipaudit.engines.ellipsoid_program import Linear, Program, Slope
from lipaudit.linear.norms.sums import unscaled
from tests.laws import corners_laws
from tests.planted import Plant, attribute


def enumeration(_: Path) -> None:
    for seed in range(40):
        corners_laws.is_largest(seed)


def nodes(_: Path) -> None:
    for seed in range(40):
        corners_laws.nodes_are_above(seed)


def whatever_is_met(_: Path) -> None:
    """Nothing rests on the ascent: with one that does not climb at all, the bound still holds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ascent_module, "STARTS", 0)
        patch.setattr(Sides, "ascended", _standing)
        for seed in range(30):
            corners_laws.is_largest(seed, tight=False)


def catalogue() -> list[Plant]:
    return [
        Plant("a half is dropped", _one_sided, enumeration),
        Plant("the best corner that was met is the bound", _met, whatever_is_met),
        Plant("multipliers are believed", attribute(node_module, "verified", _believed), nodes),
        Plant("the smaller slope is none", _no_slope, enumeration),
        Plant("a decided neuron is what it was", attribute(Hidden, "restricted", _undecided), enumeration),
        Plant("a node is its worst corner", _pointed, nodes),
    ]


def _standing(self: Sides, upper: np.ndarray) -> Corner:
    matrix = (self.left * np.where(upper, self.high, self.low)) @ self.right
    return Corner(upper, float(np.linalg.norm(matrix, 2)))


def _one_sided(patch: pytest.MonkeyPatch) -> None:
    real = Node.halves
    patch.setattr(Node, "halves", lambda self: real(self)[:1])


def _met(patch: pytest.MonkeyPatch) -> None:
    real = Corners.close

    def close(self: Corners, hidden: Hidden, deadline: float = math.inf) -> Closed:
        closed = real(self, hidden, deadline)
        return dataclasses.replace(closed, value=hidden.value(hidden.sides.best().value))

    patch.setattr(Corners, "close", close)


def _believed(program: Program, multipliers: dict[int, torch.Tensor]) -> float:
    """The recursion with an inverse of whatever matrix there is, for multipliers that are a little too small."""
    first, bend, last = program.steps
    assert isinstance(first, Linear)
    assert isinstance(bend, Slope)
    assert isinstance(last, Linear)
    y, theta, c, d = first.matrix @ first.matrix.mT, 0.6 * multipliers[1], bend.centre, bend.radius
    v = (d > 0).nonzero()[:, 0]
    inner = y + y[:, v] @ torch.linalg.pinv(torch.diag(theta[v]) - y[v][:, v]) @ y[v]
    cover = last.matrix @ (c[:, None] * inner * c + torch.diag(d * d * theta)) @ last.matrix.mT
    return unscaled(math.sqrt(max(float(torch.linalg.eigvalsh(cover)[-1]), 0.0)), program.exponent)


def _no_slope(patch: pytest.MonkeyPatch) -> None:
    real = Hidden.of

    def of(program: Program, low: torch.Tensor, high: torch.Tensor) -> Hidden:
        return dataclasses.replace(real(program, low, high), low=torch.zeros_like(low))

    patch.setattr(Hidden, "of", staticmethod(of))


def _undecided(self: Hidden, decided: np.ndarray) -> Program:
    return self.program


def _pointed(patch: pytest.MonkeyPatch) -> None:
    real = Hidden.node

    def node(self: Hidden, decided: np.ndarray, parent: Node | None, deadline: float = math.inf) -> Node:
        found = real(self, decided, parent, deadline)
        return dataclasses.replace(found, bound=self.value(_standing(self.sides, found.worst).value))

    patch.setattr(Hidden, "node", node)
