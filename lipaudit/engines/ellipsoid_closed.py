"""Guesses of the multipliers in closed form, and the recursion in plain float64 that they are made for.

Nothing here is proven: `ellipsoid_verify` does not believe any of it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch

from lipaudit.engines.ellipsoid_program import Gain, Linear, Program, Slope

Choice = Callable[[int, torch.Tensor], torch.Tensor]
"""(place of the step, Y_vv) -> Theta, a vector as long as Y_vv is wide."""

Guess = dict[int, torch.Tensor]
"""Theta by the place of its step."""


State = tuple[tuple[int, ...], torch.Tensor]
"""The values alive, and Y with J J' <= Y for them, stacked in this order."""


def recursion(program: Program, choose: Choice, seen: list[torch.Tensor] | None = None) -> torch.Tensor:
    """Y of the output, differentiable in what `choose` answers. Raises LinAlgError where Theta <= Y_vv.

    seen: takes, for every inverse, how near to singular it was: mean log(Theta_i) - log det(Theta - Y_vv) / n >= 0.
    """
    state = begun(program)
    for place in range(len(program.steps)):
        state = advanced(program, place, state, choose, seen)
    order, y = state
    at = indices(order, (program.output,), program.sizes)
    return y[at][:, at]


def begun(program: Program) -> State:
    """The state before the first step; without its matrix where that is the identity and the first step knows."""
    if program.starts():
        return (0,), torch.empty(0, 0, dtype=torch.float64)
    return (0,), torch.eye(program.sizes[0], dtype=torch.float64)


def advanced(
    program: Program, place: int, state: State, choose: Choice, seen: list[torch.Tensor] | None = None
) -> State:
    """The state after the step at this place."""
    (order, y), step, sizes = state, program.steps[place], program.sizes
    if place == 0 and program.starts() and isinstance(step, Linear):
        return step.targets, step.matrix @ step.matrix.mT
    source, kept = indices(order, step.sources, sizes), indices(order, step.kept, sizes)
    corner, side, rest = y[source][:, source], y[source][:, kept], y[kept][:, kept]
    match step:
        case Linear():
            side = step.matrix @ side
            corner = step.matrix @ corner @ step.matrix.mT
        case Slope():
            rest, side, corner = _bent(step, choose(place, corner), rest, side, corner, seen)
        case Gain():
            theta = choose(place, corner)[:1]
            if not len(kept):
                theta = torch.maximum(theta, torch.linalg.eigvalsh(corner)[-1:])
            else:
                factor = _factor(theta.expand(len(corner)), corner, seen)
                half = torch.linalg.solve_triangular(factor, side, upper=False)
                rest = rest + half.mT @ half
            size = sizes[step.target]
            corner = torch.eye(size, dtype=torch.float64) * (theta * step.factor**2)
            side = torch.zeros(size, len(kept), dtype=torch.float64)
    y = torch.cat([torch.cat([rest, side.mT], 1), torch.cat([side, corner], 1)])
    return (*step.kept, *step.targets), (y + y.mT) / 2


def _factor(theta: torch.Tensor, corner: torch.Tensor, seen: list[torch.Tensor] | None) -> torch.Tensor:
    factor: torch.Tensor = torch.linalg.cholesky(torch.diag(theta) - corner)
    if seen is not None:
        seen.append(theta.log().mean() - 2.0 * factor.diagonal().log().mean())
    return factor


def _bent(
    step: Slope,
    theta: torch.Tensor,
    rest: torch.Tensor,
    side: torch.Tensor,
    corner: torch.Tensor,
    seen: list[torch.Tensor] | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The blocks after a slope step: P = Y + Y_v' G^-1 Y_v over the bent neurons, turned by C, plus D^2 Theta."""
    bent = (step.radius > 0).nonzero()[:, 0]
    c, d = step.centre, step.radius
    if len(bent):
        factor = _factor(theta[bent], corner[bent][:, bent], seen)
        half = torch.linalg.solve_triangular(factor, torch.cat([side[bent], corner[bent]], 1), upper=False)
        k = side.shape[1]
        rest = rest + half[:, :k].mT @ half[:, :k]
        side = side + half[:, k:].mT @ half[:, :k]
        corner = corner + half[:, k:].mT @ half[:, k:]
    return rest, c[:, None] * side, c[:, None] * corner * c + torch.diag(d * d * theta)


def indices(order: tuple[int, ...], values: tuple[int, ...], sizes: tuple[int, ...]) -> torch.Tensor:
    """Where the entries of `values` are in a vector of the values in `order`."""
    starts, place = {}, 0
    for v in order:
        starts[v] = place
        place += sizes[v]
    return torch.cat([torch.arange(starts[v], starts[v] + sizes[v]) for v in values] + [torch.arange(0)])


def fast(slack: float) -> Choice:
    """Theta = (1 + slack) lambda_max(Y_vv) I: slack 1 is ECLipsE-Fast (Xu & Sivaranjani 2024)."""

    def choose(_: int, y: torch.Tensor) -> torch.Tensor:
        return torch.full((len(y),), (1.0 + slack) * max(_top(y), 2.0**-200), dtype=torch.float64)

    return choose


def jacobi(slack: float) -> Choice:
    """Theta = (1 + slack) lambda_max(D^-1/2 Y D^-1/2) D with D = diag(Y_vv), kept from 0 by a little of its mean."""

    def choose(_: int, y: torch.Tensor) -> torch.Tensor:
        if not len(y):
            return torch.empty(0, dtype=torch.float64)
        d = y.diagonal().clamp_min(0.0)
        d = d + max(1e-6 * float(d.mean()), 2.0**-200)
        root = d.sqrt()
        return (1.0 + slack) * _top(y / root / root[:, None]) * d

    return choose


def gershgorin(slack: float) -> Choice:
    """Theta = (1 + slack) row sums of |Y_vv|."""

    def choose(_: int, y: torch.Tensor) -> torch.Tensor:
        sums = y.abs().sum(1)
        return (1.0 + slack) * (sums + max(1e-6 * float(sums.mean()) if len(y) else 0.0, 2.0**-200))

    return choose


def _top(y: torch.Tensor) -> float:
    """About the largest eigenvalue of a positive semidefinite matrix."""
    if len(y) <= 256:
        return float(torch.linalg.eigvalsh(y)[-1]) if len(y) else 0.0
    x = torch.arange(1.0, len(y) + 1.0, dtype=torch.float64).cos() + 1.0
    for _ in range(50):
        x = y @ (x / torch.linalg.vector_norm(x).clamp_min(1e-200))
    return 1.02 * float(torch.linalg.vector_norm(x))


CLOSED: tuple[Choice, ...] = (fast(1.0), jacobi(0.5), jacobi(1.0), jacobi(0.25), gershgorin(0.5), fast(2.0**-20))


def best_closed(program: Program, deadline: float = math.inf) -> list[tuple[float, Guess]]:
    """(guess of L^2 in the program's units, multipliers) of every closed form that works out, smallest first."""
    found: list[tuple[float, Guess]] = []
    for rule in CLOSED:
        if found and time.monotonic() > deadline:
            break
        chosen: Guess = {}
        try:
            value = float(torch.linalg.eigvalsh(recursion(program, _noting(program, rule, chosen)))[-1])
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
            continue
        if math.isfinite(value):
            found.append((value, chosen))
    return sorted(found, key=lambda pair: pair[0])


def multipliers_of(program: Program, rule: Choice) -> Guess:
    """What one rule chooses, step by step. Raises LinAlgError where it does not work out."""
    chosen: Guess = {}
    recursion(program, _noting(program, rule, chosen))
    return chosen


def _noting(program: Program, rule: Choice, chosen: Guess) -> Choice:
    """The rule, which writes down what it chooses; one number for all of a gain step."""

    def choose(place: int, y: torch.Tensor) -> torch.Tensor:
        chosen[place] = rule(place, y)
        if isinstance(program.steps[place], Gain) and len(y):
            chosen[place] = torch.full_like(chosen[place], float(chosen[place].max()))
        return chosen[place]

    return choose


def guessed(program: Program, guess: Guess) -> float:
    """What L^2 would be with these multipliers, in the program's units; inf where they do not work out."""
    try:
        return float(torch.linalg.eigvalsh(recursion(program, lambda place, _: guess[place]))[-1])
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        return math.inf
