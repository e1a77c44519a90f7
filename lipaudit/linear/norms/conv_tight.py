"""The spectral norm of a convolution: from the cheapest bound to the tightest, until one is tight enough.

Each method is a proof of its own, and the answer is the smallest that was proven:
    1. sqrt(||A||_1 ||A||_inf), nearly free;
    2. the circulant embedding or, where that has too many frequencies, the supremum of the symbol (`conv_l2`);
    3. the semi-circulant: the embedding along one axis only (`semi_circulant`);
    4. the Gram matrix with its borders, factored (`conv_gram`, `block_cholesky`): exact up to rounding.
A value attained from below (`lower`) tells when to stop. Groups are independent maps: the norm is the largest of
theirs, never a product, and those that cannot be the largest are left alone. A transposed convolution is the adjoint.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import torch

from lipaudit.linear.conv import Conv
from lipaudit.linear.norms.block_cholesky import largest_eigenvalue
from lipaudit.linear.norms.conv_gram import Axis, conv_gram, kernel_schur_square, plan
from lipaudit.linear.norms.conv_l2 import axes_of, conv_l2, cost
from lipaudit.linear.norms.entries import schur_sum
from lipaudit.linear.norms.insist import insist
from lipaudit.linear.norms.limits import Limits
from lipaudit.linear.norms.lower import Lower, affordable, lower_l2
from lipaudit.linear.norms.semi_circulant import semi_circulant, semi_cost
from lipaudit.linear.norms.sums import flushed, subnormal, unit_scaled, unscaled
from lipaudit.numerics.bound import UpperBound, tightest
from lipaudit.numerics.rounding import TINY, add_up, mul_up, sqrt_up

SHIFTS = (0.2, 1.8)
"""Shifts tried above the square of the estimate, in units of the precision: a fifth of it, then nearly all."""


def conv_norm(part: Conv, limits: Limits) -> tuple[UpperBound, float]:
    """(an upper bound of ||A||_2 for the stored kernel, a value that is attained) of a convolution, one sample."""
    part = replace(part, kernel_roundings=0, source=(1, *part.source[1:]))
    schur = UpperBound(schur_sum(part), "sqrt(|A|_1 |A|_inf)")
    if limits.spent or not 0.0 < schur.value < math.inf:
        return schur, 0.0
    best = schur
    wrapped = axes_of(part.kernel.shape[2:], part.source[2:], part.stride, part.dilation, part.pads)
    if limits.affords(cost(part.kernel, wrapped, part.groups)):
        best = tightest(_circulant(part), best)
    if not affordable(part, limits):
        return best, 0.0
    limits = _sharpened(part, limits)
    lower = lower_l2(part, limits.precision, limits.deadline)
    if limits.reached(best.value, lower.value) or not lower.value > 0.0 or part.kernel.numel() == 0:
        return best, lower.value
    if part.groups > 1:
        return _groups(part, best, lower, limits)
    best, lower = insist(part, partial(_tighter, part, best), best, lower, limits)
    return best, lower.value


def _sharpened(part: Conv, limits: Limits) -> Limits:
    """A precision that costs nothing to speak of where the map is small."""
    kernel, axes = live(part)
    if kernel.numel() == 0:
        return limits
    flops = part.groups * plan(axes, kernel.shape[0] // part.groups, kernel.shape[1]).flops
    return replace(limits, precision=min(limits.precision, 1e-7)) if flops < 2e9 else limits


def live(part: Conv) -> tuple[torch.Tensor, tuple[Axis, ...]]:
    """The kernel without what meets only padding at either end, and the axes that go with it."""
    kernel, axes = part.kernel, []
    wrapped = axes_of(part.kernel.shape[2:], part.source[2:], part.stride, part.dilation, part.pads)
    for i, axis in enumerate(wrapped):
        first, last = (int(axis.taps[0]), int(axis.taps[-1]) + 1) if axis.taps.numel() else (0, 0)
        kernel = kernel.narrow(2 + i, first, last - first)
        before = part.pads[i][0] - part.dilation[i] * first
        outputs = part.out_shape[2 + i]
        axes.append(Axis(last - first, part.source[2 + i], part.stride[i], part.dilation[i], before, outputs))
    return kernel, tuple(axes)


def _circulant(part: Conv) -> UpperBound:
    return conv_l2(part.kernel, part.source[2:], part.stride, part.dilation, part.pads, part.groups)


def _groups(part: Conv, best: UpperBound, lower: Lower, limits: Limits) -> tuple[UpperBound, float]:
    """The largest of the groups' norms: each is tightened only where it may be the largest."""
    found: list[UpperBound] = []
    for kernel in part.kernel.chunk(part.groups):
        one = replace(part, kernel=kernel, groups=1, source=(1, kernel.shape[1], *part.source[2:]))
        bound = tightest(_circulant(one), UpperBound(schur_sum(one), "sqrt(|A|_1 |A|_inf)"))
        if not limits.reached(bound.value, lower.value) and not limits.spent:
            own = lower_l2(one, limits.precision, limits.deadline)
            if not limits.reached(bound.value, own.value):
                # what proves the group to be below the largest lower value is enough
                raised = Lower(max(own.value, lower.value), max(own.estimate, lower.value))
                bound, own = insist(one, partial(_tighter, one, bound), bound, raised, limits)
                lower = Lower(max(own.value, lower.value), max(own.estimate, lower.estimate))
        found.append(bound)
    largest = max(found, key=lambda bound: bound.value)
    return tightest(largest, best), lower.value


def _tighter(part: Conv, best: UpperBound, lower: Lower, limits: Limits) -> UpperBound | None:
    """The semi-circulant where it is much cheaper than the Gram matrix with its borders, then that itself."""
    kernel, axes = live(part)
    if kernel.numel() == 0:
        return None
    chosen = plan(axes, kernel.shape[0], kernel.shape[1])
    semi, exact = semi_cost(kernel, axes), 1.5 * chosen.flops + 1e7
    if semi < 0.25 * exact and limits.affords(semi):
        best = tightest(semi_circulant(kernel, axes, lower, limits), best)
        if limits.reached(best.value, lower.value):
            return best
    if limits.affords(exact, 8.0 * (chosen.width + 256) ** 2):
        return tightest(band(kernel, axes, lower, limits), best)
    return best if semi < 0.25 * exact and limits.affords(semi) else None


def band(kernel: torch.Tensor, axes: tuple[Axis, ...], lower: Lower, limits: Limits) -> UpperBound:
    """||A||_2 <= value by factoring t I - A A' (or A'A) with its borders; inf where no shift could be.

    kernel: (c_out, c_in, *k) of one group. Scaled by a power of two, which loses TINY an entry, `flushed` before.
    """
    nothing = UpperBound(math.inf, "nothing proven")
    if subnormal(kernel):
        return nothing
    scaled, exponent = unit_scaled(kernel)
    count = float(kernel.numel())
    schur_square = kernel_schur_square(scaled)
    gram = conv_gram(scaled, axes, plan(axes, kernel.shape[0], kernel.shape[1]), schur_square)
    for slack in SHIFTS:
        estimate = math.ldexp(max(lower.estimate, lower.value), -exponent)
        square = largest_eigenvalue(gram, estimate * estimate * (1.0 + slack * limits.precision), limits.deadline)
        if square < math.inf:
            value = add_up(sqrt_up(square), mul_up(2.0 * count, TINY))
            lost = mul_up(flushed(kernel), sqrt_up(count))
            return UpperBound(add_up(unscaled(value, exponent), lost), "Gram matrix, banded Cholesky residual")
    return nothing
