"""Multipliers for a quadratic relaxation, by an interior point method in plain float64. Nothing here is proven.

The relaxation: minimise c.x over x = (1, ...) with a_i(x) b_i(x) >= 0 for some pairs of linear forms (= 0 for those
that are free), and sum_k ball_k x_k^2 >= 0. Dual: maximise gamma such that

    M = C - gamma e_0 e_0' - sum_i lambda_i sym(a_i b_i') - mu diag(ball)

is positive semidefinite, with lambda_i >= 0 where not free, mu >= 0, C = sym(e_0 c'). Its own dual is over moment
matrices X >= 0, X_00 = 1, in place of x x' (Shor). The direction is that of Helmberg, Rendl, Vanderbei & Wolkowicz 1996
with Mehrotra's corrector, as in Borchers' CSDP (1999). M stays feasible, so that every iterate is a candidate; X is
made feasible on the way. All forms are of rank one in few coordinates, so that the system of an iteration costs
products of Gram matrices entry by entry.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch

ITERATIONS = 40
"""Most steps: the gap halves at least in each of the later ones."""

GAP = 1e-3
"""Of the objective's unit: where it is smaller, there is nothing more to gain."""

_INSIDE = 0.95
_BACK = 0.85


@final
@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """The relaxation above. Forms: of each of U neurons, F pairs over (1, v_j, w_j).

    rows: the linear forms 1 = x_0, then all v_j, then all w_j, multiples of the last x, [1 + 2 U, m]; left, right: a
    and b, [F, 3, U]; free: [F, U];
    cost: c, [m]; ball: [m].
    """

    rows: torch.Tensor
    left: torch.Tensor
    right: torch.Tensor
    free: torch.Tensor
    cost: torch.Tensor
    ball: torch.Tensor

    def read(self, table: torch.Tensor) -> torch.Tensor:
        """rows @ table [m, columns]: the first row is the first unit vector, and w_j reads of one entry alone."""
        u = self.left.shape[2]
        first = self.rows.shape[1] - u
        most = self.rows[u + 1 :, first:].diagonal()
        return torch.cat([table[:1], self.rows[1 : u + 1] @ table, most[:, None] * table[first:]])

    def form(self, rates: torch.Tensor, mu: float, gamma: float) -> torch.Tensor:
        """sum_i rates_i sym(a_i b_i') + mu diag(ball) + gamma e_0 e_0'. rates: [F, U]."""
        own = torch.einsum("fu,fau,fbu->abu", rates, self.left, self.right)
        own = (own + own.transpose(0, 1)) / 2
        u = own.shape[2]
        one, v, w = self.rows[:1], self.rows[1 : u + 1], self.rows[u + 1 :]
        total = v.mT @ (own[1, 1][:, None] * v + 2.0 * own[1, 2][:, None] * w) + w.mT @ (own[2, 2][:, None] * w)
        edge = own[0, 1] @ v + own[0, 2] @ w
        total = total + 2.0 * one.mT @ edge[None]
        total = (total + total.mT) / 2 + torch.diag(mu * self.ball)
        total[0, 0] += gamma + float(own[0, 0].sum())
        return total

    def combined(self, forms: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        """Rows of the forms a [F, 3, U] out of a table with one row each for 1, v and w: [F U, columns]."""
        u = forms.shape[2]
        parts = [
            f[0][:, None] * table[:1] + f[1][:, None] * table[1 : u + 1] + f[2][:, None] * table[u + 1 :] for f in forms
        ]
        return torch.cat(parts)

    def traces(self, x: torch.Tensor) -> torch.Tensor:
        """a_i' x b_i: [F U]."""
        return (self.combined(self.left, self.read(x)) * self.combined(self.right, self.rows)).sum(1)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Multipliers:
    """rates: [F, U]; mu; bound: what they show in float64, gamma; hopeless: no multipliers reach the target."""

    rates: torch.Tensor
    mu: float
    bound: float
    hopeless: bool


@final
@dataclass(slots=True, eq=False)
class _State:
    rates: torch.Tensor
    mu: float
    gamma: float
    m: torch.Tensor
    inverse: torch.Tensor
    x: torch.Tensor
    slack: torch.Tensor
    rest: float


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Step:
    rates: torch.Tensor
    mu: float
    gamma: float
    m: torch.Tensor
    x: torch.Tensor
    slack: torch.Tensor
    rest: float


def solve(program: Program, target: float, deadline: float, iterations: int = ITERATIONS) -> Multipliers | None:
    """Multipliers whose bound is above the target, or the best there are; None where no start is found.

    deadline: time.monotonic() from which on no step is begun.
    """
    free, state = program.free.flatten(), _start(program)
    if state is None:
        return None
    best, off = Multipliers(state.rates.reshape(program.free.shape), state.mu, state.gamma, False), 1.0
    order = len(program.cost) + int((~free).sum()) + 1
    for _ in range(iterations):
        gap = _gap(state, state, 0.0, 0.0, free)
        if gap < GAP or time.monotonic() > deadline:
            break
        direction = _system(program, state, free)
        if direction is None:
            break
        first = direction(0.0, None)
        ahead, along = _lengths(state, first, free)
        left = _gap(state, first, along, ahead, free) / gap
        centring = min(1.0, max(0.01, left * left)) if min(ahead, along) > 0.1 else 0.5
        step = direction(centring * gap / order, first)
        ahead, along = _lengths(state, step, free)
        off *= 1.0 - along
        if not _moved(program, state, step, ahead, along):
            break
        bound = state.gamma + 1.0 / float(state.inverse[0, 0])
        reached = float(program.cost @ state.x[0])
        hopeless = off < 0.02 and reached < target
        if bound > best.bound:
            best = Multipliers(state.rates.reshape(program.free.shape), state.mu, bound, False)
        if bound > target or hopeless:
            return Multipliers(best.rates, best.mu, best.bound, hopeless)
    return best


def _start(program: Program) -> _State | None:
    """Multipliers of one, and the moment matrix that they are central with."""
    free = program.free.flatten()
    rates = torch.where(program.free, 0.0, 1.0).double()
    base = _cost(program) - program.form(rates, 1.0, 0.0)
    factor, info = torch.linalg.cholesky_ex(base[1:, 1:])
    if int(info):
        return None
    gamma = float(base[0, 0] - base[0, 1:] @ torch.cholesky_solve(base[1:, :1], factor)[:, 0]) - 1.0
    base[0, 0] -= gamma
    factor, info = torch.linalg.cholesky_ex(base)
    if int(info):
        return None
    inverse = torch.cholesky_inverse(factor)
    scale = float(inverse[0, 0])
    slack = torch.where(free, 0.0, 1.0 / scale).double()
    return _State(rates.flatten(), 1.0, gamma, base, inverse, inverse / scale, slack, 1.0 / scale)


def _cost(program: Program) -> torch.Tensor:
    c = torch.zeros(len(program.cost), len(program.cost), dtype=torch.float64)
    c[0] += program.cost / 2
    c[:, 0] += program.cost / 2
    return c


def _gap(state: _State, step: _State | _Step, along: float, ahead: float, free: torch.Tensor) -> float:
    """X.M and the multipliers times what is left of their constraints, after a step (state itself: a length of 0)."""
    pairs = ((state.x + along * step.x) * (state.m + ahead * step.m)).sum()
    own = ((state.slack + along * step.slack) * (state.rates + ahead * step.rates))[~free].sum()
    return float(pairs + own) + (state.rest + along * step.rest) * (state.mu + ahead * step.mu)


Direction = Callable[[float, _Step | None], _Step]


def _system(program: Program, state: _State, free: torch.Tensor) -> Direction | None:
    """The Newton step towards X M = t I, and its correction by the one before. None where the system is singular."""
    x, z, ball = state.x, state.inverse, program.ball
    products = []
    for y in (x, z):
        table = program.read(y)
        whole = program.read(table.mT.contiguous())
        read = [program.combined(forms, table) for forms in (program.left, program.right)]
        gram = [program.combined(forms, whole) for forms in (program.left, program.right)]
        aa, bb = (program.combined(f, g.mT) for f, g in zip((program.left, program.right), gram, strict=True))
        ab = program.combined(program.right, gram[0].mT).mT
        products.append((read, aa, bb, ab))
    ((ax, bx), xaa, xbb, xab), ((az, bz), zaa, zbb, zab) = products
    n = len(free)
    system = torch.zeros(n + 2, n + 2, dtype=torch.float64)
    system[:n, :n] = 0.25 * (xab.mT * zab + xbb * zaa + xaa * zbb + xab * zab.mT)
    system[:n, n] = 0.5 * ((bx * ball * az).sum(1) + (ax * ball * bz).sum(1))
    system[:n, n + 1] = 0.5 * (bx[:, 0] * az[:, 0] + ax[:, 0] * bz[:, 0])
    system[n, n] = (x * z * ball[None] * ball[:, None]).sum() + state.rest / state.mu
    system[n, n + 1] = (x[0] * ball * z[0]).sum()
    system[n + 1, n + 1] = x[0, 0] * z[0, 0]
    system[n:, :n] = system[:n, n:].mT
    system[n + 1, n] = system[n, n + 1]
    barrier = torch.where(free, 0.0, state.slack / torch.where(free, 1.0, state.rates))
    system.diagonal()[:n] += barrier
    system = (system + system.mT) / 2
    scale = system.diagonal().clamp_min(1e-200).rsqrt()
    scaled = system * scale[:, None] * scale[None]
    for jitter in (1e-13, 1e-9):
        scaled.diagonal().add_(jitter)
        factor, info = torch.linalg.cholesky_ex(scaled)
        if not int(info):
            break
    else:
        return None
    trace, balance = zab.diagonal(), float((z.diagonal() * ball).sum())
    rates = torch.where(free, 1.0, state.rates)

    def direction(t: float, before: _Step | None) -> _Step:
        bent, own, rest = torch.zeros_like(x), torch.zeros_like(rates), 0.0
        if before is not None:
            bent = before.x @ before.m @ z
            bent = (bent + bent.mT) / 2
            own = torch.where(free, 0.0, before.slack * before.rates / rates)
            rest = before.rest * before.mu / state.mu
        aim = torch.where(free, 0.0, t / rates) - own
        last = [
            t / state.mu - rest - t * balance + float((bent.diagonal() * ball).sum()),
            1.0 - t * float(z[0, 0]) + float(bent[0, 0]),
        ]
        side = torch.cat([aim - t * trace + program.traces(bent), torch.tensor(last, dtype=torch.float64)])
        found = scale * torch.cholesky_solve((scale * side)[:, None], factor)[:, 0]
        by, mu, gamma = found[:n], float(found[n]), float(found[n + 1])
        m = -program.form(by.reshape(program.free.shape), mu, gamma)
        moved = x @ m @ z
        dx = t * z - x - (moved + moved.mT) / 2 - bent
        slack = torch.where(free, 0.0, aim - state.slack - barrier * by)
        return _Step(by, mu, gamma, m, dx, slack, t / state.mu - rest - state.rest - state.rest / state.mu * mu)

    return direction


def _lengths(state: _State, step: _Step, free: torch.Tensor) -> tuple[float, float]:
    """How far along the step the dual (ahead) and the primal (along) stay inside, 1 at most."""
    ahead = _until(state.m, step.m, [(state.rates[~free], step.rates[~free]), _single(state.mu, step.mu)])
    along = _until(state.x, step.x, [(state.slack[~free], step.slack[~free]), _single(state.rest, step.rest)])
    return ahead, along


def _single(x: float, dx: float) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor([x], dtype=torch.float64), torch.tensor([dx], dtype=torch.float64)


def _until(matrix: torch.Tensor, change: torch.Tensor, numbers: list[tuple[torch.Tensor, torch.Tensor]]) -> float:
    length = 1.0
    for x, dx in numbers:
        ends = torch.where(dx < 0, -x / dx.clamp(max=-1e-300), torch.inf)
        length = min(length, _INSIDE * float(ends.amin())) if len(ends) else length
    while length > 1e-8 and int(torch.linalg.cholesky_ex(matrix + (length / _INSIDE) * change)[1]):
        length *= _BACK
    return length


def _moved(program: Program, state: _State, step: _Step, ahead: float, along: float) -> bool:
    """The state after the step; False where it left the cone by rounding."""
    state.rates = state.rates + ahead * step.rates
    state.mu += ahead * step.mu
    state.gamma += ahead * step.gamma
    state.m = _cost(program) - program.form(state.rates.reshape(program.free.shape), state.mu, state.gamma)
    x = state.x + along * step.x
    state.x = (x + x.mT) / 2
    state.slack = state.slack + along * step.slack
    state.rest += along * step.rest
    factor, info = torch.linalg.cholesky_ex(state.m)
    if int(info):
        return False
    state.inverse = torch.cholesky_inverse(factor)
    return bool(state.inverse.isfinite().all())
