"""Which of the graph's values are which of the state's, and what later nodes still need."""

from __future__ import annotations

import math

from lipaudit.engines.fourier_state import State
from lipaudit.engines.fourier_views import View
from lipaudit.graph.graph import Graph
from lipaudit.ops.affine import Affine


class Ledger:
    """Kept while the graph is walked; `place` is the node at hand, counted from 1."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.place = graph, 0
        self.uses: dict[int, list[tuple[int, int]]] = {}
        for place, node in enumerate(graph.nodes, start=1):
            for argument, source in enumerate(node.inputs):
                self.uses.setdefault(source, []).append((place, argument))
        self.named: dict[int, View] = {}
        self.early: dict[tuple[int, int], int] = {}  # what a node's argument contributes, where it is there already

    def name(self, view: View) -> None:
        """What the node at hand made; what nobody needs any more is forgotten."""
        self.named[self.place] = view
        for name in [name for name in self.named if not self.remaining(name)]:
            del self.named[name]

    def remaining(self, name: int) -> list[tuple[int, int]]:
        """The uses of a graph's value behind the node at hand that are not served yet."""
        found = [use for use in self.uses.get(name, []) if use[0] > self.place and use not in self.early]
        return [*found, (len(self.graph.nodes) + 1, 0)] if name == self.graph.output else found

    def alive(self, state: State, *more: int) -> list[int]:
        """The values of the state that later nodes need, and those given."""
        needed = {view.value for name, view in self.named.items() if self.remaining(name)} | set(more)
        needed |= self.pending()
        return [v for v in state.order if v in needed]

    def pending(self) -> set[int]:
        """The values that are what a later node's argument contributes."""
        return {value for (place, _), value in self.early.items() if place > self.place}

    def linear_uses(self, state: State, value: int) -> list[tuple[View, tuple[int, int], Affine]] | None:
        """The uses of a value by later nodes, where all are linear and together have fewer entries than it."""
        if value in self.pending():
            return None
        found = []
        for name, view in self.named.items():
            for place, argument in self.remaining(name) if view.value == value else ():
                op = self.graph.nodes[place - 1].op if place <= len(self.graph.nodes) else None
                if not isinstance(op, Affine):
                    return None
                found.append((view, (place, argument), op))
        total = sum(math.prod(op.out_shape) for _, _, op in found)
        return found if total <= state.values[value].entries else None
