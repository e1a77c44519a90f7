"""Names in an ONNX graph and in the graphs inside its nodes: who defines a value, who uses it, in which order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import final

import onnx

from lipaudit.errors import InvalidInput, Unsupported
from lipaudit.ops.registry import Constant, Value


@final
class Refused:
    """A value that could not be built; what depends on it is not reported again."""


REFUSED = Refused()


def graphs_of(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """The graphs that a control-flow node holds."""
    single = [a.g for a in node.attribute if a.type == onnx.AttributeProto.GRAPH]
    return single + [graph for a in node.attribute if a.type == onnx.AttributeProto.GRAPHS for graph in a.graphs]


def all_graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graph and every graph inside it, at any depth."""
    waiting = [graph]
    while waiting:
        current = waiting.pop()
        yield current
        waiting += [inner for node in current.node for inner in graphs_of(node)]


def names_used(node: onnx.NodeProto) -> set[str]:
    """What a node reads: its arguments, and the outer values that its graphs read."""
    return {name for name in node.input if name} | {name for g in graphs_of(node) for name in outer_names(g)}


def outer_names(graph: onnx.GraphProto) -> set[str]:
    """The names that a graph reads and does not define."""
    used = {name for node in graph.node for name in names_used(node)} | {info.name for info in graph.output}
    defined = {info.name for info in graph.input} | {tensor.name for tensor in graph.initializer}
    return used - defined - {name for node in graph.node for name in node.output}


@final
class Names:
    """What one graph of the file defines, looked at once however often it is run."""

    def __init__(self, graph: onnx.GraphProto, path: Path) -> None:
        self.graph, self.path = graph, path
        self.stored = {tensor.name: tensor for tensor in graph.initializer}
        self.producer = {name: node for node in graph.node for name in node.output if name}
        self.used = {name for node in graph.node for name in names_used(node)}
        self.loaded: dict[str, Constant | Refused] = {}
        names = Counter(name for node in graph.node for name in node.output if name)
        names.update(tensor.name for tensor in graph.initializer)
        names.update(info.name for info in graph.input if info.name not in self.stored)
        if (twice := next((name for name, count in names.items() if count > 1), None)) is not None:
            raise InvalidInput(f"model {path} defines the value {twice!r} twice, so two runtimes may disagree on it")
        if graph.sparse_initializer:
            raise Unsupported("a graph inside it stores sparse tensors, which are not read; export without them")

    def order(
        self, wanted: Sequence[str], *, done: Iterable[int] = (), running: Iterable[int] = (), inner: bool = False
    ) -> list[onnx.NodeProto]:
        """The nodes that the wanted values need, arguments first, whatever their order in the file.

        done, running: ids of nodes that need not come again, and that may not. inner: what the graphs inside a node
        read counts as its argument; otherwise that is asked for when one of them is run.
        """
        order: list[onnx.NodeProto] = []
        state = dict.fromkeys(done, 2) | dict.fromkeys(running, 1)  # 1 open, 2 done
        still = set(running)
        stack = [self.producer[name] for name in reversed(wanted) if name in self.producer]
        while stack:
            node = stack[-1]
            if state.get(id(node)) == 2:
                stack.pop()
                continue
            if id(node) in still:
                raise self._cycle(node)
            names = names_used(node) if inner else node.input
            waiting = [self.producer[n] for n in names if n in self.producer]
            waiting = [p for p in waiting if state.get(id(p)) != 2]
            if not waiting:
                state[id(node)] = 2
                order.append(node)
                stack.pop()
                continue
            if state.get(id(node)) == 1 and any(state.get(id(p)) == 1 for p in waiting):
                raise self._cycle(node)
            state[id(node)] = 1
            stack.extend(waiting)
        return order

    def _cycle(self, node: onnx.NodeProto) -> InvalidInput:
        return InvalidInput(f"model {self.path} has a cycle at node {node.name!r}")


@final
class Scope:
    """One run of a graph: the values of its names so far, and the scope around it.

    label: what tells this run's nodes from those of another ('[3]'); wanted: names that are used from outside.
    """

    def __init__(
        self,
        names: Names,
        outer: Scope | None = None,
        values: Mapping[str, Value | Refused] | None = None,
        label: str = "",
        wanted: Iterable[str] = (),
    ) -> None:
        self.names, self.outer, self.label = names, outer, label
        self.values: dict[str, Value | Refused] = dict(values or {})
        self.used = names.used | set(wanted)
        self.done: set[int] = set()
        self.running: set[int] = set()
