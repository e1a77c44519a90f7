"""max(a x, b x) and min(a x, b x) become one kinked line: a leaky ReLU."""

from __future__ import annotations

from lipaudit.graph.graph import Graph, Node
from lipaudit.graph.simplify.pattern import factors, maker, names_between, polynomial
from lipaudit.graph.simplify.rebuild import Chain, replace_nodes
from lipaudit.linear.selection import Selection
from lipaudit.ops import activations
from lipaudit.ops.affine import Affine
from lipaudit.ops.elementwise import Elementwise
from lipaudit.ops.maxlike import PointwiseMax


def fuse_leaky(graph: Graph) -> Graph:
    """For a > b, max(a x, b x) is b x below 0 and a x above; the min the other way round."""
    return replace_nodes(graph, lambda value, node: _match(graph, value, node))


def _match(graph: Graph, value: int, node: Node) -> Chain | None:
    if not isinstance(node.op, PointwiseMax) or node.op.arity != 2:
        return None
    stacked = maker(graph, node.inputs[0])
    if stacked is None or len(stacked.inputs) != 2 or not _stacks(stacked.op):
        return None
    x = min(leaf for argument in stacked.inputs for leaf in factors(graph, argument)[1])
    slopes = []
    for argument in stacked.inputs:
        line = polynomial(graph, argument, x)
        if line is None or set(line) - {1} or not line.get(1) or not line[1].exact:
            return None
        slopes.append(float(line[1].value))
    left, right = (min(slopes), max(slopes)) if node.op.sign > 0 else (max(slopes), min(slopes))
    op = Elementwise(activations.kinked("LeakyRelu", 0.0, left, right), node.op.shape)
    return Chain(x, (op,), "LeakyRelu", names_between(graph, value, x))


def _stacks(op: object) -> bool:
    """Whether the op puts two whole tensors behind one another (and does nothing else)."""
    if not isinstance(op, Affine) or op.offset is not None:
        return False
    maps = [part for part in op.maps if isinstance(part, Selection)]
    if len(maps) != 2 or len(op.maps) != 2 or maps[0].source != maps[1].source:
        return False
    size = maps[0].in_size
    first, second = (part.indices() for part in maps)
    counting = Selection.reshape(maps[0].source, maps[0].source).indices()
    return len(first) == 2 * size and bool((first[:size] == counting).all() and (second[size:] == counting).all())
