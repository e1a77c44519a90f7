"""Activations that an exporter took apart become one scalar function again, bounded by its true slope.

x * sigmoid(x) as a product of two variables has no global constant; as SiLU it has 1.0998.
"""

from __future__ import annotations

import math
from fractions import Fraction

import torch

from lipaudit.graph.graph import Graph, Node
from lipaudit.graph.simplify.pattern import (
    ONE,
    Number,
    Polynomial,
    exponent,
    factors,
    function_of,
    maker,
    names_between,
    plain,
    polynomial,
)
from lipaudit.graph.simplify.rebuild import Chain, replace_nodes
from lipaudit.linear.map import Shape
from lipaudit.linear.pointwise import Diagonal
from lipaudit.numerics.rounding import gamma
from lipaudit.ops import activations, gated
from lipaudit.ops.affine import Affine
from lipaudit.ops.bilinear import Divide, Multiply
from lipaudit.ops.elementwise import Elementwise
from lipaudit.ops.op import Op
from lipaudit.ops.scalar import Scalar

_ZERO = Number(Fraction(0))


def fuse_activations(graph: Graph) -> Graph:
    """c x gate(x), factors in any order, with the gates sigmoid(a x), 1 + erf(a x), 1 + tanh(a x + b x^3),
    tanh(softplus(x)) and clip(a x + b, 0, h): SiLU, GELU, tanh-GELU, Mish, hard swish; and x / (1 + |x|)."""
    return replace_nodes(graph, lambda value, node: _match(graph, value, node))


def _match(graph: Graph, value: int, node: Node) -> Chain | None:
    if isinstance(node.op, Divide):
        return _quotient(graph, value, node)
    if not isinstance(node.op, Multiply):
        return None
    scale, leaves = factors(graph, value)
    if len(leaves) != 2:
        return None
    for x, gate in (leaves, leaves[::-1]):
        ops = _gated(graph, x, gate, scale, node.op.shape)
        if ops is not None and graph.shape(x) == node.op.shape:
            return Chain(x, ops, _kind(ops), names_between(graph, value, x))
    return None


def _quotient(graph: Graph, value: int, node: Node) -> Chain | None:
    """x / (1 + e^(-a x)) = x sigmoid(a x), and x / (a + b |x|) = softsign(b x / a) / b."""
    scale, leaves = factors(graph, node.inputs[0])
    if len(leaves) != 1 or graph.shape(leaves[0]) != node.op.out_shape:
        return None
    (x,), shape = leaves, node.op.out_shape
    u = exponent(graph, node.inputs[1])
    inner = None if u is None else polynomial(graph, u, x)
    if inner is not None and set(inner) == {1}:
        ops = _silu(inner[1] * Number(Fraction(-1)), scale, shape)
    else:
        ops = _softsign(graph, node.inputs[1], x, scale, shape)
    return None if ops is None else Chain(x, ops, _kind(ops), names_between(graph, value, x))


def _softsign(graph: Graph, below: int, x: int, scale: Number, shape: Shape) -> tuple[Op, ...] | None:
    """scale x / (a + b |x|), a and b exact and positive."""
    at = _function_below(graph, below)
    found, line = function_of(graph, at, "Abs"), polynomial(graph, below, at)
    if found is None or found[1] != x or line is None or set(line) != {0, 1}:
        return None
    a, b = line[0], line[1]
    if not (a.exact and b.exact and a.value > 0 and b.value > 0):
        return None
    return _chain(
        Number(b.value / a.value), activations.softsign(), Number(scale.value / b.value, scale.roundings), shape
    )


def _kind(ops: tuple[Op, ...]) -> str:
    return next(op.function.name for op in ops if isinstance(op, Elementwise))


def _gated(graph: Graph, x: int, gate: int, scale: Number, shape: Shape) -> tuple[Op, ...] | None:
    """scale * x * gate as ops of x, where the gate is a known function of x."""
    at = _function_below(graph, gate)
    found = function_of(graph, at, "Sigmoid", "Erf", "Tanh", "Clip")
    if found is None or (outer := polynomial(graph, gate, at)) is None or max(outer, default=0) != 1:
        return None
    function, argument = found[0].function, found[1]
    slope, constant = outer[1], outer.get(0, _ZERO)
    total = scale * slope
    inner = polynomial(graph, argument, x)
    plus_one = slope.exact and constant == slope
    match function.name:
        case "Sigmoid" if not constant.value and inner is not None and set(inner) == {1}:
            return _silu(inner[1], total, shape)
        case "Tanh" if not constant.value:
            softplus = function_of(graph, argument, "Softplus")
            if softplus is not None and softplus[1] == x:
                return _chain(ONE, activations.mish(), total, shape)
        case "Tanh" if plus_one and inner is not None and set(inner) == {1}:
            return _silu(inner[1] * _two(), total * _two(), shape)
        case "Tanh" if plus_one and inner is not None and set(inner) == {1, 3}:
            return _gelu_tanh(inner, total, shape)
        case "Erf" if plus_one and inner is not None and set(inner) == {1}:
            return _gelu(inner[1], total, shape)
        case "Clip" if not constant.value and inner is not None:
            return _hard(function, inner, total, shape)
        case _:
            pass
    return None


def _function_below(graph: Graph, value: int) -> int:
    """The value that a run of single-argument affine nodes starts from."""
    while (node := maker(graph, value)) is not None and isinstance(node.op, Affine) and len(node.inputs) == 1:
        (value,) = node.inputs
    return value


def _two() -> Number:
    return Number(Fraction(2))


def _chain(before: Number, function: Scalar, after: Number, shape: Shape) -> tuple[Op, ...]:
    """after * function(before * x); a factor that is not exact says by how many roundings it is off."""
    ops: list[Op] = [Elementwise(function, shape)]
    if before != ONE:
        ops.insert(0, _scaling(before, shape))
    if after != ONE:
        ops.append(_scaling(after, shape))
    return tuple(ops)


def _scaling(number: Number, shape: Shape) -> Affine:
    rounded = float(number.value)
    roundings = number.roundings + (Fraction(rounded) != number.value)
    return Affine((Diagonal(torch.tensor(rounded, dtype=torch.float64), shape, roundings),))


def _silu(a: Number, scale: Number, shape: Shape) -> tuple[Op, ...] | None:
    """scale x sigmoid(a x)."""
    if not a.value:
        return None
    if a.exact:
        return _chain(ONE, activations.swish(float(a.value)), scale, shape)
    return _chain(a, activations.swish(1.0), Number(scale.value / a.value, scale.roundings + a.roundings), shape)


def _gelu(a: Number, scale: Number, shape: Shape) -> tuple[Op, ...] | None:
    """scale x (1 + erf(a x)) = (scale sqrt(2) / a) gelu(sqrt(2) a x)."""
    root = Number(Fraction(math.sqrt(2.0)), 1)
    if not a.value:
        return None
    after = scale * root
    return _chain(root * a, activations.gelu(), Number(after.value / a.value, after.roundings + a.roundings), shape)


def _gelu_tanh(inner: Polynomial, scale: Number, shape: Shape) -> tuple[Op, ...] | None:
    """scale x (1 + tanh(a x + b x^3)) = (2 scale / l) g(l x), g(y) = y sigmoid(c (y + k y^3)), c = 2 sqrt(2/pi),
    with l = 2 a / c and k = 2 b / (c l^3); k has to be near tanh-GELU's."""
    a, b = inner[1], inner[3]
    if a.value <= 0 or b.value <= 0:
        return None
    c = Fraction(2.0 * math.sqrt(2.0 / math.pi))  # three roundings
    stretch = Number(2 * a.value / c, a.roundings + 3)
    kappa = 2 * b.value / (c * stretch.value**3)
    off = abs(float(kappa)) * gamma(b.roundings + 3 * stretch.roundings + 8)
    if abs(float(kappa) - gated.KAPPA) + off > gated.FARTHEST:
        return None
    after = Number(2 * scale.value / stretch.value, scale.roundings + stretch.roundings)
    return _chain(stretch, gated.gelu_tanh_near(float(kappa), off), after, shape)


def _hard(function: Scalar, inner: Polynomial, scale: Number, shape: Shape) -> tuple[Op, ...] | None:
    """scale x clip(a x + b, 0, high), all constants exact."""
    low, high = (plain(limit) for limit in function.limits)
    a, b = inner.get(1, _ZERO), inner.get(0, _ZERO)
    if low != 0.0 or high is None or not 0.0 < high < math.inf or set(inner) - {0, 1}:
        return None
    if not (a.exact and b.exact and a.value > 0):
        return None
    return _chain(ONE, gated.hard_gate(float(a.value), float(b.value), float(high)), scale, shape)
