"""The best multipliers by a barrier method: LipSDP-Neuron as one linear matrix inequality, solved by Newton's method.

With every value written as a linear function of q = (x, u), u the normalised outputs of the bent neurons
(w = C v + D u, |u_k| <= |v_k|), LipSDP-Neuron (Fazlyab et al. 2019, arXiv:1906.04893) reads

    minimise t  subject to  M = [[I_x + sum_k lambda_k (e_k e_k' - v_k v_k'), E'], [E, t I]] >= 0,

v_k the row of the pre-activation, E that of the output. Minimised is tau t - logdet M for growing tau, where the gap
to the optimum is (side of M) / tau. Theta_k = 1 / lambda_k of the ellipsoid recursion, block by block the same bound.
Nothing here is proven, and nothing is believed.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import final

import torch

from lipaudit.engines.ellipsoid_closed import Guess
from lipaudit.engines.ellipsoid_program import Gain, Linear, Program, Slope


@final
@dataclass(frozen=True, slots=True, eq=False)
class Inequality:
    """The data of M. unit: indices [N] of the u in q; own: the multiplier [N] each belongs to; rows: [R, side of q],
    with theirs in `of` [R]; output: [p, side of q]; places: for each slope or gain step its multipliers, -1 for none."""

    inputs: int
    unit: torch.Tensor
    own: torch.Tensor
    rows: torch.Tensor
    of: torch.Tensor
    output: torch.Tensor
    places: dict[int, torch.Tensor]

    @property
    def count(self) -> int:
        return 1 + int(max(self.own.max(), self.of.max())) if len(self.own) else 0

    @property
    def side(self) -> int:
        return self.output.shape[1] + self.output.shape[0]


def inequality(program: Program) -> Inequality:
    """The program as one matrix inequality, with the input and the output reduced to what they can vary in."""
    sizes = program.sizes
    first = program.steps[0]
    entry = torch.eye(sizes[0], dtype=torch.float64)
    if program.starts() and isinstance(first, Linear):
        entry = first.matrix  # q begins with the coordinates of the row space of the first matrix
        if entry.shape[1] > entry.shape[0]:
            entry = torch.linalg.qr(entry.mT).R.mT
    n = entry.shape[1]
    total = n + sum(sizes[s.target] for s in program.steps if not isinstance(s, Linear))
    values = {0: torch.nn.functional.pad(entry, (0, total - n))}
    units, own, rows, of = [], [], [], []
    places: dict[int, torch.Tensor] = {}
    used, count = n, 0
    for place, step in enumerate(program.steps):
        match step:
            case Linear() if place == 0 and program.starts():
                starts = torch.tensor([sizes[t] for t in step.targets])
                values.update(zip(step.targets, values[0].split(starts.tolist()), strict=True))
            case Linear():
                out = step.matrix @ torch.cat([values[s] for s in step.sources])
                values.update(zip(step.targets, out.split([sizes[t] for t in step.targets]), strict=True))
            case Slope():
                v = values[step.source]
                norms = torch.linalg.vector_norm(v, dim=1)
                live = (step.radius > 0) & (norms > 1e-9 * norms.max().clamp_min(1e-200))
                k = int(live.sum())
                index = torch.full((len(v),), -1)
                index[live] = torch.arange(count, count + k)
                unit = torch.arange(used, used + k)
                w = step.centre[:, None] * v
                w[live.nonzero()[:, 0], unit] += step.radius[live]
                values[step.target] = w
                units.append(unit)
                own.append(index[live])
                rows.append(v[live])
                of.append(index[live])
                places[place] = index
                used, count = used + k, count + k
            case Gain():
                v, k = values[step.source], sizes[step.target]
                unit = torch.arange(used, used + k)
                w = torch.zeros(k, total, dtype=torch.float64)
                w[torch.arange(k), unit] = step.factor
                values[step.target] = w
                units.append(unit)
                own.append(torch.full((k,), count))
                rows.append(v)
                of.append(torch.full((len(v),), count))
                places[place] = torch.tensor([count])
                used, count = used + k, count + 1
    output = values[program.output][:, :used]
    if output.shape[0] > used:
        output = torch.linalg.qr(output).R
    none, empty = torch.arange(0), torch.empty(0, total, dtype=torch.float64)
    return Inequality(
        n,
        torch.cat([*units, none]),
        torch.cat([*own, none]),
        torch.cat([*rows, empty])[:, :used],
        torch.cat([*of, none]),
        output,
        places,
    )


def multipliers(data: Inequality, rate: torch.Tensor) -> Guess:
    """Theta = 1 / lambda; neurons that cannot move get a little of the others' mean."""
    found: Guess = {}
    for place, index in data.places.items():
        known = 1.0 / rate[index.clamp_min(0)] if data.count else torch.ones(len(index), dtype=torch.float64)
        live = index >= 0
        little = 1e-6 * float(known[live].mean()) if bool(live.any()) else 1.0
        found[place] = torch.where(live, known, torch.full_like(known, little))
    return found


def rates(data: Inequality, guess: Guess) -> torch.Tensor:
    """lambda = 1 / Theta from given multipliers."""
    rate = torch.ones(data.count, dtype=torch.float64)
    for place, index in data.places.items():
        live = index >= 0
        rate[index[live]] = 1.0 / guess[place][: len(index)][live]
    return rate


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
    """Mehrotra's predictor and corrector in the direction of Helmberg, Rendl, Vanderbei and Wolkowicz (SIAM J. Optim. 6,
    1996; also Kojima et al. and Monteiro): M Z = mu I is linearised, with Z >= 0 the multiplier of M >= 0.

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
        inner = _sums(x.diagonal()[d.unit], d.own, d.count) - _sums(rows, d.of, d.count)
        return torch.cat([inner, x.diagonal()[q:].sum().reshape(1)])

    def gap(self) -> float:
        return float((self.m * self.z).sum())

    def system(self, p: torch.Tensor) -> torch.Tensor:
        """tr(A_k P A_l Z) for the matrices A of the unknowns."""
        d, q, z, n = self.data, self.q, self.z, self.data.count
        pv, zv = p[:, :q] @ d.rows.mT, z[:, :q] @ d.rows.mT
        cross = _table(pv[d.unit] * zv[d.unit], d.own, d.of, n)
        result = torch.zeros(n + 1, n + 1, dtype=torch.float64)
        units = _table(p[d.unit][:, d.unit] * z[d.unit][:, d.unit], d.own, d.own, n)
        result[:n, :n] = units + _table((d.rows @ pv[:q]) * (d.rows @ zv[:q]), d.of, d.of, n) - cross - cross.mT
        edge = _sums((p[q:][:, d.unit] * z[q:][:, d.unit]).sum(0), d.own, n) - _sums((pv[q:] * zv[q:]).sum(0), d.of, n)
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


def _sums(x: torch.Tensor, index: torch.Tensor, count: int) -> torch.Tensor:
    return torch.zeros(count, dtype=torch.float64).index_add_(0, index, x)


def _table(x: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, count: int) -> torch.Tensor:
    """x summed over the rows and columns of each multiplier; x itself where there is one of each."""
    if len(rows) == len(columns) == count:
        return x
    by_row = torch.zeros(count, x.shape[1], dtype=torch.float64).index_add_(0, rows, x)
    return torch.zeros(count, count, dtype=torch.float64).index_add_(1, columns, by_row)
