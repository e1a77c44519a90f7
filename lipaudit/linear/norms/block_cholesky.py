"""lambda_max of a large banded Gram matrix, by a Cholesky factorisation that is checked as it goes.

For G symmetric, any t and *any* lower triangular L, put R = (t I - G) - L L'. As L L' >= 0,
    lambda_max(G) <= t + ||R||_2 <= t + ||R||_inf.
In blocks, with T = t I - G and bandwidth at most q blocks, the right-looking factorisation keeps
    S_K = T_K - sum_{J < K} P_J P_J'     (block column K, from its diagonal block down),
takes any factor L_KK of its diagonal block and any P_K "= S_K L_KK^-T" below, and R_K = S_K - P_K L_KK' is what these
two leave of the column: *its* norm is computed, not assumed, so that neither the factorisation nor the triangular
solve is believed. Only q + 1 block columns are in memory; R costs 1/q of the rest.

Rounding. An entry of S_K is the sum of at most q b products and T_ij, in some order, one of R of b products and S_ij:
    |fl(S) - S| <= gamma_{qb+1} (|T| + |L||L|'),   |fl(R) - R| <= gamma_{b+1} (|S| + |L||L|')   entrywise
(Higham 2002, (3.5) and Lemma 3.3), and |S| <= |R| + |L||L|' up to the same factor. Together, with the diagonal of T
rounded once, T - L L' - fl(R) is entrywise at most gamma_{(q+1)b+4} (|T| + |R| + 2 |L||L|'), whose 2-norm is at most
gamma (t + ||G||_inf + ||R||_inf + 2 ||L||_1 ||L||_inf), as ||M||_2 <= sqrt(||M||_1 ||M||_inf) for any M.
Underflow: a product is off by TINY more, at most, and an entry by twice (q+1) b of them.
After Rump, *Verification of positive definiteness*, BIT 46 (2006), with the residual in place of the a-priori bound.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections import deque

import torch

from lipaudit.numerics.rounding import TINY, add_up, gamma, mul_up, up


class BandedGram(ABC):
    """A A' of some A, in block columns: b = `block` unknowns each, coupled with `reach` = q blocks after it at most.

    size: unknowns, those that fill the last block aside; error >= ||fl(G) - A A'||_2; spread >= ||G||_inf.
    """

    __slots__ = ()
    size: int
    block: int
    reach: int
    error: float
    spread: float

    @abstractmethod
    def column(self, index: int) -> torch.Tensor:
        """A new tensor [(q + 1) b, b]: the block column from its diagonal block down; the lower triangle counts."""

    @property
    def blocks(self) -> int:
        return -(-self.size // self.block)

    @property
    def flops(self) -> float:
        """About what the factorisation takes."""
        q = min(self.reach, self.blocks - 1)
        return 1.0 * self.blocks * self.block**3 * (q * q + 4 * q + 4)

    @property
    def bytes(self) -> float:
        """About what it keeps in memory."""
        return 8.0 * self.block**2 * ((self.reach + 1) * (self.reach + 3))


def largest_eigenvalue(gram: BandedGram, t: float, deadline: float = math.inf) -> float:
    """lambda_max(A A') <= value, a little above t; inf where t is no bound that can be proven, or time ran out.

    t: the shift to try, larger than lambda_max.
    """
    b, q, count = gram.block, gram.reach, gram.blocks
    window: deque[torch.Tensor] = deque()
    total = (count + q) * b
    left_over, across, down = (torch.zeros(total, dtype=torch.float64) for _ in range(3))
    for k in range(count):
        if time.monotonic() > deadline:
            return math.inf
        while len(window) <= q:
            window.append(_shifted(gram, k + len(window), t))
        column = window.popleft()
        factor, info = torch.linalg.cholesky_ex(column[:b])
        if int(info) != 0 or not bool(factor.isfinite().all()):
            return math.inf
        factor = factor.tril()
        lower = torch.cat([factor, _solved(factor, column[b:])]) if q else factor
        for i in range(1, q + 1):
            rows = (q + 1 - i) * b
            window[i - 1][:rows].addmm_(lower[i * b :], lower[i * b : (i + 1) * b].mT, alpha=-1.0)
        residual = column.addmm_(lower, factor.mT, alpha=-1.0).abs_()
        residual[:b].tril_()
        rows_at = slice(k * b, (k + q + 1) * b)
        left_over[rows_at] += residual.sum(1)
        residual.diagonal().zero_()  # the diagonal is in both sums, and counts once
        left_over[rows_at.start : rows_at.start + b] += residual.sum(0)
        size = lower.abs()
        across[rows_at] += size.sum(1)
        down[k * b : (k + 1) * b] = size.sum(0)
    return _proven(gram, t, (left_over, across, down))


def _shifted(gram: BandedGram, index: int, t: float) -> torch.Tensor:
    """Block column of t I - G; past the end, t I alone, which couples with nothing."""
    if index >= gram.blocks:
        column = torch.zeros((gram.reach + 1) * gram.block, gram.block, dtype=torch.float64)
    else:
        column = gram.column(index).neg_()
    column.diagonal().add_(t)
    return column


def _solved(factor: torch.Tensor, below: torch.Tensor) -> torch.Tensor:
    """About S L^-T."""
    solved: torch.Tensor = torch.linalg.solve_triangular(factor.mT, below, upper=True, left=False)
    return solved.contiguous()


def _proven(gram: BandedGram, t: float, sums: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> float:
    """t + ||R||_inf + rounding, from the row sums of |R| and the row and column sums of |L|."""
    peaks = [float(x.max()) for x in sums]
    if not all(map(math.isfinite, peaks)):
        return math.inf
    length = (gram.reach + 1) * gram.block
    residual, across, down = (mul_up(peak, up(1.0 + gamma(2 * length + 8))) for peak in peaks)
    sizes = add_up(t, gram.spread, residual, mul_up(2.0, across, down))
    underflow = mul_up(8.0 * length * length, TINY)
    return add_up(t, residual, mul_up(gamma(length + 6), sizes), underflow, gram.error)
