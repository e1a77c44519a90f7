"""l1 and linf constants of normalisations over all of R^d, in units of 1 / sqrt(eps)."""

from __future__ import annotations

import math
from functools import cache

import torch

from lipaudit.numerics.rounding import up

_CELLS = 2**14


def rms_entrywise(size: int) -> float:
    """sup over 0 <= t < 1 of sqrt(1 - t)(1 + c t), c = (sqrt(d) - 1) / 2, rounded up: for x / sqrt(|x|^2 / d + eps).

    At t = 0 the value is 1; the derivative vanishes at t = (2c - 1) / (3c), which is positive for d > 4 only, where the
    value is (sqrt(d) + 1)^(3/2) / (3 sqrt(3) (sqrt(d) - 1)^(1/2)).
    """
    if size <= 4:
        return 1.0
    root = math.sqrt(size)
    return up((root + 1.0) ** 1.5 / (3.0 * math.sqrt(3.0) * math.sqrt(root - 1.0)) * (1.0 + 1e-14))


@cache
def centred_entrywise(size: int) -> float:
    """An upper bound of the l1 = linf constant of (x - mean) / sqrt(var + eps), times sqrt(eps). d >= 2.

    With w = z / (sqrt(d) s), |w|^2 = t in [0, 1), 1/s = sqrt(1 - t) / sqrt(eps), row i of s J is e_i - 1/d - w_i w. Its
    1-norm is the largest over signs v (v_i = 1; m their mean, u = 1 - m in [0, 2k], k = 1 - 1/d) of u - w_i (v . w),
    and w (orthogonal to 1) maximises the second part at (t/2)(|P e_i| |P v| - P e_i . P v), a symmetric rank-2 form
    with |P e_i|^2 = k, |P v|^2 = d u (2 - u), P e_i . P v = u. So
        sqrt(eps) ||J|| <= sup over t, u of sqrt(1 - t) h(t, u),  h = u (1 - t/2) + (t/2) sqrt(k d u (2 - u)).
    h grows with t (k d (2 - u) >= 2k >= u), so on a cell [t0, t1] the value is at most sqrt(1 - t0) h(t1, u); h is
    concave in u with its top at 1 + cos, tan = (t/2) sqrt(k d) / (1 - t/2), where it is a + sqrt(a^2 + b^2).
    """
    cells = torch.arange(_CELLS, dtype=torch.float64)
    t0, t1 = cells / _CELLS, (cells + 1.0) / _CELLS
    k = 1.0 - 1.0 / size
    a, b = 1.0 - t1 / 2.0, t1 / 2.0 * math.sqrt(k * size)
    edge = 2.0 * k
    length = torch.hypot(a, b)
    at_edge = edge * a + b * math.sqrt(edge * (2.0 - edge))
    # a top within rounding of the edge may be taken on either side: the larger of both is an upper bound
    inside = 1.0 + a / length < edge * (1.0 + 1e-9)
    top = torch.where(inside, torch.maximum(a + length, at_edge), at_edge)
    return up(float((torch.sqrt(1.0 - t0) * top).max()) * (1.0 + 1e-12))
