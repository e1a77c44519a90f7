"""Where(x > t, a, b) with branches that agree at t is continuous, though the comparison before it is not."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import final

from lipaudit.graph.graph import Graph, Node
from lipaudit.graph.simplify.pattern import Number, Polynomial, entrywise, function_of, maker, names_between, polynomial
from lipaudit.graph.simplify.rebuild import Chain, replace_nodes
from lipaudit.linear.selection import NOTHING, Selection
from lipaudit.ops import activations
from lipaudit.ops.affine import Affine
from lipaudit.ops.elementwise import Elementwise
from lipaudit.ops.jumping import NOT_NEGATIVE, POSITIVE, Choose, Jumping, Step
from lipaudit.ops.piecewise import Line, exact, piecewise_linear
from lipaudit.ops.scalar import Scalar

_DEPTH = 6
_ZERO = Number(Fraction(0))


@final
@dataclass(frozen=True, slots=True)
class _Pieces:
    """A continuous function of one value: lines[i] between knots[i - 1] and knots[i]."""

    knots: tuple[float, ...]
    lines: tuple[Line, ...]


def fuse_choices(graph: Graph) -> Graph:
    """Leaky ReLU, ELU, SELU, soft shrink, clipping... of one value, written as choices by thresholds of that value.

    Only where every coefficient is exact and neighbouring branches have the very same value at their threshold.
    """
    return replace_nodes(graph, lambda value, node: _match(graph, value, node))


def _match(graph: Graph, value: int, node: Node) -> Chain | None:
    if not isinstance(node.op, Choose):
        return None
    for x in _below(graph, node.inputs[0]):
        if graph.shape(x) == node.op.shape and (function := _function(graph, value, x)) is not None:
            op = Elementwise(function, node.op.shape)
            return Chain(x, (op,), function.name, names_between(graph, value, x))
    return None


def _function(graph: Graph, value: int, x: int) -> Scalar | None:
    pieces = _pieces(graph, value, x, _DEPTH)
    if pieces is not None:
        return piecewise_linear(pieces.knots, pieces.lines)
    return _exponential(graph, value, x)


def _below(graph: Graph, condition: int) -> Iterator[int]:
    """Values that the condition may be a threshold of, from the comparison down."""
    at = condition
    for _ in range(12):
        node = maker(graph, at)
        if node is None or len(node.inputs) != 1:
            return
        if not (isinstance(node.op, Step) or entrywise(node.op) is not None):
            return
        (at,) = node.inputs
        yield at


def _threshold(graph: Graph, condition: int, x: int) -> tuple[float, bool] | None:
    """(t, True) for a condition that holds above t and not below, (t, False) for the other way round.

    What it says at t itself is left open: the branches agree there.
    """
    turned, at = False, condition
    node = maker(graph, at)
    while node is not None and isinstance(node.op, Affine) and len(node.inputs) == 1:
        (at,) = node.inputs
        node = maker(graph, at)
    if node is None or not isinstance(node.op, Step) or node.op.stair not in (POSITIVE, NOT_NEGATIVE):
        return None
    outer = polynomial(graph, condition, at)
    if outer == {0: Number(Fraction(1)), 1: Number(Fraction(-1))}:
        turned = True
    elif outer != {1: Number(Fraction(1))}:
        return None
    inner = _line(polynomial(graph, node.inputs[0], x))
    if inner is None or inner[0] == 0.0:
        return None
    place = -Fraction(inner[1]) / Fraction(inner[0])
    if Fraction(float(place)) != place:
        return None
    return float(place), (inner[0] > 0.0) != turned


def _line(found: Polynomial | None) -> Line | None:
    if found is None or set(found) - {0, 1} or not all(number.exact for number in found.values()):
        return None
    return float(found.get(1, _ZERO).value), float(found.get(0, _ZERO).value)


def _constant(graph: Graph, value: int) -> Line | None:
    """A number that depends on nothing: an affine op that reads no entry."""
    node = maker(graph, value)
    if node is None or not isinstance(node.op, Affine) or node.op.offset is None or node.op.offset_error is not None:
        return None
    blind = all(isinstance(p, Selection) and bool((p.indices() == NOTHING).all()) for p in node.op.maps)
    flat = node.op.offset.reshape(-1)
    if not blind or not flat.numel() or not bool((flat == flat[0]).all()) or not math.isfinite(float(flat[0])):
        return None
    return 0.0, float(flat[0])


def _pieces(graph: Graph, value: int, x: int, depth: int) -> _Pieces | None:
    line = _line(polynomial(graph, value, x)) or _constant(graph, value)
    if line is not None:
        return _Pieces((), (line,))
    node = maker(graph, value)
    if node is None or not isinstance(node.op, Choose) or not depth:
        return None
    found = _threshold(graph, node.inputs[0], x)
    if found is None:
        return None
    place, above = found
    first, second = (_pieces(graph, branch, x, depth - 1) for branch in node.inputs[1:])
    if first is None or second is None:
        return None
    high, low = (first, second) if above else (second, first)
    left, right = _before(low, place), _after(high, place)
    if exact(left.lines[-1], place) != exact(right.lines[0], place):
        return None
    return _Pieces((*left.knots, place, *right.knots), (*left.lines, *right.lines))


def _before(pieces: _Pieces, place: float) -> _Pieces:
    kept = sum(knot < place for knot in pieces.knots)
    return _Pieces(pieces.knots[:kept], pieces.lines[: kept + 1])


def _after(pieces: _Pieces, place: float) -> _Pieces:
    gone = sum(knot <= place for knot in pieces.knots)
    return _Pieces(pieces.knots[gone:], pieces.lines[gone:])


def _exponential(graph: Graph, value: int, x: int) -> Scalar | None:
    """gamma x above 0, gamma alpha (e^x - 1) below, with alpha, gamma > 0."""
    node = maker(graph, value)
    if node is None or not isinstance(node.op, Choose):
        return None
    found = _threshold(graph, node.inputs[0], x)
    if found is None or found[0] != 0.0:
        return None
    above, below = node.inputs[1:] if found[1] else node.inputs[:0:-1]
    line, at = _line(polynomial(graph, above, x)), below
    while (under := maker(graph, at)) is not None and isinstance(under.op, Affine) and len(under.inputs) == 1:
        (at,) = under.inputs
    power, outer = function_of(graph, at, "Exp"), _line(polynomial(graph, below, at))
    if line is None or outer is None or power is None or power[1] != x or line[1] != 0.0 or outer[1] != -outer[0]:
        return None
    if not (line[0] > 0.0 and outer[0] > 0.0):
        return None
    alpha = Fraction(outer[0]) / Fraction(line[0])
    if Fraction(float(alpha)) != alpha:
        return None
    return activations.selu(float(alpha), line[0]) if line[0] != 1.0 else activations.elu(float(alpha))


def jumps_left(graph: Graph) -> bool:
    """Whether an op that jumps is still there."""
    return any(isinstance(node.op, Jumping) for node in graph.nodes)
