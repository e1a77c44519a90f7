"""A smooth stand-in for a graph: every kink rounded off, more sharply as beta grows. For searches only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch.nn import functional

from lipaudit.graph.graph import Graph, Node, fold
from lipaudit.ops.elementwise import Elementwise
from lipaudit.ops.scalar import Function, Number, Scalar

Kink = tuple[Number, Number]
"""Where a slope jumps, and by how much."""


def kinks(function: Scalar) -> tuple[Kink, ...]:
    """The points at which the derivative jumps, and the jump: the slope on the right less that on the left."""
    found: list[Kink] = []
    for mark in function.slope_marks:
        if len(mark.values) != 2 or function.period is not None:
            continue
        at = torch.as_tensor(mark.at, dtype=torch.float64)
        if not bool(at.isfinite().all()):
            continue
        one, other = (torch.as_tensor(value, dtype=torch.float64) for value in mark.values)
        beside = 1e-7 * (1.0 + at.abs())
        seen = function.derivative(at + beside) - function.derivative(at - beside)
        found.append((mark.at, torch.where((other - one) * seen >= 0.0, other - one, one - other)))
    return tuple(found)


def rounded(function: Scalar, beta: float) -> Function:
    """The function with its kinks rounded off: f + sum of jump (softplus_beta - relu)(x - kink), so within
    log(2) jump / beta of f, with a derivative that is smooth across the kink."""
    jumps = kinks(function)

    def fn(x: torch.Tensor) -> torch.Tensor:
        y = function.fn(x)
        for at, jump in jumps:
            beyond = x - at
            y = y + jump * (functional.softplus(beta * beyond) / beta - functional.relu(beyond))
        return y

    return fn


def value_scales(graph: Graph, points: torch.Tensor) -> list[float]:
    """For every value of the graph its usual size at the points: what beta is measured in."""
    with torch.no_grad():
        values = fold(graph, points, lambda node, args: node.op.forward(*args))
    return [max(float(value.abs().median()), 1e-12) for value in values]


def smoothed(graph: Graph, scales: Sequence[float], beta: float) -> Graph:
    """The graph with every kinked activation replaced by its smooth stand-in at sharpness beta / scale."""
    nodes = []
    for node in graph.nodes:
        op = node.op
        if isinstance(op, Elementwise) and kinks(op.function):
            soft = replace(op.function, fn=rounded(op.function, beta / scales[node.inputs[0]]))
            node = Node(node.name, node.kind, Elementwise(soft, op.shape), node.inputs, node.origin)
        nodes.append(node)
    return Graph(graph.input_shape, tuple(nodes), graph.output)
