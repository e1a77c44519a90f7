"""Quadratic dual certificates: how far a functional can fall over an l2 ball, with the undecided neurons seen together.

A region reduced to its neurons (`reduced`) reads, exactly, with d = x - c and |d|_2 <= r,

    dv_j = C_j d + D_j w + e_j, |e_j| <= slack_j,    F(x) - F(c) = g d + h w + e, |e| <= slack.

For any numbers at all, with phi_j(v, w) = a v^2 + 2 b v w + s w^2 + p v + q w for each neuron and mu >= 0,

    g d + h w  >=  min over all (d, w) of Q  -  sum_j sup phi_j  -  mu r^2,
    Q(d, w) = g d + h w + sum_j phi_j(C_j d + D_j w, w_j) + mu |d|^2,

the suprema over what the neuron can do: two half-lines are a curve on which phi_j is piecewise quadratic in one
variable, so that its supremum is found directly. This is Lagrangian duality with quadratic constraints, without having
to believe a multiplier's sign: where phi_j comes from wrong ones, its supremum pays for it. With the pairs below, which
determine the convex hull of a ReLU's (v, w) and their squares, its best value is that of the semidefinite relaxation of
Raghunathan, Steinhardt & Liang 2018 (arXiv:1811.01057) with the ball as one constraint. The domain's edges are in the
ranges only: as constraints of their own they gained less than a percent on images.

The minimum of Q. For a point z0 = (d0, w0) near it and any z of the region,

    Q(z) >= Q(z0) - |Q'(z0)| |z - z0| + (z - z0)' H (z - z0),

and H >= -eta is enough, as the region is bounded. H is looked at in few coordinates: with L L' >= C C' (lower
triangular, as many rows as neurons), y = C d and t = L^-1 y, |t|^2 <= d' C' (C C')^+ C d <= |d|^2, so that mu may be
spent on t instead of d. Every rounding is at most a gamma_n times the sum of all terms' absolute values over the region
(`_sizes`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch

from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.numerics.rounding import U, gamma, tensor_down, tensor_up, up
from lipaudit.ranges.joined import Neurons
from lipaudit.ranges.reduced import Asked, Reduced
from lipaudit.ranges.semidefinite import Multipliers, Program, solve

LARGEST = 800
"""Most undecided neurons of a region: the time of a step grows with their cube."""

ENOUGH = 1.0 + 1e-7
"""Of the drop that is to be shown: the search goes on until it is this much below, which the roundings are not."""

_MORE = 1.0 + 2.0**-30
"""More than sums and norms of some thousand terms are understated by."""

_ROUNDED = 2.0**-44
"""More than the roundings of a polynomial of one neuron, relative to its terms: less than a hundred, on five terms."""

_SMALL = 0.1
"""Of the sector among the pairs: with multipliers of one, the range of dv makes up for it, and the search can start."""

_HUGE = 2.0**100
"""Larger numbers are not looked at: what is lost by underflow, times all that multiplies it, stays below the floor."""

_FLOOR = 2.0**-600


@final
@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """One region's neurons, those held alone: as in `Reduced`, without the first axis. bent: with the knot inside."""

    radius: float
    rows: torch.Tensor
    inner: torch.Tensor
    slack: torch.Tensor
    centre: Box
    range: Box
    slope: torch.Tensor
    spread: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor
    bent: torch.Tensor
    knot: torch.Tensor
    left: torch.Tensor
    right: torch.Tensor

    @staticmethod
    def of(problem: Reduced, row: int) -> Region:
        held = problem.held[row]

        def own(x: torch.Tensor) -> torch.Tensor:
            return x[row][held]

        around, here = problem.range.map(own), problem.centre.map(own)
        knot = own(problem.knot)
        bent = own(problem.bent) & (around.lower < knot) & (knot < around.upper)
        return Region(
            radius=float(problem.ball.reach()[row]),
            rows=own(problem.rows),
            inner=problem.inner[row][held][:, held],
            slack=own(problem.slack),
            centre=here,
            range=around,
            slope=own(problem.slope),
            spread=own(problem.spread),
            low=own(problem.low),
            high=own(problem.high),
            bent=bent,
            knot=knot,
            left=own(problem.left),
            right=own(problem.right),
        )

    @property
    def most(self) -> torch.Tensor:
        """At least |w_j|."""
        return torch.maximum(-self.low, self.high)

    @property
    def reach(self) -> tuple[torch.Tensor, torch.Tensor]:
        """At most and at least dv_j, to nearest."""
        return self.range.lower - self.centre.upper, self.range.upper - self.centre.lower


@final
@dataclass(frozen=True, slots=True, eq=False)
class Functional:
    """g [n], h [U] and the slack of one functional."""

    rows: torch.Tensor
    inner: torch.Tensor
    slack: float


@final
@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """phi_j of all neurons, [U] each, and mu: guesses of any origin. sector: of a neuron that is not bent, how much of
    spread^2 v^2 - w^2 >= 0 phi_j is read with, not negative."""

    vv: torch.Tensor
    vw: torch.Tensor
    ww: torch.Tensor
    v: torch.Tensor
    w: torch.Tensor
    sector: torch.Tensor
    mu: float


@final
@dataclass(frozen=True, slots=True, eq=False)
class Forms:
    """What a search has found for one functional, to be tried on other balls of the same centre.

    places: [U], which neurons the forms are of, rising; slope: [U], those that w_j is what is left beside.
    """

    phi: Shape
    places: torch.Tensor
    slope: torch.Tensor

    def on(self, region: Region, places: torch.Tensor) -> Shape | None:
        """phi_j of a region's neurons as functions of their dv and w there; None where some neuron has none."""
        at = torch.searchsorted(self.places, places).clamp(max=max(0, len(self.places) - 1))
        if not len(self.places) or not bool((self.places[at] == places).all()):
            return None
        vv, vw, ww, v, w, sector = (x[at] for x in _columns(self.phi))
        # w there is w here less this much of dv
        turn = region.slope - self.slope[at]
        vv = vv + turn * (2.0 * vw + turn * ww)
        return Shape(vv, vw + turn * ww, ww, v + turn * w, w, sector, self.phi.mu)


def _columns(phi: Shape) -> tuple[torch.Tensor, ...]:
    return phi.vv, phi.vw, phi.ww, phi.v, phi.w, phi.sector


def numbered(joined: Neurons, problem: Reduced, row: int) -> torch.Tensor:
    """[U], rising: a number of each neuron of `Region.of(problem, row)`, the same in every ball."""
    size = joined.largest * 2**20
    parts = [place * size + which[row] for place, which in zip(joined.places, joined.which, strict=True)]
    whole = torch.cat(parts) if parts else torch.zeros(0, dtype=torch.int64)
    return whole[problem.held[row]]


def shown(
    problem: Reduced,
    asked: Asked,
    row: int,
    which: int,
    room: float,
    deadline: float,
    places: torch.Tensor | None = None,
    known: dict[int, Forms] | None = None,
) -> float:
    """How far functional `which` can fall in the region, rounded up; inf where nothing is proven.

    room: what would be enough; the search for multipliers ends there, or when it is clear that none reach it.
    places: as in `numbered`; known: by functional, what other balls of the centre were shown with, which is tried
    first and kept up to date.
    """
    if problem.ball.norm is not Norm.L2 or int(problem.held[row].sum()) > LARGEST or not 0.0 < room < math.inf:
        return math.inf
    region, held = Region.of(problem, row), problem.held[row]
    functional = Functional(asked.rows[row, which], asked.inner[row, which][held], float(asked.slack[row, which]))
    if known is not None and places is not None and which in known:
        phi = known[which].on(region, places)
        if phi is not None and (drop := certified(region, functional, phi)) < room:
            return drop
    data = program(region, functional, room)
    found = None if data is None else solve(data, -1.0 / ENOUGH, deadline)
    if found is None:
        return math.inf
    phi = shape(region, found, room)
    if known is not None and places is not None:
        known[which] = Forms(phi, places, region.slope)
    return math.inf if found.hopeless else certified(region, functional, phi)


def pairs(region: Region) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(a [F, 3, U], b [F, 3, U], free [F, U]), F = 2 or 3: products a b >= 0 (free: = 0) of forms over (1, dv, w), to
    nearest.

    Two half-lines: with p = max(v - knot, 0), q = max(knot - v, 0), both linear in (dv, w), their largest values P and
    Q: p (P - p), q (Q - q) and p q = 0; where all are such, of the first two only that of the far side of the knot: the
    other gains little and takes half of the time. Others: the ranges of w and dv, and (spread dv - w) (spread dv + w).
    """
    c = (region.centre.lower + region.centre.upper) / 2 - region.knot
    bend = torch.where(region.bent, region.right - region.left, 1.0)
    far = [
        torch.where(region.bent, x, 1.0) for x in (region.range.upper - region.knot, region.knot - region.range.lower)
    ]
    one, none = torch.ones_like(c), torch.zeros_like(c)
    p = torch.stack([c.clamp(min=0.0), (region.slope - region.left) / bend, one / bend]) / far[0]
    q = torch.stack([(-c).clamp(min=0.0), (region.slope - region.right) / bend, one / bend]) / far[1]
    whole = torch.stack([one, none, none])
    bent_left, bent_right = torch.stack([p, q, p]), torch.stack([whole - p, whole - q, q])
    down, above = region.reach
    high = (region.high - region.low).clamp_min(1e-290)
    wide = (above - down).clamp_min(1e-290)
    size = (region.spread * torch.maximum(-down, above)).clamp_min(1e-290)
    left = [
        (-region.low / high, none, one / high),
        (-down / wide, one / wide, none),
        (none, _SMALL * region.spread / size, -_SMALL * one / size),
    ]
    right = [
        (region.high / high, none, -one / high),
        (above / wide, -one / wide, none),
        (none, region.spread / size, one / size),
    ]
    straight_left, straight_right = (torch.stack([torch.stack(f) for f in forms]) for forms in (left, right))
    free = torch.stack([torch.zeros_like(region.bent), torch.zeros_like(region.bent), region.bent])
    found = torch.where(region.bent, bent_left, straight_left), torch.where(region.bent, bent_right, straight_right)
    if not bool(region.bent.all()):
        return *found, free
    left_near, right_near = (torch.where(c > 0, x[1], x[0]) for x in found)
    return torch.stack([left_near, found[0][2]]), torch.stack([right_near, found[1][2]]), free[1:]


def program(region: Region, functional: Functional, room: float) -> Program | None:
    """The relaxation in units of the ball, of |w| at most, and of the room; None where its rows are not numbers.

    d is seen in the space of C's rows and g: y = (C d, g d) = L t with L L' the rows' Gram matrix, |t| <= |d|.
    """
    u, n = region.rows.shape
    rows = torch.cat([region.rows, functional.rows[None]]) * region.radius
    if n > u + 1:
        gram = rows @ rows.mT
        jitter = 1e-13 * float(gram.diagonal().amax()) + 1e-290
        rows, info = torch.linalg.cholesky_ex(gram + jitter * torch.eye(u + 1, dtype=torch.float64))
        if int(info):
            return None
    k, most = rows.shape[1], region.most
    v = torch.cat([torch.zeros(u, 1, dtype=torch.float64), rows[:u], region.inner * most], 1)
    w = torch.cat([torch.zeros(u, 1 + k, dtype=torch.float64), torch.diag(most)], 1)
    one = torch.zeros(1, 1 + k + u, dtype=torch.float64)
    one[0, 0] = 1.0
    cost = torch.cat([torch.zeros(1, dtype=torch.float64), rows[u], functional.inner * most]) / room
    ball = torch.zeros(1 + k + u, dtype=torch.float64)
    ball[0], ball[1 : 1 + k] = 1.0, -1.0
    left, right, free = pairs(region)
    return Program(torch.cat([one, v, w]), left, right, free, cost, ball)


def shape(region: Region, found: Multipliers, room: float) -> Shape:
    """phi_j = - sum_i lambda_i a_i b_i, without its constant."""
    left, right, _ = pairs(region)
    own = -torch.einsum("fu,fau,fbu->abu", found.rates, left, right) * room
    own = (own + own.transpose(0, 1)) / 2
    size = (region.spread * torch.maximum(-region.reach[0], region.reach[1])).clamp_min(1e-290)
    sector = torch.where(region.bent, 0.0, (_SMALL * found.rates[-1] * room / size / size).clamp(min=0.0))
    mu = found.mu * room / region.radius**2 if region.radius > 0 else math.inf
    return Shape(own[1, 1], own[1, 2], own[2, 2], 2.0 * own[0, 1], 2.0 * own[0, 2], sector, mu)


def certified(region: Region, functional: Functional, phi: Shape) -> float:
    """How far the functional can fall over the region, rounded up, with these phi; inf where they prove nothing."""
    numbers = [phi.vv, phi.vw, phi.ww, phi.v, phi.w, phi.sector, region.rows, region.inner, region.range.lower]
    numbers += [region.range.upper, region.centre.lower, region.centre.upper, functional.rows, functional.inner]
    if not (all(bool((x.abs() < _HUGE).all()) for x in numbers) and bool((phi.sector >= 0).all())):
        return math.inf
    if not (0.0 <= phi.mu < _HUGE and region.radius < _HUGE and len(region.most)):
        return math.inf
    factor = _factor(region.rows)
    if factor is None:
        return math.inf
    point = _point(region, functional, phi)
    if point is None:
        return math.inf
    d, w = point
    if not bool((d.abs() < _HUGE).all() and (w.abs() < _HUGE).all()):
        return math.inf
    u, n = region.rows.shape
    v = region.rows @ d + region.inner @ w
    turn = 2.0 * (phi.vv * v + phi.vw * w) + phi.v
    value = functional.rows @ d + functional.inner @ w + phi.mu * (d @ d)
    value = value + (phi.vv * v * v + 2.0 * phi.vw * v * w + phi.ww * w * w + phi.v * v + phi.w * w).sum()
    slope_d = functional.rows + region.rows.mT @ turn + 2.0 * phi.mu * d
    slope_w = functional.inner + region.inner.mT @ turn + 2.0 * (phi.vw * v + phi.ww * w) + phi.w
    # the furthest from the point: |d - d0| and |w - w0|
    far_d = (region.radius + float(torch.linalg.vector_norm(d))) * _MORE
    far_w = (region.most + w.abs()) * _MORE
    fall = (float(torch.linalg.vector_norm(slope_d)) + 2.0**-500) * far_d + float((slope_w.abs() * far_w).sum())
    size, eta = _sizes(region, functional, phi, factor, far_d, far_w), _curvature(region, phi, factor, far_d, far_w)
    rounding = 8.0 * gamma(2 * n + 3 * u + 64) * size
    least = [-float(value), fall, rounding, eta, phi.mu * region.radius**2, suprema(region, phi), functional.slack]
    total = math.fsum(least)
    total = up(total + sum(abs(x) for x in least) * (32.0 * U) + _FLOOR)
    return max(total, 0.0) if math.isfinite(total) else math.inf


def _factor(rows: torch.Tensor) -> torch.Tensor | None:
    """L with L L' >= C C', proven, as few columns as rows; C itself where it has no more; None where it is not found.

    A symmetric E with |E_ij| <= e_ij is at least minus the diagonal matrix of the row sums of e.
    """
    u, n = rows.shape
    if n <= u:
        return rows
    gram, size = rows @ rows.mT, torch.linalg.vector_norm(rows, dim=1) * _MORE + 2.0**-400
    lost = (gamma(n + 8) + 2.0 * gamma(u + 16)) * size * size.sum() * _MORE
    raised = gram.diagonal() + 4.0 * lost + 1e-13 * gram.diagonal().amax()
    factor, info = torch.linalg.cholesky_ex(gram.diagonal_scatter(raised))
    if int(info) or not bool(factor.isfinite().all()):
        return None
    longest = torch.maximum(torch.linalg.vector_norm(factor, dim=1) * _MORE, size)
    lost = (gamma(n + 8) + 2.0 * gamma(u + 16)) * longest * longest.sum() * _MORE
    more = factor @ factor.mT - gram
    spare = more.diagonal() - (more.abs().sum(1) - more.diagonal().abs()) * _MORE - lost
    return factor if bool((spare >= 0).all()) else None


def _point(region: Region, functional: Functional, phi: Shape) -> tuple[torch.Tensor, torch.Tensor] | None:
    """About where Q is least, in plain float64: w, and then the d that goes with it."""
    u, n = region.rows.shape
    if n <= u:
        rows = region.rows
        cost = functional.rows
    else:  # d = C' s + what g has beside: y = L t
        joint = torch.cat([region.rows, functional.rows[None]])
        gram = joint @ joint.mT
        jitter = 1e-13 * float(gram.diagonal().amax()) + 1e-290
        lower, info = torch.linalg.cholesky_ex(gram + jitter * torch.eye(u + 1, dtype=torch.float64))
        if int(info):
            return None
        rows, cost = lower[:u], lower[u]
    k, size = rows.shape[1], torch.cat([torch.full((rows.shape[1],), max(region.radius, 1e-290)).double(), region.most])
    v = torch.cat([rows, region.inner], 1) * size
    w = torch.diag(region.most)
    h = v.mT @ (phi.vv[:, None] * v)
    side = v.mT @ (phi.vw[:, None] * w)
    h[:, k:] += side
    h[k:] += side.mT
    h[k:, k:] += torch.diag(phi.ww * region.most**2)
    h.diagonal()[:k] += phi.mu * region.radius**2
    b = v.mT @ phi.v + torch.cat([cost, functional.inner + phi.w]) * size
    lower, info = torch.linalg.cholesky_ex((h + h.mT) / 2)
    if int(info):
        return None
    z = -0.5 * torch.cholesky_solve(b[:, None], lower)[:, 0]
    turn = 2.0 * (phi.vv * (v @ z) + phi.vw * (size * z)[k:]) + phi.v
    d = (functional.rows + region.rows.mT @ turn) / (-2.0 * max(phi.mu, 1e-290)) if n > u else (size * z)[:k]
    found = d, (size * z)[k:]
    return found if all(bool(x.isfinite().all()) for x in found) else None


def _sizes(
    region: Region, functional: Functional, phi: Shape, factor: torch.Tensor, far_d: float, far_w: torch.Tensor
) -> float:
    """All terms of Q with absolute values, for |d| and |w| as far as the point and the region are apart: what the
    roundings of its value, of its slope times the way, and of the way's curvature are relative to, in gammas of their
    lengths: 1, 2 (a product's two halves) and 1."""
    longest = torch.maximum(torch.linalg.vector_norm(region.rows, dim=1), torch.linalg.vector_norm(factor, dim=1))
    v = (longest + 2.0**-500) * far_d + region.inner.abs() @ far_w
    terms = phi.vv.abs() * v * v + 2.0 * phi.vw.abs() * v * far_w + phi.ww.abs() * far_w * far_w
    terms = terms + phi.v.abs() * v + phi.w.abs() * far_w
    line = (float(torch.linalg.vector_norm(functional.rows)) + 2.0**-500) * far_d + float(
        (functional.inner.abs() * far_w).sum()
    )
    return (float(terms.sum()) + line + phi.mu * far_d * far_d) * _MORE


def _curvature(region: Region, phi: Shape, factor: torch.Tensor, far_d: float, far_w: torch.Tensor) -> float:
    """At least -(z - z0)' H (z - z0), the roundings of H's entries apart (they are in `_sizes`); inf where not proven.

    In units of the ball and of |w|: if a float matrix G is L L' - T with |T|_2 <= e, then G >= -e. G is H and a shift.
    """
    k, u = factor.shape[1], len(region.most)
    size = torch.cat([torch.full((k,), max(region.radius, 2.0**-400)).double(), region.most.clamp_min(2.0**-400)])
    v = torch.cat([factor, region.inner], 1) * size
    h = v.mT @ (phi.vv[:, None] * v)
    side = v.mT * (phi.vw[None] * size[None, k:])
    h[:, k:] += side
    h[k:] += side.mT
    h.diagonal()[k:] += phi.ww * size[k:] ** 2
    h.diagonal()[:k] += phi.mu * size[:k] ** 2
    h = (h + h.mT) / 2
    shift = 64.0 * gamma(k + u) * float(h.diagonal().abs().amax())
    shifted = h + shift * torch.eye(k + u, dtype=torch.float64)
    lower, info = torch.linalg.cholesky_ex(shifted)
    if int(info) or not bool(lower.isfinite().all()):
        return math.inf
    off = float(torch.linalg.vector_norm(lower @ lower.mT - shifted)) * _MORE
    off += gamma(k + u + 8) * float((lower * lower).sum()) * _MORE + 4.0 * U * float(shifted.diagonal().abs().sum())
    way = (far_d / float(size[0])) ** 2 + float(((far_w / size[k:]) ** 2).sum())
    return (shift + off) * way * _MORE


def suprema(region: Region, phi: Shape) -> float:
    """At least the sum of sup phi_j(dv_j - e_j, w_j) over all that the neurons can do, |e_j| <= slack_j."""
    most = torch.where(region.bent, _bent(region, phi), _straight(region, phi))
    return up(float(most.sum()) + up(gamma(len(most) + 8) * float(most.abs().sum())) + _FLOOR)


def _bent(region: Region, phi: Shape) -> torch.Tensor:
    """Two half-lines: with x = v - knot and c the centre's, dv = x - c, w = (s - k) x + k c - f(c), s its slope."""
    ends = tensor_down(region.range.lower - region.knot), tensor_up(region.range.upper - region.knot)
    c = (region.centre.lower + region.centre.upper) / 2 - region.knot
    steep = torch.maximum(region.left.abs(), region.right.abs()) + region.slope.abs()
    start = (region.slope - torch.where(c < 0, region.left, region.right)) * c
    far = torch.maximum(ends[0].abs(), ends[1].abs())
    away = region.centre.upper - region.centre.lower
    away = away + (4.0 * U) * (region.centre.lower.abs() + region.centre.upper.abs() + region.knot.abs())
    off_v, off_w = region.slack + away * _MORE, steep * (away + (4.0 * U) * (c.abs() + far)) * _MORE
    v, w, found = far + c.abs(), steep * far + start.abs(), []
    for side, low, high in (
        (region.left, ends[0], ends[1].clamp(max=0.0)),
        (region.right, ends[0].clamp(min=0.0), ends[1]),
    ):
        s = side - region.slope
        square = phi.vv + 2.0 * phi.vw * s + phi.ww * s * s
        line = phi.v + phi.w * s - 2.0 * phi.vv * c + 2.0 * phi.vw * (start - s * c) + 2.0 * phi.ww * s * start
        found.append(_highest(square, line, low, high))
    constant = phi.vv * c * c - 2.0 * phi.vw * c * start + phi.ww * start * start - phi.v * c + phi.w * start
    return torch.maximum(*found) + constant + _room(phi, v, w, off_v, off_w)


def _straight(region: Region, phi: Shape) -> torch.Tensor:
    """Anything else: t w^2 <= t spread^2 dv^2 for t >= 0, and then dv and w apart, each in its range."""
    low, high = tensor_down(region.reach[0]), tensor_up(region.reach[1])
    v, w = torch.maximum(low.abs(), high.abs()), region.most
    traded = phi.sector * region.spread * region.spread
    by_v = _highest(phi.vv + traded, phi.v, low, high)
    by_w = _highest(phi.ww - phi.sector, phi.w, region.low, region.high)
    more = 2.0 * phi.vw.abs() * v * w + (traded * v * v + phi.sector * w * w) * _ROUNDED
    return by_v + by_w + more * _MORE + _room(phi, v, w, region.slack, torch.zeros_like(w))


def _highest(square: torch.Tensor, line: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """square x^2 + line x for x in [low, high], at most, the roundings apart: at the ends where it is convex, by the
    tangent at its top where it is concave."""
    ends = torch.maximum((square * low + line) * low, (square * high + line) * high)
    top = torch.minimum(torch.maximum(-0.5 * line / square.clamp(max=-1e-290), low), high)
    slope = 2.0 * square * top + line
    tangent = (square * top + line) * top + torch.maximum(slope * (low - top), slope * (high - top))
    return torch.where(square < 0, tangent, ends)


def _room(phi: Shape, v: torch.Tensor, w: torch.Tensor, off_v: torch.Tensor, off_w: torch.Tensor) -> torch.Tensor:
    """What phi may rise by where dv and w, at most v and w, are off by so much; and its roundings, some dozen of its
    terms' absolute values each."""
    terms = phi.vv.abs() * v * v + 2.0 * phi.vw.abs() * v * w + phi.ww.abs() * w * w + phi.v.abs() * v + phi.w.abs() * w
    by_v = off_v * (2.0 * phi.vv.abs() * (v + off_v) + 2.0 * phi.vw.abs() * (w + off_w) + phi.v.abs())
    by_w = off_w * (2.0 * phi.vw.abs() * v + phi.ww.abs() * (2.0 * w + off_w) + phi.w.abs())
    return (by_v + by_w) * _MORE + terms * _ROUNDED + _FLOOR
