"""Lower bounds of functionals over regions, by lines around every undecided neuron: linear relaxation, optimised.

For the reduced problem (`reduced`) and *any* multipliers mu of its rows,

    F - F(c) = g d + h w + e >= -sup(-(g + mu C) d) + sum_j min(lambda_j w_j - mu_j dv_j) - |mu| slack - slack_F,

with lambda = h + mu D, the minima over what each neuron can be by itself: add mu_j (C_j d + D_j w + e_j - dv_j) = 0 to
F, row by row. This is the dual of the linear relaxation (Wong and Kolter 2018, arXiv:1711.00851; Salman et al. 2019,
arXiv:1902.08722). CROWN (Zhang et al. 2018, arXiv:1811.00866) is the choice mu_j = lambda_j (a_j - k_j), from the last
neuron to the first: a_j is the slope of the neuron's lower line where lambda_j is positive, of its upper line where it
is negative. alpha-CROWN (Xu et al. 2021, arXiv:2011.13824) moves the slopes for every row asked for. beta-CROWN (Wang
et al. 2021, arXiv:2103.06624) holds neurons to one side of their knot, with multipliers of that: here the range ends at
the knot, and mu_j = lambda_j (a_j - k_j) - beta_j. Slopes and multipliers are guesses, in plain float64; `certified`
proves whatever comes of them, once, rounded outward.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch

from lipaudit.numerics.rounding import U, gamma, tensor_down
from lipaudit.ranges.reduced import Asked, Reduced

ENTRIES = 2**23
"""Numbers of one kind that are held at once, for some of the rows asked for."""

EVERY = 2
"""The optimiser looks at one in so many of the points that smooth neurons are read from, both ends included."""

RATE = 0.3
"""The first step of the ascent, in shares of the slopes' range."""

_MORE = 1.0 + 2.0**-30
"""More than sums and norms of some thousand terms are understated by."""

_LOST = 2.0**-500
"""More than all products lose by underflow."""


def below(problem: Reduced, asked: Asked, steps: int, signs: torch.Tensor | None = None) -> torch.Tensor:
    """[B, R], rounded down: at most F - F(c) over each region, for the functionals asked for; -inf where unproven.

    steps: of the ascent in the slopes; 0 for the best of some closed forms. signs [B, U]: 1 or -1 where a bent neuron
    is held to v >= knot or v <= knot, 0 elsewhere: the bound is then of the part of the region where all hold.
    """
    width = max(len(p.points) if p is not None else 3 for p in (*problem.smooth, None))
    count, size = asked.rows.shape[:2][1], max(1, sum(problem.sizes) * width, problem.rows.shape[2])
    step = max(1, ENTRIES // (size * max(1, len(problem.ball))))
    corners = Corners.of(problem, signs)
    found = [torch.zeros(len(problem.ball), 0, dtype=torch.float64)]
    for start in range(0, count, step):
        part = slice(start, start + step)
        own = Asked(asked.rows[:, part], asked.inner[:, part], asked.slack[:, part])
        found.append(certified(problem, own, guessed(problem, own, corners, steps), signs))
    return torch.cat(found, 1)


def widths(problem: Reduced, asked: Asked, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(below, above) [B, R], rounded up, with -below <= F - F(c) <= above over each region."""
    rows, inner = (torch.cat([x, -x], 1) for x in (asked.rows, asked.inner))
    both = Asked(rows, inner, torch.cat([asked.slack, asked.slack], 1))
    under, over = below(problem, both, steps).chunk(2, 1)
    return -under, -over


def certified(
    problem: Reduced, asked: Asked, multipliers: torch.Tensor, signs: torch.Tensor | None = None
) -> torch.Tensor:
    """[B, R], rounded down: what multipliers mu [B, R, U] of any origin prove; -inf where nothing.

    lambda and g + mu C are products of floats, each within gamma of its absolute values; the errors of lambda meet
    |w| <= most, those of g + mu C, bounded in l2, meet |d|_2.
    """
    mu = torch.nan_to_num(multipliers, nan=0.0, posinf=0.0, neginf=0.0)
    most, reach = torch.maximum(-problem.low, problem.high), problem.reach.unsqueeze(1)
    small = gamma(mu.shape[2] + 8)
    lengths = torch.linalg.vector_norm(problem.rows, dim=2)
    read = (problem.inner.abs() @ most.unsqueeze(2)).squeeze(2)
    rows = torch.linalg.vector_norm(asked.rows, dim=2)
    rows = (rows + (mu.abs() @ lengths.unsqueeze(2)).squeeze(2)) * (small * _MORE) + _LOST
    inner = (asked.inner.abs() @ most.unsqueeze(2) + mu.abs() @ read.unsqueeze(2)).squeeze(2) * (small * _MORE)
    slack = asked.slack + (mu.abs() @ problem.slack.unsqueeze(2)).squeeze(2)
    slip = rows * problem.ball.reach()[:, None] + inner + slack
    lam, g = asked.inner + mu @ problem.inner, asked.rows + mu @ problem.rows
    k = problem.slope.unsqueeze(1)
    usable = lam.abs() > 2.0**-300 * (1.0 + mu.abs())
    slope = torch.where(usable, k + mu / torch.where(usable, lam, 1.0), k)
    low, high = problem.remainders(slope, signs)
    own = _least(lam, low, high)
    # lambda (a - k) is mu but for roundings
    rest = (lam * (slope - k) - mu).abs() + 4.0 * U * (lam.abs() * (slope.abs() + k.abs()) + mu.abs())
    slip = (
        slip + (rest * reach).sum(2) + own.abs().sum(2) * gamma(own.shape[2] + 4) + _LOST * (1.0 + most.sum(1)[:, None])
    )
    least = own.sum(2) - problem.ball.widths(g, problem.box)[0]
    total = tensor_down(least - slip * _MORE - 4.0 * U * least.abs())
    return torch.nan_to_num(total, nan=-torch.inf)


def _least(lam: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """The least of lambda w for low <= w <= high, to nearest."""
    return torch.where(lam >= 0, lam * low, lam * high)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Corners:
    """What each neuron can be, as points (dv, w) whose hull is about all of it, and lines around that.

    rise, bend: [B, U, P], dv and w to nearest, dv not falling. lower, upper: the ranges [2, B, U] of tilts a - k that
    lines below and above are taken from; starts: such tilts to begin with;
    signs: as in `below`.
    """

    rise: torch.Tensor
    bend: torch.Tensor
    lower: torch.Tensor
    upper: torch.Tensor
    starts: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    signs: torch.Tensor | None

    @staticmethod
    def of(problem: Reduced, signs: torch.Tensor | None = None) -> Corners:
        within = problem.range if signs is None else problem.cut(signs)
        middle = (problem.centre.lower + problem.centre.upper) / 2
        knot = problem.knot.maximum(within.lower).minimum(within.upper)
        points = torch.stack([within.lower, knot, within.upper])

        def bent(x: torch.Tensor) -> torch.Tensor:
            return torch.where(x < problem.knot, problem.left, problem.right) * (x - problem.knot)

        rise = points - middle
        bend = bent(points) - bent(middle) - problem.slope * rise
        flat = torch.zeros_like(rise)
        rise, bend = (torch.where(problem.bent, x, flat) for x in (rise, bend))
        # a maximum's neurons are any w in [low, high], whatever dv is
        other = torch.stack([problem.low, torch.zeros_like(problem.low), problem.high])
        bend = torch.where(problem.bent, bend, other)
        most = max(len(p.points[::EVERY]) if p is not None else 3 for p in (*problem.smooth, None))
        rise, bend = (torch.cat([x, x[-1:].expand(most - 3, -1, -1)]) for x in (rise, bend))
        for columns, pieces in zip(problem.columns, problem.smooth, strict=True):
            if pieces is not None:
                here, k = middle[:, columns], problem.slope[:, columns]
                value, start = ((b.lower + b.upper) / 2 for b in (pieces.values, pieces.own))
                step = pieces.points - here
                for x, every in ((rise, step), (bend, value - start - k * step)):
                    own = every[::EVERY]
                    x[..., columns] = torch.cat([own, own[-1:].expand(most - len(own), -1, -1)])
        rise, bend = (torch.where(problem.held, x, 0.0).movedim(0, -1).contiguous() for x in (rise, bend))
        return Corners._lines(problem, rise, bend, signs)

    @staticmethod
    def _lines(problem: Reduced, rise: torch.Tensor, bend: torch.Tensor, signs: torch.Tensor | None) -> Corners:
        chord = _slope(bend[..., -1] - bend[..., 0], rise[..., -1] - rise[..., 0])
        width = rise.diff(dim=-1)
        secants = torch.where(width > 0, _slope(bend.diff(dim=-1), width), chord.unsqueeze(-1))
        around = torch.stack([secants.amin(-1), secants.amax(-1)])
        convex = problem.right > problem.left
        lower = torch.where(problem.bent & ~convex, chord, around)
        upper = torch.where(problem.bent & convex, chord, around)
        at = [(rise[..., 0] + rise[..., -1]) / 2, torch.zeros_like(chord).clamp(rise[..., 0], rise[..., -1])]
        starts = [(_support(rise, bend, x), -_support(rise, -bend, x)) for x in at]
        starts.append((torch.zeros_like(chord), torch.zeros_like(chord)))
        return Corners(rise, bend, lower, upper, tuple(starts), signs)


def _slope(rise: torch.Tensor, run: torch.Tensor) -> torch.Tensor:
    return torch.where(run > 0, rise / torch.where(run > 0, run, 1.0), 0.0)


def _support(rise: torch.Tensor, bend: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """The slope of the points' lower hull at `at` [B, U]: of the lowest chord over it. 0 where there is none."""
    v, w = rise.unsqueeze(-1), bend.unsqueeze(-1)
    other, here = rise.unsqueeze(-2), at[..., None, None]
    slope = _slope(bend.unsqueeze(-2) - w, other - v)
    over = (v <= here) & (here <= other) & (v < other)
    value = torch.where(over, w + slope * (here - v), torch.inf).flatten(-2)
    least, which = value.min(-1, keepdim=True)
    return torch.where(least < torch.inf, slope.flatten(-2).gather(-1, which), 0.0).squeeze(-1)


def guessed(problem: Reduced, asked: Asked, corners: Corners, steps: int) -> torch.Tensor:
    """Multipliers [B, R, U] for which the bound is large in plain float64: the best start, then steps of Adam."""
    shape = asked.inner.shape
    best, value = torch.zeros(shape, dtype=torch.float64), torch.full(shape[:2], -torch.inf, dtype=torch.float64)
    tilts = [torch.zeros(shape, dtype=torch.float64) for _ in range(2)]
    for start in corners.starts:
        own = [t.unsqueeze(1).expand(shape) for t in start]
        found, mu = _dual(problem, asked, corners, own[0], own[1])
        better = (found > value).unsqueeze(2)
        best, value = torch.where(better, mu, best), torch.maximum(value, found)
        tilts = [torch.where(better, t, before) for t, before in zip(own, tilts, strict=True)]
    if not steps or not shape[2]:
        return best
    ends = [x.unsqueeze(2) for x in (corners.lower, corners.upper)]
    span = [x[1] - x[0] for x in ends]
    shares = [_slope(t - x[0], s.expand(shape)).clamp(0.0, 1.0) for t, x, s in zip(tilts, ends, span, strict=True)]
    most, pull = [1.0, 1.0], None
    if corners.signs is not None:  # beta, in units of what the other multipliers are
        pull = corners.signs.unsqueeze(1) * best.abs().mean(2, keepdim=True)
        shares.append(torch.zeros(shape, dtype=torch.float64))
        most.append(torch.inf)
    first, second = ([torch.zeros_like(s) for s in shares] for _ in range(2))
    for step in range(1, steps + 1):
        with torch.enable_grad():
            leaves = [s.detach().requires_grad_() for s in shares]
            own = [x[0] + s * leaf for x, s, leaf in zip(ends, span, leaves[:2], strict=True)]
            beta = None if pull is None else pull * leaves[2]
            found, mu = _dual(problem, asked, corners, own[0], own[1], beta)
            slopes = torch.autograd.grad(found.sum(), leaves)
        better = (found.detach() > value).unsqueeze(2)
        best, value = torch.where(better, mu.detach(), best), torch.maximum(value, found.detach())
        rate = RATE * (1.0 - 0.9 * step / steps)
        for i, slope in enumerate(slopes):
            g = torch.nan_to_num(slope, nan=0.0, posinf=0.0, neginf=0.0)
            first[i] = 0.8 * first[i] + 0.2 * g
            second[i] = 0.95 * second[i] + 0.05 * g * g
            move = first[i] / (1 - 0.8**step) / ((second[i] / (1 - 0.95**step)).sqrt() + 1e-200)
            shares[i] = (leaves[i].detach() + rate * move).clamp(0.0, most[i])
    return best


def _dual(
    problem: Reduced,
    asked: Asked,
    corners: Corners,
    lower: torch.Tensor,
    upper: torch.Tensor,
    beta: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(bound [B, R], mu [B, R, U]) in plain float64 of lines with these tilts [B, R, U], last node first."""
    total, after = torch.zeros(asked.slack.shape, dtype=torch.float64), asked.inner[..., :0]
    for columns in reversed(problem.columns):
        later = problem.inner[:, columns.stop :, columns]
        lam = asked.inner[..., columns] + after @ later
        mu = lam * torch.where(lam >= 0, lower[..., columns], upper[..., columns])
        if beta is not None:
            mu = mu - beta[..., columns]
        own = lam.unsqueeze(-1) * corners.bend[:, None, columns] - mu.unsqueeze(-1) * corners.rise[:, None, columns]
        total = total + own.amin(-1).sum(2)
        after = torch.cat([mu, after], 2)
    g = asked.rows + after @ problem.rows
    # the gradient of a support function is its point (Danskin)
    return total + (g * problem.ball.lowest(g.detach(), problem.box)).sum(2), after
