"""The best multipliers by Newton's method on the barrier of LipSDP-Neuron's matrix inequality.

Nothing here is proven, and nothing is believed: `ellipsoid_verify` takes multipliers of any origin.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import final

import torch

from lipaudit.engines.ellipsoid_blocks import Blocks, Scaled, cholesky
from lipaudit.engines.ellipsoid_closed import Guess
from lipaudit.engines.ellipsoid_inequality import Inequality, multipliers, rates

STEPS = 200
"""Most Newton steps: more never helped."""

_BOLD = 15.0
"""The decrement of the first step after tau grows: what two or three steps more make up for."""
KEPT = 3


@final
@dataclass(slots=True, eq=False)
class Optimum:
    """Multipliers of the last iterates, the best one last, and a float64 guess of what no multipliers can beat.

    lower: of L^2 in the program's units, from a feasible point of the dual; 0.0 for none. steps: taken.
    """

    guesses: list[Guess] = field(default_factory=list)
    lower: float = 0.0
    steps: int = 0


def reached(data: Inequality, guess: Guess) -> float:
    """The L^2 of these multipliers, in the program's units: lambda_max(E Q^-1 E'), M without its last row being Q; inf
    where M has no inverse there."""
    barrier = _Barrier(data, 1.0)
    m = barrier.matrix(torch.cat([rates(data, guess), torch.ones(1, dtype=torch.float64)]))
    q = barrier.y.start
    factor, info = torch.linalg.cholesky_ex(m[:q, :q])
    if int(info) != 0:
        return math.inf
    half = torch.linalg.solve_triangular(factor, m[:q, q:], upper=False)
    return max(float(torch.linalg.eigvalsh(half.mT @ half)[-1]), 0.0) if data.outputs else 0.0


def solve(
    data: Inequality,
    guess: Guess,
    square: float,
    tolerance: float,
    deadline: float = math.inf,
    found: Optimum | None = None,
) -> Optimum:
    """Multipliers with L^2 within `tolerance` of the optimum, relative, if neither steps nor time run out.

    guess: strictly feasible multipliers with the bound sqrt(square). found: what takes the answer, step by step.
    Minimises tau t - log det M for tau that grows (Boyd & Vandenberghe, Convex Optimization, 2004, 11.3). The Newton
    step d at a point gives a feasible point of the dual, Z = (P - P D P) / tau with P = 1/M and D the step's change of
    M, where its decrement is below 1 (the same, 11.6): the gap is known at any time.
    """
    barrier = _Barrier(data, math.sqrt(square))
    point = torch.cat([rates(data, guess), torch.tensor([1.5], dtype=torch.float64)])
    found = Optimum() if found is None else found
    state = barrier.at(point)
    if state is None:
        return found
    tau, full, lower, central = 1.0, float(data.side), 0.0, False
    while found.steps < STEPS and time.monotonic() < deadline:
        local = barrier.expand(state)
        if local is None:
            break
        t = float(state.point[-1])
        if not central:  # not central yet: to the nearest point of the path, wherever on it
            tau = max(float(local.centring[-1] / local.descent[-1]), full / (100.0 * t))
        for _ in range(2):
            move = local.centring - tau * local.descent
            slope = local.gradient.clone()
            slope[-1] -= tau
            decrement = float(slope @ move)
            if not decrement < 0.9:
                break
            central = True
            lower = max(lower, t - (full - float(local.gradient @ move)) / tau)
            found.lower = max(lower, 0.0) * square
            if t - lower <= tolerance * t:
                break
            tau = min(local.bolder(tau, _BOLD), 2.0 * full / (tolerance * t))
        if t - lower <= tolerance * t:
            break
        after = barrier.search(state, move, tau, decrement)
        if after is None:
            break
        state = after
        found.steps += 1
        found.guesses = [*found.guesses[1 - KEPT :], multipliers(data, state.point[:-1])]
    return found


@final
@dataclass(frozen=True, slots=True, eq=False)
class _State:
    """A point inside, a factor of M there, and log det M."""

    point: torch.Tensor
    factor: torch.Tensor
    logdet: float


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Local:
    """gradient: of log det M; centring, descent: the inverse Hessian of -log det M times it, and times that of t."""

    gradient: torch.Tensor
    centring: torch.Tensor
    descent: torch.Tensor

    def bolder(self, tau: float, decrement: float) -> float:
        """The largest tau whose Newton step has this decrement, at least 1.1 of the given one."""
        a, b = float(self.descent[-1]), float(self.centring[-1])
        c = float(self.gradient @ self.centring) - decrement
        return max(1.1 * tau, (b + math.sqrt(max(b * b - a * c, 0.0))) / a)


class _Barrier:
    """log det M and its derivatives in (lambda, t), for the output divided by `scale`: t starts near 1.

    Where M is the identity in x, M stands for its Schur complement R = M_rr - M_rx M_xr: the determinants are equal,
    1/M is 1/R on the rest, and what is needed of 1/M in x follows from the products of the rows that read x.
    """

    def __init__(self, data: Inequality, scale: float) -> None:
        self.out = {b: rows / scale for b, rows in data.output.items()}
        self.eliminated = data.eliminable()
        self.blocks = Blocks(data, frozenset({0}) if self.eliminated else frozenset())
        self.y = self.blocks.y
        entries = [(place, a.rows[0]) for place, a in self.blocks.atoms if 0 in a.rows] if self.eliminated else []
        rows = torch.cat([*(r for _, r in entries), torch.zeros(0, data.sizes[0], dtype=torch.float64)])
        self.entry = torch.cat([*(torch.arange(place.start, place.stop) for place, _ in entries), torch.arange(0)])
        self.gram = rows @ rows.mT

    def at(self, point: torch.Tensor) -> _State | None:
        """The point's state; None outside."""
        factor = cholesky(self.matrix(point))
        return None if factor is None else _State(point, factor, 2.0 * float(factor.diagonal().log().sum()))

    def matrix(self, point: torch.Tensor) -> torch.Tensor:
        """M, or what stands for it, at a point."""
        m = self.blocks.spread(point[:-1])
        if not self.eliminated:
            m.diagonal()[self.blocks.at[0]] += 1.0
        m.diagonal()[self.y] = point[-1]
        for block, rows in self.out.items():
            m[self.y, self.blocks.at[block]] = rows
            m[self.blocks.at[block], self.y] = rows.mT
        if len(self.entry):
            own, pull = self.blocks.own[self.entry], self._pull(point)
            m[own[:, None], own] -= pull[:, None] * self.gram * pull
        return m

    def _pull(self, point: torch.Tensor) -> torch.Tensor:
        """The factors of M_rx = -diag(pull) V_x in the rows of the atoms that read an eliminated x."""
        b, e = self.blocks, self.entry
        return point[:-1][b.of[e]] * b.p[e] * (b.s[e] + b.z[e]) / 2

    def expand(self, state: _State) -> _Local | None:
        """Gradient and Newton directions at the state."""
        b, own, y = self.blocks, self.blocks.own, self.y
        inverse = torch.cholesky_inverse(state.factor)
        vp = b.left(inverse)
        pulled = self.gram * self._pull(state.point)
        if len(self.entry):
            vp[self.entry] += pulled @ inverse[own[self.entry]]
        vpv = b.both(vp)
        if len(self.entry):
            vpv[:, self.entry] += vp[:, own[self.entry]] @ pulled.mT
            vpv[self.entry[:, None], self.entry] += self.gram
        of = b.products(inverse, vp, vpv)
        fg = of.between(b.s, b.z)
        gradient = b.summed(fg.diagonal())
        table = of.between(b.s, b.s).mul_(of.between(b.z, b.z))
        table += fg * fg.mT
        n = b.data.count
        hessian = torch.empty(n + 1, n + 1, dtype=torch.float64)
        hessian[:n, :n] = b.table(table.mul_(0.5))
        corner = inverse[y, y]
        across, down = inverse[own, y] * b.p[:, None], vp[:, y]
        edge = ((across - b.s[:, None] * down) * (across - b.z[:, None] * down)).sum(1)
        hessian[:n, n] = hessian[n, :n] = b.summed(edge)
        hessian[n, n] = corner.square().sum()
        gradient = torch.cat([gradient, corner.diagonal().sum().reshape(1)])
        solver = Scaled.of(hessian)
        if solver is None:
            return None
        unit = torch.zeros(n + 1, dtype=torch.float64)
        unit[-1] = 1.0
        return _Local(gradient, solver(gradient), solver(unit))

    def search(self, state: _State, move: torch.Tensor, tau: float, decrement: float) -> _State | None:
        """About the best point down the move, by doubling and halving; None where rounding leaves none.

        Steps beyond Newton's own matter: with one eigenvalue of M near 0 that is all it lags behind.
        """
        floor = 1e-13 * (abs(state.logdet) + tau * float(state.point[-1]))

        def tried(size: float) -> tuple[float, _State | None]:
            after = self.at(state.point + size * move)
            if after is None:
                return -math.inf, None
            gain = after.logdet - state.logdet - tau * size * float(move[-1])
            return (gain, after) if gain >= 0.05 * size * decrement - floor else (-math.inf, None)

        size, best = 1.0, tried(1.0)
        factor = 0.5 if best[1] is None else 2.0
        for _ in range(40):
            if decrement < 0.9 and best[1] is not None:
                break
            size *= factor
            after = tried(size)
            if after[0] <= best[0] and best[1] is not None:
                break
            best = after if after[0] > best[0] else best
        return best[1]
