"""Exact constants of small piecewise linear networks, by branch and bound on the signs of their neurons."""

from __future__ import annotations

import heapq
import itertools
import math
import time
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch

from lipaudit.engines.engine import Declined, Engine, Inapplicable
from lipaudit.engines.exact_cells import Cell, firm_weights, has_no_interior, is_flat, look_inside, shrunk
from lipaudit.engines.exact_pieces import Form, Hinge, Pieces, pieces
from lipaudit.graph.problem import Problem
from lipaudit.linear.norms.dense_l2 import dense_l2
from lipaudit.numerics.bound import UpperBound
from lipaudit.numerics.norms import Norm
from lipaudit.numerics.rounding import add_up, gamma, mul_up, sqrt_up, up

MOST = 64
"""Neurons that a region may leave open, inputs, and outputs."""

_POINTS = 4096
"""Samples of the region, which show most cells to have an interior without a linear program."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Exploration:
    """What became of the branch and bound: an upper bound, whether it ran to its end, the best cell's point, and the
    number of nodes that were looked at. Complete and with a point, the value is attained up to rounding."""

    value: float
    complete: bool
    point: np.ndarray | None
    nodes: int


@final
@dataclass(frozen=True, slots=True)
class Exact(Engine):
    """L = max ||J_P|| over the sign patterns P whose cell has an interior in the region.

    A piecewise linear f is affine on each of finitely many closed cells that cover the region; those without interior
    may be left out, since the rest is closed and dense in it; and over a convex region L is the largest ||J|| of the
    rest (Jordan and Dimakis 2020, arXiv:2003.01219, Theorem 1, for generic networks; here for all).
    Best first: of an open node, where some neurons have their sign and the others a range of slopes, the Jacobian is
    bounded entrywise about its centre; it is dropped when that is no more than what is already met, or when weights
    prove that its cell has no interior (`exact_cells`). Stopped by the deadline, the answer is the largest bound of
    what is open: valid at every time, exact at the end. Cells that nothing proves empty are counted, which keeps the
    bound sound and may cost exactness. On an unbounded region every pattern counts.
    """

    seconds: float = 15.0
    name: ClassVar[str] = "exact"
    label: ClassVar[str] = "branch and bound on sign patterns"

    def bound(self, problem: Problem) -> UpperBound:
        found = self._small(problem)
        if found is not None:
            raise Inapplicable(found)
        explored = self.explore(problem)
        if explored.point is not None:
            problem.hints.append(torch.as_tensor(explored.point).reshape(1, *problem.graph.input_shape))
        ended = "stopped" if not explored.complete else "ended" if explored.point is None else "exact"
        return UpperBound(explored.value, f"branch and bound on sign patterns, {ended} after {explored.nodes} nodes")

    def _small(self, problem: Problem) -> str | None:
        """Why it is not worth trying; None for a small network with few neurons that a bounded region leaves open."""
        if not problem.region.finite:
            return "it tells apart the cells of a bounded region: give one with --domain"
        if max(math.prod(size) for size in (problem.graph.input_shape, problem.graph.output_shape)) > MOST:
            return f"it is for networks of at most {MOST} inputs and outputs"
        try:
            count = pieces(problem).undecided()
        except Declined as why:
            return str(why)
        return f"the region leaves {count} neurons open, more than the {MOST} it is for" if count > MOST else None

    def explore(self, problem: Problem) -> Exploration:
        """The search itself, over a problem of one region. Raises Declined where the network is not of its kind."""
        if len(problem.region.lower) != 1:
            raise Declined("it explores one region at a time")
        deadline = min(problem.deadline, time.monotonic() + self.seconds)
        return _Search(pieces(problem), problem.norm, deadline).run()


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Node:
    """A cell with what is known of it: signs, bound of the Jacobian's norm, some points inside, its forms."""

    signs: tuple[np.ndarray, ...]
    cell: Cell
    points: np.ndarray
    forms: list[Form]
    bound: float
    box: tuple[np.ndarray, np.ndarray]


class _Search:
    def __init__(self, network: Pieces, norm: Norm, deadline: float) -> None:
        self.network, self.norm, self.deadline = network, norm, deadline
        self.bounded = bool(np.isfinite(network.low).all() and np.isfinite(network.high).all())
        self.order = itertools.count()

    def run(self) -> Exploration:
        heap: list[tuple[float, int, _Node]] = []
        self._push(heap, self._root())
        for count in itertools.count():
            if not heap:
                return Exploration(0.0, True, None, count)  # no cell has an interior: the region is a point
            if time.monotonic() > self.deadline:
                return Exploration(-heap[0][0], False, None, count)
            _, _, node = heapq.heappop(heap)
            choice = self._choice(node)
            if choice is None:  # best first: nothing that is left is larger
                return Exploration(node.bound, True, node.points[0] if len(node.points) else None, count + 1)
            for child in self._children(node, *choice):
                self._push(heap, child)
        raise AssertionError("counting does not end")

    def _push(self, heap: list[tuple[float, int, _Node]], node: _Node) -> None:
        heapq.heappush(heap, (-node.bound, next(self.order), node))

    def _root(self) -> _Node:
        inputs = len(self.network.low)
        signs = tuple(np.zeros(len(hinge.left), dtype=np.int8) for hinge in self.network.hinges)
        points = np.zeros((0, inputs))
        if self.bounded:
            share = np.random.default_rng(0).random((_POINTS, inputs))
            points = self.network.low + share * (self.network.high - self.network.low)
        return self._node(signs, Cell.whole(inputs), points, (self.network.low, self.network.high))

    def _node(
        self, signs: tuple[np.ndarray, ...], cell: Cell, points: np.ndarray, box: tuple[np.ndarray, np.ndarray]
    ) -> _Node:
        if self.bounded:
            for _ in range(2):
                box = shrunk(cell, *box)
        forms = self.network.forms(signs, box)
        return _Node(signs, cell, points, forms, norm_above(forms[self.network.output], self.norm), box)

    def _choice(self, node: _Node) -> tuple[Hinge, int] | None:
        """The neuron to decide next: of the first layer with open ones, the one whose slope matters most."""
        for hinge in self.network.hinges:
            form = node.forms[hinge.source]
            undecided = (node.signs[hinge.number] == 0) & (form.low < 0.0) & (form.high > 0.0)
            undecided &= hinge.left != hinge.right
            undecided &= (np.abs(form.slope) + form.slope_error > 0.0).any(1)
            if not undecided.any():
                continue
            weight = np.abs(hinge.right - hinge.left) * np.abs(form.slope).sum(1) * self._influence(hinge)
            return hinge, int(np.argmax(np.where(undecided, weight + 1e-300, -1.0)))
        return None

    def _influence(self, hinge: Hinge) -> np.ndarray:
        """[m]: how much the output may move with each neuron of the layer, by absolute weights; for the order only."""
        place = self.network.steps.index(hinge) + 1
        reach = {place: np.eye(len(hinge.left))}
        for at, step in enumerate(self.network.steps[place:], start=place + 1):
            if isinstance(step, Hinge):
                if step.source in reach:
                    reach[at] = np.maximum(np.abs(step.left), np.abs(step.right))[:, None] * reach[step.source]
                continue
            parts = [np.abs(m) @ reach[s] for m, s in zip(step.matrices, step.sources, strict=True) if s in reach]
            if parts:
                reach[at] = np.add.reduce(parts)
        return np.asarray(reach[self.network.output].sum(0)) if self.network.output in reach else np.ones(1)

    def _children(self, node: _Node, hinge: Hinge, neuron: int) -> list[_Node]:
        """Both sides of the neuron, without those that are proven to have no interior."""
        form = node.forms[hinge.source]
        found = []
        for sign in (1, -1):
            signs = tuple(
                np.where(np.arange(len(row)) == neuron, np.int8(sign), row) if number == hinge.number else row
                for number, row in enumerate(node.signs)
            )
            if not (form.whole and self.bounded):  # its side is no half-space here: both signs count
                found.append(self._node(signs, node.cell, node.points[:0], node.box))
                continue
            side = node.cell.cut(
                sign * form.slope[neuron],
                form.slope_error[neuron],
                sign * float(form.start[neuron]),
                float(form.start_error[neuron]),
            )
            points = node.points[sign * (node.points @ form.slope[neuron] + form.start[neuron]) > 0.0]
            if not len(points):
                look = look_inside(side, self.network.low, self.network.high)
                if look.point is None and self._refuted(side, look.weights):
                    continue
                points = points if look.point is None else look.point[None]
            found.append(self._node(signs, side, points, node.box))
        return found

    def _refuted(self, cell: Cell, weights: np.ndarray | None) -> bool:
        """Whether these weights, or firmer ones, prove that the cell has no interior."""
        low, high = self.network.low, self.network.high
        if is_flat(cell, low, high):
            return True
        if weights is not None and has_no_interior(cell, weights, low, high):
            return True
        firm = firm_weights(cell, low, high)
        return firm is not None and has_no_interior(cell, firm, low, high)


def norm_above(form: Form, norm: Norm) -> float:
    """The operator norm of every matrix within slope +- slope_error, at most."""
    if not form.slope.size:
        return 0.0
    largest = np.abs(form.slope) + form.slope_error
    if not np.isfinite(largest).all():
        return math.inf
    if norm is not Norm.L2:
        sums = largest.sum(0 if norm is Norm.L1 else 1)
        return mul_up(float(sums.max()), up(1.0 + gamma(max(largest.shape) + 2)))
    room = up(1.0 + gamma(max(largest.shape) + 2))
    error = [mul_up(float(form.slope_error.sum(axis).max()), room) for axis in (0, 1)]
    middle = dense_l2(torch.as_tensor(np.ascontiguousarray(form.slope))).value
    return add_up(middle, mul_up(sqrt_up(error[0]), sqrt_up(error[1])))
