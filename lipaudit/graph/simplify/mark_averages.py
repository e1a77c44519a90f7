"""A product with the rows of a softmax is an average of the other factor's rows."""

from __future__ import annotations

from dataclasses import replace

from lipaudit.graph.graph import Graph, Node
from lipaudit.graph.simplify.pattern import softmax_rows
from lipaudit.ops.bilinear import MatMulData


def mark_averages(graph: Graph) -> Graph:
    """softmax(x) @ v with the shares known to be shares: its range is within that of v's rows."""
    nodes = tuple(_marked(graph, node) for node in graph.nodes)
    return Graph(graph.input_shape, nodes, graph.output)


def _marked(graph: Graph, node: Node) -> Node:
    if not isinstance(node.op, MatMulData) or softmax_rows(graph, node.inputs[0]) is None:
        return node
    return replace(node, op=replace(node.op, average=True))
