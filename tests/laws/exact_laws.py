"""Exact constants against every pattern, told apart by linear programs: functions that raise AssertionError."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import linprog

from lipaudit.engines.exact import Exact
from lipaudit.graph.graph import Graph, Node
from lipaudit.graph.problem import Problem
from lipaudit.linear.dense import Dense
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.ops import activations
from lipaudit.ops.affine import Affine
from lipaudit.ops.elementwise import Elementwise
from lipaudit.ops.scalar import Scalar

ORDERS = {Norm.L1: 1, Norm.L2: 2, Norm.LINF: np.inf}
HINGES: dict[str, tuple[Scalar, float, float]] = {
    "relu": (activations.relu(), 0.0, 1.0),
    "leaky": (activations.leaky_relu(0.125), 0.125, 1.0),
    "abs": (activations.absolute(), -1.0, 1.0),
    "concave": (activations.leaky_relu(2.0), 2.0, 1.0),
}


class Small(NamedTuple):
    """A network by its matrices, with the slopes left and right of each hinge, and a box."""

    weights: list[np.ndarray]
    offsets: list[np.ndarray]
    kind: str
    box: Box

    def graph(self) -> Graph:
        nodes: list[Node] = []
        for place, (weight, offset) in enumerate(zip(self.weights, self.offsets, strict=True)):
            if place:
                hinge = Elementwise(HINGES[self.kind][0], (weight.shape[1],))
                nodes.append(Node(f"hinge{place}", "Hinge", hinge, (len(nodes),)))
            op = Affine((Dense.plain(torch.as_tensor(weight)),), torch.as_tensor(offset))
            nodes.append(Node(f"fc{place}", "Gemm", op, (len(nodes),)))
        return Graph((self.weights[0].shape[1],), tuple(nodes), len(nodes))

    def norms_of_cells(self, within: Sequence[tuple[np.ndarray, float]] = ()) -> list[np.ndarray]:
        """The Jacobian of every cell with an interior in the box: one neuron after the other, by HiGHS alone.

        within: sides (row, first), row x + first >= 0, that cut the box.
        """
        _, left, right = HINGES[self.kind]
        low, high = (end[0].numpy() for end in (self.box.lower, self.box.upper))
        found = []

        def deeper(layer: int, slope: np.ndarray, start: np.ndarray, sides: list[tuple[np.ndarray, float]]) -> None:
            slope, start = self.weights[layer] @ slope, self.weights[layer] @ start + self.offsets[layer]
            if layer == len(self.weights) - 1:
                found.append(slope)
                return
            decide(layer, slope, start, sides, [])

        def decide(
            layer: int, slope: np.ndarray, start: np.ndarray, sides: list[tuple[np.ndarray, float]], signs: list[int]
        ) -> None:
            if len(signs) == len(start):
                factor = np.where(np.array(signs) > 0, right, left)
                deeper(layer + 1, factor[:, None] * slope, factor * start, sides)
                return
            row, first = slope[len(signs)], float(start[len(signs)])
            free = low < high
            if not np.abs(row[free]).any():  # constant on the box: one side has it all, or both are the same
                value = float(row @ low + first)
                decide(layer, slope, start, sides, [*signs, 1 if value > 0 else -1])
                return
            for sign in (1, -1):
                added = [*sides, (sign * row, sign * first)]
                if has_interior(added, low, high):
                    decide(layer, slope, start, added, [*signs, sign])

        n = len(low)
        deeper(0, np.eye(n), np.zeros(n), list(within))
        return found


def has_interior(sides: list[tuple[np.ndarray, float]], low: np.ndarray, high: np.ndarray) -> bool:
    """Whether every side can be positive by some length at once."""
    rows = np.array([np.append(-row / np.abs(row).sum(), 1.0) for row, _ in sides])
    firsts = np.array([first / np.abs(row).sum() for row, first in sides])
    bounds = [*zip(low, high, strict=True), (None, 1.0)]
    answer = linprog(np.append(np.zeros(len(low)), -1.0), rows, firsts, bounds=bounds, method="highs")
    return answer.x is not None and bool(answer.x[-1] > 1e-7)


def draw(seed: int) -> Small:
    """A small network with what hurts: equal, opposite and dead neurons, no offsets, boxes with ends at 0."""
    rng = np.random.default_rng(seed)
    sizes = [(2, 4, 2), (2, 3, 3, 1), (3, 5, 2), (2, 4, 3, 2), (3, 3, 3, 2, 1), (1, 4, 4, 2)][seed % 6]
    weights = [rng.normal(size=(m, n)) for n, m in itertools.pairwise(sizes)]
    offsets = [rng.normal(size=m) * (seed % 3 > 0) for m in sizes[1:]]
    if seed % 5 == 1:
        weights[0][1], offsets[0][1] = weights[0][0], offsets[0][0]
    if seed % 5 == 2:
        weights[0][1], offsets[0][1] = -weights[0][0], -offsets[0][0]
    if seed % 5 == 3:
        weights[0][0], offsets[0][0] = 0.0, 0.0
    width = (0.1, 1.0, 3.0)[seed % 3]
    low = np.zeros(sizes[0]) if seed % 4 == 0 else rng.normal(size=sizes[0]) - width
    high = low + width * rng.uniform(0.5, 1.0, size=sizes[0])
    if seed % 7 == 3:
        high[0] = low[0]
    box = Box(torch.as_tensor(low)[None], torch.as_tensor(high)[None])
    return Small(weights, offsets, ("relu", "leaky", "abs")[seed % 11 % 3], box)


def value_of(small: Small, norm: Norm, seconds: float = 30.0) -> float:
    return Exact(seconds).bound(Problem.over(small.graph(), norm, small.box)).value


def is_exact(seed: int, *, tight: bool = True) -> None:
    """The engine's value is the largest norm of all cells, up to rounding; never below it."""
    small = draw(seed)
    cells = small.norms_of_cells()
    for norm in Norm:
        truth = max(float(np.linalg.norm(cell, ORDERS[norm])) for cell in cells)
        found = value_of(small, norm)
        assert found >= truth * (1 - 1e-12), f"{norm.value}: {found!r} is below {truth!r}"
        if tight:
            assert found <= truth * (1 + 1e-9) + 1e-12, f"{norm.value}: {found!r} is above {truth!r}"
