"""Ops that turn a window of entries into one number, smoothly: p-norms and log-sum-exp."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch

from lipaudit.linear.map import Shape
from lipaudit.linear.selection import NOTHING
from lipaudit.numerics.bound import ONE, ZERO, UpperBound
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.numerics.rounding import U, gamma, mul_up, sqrt_up, up
from lipaudit.ops.op import Op

# pow, exp and log are within a few units in the last place; a sum of n terms carries n more
_FUNCTION_ROUNDINGS = 32


@final
@dataclass(frozen=True, slots=True, eq=False)
class WindowNorm(Op):
    """y_i = (sum over j in windows[i] of |x_j|^p)^(1/p), p >= 1: Lp pooling, ReduceL2.

    windows: int64 [out_size, width], flat input indices; NOTHING for a 0 (padding).
    Sound: the gradient g of a p-norm has |g|_q <= 1, 1/p + 1/q = 1 (Hoelder), over at most k = width entries. So a row
    has |g|_1 <= k^(1/p) and |g|_2 <= k^max(0, 1/p - 1/2), and an entry is in at most N windows, with |g_j| <= 1:
    linf k^(1/p), l1 N, and |J v|_2^2 <= max |g|_2^2 sum over windows of |v_window|^2 <= max |g|_2^2 N |v|_2^2.
    """

    windows: torch.Tensor
    source: Shape
    target: Shape
    p: float
    family: ClassVar[str] = "Smooth"
    rule: ClassVar[str] = "l2 sqrt(N) k^max(0, 1/p - 1/2), l1 N, linf k^(1/p); k = window, N = windows of one entry"

    @property
    def in_shapes(self) -> tuple[Shape, ...]:
        return (self.source,)

    @property
    def out_shape(self) -> Shape:
        return self.target

    def forward(self, *args: torch.Tensor) -> torch.Tensor:
        length: torch.Tensor = torch.linalg.vector_norm(self._gather(args[0]), self.p, -1)
        return length.reshape(len(args[0]), *self.target)

    def _gather(self, x: torch.Tensor) -> torch.Tensor:
        flat = x.reshape(len(x), -1)
        flat = torch.cat([flat, flat.new_zeros(len(x), 1)], 1)  # index -1 is this last, zero, column
        return flat[:, self.windows]

    def interval(self, *boxes: Box) -> Box:
        ends = torch.minimum(boxes[0].lower.abs(), boxes[0].upper.abs())
        least = torch.where(boxes[0].straddles_zero, torch.zeros_like(ends), ends)
        low, high = self._length(self._gather(least)), self._length(self._gather(boxes[0].magnitude))
        relative = gamma(2 * self.windows.shape[1] + 4 * _FUNCTION_ROUNDINGS)
        around = Box(torch.minimum(low, high), high).widened(relative, 1e-300)
        shape = (len(low), *self.target)
        return Box(around.lower.clamp(min=0.0).reshape(shape), around.upper.reshape(shape))

    def _length(self, x: torch.Tensor) -> torch.Tensor:
        """The p-norm of non-negative rows, scaled by the largest entry so that nothing overflows."""
        peak = x.amax(-1, keepdim=True)
        safe = torch.where((peak > 0) & torch.isfinite(peak), peak, torch.ones_like(peak))
        length = safe.squeeze(-1) * ((x / safe) ** self.p).sum(-1) ** (1.0 / self.p)
        return torch.where(peak.squeeze(-1) == 0, torch.zeros_like(length), length)

    def gains(self, norm: Norm, *boxes: Box) -> tuple[UpperBound, ...]:
        if not self.windows.numel():
            return (ZERO,)
        width, most = float(self.windows.shape[1]), self._most_windows()
        if norm is Norm.L1:
            return (UpperBound(float(most), f"an entry is in {most} windows"),)
        if norm is Norm.LINF:
            return (UpperBound(_power_up(width, 1.0 / self.p), "window^(1/p)"),)
        spread = _power_up(width, 1.0 / self.p - 0.5) if self.p < 2.0 else 1.0
        return (UpperBound(mul_up(_root_up(most), spread), f"an entry is in {most} windows"),)

    def _most_windows(self) -> int:
        used = self.windows[self.windows != NOTHING]
        return int(torch.bincount(used, minlength=1).max()) if used.numel() else 0


def _root_up(n: int) -> float:
    root = math.isqrt(n)
    return float(root) if root * root == n else sqrt_up(float(n))


def _power_up(base: float, exponent: float) -> float:
    """An upper bound of base^exponent, base >= 1; the exponent is meant to within three roundings."""
    if base == 1.0 or exponent == 0.0:
        return 1.0
    if exponent == 1.0:
        return base
    if exponent == 0.5:
        return _root_up(int(base))
    return up(base**exponent * (1.0 + 8 * U * (2.0 + math.log(base))))


@final
@dataclass(frozen=True, slots=True, eq=False)
class WindowLogSumExp(Op):
    """y_i = log sum over j in windows[i] of exp(x_j), windows disjoint.

    Sound: the gradient of a row is a softmax: non-negative with sum 1, so |g|_1 = 1, |g|_2 <= 1 and no entry above 1;
    an entry is in one window only, so 1 in l1, l2 and linf. Monotone in every entry, so ends map to ends.
    """

    windows: torch.Tensor
    source: Shape
    target: Shape
    family: ClassVar[str] = "Smooth"
    rule: ClassVar[str] = "1 in all norms"

    def __post_init__(self) -> None:
        if self.windows.numel() and int(torch.bincount(self.windows.reshape(-1)).max()) > 1:
            raise ValueError("the windows of a log-sum-exp are disjoint")

    @property
    def in_shapes(self) -> tuple[Shape, ...]:
        return (self.source,)

    @property
    def out_shape(self) -> Shape:
        return self.target

    def forward(self, *args: torch.Tensor) -> torch.Tensor:
        gathered = args[0].reshape(len(args[0]), -1)[:, self.windows]
        return torch.logsumexp(gathered, -1).reshape(len(args[0]), *self.target)

    def interval(self, *boxes: Box) -> Box:
        low, high = self.forward(boxes[0].lower), self.forward(boxes[0].upper)
        # each x_j - max is rounded to within u |x_j - max|, which exp and log hand on as an absolute error
        reach = torch.where(torch.isfinite(boxes[0].magnitude), boxes[0].magnitude, torch.zeros_like(boxes[0].lower))
        largest = reach.reshape(len(reach), -1)[:, self.windows].amax(-1).reshape(low.shape)
        width = self.windows.shape[1]
        error = (largest + math.log(max(2, width)) + 1.0) * gamma(2 * width + 4 * _FUNCTION_ROUNDINGS)
        return Box(torch.minimum(low, high), high).widened(0.0, error)

    def gains(self, norm: Norm, *boxes: Box) -> tuple[UpperBound, ...]:
        return (ONE if self.windows.numel() else ZERO,)
