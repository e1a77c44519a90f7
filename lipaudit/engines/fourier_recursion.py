"""The recursion in plain float64, differentiable, and multipliers in closed form.

Nothing here is proven: `fourier_verify` does not believe any of it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch
from torch.utils.checkpoint import checkpoint

from lipaudit.engines.fourier_program import Bend, Gain, Linear, Program
from lipaudit.engines.fourier_symbols import folded, half, symbol

Guess = dict[int, torch.Tensor]
"""Theta by the place of its step: a vector for a slope step, a number for each group of a gain step."""

Choice = Callable[[int, torch.Tensor], torch.Tensor]
"""(place of the step, Y_vv at all frequencies [F, n, n]) -> Theta."""


class Late(Exception):
    """The deadline came in the middle of a recursion."""


class Symbols:
    """The symbols of a program's linear steps: made once where they fit into the memory given, else every time.

    deadline: in time.monotonic() seconds; a recursion that is not done by then raises Late.
    """

    def __init__(self, program: Program, most: int, deadline: float = math.inf) -> None:
        self.program, self.lattices, self.deadline = program, program.lattices(), deadline
        self._room, self._known = most, dict[int, torch.Tensor]()

    def at(self, place: int) -> torch.Tensor:
        if place in self._known:
            return self._known[place]
        step = self.program.steps[place]
        assert isinstance(step, Linear)
        made = symbol(step, self.lattices[place])
        size = made.numel() * made.element_size()
        if size <= self._room:
            self._room -= size
            self._known[place] = made
        return made


def recursion(
    symbols: Symbols, choose: Choice, seen: list[torch.Tensor] | None = None, *, saving: bool = False
) -> torch.Tensor:
    """Y of the output at all frequencies [F, n, n]. Raises LinAlgError where Theta <= Y_vv somewhere, Late.

    seen: takes, for every inverse, how near to singular it was: mean log(Theta_i) - log det(Theta - Y_vv) / n >= 0.
    saving: keep no intermediate matrices for the derivative, but compute them again.
    """
    program = symbols.program
    y = _identity(len(half(program.cells)), program.channels, bool(program.cells))
    for place, step in enumerate(program.steps):
        if time.monotonic() > symbols.deadline:
            raise Late
        match step:
            case Linear():

                def run_linear(y: torch.Tensor, place: int = place, step: Linear = step) -> torch.Tensor:
                    return linear(symbols.at(place), y, step, symbols.lattices[place])

                y = checkpoint(run_linear, y, use_reentrant=False) if saving else run_linear(y)
            case Bend():
                theta = choose(place, _block(y, step.source, step.source))

                def run_bend(
                    y: torch.Tensor, theta: torch.Tensor, step: Bend = step
                ) -> tuple[torch.Tensor, torch.Tensor]:
                    return bent(y, theta, step)

                y, near = checkpoint(run_bend, y, theta, use_reentrant=False) if saving else run_bend(y, theta)
                if seen is not None:
                    seen.append(near)
            case Gain():
                y = _gained(y, step, symbols.lattices[place + 1], choose, place)
    at = program.output
    return _block(y, at, at)


def linear(t: torch.Tensor, y: torch.Tensor, step: Linear, cells: tuple[int, ...]) -> torch.Tensor:
    """The mean of T Y T^* over aliases."""
    half_way = t @ y
    if step.factor is None:
        return averaged(half_way, t, half(cells).weight)
    made = folded(half_way, t, cells, step.factor)
    return (made + made.mH) / 2


def averaged(left: torch.Tensor, right: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The mean of left right^* over all frequencies, real: [1, n, n]. left, right: [F, n, c] for half of them."""
    if not left.is_complex():
        made = left @ right.mT
    else:
        share = (weight / float(weight.sum()))[:, None, None]
        ends = (left * share, right)
        wide, other = (torch.cat([x.real, x.imag], 2).permute(1, 0, 2).flatten(1) for x in ends)
        made = (wide @ other.mT)[None]
    return (made + made.mT) / 2


def bent(y: torch.Tensor, theta: torch.Tensor, step: Bend) -> tuple[torch.Tensor, torch.Tensor]:
    """(B^* G^-1 B + diag(Y_rr, (D^2 - C^2) Theta), how near G was to singular), see `ellipsoid_verify`."""
    factor = _factor(theta, _block(y, step.source, step.source))
    near = theta.log().mean() - 2.0 * factor.diagonal(dim1=1, dim2=2).real.log().mean()
    tail = torch.diag(theta * step.centre).to(y.dtype).expand(len(y), -1, -1)
    root = torch.linalg.solve_triangular(factor, torch.cat([_block(y, step.source, step.rest), tail], 2), upper=False)
    block = torch.diag((step.radius**2 - step.centre**2) * theta).to(y.dtype).expand(len(y), -1, -1)
    made = root.mH @ root + _diagonal(_block(y, step.rest, step.rest), block)
    return (made + made.mH) / 2, near


def _gained(y: torch.Tensor, step: Gain, cells: tuple[int, ...], choose: Choice, place: int) -> torch.Tensor:
    """diag(Y_rr + Y_rv G^-1 Y_vr, g^2 Theta)."""
    corner = _block(y, step.source, step.source)
    theta = choose(place, corner)
    if step.closed:
        theta = torch.linalg.eigvalsh(corner)[:, -1].amax().reshape(1)
        rest = y.new_zeros(len(y), 0, 0)
    else:
        factor = _factor(theta[step.group], corner)
        root = torch.linalg.solve_triangular(factor, _block(y, step.source, step.rest), upper=False)
        rest = _block(y, step.rest, step.rest) + root.mH @ root
    if step.cells is not None:
        rest = _identity(len(half(cells)), 0, bool(cells))
    made = torch.diag(theta[step.spread] * step.factor**2).to(rest.dtype)
    return _diagonal(rest, made.expand(len(rest), -1, -1))


def _factor(theta: torch.Tensor, corner: torch.Tensor) -> torch.Tensor:
    factor: torch.Tensor = torch.linalg.cholesky(torch.diag(theta).to(corner.dtype) - corner)
    return factor


def _block(y: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    return y[:, rows][:, :, columns]


def _identity(count: int, side: int, complex_: bool) -> torch.Tensor:
    dtype = torch.complex128 if complex_ else torch.float64
    return torch.eye(side, dtype=dtype).expand(count, side, side)


def _diagonal(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """The block-diagonal matrices of two stacks."""
    count, a, b = len(one), one.shape[1], other.shape[1]
    none = one.new_zeros(count, a, b)
    return torch.cat([torch.cat([one, none], 2), torch.cat([none.mT, other], 2)], 1)


# ---------------------------------------------------------------------------------------------- closed forms


def scalar(slack: float) -> Choice:
    """Theta = (1 + slack) lambda_max(Y_vv) I: slack 1 is ECLipsE-Fast (Xu & Sivaranjani 2024)."""

    def choose(_: int, y: torch.Tensor) -> torch.Tensor:
        return torch.full((y.shape[1],), (1.0 + slack) * max(_top(y), 2.0**-200), dtype=torch.float64)

    return choose


def jacobi(slack: float) -> Choice:
    """Theta = (1 + slack) lambda_max(D^-1/2 Y_vv D^-1/2) D, D the mean of diag(Y_vv) over frequencies."""

    def choose(_: int, y: torch.Tensor) -> torch.Tensor:
        d = y.diagonal(dim1=1, dim2=2).real.mean(0).clamp_min(0.0)
        d = d + max(1e-6 * float(d.mean()) if len(d) else 0.0, 2.0**-200)
        root = d.sqrt()
        return (1.0 + slack) * _top(y / root / root[:, None]) * d

    return choose


def row_sums(slack: float) -> Choice:
    """Theta = (1 + slack) the largest row sums of |Y_vv|."""

    def choose(_: int, y: torch.Tensor) -> torch.Tensor:
        sums = y.abs().sum(2).amax(0)
        return (1.0 + slack) * (sums + max(1e-6 * float(sums.mean()) if len(sums) else 0.0, 2.0**-200))

    return choose


def _top(y: torch.Tensor) -> float:
    """About the largest eigenvalue of all of a stack of positive semidefinite matrices, hardly ever less."""
    count, side = y.shape[:2]
    if side == 0 or count == 0:
        return 0.0
    if count * side**3 <= 2e7:
        return float(torch.linalg.eigvalsh(y)[:, -1].max())
    x = (torch.arange(1.0, side + 1.0, dtype=torch.float64).cos() + 1.0).to(y.dtype).reshape(1, side, 1)
    x, length = x.expand(count, side, 1), torch.ones(count, 1, 1, dtype=torch.float64)
    for _ in range(40):
        x = y @ (x / length)
        length = torch.linalg.vector_norm(x, dim=1, keepdim=True).clamp_min(1e-200)
    near = length.flatten().topk(min(count, 8)).indices
    best = float(length.max()) * 1.02
    return max(best, float(torch.linalg.eigvalsh(y[near])[:, -1].max()) * (1.0 + 1e-6)) if side <= 256 else best


CLOSED: tuple[Choice, ...] = (row_sums(0.5), jacobi(0.5), scalar(1.0), jacobi(0.25), jacobi(1.0))


def closed(symbols: Symbols, rule: Choice) -> tuple[float, Guess] | None:
    """(what L^2 would be in the program's units, the multipliers) of a closed form; None where it fails."""
    chosen: Guess = {}

    def choose(place: int, y: torch.Tensor) -> torch.Tensor:
        step = symbols.program.steps[place]
        if isinstance(step, Gain) and step.closed:
            return _NONE
        theta = rule(place, y)
        if isinstance(step, Gain):  # one number for each group, its largest
            theta = torch.zeros(step.groups, dtype=torch.float64).scatter_reduce(0, step.group, theta, "amax")
        chosen[place] = theta
        return theta

    try:
        with torch.no_grad():
            value = top(recursion(symbols, choose))
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        return None
    return (value, chosen) if math.isfinite(value) else None


def guessed(symbols: Symbols, guess: Guess) -> float:
    """What L^2 would be with these multipliers, in the program's units; inf where they do not work out."""
    try:
        with torch.no_grad():
            return top(recursion(symbols, lambda place, _: guess.get(place, _NONE)))
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        return math.inf


_NONE = torch.zeros(1, dtype=torch.float64)


def top(y: torch.Tensor) -> float:
    """The largest eigenvalue of all frequencies."""
    return float(torch.linalg.eigvalsh(y)[:, -1].max()) if y.numel() else 0.0
