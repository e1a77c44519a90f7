"""The root of a sum of squares becomes a 2-norm: 1-Lipschitz, where the square and the root apart have no constant."""

from __future__ import annotations

import math

import torch

from lipaudit.graph.graph import Graph, Node
from lipaudit.graph.simplify.pattern import function_of, maker, moves, names_between, pieces
from lipaudit.graph.simplify.rebuild import Chain, replace_nodes
from lipaudit.linear.selection import NOTHING, Selection
from lipaudit.ops.affine import Affine
from lipaudit.ops.elementwise import Elementwise
from lipaudit.ops.lengths import WindowNorm
from lipaudit.ops.op import Op


def fuse_lengths(graph: Graph) -> Graph:
    """sqrt(sum over some entries of x_j^2) for squares of one value: a p-norm of windows of it, with p = 2."""
    return replace_nodes(graph, lambda value, node: _match(graph, value, node))


def _match(graph: Graph, value: int, node: Node) -> Chain | None:
    if not isinstance(node.op, Elementwise) or node.op.function.name not in ("Sqrt", "Pow(0.5)"):
        return None
    rows = _squares(graph, node.inputs[0])
    if rows is None:
        return None
    x, pairs = rows
    windows = _windows(pairs, math.prod(node.op.shape))
    if windows is None:
        return None
    op: Op = WindowNorm(windows, graph.shape(x), node.op.shape, 2.0)
    return Chain(x, (op,), "ReduceL2", names_between(graph, value, x))


Pairs = list[tuple[torch.Tensor, torch.Tensor]]


def _squares(graph: Graph, value: int, depth: int = 8) -> tuple[int, Pairs] | None:
    """(x, (outputs, inputs)...) for a value whose entries are sums of squares of entries of x."""
    found = function_of(graph, value, "Pow(2)")
    size = math.prod(graph.shape(value))
    if found is not None:
        return _through(graph, found[1], [(torch.arange(size), torch.arange(size))])
    node = maker(graph, value) if depth else None
    if node is None or not isinstance(node.op, Affine) or node.op.offset is not None:
        return None
    source: int | None = None
    pairs: Pairs = []
    for part, argument in zip(node.op.maps, node.inputs, strict=True):
        inner = _squares(graph, argument, depth - 1)
        if inner is None or (source is not None and inner[0] != source):
            return None
        source, carried = inner
        for piece in pieces(part):
            moved = moves(piece)
            if moved is None:
                return None
            carried = [_joined(outer, pair, piece.in_size) for outer in moved for pair in carried]
        pairs += carried
    return None if source is None else (source, pairs)


def _through(graph: Graph, value: int, pairs: Pairs) -> tuple[int, Pairs]:
    """The same, of what the value selects its entries from (the halves of a split have one source)."""
    node = maker(graph, value)
    if node is None or not isinstance(node.op, Affine) or node.op.offset is not None or len(node.inputs) != 1:
        return value, pairs
    part = node.op.linear
    if not isinstance(part, Selection) or bool((part.indices() == NOTHING).any()):
        return value, pairs
    index = part.indices()
    return _through(graph, node.inputs[0], [(outputs, index[inputs]) for outputs, inputs in pairs])


def _joined(
    outer: tuple[torch.Tensor, torch.Tensor], inner: tuple[torch.Tensor, torch.Tensor], size: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pairs (k, j) for every (k, i) in outer and (i, j) in inner; i < size."""
    order = torch.argsort(inner[0], stable=True)
    counts = torch.bincount(inner[0], minlength=size)
    starts = torch.cumsum(counts, 0) - counts
    times = counts[outer[1]]
    outputs = torch.repeat_interleave(outer[0], times)
    within = torch.arange(len(outputs)) - torch.repeat_interleave(torch.cumsum(times, 0) - times, times)
    places = torch.repeat_interleave(starts[outer[1]], times) + within
    return outputs, inner[1][order][places]


def _windows(pairs: Pairs, size: int) -> torch.Tensor | None:
    """[size, width] from pairs (window, entry); None where a window is empty or has one entry twice."""
    outputs, inputs = (torch.cat([pair[side] for pair in pairs]) for side in (0, 1))
    counts = torch.bincount(outputs, minlength=size)
    distinct = set(zip(outputs.tolist(), inputs.tolist(), strict=True))
    if not len(outputs) or int(counts.min()) == 0 or len(distinct) < len(outputs):
        return None
    order = torch.argsort(outputs, stable=True)
    within = torch.arange(len(outputs)) - torch.repeat_interleave(torch.cumsum(counts, 0) - counts, counts)
    windows = torch.full((size, int(counts.max())), NOTHING)
    windows[outputs[order], within] = inputs[order]
    return windows
