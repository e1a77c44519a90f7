"""Certified spectral norm of a zero-padded convolution, from its symbol on a grid of frequencies.

One axis: input length H, kernel size k, stride s, dilation d, zeros (p, q) padded, n outputs:
    y[j] = sum_a K[a] x[s j + d a - p],  0 <= j < n,  x = 0 outside [0, H).
Taps that meet nothing but padding are dropped; of the rest let a run from b to c.

Embedding. For N = s M >= max(H, H + p - d b, (n-1) s + d c - p + 1) this is a sub-matrix of
    C: R^N -> R^M,  (C z)[j] = sum_a K[a] z[(s j + d (a - b)) mod N],
with x[h] put at z[(h + p - d b) mod N], zeros elsewhere, and rows j < n kept. Proof: those rows
read at indices i = s j + d (a - b) from 0 to (n-1) s + d (c - b). If i = h + p - d b + l N for an
0 <= h < H, then l >= 1 would need i >= p - d b + N, beyond the last index, and l <= -1 would need
i <= H - 1 + p - d b - N < 0. So l = 0: just the inputs that the convolution reads are read, from
their own places. In several axes, axis by axis. Hence ||conv|| <= ||C||.

Symbol. Split z into its s phases, z_r[m] = z[s m + r]. With d (a - b) = s g + r, tap a reads place
j + g of phase r for row j, so the unitary DFT over Z_M makes C block diagonal, with blocks
    S(phi) = [sum over a with phase r of K[a] e^{i phi g(a)}]_r,  phi = 2 pi l / M,
of size c_out x (c_in s), and ||C|| = max_l ||S(2 pi l / M)||. (Sedghi, Gupta, Long, ICLR 2019,
Theorem 6, has s = 1 and wraps around.) S(-phi) is conjugate to S(phi): half of one axis will do.
Groups make S block diagonal once more: the norm is the largest of theirs, never a product.

Coarser grids. sup_phi ||S(phi)|| bounds ||C|| for every N. Let |u* S v| at phi' be this supremum,
u and v unit vectors, and P = |u* S v|^2: a trigonometric polynomial >= 0 of degree at most
D = floor(d (c - b) / s) in each angle, the others fixed. If phi' is where it is largest along one
angle, T = 2 P / P(phi') - 1 has -1 <= T <= 1 = T(phi'), so T(phi) >= cos(D (phi - phi')) while
D |phi - phi'| <= pi (M. Riesz 1914; Borwein & Erdelyi, Polynomials and Polynomial Inequalities,
section 5.1). A grid of M >= D points has one within pi / M, where P >= P(phi') cos^2(pi D / 2M).
Axis after axis:  sup ||S|| <= max over the grid of ||S||, times prod_i 1 / cos(pi D_i / 2 M_i).
D = 0, a kernel no longer than the stride such as 1 x 1, needs a single point and has factor 1.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Iterator
from typing import NamedTuple

import torch

from lipaudit.linear.norms.dense_l2 import stacked_l2
from lipaudit.linear.norms.sums import flushed, schur_square_up, subnormal, unit_scaled, unscaled
from lipaudit.numerics.bound import ZERO, UpperBound
from lipaudit.numerics.rounding import TINY, U, add_up, div_up, down, gamma, mul_up, sqrt_up, up

# More frequencies or flops than this: a coarser grid. 2e10 flops take about a second.
_FREQUENCIES = 4096
_FLOPS = 4e11

_CHUNK = 2**18  # complex entries of the symbol made at a time


class Wrapped(NamedTuple):
    """The taps kept and where each reads, d (a - b) = s place + phase; degree D, least period M."""

    taps: torch.Tensor
    phase: torch.Tensor
    place: torch.Tensor
    degree: int
    period: int


def conv_l2(
    kernel: torch.Tensor,
    in_size: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    pads: tuple[tuple[int, int], ...],
    groups: int,
) -> UpperBound:
    """||conv||_2 <= value, of x (c_in, *in_size) -> y (c_out, *out_size), zeros padded.

    kernel: (c_out, c_in / groups, *k) float64, one axis or more; pads: (begin, end) of each axis.
    A transposed convolution is the adjoint of this one and has its norm.
    Width: 1e-11 for a kernel no longer than the stride, else about (k / H)^2.
    Raises ValueError for shapes that do not fit, negative pads or an empty output.
    Sound: by the module's argument. An entry of S, at most t taps times factors e^{i phi g} known
    to 32 u an axis, is off by (32 u axes + 2 gamma_t) sum |K[a]|; Schur's bound of that is added.
    """
    if kernel.dtype != torch.float64 or kernel.dim() < 3 or groups < 1 or len(kernel) % groups:
        raise ValueError(f"kernel {tuple(kernel.shape)} of {kernel.dtype} in {groups} groups")
    axes = axes_of(tuple(kernel.shape[2:]), in_size, stride, dilation, pads)
    if kernel.numel() == 0 or not all(axis.taps.numel() for axis in axes):
        return ZERO
    if not bool(kernel.isfinite().all()):
        return UpperBound(math.inf, "an entry is not finite")
    for i, axis in enumerate(axes, start=2):
        kernel = kernel.index_select(i, axis.taps)
    count = float(kernel.numel())
    lost = mul_up(flushed(kernel), sqrt_up(count))  # >= the sum of the flushed |K[a]|
    if subnormal(kernel):
        return UpperBound(lost, "subnormal entries") if lost else ZERO
    scaled, exponent = unit_scaled(kernel)
    taps = scaled.reshape(groups, -1, scaled.shape[1], math.prod(scaled.shape[2:]))
    phases = _phases(axes)
    schur = _schur(taps, phases)
    m, n = sorted((taps.shape[1], taps.shape[2] * len(phases)))
    grid = _grid(axes, 20.0 * groups * m * m * n)
    value = max(stacked_l2(blocks).value for blocks in _symbols(taps, axes, phases, grid))
    entry = add_up(32.0 * len(axes) * U, mul_up(2.0, gamma(taps.shape[-1])))
    underflow = mul_up(16.0 * count, TINY)  # of the scaling, of products and of sums
    factors = map(_between, axes, grid)
    value = mul_up(add_up(value, mul_up(entry, schur), underflow), *factors)
    evidence = "symbol of the circulant embedding" if value < schur else "sqrt(|A|_1 |A|_inf)"
    value = unscaled(add_up(min(value, schur), underflow), exponent)
    return UpperBound(add_up(value, lost), evidence)


def axes_of(
    sizes: tuple[int, ...],
    in_size: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    pads: tuple[tuple[int, int], ...],
) -> list[Wrapped]:
    """The axes of a convolution that makes sense; ValueError for others."""
    axes = []
    for k, h, s, d, (p, q) in zip(sizes, in_size, stride, dilation, pads, strict=True):
        reach = (k - 1) * d
        if min(k, h, s, d) < 1 or min(p, q) < 0 or h + p + q <= reach:
            raise ValueError(f"no convolution: {k=} on {h=}, {s=}, {d=}, pads {p}, {q}")
        axes.append(axis_of(k, h, s, d, p, (h + p + q - reach - 1) // s * s))
    return axes


def axis_of(k: int, h: int, s: int, d: int, p: int, last: int) -> Wrapped:
    """The taps of one axis that read anything, wrapped around; last: s (n - 1), where the last output starts."""
    # The first s j at which tap a reads an x[h >= 0].
    starts = [max(0, -(-(p - d * a) // s) * s) for a in range(k)]
    taps = [a for a in range(k) if starts[a] <= last and starts[a] + d * a - p < h]
    b, c = min(taps, default=0), max(taps, default=0)
    degree, kept = d * (c - b) // s, torch.tensor(taps, dtype=torch.int64)
    period = -(-max(h, h + p - d * b, last + d * c - p + 1) // s) if degree else 1
    return Wrapped(kept, d * (kept - b) % s, d * (kept - b) // s, degree, period)


def cost(kernel: torch.Tensor, axes: list[Wrapped], groups: int) -> float:
    """About how many operations the largest grid that is not thinned out takes."""
    phases = math.prod(int(axis.phase.max()) + 1 if axis.taps.numel() else 1 for axis in axes)
    m, n = sorted((len(kernel) // groups, kernel.shape[1] * phases))
    frequencies = math.prod(axis.period for axis in axes) / 2.0 + 1.0
    flops = 20.0 * groups * m * m * n
    return flops * min(frequencies, _FREQUENCIES, max(16.0, _FLOPS / flops))


def _phases(axes: list[Wrapped]) -> list[torch.Tensor]:
    """The taps (flat indices) of each phase that has any: a partition of the kernel."""
    phase = torch.zeros(1, dtype=torch.int64)
    for axis in axes:
        phase = (phase.unsqueeze(1) * (int(axis.phase.max()) + 1) + axis.phase).flatten()
    return [(phase == value).nonzero().flatten() for value in sorted(set(phase.tolist()))]


def _schur(taps: torch.Tensor, phases: list[torch.Tensor]) -> float:
    """sqrt(||A||_1 ||A||_inf) <= value for A the convolution, and for the matrix sum_a |K[a]|.

    An output reads at most every tap, an input is read by at most the taps of its own phase.
    """
    sums = torch.stack([taps[..., phase].abs().sum(-1) for phase in phases], -1).flatten(2)
    return sqrt_up(mul_up(schur_square_up(sums), up(1.0 + gamma(2 * taps.shape[-1]))))


def _grid(axes: list[Wrapped], flops: float) -> list[int]:
    """Points of each axis: its period or, if too many, as many a degree as the limits allow."""
    limit = 2.0 * min(_FREQUENCIES, max(16.0, _FLOPS / flops))
    density = max(-(-axis.period // max(1, axis.degree)) for axis in axes)
    while True:
        grid = [min(axis.period, max(1, density * axis.degree)) for axis in axes]
        if density <= 2 or math.prod(grid) <= limit:
            return grid
        density -= max(1, density // 64)


def _between(axis: Wrapped, points: int) -> float:
    """1 for all frequencies of the circulant, else 1 / cos(pi D / 2M) <= value, where 2 D <= M."""
    cosine = down(math.cos(math.pi * axis.degree / (2.0 * points)) - 16.0 * U)  # argument and own
    return 1.0 if points == axis.period else div_up(1.0, cosine)


def _symbols(
    taps: torch.Tensor, axes: list[Wrapped], phases: list[torch.Tensor], grid: list[int]
) -> Iterator[torch.Tensor]:
    """S(phi) of every group, up to conjugates: stacks (b, c_out / groups, c_in / groups phases).

    Twiddles, products of one root of unity an axis, are within 32 u an axis: 23 u and a product.
    """
    groups, m, n, _ = taps.shape
    kept = grid.copy()
    kept[grid.index(max(grid))] = max(grid) // 2 + 1
    roots = [roots_of_unity(points) for points in grid]
    total = math.prod(kept)
    at_once = max(1, _CHUNK // max(groups * m * max(m, n * len(phases)), taps.shape[3]))
    for first in range(0, total, at_once):
        index = torch.arange(first, min(first + at_once, total))
        twiddle = torch.ones(len(index), 1, dtype=torch.complex128)
        for axis, root, count in zip(axes, roots, kept, strict=True):
            turns = (index % count).unsqueeze(1) * axis.place % len(root)
            twiddle = (twiddle.unsqueeze(2) * root[turns].unsqueeze(1)).flatten(1)
            index = index // count
        real, imaginary = (
            torch.stack([x[:, p] @ taps[..., p].flatten(0, 2).mT for p in phases], -1)
            for x in (twiddle.real, twiddle.imag)
        )
        blocks = torch.complex(real, imaginary) if total > 1 else real  # at 0 the symbol is real
        yield blocks.reshape(-1, m, n * len(phases))


def roots_of_unity(points: int) -> torch.Tensor:
    """e^{2 pi i t / points}, within 23 u: |angle| <= pi is known to 4 u, cos and sin to an ulp."""
    turns = (t if 2 * t <= points else t - points for t in range(points))
    values = [cmath.rect(1.0, 2.0 * math.pi * t / points) for t in turns]
    return torch.tensor(values, dtype=torch.complex128)
