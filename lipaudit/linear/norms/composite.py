"""The spectral norm of a composite (or of any small map): of a matrix of it, or from its pieces.

Small on one side: a dense copy from unit vectors, `dense_l2`. Larger but sparse: the matrix in sparse form, its Gram
matrix factored in a band (`sparse`, `block_cholesky`). Either is of fl(A), and ||A|| <= ||fl(A)|| + gamma_n ||M|| with
M = |A_k|..|A_1| the majorant and n the roundings, by Schur's bound of M. Too large for both: the product of the pieces'
norms, the sum of the terms', or Schur's bound itself, whichever is least.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from lipaudit.linear.map import Compose, LinearMap, Sum
from lipaudit.linear.norms.block_cholesky import largest_eigenvalue
from lipaudit.linear.norms.dense_l2 import dense_l2
from lipaudit.linear.norms.entries import SAFE_FROM_UNDERFLOW, schur_sum, underflow_of_copy
from lipaudit.linear.norms.insist import insist
from lipaudit.linear.norms.limits import Limits
from lipaudit.linear.norms.lower import affordable, lower_l2
from lipaudit.linear.norms.sparse import as_sparse, entries, sparse_gram
from lipaudit.linear.norms.sums import unscaled
from lipaudit.linear.selection import Selection
from lipaudit.numerics.bound import UNBOUNDED, UpperBound, tightest
from lipaudit.numerics.rounding import TINY, add_up, gamma, mul_up, sqrt_up

NormOf = Callable[[LinearMap], UpperBound]

# scipy multiplies sparse matrices at some 1e8 products a second.
_SPARSE_COST = 200.0


def small(part: LinearMap, limits: Limits) -> bool:
    """Whether a dense copy with a short side is affordable."""
    size = part.in_size * part.out_size
    return size <= min(limits.entries, limits.memory / 64.0) and min(part.in_size, part.out_size) <= limits.small_side


def composite_l2(
    part: LinearMap, of: NormOf, limits: Limits, known: UpperBound | None = None
) -> tuple[UpperBound, float | None]:
    """(an upper bound of ||A||_2, a value that is attained or None where none was looked for).

    known: what bounds it already, instead of what its pieces say.
    """
    if small(part, limits):
        copy = dense_copy(part)
        if SAFE_FROM_UNDERFLOW < copy.value < math.inf:
            return (copy if known is None else tightest(copy, known)), None
    schur = UpperBound(schur_sum(part), "sqrt(l1 linf)")
    known = tightest(_pieces(part, of) if known is None else known, schur)
    if limits.spent or not SAFE_FROM_UNDERFLOW < schur.value < 1.0 / SAFE_FROM_UNDERFLOW:
        return known, None
    if not affordable(part, limits):
        return known, 0.0
    lower = lower_l2(part, limits.precision, limits.deadline)
    if limits.reached(known.value, lower.value) or not lower.value > 0.0:
        return known, lower.value
    best, lower = insist(part, lambda low, lim: _banded(part, low.estimate, schur.value, lim), known, lower, limits)
    return best, lower.value


def _pieces(part: LinearMap, of: NormOf) -> UpperBound:
    """||A_k .. A_1|| <= product of norms, ||A + B|| <= sum: of numbers, so no underflow goes unnoticed."""
    match part:
        case Compose():
            return UpperBound(mul_up(*(of(piece).value for piece in part.maps)), "product of merged parts")
        case Sum():
            return UpperBound(add_up(*(of(term).value for term in part.terms)), "sum of parts")
        case _:
            return UNBOUNDED


def dense_copy(part: LinearMap) -> UpperBound:
    """Of fl(A) from unit vectors: ||A|| <= ||fl(A)|| + gamma ||majorant||, the latter by Schur's bound."""
    schur = UpperBound(schur_sum(part), "sqrt(l1 linf)")
    if not SAFE_FROM_UNDERFLOW < schur.value < math.inf:
        return schur
    copy = dense_l2(part.as_matrix())
    value = add_up(copy.value, mul_up(gamma(part.roundings + 1), schur.value), underflow_of_copy(part))
    return tightest(UpperBound(value, copy.evidence), schur)


def _banded(part: LinearMap, estimate: float, schur: float, limits: Limits) -> UpperBound | None:
    """Of fl(A) in sparse form, divided by a power of two, which loses TINY an entry at most."""
    count = entries(part)
    if not limits.affords(_SPARSE_COST * count, 64.0 * count):
        return None
    matrix = as_sparse(part)
    products = float(np.square(np.bincount(matrix.indices, minlength=1).astype(np.float64)).sum())
    if not limits.affords(_SPARSE_COST * products, 32.0 * products):
        return None
    exponent = math.frexp(estimate)[1]
    matrix.data *= 2.0**-exponent
    gram = sparse_gram(matrix, part.out_shape, part.in_shape)
    if not limits.affords(gram.flops, gram.bytes):
        return None
    guess = math.ldexp(estimate, -exponent)
    for slack in (0.2, 1.8):
        square = largest_eigenvalue(gram, guess * guess * (1.0 + slack * limits.precision), limits.deadline)
        if square < math.inf:
            value = unscaled(add_up(sqrt_up(square), mul_up(float(matrix.nnz), TINY)), exponent)
            rounding = mul_up(gamma(part.roundings + 1), schur)
            value = add_up(value, rounding, underflow_of_copy(part))
            return UpperBound(value, "Gram matrix of the merged map, banded Cholesky residual")
    return UNBOUNDED


def without_moves(part: LinearMap) -> LinearMap:
    """The map without what only renames entries before or after it: permutations, reshapes. Norms stay the same."""
    if not isinstance(part, Compose):
        return part
    maps = list(part.maps)
    while len(maps) > 1 and _moves(maps[0]):
        maps.pop(0)
    while len(maps) > 1 and _moves(maps[-1]):
        maps.pop()
    return maps[0] if len(maps) == 1 else Compose(tuple(maps)) if len(maps) < len(part.maps) else part


def _moves(part: LinearMap) -> bool:
    if not isinstance(part, Selection) or part.in_size != part.out_size:
        return False
    return part.index is None or bool((part.copies() == torch.ones(1, dtype=torch.int64)).all())
