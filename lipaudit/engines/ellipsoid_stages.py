"""Multipliers stage by stage, each for the ellipsoid of the next pre-activation: a start for the joint optimum."""

from __future__ import annotations

import math
import time

import torch

from lipaudit.engines.ellipsoid_closed import CLOSED, Guess, advanced, begun, fast, indices
from lipaudit.engines.ellipsoid_inequality import Form, Inequality
from lipaudit.engines.ellipsoid_interior import reached, solve
from lipaudit.engines.ellipsoid_program import Gain, Linear, Program, Slope


def staged(program: Program, tolerance: float, deadline: float) -> Guess | None:
    """Theta of every step in turn, minimising lambda_max(Y) of what the next step bends; None where that fails or the
    time runs out.

    The stages of ECLipsE (Xu & Sivaranjani 2024, arXiv:2404.04375), for any graph. tolerance: of each stage's L^2,
    relative. A large one stops on the central path, where the slack is left to later layers: in deep networks the
    bound is the better for it.
    """
    state, found = begun(program), Guess()
    try:
        for place, step in enumerate(program.steps):
            if isinstance(step, Slope):
                theta = _stage(program, place, step, state, tolerance, deadline)
                if theta is None or time.monotonic() > deadline:
                    return None
                found[place] = theta
            elif isinstance(step, Gain):
                y = state[1][at := indices(state[0], (step.source,), program.sizes)][:, at]
                found[place] = fast(1.0)(place, y)
            state = advanced(program, place, state, lambda place, _: found[place])
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        return None
    return found


def loosened(program: Program, guess: Guess) -> Guess:
    """The multipliers with some room, twice as large at the output in all: near enough to central to start from."""
    slopes = sum(isinstance(step, Slope) for step in program.steps)
    room, factor, found = 1.0 + min(0.1, 0.6 / max(slopes, 1)), 1.0, Guess()
    for place, theta in guess.items():
        factor *= room
        found[place] = theta * factor
    return found


def _stage(
    program: Program,
    place: int,
    step: Slope,
    state: tuple[tuple[int, ...], torch.Tensor],
    tolerance: float,
    deadline: float,
) -> torch.Tensor | None:
    order, y = state
    data = _until_bent(program, place, step, order, _root(y))
    source = indices(order, (step.source,), program.sizes)
    corner = y[source][:, source]
    starts = [{place: rule(place, corner)} for rule in CLOSED[:4]]
    squares = [reached(data, start) for start in starts]
    best = min(range(len(starts)), key=squares.__getitem__)
    if not 0.0 < squares[best] < math.inf:
        return starts[0][place]
    guesses = solve(data, starts[best], squares[best], tolerance, deadline).guesses
    return guesses[-1][place] if guesses else starts[best][place]


def _until_bent(program: Program, place: int, step: Slope, order: tuple[int, ...], root: torch.Tensor) -> Inequality:
    """The step and the linear ones after it, up to the next that is not, as an inequality for what that one reads."""
    rows = torch.split(root, [program.sizes[v] for v in order])
    form = Form([root.shape[1]], {v: {0: r} for v, r in zip(order, rows, strict=True)})
    form.step(place, step, program.sizes)
    output = program.output
    for following in program.steps[place + 1 :]:
        if not isinstance(following, Linear):
            output = following.source
            break
        form.step(place, following, program.sizes)
    if not any(len(r) for r in form.values[output].values()):
        output = step.target
    return form.finish(form.values[output])


def _root(y: torch.Tensor) -> torch.Tensor:
    """L with L L' = Y, as few columns as Y's rank."""
    values, vectors = torch.linalg.eigh(y)
    live = values > 1e-13 * values[-1].clamp_min(1e-300)
    root: torch.Tensor = vectors[:, live] * values[live].sqrt()
    return root
