"""Max(a, b) and Min(a, b) of the same pair become one sort: 1-Lipschitz together, where apart they give sqrt(2)."""

from __future__ import annotations

import math

import torch

from lipaudit.graph.graph import Graph, Node
from lipaudit.linear.selection import Selection
from lipaudit.ops.affine import Affine
from lipaudit.ops.maxlike import PointwiseMax, SortPair, stacking


def pair_sorts(graph: Graph) -> Graph:
    """MaxMin (GroupSort of pairs), exported as Split, Max, Min and Concat, with its Max and Min as halves of a sort."""
    partner = _partners(graph)
    if not partner:
        return graph
    nodes: list[Node] = []
    moved = {0: 0}
    sorts: dict[int, int] = {}
    for place, node in enumerate(graph.nodes, start=1):
        inputs = tuple(moved[i] for i in node.inputs)
        if place not in partner:
            nodes.append(Node(node.name, node.kind, node.op, inputs, node.origin))
            moved[place] = len(nodes)
            continue
        assert isinstance(node.op, PointwiseMax)
        first, shape = min(place, partner[place]), node.op.shape
        if first not in sorts:
            names = (node.name, graph.nodes[partner[place] - 1].name)
            nodes.append(Node(node.name, "MaxMin", SortPair(shape), inputs, names))
            sorts[first] = len(nodes)
        stacked = (2, *shape)
        half = torch.arange(math.prod(stacked)).reshape(stacked)[0 if node.op.sign > 0 else 1]
        take = Affine((Selection.of(stacked, half),))
        nodes.append(Node(node.name, "Split", take, (sorts[first],), (node.name,)))
        moved[place] = len(nodes)
    return Graph(graph.input_shape, tuple(nodes), moved[graph.output])


def _partners(graph: Graph) -> dict[int, int]:
    """Max nodes and Min nodes of the same two values, each mapped to the other."""
    seen: dict[tuple[frozenset[int], float], int] = {}
    partners: dict[int, int] = {}
    for place, node in enumerate(graph.nodes, start=1):
        if not isinstance(node.op, PointwiseMax) or node.op.arity != 2:
            continue
        pair = _stacked(graph, node.inputs[0])
        other = seen.get((pair, -node.op.sign))
        if other is not None and other not in partners and len(pair) == 2:
            partners[other], partners[place] = place, other
        else:
            seen[pair, node.op.sign] = place
    return partners


def _stacked(graph: Graph, value: int) -> frozenset[int]:
    """The two values that a value is the stack of; empty where it is anything else."""
    node = graph.nodes[value - 1] if value else None
    if node is None or not isinstance(node.op, Affine) or node.op.offset is not None or len(node.inputs) != 2:
        return frozenset()
    plain = stacking(2, node.op.out_shape[1:])
    same = all(
        isinstance(part, Selection) and isinstance(half, Selection) and torch.equal(part.indices(), half.indices())
        for part, half in zip(node.op.maps, plain.maps, strict=True)
    )
    return frozenset(node.inputs) if same else frozenset()
