"""The l2 constant of networks with one hidden layer, by branch and bound on the slopes of its neurons."""

from __future__ import annotations

import heapq
import itertools
import math
import time
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch

from lipaudit.engines.corners_ascent import Corner
from lipaudit.engines.corners_node import Hidden, Node
from lipaudit.engines.ellipsoid_balance import balanced
from lipaudit.engines.ellipsoid_build import program
from lipaudit.engines.ellipsoid_program import Linear, Slope
from lipaudit.engines.engine import Declined, Engine, Inapplicable, Interrupted
from lipaudit.graph.problem import Problem
from lipaudit.numerics.bound import UpperBound
from lipaudit.numerics.norms import Norm
from lipaudit.ops.affine import Affine
from lipaudit.ops.elementwise import Elementwise

MOST = 200
"""Hidden neurons."""

CLOSE = 5e-10
"""The bound is as good as the best corner within this, relative."""

NODES = 400
"""Nodes that may be opened."""

_HINGES = ("Relu", "LeakyRelu", "PRelu", "Abs")
"""Functions of two slopes, left and right of 0."""

_PATIENCE = 16
"""Nodes after which the first gap must have shrunk to `_HOPE` of itself, and again after every doubling."""
_HOPE = 0.75

_WIDE = 100
"""Hidden neurons up to which there is all that patience: a node's work grows with their cube, its bound slower."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Closed:
    """What became of the branch and bound.

    value: proven. best: the best corner known. complete: whether both are the same up to `CLOSE`. nodes: opened.
    """

    value: float
    best: Corner
    complete: bool
    nodes: int


@final
@dataclass(frozen=True, slots=True)
class Corners(Engine):
    """L <= max ||W2 D W1||_2 over the corners D of the slopes of f(x) = W2 phi(W1 x + b1) + b2.

    phi: ReLU, LeakyReLU, PReLU or the absolute value, of two slopes each. ||W2 D W1|| is convex in D, so that over a
    box of slopes it is largest at a corner. Without a domain, and where W1 has full row rank, every pattern of signs
    has a cell with an interior, so that the maximum is attained: it is L. With a domain, or fewer inputs than neurons,
    some patterns may have none, and it is an upper bound.
    Best first: an open node has some neurons at an end of their slopes, and is bounded by LipSDP-Neuron for the others
    (Fazlyab et al. 2019, arXiv:1906.04893; proven for any multipliers, see `ellipsoid_verify`). No node is ever
    dropped, only replaced by its two halves: the largest bound of those that are left is valid at every time.
    The answer is called exact where it is the norm of a corner, up to `CLOSE`, that a point of the region has for its
    signs; this point is handed on to the search from below, which proves that it is attained.
    Steps are counted, so that the answer is the same on every machine unless `seconds` cut it short.
    """

    seconds: float = 5.0
    name: ClassVar[str] = "corners"
    label: ClassVar[str] = "branch and bound on slope corners"
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.L2})

    def bound(self, problem: Problem) -> UpperBound:
        hidden = hidden_layer(problem)
        closed = self.close(hidden, min(problem.deadline, time.monotonic() + self.seconds))
        point = realised(problem, closed.best.upper)
        if point is not None:
            problem.hints.append(point)
        ended = "stopped" if not closed.complete else "ended" if point is None else "exact"
        return UpperBound(closed.value, f"{self.label}, {ended} after {closed.nodes} nodes")

    def close(self, hidden: Hidden, deadline: float = math.inf) -> Closed:
        """The search itself. Raises Declined where not even the first node has a bound, Interrupted on Ctrl-C."""
        best = hidden.sides.best()
        root = hidden.node((hidden.low == hidden.high).numpy().astype(np.int8), None, deadline)
        if not root.bound < math.inf:
            raise Declined("no multipliers proved a bound")
        order = itertools.count()
        heap: list[tuple[float, int, Node]] = [(-root.bound, next(order), root)]
        first, patience = root.bound - hidden.value(best.value), _patience(len(hidden.low))
        try:
            for opened in itertools.count():
                node = heap[0][2]
                best = max(best, hidden.sides.ascended(node.worst), key=lambda corner: corner.value)
                met = hidden.value(best.value)
                if node.bound <= met * (1.0 + CLOSE):
                    return Closed(node.bound, best, True, opened)
                spent = opened >= NODES or time.monotonic() > deadline or not node.open.any()
                if spent or _hopeless(opened / patience, (node.bound - met) / first):
                    return Closed(node.bound, best, False, opened)
                halves = [hidden.node(half, node, deadline) for half in node.halves()]
                heapq.heappop(heap)
                for half in halves:
                    heapq.heappush(heap, (-half.bound, next(order), half))
        except KeyboardInterrupt:
            raise Interrupted(UpperBound(-heap[0][0], f"{self.label}, stopped")) from None
        raise AssertionError("counting does not end")


def _patience(neurons: int) -> int:
    return max(2, round(_PATIENCE * min(1.0, (_WIDE / neurons) ** 2)))


def _hopeless(waits: float, share: float) -> bool:
    """Whether the gap, of which this share is left, closes too slowly for the rest to be worth its time."""
    doublings = math.log2(waits) if waits >= 1.0 else -1.0
    return doublings >= 0.0 and doublings.is_integer() and share > _HOPE ** (doublings + 1.0)


def hidden_layer(problem: Problem) -> Hidden:
    """The problem as one hidden layer. Raises Inapplicable where it is anything else, or too wide."""
    if problem.norm is not Norm.L2:
        raise Inapplicable("it knows the l2 norm")
    nodes = problem.graph.nodes
    layered = [node.inputs for node in nodes] == [(0,), (1,), (2,)] and problem.graph.output == 3
    if not layered or not isinstance(nodes[0].op, Affine) or not isinstance(nodes[2].op, Affine):
        raise Inapplicable("it is for networks of one hidden layer")
    bend = nodes[1].op
    if not isinstance(bend, Elementwise) or bend.function.name not in _HINGES:
        raise Inapplicable("it is for hidden neurons of two slopes")
    count = math.prod(bend.out_shape)
    if count > MOST:
        raise Inapplicable(f"{count} hidden neurons are more than the {MOST} it is for")
    low, high = _slopes(problem)
    sizes = torch.cat([low.abs(), high.abs()])
    if not bool((sizes.isfinite() & ((sizes == 0.0) | (sizes > 2.0**-500))).all()):
        raise Declined("a slope is out of range")
    steps = balanced(program(problem))
    if [type(step) for step in steps.steps] != [Linear, Slope, Linear]:
        raise Inapplicable("it is for networks of one hidden layer")
    return Hidden.of(steps, low, high)


def _slopes(problem: Problem) -> tuple[torch.Tensor, torch.Tensor]:
    """The ends [m] of the hidden neurons' slopes, over all boxes of the region."""
    node = problem.graph.nodes[1]
    assert isinstance(node.op, Elementwise)
    slopes = node.op.slopes(problem.arguments(node)[0])
    return slopes.lower.flatten(1).amin(0), slopes.upper.flatten(1).amax(0)


def realised(problem: Problem, upper: np.ndarray) -> torch.Tensor | None:
    """A point [1, *input_shape] of the region whose neurons have these slopes, the larger or the smaller; else None.

    W1 x + b1 = t s for the signs s, with t large beside b1, by least squares; believed only where the signs come out,
    and clear of rounding.
    Neurons that never move, or never move the output, or have one slope, may have any.
    """
    first, bend, last = (node.op for node in problem.graph.nodes)
    assert isinstance(first, Affine)
    assert isinstance(bend, Elementwise)
    assert isinstance(last, Affine)
    matrix, after = first.maps[0].as_matrix().numpy(), last.maps[0].as_matrix().numpy()
    offset = np.zeros(len(matrix)) if first.offset is None else first.offset.reshape(-1).numpy()
    left, right = (
        torch.as_tensor(value, dtype=torch.float64).expand(bend.shape).reshape(-1).numpy()
        for value in bend.function.slope_limits
    )
    free = matrix.any(1) & after.any(0) & (left != right)
    signs = np.where(upper == (right > left), 1.0, -1.0)[free]
    if not free.any():
        return None
    target = (1.0 + 4.0 * float(np.abs(offset).max())) * signs - offset[free]
    x = np.linalg.lstsq(matrix[free], target, rcond=None)[0]
    if not np.isfinite(x).all() or not bool((signs * (matrix[free] @ x + offset[free]) > 2.0**-20).all()):
        return None
    point = torch.from_numpy(x).reshape(1, *problem.graph.input_shape)
    return point if problem.region.contains(point) else None
