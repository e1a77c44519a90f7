"""Normalisations that an exporter took apart: layer and RMS norms, and vectors divided by their length."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import final

import torch

from lipaudit.graph.graph import Graph, Node
from lipaudit.graph.simplify.pattern import function_of, maker, names_between, pieces, plain, uniform
from lipaudit.graph.simplify.rebuild import Chain, replace_nodes
from lipaudit.linear.map import Adjoint, LinearMap
from lipaudit.linear.pointwise import Diagonal
from lipaudit.linear.selection import NOTHING, Selection
from lipaudit.ops.affine import Affine
from lipaudit.ops.bilinear import Divide, Multiply
from lipaudit.ops.lengths import WindowNorm
from lipaudit.ops.op import Op
from lipaudit.ops.scaled import RootMeanSquare, UnitVector
from lipaudit.ops.smooth import Normalise


def fuse_normalise(graph: Graph) -> Graph:
    """x / sqrt(mean x^2 + eps), (x - mean) / sqrt(var + eps), and x / max(|x|, e), x / (|x| + e), x / |x|."""
    return replace_nodes(graph, lambda value, node: _match(graph, value, node))


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Groups:
    """group[j]: to which group entry j of a value belongs, count groups of equal size."""

    group: torch.Tensor
    count: int

    @property
    def size(self) -> int:
        return len(self.group) // self.count

    @property
    def rows(self) -> torch.Tensor:
        """The entries of each group, [count, size]."""
        return torch.argsort(self.group, stable=True).reshape(self.count, self.size)

    def same(self, other: _Groups) -> bool:
        return self.count == other.count and torch.equal(self.group, other.group)


def _match(graph: Graph, value: int, node: Node) -> Chain | None:
    if isinstance(node.op, Divide):
        return _normalised(graph, value, node.inputs[0], node.inputs[1])
    if isinstance(node.op, Multiply):
        for numerator, other in (node.inputs, node.inputs[::-1]):
            inverse = _inverse(graph, other)
            if inverse is not None and (chain := _normalised(graph, value, numerator, *inverse)) is not None:
                return chain
    return None


def _inverse(graph: Graph, value: int) -> tuple[int, torch.Tensor | None, bool] | None:
    """(y, spread, rooted) for a value 1 / y, or y^-1/2 (rooted), spread by a selection."""
    at, spread = _spread(graph, value)
    if (found := function_of(graph, at, "Reciprocal", "Pow(-1)")) is not None:
        return found[1], spread, False
    if (found := function_of(graph, at, "Pow(-0.5)")) is not None:
        return found[1], spread, True
    return None


def _normalised(
    graph: Graph, value: int, x: int, below: int, spread: torch.Tensor | None = None, rooted: bool = False
) -> Chain | None:
    """The chain for x / below, where below (or its root) is a length of x."""
    at, again = _spread(graph, below)
    spread = again if spread is None else spread if again is None else again[spread]
    if spread is None:
        spread = torch.arange(len(_flat(graph, x)))
    if not rooted:
        found = function_of(graph, at, "Sqrt", "Pow(0.5)")
        if found is None:
            return _unit(graph, value, x, at, spread)
        at = found[1]
    return _mean_square(graph, value, x, at, spread)


def _flat(graph: Graph, value: int) -> range:
    return range(torch.Size(graph.shape(value)).numel())


def _spread(graph: Graph, value: int) -> tuple[int, torch.Tensor | None]:
    """(y, index) for a value that is y[index] for every entry, through any run of selections; None: it is y itself."""
    index: torch.Tensor | None = None
    while (node := maker(graph, value)) is not None and isinstance(node.op, Affine) and len(node.inputs) == 1:
        part = node.op.linear
        if node.op.offset is not None or not isinstance(part, Selection) or bool((part.indices() == NOTHING).any()):
            break
        index = part.indices() if index is None else part.indices()[index]
        (value,) = node.inputs
    return value, index


def _shifted(graph: Graph, value: int) -> tuple[int, float] | None:
    """(y, e) for a value y + e with one number e."""
    node = maker(graph, value)
    if node is None or not isinstance(node.op, Affine) or len(node.inputs) != 1 or node.op.offset_error is not None:
        return None
    part, offset = node.op.linear, uniform(node.op.offset)
    if not isinstance(part, Selection) or part.index is not None or part.in_shape != part.out_shape or offset is None:
        return None
    return node.inputs[0], float(offset)


def _mean_square(graph: Graph, value: int, x: int, radicand: int, spread: torch.Tensor) -> Chain | None:
    """x / sqrt(mean x^2 + eps), of x itself or of x = y - mean y."""
    shifted = _shifted(graph, radicand)
    if shifted is None or not shifted[1] > 0.0:
        return None
    found = _mean(graph, shifted[0])
    if found is None:
        return None
    square, groups = found[0], found[1]
    squared = function_of(graph, square, "Pow(2)")
    if squared is None or squared[1] != x or not torch.equal(spread, groups.group):
        return None
    centred = _centred(graph, x)
    if centred is not None and centred[1].same(groups):
        return _chain(graph, value, centred[0], groups, Normalise(groups.count, groups.size, shifted[1]))
    return _chain(graph, value, x, groups, RootMeanSquare(groups.count, groups.size, shifted[1]))


def _mean(graph: Graph, value: int) -> tuple[int, _Groups] | None:
    """(x, groups) for a value that is the mean of x over each group, in the order of the groups."""
    node = maker(graph, value)
    if node is None or not isinstance(node.op, Affine) or len(node.inputs) != 1 or node.op.offset is not None:
        return None
    first, *rest = pieces(node.op.linear)
    if not isinstance(first, Adjoint) or not isinstance(first.of, Selection):
        return None
    group, count = first.of.indices(), first.of.in_size
    sizes = torch.bincount(group[group >= 0], minlength=count)
    if not count or bool((group < 0).any()) or not bool((sizes == sizes[0]).all()):
        return None
    size = int(sizes[0])
    if not _divides(rest, size):
        return None
    return node.inputs[0], _Groups(group, count)


def _divides(rest: list[LinearMap], size: int) -> bool:
    """Whether maps only reshape and divide by the size, once."""
    scales = [part for part in rest if isinstance(part, Diagonal)]
    others = [part for part in rest if not isinstance(part, Diagonal)]
    if not all(isinstance(part, Selection) and part.index is None for part in others):
        return False
    if size == 1:
        return not scales
    if len(scales) != 1 or uniform(scales[0].scale) != Fraction(1.0 / size):
        return False
    # one over the number itself, not a weight that comes near it
    return scales[0].scale_roundings == 1 or Fraction(1.0 / size) * size == 1


def _centred(graph: Graph, value: int) -> tuple[int, _Groups] | None:
    """(y, groups) for a value y - mean y."""
    node = maker(graph, value)
    if node is None or not isinstance(node.op, Affine) or len(node.inputs) != 2 or node.op.offset is not None:
        return None
    plus, minus = node.op.maps
    same = isinstance(plus, Selection) and plus.index is None and plus.in_shape == plus.out_shape
    if not same or not isinstance(minus, Diagonal) or uniform(minus.scale) != -1 or minus.scale_roundings:
        return None
    y, other = node.inputs
    at, spread = _spread(graph, other)
    found = _mean(graph, at)
    if found is None or found[0] != y:
        return None
    index = torch.arange(len(_flat(graph, other))) if spread is None else spread
    return (y, found[1]) if torch.equal(index, found[1].group) else None


def _unit(graph: Graph, value: int, x: int, length: int, spread: torch.Tensor) -> Chain | None:
    """x over |x|, max(|x|, e) or |x| + e, with the 2-norm of each group."""
    floor, added, at = 0.0, False, length
    if (clipped := function_of(graph, length, "Clip")) is not None:
        low, high = (plain(limit) for limit in clipped[0].function.limits)
        if low is None or high != float("inf") or not low > 0.0:
            return None
        floor, at = low, clipped[1]
    elif (shifted := _shifted(graph, length)) is not None and shifted[1] > 0.0:
        floor, added, at = shifted[1], True, shifted[0]
    at, inner = _spread(graph, at)
    spread = spread if inner is None else inner[spread]
    node = maker(graph, at)
    if node is None or not isinstance(node.op, WindowNorm) or node.op.p != 2.0 or node.inputs != (x,):
        return None
    windows = node.op.windows
    flat = windows.reshape(-1)
    if bool((flat == NOTHING).any()) or len(flat) != len(_flat(graph, x)) or len(set(flat.tolist())) != len(flat):
        return None
    group = torch.empty_like(flat)
    group[flat] = torch.arange(len(windows)).repeat_interleave(windows.shape[1])
    if not torch.equal(spread, group):
        return None
    return _chain(
        graph, value, x, _Groups(group, len(windows)), UnitVector(len(windows), windows.shape[1], 2, floor, added)
    )


def _chain(graph: Graph, value: int, x: int, groups: _Groups, op: Op) -> Chain:
    """op on the groups of x as rows, put back in place."""
    shape, rows = graph.shape(x), groups.rows
    back = torch.empty_like(rows.reshape(-1))
    back[rows.reshape(-1)] = torch.arange(rows.numel())
    there = Affine((Selection.of(shape, rows),))
    here = Affine((Selection.of(tuple(rows.shape), back.reshape(graph.shape(value))),))
    return Chain(x, (there, op, here), type(op).__name__, names_between(graph, value, x))
