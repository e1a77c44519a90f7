"""Certified upper bounds of the three operator norms that are NP-hard: inf -> 2, inf -> 1 and 2 -> 1.

Let d be *any* vector, D = diag(d), and C symmetric of side N. For every s with |s_i| <= 1,
    s' C s = s' D s + s' (C - D) s <= sum max(d_i, 0) + N max(0, lambda_max(C - D)).
With C = A'A this bounds ||A||^2 from l_inf to l2, N the number of columns; with C = [[0, A/2], [A'/2, 0]] and
s = (y, x) it bounds max y'A x = ||A|| from l_inf to l1, N rows and columns together. From l2 to l1, ||A|| = ||A'||
from l_inf to l2. This is Lagrange duality for the semidefinite relaxations of Nesterov (1998) and Grothendieck; at the
best d the loss is at most sqrt(pi/2) = 1.2534 for inf -> 2 and K_G < 1.7823 for inf -> 1. The exact values are NP-hard
(Rohn 2000; Hendrickx & Olshevsky, SIAM J. Matrix Anal. Appl. 31 (2010)).

d is guessed from a factorised ascent, X = V V' with unit rows (Burer & Monteiro 2003), and believed in nothing:
lambda_max is certified for the d at hand by the residual of a Cholesky factor, as in `dense_l2`.
"""

from __future__ import annotations

import math

import torch

from lipaudit.linear.norms.dense_l2 import certified_top
from lipaudit.linear.norms.sums import flushed, gram, gram_error, subnormal, unit_scaled, unscaled
from lipaudit.numerics.rounding import TINY, U, add_up, mul_up, sqrt_up, sum_up

# Sweeps of the ascent: each is two products with A; the bound is within a few parts in a thousand of its best by then.
_SWEEPS = 400


def inf_to_two(matrix: torch.Tensor) -> float:
    """max |A x|_2 over |x|_inf <= 1 is at most this.  matrix: float64 (m, n), finite; inf where nothing was proven.

    Rounding: the Gram matrix by `gram_error`, the differences on its diagonal by u each, scaling by TINY an entry.
    """
    scaled = _scaled(matrix)
    if scaled is None:
        return mul_up(flushed(matrix), sqrt_up(float(matrix.shape[1])))
    x, exponent = scaled
    columns = x.shape[1]
    v = _start(columns)
    for _ in range(_SWEEPS):
        v = _unit(x.mT @ (x @ v))
    d = torch.linalg.vector_norm(x.mT @ (x @ v), dim=1)
    c = gram(x.mT.unsqueeze(0))[0]
    excess = _excess(c, d, gram_error(x.mT.unsqueeze(0)))
    value = sqrt_up(add_up(sum_up(d), mul_up(float(columns), excess)))
    value = add_up(value, mul_up(2.0 * x.numel(), TINY))  # what the scaling lost
    return add_up(unscaled(value, exponent), mul_up(flushed(matrix), sqrt_up(float(columns))))


def inf_to_one(matrix: torch.Tensor) -> float:
    """max |A x|_1 over |x|_inf <= 1 is at most this.  matrix: float64 (m, n), finite; inf where nothing was proven.

    Rounding: halving is exact above TINY, the differences on the diagonal are rounded once.
    """
    rows, columns = matrix.shape
    scaled = _scaled(matrix)
    if scaled is None:
        return mul_up(flushed(matrix), sqrt_up(float(matrix.numel())))
    x, exponent = scaled
    v = _start(columns)
    u = v[:0]
    for _ in range(_SWEEPS):
        u = _unit(x @ v)
        v = _unit(x.mT @ u)
    halves = (torch.linalg.vector_norm(x @ v, dim=1), torch.linalg.vector_norm(x.mT @ u, dim=1))
    d = torch.cat(halves) / 2.0
    c = x.new_zeros(rows + columns, rows + columns)
    c[:rows, rows:], c[rows:, :rows] = x / 2.0, x.mT / 2.0
    excess = _excess(c, d, mul_up(float(x.numel()), TINY))
    value = add_up(sum_up(d), mul_up(float(rows + columns), excess))
    value = add_up(value, mul_up(2.0 * x.numel(), TINY))  # what the scaling lost
    return add_up(unscaled(value, exponent), mul_up(flushed(matrix), sqrt_up(float(x.numel()))))


def _excess(c: torch.Tensor, d: torch.Tensor, error: float) -> float:
    """max(0, lambda_max(C - diag d)) is at most this, C known within `error` in the spectral norm."""
    shifted = c.clone()
    shifted.diagonal().sub_(d)
    rounding = mul_up(2.0 * U, float(torch.maximum(c.diagonal().abs(), d).max()))
    return max(0.0, add_up(certified_top(shifted), error, rounding))


def _scaled(matrix: torch.Tensor) -> tuple[torch.Tensor, int] | None:
    """The matrix over a power of two, None where no entry is a normal number."""
    return None if subnormal(matrix) else unit_scaled(matrix)


def _start(count: int) -> torch.Tensor:
    """Unit rows, the same every time; more columns than sqrt(2 n) leave no spurious maxima (Barvinok, Pataki)."""
    rank = math.isqrt(2 * count) + 2
    noise = torch.randn(count, rank, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return _unit(noise)


def _unit(v: torch.Tensor) -> torch.Tensor:
    lengths: torch.Tensor = torch.linalg.vector_norm(v, dim=1, keepdim=True)
    return v / lengths.clamp_min(2.0**-500)
