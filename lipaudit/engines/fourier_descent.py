"""Better multipliers by descent on all of them at once, through the recursion's factorisations.

Nothing here is proven, and nothing is believed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

import torch

from lipaudit.engines.fourier_recursion import Guess, Symbols, recursion
from lipaudit.engines.quasi_newton import two_loops

_MEMORY = 16
_POWERS = (8.0, 40.0, 200.0)
_NONE = torch.zeros(1, dtype=torch.float64)

Value = Callable[[torch.Tensor], tuple[float, torch.Tensor] | None]


def descend(symbols: Symbols, guess: Guess, steps: int, deadline: float, *, saving: bool) -> Iterator[Guess]:
    """Multipliers that get better, some for every power p of the smooth ||lambda(Y)||_p >= lambda_max(Y).

    steps: at most, of all powers together, half of those left for each but the last.

    guess: feasible. L-BFGS on log Theta (Nocedal & Wright, Numerical Optimization, 2006, algorithm 7.4), with steps
    that keep every Cholesky factor alive. saving: less memory, more time.
    """
    best = torch.cat([theta.log() for theta in guess.values()])
    for power in _POWERS:
        share = steps if power == _POWERS[-1] else -(-steps // 2)
        for point, taken in _minimised(partial(_value, symbols, guess, power, saving), best, share, deadline):
            best = point
            steps -= taken
            yield _cut(guess, point)
        if time.monotonic() > deadline:
            return


def _cut(like: Guess, point: torch.Tensor) -> Guess:
    """exp(point), cut into the pieces of `like`."""
    return dict(zip(like, torch.split_with_sizes(point.exp(), [len(theta) for theta in like.values()]), strict=True))


def _value(
    symbols: Symbols, like: Guess, power: float, saving: bool, point: torch.Tensor
) -> tuple[float, torch.Tensor] | None:
    """(log ||lambda(Y)||_p, its gradient) at log Theta = point, with a little of what keeps inverses from singular
    ones; None outside the domain."""
    leaf = point.clone().requires_grad_(True)
    guess, seen = _cut(like, leaf), list[torch.Tensor]()
    try:
        y = recursion(symbols, lambda place, _: guess.get(place, _NONE), seen, saving=saving)
        eigenvalues = torch.linalg.eigvalsh(y).clamp_min(0.0)
        top = eigenvalues.max().detach()
        value = top.log() + ((eigenvalues / top) ** power).sum().log() / power + sum(seen) * (0.02 / power)
        (gradient,) = torch.autograd.grad(value, leaf)
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        return None
    if not bool(value.isfinite() & gradient.isfinite().all()):
        return None
    return float(value.detach()), gradient


def _minimised(function: Value, point: torch.Tensor, most: int, deadline: float) -> Iterator[tuple[torch.Tensor, int]]:
    """(the point, how many steps it took) after every twenty steps, and at the end: after `most` steps, or when twenty
    gain less than one part in 500."""
    now = function(point)
    if now is None:
        return
    value, gradient = now
    pairs: list[tuple[torch.Tensor, torch.Tensor]] = []
    last, steps = value, 0
    while steps < most and time.monotonic() < deadline:
        move = -two_loops(gradient, pairs)
        slope = float(gradient @ move)
        if not slope < 0.0:
            pairs, move = [], -gradient
            slope = float(gradient @ move)
        size = min(1.0, (1.0 if pairs else 0.3) / max(float(move.abs().max()), 1e-12))
        for _ in range(25):
            there = function(point + size * move)
            if there is not None and there[0] <= value + 1e-4 * size * slope:
                break
            size *= 0.4
            if time.monotonic() > deadline:
                there = None
                break
        else:
            there = None
        if there is None:
            if not pairs or time.monotonic() > deadline:
                break
            pairs = []
            continue
        step, change = size * move, there[1] - gradient
        if float(step @ change) > 1e-12 * float(step.norm() * change.norm()):
            pairs = [*pairs[-_MEMORY + 1 :], (step, change)]
        point, (value, gradient), steps = point + step, there, steps + 1
        if steps % 20 == 0:
            yield point, 20
            if last - value < 2e-3:
                return
            last = value
    if steps % 20:
        yield point, steps % 20
