"""How much arithmetic a graph is, for searches that reckon their work instead of timing it."""

from __future__ import annotations

import torch

from lipaudit.graph.graph import Graph
from lipaudit.linear.conv import Conv
from lipaudit.linear.dense import Dense
from lipaudit.linear.map import Adjoint, Compose, LinearMap, Sum
from lipaudit.ops.affine import Affine


def work(graph: Graph) -> float:
    """About how many multiplications one evaluation takes."""
    total = 1.0
    for node in graph.nodes:
        total += sum(map(_work_of, node.op.maps)) if isinstance(node.op, Affine) else 4.0 * _entries(node.op.out_shape)
    return total


def step_seconds(graph: Graph, rows: int) -> float:
    """What one evaluation of so many rows with its gradient is reckoned to take on a current core, about twice as much.

    Of each node an overhead, and the arithmetic.
    """
    return 1.5e-4 * len(graph.nodes) + 4.0 * rows * work(graph) / 1e10


def _work_of(part: LinearMap) -> float:
    match part:
        case Compose():
            return sum(map(_work_of, part.maps))
        case Sum():
            return sum(map(_work_of, part.terms))
        case Adjoint():
            return _work_of(part.of)
        case Dense():
            return float(part.out_size * part.weight.shape[-1])
        case Conv():
            return float(part.out_size) * part.kernel[0].numel()
        case _:
            return float(part.in_size + part.out_size)


def _entries(shape: tuple[int, ...]) -> int:
    return int(torch.Size(shape).numel())
