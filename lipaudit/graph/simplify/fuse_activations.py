"""Activations that an exporter took apart become one scalar function again, bounded by its true slope.

x * sigmoid(x) as a product of two variables has no global constant; as SiLU it has 1.0998.
"""

from __future__ import annotations

import math

from lipaudit.graph.graph import Graph, Node
from lipaudit.linear.pointwise import Diagonal
from lipaudit.ops import activations
from lipaudit.ops.affine import Affine
from lipaudit.ops.bilinear import Multiply
from lipaudit.ops.elementwise import Elementwise
from lipaudit.ops.scalar import Scalar


def fuse_activations(graph: Graph) -> Graph:
    """SiLU as Mul(x, Sigmoid(a x)) and Mish as Mul(x, Tanh(Softplus(x))), factors in either order."""
    nodes = list(graph.nodes)
    for place, node in enumerate(graph.nodes):
        found = _activation(graph, node)
        if found is not None:
            function, argument, origin = found
            op = Elementwise(function, graph.shape(argument))
            nodes[place] = Node(node.name, function.name, op, (argument,), origin)
    return Graph(graph.input_shape, tuple(nodes), graph.output)


def _activation(graph: Graph, node: Node) -> tuple[Scalar, int, tuple[str, ...]] | None:
    if not isinstance(node.op, Multiply):
        return None
    for x, gate in (node.inputs, node.inputs[::-1]):
        if (function := _gate(graph, x, gate)) is not None:
            return function, x, (*_between(graph, x, gate), node.name)
    return None


def _gate(graph: Graph, x: int, gate: int) -> Scalar | None:
    """The activation that x * value(gate) is, where the gate is a known function of x."""
    node = _node(graph, gate)
    if node is None or not isinstance(node.op, Elementwise):
        return None
    (inner,) = node.inputs
    match node.op.function.name:
        case "Sigmoid":
            scale = _multiple(graph, inner, x)
            return None if scale is None else activations.swish(scale)
        case "Tanh":
            softplus = _node(graph, inner)
            plain = softplus is not None and isinstance(softplus.op, Elementwise) and softplus.inputs == (x,)
            if plain and softplus is not None and isinstance(softplus.op, Elementwise):
                return activations.mish() if softplus.op.function.name == "Softplus" else None
    return None


def _multiple(graph: Graph, value: int, x: int) -> float | None:
    """a where value = a x for a single number a."""
    if value == x:
        return 1.0
    node = _node(graph, value)
    if node is None or node.inputs != (x,) or not isinstance(node.op, Affine) or node.op.offset is not None:
        return None
    part = node.op.linear
    if isinstance(part, Diagonal) and part.scale.numel() == 1 and part.scale_roundings == 0:
        scale = float(part.scale.reshape(()))
        return scale if scale != 0.0 and math.isfinite(scale) else None
    return None


def _node(graph: Graph, value: int) -> Node | None:
    return graph.nodes[value - 1] if value else None


def _between(graph: Graph, x: int, value: int) -> tuple[str, ...]:
    """The names of the single-argument nodes on the way from x to value."""
    names: list[str] = []
    while value != x and (node := _node(graph, value)) is not None:
        names.append(node.name)
        value = node.inputs[0]
    return tuple(reversed(names))
