"""What rewrites ask of a graph: which node made a value, and which polynomial of another value it is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import final

import torch

from lipaudit.graph.graph import Graph, Node
from lipaudit.linear.map import Adjoint, Compose, LinearMap
from lipaudit.linear.pointwise import Diagonal
from lipaudit.linear.selection import Selection
from lipaudit.ops.affine import Affine
from lipaudit.ops.bilinear import Multiply
from lipaudit.ops.elementwise import Elementwise
from lipaudit.ops.op import Op
from lipaudit.ops.smooth import Softmax

_DEGREE = 3


@final
@dataclass(frozen=True, slots=True)
class Number:
    """A coefficient: the stored value exactly, and how many roundings away the intended one may be."""

    value: Fraction
    roundings: int = 0

    def __add__(self, other: Number) -> Number | None:
        """The sum, where rounding errors cannot cancel: exact terms, or one of them 0."""
        if not self.value or not other.value:
            return other if not self.value else self
        if self.roundings or other.roundings:
            return None
        return Number(self.value + other.value)

    def __mul__(self, other: Number) -> Number:
        return Number(self.value * other.value, self.roundings + other.roundings)

    @property
    def exact(self) -> bool:
        """Whether this is the intended number, and a float64."""
        return not self.roundings and Fraction(float(self.value)) == self.value


ONE = Number(Fraction(1))
Polynomial = dict[int, Number]


def maker(graph: Graph, value: int) -> Node | None:
    """The node that makes a value, None for the input."""
    return graph.nodes[value - 1] if value else None


def function_of(graph: Graph, value: int, *names: str) -> tuple[Elementwise, int] | None:
    """(op, argument) of a value that is an elementwise function of one of these names (any, if none is given)."""
    node = maker(graph, value)
    if node is None or not isinstance(node.op, Elementwise) or (names and node.op.function.name not in names):
        return None
    return node.op, node.inputs[0]


def uniform(tensor: torch.Tensor | None) -> Fraction | None:
    """The number that every entry is (0 for None), None where they differ or are not finite."""
    if tensor is None:
        return Fraction(0)
    flat = tensor.reshape(-1)
    if not flat.numel() or not bool((flat == flat[0]).all()) or not math.isfinite(float(flat[0])):
        return None
    return Fraction(float(flat[0]))


def plain(limit: float | torch.Tensor) -> float | None:
    """A limit that is one number for every entry, perhaps an infinite one."""
    if not isinstance(limit, torch.Tensor):
        return limit
    flat = limit.reshape(-1)
    return float(flat[0]) if flat.numel() and bool((flat == flat[0]).all()) else None


def softmax_rows(graph: Graph, value: int) -> tuple[Softmax, int] | None:
    """(softmax, its argument) of a value whose rows, along its last axis, are the softmax's own, perhaps reshaped."""
    at, shape = value, graph.shape(value)
    while (node := maker(graph, at)) is not None and _reshapes(node):
        at = node.inputs[0]
    if node is None or not isinstance(node.op, Softmax) or node.op.axis != len(node.op.shape) - 1:
        return None
    return (node.op, node.inputs[0]) if node.op.shape[-1] == shape[-1] else None


def _reshapes(node: Node) -> bool:
    """Whether a node only gives its one argument another shape."""
    if not isinstance(node.op, Affine) or len(node.inputs) != 1 or node.op.offset is not None:
        return False
    return isinstance(node.op.linear, Selection) and node.op.linear.index is None


def exponent(graph: Graph, value: int) -> int | None:
    """u where the value is 1 + e^u."""
    at = value
    while (node := maker(graph, at)) is not None and isinstance(node.op, Affine) and len(node.inputs) == 1:
        (at,) = node.inputs
    found = function_of(graph, at, "Exp")
    if found is None or polynomial(graph, value, at) != {0: ONE, 1: ONE}:
        return None
    return found[1]


def _factor(part: LinearMap) -> Number | None:
    """c for a map that is c times the identity."""
    if isinstance(part, Selection) and part.index is None and part.in_shape == part.out_shape:
        return ONE
    if isinstance(part, Diagonal) and (scale := uniform(part.scale)) is not None:
        return Number(scale, part.scale_roundings)
    return None


def entrywise(op: Op) -> tuple[tuple[Number, ...], Fraction] | None:
    """(c, b) for an affine op that is sum c_i x_i + b with numbers c_i and b, the same for every entry."""
    if not isinstance(op, Affine):
        return None
    factors, offset = [_factor(part) for part in op.maps], uniform(op.offset)
    if offset is None or (op.offset_error is not None and bool((op.offset_error != 0).any())):
        return None
    found = tuple(factor for factor in factors if factor is not None)
    return (found, offset) if len(found) == len(factors) else None


def polynomial(graph: Graph, value: int, base: int, depth: int = 12) -> Polynomial | None:
    """The coefficients by degree of a value that is a polynomial of another, entry by entry, of degree 3 at most.

    None too where more than `depth` nodes lie between them.
    """
    if value == base:
        return {1: ONE}
    node = maker(graph, value)
    if node is None or value < base or not depth:
        return None
    match node.op:
        case Affine() if (found := entrywise(node.op)) is not None:
            total: Polynomial | None = {0: Number(found[1])} if found[1] else {}
            for factor, argument in zip(found[0], node.inputs, strict=True):
                part = polynomial(graph, argument, base, depth - 1)
                total = _plus(total, _product({0: factor}, part))
            return total
        case Multiply():
            left, right = (polynomial(graph, argument, base, depth - 1) for argument in node.inputs)
            return _product(left, right)
        case Elementwise() if node.op.function.name in ("Pow(2)", "Pow(3)"):
            inner = polynomial(graph, node.inputs[0], base, depth - 1)
            square = _product(inner, inner)
            return square if node.op.function.name == "Pow(2)" else _product(square, inner)
        case _:
            return None


def _plus(a: Polynomial | None, b: Polynomial | None) -> Polynomial | None:
    if a is None or b is None:
        return None
    total = dict(a)
    for degree, number in b.items():
        found = total[degree] + number if degree in total else number
        if found is None:
            return None
        total[degree] = found
    return total


def _product(a: Polynomial | None, b: Polynomial | None) -> Polynomial | None:
    if a is None or b is None:
        return None
    total: Polynomial | None = {}
    for i, p in a.items():
        for j, q in b.items():
            if i + j > _DEGREE:
                return None
            total = _plus(total, {i + j: p * q})
    return total


def factors(graph: Graph, value: int, depth: int = 6) -> tuple[Number, list[int]]:
    """(c, values) with the value c times the product of values, most of which are no product or multiple themselves."""
    node = maker(graph, value) if depth else None
    if node is not None and isinstance(node.op, Multiply):
        (c, left), (d, right) = (factors(graph, argument, depth - 1) for argument in node.inputs)
        return c * d, left + right
    if node is not None and (found := entrywise(node.op)) is not None:
        scales, offset = found
        if len(scales) == 1 and not offset and scales[0].value:
            inner, values = factors(graph, node.inputs[0], depth - 1)
            return scales[0] * inner, values
    return ONE, [value]


def pieces(part: LinearMap) -> tuple[LinearMap, ...]:
    """The maps that a composite applies, in order."""
    return part.maps if isinstance(part, Compose) else (part,)


def moves(part: LinearMap) -> Iterator[tuple[torch.Tensor, torch.Tensor]] | None:
    """(outputs, inputs) of the entries that are 1 in a map of zeros and ones; None for any other map."""
    match part:
        case Selection():
            index = part.indices()
            used = (index >= 0).nonzero().reshape(-1)
            return iter([(used, index[used])])
        case Adjoint(of=Selection() as inner):
            index = inner.indices()
            used = (index >= 0).nonzero().reshape(-1)
            return iter([(index[used], used)])
        case _:
            return None


def names_between(graph: Graph, value: int, base: int) -> tuple[str, ...]:
    """The names of the nodes that lead from base to value, in order."""
    found: dict[int, str] = {}
    stack = [value]
    while stack:
        at = stack.pop()
        node = maker(graph, at)
        if node is None or at <= base or at in found:
            continue
        found[at] = node.name
        stack.extend(node.inputs)
    return tuple(dict.fromkeys(found[at] for at in sorted(found)))
