"""The best multipliers by a primal-dual interior-point method for the matrix inequality of LipSDP-Neuron.

Nothing here is proven, and nothing is believed: `ellipsoid_verify` takes multipliers of any origin.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import final

import torch

from lipaudit.engines.ellipsoid_closed import Guess
from lipaudit.engines.ellipsoid_inequality import Inequality, multipliers, rates, sums, table


def solve(data: Inequality, guess: Guess, square: float, tolerance: float, deadline: float) -> list[Guess]:
    """Multipliers of every iterate, the last one the best: at the end t is within tolerance t of the optimum.

    guess: strictly feasible multipliers with the bound sqrt(square). Stops early at the deadline.
    """
    method = _PrimalDual(data, math.sqrt(square))
    point = torch.cat([rates(data, guess), torch.tensor([1.5], dtype=torch.float64)])
    found: list[Guess] = []
    if not method.start(point):
        return found
    while time.monotonic() < deadline and method.gap() > tolerance * float(method.point[-1]):
        if not method.advance():
            break
        found.append(multipliers(data, method.point[:-1]))
    return found


class _PrimalDual:
    """Mehrotra's predictor and corrector, in the direction of Helmberg, Rendl, Vanderbei and Wolkowicz (1996): M Z =
    mu I is linearised, Z >= 0 the multiplier of M >= 0, and Z made symmetric.

    The output is divided by `scale`, so that t starts near 1. M is always the exact one of `point`.
    """

    def __init__(self, data: Inequality, scale: float) -> None:
        self.data, self.output = data, data.output / scale
        self.q, self.side = data.output.shape[1], data.side
        self.eye = torch.eye(self.side, dtype=torch.float64)

    def start(self, point: torch.Tensor) -> bool:
        """Whether the point is inside. Z is the one that the central path would have there."""
        self.point = point
        m = self.spread(point)
        m.diagonal()[: self.data.inputs] += 1.0
        m[self.q :, : self.q] = self.output
        m[: self.q, self.q :] = self.output.mT
        factor = _cholesky(m)
        if factor is None:
            return False
        self.m, self.factor = m, factor
        inverse = torch.cholesky_inverse(factor)
        self.z = inverse / float(inverse.diagonal()[self.q :].sum())
        return True

    def spread(self, x: torch.Tensor) -> torch.Tensor:
        """sum_k x_k (e_k e_k' - v_k v_k') with x_t I below: the part of M that is linear in x."""
        d, q = self.data, self.q
        m = torch.zeros(self.side, self.side, dtype=torch.float64)
        m[:q, :q] = (d.rows * -x[:-1][d.of, None]).mT @ d.rows
        m.diagonal()[d.unit] += x[:-1][d.own]
        m.diagonal()[q:] += x[-1]
        return m

    def against(self, x: torch.Tensor) -> torch.Tensor:
        """The inner products of a symmetric x with the matrix of every unknown."""
        d, q = self.data, self.q
        rows = ((d.rows @ x[:q, :q]) * d.rows).sum(1)
        inner = sums(x.diagonal()[d.unit], d.own, d.count) - sums(rows, d.of, d.count)
        return torch.cat([inner, x.diagonal()[q:].sum().reshape(1)])

    def gap(self) -> float:
        return float((self.m * self.z).sum())

    def system(self, p: torch.Tensor) -> torch.Tensor:
        """tr(A_k P A_l Z) for the matrices A of the unknowns."""
        d, q, z, n = self.data, self.q, self.z, self.data.count
        pv, zv = p[:, :q] @ d.rows.mT, z[:, :q] @ d.rows.mT
        cross = table(pv[d.unit] * zv[d.unit], d.own, d.of, n)
        result = torch.zeros(n + 1, n + 1, dtype=torch.float64)
        units = table(p[d.unit][:, d.unit] * z[d.unit][:, d.unit], d.own, d.own, n)
        result[:n, :n] = units + table((d.rows @ pv[:q]) * (d.rows @ zv[:q]), d.of, d.of, n) - cross - cross.mT
        edge = sums((p[q:][:, d.unit] * z[q:][:, d.unit]).sum(0), d.own, n) - sums((pv[q:] * zv[q:]).sum(0), d.of, n)
        result[:n, n] = result[n, :n] = edge
        result[n, n] = (p[q:, q:] * z[q:, q:]).sum()
        return result

    def advance(self) -> bool:
        """One step; False where none is possible."""
        p = torch.cholesky_inverse(self.factor)
        solver = _Scaled.of(self.system(p))
        if solver is None:
            return False
        along = self.against(p)
        mu = self.gap() / self.side
        cost = torch.zeros_like(self.point)
        cost[-1] = 1.0
        x = solver(-cost)
        dm = self.spread(x)
        dz = -self.z - _symmetric(p @ dm @ self.z)
        primal, dual = self.reach(self.m, dm), self.reach(self.z, dz)
        ahead = float(((self.m + primal * dm) * (self.z + dual * dz)).sum()) / self.side
        target = mu * min(max(ahead / mu, 1e-8), 1.0) ** 3
        bend = _symmetric(p @ dm @ dz)
        x = solver(target * along - cost - self.against(bend))
        dm = self.spread(x)
        dz = target * p - self.z - _symmetric(p @ dm @ self.z) - bend
        primal, dual = 0.95 * self.reach(self.m, dm), 0.95 * self.reach(self.z, dz)
        m = self.m + primal * dm
        factor = _cholesky(m)
        if factor is None or primal < 1e-6:
            return False
        self.point = self.point + primal * x
        self.m, self.factor, self.z = m, factor, self.z + dual * dz
        return bool((self.point > 0).all())

    def reach(self, matrix: torch.Tensor, move: torch.Tensor) -> float:
        """About the largest step up to 1 / 0.95 for which matrix + step * move is positive definite."""
        size = 1.0 / 0.95
        for _ in range(60):
            if _cholesky(matrix + size * move) is not None:
                return size
            size *= 0.85
        return 0.0


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Scaled:
    """Solves with a positive definite matrix, through a factor of it with unit diagonal."""

    factor: torch.Tensor
    size: torch.Tensor

    @staticmethod
    def of(matrix: torch.Tensor) -> _Scaled | None:
        size = matrix.diagonal().clamp_min(1e-300).sqrt()
        scaled = matrix / size / size[:, None]
        for ridge in (1e-15, 1e-13, 1e-11, 1e-9, 1e-6):
            factor = _cholesky(scaled + ridge * torch.eye(len(size), dtype=torch.float64))
            if factor is not None:
                return _Scaled(factor, size)
        return None

    def __call__(self, right: torch.Tensor) -> torch.Tensor:
        return torch.cholesky_solve((right / self.size)[:, None], self.factor)[:, 0] / self.size


def _cholesky(matrix: torch.Tensor) -> torch.Tensor | None:
    factor, info = torch.linalg.cholesky_ex(matrix)
    return factor if int(info) == 0 and bool(factor.isfinite().all()) else None


def _symmetric(matrix: torch.Tensor) -> torch.Tensor:
    return (matrix + matrix.mT) / 2
