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

from lipaudit.engines.ellipsoid_program import Gain, Linear, Program, Slope

Guess = dict[int, torch.Tensor]


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
    """Multipliers along the central path, the last nearest to the optimum: the gap in t is tolerance t at the end.

    guess: strictly feasible multipliers with the bound sqrt(square). Stops early at the deadline.
    """
    barrier = _Barrier(data, math.sqrt(square))
    point = torch.cat([rates(data, guess), torch.tensor([1.5], dtype=torch.float64)])
    state = barrier.at(point)
    found: list[Guess] = []
    if state is None:
        return found
    weight = max(barrier.pull(state), 1.0)
    while time.monotonic() < deadline:
        point, state, settled = barrier.centred(point, state, weight, deadline)
        found.append(multipliers(data, point[:-1]))
        if not settled or data.side / weight < tolerance * float(point[-1]):
            break
        weight *= 12.0
    return found


@final
@dataclass(frozen=True, slots=True, eq=False)
class _State:
    """A factor of M at a point, and log det M."""

    factor: torch.Tensor
    logdet: float


class _Barrier:
    """tau t - logdet M(lambda, t) and its Newton steps; the output is divided by `scale`, so that t starts near 1."""

    def __init__(self, data: Inequality, scale: float) -> None:
        self.data, self.output = data, data.output / scale
        self.q = data.output.shape[1]

    def at(self, point: torch.Tensor) -> _State | None:
        """None outside the domain."""
        d, q = self.data, self.q
        if not bool((point > 0).all()):
            return None
        rate = point[:-1]
        m = torch.zeros(d.side, d.side, dtype=torch.float64)
        m[:q, :q] = -(d.rows * rate[d.of, None]).mT @ d.rows
        diagonal = m.diagonal()
        diagonal[: d.inputs] += 1.0
        diagonal[d.unit] += rate[d.own]
        diagonal[q:] = float(point[-1])
        m[q:, :q] = self.output
        factor, info = torch.linalg.cholesky_ex(m)  # of the lower triangle
        if int(info) != 0 or not bool(factor.isfinite().all()):
            return None
        return _State(factor, 2.0 * float(factor.diagonal().log().sum()))

    def pull(self, state: _State) -> float:
        """trace of the block of t in M^-1: the weight at which t is stationary."""
        return float(torch.cholesky_inverse(state.factor).diagonal()[self.q :].sum())

    def step(self, state: _State, weight: float) -> tuple[torch.Tensor, float]:
        """(Newton direction, its decrement squared)."""
        d, q = self.data, self.q
        p = torch.cholesky_inverse(state.factor)
        pv = p[:, :q] @ d.rows.mT
        vv, ev, ee = d.rows @ pv[:q], pv[d.unit], p[d.unit][:, d.unit]
        n = d.count
        slope = _sums(ee.diagonal(), d.own, n) - _sums(vv.diagonal(), d.of, n)
        gradient = torch.cat([-slope, torch.tensor([weight - float(p.diagonal()[q:].sum())], dtype=torch.float64)])
        cross = _table(ev.square(), d.own, d.of, n)
        hessian = torch.zeros(n + 1, n + 1, dtype=torch.float64)
        hessian[:n, :n] = _table(ee.square(), d.own, d.own, n) + _table(vv.square(), d.of, d.of, n) - cross - cross.mT
        edge = _sums(p[q:][:, d.unit].square().sum(0), d.own, n) - _sums(pv[q:].square().sum(0), d.of, n)
        hessian[:n, n] = hessian[n, :n] = edge
        hessian[n, n] = p[q:, q:].square().sum()
        size = hessian.diagonal().clamp_min(1e-300).sqrt()
        scaled = hessian / size / size[:, None]
        for ridge in (1e-14, 1e-11, 1e-8, 1e-4):
            factor, info = torch.linalg.cholesky_ex(scaled + ridge * torch.eye(n + 1, dtype=torch.float64))
            if int(info) == 0:
                break
        else:
            return torch.zeros(n + 1, dtype=torch.float64), 0.0
        move = -torch.cholesky_solve((gradient / size)[:, None], factor)[:, 0] / size
        return move, -float(gradient @ move)

    def centred(
        self, point: torch.Tensor, state: _State, weight: float, deadline: float
    ) -> tuple[torch.Tensor, _State, bool]:
        """Newton's method for one weight, and whether it came near the centre."""
        for _ in range(60):
            if time.monotonic() > deadline:
                return point, state, False
            move, decrement = self.step(state, weight)
            if decrement < 0.1:
                return point, state, True
            moved = self.search(point, state, weight, move, decrement)
            if moved is None:
                return point, state, False
            point, state = moved
        return point, state, False

    def search(
        self, point: torch.Tensor, state: _State, weight: float, move: torch.Tensor, decrement: float
    ) -> tuple[torch.Tensor, _State] | None:
        """A point along `move` that is better by enough: shorter steps, or longer ones while they gain.

        A multiplier far below its best value only doubles in a full step, as any -log does.
        """
        value = weight * float(point[-1]) - state.logdet
        best: tuple[torch.Tensor, _State] | None = None
        size, least = 1.0, value
        for _ in range(60):
            there = point + size * move
            at = self.at(there)
            if at is not None and float((at.factor.diagonal() / state.factor.diagonal()).min()) < 0.3:
                at = None  # so near the boundary the way back is long
            now = math.inf if at is None else weight * float(there[-1]) - at.logdet
            if best is not None and now >= least:
                break
            if at is not None and now <= min(least, value - 0.1 * min(size, 1.0) * decrement):
                best, least = (there, at), now
                if size < 1.0:
                    break
                size *= 3.0
            elif best is None:
                size *= 0.5
            else:
                break
        return best


def _sums(x: torch.Tensor, index: torch.Tensor, count: int) -> torch.Tensor:
    return torch.zeros(count, dtype=torch.float64).index_add_(0, index, x)


def _table(x: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, count: int) -> torch.Tensor:
    """x summed over the rows and columns of each multiplier; x itself where there is one of each."""
    if len(rows) == len(columns) == count:
        return x
    by_row = torch.zeros(count, x.shape[1], dtype=torch.float64).index_add_(0, rows, x)
    return torch.zeros(count, count, dtype=torch.float64).index_add_(1, columns, by_row)
