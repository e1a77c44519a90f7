"""The rounding side of an ellipsoid's steps: inverses that are not trusted, errors that are added.

See `ellipsoid_verify` for what is proven; here every function says what its float64 answer is above of.
"""

from __future__ import annotations

import math

import torch

from lipaudit.numerics.rounding import TINY, U, add_up, gamma, mul_up, tensor_down, tensor_up, up

FLOOR = 2.0**-900
"""More than all that underflow can take from an entry: products of numbers below HUGE, some thousand terms each."""

HUGE = 2.0**300

_YOUNG = 2.0**-34


class Rejected(Exception):
    """These multipliers prove nothing."""


def inflated(matrix: torch.Tensor, g: float, e: torch.Tensor) -> torch.Tensor:
    """matrix + E for every symmetric E with |E_ij| <= g e_i e_j + TINY n^2, at least; made symmetric first.

    e: bounds that may be understated by a factor 1 - 2^-33 (sums and norms rounded to nearest) and by 2^-500 (the
    underflow of squares).
    """
    e = e + 2.0**-500
    extra = tensor_up((g * (1.0 + 2.0**-30)) * float(e.sum()) * e + FLOOR)
    result = (matrix + matrix.mT) / 2
    result.diagonal().copy_(tensor_up(result.diagonal() + extra))
    return result


def roots(matrix: torch.Tensor) -> torch.Tensor:
    """sqrt of the diagonal, which is not negative for a matrix above J J'."""
    return matrix.diagonal().clamp_min(0.0).sqrt()


def eliminated(
    y: torch.Tensor,
    v: torch.Tensor,
    theta: torch.Tensor,
    rest: torch.Tensor,
    scales: torch.Tensor,
    tail: torch.Tensor,
    block: torch.Tensor,
    size: torch.Tensor,
) -> torch.Tensor:
    """At least B' G^-1 B + diag(R Y_rr R, block), with B = [Y_vr R, diag(tail)], tail empty for none, R = scales.

    tail, block: of float64, within a relative 4 u of what is meant, |block| <= size.
    """
    base = scales[:, None] * y[rest][:, rest] * scales
    if not len(v):
        root = roots(y)[rest] * scales.abs()
        return inflated(base, gamma(6), root)
    m = len(v)
    below, scale = _inverse_root(y[v][:, v], theta)
    across = y[v][:, rest]
    root = roots(y)
    left = (below @ across) * scales
    x = torch.cat([left, below * tail], 1) if len(tail) else left
    # |T Y_vr| <= (|T| root_v) root_r'; T tail is one product of two factors that carry 4 u
    reach = torch.linalg.vector_norm(below.abs() @ root[v]) * root[rest] * scales.abs()
    off = gamma(m + 4) * reach
    columns = torch.linalg.vector_norm(x, dim=0)
    if len(tail):
        off = torch.cat([off, gamma(8) * columns[len(rest) :]])
    off = off * (1.0 + 2.0**-30) + 2.0**-500  # the latter for underflow, of terms and of squares
    if not float(below.abs().max()) < HUGE:
        raise Rejected
    result = (x.mT @ x) * (scale * (1.0 + _YOUNG))
    result[: len(rest), : len(rest)] += base
    result.diagonal()[len(rest) :] += block
    flat = root[rest] * scales.abs()
    if len(tail):
        flat = torch.cat([flat, size.sqrt()])
    spread = (scale * (1.0 + 1.0 / _YOUNG)) * float(off.sum()) * off * (1.0 + 2.0**-30)
    result = inflated(result, mul_up(2.0, gamma(m + 12)), columns * math.sqrt(scale * (1.0 + _YOUNG)) + flat)
    result.diagonal().copy_(tensor_up(result.diagonal() + tensor_up(spread)))
    return result


def _inverse_root(y: torch.Tensor, theta: torch.Tensor) -> tuple[torch.Tensor, float]:
    """(T, k) with G > 0 and G^-1 <= k T'T for G = diag(theta) - y. Raises Rejected where that is not proven."""
    g = -y
    g.diagonal().copy_(tensor_down(theta - y.diagonal()))
    if not bool((g.isfinite()).all()) or not bool((g.diagonal() > 2.0**-800).all()):
        raise Rejected
    lower, info = torch.linalg.cholesky_ex(g)
    if int(info) != 0:
        raise Rejected
    t = torch.linalg.solve_triangular(lower, torch.eye(len(g), dtype=torch.float64), upper=False)
    if not bool(t.isfinite().all()):
        raise Rejected
    residual = (t @ g) @ t.mT
    residual.diagonal().sub_(1.0)
    roots = g.diagonal().sqrt()
    most = float((g / roots / roots[:, None]).abs().max()) * (1.0 + 2.0**-40)  # |G_ij| <= most roots_i roots_j
    reach = float(torch.linalg.vector_norm(t.abs() @ roots)) * (1.0 + 2.0**-30) + 2.0**-500
    m = len(g)
    found = float(torch.linalg.vector_norm(residual)) * (1.0 + 2.0**-30) + 2.0**-500
    above = float(t.abs().max())
    error = add_up(
        mul_up(found, 1.0 + 4.0 * U),
        mul_up(gamma(2 * m + 6), most, mul_up(reach, reach)),
        mul_up(4.0 * U, float(m)),
        mul_up(8.0 * m * m * m, TINY, add_up(1.0, above)),
    )
    if not error < 0.5:
        raise Rejected
    return t, up(1.0 / (1.0 - error) * (1.0 + 4.0 * U))
