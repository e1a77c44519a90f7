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
from lipaudit.linear.pointwise import Diagonal
from lipaudit.linear.selection import Selection
from lipaudit.numerics.bound import UNBOUNDED, ZERO, UpperBound, tightest
from lipaudit.numerics.norms import Norm
from lipaudit.numerics.rounding import TINY, add_up, gamma, mul_up, sqrt_up, up

# Below this the |A| |B| of a product could underflow, where relative error bounds no longer hold.
_SAFE_FROM_UNDERFLOW = 1e-200


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be spent on one map: a dense copy is made only within these."""

    entries: int = 2**23
    small_side: int = 1024


@dataclass(frozen=True, slots=True, eq=False)
class OperatorNorms:
    """Certified operator norms, each computed once a map. The cache is the only thing that changes in it."""

    limits: Limits = field(default_factory=Limits)
    _known: dict[tuple[int, Norm], tuple[LinearMap, UpperBound]] = field(default_factory=dict)

    def of(self, part: LinearMap, norm: Norm) -> UpperBound:
        """An upper bound of sup |A x| / |x|, both sides in `norm`; every rounding outward."""
        key = (id(part), norm)
        if key not in self._known:
            self._known[key] = (part, self._compute(part, norm))  # the map is kept, so its id stays its own
        return self._known[key][1]

    def of_row(self, parts: tuple[LinearMap, ...], norm: Norm) -> UpperBound:
        """An upper bound of the norm of [A_1 ... A_k], the map of all arguments as one vector."""
        if len(parts) == 1:
            return self.of(parts[0], norm)
        row = row_of(parts)
        # |sum A_i d_i| <= sum ||A_i|| |d_i| <= |(||A_i||)|_dual |d|
        combined = UpperBound(norm.dual.combine_up([self.of(p, norm).value for p in parts]), "parts combined")
        if isinstance(row, Selection) or self._small(row):
            return tightest(combined, self.of(row, norm))
        return combined

    def _compute(self, part: LinearMap, norm: Norm) -> UpperBound:
        if part.in_size == 0 or part.out_size == 0:
            return ZERO
        if isinstance(part, Adjoint):
            return self.of(part.of, norm.dual)  # ||A'||_q = ||A||_p for 1/p + 1/q = 1
        return self._l2(part) if norm is Norm.L2 else self._sums(part, norm)

    def _sums(self, part: LinearMap, norm: Norm) -> UpperBound:
        """l1: the largest column sum of |A|; linf: the largest row sum. Exact up to rounding for one piece,
        of a dense copy for a composite that is small, else of |A_k|..|A_1| >= |A|."""
        match part:
            case Selection():
                used = float(part.most_copies())
                return UpperBound(used if norm is Norm.L1 else min(used, 1.0), "exact")
            case Diagonal():
                return UpperBound(_inflated(float(part.scale.abs().max()), part.scale_roundings), "exact")
            case _:
                pass
        bound = _majorant_sum(part, norm)
        if not isinstance(part, Compose | Sum):
            return UpperBound(bound, "sums of |weights|")
        if not _SAFE_FROM_UNDERFLOW < bound < math.inf:
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
                return UpperBound(_whole_sqrt_up(part.most_copies()), "exact")
            case Diagonal():
                largest = float(part.scale.abs().max())
                return UpperBound(_inflated(largest, part.scale_roundings), "exact")
            case Dense():
                stack = part.weight.reshape(-1, *part.weight.shape[-2:])
                stored = dense_l2(stack[0]) if len(stack) == 1 else stacked_l2(stack)
                return _with_error(stored, part, part.weight_roundings)
            case Conv():
                return self._conv(part)
            case _:
                return self._composite(part)

    def _conv(self, part: Conv) -> UpperBound:
        stored = conv_l2(part.kernel, part.source[2:], part.stride, part.dilation, part.pads, part.groups)
        bound = _with_error(stored, part, part.kernel_roundings)
        # On small images the padding's border is most of the map, and a dense copy is both cheap and exact.
        return tightest(bound, self._dense_copy(part)) if self._small(part) else bound

    def _composite(self, part: LinearMap) -> UpperBound:
        copy = self._dense_copy(part) if self._small(part) else UNBOUNDED
        if _SAFE_FROM_UNDERFLOW < copy.value < math.inf:
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
        return UpperBound(_schur_sum(part), "sqrt(l1 linf)")

    def _dense_copy(self, part: LinearMap) -> UpperBound:
        """Of fl(A) from unit vectors: ||A|| <= ||fl(A)|| + gamma ||majorant||, the latter by Schur's bound."""
        schur = self._schur(part)
        if not _SAFE_FROM_UNDERFLOW < schur.value < math.inf:
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


def _majorant_sum(part: LinearMap, norm: Norm) -> float:
    """The largest column (l1) or row (linf) sum of the majorant, rounded up; inf where it overflows half-way."""
    majorant = part.majorant()
    if norm is Norm.L1:
        sums = majorant.adjoint(torch.ones(1, *part.out_shape, dtype=torch.float64))
    else:
        sums = majorant.apply(torch.ones(1, *part.in_shape, dtype=torch.float64))
    largest = float(sums.max())
    if not largest < math.inf:  # NaN is an overflow times 0
        return math.inf
    # once for the sums' own rounding, once for the stored weights against the intended ones
    value = _inflated(largest, 2 * part.roundings + 1)
    return add_up(value, _underflow(part, norm)) if _is_composite(part) else value


def _schur_sum(part: LinearMap) -> float:
    return mul_up(sqrt_up(_majorant_sum(part, Norm.L1)), sqrt_up(_majorant_sum(part, Norm.LINF)))


def _is_composite(part: LinearMap) -> bool:
    return isinstance(part, Compose | Sum) or (isinstance(part, Adjoint) and _is_composite(part.of))


def _underflow(part: LinearMap, norm: Norm) -> float:
    """How much of an entry of fl(A x), |x| <= 1, may be lost to products below the normal range.

    A product that underflows is off by TINY at most, an inner product by TINY a term; later pieces stretch that by
    their norms (linf for apply, l1 for adjoint). A piece by itself has no such products where x is 0 and 1.
    """
    count, stretch = _reach(part, norm)
    return mul_up(TINY, float(count), stretch)


def _reach(part: LinearMap, norm: Norm) -> tuple[int, float]:
    """(terms of all inner products on one path, how much the pieces stretch a vector at most)."""
    match part:
        case Compose():
            inner = [_reach(piece, norm) for piece in part.maps]
            return sum(n for n, _ in inner), mul_up(*(stretch for _, stretch in inner))
        case Sum():
            inner = [_reach(term, norm) for term in part.terms]
            return sum(n for n, _ in inner), add_up(*(stretch for _, stretch in inner))
        case Adjoint():
            return _reach(part.of, norm.dual)
        case _:
            return max(part.in_size, part.out_size), max(1.0, _majorant_sum(part, norm))


def underflow_of_copy(part: LinearMap) -> float:
    """The same for the norm of the dense matrix of a composite: an entry's loss times its longer side."""
    if not _is_composite(part):
        return 0.0
    lost = max(_underflow(part, Norm.L1), _underflow(part, Norm.LINF))
    return mul_up(lost, float(max(part.in_size, part.out_size)))


def _with_error(stored: UpperBound, part: LinearMap, roundings: int) -> UpperBound:
    """Adds the norm of (intended - stored) weights: entrywise at most gamma |stored|."""
    if roundings == 0:
        return stored
    return UpperBound(add_up(stored.value, mul_up(gamma(roundings + 1), _schur_sum(part))), stored.evidence)


def _inflated(value: float, roundings: int) -> float:
    return mul_up(value, up(1.0 + gamma(roundings))) if roundings else value


def _whole_sqrt_up(n: int) -> float:
    root = math.isqrt(n)
    return float(root) if root * root == n else sqrt_up(float(n))
