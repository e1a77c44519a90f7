"""Runs of affine nodes become one: adjacent linear maps are merged before their norm is taken."""

from __future__ import annotations

from dataclasses import dataclass

from lipaudit.graph.graph import Graph, Node
from lipaudit.linear.fuse import is_identity
from lipaudit.ops.affine import Affine, merge_arguments


@dataclass(frozen=True, slots=True, eq=False)
class _Form:
    """A value as op(sources), with op affine (or None for a source itself) and what it was merged from."""

    op: Affine | None
    sources: tuple[int, ...]
    names: tuple[tuple[str, str], ...] = ()


def merge_affine(graph: Graph) -> Graph:
    """Every affine node takes its affine single-source arguments into itself; arguments of one source are added up.

    A node that joins two or more sources (a residual add, a concatenation) stays where it is: distributing what
    follows over it would repeat work on every path.
    """
    rewriter = _Rewriter()
    forms = [_Form(None, (0,))]
    for node in graph.nodes:
        arguments = [forms[i] for i in node.inputs]
        if isinstance(node.op, Affine):
            forms.append(rewriter.affine(node, node.op, arguments))
        else:
            forms.append(rewriter.settle_node(node, arguments))
    output = rewriter.materialise(forms[graph.output])
    return Graph(graph.input_shape, tuple(rewriter.nodes), output)


class _Rewriter:
    """Collects the nodes of the new graph."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self._done: dict[int, tuple[_Form, int]] = {}  # the form is kept, so that its id stays its own

    def affine(self, node: Node, op: Affine, arguments: list[_Form]) -> _Form:
        sources: list[int] = []
        names: list[tuple[str, str]] = []
        place = 0
        for form in arguments:
            if form.op is not None:
                op = op.after(place, form.op)
                names.extend(form.names)
            sources.extend(form.sources)
            place += len(form.sources)
        merged, keys = merge_arguments(op, tuple(sources))
        names.append((node.name, node.kind))
        # an argument that is used twice brings its names once: doubled each time, they would be exponentially many
        form = _Form(merged, keys, tuple(dict.fromkeys(names)))
        return form if len(keys) == 1 else _Form(None, (self.materialise(form),))

    def settle_node(self, node: Node, arguments: list[_Form]) -> _Form:
        inputs = tuple(self.materialise(form) for form in arguments)
        self.nodes.append(Node(node.name, node.kind, node.op, inputs, node.origin or (node.name,)))
        return _Form(None, (len(self.nodes),))

    def materialise(self, form: _Form) -> int:
        """The index of a value of the new graph that holds the form; nothing is added for an identity."""
        if form.op is None:
            return form.sources[0]
        if form.op.offset is None and len(form.sources) == 1 and is_identity(form.op.linear):
            return form.sources[0]
        if id(form) not in self._done:
            name, kind = _label(form)
            origin = tuple(n for n, _ in form.names)
            self.nodes.append(Node(name, kind, form.op, form.sources, origin))
            self._done[id(form)] = (form, len(self.nodes))
        return self._done[id(form)][1]


def _label(form: _Form) -> tuple[str, str]:
    """The name of the weightiest node merged here, and the kinds in order without mere moves of entries."""
    names = list(dict.fromkeys(form.names))
    telling = [(name, kind) for name, kind in names if kind not in _MOVES] or names[-1:]
    main = next((pair for pair in telling if pair[1] in _WEIGHTS), telling[-1])
    return main[0], "+".join(dict.fromkeys(kind for _, kind in telling))


_WEIGHTS = {"Gemm", "MatMul", "Conv", "ConvTranspose"}
_MOVES = frozenset(
    "Flatten Reshape Squeeze Unsqueeze Identity Transpose Dropout Cast Split Slice Concat Gather Max Min Input".split()
)
