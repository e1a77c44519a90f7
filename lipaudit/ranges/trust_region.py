"""Suprema of quadratic forms over ellipsoids, proven: the trust-region problem.

For Y <= L L', symmetric m of either sign (a diagonal matrix that is 0 in z_0) and e_0 the unit vector of z_0,

    sup over z' Y^-1 z <= r^2 of -z_0 + z' m z / 2  <=  (l r^2 + tau / l) / 2                                       (1)

for any l > 0 and tau >= e_0'((L L')^-1 - m / l)^-1 e_0 where (L L')^-1 > m / l: add l (r^2 - z' Y^-1 z) / 2 >= 0 and
maximise over all z. With z = L y this is so where

    I - L'(m / l + e_0 e_0' / tau) L >= 0,                                                                          (2)

by a Schur complement. By the S-lemma the best l loses nothing. l and tau are guesses; (2) and Y <= L L' are what is
verified, by a Cholesky factor and the Frobenius norm of what it leaves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch

from lipaudit.numerics.rounding import U, gamma

_RAISED = 2.0**-30
"""Added to a matrix of unit diagonal before it is factored: more than its rounding errors."""

_ROOM = 64.0
"""Of l, in units of the noise of what it is held against."""

_MORE = 1.0 + 2.0**-30
"""More than sums and norms of some thousand terms are understated by."""

_TAU = 1.0 + 2.0**-20
"""What guesses are raised by, so that (2) has room for rounding."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Factor:
    """L with Y <= L L' in units of powers of 2: the first N rows, lower triangular, and of the others all that reach.

    a: [B, N, N]; b: [B, K, N] and c: [B, K], the row of each other entry in the first N columns, and the length of the
    rest; unit: [B, N] and unit_other [B, K], what the entries were multiplied with; fine: [B], whether Y <= L L'.
    """

    a: torch.Tensor
    b: torch.Tensor
    c: torch.Tensor
    unit: torch.Tensor
    unit_other: torch.Tensor
    fine: torch.Tensor

    @staticmethod
    def of(y: torch.Tensor, n: int) -> Factor:
        size = y.shape[1]
        root = y.diagonal(dim1=1, dim2=2).clamp(min=0.0).sqrt()
        usable = y.isfinite().flatten(1).all(1) & (root > 2.0**-480).all(1) & (root < 2.0**480).all(1)
        unit = torch.exp2(-torch.where(usable[:, None], root, 1.0).log2().round())  # powers of 2: no rounding below
        eye = torch.eye(size, dtype=torch.float64)
        scaled = torch.where(usable[:, None, None], y * unit[:, None] * unit[:, :, None], eye)
        scaled = scaled + _RAISED * eye
        lower, info = torch.linalg.cholesky_ex(scaled)
        rest = torch.linalg.vector_norm((scaled - lower @ lower.mT).flatten(1), dim=1) * _MORE
        # rows of L have length sqrt(diagonal) at most, near 1: entries of the product are off by gamma times theirs
        lengths = lower.square().sum(2)
        rest = rest + gamma(size + 8) * lengths.sum(1) + 4.0 * U * scaled.diagonal(dim1=1, dim2=2).sum(1)
        fine = usable & (info == 0) & (rest * _MORE <= _RAISED * (1.0 - 2.0**-20))
        c = torch.linalg.vector_norm(lower[:, n:, n:], dim=2) * _MORE
        return Factor(lower[:, :n, :n], lower[:, n:, :n], c, unit[:, :n], unit[:, n:], fine)

    def sup(self, turn: torch.Tensor, k: int, reach: torch.Tensor) -> torch.Tensor:
        """[B]: at least sup of -z_k + sum_i turn_i z_i^2 / 2 over z'Y^-1 z <= reach^2: (1); inf if unproven."""
        tall, noise = self._bent(turn)
        values, vectors = torch.linalg.eigh(tall)
        head = torch.cat([self.b[:, k], self.c[:, k, None]], 1) / self.unit_other[:, k, None]
        moved = torch.cat([(vectors.mT @ head[:, :-1, None]).squeeze(2), head[:, -1:]], 1)
        values = torch.cat([values, torch.zeros_like(values[:, :1])], 1)
        level = torch.maximum(_level(values, moved, reach), values.amax(1) + _ROOM * noise)
        # (2) with room * I on the right: more than all that `_holds` takes off
        gap, n = level[:, None] - values, turn.shape[1]
        room = 16.0 * noise / level + 64.0 * (n + 4) * gamma(n + 12)
        level = level / (1.0 - room.clamp(max=0.5))
        tau = level * (moved.square() / gap).sum(1) * _TAU
        proven = self._holds(tall, noise, level, head, tau)
        found = (level * reach * reach + tau / level) / 2
        return torch.where(proven, found * (1.0 + 16.0 * U), torch.inf)

    def top(self, turn: torch.Tensor) -> torch.Tensor:
        """[B]: at least sup of sum_i turn_i z_i^2 over z'Y^-1 z <= 1; inf if unproven."""
        tall, noise = self._bent(turn)
        level = torch.linalg.eigvalsh(tall)[:, -1].clamp(min=0.0) if tall.shape[1] else tall.new_zeros(len(tall))
        level = level * _TAU + _ROOM * noise + 2.0**-900
        proven = self._holds(tall, noise, level, None, None)
        return torch.where(proven, level, torch.inf)

    def _bent(self, turn: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(L' diag(turn) L over the first N entries, to nearest, and how far from it, [B], in the spectral norm)."""
        own = turn / self.unit / self.unit
        tall = self.a.mT @ (own.unsqueeze(2) * self.a)
        tall = (tall + tall.mT) / 2
        size = (own.abs() * self.a.square().sum(2)).sum(1)
        noise = size * (gamma(turn.shape[1] + 12) * _MORE) + 2.0**-950
        known = tall.isfinite().flatten(1).all(1) & noise.isfinite()
        return torch.where(known[:, None, None], tall, 0.0), torch.where(known, noise, torch.inf)

    def _holds(
        self,
        tall: torch.Tensor,
        noise: torch.Tensor,
        level: torch.Tensor,
        head: torch.Tensor | None,
        tau: torch.Tensor | None,
    ) -> torch.Tensor:
        """[B]: whether (2) is proven, with the entry `head` of L as e_0's, or without any."""
        if head is not None and tau is not None:
            tall = torch.nn.functional.pad(tall, (0, 1, 0, 1))
        eye = torch.eye(tall.shape[1], dtype=torch.float64)
        share = tall / level[:, None, None]
        spread = noise / level
        if head is not None and tau is not None:
            lead = head / tau.sqrt()[:, None]
            share = share + lead.unsqueeze(2) * lead.unsqueeze(1)
            spread = spread + 8.0 * U * lead.square().sum(1)
        left = eye - share
        spread = spread + 8.0 * U * (torch.linalg.vector_norm(share.flatten(1), dim=1) + float(tall.shape[1]))
        spread = spread + 2.0 * gamma(tall.shape[1] + 8) * left.diagonal(dim1=1, dim2=2).abs().sum(1)
        known = left.isfinite().flatten(1).all(1) & spread.isfinite()
        shift = torch.where(known, 2.0 * spread * _MORE, 0.0)
        lowered = torch.where(known[:, None, None], left, eye) - shift[:, None, None] * eye
        lower, info = torch.linalg.cholesky_ex(lowered)
        rest = torch.linalg.vector_norm((lowered - lower @ lower.mT).flatten(1), dim=1)
        enough = (rest + spread) * _MORE <= shift * (1.0 - 2.0**-20)
        proven: torch.Tensor = self.fine & known & (info == 0) & enough
        return proven


def _level(values: torch.Tensor, moved: torch.Tensor, reach: torch.Tensor) -> torch.Tensor:
    """[B]: about the l > all values, l > 0, where l r^2 + sum_i moved_i^2 / (l - values_i) is least, by bisection."""
    edge = values.amax(1).clamp(min=0.0)
    length = torch.linalg.vector_norm(moved, dim=1).clamp_min(2.0**-300)
    span = length / reach.clamp_min(2.0**-300)
    low, high = torch.zeros_like(edge), torch.ones_like(edge)
    for _ in range(40):
        middle = (low + high) / 2
        gap = (edge + middle * span)[:, None] - values
        falling = (moved / gap.clamp_min(2.0**-300)).square().sum(1) > reach * reach
        low, high = torch.where(falling, middle, low), torch.where(falling, high, middle)
    level: torch.Tensor = edge * (1.0 + 2.0**-24) + high.clamp(min=2.0**-24) * span
    return level
