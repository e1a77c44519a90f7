"""LipSDP-Neuron for any graph: certified ellipsoids around what the network can do to a small sphere."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, final

from lipaudit.engines.ellipsoid_build import program
from lipaudit.engines.ellipsoid_closed import Guess, best_closed, guessed
from lipaudit.engines.ellipsoid_descent import descend
from lipaudit.engines.ellipsoid_inequality import inequality
from lipaudit.engines.ellipsoid_interior import solve
from lipaudit.engines.ellipsoid_program import Linear, Program
from lipaudit.engines.ellipsoid_verify import verified
from lipaudit.engines.engine import Declined, Engine
from lipaudit.engines.layer_product import LayerProduct
from lipaudit.graph.problem import Problem
from lipaudit.numerics.bound import UpperBound, tightest
from lipaudit.numerics.norms import Norm

SLACKS = (0.0, 1e-8, 1e-5, 1e-3)
"""How much multipliers are raised where they just fail to prove anything."""


@final
@dataclass(frozen=True, slots=True)
class Ellipsoid(Engine):
    """J J' <= Y for every Jacobian J that the slopes allow, step by step: L = sqrt(lambda_max(Y)) at the output.

    The bound of LipSDP-Neuron (Fazlyab et al. 2019, arXiv:1906.04893, with diagonal multipliers only: the coupled ones
    of LipSDP-Network are unsound) for affine graphs of any shape, per-neuron slope ranges over the problem's region,
    and ops that are known by their gain alone. Sound for any multipliers, see `ellipsoid_verify`; those are guessed in
    closed form (ECLipsE-Fast among them, Xu & Sivaranjani 2024, arXiv:2404.04375) and then by an interior-point method
    until nothing is gained, the deadline, or `seconds`. Never above the product of layer gains, which it is compared
    with. Tight for one hidden layer up to the relaxation of slopes; dense, so for networks of some thousand neurons.
    """

    seconds: float = 20.0
    tolerance: float = 2e-5
    name: ClassVar[str] = "ellipsoid"
    label: ClassVar[str] = "ellipsoid recursion"
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.L2})

    def bound(self, problem: Problem) -> UpperBound:
        if problem.norm is not Norm.L2:
            raise Declined("an ellipsoid bounds the l2 norm; its bound is carried over by the converted method")
        deadline = min(problem.deadline, time.monotonic() + self.seconds)
        steps = program(problem)
        value = self.search(steps, deadline)
        found = UpperBound(value, "ellipsoid recursion, residual certificate")
        return tightest(found, LayerProduct().bound(problem))

    def search(self, steps: Program, deadline: float) -> float:
        """The smallest bound that was proven.

        The interior-point method where its time suffices, descent where it does not, some of both in between.
        """
        if all(isinstance(step, Linear) for step in steps.steps):
            return verified(steps, {})
        closed = best_closed(steps, deadline)
        if not closed:
            return math.inf
        value = _proven(steps, (guess for _, guess in closed[:2]))
        square, start = closed[0]
        if not square > 0.0:
            return value
        left, needed = deadline - time.monotonic(), _inner_seconds(steps)
        share = 0.0 if needed < 0.3 * left else 0.25 if needed < 0.6 * left else 1.0
        for guess in descend(steps, start, min(deadline, time.monotonic() + share * left)):
            value, better = min(value, _proven(steps, [guess])), guessed(steps, guess)
            if better < square:
                square, start = better, guess
        if share < 1.0:
            guesses = solve(inequality(steps), start, square, self.tolerance, deadline)
            value = min(value, _proven(steps, reversed(guesses[-3:])))
        return value


def _inner_seconds(steps: Program) -> float:
    """About what the interior-point method takes, on one processor core: twenty steps of some matrix products."""
    side = sum(steps.sizes[s.target] for s in steps.steps if not isinstance(s, Linear))
    side += min(steps.sizes[0], steps.sizes[1]) + min(steps.sizes[steps.output], side)
    return 20 * 14 * side**3 / 2e10


def _proven(steps: Program, guesses: Iterable[Guess]) -> float:
    """The smallest bound that these multipliers prove, slightly raised where they prove none as they are."""
    best = math.inf
    for guess in guesses:
        for slack in SLACKS:
            value = verified(steps, {place: theta * (1.0 + slack) for place, theta in guess.items()})
            if value < math.inf:
                best = min(best, value)
                break
    return best
