"""The l2 bound carried over to other norms by their equivalence."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

from lipaudit.engines.engine import Declined, Engine, run
from lipaudit.graph.problem import Problem
from lipaudit.numerics.bound import UpperBound, tightest
from lipaudit.numerics.norms import Norm, NormPair
from lipaudit.numerics.rounding import mul_up


@final
@dataclass(frozen=True, slots=True)
class Converted(Engine):
    """||J||_{p->q} <= c(p, 2) ||J||_2 c(2, q), |x|_2 <= c(p, 2) |x|_p and |y|_q <= c(2, q) |y|_2; ||J||_2 by `inner`.

    Each c is 1 or the root of a dimension: ||J||_inf <= sqrt(n) ||J||_2 and ||J||_1 <= sqrt(m) ||J||_2 for J in
    R^(m x n). Golub & Van Loan, Matrix Computations (4th ed. 2013), (2.3.11)-(2.3.12). In l2 layers multiply with much
    less loss, so that this is the tighter of the two for all but the shallowest networks.
    """

    inner: tuple[Engine, ...]
    name: ClassVar[str] = "converted"
    label: ClassVar[str] = "l2 bound x sqrt(dimension)"
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.L1, Norm.LINF})
    mixed: ClassVar[bool] = True

    def bound(self, problem: Problem) -> UpperBound:
        if problem.pair == NormPair.of(Norm.L2):
            raise Declined("there is nothing to convert in l2")
        graph, pair = problem.graph, problem.pair
        before = pair.source.conversion_up(Norm.L2, math.prod(graph.input_shape))
        factor = mul_up(before, Norm.L2.conversion_up(pair.target, math.prod(graph.output_shape)))
        outcomes = [run(engine, problem.within(Norm.L2)) for engine in self.inner]
        bounded = [outcome.bound for outcome in outcomes if outcome.bound is not None]
        if not bounded:
            raise Declined(outcomes[0].reason or "there is no l2 bound")
        best = tightest(*bounded)
        return UpperBound(mul_up(factor, best.value), f"{best.evidence}, l2 carried over")
