"""Maxima as ReLUs of differences: the same function, in nodes that every relaxation knows how to treat.

max(a, b) = a + relu(b - a) and min(a, b) = a - relu(a - b), so the largest of a window is a tree of them, two by two.
The neurons' own inputs are then values of the graph, b - a: their ranges are relaxed like any other's, where a range of
b less one of a knows nothing of what both have in common; and each is two half-lines, which lines and cells are about.
A ReLU before a maximum is moved behind it, as max(relu(a), relu(b)) = relu(max(a, b)): one neuron in the place of every
entry's.
"""

from __future__ import annotations

import torch

from lipaudit.graph.graph import Graph, Node, prune
from lipaudit.linear.map import Compose, LinearMap, Shape
from lipaudit.linear.pointwise import Diagonal
from lipaudit.linear.selection import NOTHING, Selection
from lipaudit.numerics.box import Box
from lipaudit.ops import activations
from lipaudit.ops.affine import Affine
from lipaudit.ops.elementwise import Elementwise
from lipaudit.ops.maxlike import PointwiseMax, WindowMax
from lipaudit.ops.scalar import Scalar
from lipaudit.ranges.local import kink, stacked


def hinged(graph: Graph) -> Graph:
    """The same function, its maxima of windows and of several values written as above."""
    nodes: list[Node] = []
    moved = {0: 0}
    for place, node in enumerate(graph.nodes, start=1):
        inputs, windows = tuple(moved[i] for i in node.inputs), windows_of(node)
        if windows is None:
            nodes.append(Node(node.name, node.kind, node.op, inputs, node.origin))
        else:
            function = _before(graph, node)
            source = inputs[0] if function is None else moved[graph.nodes[node.inputs[0] - 1].inputs[0]]
            _tree(nodes, node, windows, source)
            if function is not None:
                after = Elementwise(function, node.op.out_shape)
                nodes.append(Node(node.name, function.name, after, (len(nodes),), node.origin))
        moved[place] = len(nodes)
    return prune(Graph(graph.input_shape, tuple(nodes), moved[graph.output]))


def windows_of(node: Node) -> torch.Tensor | None:
    """The windows of a maximum as in `WindowMax`, None of any other node."""
    match node.op:
        case WindowMax(windows=windows):
            pass
        case PointwiseMax():
            windows = stacked(node.op)
        case _:
            return None
    return windows if windows.numel() and bool((windows != NOTHING).any(1).all()) else None


def _tree(nodes: list[Node], node: Node, windows: torch.Tensor, source: int) -> None:
    """Appends nodes that take every window of a value to its largest (or smallest) entry."""
    assert isinstance(node.op, WindowMax | PointwiseMax)
    shape, target = node.op.in_shapes[0], node.op.out_shape
    sign, at = node.op.sign, source
    while True:
        half = (windows.shape[1] + 1) // 2
        first, second = windows[:, :half], windows[:, half:]
        second = torch.cat([second, first.new_full((len(second), half - second.shape[1]), NOTHING)], 1)
        a, b = torch.where(first == NOTHING, second, first), torch.where(first == NOTHING, NOTHING, second)
        empty = a == NOTHING  # of some entry, which no later window reads
        a = torch.where(empty, windows.amax(1, keepdim=True), a)
        into = target if half == 1 else (a.numel(),)
        at = _larger(nodes, node, (a.reshape(-1), b.reshape(-1)), sign, at, (shape, into))
        if half == 1:
            return
        windows, shape = torch.where(empty, NOTHING, torch.arange(a.numel()).reshape(a.shape)), into


def _larger(
    nodes: list[Node],
    node: Node,
    pairs: tuple[torch.Tensor, torch.Tensor],
    sign: float,
    value: int,
    shapes: tuple[Shape, Shape],
) -> int:
    """Appends max(a, b) of pairs of flat entries of a value, where b is NOTHING a alone; sign -1: min."""
    (a, b), (shape, target) = pairs, shapes
    here = (b != NOTHING).nonzero()[:, 0]
    alone = Selection.of(shape, a.reshape(target))
    if not len(here):
        nodes.append(Node(node.name, "Gather", Affine((alone,)), (value,), node.origin))
        return len(nodes)
    count = (len(here),)
    ends: list[LinearMap] = [Selection.of(shape, b[here]), Selection.of(shape, a[here])]
    minus = Diagonal(torch.full((), -1.0, dtype=torch.float64), count)
    ends[sign > 0] = Compose((ends[sign > 0], minus))
    nodes.append(Node(node.name, "Sub", Affine(tuple(ends)), (value, value), node.origin))
    nodes.append(Node(node.name, "Relu", Elementwise(activations.relu(), count), (len(nodes),), node.origin))
    back = torch.full((len(a),), NOTHING).scatter(0, here, torch.arange(len(here))).reshape(target)
    rise: LinearMap = Selection.of(count, back)
    if sign < 0:
        rise = Compose((rise, Diagonal(torch.full((), -1.0, dtype=torch.float64), target)))
    known = WindowMax(torch.stack([a, b], 1), shape, target, sign)
    nodes.append(Node(node.name, node.kind, Affine((alone, rise), also=known), (value, len(nodes)), node.origin))
    return len(nodes)


def _before(graph: Graph, node: Node) -> Scalar | None:
    """The rising function of two half-lines, the same for every entry, that a maximum alone reads the values of."""
    read = node.inputs[0]
    if not read or read == graph.output or sum(read in other.inputs for other in graph.nodes) != 1:
        return None
    op = graph.nodes[read - 1].op
    if not isinstance(op, Elementwise) or len(op.function.slope_marks) != 1:
        return None
    f = op.function
    marks = [x for mark in (*f.value_marks, *f.slope_marks) for x in (mark.at, *mark.values)]
    if any(isinstance(x, torch.Tensor) for x in (*marks, *f.limits, *f.slope_limits)):
        return None
    everywhere = torch.full((1, 1), torch.inf, dtype=torch.float64)
    rising = bool((f.slope_range(Box(-everywhere, everywhere)).lower >= 0).all())
    return f if rising and kink(f, (1,)) is not None else None
