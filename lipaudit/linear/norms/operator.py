"""The certified operator norm of any LinearMap: the right method for its structure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch

from lipaudit.linear.conv import Conv
from lipaudit.linear.dense import Dense
from lipaudit.linear.fuse import add, compose
from lipaudit.linear.map import Adjoint, Compose, LinearMap, Sum
from lipaudit.linear.norms.conv_l2 import conv_l2
from lipaudit.linear.norms.dense_l2 import dense_l2, stacked_l2
from lipaudit.linear.norms.entries import (
    SAFE_FROM_UNDERFLOW,
    inflated,
    majorant_sum,
    schur_sum,
    underflow_of_copy,
    whole_sqrt_up,
    with_error,
)
from lipaudit.linear.norms.mixed import mixed_norm
from lipaudit.linear.pointwise import Diagonal
from lipaudit.linear.selection import Selection
from lipaudit.numerics.bound import UNBOUNDED, ZERO, UpperBound, tightest
from lipaudit.numerics.norms import Norm, NormPair, Norms
from lipaudit.numerics.rounding import add_up, gamma, mul_up, up


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be spent on one map: a dense copy is made only within these."""

    entries: int = 2**23
    small_side: int = 1024


@dataclass(frozen=True, slots=True, eq=False)
class OperatorNorms:
    """Certified operator norms, each computed once a map. The cache is the only thing that changes in it."""

    limits: Limits = field(default_factory=Limits)
    _known: dict[tuple[int, NormPair], tuple[LinearMap, UpperBound]] = field(default_factory=dict)

    def of(self, part: LinearMap, norms: Norms) -> UpperBound:
        """An upper bound of sup |A x| / |x|, in one norm on both sides or a pair; every rounding outward."""
        pair = NormPair.of(norms)
        key = (id(part), pair)
        if key not in self._known:
            self._known[key] = (part, self._compute(part, pair))  # the map is kept, so its id stays its own
        return self._known[key][1]

    def of_row(self, parts: tuple[LinearMap, ...], norms: Norms) -> UpperBound:
        """An upper bound of the norm of [A_1 ... A_k], the map of all arguments as one vector."""
        if len(parts) == 1:
            return self.of(parts[0], norms)
        row, dual = row_of(parts), NormPair.of(norms).source.dual
        # |sum A_i d_i| <= sum ||A_i|| |d_i| <= |(||A_i||)|_dual |d|, the dual of the arguments' norm
        combined = UpperBound(dual.combine_up([self.of(p, norms).value for p in parts]), "parts combined")
        if isinstance(row, Selection) or self._small(row):
            return tightest(combined, self.of(row, norms))
        return combined

    def _compute(self, part: LinearMap, pair: NormPair) -> UpperBound:
        if part.in_size == 0 or part.out_size == 0:
            return ZERO
        if isinstance(part, Adjoint):
            return self.of(part.of, pair.dual)  # ||A'||_{q*->p*} = ||A||_{p->q}, duals by 1/p + 1/q = 1
        if pair.mixed:
            return mixed_norm(part, pair, lambda norm: self.of(part, norm), self._copies(part))
        norm = pair.source
        return self._l2(part) if norm is Norm.L2 else self._sums(part, norm)

    def _sums(self, part: LinearMap, norm: Norm) -> UpperBound:
        """l1: the largest column sum of |A|; linf: the largest row sum. Exact up to rounding for one piece,
        of a dense copy for a composite that is small, else of |A_k|..|A_1| >= |A|."""
        match part:
            case Selection():
                used = float(part.most_copies())
                return UpperBound(used if norm is Norm.L1 else min(used, 1.0), "exact")
            case Diagonal():
                return UpperBound(inflated(float(part.scale.abs().max()), part.scale_roundings), "exact")
            case _:
                pass
        bound = majorant_sum(part, norm)
        if not isinstance(part, Compose | Sum):
            return UpperBound(bound, "sums of |weights|")
        if not SAFE_FROM_UNDERFLOW < bound < math.inf:
            return tightest(self._pieces(part, norm), UpperBound(bound, "sums of |weights|"))
        if not self._copies(part):
            return UpperBound(bound, "sums of |weights|")
        matrix = part.as_matrix().abs()
        sums = matrix.sum(0 if norm is Norm.L1 else 1)
        exact = mul_up(float(sums.max()), up(1.0 + gamma(matrix.shape[norm is Norm.LINF] + 1)))
        value = add_up(exact, mul_up(gamma(part.roundings), bound), underflow_of_copy(part))
        return tightest(UpperBound(value, "sums of the merged matrix"), UpperBound(bound, "sums of |weights|"))

    def _copies(self, part: LinearMap) -> bool:
        return part.in_size * part.out_size <= self.limits.entries

    def _small(self, part: LinearMap) -> bool:
        return self._copies(part) and min(part.in_size, part.out_size) <= self.limits.small_side

    def _l2(self, part: LinearMap) -> UpperBound:
        match part:
            case Selection():
                return UpperBound(whole_sqrt_up(part.most_copies()), "exact")
            case Diagonal():
                largest = float(part.scale.abs().max())
                return UpperBound(inflated(largest, part.scale_roundings), "exact")
            case Dense():
                stack = part.weight.reshape(-1, *part.weight.shape[-2:])
                stored = dense_l2(stack[0]) if len(stack) == 1 else stacked_l2(stack)
                return with_error(stored, part, part.weight_roundings)
            case Conv():
                return self._conv(part)
            case _:
                return self._composite(part)

    def _conv(self, part: Conv) -> UpperBound:
        stored = conv_l2(part.kernel, part.source[2:], part.stride, part.dilation, part.pads, part.groups)
        bound = with_error(stored, part, part.kernel_roundings)
        # On small images the padding's border is most of the map, and a dense copy is both cheap and exact.
        return tightest(bound, self._dense_copy(part)) if self._small(part) else bound

    def _composite(self, part: LinearMap) -> UpperBound:
        copy = self._dense_copy(part) if self._small(part) else UNBOUNDED
        if SAFE_FROM_UNDERFLOW < copy.value < math.inf:
            return copy
        return tightest(copy, self._pieces(part, Norm.L2), self._schur(part))

    def _pieces(self, part: LinearMap, norm: Norm) -> UpperBound:
        """||A_k .. A_1|| <= product of norms, ||A + B|| <= sum: of numbers, so no underflow goes unnoticed."""
        match part:
            case Compose():
                product = mul_up(*(self.of(piece, norm).value for piece in part.maps))
                return UpperBound(product, "product of merged parts")
            case Sum():
                return UpperBound(add_up(*(self.of(term, norm).value for term in part.terms)), "sum of parts")
            case _:
                return UNBOUNDED

    def _schur(self, part: LinearMap) -> UpperBound:
        """||A||_2 <= sqrt(||A||_1 ||A||_inf)   (Schur; Golub & Van Loan, Matrix Computations, Cor. 2.3.2)."""
        return UpperBound(schur_sum(part), "sqrt(l1 linf)")

    def _dense_copy(self, part: LinearMap) -> UpperBound:
        """Of fl(A) from unit vectors: ||A|| <= ||fl(A)|| + gamma ||majorant||, the latter by Schur's bound."""
        schur = self._schur(part)
        if not SAFE_FROM_UNDERFLOW < schur.value < math.inf:
            return schur
        copy = dense_l2(part.as_matrix())
        value = add_up(copy.value, mul_up(gamma(part.roundings + 1), schur.value), underflow_of_copy(part))
        return tightest(UpperBound(value, copy.evidence), schur)


def row_of(parts: tuple[LinearMap, ...]) -> LinearMap:
    """[A_1 ... A_k]: the map of the arguments flattened and concatenated into one vector."""
    total, start = sum(part.in_size for part in parts), 0
    pieces = []
    for part in parts:
        pick = torch.arange(start, start + part.in_size).reshape(part.in_shape)
        pieces.append(compose(Selection.of((total,), pick), part))
        start += part.in_size
    return add(*pieces)
