"""Certified spectral norms of dense matrices, one or a stack of them, by an a-posteriori residual.

For W (m, n), any t and *any* L, put R = (t I - W W^H) - L L^H. As L L^H is positive semidefinite,
    ||W||^2 = lambda_max(W W^H) <= t + ||R||_2 <= t + ||R||_F.
Eigenvalue and Cholesky routines only guess t and L; what is proven rests on sums and inner products
of floats, whose errors are bounded and added. After S. M. Rump, *Verification of positive
definiteness*, BIT 46 (2006) 433-452, with a recomputed residual in place of the a-priori bound of
its Theorem 2.3, so that no order of operations inside the factorisation is assumed.
"""

from __future__ import annotations

import math

import torch

from lipaudit.linear.norms.sums import (
    flushed,
    gram,
    gram_error,
    parts,
    schur_square_up,
    squares_up,
    subnormal,
    unit_scaled,
    unscaled,
)
from lipaudit.numerics.bound import ZERO, UpperBound
from lipaudit.numerics.norms import Norm
from lipaudit.numerics.rounding import TINY, U, add_up, mul_up, sqrt_up

# Up to this side all eigenvalues of a matrix cost no more than the products; beyond, Lanczos.
_SMALL = 256

# Shifts tried, each slack 16 times the last, before Schur's bound must do.
_ATTEMPTS = 5


def dense_l2(matrix: torch.Tensor) -> UpperBound:
    """sigma_max(A) <= value <= sigma_max(A) (1 + w), w about 1e-11 at 512 x 512.

    matrix: (m, n) float64 of any size and scale; 0 for an empty one, inf if an entry is not finite.
    Raises ValueError for another dtype or number of axes.
    Sound: see `stacked_l2`; a single row or column is a vector, whose 2-norm is enclosed directly.
    """
    if matrix.dtype != torch.float64 or matrix.dim() != 2:
        raise ValueError(f"not a float64 matrix: {matrix.dtype}, shape {tuple(matrix.shape)}")
    vector = min(matrix.shape) == 1 and bool(matrix.isfinite().all()) and not subnormal(matrix)
    if not vector:
        return stacked_l2(matrix.unsqueeze(0))
    above = Norm.L2.bounds_of(matrix)[1]
    return UpperBound(add_up(above, flushed(matrix)), "2-norm of a vector")


def stacked_l2(matrices: torch.Tensor) -> UpperBound:
    """max_b sigma_max(A_b) <= value.

    matrices: (b, m, n) float64 or complex128; 0 if empty, inf if an entry is not finite.
    Raises ValueError for another dtype or number of axes.
    Sound: the power of two 2^e is divided out, which may lose TINY an entry, and `flushed` before;
    the residual certificate, or ||A||_2^2 <= ||A||_1 ||A||_inf if that is smaller, bounds the
    square of the scaled norm; its root and the product with 2^e are rounded up.
    """
    if matrices.dtype not in (torch.float64, torch.complex128) or matrices.dim() != 3:
        shape = tuple(matrices.shape)
        raise ValueError(f"not a stack of matrices: {matrices.dtype}, shape {shape}")
    if not bool(matrices.isfinite().all()):
        return UpperBound(math.inf, "an entry is not finite")
    if subnormal(matrices):
        lost = flushed(matrices)
        return UpperBound(lost, "subnormal entries") if lost else ZERO
    x, exponent = unit_scaled(matrices)
    if x.shape[-2] > x.shape[-1]:
        x = x.mT  # a transpose has the norms of its matrix
    square, evidence = schur_square_up(x), "sqrt(|A|_1 |A|_inf)"
    if x.shape[-2] == 1:
        other, means = squares_up(x), "2-norms of vectors"
    else:
        other, means = _certified_square(x), "Cholesky residual"
    if other <= square:
        square, evidence = other, means
    value = add_up(sqrt_up(square), mul_up(2.0 * x.numel(), TINY))
    return UpperBound(add_up(unscaled(value, exponent), flushed(matrices)), evidence)


def _certified_square(x: torch.Tensor) -> float:
    """max_b ||X_b||^2 <= value for x (b, m, n), m <= n; inf if no shift could be factored."""
    pending = gram(x)
    m = x.shape[-2]
    slack = 64.0 * m * U + (2.0**-37 if m > _SMALL else 0.0)
    worst = 0.0
    try:
        guess = _guess(pending)
        for _ in range(_ATTEMPTS):
            bound, failed = _residual_bound(pending, guess * (1.0 + slack))
            worst = max(worst, bound)
            if not bool(failed.any()):
                return add_up(worst, gram_error(x))
            pending, slack = pending[failed], 16.0 * slack
            guess = float(torch.linalg.eigvalsh(pending).max())
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        pass  # no guess, no proof
    return math.inf


def certified_top(matrix: torch.Tensor) -> float:
    """lambda_max(M) <= value for M (m, m) symmetric float64, of either sign; inf if no shift could be factored.

    Sound: t I - M = L L^T + R with L L^T >= 0, for any t and L, as above. Width about 64 m u ||M||.
    """
    g = matrix.unsqueeze(0)
    size = float(g.abs().sum(-1).max())
    if size == 0.0:
        return 0.0
    slack = 64.0 * len(matrix) * U
    try:
        top = _ritz(g + size * torch.eye(len(matrix), dtype=g.dtype), 128)[0] - size if len(matrix) > 512 else None
        guess = float(torch.linalg.eigvalsh(g)[0, -1] if top is None else top)
        for _ in range(_ATTEMPTS):
            bound, failed = _residual_bound(g, guess + slack * size)
            if not bool(failed.any()):
                return bound
            slack *= 64.0
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        pass  # no guess, no proof
    return math.inf


def _residual_bound(g: torch.Tensor, t: float) -> tuple[float, torch.Tensor]:
    """(bound, failed): lambda_max(G_b) <= bound for every b except those that failed, without an L.

    t - G_ii and the difference with L L^H are rounded once: u times what was computed. Their
    underflow, at most 3 m TINY, is within the doubled one of `gram_error`.
    """
    shifted = -g
    shifted.diagonal(dim1=-2, dim2=-1).add_(t)
    lower, info = torch.linalg.cholesky_ex(shifted)
    failed = (info != 0) | ~lower.isfinite().flatten(1).all(1)
    if bool(failed.all()):
        return 0.0, failed
    if bool(failed.any()):
        shifted, lower = shifted[~failed], lower[~failed]
    lower = lower.tril()
    diagonal = float(parts(shifted.diagonal(dim1=-2, dim2=-1)).abs().max())
    rest = sqrt_up(squares_up(shifted - gram(lower, lower=True)))
    rounding = add_up(mul_up(U, rest), mul_up(2.0 * U, diagonal), gram_error(lower))
    return add_up(t, rest, rounding), failed


def _guess(g: torch.Tensor) -> float:
    """About max_b lambda_max(G_b), for the residual to confirm."""
    count, m = g.shape[:2]
    if m <= _SMALL // 8 or (count == 1 and m <= _SMALL):
        return float(torch.linalg.eigvalsh(g).max())
    if count == 1:
        return float(_ritz(g, 256))
    top = _ritz(g, 8).topk(min(count, 3)).indices.tolist()
    return max(_guess(g[i : i + 1]) for i in top)


def _ritz(g: torch.Tensor, steps: int) -> torch.Tensor:
    """The largest Ritz value of each G_b after `steps` of Lanczos, fewer once it has settled.

    Every vector is orthogonalised twice against all before; what is left where the Krylov space is exhausted (an
    orthogonal matrix, say) is rounding, and becomes 0. The start is fixed and arbitrary.
    """
    count, m = g.shape[:2]
    basis, image = (g.new_zeros(count, m, min(steps, m)) for _ in range(2))
    vector = g @ torch.arange(1.0, m + 1.0, dtype=torch.float64).cos().to(g.dtype).view(m, 1)
    value = torch.zeros(count, dtype=torch.float64)
    largest = last = vector
    for j in range(basis.shape[2]):
        length = torch.linalg.vector_norm(vector, dim=1, keepdim=True)
        largest = length if j == 0 else torch.maximum(largest, torch.linalg.vector_norm(last, dim=1, keepdim=True))
        vector = torch.where(length > 1e-11 * largest, vector / length.clamp_min(TINY), 0.0)
        basis[..., j : j + 1] = vector
        vector = last = image[..., j : j + 1] = g @ vector
        known = basis[..., : j + 1]
        for _ in range(2):
            vector = vector - known @ (known.mH @ vector)
        if j % 16 == 15 or j + 1 == basis.shape[2]:
            before, value = value, torch.linalg.eigvalsh(known.mH @ image[..., : j + 1])[:, -1]
            if bool((value - before <= 2.0**-44 * value).all()):
                break
    return value
