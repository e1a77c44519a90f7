"""Norms between two different vector norms, against corners of the unit ball: functions that raise AssertionError."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from fractions import Fraction

import torch

from lipaudit.engines.changeover import Changeover
from lipaudit.graph.graph import Graph
from lipaudit.graph.problem import Problem
from lipaudit.linear.map import LinearMap
from lipaudit.linear.norms.operator import OperatorNorms
from lipaudit.numerics.norms import Norm, NormPair
from tests.cases.maps import exact
from tests.laws.engine_laws import jacobians

PAIRS = [NormPair(p, q) for p in Norm for q in Norm if p is not q]
GROTHENDIECK = {"linf -> l2": 1.2534, "l2 -> l1": 1.2534, "linf -> l1": 1.7823}
PairNormOf = Callable[[LinearMap, NormPair], float]
PairBoundOf = Callable[[Problem], float]


def certified(part: LinearMap, pair: NormPair) -> float:
    return OperatorNorms().of(part, pair).value


def attained(matrix: torch.Tensor, pair: NormPair, signs: int = 12) -> tuple[float, bool]:
    """(max |A x| over some |x| = 1, whether it is the norm): corners, rows, or corners of the dual."""
    if not matrix.numel():
        return 0.0, True
    if pair.source is Norm.L1:
        return float(pair.target.of(matrix.mT).max()), True
    if pair.target is Norm.LINF:
        return float(pair.source.dual.of(matrix).max()), True
    if pair.source is Norm.L2:
        return attained(matrix.mT.contiguous(), pair.dual, signs)
    columns = matrix.shape[1]
    if columns <= signs:
        corners = torch.tensor(list(itertools.product((1.0, -1.0), repeat=columns)), dtype=torch.float64)
    else:
        noise = torch.randn(256, columns, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        corners = torch.where(noise < 0, -1.0, 1.0).double()
    return float(pair.target.of(corners @ matrix.mT).max()), columns <= signs


def norm_is_above(part: LinearMap, pair: NormPair, norm_of: PairNormOf = certified) -> None:
    """The certified norm is not below what a corner attains, and not far above where that is the norm."""
    rows = exact(part)
    matrix = torch.tensor([[float(v) for v in row] for row in rows], dtype=torch.float64).reshape(rows.shape)
    said, (truth, whole) = norm_of(part, pair), attained(matrix, pair)
    assert said >= truth * (1.0 - 1e-12), f"{pair}: {said!r} < {truth!r}"
    if whole and norm_of is certified:
        size = float(sum(exact(part.majorant()).reshape(-1), Fraction(0))) * 1e-13  # where almost all cancels
        assert said <= GROTHENDIECK.get(str(pair), 1.0 + 1e-7) * truth * (1.0 + 1e-6) + size + 1e-300, (
            f"{pair}: {said!r} > {truth!r}"
        )


def bound_is_above(
    graph: Graph, pair: NormPair, seed: int, bound_of: PairBoundOf = lambda p: Changeover().bound(p).value
) -> None:
    """No Jacobian that is met has a larger norm than the bound of the graph."""
    bound = bound_of(Problem.over(graph, pair))
    if bound == math.inf:
        return
    x = torch.randn(8, *graph.input_shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    for matrix in jacobians(graph, 3.0 * x):
        if bool(matrix.isfinite().all()):
            truth, _ = attained(matrix, pair, signs=8)
            assert bound >= truth * (1.0 - 1e-9), f"{pair}: {bound!r} < {truth!r}"
