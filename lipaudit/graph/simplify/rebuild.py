"""A graph with some of its nodes replaced by short chains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from lipaudit.graph.graph import Graph, Node
from lipaudit.ops.op import Op


@final
@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """Ops applied one after the other to a value of the old graph; kind and origin are for reports."""

    source: int
    ops: tuple[Op, ...]
    kind: str
    origin: tuple[str, ...]


def replace_nodes(graph: Graph, match: Callable[[int, Node], Chain | None]) -> Graph:
    """The graph with every value for which match(value, node) gives a chain computed by that chain instead."""
    nodes: list[Node] = []
    moved = {0: 0}
    for value, node in enumerate(graph.nodes, start=1):
        chain = match(value, node)
        if chain is None:
            nodes.append(Node(node.name, node.kind, node.op, tuple(moved[i] for i in node.inputs), node.origin))
            moved[value] = len(nodes)
            continue
        at = moved[chain.source]
        for op in chain.ops:
            nodes.append(Node(node.name, chain.kind, op, (at,), chain.origin))
            at = len(nodes)
        moved[value] = at
    return Graph(graph.input_shape, tuple(nodes), moved[graph.output])
