"""Node and Graph: frozen, in topological order, with concrete shapes. Value 0 is the input, value i + 1 node i."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, final

import torch

from lipaudit.linear.map import Shape
from lipaudit.ops.op import Op

T = TypeVar("T")


@final
@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One application of an op.

    name: of the ONNX node it came from; kind: the ONNX op, or what the node became ('Gemm', 'Conv+BatchNormalization').
    inputs: indices of values; origin: the names of all the ONNX nodes merged into it.
    """

    name: str
    kind: str
    op: Op
    inputs: tuple[int, ...]
    origin: tuple[str, ...] = ()


@final
@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """A function of one tensor of input_shape: the value number `output`."""

    input_shape: Shape
    nodes: tuple[Node, ...]
    output: int

    def __post_init__(self) -> None:
        shapes = [self.input_shape]
        for place, node in enumerate(self.nodes):
            if not all(0 <= i <= place for i in node.inputs):
                raise ValueError(f"{node.name} uses a value that is not there yet")
            given = tuple(shapes[i] for i in node.inputs)
            if given != node.op.in_shapes:
                raise ValueError(f"{node.name} takes {node.op.in_shapes}, not {given}")
            shapes.append(node.op.out_shape)
        if not 0 <= self.output < len(shapes):
            raise ValueError("the output is not a value of the graph")

    def shape(self, value: int) -> Shape:
        return self.input_shape if value == 0 else self.nodes[value - 1].op.out_shape

    @property
    def output_shape(self) -> Shape:
        return self.shape(self.output)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The function at every row of a float64 batch [B, *input_shape]; differentiable, no parameter requires it."""
        return evaluate(self, x, lambda node, args: node.op.forward(*args))

    @property
    def batch(self) -> int:
        """How many samples may go through at once, so that one value of theirs stays within 128 MiB."""
        largest = max(torch.Size(self.shape(i)).numel() for i in range(len(self.nodes) + 1))
        return max(1, 2**24 // max(1, largest))


def evaluate(graph: Graph, initial: T, rule: Callable[[Node, tuple[T, ...]], T]) -> T:
    """The output's answer alone; what no later node needs is let go."""
    answers: dict[int, T] = {0: initial}
    last_use = {i: place for place, node in enumerate(graph.nodes) for i in node.inputs}
    for place, node in enumerate(graph.nodes):
        answers[place + 1] = rule(node, tuple(answers[i] for i in node.inputs))
        for i in set(node.inputs):
            if last_use[i] == place and i != graph.output:
                del answers[i]
    return answers[graph.output]


def fold(graph: Graph, initial: T, rule: Callable[[Node, tuple[T, ...]], T]) -> list[T]:
    """Every value's answer to one question: `initial` for the input, then rule(node, arguments' answers) in order."""
    answers = [initial]
    for node in graph.nodes:
        answers.append(rule(node, tuple(answers[i] for i in node.inputs)))
    return answers


def prune(graph: Graph) -> Graph:
    """The same function without the nodes its output does not need."""
    needed = {graph.output}
    for place in range(len(graph.nodes), 0, -1):
        if place in needed:
            needed.update(graph.nodes[place - 1].inputs)
    renumbered, nodes = {0: 0}, []
    for place, node in enumerate(graph.nodes, start=1):
        if place in needed:
            moved = tuple(renumbered[i] for i in node.inputs)
            nodes.append(Node(node.name, node.kind, node.op, moved, node.origin))
            renumbered[place] = len(nodes)
    return Graph(graph.input_shape, tuple(nodes), renumbered[graph.output])


def append(graph: Graph, name: str, kind: str, op: Op) -> Graph:
    """The graph with op applied to its output."""
    nodes = (*graph.nodes, Node(name, kind, op, (graph.output,), (name,)))
    return Graph(graph.input_shape, nodes, len(nodes))


def prepend(graph: Graph, name: str, kind: str, op: Op) -> Graph:
    """The graph applied to op of the input (declared preprocessing, say)."""
    first = Node(name, kind, op, (0,), (name,))
    shifted = (Node(n.name, n.kind, n.op, tuple(i + 1 for i in n.inputs), n.origin) for n in graph.nodes)
    return Graph(op.in_shapes[0], (first, *shifted), graph.output + 1)
