"""The certified operator norm of any LinearMap: the right method for its structure."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import final

import torch

from lipaudit.linear.conv import Conv
from lipaudit.linear.dense import Dense
from lipaudit.linear.fuse import add, compose
from lipaudit.linear.map import Adjoint, Compose, LinearMap, Sum
from lipaudit.linear.norms.composite import composite_l2, dense_copy, small, without_moves
from lipaudit.linear.norms.conv_tight import conv_norm
from lipaudit.linear.norms.dense_l2 import dense_l2, stacked_l2
from lipaudit.linear.norms.entries import (
    SAFE_FROM_UNDERFLOW,
    inflated,
    majorant_sum,
    underflow_of_copy,
    whole_sqrt_up,
    with_error,
)
from lipaudit.linear.norms.limits import Limits
from lipaudit.linear.norms.lower import affordable, attained, lower_l2
from lipaudit.linear.norms.mixed import mixed_norm
from lipaudit.linear.norms.sparse import as_sparse, entries
from lipaudit.linear.pointwise import Diagonal
from lipaudit.linear.selection import Selection
from lipaudit.numerics.bound import UNBOUNDED, ZERO, LowerBound, UpperBound, tightest
from lipaudit.numerics.norms import Norm, NormPair, Norms
from lipaudit.numerics.rounding import add_up, gamma, mul_up, up


@final
@dataclass(frozen=True, slots=True)
class Account:
    """What is known of one norm: the bound, a value that is attained from below, and the seconds of both."""

    upper: UpperBound
    lower: LowerBound | None
    seconds: float


@final
@dataclass(frozen=True, slots=True, eq=False)
class OperatorNorms:
    """Certified operator norms, each computed once a map. The cache is the only thing that changes in it."""

    limits: Limits = field(default_factory=Limits)
    _known: dict[tuple[int, NormPair], tuple[LinearMap, Account]] = field(default_factory=dict)
    _rows: dict[tuple[tuple[int, ...], NormPair], tuple[tuple[LinearMap, ...], Account]] = field(default_factory=dict)

    def of(self, part: LinearMap, norms: Norms) -> UpperBound:
        """An upper bound of sup |A x| / |x|, in one norm on both sides or a pair; every rounding outward."""
        return self._account(part, NormPair.of(norms)).upper

    def of_row(self, parts: tuple[LinearMap, ...], norms: Norms) -> UpperBound:
        """An upper bound of the norm of [A_1 ... A_k], the map of all arguments as one vector."""
        return self._row(parts, NormPair.of(norms)).upper

    def account(self, parts: tuple[LinearMap, ...], norms: Norms) -> Account:
        """of_row, its cost, and a value attained from below, which is looked for where none is known."""
        pair = NormPair.of(norms)
        known = self._row(parts, pair)
        if known.lower is None and 0.0 < known.upper.value < math.inf and not self.limits.spent:
            started = time.monotonic()
            value = _from_below(row_of(parts) if len(parts) > 1 else parts[0], pair, self.limits)
            lower = LowerBound(min(value, known.upper.value), "attained") if value > 0.0 else None
            known = Account(known.upper, lower, known.seconds + time.monotonic() - started)
            self._rows[tuple(map(id, parts)), pair] = (parts, known)
        return known

    def _row(self, parts: tuple[LinearMap, ...], pair: NormPair) -> Account:
        key = (tuple(map(id, parts)), pair)
        if key not in self._rows:
            alone = len(parts) == 1
            self._rows[key] = (parts, self._account(parts[0], pair) if alone else self._joint(parts, pair))
        return self._rows[key][1]

    def _joint(self, parts: tuple[LinearMap, ...], pair: NormPair) -> Account:
        started = time.monotonic()
        row, dual = row_of(parts), pair.source.dual
        # |sum A_i d_i| <= sum ||A_i|| |d_i| <= |(||A_i||)|_dual |d|, the dual of the arguments' norm
        upper = UpperBound(dual.combine_up([self.of(p, pair).value for p in parts]), "parts combined")
        lower = None
        if pair == NormPair.of(Norm.L2) and not isinstance(row, Selection):
            upper, value = composite_l2(row, lambda piece: self.of(piece, Norm.L2), self.limits, upper)
            lower = None if value is None else LowerBound(value, "attained")
        elif isinstance(row, Selection) or small(row, self.limits):
            upper = tightest(upper, self.of(row, pair))
        return Account(upper, lower, time.monotonic() - started)

    def _account(self, part: LinearMap, pair: NormPair) -> Account:
        key = (id(part), pair)
        if key not in self._known:
            started = time.monotonic()
            upper, lower = self._compute(part, pair)
            below = LowerBound(lower, "attained") if lower else None
            # the map is kept, so its id stays its own
            self._known[key] = (part, Account(upper, below, time.monotonic() - started))
        return self._known[key][1]

    def _compute(self, part: LinearMap, pair: NormPair) -> tuple[UpperBound, float | None]:
        """(the norm at most, the norm at least where the method knows)."""
        if part.in_size == 0 or part.out_size == 0:
            return ZERO, 0.0
        bare = without_moves(part)
        if bare is not part:
            inner = self._account(bare, pair)
            return inner.upper, None if inner.lower is None else inner.lower.value
        if isinstance(part, Adjoint):  # ||A'||_{q*->p*} = ||A||_{p->q}, duals by 1/p + 1/q = 1
            inner = self._account(part.of, pair.dual)
            return inner.upper, None if inner.lower is None else inner.lower.value
        if pair.mixed:
            return mixed_norm(part, pair, lambda norm: self.of(part, norm), self._copies(part)), None
        return self._l2(part) if pair.source is Norm.L2 else (self._sums(part, pair.source), None)

    def _sums(self, part: LinearMap, norm: Norm) -> UpperBound:
        """l1: the largest column sum of |A|; linf: the largest row sum. Exact up to rounding for one piece, and of a
        copy for a composite that is small or sparse, else of |A_k|..|A_1| >= |A|."""
        match part:
            case Selection():
                used = float(part.most_copies())
                return UpperBound(used if norm is Norm.L1 else min(used, 1.0), "exact")
            case Diagonal():
                return UpperBound(inflated(float(part.scale.abs().max()), part.scale_roundings), "exact")
            case _:
                pass
        bound = UpperBound(majorant_sum(part, norm), "sums of |weights|")
        if not isinstance(part, Compose | Sum):
            return bound
        if not SAFE_FROM_UNDERFLOW < bound.value < math.inf:
            return tightest(self._pieces(part, norm), bound)
        if self._copies(part):
            sums = part.as_matrix().abs().sum(0 if norm is Norm.L1 else 1)
        elif self.limits.affords(200.0 * entries(part), 64.0 * entries(part)):
            sums = torch.from_numpy(abs(as_sparse(part)).sum(0 if norm is Norm.L1 else 1))
        else:
            return bound
        length = part.out_size if norm is Norm.L1 else part.in_size
        exact = mul_up(float(sums.max()), up(1.0 + gamma(length + 1)))
        value = add_up(exact, mul_up(gamma(part.roundings), bound.value), underflow_of_copy(part))
        return tightest(UpperBound(value, "sums of the merged matrix"), bound)

    def _copies(self, part: LinearMap) -> bool:
        return part.in_size * part.out_size <= min(self.limits.entries, self.limits.memory / 64.0)

    def _l2(self, part: LinearMap) -> tuple[UpperBound, float | None]:
        match part:
            case Selection():
                return UpperBound(whole_sqrt_up(part.most_copies()), "exact"), None
            case Diagonal():
                largest = float(part.scale.abs().max())
                return UpperBound(inflated(largest, part.scale_roundings), "exact"), None
            case Dense():
                stack = part.weight.reshape(-1, *part.weight.shape[-2:])
                stored = dense_l2(stack[0]) if len(stack) == 1 else stacked_l2(stack)
                return with_error(stored, part, part.weight_roundings), None
            case Conv():
                stored, lower = conv_norm(part, self.limits)
                bound = with_error(stored, part, part.kernel_roundings)
                # below 1e-11 of a border that is most of the map: a dense copy is cheap, and has no excess at all
                if part.in_size * part.out_size <= 2**16 and not bound.value <= lower * (1.0 + 1e-9):
                    bound = tightest(bound, dense_copy(part))
                return bound, lower if part.kernel_roundings == 0 else None
            case _:
                return composite_l2(part, lambda piece: self.of(piece, Norm.L2), self.limits)

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


def row_of(parts: tuple[LinearMap, ...]) -> LinearMap:
    """[A_1 ... A_k]: the map of the arguments flattened and concatenated into one vector."""
    total, start = sum(part.in_size for part in parts), 0
    pieces = []
    for part in parts:
        pick = torch.arange(start, start + part.in_size).reshape(part.in_shape)
        pieces.append(compose(Selection.of((total,), pick), part))
        start += part.in_size
    return add(*pieces)


def _from_below(part: LinearMap, pair: NormPair, limits: Limits) -> float:
    """A value that |A x|_q / |x|_p attains: at a Ritz vector, at a unit vector, or where a row is aligned."""
    if not affordable(part, limits):
        return 0.0
    if pair == NormPair.of(Norm.L2):
        return lower_l2(part, limits.precision, limits.deadline).value
    majorant = part.majorant()
    if pair.source is Norm.L1:
        sums = majorant.adjoint(torch.ones(1, *part.out_shape, dtype=torch.float64)).reshape(-1)
        x = torch.zeros(part.in_size, dtype=torch.float64)
        x[int(sums.argmax())] = 1.0
    else:
        sums = majorant.apply(torch.ones(1, *part.in_shape, dtype=torch.float64)).reshape(-1)
        row = torch.zeros(1, part.out_size, dtype=torch.float64)
        row[0, int(sums.argmax())] = 1.0
        x = part.adjoint(row.reshape(1, *part.out_shape)).reshape(-1)
        if pair.source is Norm.LINF:
            x = torch.where(x < 0.0, -1.0, 1.0).double()
    return attained(part, pair, x.reshape(part.in_shape))
