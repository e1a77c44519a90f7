"""The rounding side of a Fourier recursion's steps, for all frequencies at once.

See `fourier_verify` for what is proven; here every function says what its float64 answer is above of. Stacks are
[F, m, n], complex128 or (on a lattice of one cell) float64; vectors [F, n] and numbers [F] are float64.
"""

from __future__ import annotations

import torch

from lipaudit.numerics.rounding import TINY, U, gamma, mul_up, tensor_down, tensor_up

FLOOR = 2.0**-900
"""More than all that underflow can take from an entry: products of numbers below HUGE, some thousand terms each."""

HUGE = 2.0**300

CHUNK = 2**21
"""Entries of the state's matrices that are worked on at a time."""

_YOUNG = 2.0**-34
_ROOM = 1.0 + 2.0**-30
"""For bounds that are sums and norms rounded to nearest: understated by a factor 1 - 2^-33 at most."""


class Rejected(Exception):
    """These multipliers prove nothing."""


def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """fl(a b) with |fl(a b) - a b| <= sqrt(2) gamma_2n |a| |b| entrywise, n the inner length, underflow aside.

    Only real inner products, of length 2n: no complex arithmetic of a library is trusted.
    """
    if not a.is_complex():
        return a @ b
    left = torch.cat([torch.cat([a.real, -a.imag], 2), torch.cat([a.imag, a.real], 2)], 1)
    both = left @ torch.cat([b.real, b.imag], 1)
    return torch.complex(both[:, : a.shape[1]], both[:, a.shape[1] :])


def roots(matrix: torch.Tensor) -> torch.Tensor:
    """sqrt of the diagonals [F, n], which are not negative for matrices above J J'."""
    return diagonals(matrix).clamp_min(0.0).sqrt()


def diagonals(matrix: torch.Tensor) -> torch.Tensor:
    """The real diagonals [F, n] of Hermitian matrices."""
    return matrix.diagonal(dim1=1, dim2=2).real


def inflated(matrix: torch.Tensor, extra: torch.Tensor) -> torch.Tensor:
    """The Hermitian part plus diag(extra) and FLOOR, the diagonal rounded up."""
    result = (matrix + matrix.mH) / 2
    diagonal = tensor_up(diagonals(result) + tensor_up(extra + FLOOR))
    result.diagonal(dim1=1, dim2=2).copy_(diagonal)
    return result


def dominating(g: float, e: torch.Tensor) -> torch.Tensor:
    """diag(result) >= E for every Hermitian E with |E_ij| <= g e_i e_j: [F, n].

    By diagonal dominance, E <= g (sum_j e_j) diag(e). e may be understated as `_ROOM` says, and by 2^-500 (the
    underflow of squares).
    """
    e = e + 2.0**-500
    return tensor_up((g * _ROOM) * e.sum(1, keepdim=True) * e * _ROOM)


def eliminated(
    y: torch.Tensor,
    v: torch.Tensor,
    theta: torch.Tensor,
    rest: torch.Tensor,
    tail: torch.Tensor,
    block: torch.Tensor,
    size: torch.Tensor,
) -> torch.Tensor:
    """At least B^* G^-1 B + diag(Y_rr, block) for G = diag(theta) - Y_vv > 0 and B = [Y_vr, diag(tail)], tail empty
    for none, at every frequency. Raises Rejected where G > 0 is not proven.

    tail, block: within a relative 4 u of what is meant, |block| <= size.
    """
    side = len(rest) + len(tail)
    result = torch.empty(len(y), side, side, dtype=y.dtype)
    at_once = max(1, CHUNK // max(1, y.shape[1] ** 2))
    for first in range(0, len(y), at_once):  # frequencies do not know of each other
        part = slice(first, first + at_once)
        result[part] = _eliminated(y[part], v, theta, rest, tail, block, size)
    return result


def _eliminated(
    y: torch.Tensor,
    v: torch.Tensor,
    theta: torch.Tensor,
    rest: torch.Tensor,
    tail: torch.Tensor,
    block: torch.Tensor,
    size: torch.Tensor,
) -> torch.Tensor:
    m, base = len(v), y[:, rest][:, :, rest]
    below, scale = _inverse_root(y[:, v][:, :, v], theta)
    root = roots(y)
    x = product(below, y[:, v][:, :, rest])
    # |T Y_vr| <= (|T| root_v) root_r'
    reach = torch.linalg.vector_norm((below.abs() @ root[:, v, None])[..., 0], dim=1)
    off = mul_up(1.5, gamma(2 * m + 4)) * reach[:, None] * root[:, rest]
    if len(tail):
        x = torch.cat([x, below * tail], 2)
    columns = torch.linalg.vector_norm(x, dim=1)
    if len(tail):  # one product of two factors that carry 4 u
        off = torch.cat([off, gamma(8) * columns[:, len(rest) :]], 1)
    off = off * _ROOM + 2.0**-500  # the latter for underflow, of terms and of squares
    if not float(below.abs().max()) < HUGE:
        raise Rejected
    stretched = scale * (1.0 + _YOUNG)
    result = product(x.mH, x) * stretched[:, None, None]
    k = len(rest)
    result[:, :k, :k] += base
    result.diagonal(dim1=1, dim2=2)[:, k:] += block
    flat = root[:, rest]
    if len(tail):
        flat = torch.cat([flat, size.sqrt().expand(len(y), -1)], 1)
    spread = (scale * (1.0 + 1.0 / _YOUNG) * _ROOM)[:, None] * off.sum(1, keepdim=True) * off * _ROOM
    rounding = dominating(mul_up(2.0, gamma(2 * m + 16)), columns * stretched.sqrt()[:, None] + flat)
    return inflated(result, tensor_up(spread + rounding))


def _inverse_root(y: torch.Tensor, theta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(T, k [F]) with G > 0 and G^-1 <= k T^*T for G = diag(theta) - y. Raises Rejected where that is not proven."""
    g = -y
    g.diagonal(dim1=1, dim2=2).copy_(tensor_down(theta - diagonals(y)))
    diagonal = diagonals(g)
    if not bool(g.isfinite().all()) or not bool((diagonal > 2.0**-800).all()):
        raise Rejected
    lower, info = torch.linalg.cholesky_ex(g)
    if bool((info != 0).any()):
        raise Rejected
    m = g.shape[1]
    t = torch.linalg.solve_triangular(lower, torch.eye(m, dtype=g.dtype).expand_as(g), upper=False)
    if not bool(t.isfinite().all()):
        raise Rejected
    residual = product(product(t, g), t.mH)
    residual.diagonal(dim1=1, dim2=2).sub_(1.0)
    root = diagonal.sqrt()
    most = (g / root[:, None] / root[:, :, None]).abs().amax((1, 2)) * _ROOM  # |G_ij| <= most root_i root_j
    reach = torch.linalg.vector_norm((t.abs() @ root[..., None])[..., 0], dim=1) * _ROOM + 2.0**-500
    found = torch.linalg.vector_norm(residual, dim=(1, 2)) * _ROOM + 2.0**-500
    underflow = mul_up(32.0 * m * m * m, TINY, 1.0 + float(t.abs().max()))
    error = (found + mul_up(4.0, gamma(2 * m + 8)) * most * reach * reach + (8.0 * U * m + underflow)) * _ROOM
    if not bool((error < 0.5).all()):
        raise Rejected
    return t, tensor_up(1.0 / (1.0 - error) * (1.0 + 8.0 * U))
