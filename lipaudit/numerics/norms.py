"""The vector norms l1, l2 and linf, their duals, outward-rounded values of them, and pairs of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import final

import torch

from lipaudit.numerics.rounding import (
    MAX,
    add_up,
    down,
    gamma,
    hypot_up,
    mul_up,
    sqrt_down,
    sqrt_up,
    up,
)


class Norm(Enum):
    """A vector norm. Where a pair of norms is asked for, it stands for itself on both sides."""

    L1 = "l1"
    L2 = "l2"
    LINF = "linf"

    @property
    def dual(self) -> Norm:
        """The norm q with 1/p + 1/q = 1: the gradient of a scalar function is measured in it."""
        return {Norm.L1: Norm.LINF, Norm.L2: Norm.L2, Norm.LINF: Norm.L1}[self]

    def of(self, x: torch.Tensor) -> torch.Tensor:
        """The norm of each row of x (float64, shape [B, ...] -> [B]), to nearest: a number, not a bound."""
        flat = x.reshape(len(x), -1)
        if flat.shape[1] == 0:
            return flat.new_zeros(len(x))
        order = {Norm.L1: 1.0, Norm.L2: 2.0, Norm.LINF: math.inf}[self]
        lengths: torch.Tensor = torch.linalg.vector_norm(flat, order, dim=1)
        return lengths

    def dual_vector(self, x: torch.Tensor) -> torch.Tensor:
        """For each row w of [B, n]: a u with |u|_dual = 1 and u'w = |w|, to nearest; any such u where w is 0."""
        if self is Norm.L1:
            return torch.where(x < 0.0, -1.0, 1.0).to(x)
        if self is Norm.LINF:
            top = x.abs().argmax(1, keepdim=True)
            sign = torch.where(x.gather(1, top) < 0.0, -1.0, 1.0).to(x)
            return torch.zeros_like(x).scatter(1, top, sign)
        size = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        first = torch.zeros_like(x)
        first[:, 0] = 1.0
        return torch.where(size > 0.0, x / size.clamp(min=1e-300), first)

    def bounds_of(self, x: torch.Tensor) -> tuple[float, float]:
        """(below, above): float64 enclosing the exact norm of one vector x of any shape.

        A power of two is taken out first, so that nothing overflows or leaves the normal range.
        """
        flat = x.detach().reshape(-1).abs()
        peak = float(flat.max()) if flat.numel() else 0.0
        if peak == 0.0 or not math.isfinite(peak) or self is Norm.LINF:
            return peak, peak
        scale = 2.0 ** math.frexp(peak)[1] if 1e-290 < peak < 1e290 else peak
        y = flat / scale
        total = float(y.sum() if self is Norm.L1 else (y * y).sum())
        # n + 2 roundings a term; entries that underflow add at most TINY each, far below one unit of the total.
        error = gamma(flat.numel() + 4)
        low, high = down(total * down(1.0 - error)), up(total * up(1.0 + error))
        if self is Norm.L2:
            low, high = sqrt_down(low), sqrt_up(high)
        return max(peak, down(min(low * scale * (1.0 - 4e-16), MAX))), mul_up(high, scale, 1.0 + 4e-16)

    def combine_up(self, parts: list[float]) -> float:
        """An upper bound of the norm of a vector whose consecutive blocks have these norms at most."""
        if self is Norm.LINF:
            return max(parts, default=0.0)
        return add_up(*parts) if self is Norm.L1 else hypot_up(*parts)

    def conversion_up(self, other: Norm, size: int) -> float:
        """c with |x|_other <= c |x|_self for x in R^size, rounded up: 1, sqrt(size) or size; tight for size >= 1."""
        if self is other or self is Norm.L1 or other is Norm.LINF:
            return 1.0
        if self is Norm.LINF and other is Norm.L1:
            return float(size)
        root = math.isqrt(size)
        return float(root) if root * root == size else sqrt_up(float(size))


@final
@dataclass(frozen=True, slots=True)
class NormPair:
    """The norms of a gain: |f(x) - f(y)|_target <= L |x - y|_source."""

    source: Norm
    target: Norm

    @staticmethod
    def of(norms: Norms) -> NormPair:
        """A norm stands for itself on both sides."""
        return norms if isinstance(norms, NormPair) else NormPair(norms, norms)

    @staticmethod
    def parse(text: str) -> NormPair:
        """'l2' or 'linf:l2'. Raises ValueError for other texts."""
        source, colon, target = text.partition(":")
        return NormPair(Norm(source), Norm(target if colon else source))

    @property
    def mixed(self) -> bool:
        """Whether the two norms differ: what holds for one norm on both sides does not apply then."""
        return self.source is not self.target

    @property
    def dual(self) -> NormPair:
        """||A||_{p->q} = ||A'||_{q*->p*}."""
        return NormPair(self.target.dual, self.source.dual)

    def __str__(self) -> str:
        return f"{self.source.value} -> {self.target.value}"


Norms = Norm | NormPair
"""What may be asked for: one norm for both sides, or a pair."""
