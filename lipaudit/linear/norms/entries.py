"""What is known of a map from its entries' absolute values, and what the rounding of a copy can lose."""

from __future__ import annotations

import math

import torch

from lipaudit.linear.map import Adjoint, Compose, LinearMap, Sum
from lipaudit.numerics.bound import UpperBound
from lipaudit.numerics.norms import Norm
from lipaudit.numerics.rounding import TINY, add_up, gamma, mul_up, sqrt_up, up

SAFE_FROM_UNDERFLOW = 1e-200
"""Below this the |A| |B| of a product could underflow, where relative error bounds no longer hold."""


def majorant_sum(part: LinearMap, norm: Norm) -> float:
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
    value = inflated(largest, 2 * part.roundings + 1)
    return add_up(value, _underflow(part, norm)) if is_composite(part) else value


def schur_sum(part: LinearMap) -> float:
    """||A||_2 <= sqrt(||A||_1 ||A||_inf) <= value (Schur's test), of the majorant's sums."""
    return mul_up(sqrt_up(majorant_sum(part, Norm.L1)), sqrt_up(majorant_sum(part, Norm.LINF)))


def is_composite(part: LinearMap) -> bool:
    """Whether its entries are sums of products of stored ones."""
    return isinstance(part, Compose | Sum) or (isinstance(part, Adjoint) and is_composite(part.of))


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
            return max(part.in_size, part.out_size), max(1.0, majorant_sum(part, norm))


def underflow_of_copy(part: LinearMap) -> float:
    """The same for the norm of the dense matrix of a composite: an entry's loss times its longer side."""
    if not is_composite(part):
        return 0.0
    lost = max(_underflow(part, Norm.L1), _underflow(part, Norm.LINF))
    return mul_up(lost, float(max(part.in_size, part.out_size)))


def with_error(stored: UpperBound, part: LinearMap, roundings: int) -> UpperBound:
    """Adds the norm of (intended - stored) weights: entrywise at most gamma |stored|."""
    if roundings == 0:
        return stored
    return UpperBound(add_up(stored.value, mul_up(gamma(roundings + 1), schur_sum(part))), stored.evidence)


def inflated(value: float, roundings: int) -> float:
    """At least value (1 + gamma_roundings)."""
    return mul_up(value, up(1.0 + gamma(roundings))) if roundings else value


def whole_sqrt_up(n: int) -> float:
    """An upper bound of sqrt(n), exact for squares."""
    root = math.isqrt(n)
    return float(root) if root * root == n else sqrt_up(float(n))
