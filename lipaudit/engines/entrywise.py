"""Row sums, column sums and the norm of a bound of every entry of the Jacobian."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import torch

from lipaudit.engines.engine import Declined, Engine
from lipaudit.graph.problem import Problem
from lipaudit.linear.norms.dense_l2 import dense_l2
from lipaudit.numerics.bound import UpperBound
from lipaudit.numerics.norms import Norm
from lipaudit.numerics.rounding import gamma, tensor_up, up
from lipaudit.ranges.entries import Unknown, magnitudes

ROWS = 4096
"""Most outputs: one row each is pulled through the graph."""

ENTRIES = 2**24
"""Most entries of M in l2, where it is written out."""

SIDE = 2048
"""Most rows or columns of M in l2, the fewer of them: what its norm costs."""


@final
@dataclass(frozen=True, slots=True)
class Entrywise(Engine):
    """||J||_inf <= max_i sum_j M_ij, ||J||_1 <= max_j sum_i M_ij and ||J||_2 <= ||M||_2 for |J| <= M entrywise.

    M is from centre-radius pulls: interval Jacobians as in Fast-Lip (Weng et al. 2018, arXiv:1804.09699), about the
    centre of the slopes: the linear part is kept with its signs, so that in l1 and linf the bound is never above the
    path norm |W_n|..|W_1| and below it wherever weights of both signs meet. Convolutions are never written out. See
    `ranges.entries` for the proof. In l2, because |J x| <= M |x|; exact where no weight is negative and all slopes
    reach their upper ends together: then J <= M, the plain product of the weights, is met.
    """

    name: ClassVar[str] = "entrywise"
    label: ClassVar[str] = "entries of the Jacobian, about their centre"

    def bound(self, problem: Problem) -> UpperBound:
        if problem.norm is Norm.L2:
            return UpperBound(entry_norm(problem), "norm of the entries' bounds")
        value = entry_sums(problem)
        return UpperBound(float(value.max()) if len(value) else 0.0, "sums of the entries' bounds")


def entry_sums(problem: Problem) -> torch.Tensor:
    """[B]: the bound over each region of the problem. Raises Declined where there is none."""
    if problem.norm is Norm.L2:
        raise Declined("sums of entries are bounds in l1 and linf")
    outputs, inputs = _sides(problem)
    batch = len(problem.region.lower)
    rows, columns = torch.zeros(batch, dtype=torch.float64), torch.zeros(batch, inputs, dtype=torch.float64)
    for flat in _pulled(problem):
        rows = torch.maximum(rows, flat.sum(2).amax(1))
        columns = columns + flat.sum(1)
    total = rows if problem.norm is Norm.LINF else columns.amax(1) if inputs else rows
    return tensor_up(total * up(1.0 + gamma(max(inputs, outputs) + outputs + 4)))


def entry_norm(problem: Problem) -> float:
    """||M||_2, the largest over the regions of the problem. Raises Declined where there is none."""
    outputs, inputs = _sides(problem)
    batch = len(problem.region.lower)
    if min(outputs, inputs) > SIDE or batch * outputs * inputs > ENTRIES:
        raise Declined(f"a Jacobian of {outputs} x {inputs} entries is too large to take the norm of its bound")
    whole = torch.cat([*_pulled(problem), torch.zeros(batch, 0, inputs, dtype=torch.float64)], 1)
    if not bool(whole.isfinite().all()):
        return math.inf
    return max((dense_l2(part).value for part in whole), default=0.0)


def _sides(problem: Problem) -> tuple[int, int]:
    """Outputs and inputs. Raises Declined for too many outputs."""
    outputs = int(torch.Size(problem.graph.output_shape).numel())
    if outputs > ROWS:
        raise Declined(f"{outputs} outputs are more than the {ROWS} whose rows are pulled through the graph")
    return outputs, int(torch.Size(problem.graph.input_shape).numel())


def _pulled(problem: Problem) -> Iterator[torch.Tensor]:
    """M by rows, some at a time: [B, k, inputs]."""
    try:
        for part in magnitudes(problem.graph, problem.boxes):
            if problem.time_left <= 0:
                raise Declined("the budget was spent before all rows were done")
            yield part.flatten(2)
    except Unknown as why:
        raise Declined(str(why)) from None
