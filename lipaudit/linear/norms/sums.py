"""Sums, inner products and power-of-two scaling of float64 arrays, with their rounding errors.

Error model: |fl(x.y) - x.y| <= gamma_n |x|.|y| for every order of summation, fused multiply-add or
not, and fl(sum) >= (1 - u)^n sum for non-negative terms (Higham, *Accuracy and Stability of
Numerical Algorithms*, 2nd ed. 2002, Lemma 3.1 and (3.5)). A product, sum or difference below the
normal range is off by at most TINY more, whether or not the processor flushes subnormals to zero.

Stacks are (b, m, n), float64 or complex128; norms are bounded by their maximum over b.
"""

from __future__ import annotations

import math

import torch

from lipaudit.numerics.rounding import TINY, add_up, gamma, mul_up, sqrt_up, up

# Inner products are summed in blocks of this length, so that gamma stays small for long rows.
_BLOCK = 256


def parts(x: torch.Tensor) -> torch.Tensor:
    """Real and imaginary parts of x along a last axis of two; x itself when it is real."""
    return torch.view_as_real(x.detach()) if x.is_complex() else x.detach()


def unit_scaled(x: torch.Tensor) -> tuple[torch.Tensor, int]:
    """(y, e) with x = 2^e y and 1/2 <= max |y_i| < 1 over all real and imaginary parts.

    x: finite, some part of it a normal number (see `subnormal`).
    Entries of y below TINY may be off by TINY each; nothing else is rounded. Two factors, because
    2^-e itself may overflow.
    """
    pairs = parts(x)
    exponent = math.frexp(float(pairs.abs().max()))[1]
    half = exponent // 2
    y = pairs * 2.0**-half * 2.0 ** (half - exponent)
    return (torch.view_as_complex(y.contiguous()) if x.is_complex() else y), exponent


def unscaled(value: float, exponent: int) -> float:
    """An upper bound of value * 2^exponent; inf where that overflows."""
    half = exponent // 2
    return mul_up(value, 2.0**half, 2.0 ** (exponent - half))


def subnormal(x: torch.Tensor) -> bool:
    """Whether no part of x reads as a normal number; so for an empty x."""
    return x.numel() == 0 or float(parts(x).abs().max()) < TINY


def flushed(x: torch.Tensor) -> float:
    """||D||_F <= value for D the subnormal parts of x: what flushing them to zero loses.

    Their bits are read as integers, because a processor in that mode calls them equal to 0.
    """
    magnitude = parts(x).view(torch.int64) & (2**63 - 1)
    some = bool(((magnitude > 0) & (magnitude < 2**52)).any())
    return mul_up(sqrt_up(float(magnitude.numel())), TINY) if some else 0.0


def squares_up(x: torch.Tensor) -> float:
    """max_b ||x_b||_F^2 <= value: a sum of squares, its root squared, underflow of the squares."""
    pairs = parts(x).flatten(1)
    count = pairs.shape[1]
    norm = float(torch.linalg.vector_norm(pairs, dim=1).max())
    return add_up(mul_up(norm, norm, up(1.0 + gamma(count + 8))), mul_up(2.0 * count, TINY))


def schur_square_up(x: torch.Tensor) -> float:
    """max_b ||A_b||_1 * max_b ||A_b||_inf <= value, so also max_b ||A_b||_2^2 (Schur's test).

    |Re z| + |Im z| >= |z| stands for the modulus of a complex entry.
    """
    pairs = parts(x)
    across, down = ((-2, -1), (-3, -1)) if x.is_complex() else ((-1,), (-2,))
    rows = float(torch.linalg.vector_norm(pairs, 1.0, dim=across).max())
    columns = float(torch.linalg.vector_norm(pairs, 1.0, dim=down).max())
    return mul_up(rows, columns, up(1.0 + gamma(2 * sum(x.shape[-2:]) + 8)))


def gram(x: torch.Tensor, *, lower: bool = False) -> torch.Tensor:
    """fl(X_b X_b^H), (b, m, m), within `gram_error` of the exact one.

    lower: X_b is lower triangular; products with the zeros above its diagonal blocks are skipped.
    Only real inner products: X = A + iB has X X^H = [A B][A B]^T + i [B -A][A B]^T.
    """
    if not x.is_complex():
        return _product(x, x, lower)
    flat = parts(x).flatten(-2)
    turned = torch.stack((x.imag, -x.real), -1).flatten(-2)
    return torch.complex(_product(flat, flat, lower), _product(turned, flat, lower))


def gram_error(x: torch.Tensor) -> float:
    """max_b ||fl(X_b X_b^H) - X_b X_b^H||_F <= value.

    The real and the imaginary part of entry (i, j) are inner products of vectors of norms ||x_i||
    and ||x_j||, a block and then the sum of blocks long: off by gamma ||x_i|| ||x_j|| each, that is
    by sqrt(2) gamma ||X||_F^2 in all (1 gamma if real). Underflow: two TINY a term, a part, an
    entry; twice that is added.
    """
    m, n = x.shape[-2:]
    length, factor = (2 * n, 2.0) if x.is_complex() else (n, 1.0)
    longest = gamma(min(length, _BLOCK) + -(-length // _BLOCK))
    return add_up(mul_up(factor, longest, squares_up(x)), mul_up(16.0 * m, float(n), TINY))


def _product(left: torch.Tensor, right: torch.Tensor, lower: bool) -> torch.Tensor:
    m, n = right.shape[-2:]
    if n <= _BLOCK:
        return left @ right.mT
    total = right.new_zeros(len(right), m, m)
    for k in range(0, n, _BLOCK):
        top = k * m // n if lower else 0
        total[:, top:, top:] += left[:, top:, k : k + _BLOCK] @ right[:, top:, k : k + _BLOCK].mT
    return total
