"""A convolution wrapped around along one axis only: a bound between the circulant embedding and the truth.

Along the axis where the image is longest the embedding of `conv_l2` is made; the others keep their borders. The unitary
DFT along that axis leaves one convolution over the remaining axes for each frequency phi, with the complex kernel
    K_phi[o, (r, i), a] = sum over taps a' of phase r of K[o, i, a, a'] e^{i phi g(a')},
and A is a part of their direct sum: ||A|| <= max over phi of ||conv K_phi||. As a real map x + iy -> (x, y) this is the
convolution with kernel [[Re, -Im], [Im, Re]], of the same norm; phi and -phi are conjugate and have the same. Each is
certified by factoring its Gram matrix (`block_cholesky`), borders and all: narrow bands, as one axis is gone.
The excess over ||A|| is that of one axis, about half of the embedding's, at a small part of the cost of none at all.

Rounding: an entry of K_phi, t taps times e^{i phi g} known to 32 u, is off by (32 u + 2 gamma_t) sum |K[.., a']| in its
real and in its imaginary part; Schur's bound of twice that is added.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from lipaudit.linear.conv import Conv
from lipaudit.linear.norms.block_cholesky import largest_eigenvalue
from lipaudit.linear.norms.conv_gram import Axis, conv_gram, kernel_schur_square, plan
from lipaudit.linear.norms.conv_l2 import axis_of, roots_of_unity
from lipaudit.linear.norms.limits import Limits
from lipaudit.linear.norms.lower import Lower, lower_l2
from lipaudit.linear.norms.sums import flushed, subnormal, unit_scaled, unscaled
from lipaudit.numerics.bound import UNBOUNDED, UpperBound
from lipaudit.numerics.rounding import TINY, U, add_up, gamma, mul_up, sqrt_up

if TYPE_CHECKING:
    from lipaudit.linear.norms.conv_l2 import Wrapped

_TRIES = 4  # how often the shift may be raised


def semi_cost(kernel: torch.Tensor, axes: tuple[Axis, ...]) -> float:
    """About how many operations it takes; infinite for a single axis, which the embedding covers."""
    if len(axes) == 1:
        return math.inf
    which = _longest(axes)
    wrapped, rest = _wrapped(axes[which]), _others(axes, which)
    phases = len(set(wrapped.phase.tolist()))
    flops = plan(rest, 2 * kernel.shape[0], 2 * kernel.shape[1] * phases).flops
    return (wrapped.period // 2 + 1) * (1.5 * flops + 1e7)


def semi_circulant(kernel: torch.Tensor, axes: tuple[Axis, ...], lower: Lower, limits: Limits) -> UpperBound:
    """||A||_2 <= value; inf where the shift was raised in vain, or above what is known already.

    kernel: (c_out, c_in, *k) float64 of one group, two axes or more; lower: of A, where the shift starts.
    """
    if subnormal(kernel):
        return UNBOUNDED
    which = _longest(axes)
    scaled, exponent = unit_scaled(kernel)
    wrapped, rest = _wrapped(axes[which]), _others(axes, which)
    taps = scaled.movedim(2 + which, -1).index_select(-1, wrapped.taps)
    count, square = float(kernel.numel()), 0.0
    estimate = math.ldexp(max(lower.estimate, lower.value), -exponent)
    shift = (estimate * (1.0 + 0.8 * limits.precision)) ** 2
    schur_square = kernel_schur_square(scaled)
    for turn in range(wrapped.period // 2 + 1):
        small = _at(taps, wrapped, turn)
        gram = conv_gram(small, rest, plan(rest, *small.shape[:2]), 4.0 * schur_square)
        for _ in range(_TRIES):
            found = largest_eigenvalue(gram, shift, limits.deadline)
            if found < math.inf or limits.spent:
                break
            own = lower_l2(_conv(small, rest), limits.precision, limits.deadline).estimate
            shift = max(shift * (1.0 + limits.precision), own * own * (1.0 + limits.precision))
        square = max(square, found)
        if square == math.inf:
            return UNBOUNDED
    entry = mul_up(4.0, add_up(mul_up(32.0, U), mul_up(2.0, gamma(taps.shape[-1]))))
    value = add_up(sqrt_up(square), mul_up(entry, sqrt_up(schur_square)), mul_up(16.0 * count, TINY))
    lost = mul_up(flushed(kernel), sqrt_up(count))
    return UpperBound(add_up(unscaled(value, exponent), lost), "semi-circulant, banded Cholesky residual")


def _longest(axes: tuple[Axis, ...]) -> int:
    """The axis to wrap around: with the most positions a tap of reach."""
    return max(range(len(axes)), key=lambda i: axes[i].size / max(1, (axes[i].taps - 1) * axes[i].dilation))


def _others(axes: tuple[Axis, ...], which: int) -> tuple[Axis, ...]:
    return tuple(axis for i, axis in enumerate(axes) if i != which)


def _wrapped(axis: Axis) -> Wrapped:
    last = (axis.outputs - 1) * axis.stride
    return axis_of(axis.taps, axis.size, axis.stride, axis.dilation, axis.before, last)


def _at(taps: torch.Tensor, wrapped: Wrapped, turn: int) -> torch.Tensor:
    """K_phi as a real kernel, phi = 2 pi turn / period: (2 c_out, 2 c_in phases, *k), halves where phi is 0 or pi."""
    root = roots_of_unity(wrapped.period)
    twiddle = root[turn * wrapped.place % wrapped.period]
    phases = sorted(set(wrapped.phase.tolist()))
    parts = []
    for values in (twiddle.real, twiddle.imag):
        weighted = taps * values
        parts.append(torch.cat([weighted[..., wrapped.phase == phase].sum(-1) for phase in phases], 1))
    real, imaginary = parts
    if 2 * turn % wrapped.period == 0:  # e^{i phi g} is 1 or -1
        return real
    return torch.cat([torch.cat([real, -imaginary], 1), torch.cat([imaginary, real], 1)], 0)


def _conv(kernel: torch.Tensor, axes: tuple[Axis, ...]) -> Conv:
    """The convolution itself, for its lower value. Inputs before the first that is read are left out."""
    source, pads = [1, kernel.shape[1]], []
    for axis in axes:
        reach = (axis.outputs - 1) * axis.stride + (axis.taps - 1) * axis.dilation + 1
        pads.append((max(0, axis.before), max(0, reach - axis.size - axis.before)))
        source.append(axis.size + min(0, axis.before))
    return Conv(kernel, tuple(source), tuple(a.stride for a in axes), tuple(a.dilation for a in axes), tuple(pads))
