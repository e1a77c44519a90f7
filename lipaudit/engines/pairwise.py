"""Constants of the differences of two outputs, f_a - f_b: what a certified radius divides by."""

from __future__ import annotations

import torch

from lipaudit.graph.problem import Problem
from lipaudit.linear.map import LinearMap
from lipaudit.linear.norms.entries import underflow_of_copy
from lipaudit.numerics.bound import UpperBound
from lipaudit.numerics.norms import Norm
from lipaudit.numerics.rounding import add_up, gamma, mul_up, sqrt_up, up
from lipaudit.ops.affine import Affine


def pairwise_constants(problem: Problem, values: list[UpperBound]) -> torch.Tensor:
    """Upper bounds of the Lipschitz constant of f_a - f_b for every pair of outputs: float64 [K, K], symmetric.

    The rows of the last linear map are subtracted before their norm is taken: |w_a - w_b|_dual, exact up to the
    rounding that is added. Without a last linear map, |e_a - e_b|_dual times the constant of f (sqrt 2 in l2).
    values: upper bounds of the constant of every value of the graph, from any engine.
    Sound: f_a - f_b = (e_a - e_b)' f, and the row of a composition is bounded like any layer.
    """
    graph, norm = problem.graph, problem.norm
    total = values[graph.output].value
    count = int(torch.Size(graph.output_shape).numel())
    result = torch.full((count, count), mul_up(difference_norm(norm), total), dtype=torch.float64)
    result.fill_diagonal_(0.0)
    node = graph.nodes[graph.output - 1] if graph.output else None
    if node is None or not isinstance(node.op, Affine):
        return result
    parts = [(_row_differences(part, norm), values[i].value) for part, i in zip(node.op.maps, node.inputs, strict=True)]
    for a in range(count):
        for b in range(a):
            rows = [table[a][b] for table, _ in parts]
            apart = add_up(*(mul_up(row, value) for row, (_, value) in zip(rows, parts, strict=True)))
            # all arguments as one vector: its rows' norms combine like a vector, in the dual norm
            joint = mul_up(norm.dual.combine_up(rows), norm.combine_up([value for _, value in parts]))
            result[a, b] = result[b, a] = min(float(result[a, b]), apart, joint)
    return result


def difference_norm(norm: Norm) -> float:
    """|e_a - e_b|_dual, rounded up: what the difference of two outputs may grow by, in a norm of all of them."""
    return {Norm.L1: 1.0, Norm.L2: sqrt_up(2.0), Norm.LINF: 2.0}[norm]


def _row_differences(part: LinearMap, norm: Norm) -> list[list[float]]:
    """|row_a - row_b| in the dual norm, rounded up, for every pair a > b."""
    rows = _rows(part)
    error = _rows(part.majorant()) * gamma(part.roundings + 1) + underflow_of_copy(part)
    table: list[list[float]] = []
    for a in range(len(rows)):
        line = []
        for b in range(a):
            difference = (rows[a] - rows[b]).abs() * up(1.0 + 2.0**-52) + (error[a] + error[b]) * up(1.0 + 2.0**-50)
            line.append(up(norm.dual.bounds_of(difference)[1] * up(1.0 + 2.0**-51)))
        table.append(line)
    return table


def _rows(part: LinearMap) -> torch.Tensor:
    units = torch.eye(part.out_size, dtype=torch.float64).reshape(part.out_size, *part.out_shape)
    return part.adjoint(units).reshape(part.out_size, -1)
