"""Operator norms between two different vector norms, ||A||_{p->q} = max |A x|_q over |x|_p <= 1.

Easy ones, the unit ball of p having few corners or that of q few faces:
    1 -> q: the largest q-norm of a column;    p -> inf: the largest dual p-norm of a row.
The other three, inf -> 2, inf -> 1 and 2 -> 1, are easy where every entry has one sign: || |A| 1 ||_q from inf, which
is a bound for every A. Otherwise they are NP-hard: `dual` bounds them, on a dense copy of a map that is small.
For any map and pair, and r any norm, ||A||_{p->q} <= c(p, r) ||A||_{r->r} c(r, q), c the equivalence of norms.
||A||_{p->q} = ||A'||_{q*->p*} makes one of each two (Higham, Accuracy and Stability, 2nd ed. 2002, section 6.2).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from lipaudit.linear.conv import Conv
from lipaudit.linear.dense import Dense
from lipaudit.linear.map import LinearMap
from lipaudit.linear.norms.conv_l2 import axes_of
from lipaudit.linear.norms.dual import inf_to_one, inf_to_two
from lipaudit.linear.norms.entries import SAFE_FROM_UNDERFLOW, inflated, majorant_sum, underflow_of_copy, whole_sqrt_up
from lipaudit.linear.norms.sums import flushed, subnormal, unit_scaled, unscaled
from lipaudit.linear.pointwise import Diagonal
from lipaudit.linear.selection import Selection
from lipaudit.numerics.bound import UNBOUNDED, UpperBound, tightest
from lipaudit.numerics.norms import Norm, NormPair
from lipaudit.numerics.rounding import TINY, add_up, gamma, mul_up, sqrt_up, up

Same = Callable[[Norm], UpperBound]
"""The norm of the map at hand with one vector norm on both sides."""

# The dual bound factors a matrix of this side at most: a second or two.
_DUAL_SIDE = 3072


def mixed_norm(part: LinearMap, pair: NormPair, same: Same, copies: bool) -> UpperBound:
    """||A||_{p->q} <= value for a pair of different norms. same: what it is bounded by where they are equal.

    copies: whether a dense copy may be made. Raises nothing: inf is the answer where entries overflow.
    """
    exact = _exact(part, pair)
    if exact is not None:
        return exact
    best = [_carried(part, pair, same)]
    easy = pair.source is Norm.L1 or pair.target is Norm.LINF
    if not easy:
        best.append(_one_signed(part, pair))
    if copies and math.isfinite(best[0].value):
        best.append(_columns_of_copy(part, pair) if easy else _hard(part, pair))
    return tightest(*best)


def _exact(part: LinearMap, pair: NormPair) -> UpperBound | None:
    """Where the entries are there to be read: one number, and the rounding of its sum of squares."""
    match part:
        case Selection():
            return UpperBound(_selected(part, pair), "exact")
        case Diagonal() if pair.source is Norm.L1 or pair.target is Norm.LINF:
            return UpperBound(inflated(float(part.scale.abs().max()), part.scale_roundings), "exact")
        case Diagonal():
            norm = Norm.L1 if pair == NormPair(Norm.LINF, Norm.L1) else Norm.L2
            length = norm.bounds_of(part.scale.expand(part.shape))[1]
            return UpperBound(inflated(length, part.scale_roundings), "exact")
        case Conv() | Dense() if pair == NormPair(Norm.L1, Norm.LINF):
            weight, roundings = _weight(part)
            if isinstance(part, Conv):
                weight = _read(part)
            largest = float(weight.abs().max()) if weight.numel() else 0.0
            return UpperBound(inflated(largest, roundings), "largest |weight|")
        case Conv() | Dense() if pair == NormPair(Norm.L1, Norm.L2) or pair == NormPair(Norm.L2, Norm.LINF):
            return UpperBound(_longest(part, columns=pair.source is Norm.L1), "sums of weights squared")
        case _:
            return None


def _selected(part: Selection, pair: NormPair) -> float:
    """Of a selection, whose columns hold `copies` ones each and whose rows one at most."""
    copies = part.copies()
    most, used = float(part.most_copies()), float(copies.sum())
    if most == 0.0 or pair.target is Norm.LINF:
        return min(most, 1.0)
    if pair.source is Norm.L1:
        return whole_sqrt_up(int(most))
    if pair.source is Norm.LINF:
        return whole_sqrt_up(int(used)) if pair.target is Norm.L2 else used
    return Norm.L2.bounds_of(copies.double())[1]


def _weight(part: Conv | Dense) -> tuple[torch.Tensor, int]:
    return (part.kernel, part.kernel_roundings) if isinstance(part, Conv) else (part.weight, part.weight_roundings)


def _read(part: Conv) -> torch.Tensor:
    """The kernel without the taps that meet nothing but padding."""
    kernel = part.kernel
    sizes = tuple(kernel.shape[2:])
    for i, axis in enumerate(axes_of(sizes, part.source[2:], part.stride, part.dilation, part.pads), start=2):
        kernel = kernel.index_select(i, axis.taps)
    return kernel


def _longest(part: Conv | Dense, *, columns: bool) -> float:
    """The largest 2-norm of a column (or row): the map of squared weights applied to ones, and the root of that.

    Each output reads an entry at most once, so squares add up; gamma of the map's own sums and one for the square.
    """
    weight, roundings = _weight(part)
    if not bool(weight.isfinite().all()):
        return math.inf
    lost = mul_up(flushed(weight), sqrt_up(float(max(part.in_size, part.out_size))))
    if subnormal(weight):
        return lost
    scaled, exponent = unit_scaled(weight)
    squares = scaled * scaled
    if isinstance(part, Conv):
        squared: LinearMap = Conv(squares, part.source, part.stride, part.dilation, part.pads, part.groups)
    else:
        squared = Dense(squares, part.lead, part.trail, part.source, part.target)
    shape = squared.out_shape if columns else squared.in_shape
    ones = torch.ones(1, *shape, dtype=torch.float64)
    largest = float((squared.adjoint(ones) if columns else squared.apply(ones)).max())
    count = float(max(part.in_size, part.out_size))
    square = add_up(mul_up(largest, up(1.0 + gamma(squared.roundings + 2))), mul_up(4.0 * count, TINY))
    value = add_up(sqrt_up(square), mul_up(2.0 * count, TINY))
    return inflated(add_up(unscaled(value, exponent), lost), roundings)


def _carried(part: LinearMap, pair: NormPair, same: Same) -> UpperBound:
    """By the equivalence of norms, through the best of the three."""
    found = []
    for norm in Norm:
        factor = pair.source.conversion_up(norm, part.in_size)
        factor = mul_up(factor, norm.conversion_up(pair.target, part.out_size))
        found.append(UpperBound(mul_up(factor, same(norm).value), f"{norm.value} norm carried over"))
    return tightest(*found)


def _one_signed(part: LinearMap, pair: NormPair) -> UpperBound:
    """|| |A| 1 ||_q from inf; from 2 to 1 the same of the adjoint: |A|' 1 in the 2-norm."""
    majorant = part.majorant()
    if pair.source is Norm.LINF:
        image, norm = majorant.apply(torch.ones(1, *part.in_shape, dtype=torch.float64)), pair.target
    else:
        image, norm = majorant.adjoint(torch.ones(1, *part.out_shape, dtype=torch.float64)), Norm.L2
    if not bool(image.isfinite().all()):
        return UNBOUNDED
    value = inflated(norm.bounds_of(image)[1], 2 * part.roundings + 1)
    return UpperBound(add_up(value, underflow_of_copy(part)), "|A| applied to ones")


def _columns_of_copy(part: LinearMap, pair: NormPair) -> UpperBound:
    """Columns (rows) of fl(A) from unit vectors. A column's rounding is gamma times the majorant's 1-norm at most."""
    columns = pair.source is Norm.L1
    error = majorant_sum(part, Norm.L1 if columns else Norm.LINF)
    if not SAFE_FROM_UNDERFLOW < error < math.inf:
        return UNBOUNDED
    copy = part.as_matrix()
    lines = copy.mT if columns else copy
    norm = pair.target if columns else pair.source.dual
    longest = lines[int(norm.of(lines).argmax())]
    above = mul_up(
        norm.bounds_of(longest)[1], up(1.0 + 2.0 * gamma(len(longest) + 8))
    )  # the argmax is of rounded norms
    return UpperBound(
        add_up(above, mul_up(gamma(part.roundings + 1), error), underflow_of_copy(part)), "lines of the merged matrix"
    )


def _hard(part: LinearMap, pair: NormPair) -> UpperBound:
    """The dual bound of fl(A), and gamma times that of the majorant for the difference."""
    side = {Norm.L2: part.out_size, Norm.LINF: part.in_size}[pair.source]
    if pair == NormPair(Norm.LINF, Norm.L1):
        side = part.in_size + part.out_size
    error = _one_signed(part, pair).value
    if side > _DUAL_SIDE or not SAFE_FROM_UNDERFLOW < error < math.inf:
        return UNBOUNDED
    copy = part.as_matrix()
    if pair.target is Norm.L2:
        value = inf_to_two(copy)
    else:
        value = inf_to_one(copy) if pair.source is Norm.LINF else inf_to_two(copy.mT.contiguous())
    rounding = mul_up(gamma(part.roundings + 1), error)
    return UpperBound(add_up(value, rounding, underflow_of_copy(part)), "semidefinite dual")
