"""Certified ellipsoids over balls, for many balls at once: what their neurons can do to a sphere.

The undecided neurons of a batch of regions, block after block in the order of the graph, and the rows asked for, are

    z = C d(x) + D w,    w_j = (s_j - k_j) v_j,   |s_j - k_j| <= spread_j,

with v the neurons' own inputs, which are the first entries of z, and D strictly lower triangular by block. Y with
J J' <= Y for z = J d(x) and every choice of slopes starts as C C' without the w, and takes in the w of one block v at a
time:

    Y_rr + Y_rv (Theta - Y_vv)^-1 Y_vr + D_rv spread Theta spread D_rv'     for any diagonal Theta > Y_vv.

Proof: for a vector p on the rest, with q = D_rv' p and S the diagonal matrix of |S_jj| <= 1,

    |J_r' p + J_v' spread S q|^2 <= p'(Y_rr + Y_rv G^-1 Y_vr) p + q' spread Theta spread q,   G = Theta - Y_vv:

since with h = spread S q the left side is

    p'J_r J_r'p + 2 p'J_r J_v'h + h'J_v J_v'h <= p'Y_rr p + 2 p'Y_rv h - h'G h + h'Theta h,

2 p'Y_rv h - h'G h <= p'Y_rv G^-1 Y_vr p, and h'Theta h <= q' spread Theta spread q as all three are diagonal. This is
the S-procedure of LipSDP-Neuron (Fazlyab et al. 2019, arXiv:1906.04893) with one block eliminated; the centre of the
slopes is in C and D already. Theta is a guess. The inverse is never trusted: for any T with |T G T' - I|_F <= e < 1,
G^-1 <= T'T / (1 - e). A symmetric E with |E_ij| <= e_ij is at most the diagonal matrix of the row sums of e (diagonal
dominance): so every rounding goes to the diagonal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

import torch

from lipaudit.numerics.rounding import TINY, U, gamma, tensor_down, tensor_up

FLOOR = 2.0**-900
_YOUNG = 2.0**-34
_MORE = 1.0 + 2.0**-30
"""More than sums and norms of some thousand terms are understated by."""


ENTRIES = 2**21
"""Of the matrices of a part of a batch."""

SLACKS = (0.5, 0.15, 2.0)
"""Of the closed forms that are tried."""

RATE = 0.3
"""The first step of the descent, in the logarithm of the multipliers."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Some rows of z for B regions: neurons of one node (spread [B, U], 0 where padded), or the rows asked for (None).

    rows: C, [B, U, n]; error: [B, U], l2; inner: D by the number of an earlier block, [B, U, its neurons];
    inner_error: [B, U] each, l2.
    """

    rows: torch.Tensor
    error: torch.Tensor
    inner: dict[int, torch.Tensor]
    inner_error: dict[int, torch.Tensor]
    spread: torch.Tensor | None = None


@final
@dataclass(frozen=True, slots=True, eq=False)
class Form:
    """z of all blocks: start, Y of C alone, certified, [B, S, S]; inner: per neuron block, D of all later rows."""

    start: torch.Tensor
    inner: tuple[torch.Tensor, ...]
    inner_error: tuple[torch.Tensor, ...]
    spread: tuple[torch.Tensor, ...]

    def rows(self, part: slice) -> Form:
        """Some of the regions."""
        inner, errors, spread = (tuple(x[part] for x in xs) for xs in (self.inner, self.inner_error, self.spread))
        return Form(self.start[part], inner, errors, spread)

    def parts(self) -> Iterator[Form]:
        """The regions some at a time, so that what an optimiser keeps of them stays within some hundred megabytes."""
        step = max(1, ENTRIES // max(1, self.start.shape[1] ** 2))
        for start in range(0, len(self.start), step):
            yield self.rows(slice(start, start + step))

    @property
    def asked(self) -> int:
        """How many rows are asked for."""
        return self.start.shape[1] - sum(s.shape[1] for s in self.spread)


def form(blocks: Sequence[Block], deviation: bool = False) -> Form:
    """The blocks as one: neurons first, in order, then one block of rows asked for.

    deviation: of the rows asked for only what the neurons' deviations add, without C.
    """
    *neurons, asked = blocks
    rows = [b.rows for b in neurons] + [torch.zeros_like(asked.rows) if deviation else asked.rows]
    error = [b.error for b in neurons] + [torch.zeros_like(asked.error) if deviation else asked.error]
    c, e = torch.cat(rows, 1), torch.cat(error, 1)
    size = torch.linalg.vector_norm(c, dim=2) * _MORE + 2.0**-500
    own = gamma(c.shape[2] + 8) * size * size.sum(1, keepdim=True)
    room = e * size.sum(1, keepdim=True) + (size + e) * e.sum(1, keepdim=True) + own
    start = _raised(c @ c.mT, room * _MORE)
    inner, inner_error = [], []
    for number, block in enumerate(neurons):
        later = [*neurons[number + 1 :], asked]
        width = block.rows.shape[1]
        inner.append(torch.cat([b.inner.get(number, _none(b, width)) for b in later], 1))
        inner_error.append(torch.cat([b.inner_error.get(number, torch.zeros_like(b.error)) for b in later], 1))
    spread = tuple(b.spread for b in neurons if b.spread is not None)
    return Form(start, tuple(inner), tuple(inner_error), spread)


def _none(block: Block, width: int) -> torch.Tensor:
    return block.rows.new_zeros(*block.rows.shape[:2], width)


def _raised(matrix: torch.Tensor, room: torch.Tensor) -> torch.Tensor:
    """Symmetric, with the room [B, S] added to the diagonal, rounded up."""
    result = (matrix + matrix.mT) / 2
    diagonal = tensor_up(result.diagonal(dim1=1, dim2=2) + tensor_up(room + FLOOR))
    return result.diagonal_scatter(diagonal, dim1=1, dim2=2)


def certified(of: Form, theta: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """(Y of the rows asked for [B, Q, Q], proven [B]) with these multipliers, one [B, U] a block, of any origin."""
    y = of.start
    proven = torch.ones(len(y), dtype=torch.bool)
    for t, inner, error, spread in zip(theta, of.inner, of.inner_error, of.spread, strict=True):
        y, fine = _taken(y, t, inner, error, spread)
        proven &= fine
    proven &= y.diagonal(dim1=1, dim2=2).isfinite().all(1)
    return y, proven


def _taken(
    y: torch.Tensor, theta: torch.Tensor, inner: torch.Tensor, error: torch.Tensor, spread: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """One block's w taken in: the first entries of y leave it. (y of the rest, proven)."""
    u = theta.shape[1]
    theta = torch.where(spread > 0, theta, 1.0)  # a padded neuron has a zero row and stays out of the others' way
    root = y.diagonal(dim1=1, dim2=2).clamp(min=0.0).sqrt() * (1.0 + 4.0 * U)
    below, scale, fine = _inverse_root(y[:, :u, :u], theta)
    x = below @ y[:, :u, u:]
    # |T Y_vr| <= (|T| root_v) root_r'
    reach = torch.linalg.vector_norm((below.abs() @ root[:, :u, None]).squeeze(2), dim=1)
    off = (gamma(u + 6) * _MORE) * reach[:, None] * root[:, u:] + 2.0**-500
    stretch = spread * theta.clamp(min=0.0).sqrt()
    bent = inner * stretch[:, None]
    reached = torch.linalg.vector_norm(bent, dim=2) * _MORE + 2.0**-500
    slip = error * stretch.amax(1, keepdim=True) * _MORE if u else torch.zeros_like(error)
    columns = torch.linalg.vector_norm(x, dim=1) * (scale[:, None] * (1.0 + _YOUNG)).sqrt()
    result = y[:, u:, u:] + (scale * (1.0 + _YOUNG))[:, None, None] * (x.mT @ x) + bent @ bent.mT
    size = columns * _MORE + reached + root[:, u:]
    room = 2.0 * gamma(2 * u + 24) * size * size.sum(1, keepdim=True)
    room = room + (scale * (1.0 + 1.0 / _YOUNG))[:, None] * off * off.sum(1, keepdim=True)
    room = room + slip * reached.sum(1, keepdim=True) + (reached + slip) * slip.sum(1, keepdim=True)
    return _raised(result, room * _MORE), fine


def _inverse_root(y: torch.Tensor, theta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(T, k, proven): where proven, G = diag(theta) - y > 0 and G^-1 <= k T'T."""
    m = y.shape[1]
    pivot = tensor_down(theta - y.diagonal(dim1=1, dim2=2))
    usable = ((pivot > 2.0**-800) & pivot.isfinite()).all(1) & y.isfinite().flatten(1).all(1)
    g = torch.where(usable[:, None, None], (-y).diagonal_scatter(pivot, dim1=1, dim2=2), torch.eye(m).double())
    lower, info = torch.linalg.cholesky_ex(g)
    usable = usable & (info == 0)
    lower = torch.where(usable[:, None, None], lower, torch.eye(m).double())
    g = torch.where(usable[:, None, None], g, torch.eye(m).double())
    t = torch.linalg.solve_triangular(lower, torch.eye(m).double().expand_as(lower), upper=False)
    residual = (t @ g) @ t.mT - torch.eye(m).double()
    roots = g.diagonal(dim1=1, dim2=2).sqrt()
    most = (g / roots[:, None] / roots[:, :, None]).abs().flatten(1).amax(1) * _MORE if m else torch.zeros(len(y))
    reach = torch.linalg.vector_norm((t.abs() @ roots[:, :, None]).squeeze(2), dim=1) * _MORE + 2.0**-500
    found = torch.linalg.vector_norm(residual.flatten(1), dim=1) * _MORE + 2.0**-500
    above = t.abs().flatten(1).amax(1) if m else torch.zeros(len(y))
    error = found + gamma(2 * m + 6) * most * reach * reach + 4.0 * U * m + 8.0 * m**3 * TINY * (1.0 + above)
    error = error * _MORE
    usable = usable & (error < 0.5) & (above < 2.0**300)
    return t, torch.where(usable, 1.0 / (1.0 - error.clamp(max=0.5)) * (1.0 + 8.0 * U), 1.0), usable


def guessed(of: Form, theta: Sequence[torch.Tensor]) -> torch.Tensor:
    """The same in plain float64, differentiable in theta; NaN where a Cholesky factor does not exist."""
    y = of.start
    for t, inner, spread in zip(theta, of.inner, of.spread, strict=True):
        u = t.shape[1]
        t = torch.where(spread > 0, t, 1.0)
        factor, info = torch.linalg.cholesky_ex(torch.diag_embed(t) - y[:, :u, :u])
        half = torch.linalg.solve_triangular(factor, y[:, :u, u:], upper=False)
        bent = inner * (spread * t.sqrt())[:, None]
        y = y[:, u:, u:] + half.mT @ half + bent @ bent.mT
        y = torch.where((info == 0)[:, None, None], y, torch.nan)
    return y


Target = Callable[[torch.Tensor], torch.Tensor]
"""What is to be small: of Y [B, Q, Q], one number [B] a region."""


def improved(of: Form, target: Target, steps: int) -> list[torch.Tensor]:
    """Multipliers for which the target is small in plain float64: the best of some closed forms, then steps of Adam."""
    best: list[torch.Tensor] = []
    value = torch.full((len(of.start),), torch.inf, dtype=torch.float64)
    for slack in SLACKS:
        guess = jacobi(of, slack)
        found = torch.nan_to_num(target(guessed(of, guess)), nan=torch.inf)
        better = found < value
        best = [torch.where(better[:, None], g, b) for g, b in zip(guess, best or guess, strict=True)]
        value = torch.minimum(value, found)
    if not any(spread.shape[1] for spread in of.spread):
        return best
    logs = [t.clamp_min(1e-290).log().requires_grad_() for t in best]
    first, second = [torch.zeros_like(t) for t in logs], [torch.zeros_like(t) for t in logs]
    for step in range(1, steps + 1):
        with torch.enable_grad():
            found = target(guessed(of, [t.exp() for t in logs]))
            fine = found.isfinite() & (found > 0)
            total = torch.where(fine, found.clamp_min(1e-290).log(), 0.0).sum()
            slopes = torch.autograd.grad(total, logs, allow_unused=True)
        found = torch.where(fine, found.detach(), torch.inf)
        better = (found < value)[:, None]
        best = [torch.where(better, t.detach().exp(), b) for t, b in zip(logs, best, strict=True)]
        value = torch.minimum(value, found)
        rate = RATE * (1.0 - 0.9 * step / steps)
        for place, (t, slope) in enumerate(zip(logs, slopes, strict=True)):
            g = torch.nan_to_num(torch.zeros_like(t) if slope is None else slope, nan=0.0, posinf=0.0, neginf=0.0)
            first[place] = 0.8 * first[place] + 0.2 * g
            second[place] = 0.95 * second[place] + 0.05 * g * g
            move = first[place] / (1 - 0.8**step) / ((second[place] / (1 - 0.95**step)).sqrt() + 1e-12)
            after = torch.where(fine[:, None], t.detach() - rate * move, best[place].clamp_min(1e-290).log())
            logs[place] = after.requires_grad_()
    return best


def jacobi(of: Form, slack: float) -> list[torch.Tensor]:
    """Theta = (1 + slack) lambda_max(D^-1/2 Y_vv D^-1/2) D with D = diag(Y_vv), block after block: a first guess."""
    y, found = of.start, []
    for inner, spread in zip(of.inner, of.spread, strict=True):
        u = spread.shape[1]
        block = y[:, :u, :u]
        d = torch.where(spread > 0, block.diagonal(dim1=1, dim2=2).clamp(min=0.0), 1.0)
        d = d + (1e-9 * d.amax(1, keepdim=True)).clamp(min=2.0**-200) if u else d
        root = d.sqrt()
        top = _top(block / root[:, None] / root[:, :, None])
        theta = torch.where(spread > 0, (1.0 + slack) * top[:, None] * d, 1.0)
        found.append(theta)
        factor, _ = torch.linalg.cholesky_ex(torch.diag_embed(theta) - block)
        half = torch.linalg.solve_triangular(factor, y[:, :u, u:], upper=False)
        bent = inner * (spread * theta.sqrt())[:, None]
        y = y[:, u:, u:] + half.mT @ half + bent @ bent.mT
    return found


def _top(y: torch.Tensor) -> torch.Tensor:
    """About the largest eigenvalue of positive semidefinite matrices [B, u, u], rather above it."""
    if y.shape[1] <= 32:
        values: torch.Tensor = torch.linalg.eigvalsh(y)[:, -1] if y.shape[1] else y.new_zeros(len(y))
        return values.clamp(min=2.0**-200)
    x: torch.Tensor = (torch.arange(1.0, y.shape[1] + 1.0, dtype=torch.float64).cos() + 1.0).expand(len(y), -1)
    for _ in range(30):
        x = (y @ (x / torch.linalg.vector_norm(x, dim=1, keepdim=True).clamp_min(1e-200)).unsqueeze(2)).squeeze(2)
    top: torch.Tensor = torch.linalg.vector_norm(x, dim=1)
    return (1.05 * top).clamp(min=2.0**-200)
