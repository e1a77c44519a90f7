"""Row and column sums of a bound of every entry of the Jacobian."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch

from lipaudit.engines.engine import Declined, Engine
from lipaudit.graph.problem import Problem
from lipaudit.numerics.bound import UpperBound
from lipaudit.numerics.norms import Norm
from lipaudit.numerics.rounding import gamma, tensor_up, up
from lipaudit.ranges.entries import Unknown, magnitudes

ROWS = 4096
"""Most outputs: one row each is pulled through the graph."""


@final
@dataclass(frozen=True, slots=True)
class Entrywise(Engine):
    """||J||_inf <= max_i sum_j M_ij and ||J||_1 <= max_j sum_i M_ij for |J| <= M entrywise, M from centre-radius pulls.

    Interval Jacobians as in Fast-Lip (Weng et al. 2018, arXiv:1804.09699), about the centre of the slopes: the linear
    part is kept with its signs, so that the bound is never above the path norm |W_n|..|W_1| and below it wherever
    weights of both signs meet. Convolutions are never written out. See `ranges.entries` for the proof.
    """

    name: ClassVar[str] = "entrywise"
    label: ClassVar[str] = "entries of the Jacobian, about their centre"
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.L1, Norm.LINF})

    def bound(self, problem: Problem) -> UpperBound:
        value = entry_sums(problem)
        return UpperBound(float(value.max()) if len(value) else 0.0, "sums of the entries' bounds")


def entry_sums(problem: Problem) -> torch.Tensor:
    """[B]: the bound over each region of the problem. Raises Declined where there is none."""
    if problem.norm is Norm.L2:
        raise Declined("entrywise bounds are of l1 and linf")
    outputs = int(torch.Size(problem.graph.output_shape).numel())
    if outputs > ROWS:
        raise Declined(f"{outputs} outputs are more than the {ROWS} whose rows are pulled through the graph")
    batch, inputs = len(problem.region.lower), int(torch.Size(problem.graph.input_shape).numel())
    rows, columns = torch.zeros(batch, dtype=torch.float64), torch.zeros(batch, inputs, dtype=torch.float64)
    try:
        for part in magnitudes(problem.graph, problem.boxes):
            if problem.time_left <= 0:
                raise Declined("the budget was spent before all rows were done")
            flat = part.flatten(2)
            rows = torch.maximum(rows, flat.sum(2).amax(1))
            columns = columns + flat.sum(1)
    except Unknown as why:
        raise Declined(str(why)) from None
    total = rows if problem.norm is Norm.LINF else columns.amax(1) if inputs else rows
    return tensor_up(total * up(1.0 + gamma(max(inputs, outputs) + outputs + 4)))
