"""The l2 bound carried over to l1 and linf by the equivalence of norms."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, final

import torch

from lipaudit.engines.engine import Declined, Engine, run
from lipaudit.graph.problem import Problem
from lipaudit.numerics.bound import UpperBound, tightest
from lipaudit.numerics.norms import Norm
from lipaudit.numerics.rounding import mul_up, sqrt_up


@final
@dataclass(frozen=True, slots=True)
class Converted(Engine):
    """||J||_inf <= sqrt(n) ||J||_2 and ||J||_1 <= sqrt(m) ||J||_2 for J in R^(m x n), ||J||_2 the best of `inner`.

    Golub & Van Loan, Matrix Computations (4th ed. 2013), (2.3.11)-(2.3.12). In l2 layers multiply with much less
    loss, so that this is the tighter of the two for all but the shallowest networks.
    """

    inner: tuple[Engine, ...]
    name: ClassVar[str] = "converted"
    label: ClassVar[str] = "l2 bound x sqrt(dimension)"
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.L1, Norm.LINF})

    def bound(self, problem: Problem) -> UpperBound:
        if problem.norm is Norm.L2:
            raise Declined("there is nothing to convert in l2")
        shape = problem.graph.input_shape if problem.norm is Norm.LINF else problem.graph.output_shape
        factor = sqrt_up(float(torch.Size(shape).numel()))
        outcomes = [run(engine, replace(problem, norm=Norm.L2)) for engine in self.inner]
        bounded = [outcome.bound for outcome in outcomes if outcome.bound is not None]
        if not bounded:
            raise Declined(outcomes[0].reason or "there is no l2 bound")
        best = tightest(*bounded)
        return UpperBound(mul_up(factor, best.value), f"{best.evidence}, l2 carried over")
