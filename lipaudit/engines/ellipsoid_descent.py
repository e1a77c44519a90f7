"""Better multipliers for larger networks: descent through the recursion, at the cost of its own matrices.

A step of the interior-point method costs the cube of all neurons together, this one the cubes of the layers. Nothing
here is proven, and nothing is believed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

import torch

from lipaudit.engines.ellipsoid_closed import Guess, recursion
from lipaudit.engines.ellipsoid_program import Gain, Program
from lipaudit.engines.quasi_newton import two_loops

_MEMORY = 12
_STALE = 40
POWERS = (8.0, 40.0, 200.0)

Objective = Callable[[torch.Tensor], tuple[float, torch.Tensor] | None]
"""(value, gradient) at a point; None outside the domain."""


def descend(program: Program, guess: Guess, evaluations: int, deadline: float = math.inf) -> Iterator[Guess]:
    """Multipliers that get better, one for every power p of the smooth ||lambda(Y)||_p >= lambda_max(Y).

    guess: feasible. L-BFGS on log Theta (Nocedal & Wright, Numerical Optimization, 2006, algorithm 7.4), with steps
    that keep every Cholesky factor alive; a power ends when forty steps together gain less than one part in 1000, or
    with its share of the evaluations, of which the first has half.
    """
    point = torch.cat([theta.log() for theta in guess.values()])
    left = evaluations
    for place, power in enumerate(POWERS):

        def value(there: torch.Tensor, power: float = power) -> tuple[float, torch.Tensor] | None:
            return _value(program, guess, there, power)

        allowed = left if place == len(POWERS) - 1 else left // 2
        if time.monotonic() > deadline or allowed < 2:
            return
        point, used = minimised(value, point, allowed, deadline)
        left -= used
        yield _guess(program, guess, point)


def _guess(program: Program, like: Guess, point: torch.Tensor) -> Guess:
    """exp(point), cut into the pieces of `like`; one number for all of a gain step."""
    pieces = torch.split_with_sizes(point.exp(), [len(theta) for theta in like.values()])
    found = dict(zip(like, pieces, strict=True))
    return {k: v.mean().expand(len(v)) if isinstance(program.steps[k], Gain) else v for k, v in found.items()}


def _value(program: Program, like: Guess, point: torch.Tensor, power: float) -> tuple[float, torch.Tensor] | None:
    """(log ||lambda(Y)||_p, its gradient) at log Theta = point, with a little of what keeps inverses from singular
    ones; None outside the domain."""
    leaf = point.clone().requires_grad_(True)
    guess = _guess(program, like, leaf)
    try:
        seen: list[torch.Tensor] = []
        y = recursion(program, lambda place, _: guess[place], seen)
        eigenvalues = torch.linalg.eigvalsh(y).clamp_min(0.0)
        top = eigenvalues[-1].detach()
        value = top.log() + ((eigenvalues / top) ** power).sum().log() / power + sum(seen) * (0.05 / power)
        value.backward()
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        return None
    if leaf.grad is None or not bool(value.isfinite() & leaf.grad.isfinite().all()):
        return None
    return float(value.detach()), leaf.grad


def minimised(
    objective: Objective, point: torch.Tensor, evaluations: int, deadline: float = math.inf
) -> tuple[torch.Tensor, int]:
    """The best point, and how many evaluations it took."""
    now, used = objective(point), 1
    if now is None:
        return point, used
    value, gradient = now
    pairs: list[tuple[torch.Tensor, torch.Tensor]] = []
    history = [value]
    while time.monotonic() < deadline and used < evaluations:
        if len(history) > _STALE and history[-_STALE] - value < 1e-3:
            break
        move = -two_loops(gradient, pairs)
        slope = float(gradient @ move)
        if not slope < 0.0:
            pairs, move = [], -gradient
            slope = float(gradient @ move)
        size = min(1.0, (1.0 if pairs else 0.1) / max(float(move.abs().max()), 1e-12))
        for _ in range(25):
            there = objective(point + size * move)
            used += 1
            if there is not None and there[0] <= value + 1e-4 * size * slope:
                break
            size *= 0.4
        else:
            if not pairs:
                break
            pairs = []
            continue
        step, change = size * move, there[1] - gradient
        if float(step @ change) > 1e-12 * float(step.norm() * change.norm()):
            pairs = [*pairs[-_MEMORY + 1 :], (step, change)]
        point, (value, gradient) = point + step, there
        history.append(value)
    return point, used
