"""The least variance that a row can have over a box."""

from __future__ import annotations

import torch

from lipaudit.numerics.box import Box
from lipaudit.numerics.rounding import gamma

_STEPS = 60


def least_variance(box: Box) -> torch.Tensor:
    """A lower bound of (1/d) sum (x_i - mean x)^2 over the box, for every row [.., d] -> [..].

    The variance is (1/d) min_m sum (x_i - m)^2, so its least value over the box is (1/d) min_m phi(m) with
    phi(m) = sum dist(m, [l_i, u_i])^2, convex, with its minimum between the lowest upper and the highest lower end
    (where these are not the other way round: then it is 0). Bisection on the sign of phi' brackets the minimum in
    [a, b] of the width W it began with, and phi >= phi(a) - |phi'(a)| (b - a) there; a sign that rounding got wrong
    costs at most the error of phi' times W.
    """
    a, b = box.upper.amin(-1), box.lower.amax(-1)
    apart = b > a  # both are finite then
    a, b = (torch.where(apart, end, torch.zeros_like(end)) for end in (a, b))
    width = b - a
    for _ in range(_STEPS):
        middle = a / 2 + b / 2
        rising = _slope(box, middle) > 0
        a, b = torch.where(rising, a, middle), torch.where(rising, middle, b)
    above, below = _distances(box, a)
    size = box.lower.shape[-1]
    error = gamma(2 * size + 16)
    reach = (above + below).sum(-1)
    drop = 2.0 * (above - below).sum(-1).abs() * (b - a) + 8.0 * error * reach * width
    least = ((above * above + below * below).sum(-1) * (1.0 - error) - drop * 1.01) / size * (1.0 - 4e-16)
    least = torch.nan_to_num(least, nan=0.0, posinf=1e300)  # where a square overflowed, the variance is above that
    return torch.where(apart, least.clamp(min=0.0), torch.zeros_like(least))


def _distances(box: Box, m: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How far m lies above each interval, and how far below."""
    at = m.unsqueeze(-1)
    return (at - box.upper).clamp(min=0.0), (box.lower - at).clamp(min=0.0)


def _slope(box: Box, m: torch.Tensor) -> torch.Tensor:
    above, below = _distances(box, m)
    return (above - below).sum(-1)
