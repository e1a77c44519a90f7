"""LipSDP-Neuron for any graph: certified ellipsoids around what the network can do to a small sphere."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, final

import torch

from lipaudit.engines.ellipsoid_build import program
from lipaudit.engines.ellipsoid_closed import Guess, best_closed, guessed
from lipaudit.engines.ellipsoid_descent import descend
from lipaudit.engines.ellipsoid_inequality import inequality
from lipaudit.engines.ellipsoid_interior import solve
from lipaudit.engines.ellipsoid_program import Linear, Program
from lipaudit.engines.ellipsoid_verify import output_cover, verified
from lipaudit.engines.engine import Declined, Engine
from lipaudit.graph.problem import Problem
from lipaudit.numerics.bound import UpperBound
from lipaudit.numerics.norms import Norm
from lipaudit.numerics.rounding import tensor_up

_EVIDENCE = "ellipsoid recursion, residual certificate"

SLACKS = (0.0, 1e-8, 1e-5, 1e-3)
"""How much multipliers are raised where they just fail to prove anything."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Proof:
    """A proven bound and the multipliers that prove it, None where there are none (and the bound is inf)."""

    value: float
    multipliers: Guess | None = None

    def or_better(self, other: Proof) -> Proof:
        """The smaller bound."""
        return other if other.value < self.value else self


@final
@dataclass(frozen=True, slots=True)
class Ellipsoid(Engine):
    """J J' <= Y for every Jacobian J that the slopes allow, step by step: L = sqrt(lambda_max(Y)) at the output.

    The bound of LipSDP-Neuron (Fazlyab et al. 2019, arXiv:1906.04893, with diagonal multipliers only: the coupled ones
    of LipSDP-Network are unsound) for affine graphs of any shape, per-neuron slope ranges over the problem's region,
    and ops that are known by their gain alone. Sound for any multipliers, see `ellipsoid_verify`; those are guessed in
    closed form (ECLipsE-Fast among them, Xu & Sivaranjani 2024, arXiv:2404.04375) and then by an interior-point method
    until nothing is gained, the deadline, or `seconds`. Tight for one hidden layer up to the relaxation of slopes;
    dense, so for networks of some thousand neurons. Which iterate the time runs out on depends on the machine: the
    bound is proven all the same.
    """

    seconds: float = 20.0
    tolerance: float = 2e-5
    name: ClassVar[str] = "ellipsoid"
    label: ClassVar[str] = "ellipsoid recursion"
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.L2})

    def bound(self, problem: Problem) -> UpperBound:
        return UpperBound(self.prove(problem)[1].value, _EVIDENCE)

    def pairwise(self, problem: Problem) -> tuple[torch.Tensor, UpperBound]:
        """Upper bounds of the constants of f_a - f_b for all outputs: float64 [K, K], symmetric; and that of f.

        Raises Declined where there are none.
        From the cover Y of the output, once for all pairs: |(e_a - e_b)'J|^2 <= Y_aa + Y_bb - 2 Y_ab.
        """
        steps, proof = self.prove(problem)
        cover = None if proof.multipliers is None else output_cover(steps, proof.multipliers)
        if cover is None:
            raise Declined("no multipliers proved a bound")
        diagonal = cover.diagonal()
        squares = diagonal[:, None] + diagonal[None, :] - 2.0 * cover
        room = (diagonal[:, None] + diagonal[None, :] + 2.0 * cover.abs()) * 2.0**-50
        roots = tensor_up(torch.sqrt((squares + room).clamp(min=0.0)))
        pairs = tensor_up(torch.ldexp(roots, torch.tensor(steps.exponent))).fill_diagonal_(0.0)
        return pairs, UpperBound(proof.value, _EVIDENCE)

    def prove(self, problem: Problem) -> tuple[Program, Proof]:
        """The problem as a program, and the best that was proven of it. Raises Declined where it is out of scope."""
        if problem.norm is not Norm.L2:
            raise Declined("an ellipsoid bounds the l2 norm; its bound is carried over by the converted method")
        steps = program(problem)
        return steps, self.search(steps, min(problem.deadline, time.monotonic() + self.seconds))

    def search(self, steps: Program, deadline: float) -> Proof:
        """The smallest bound that was proven.

        The interior-point method where its time suffices, descent where it does not, some of both in between.
        """
        if all(isinstance(step, Linear) for step in steps.steps):
            return Proof(verified(steps, {}), {})
        closed = best_closed(steps, deadline)
        if not closed:
            return Proof(math.inf)
        best = _proven(steps, (guess for _, guess in closed[:2]))
        square, start = closed[0]
        if not square > 0.0:
            return best
        left, needed = deadline - time.monotonic(), _inner_seconds(steps)
        share = 0.0 if needed < 0.3 * left else 0.25 if needed < 0.6 * left else 1.0
        for guess in descend(steps, start, min(deadline, time.monotonic() + share * left)):
            best, better = best.or_better(_proven(steps, [guess])), guessed(steps, guess)
            if better < square:
                square, start = better, guess
        if share < 1.0:
            guesses = solve(inequality(steps), start, square, self.tolerance, deadline)
            best = best.or_better(_proven(steps, reversed(guesses[-3:])))
        return best


def _inner_seconds(steps: Program) -> float:
    """About what the interior-point method takes, on one processor core: twenty steps of some matrix products."""
    side = sum(steps.sizes[s.target] for s in steps.steps if not isinstance(s, Linear))
    side += min(steps.sizes[0], steps.sizes[1]) + min(steps.sizes[steps.output], side)
    return 20 * 14 * side**3 / 2e10


def _proven(steps: Program, guesses: Iterable[Guess]) -> Proof:
    """The smallest bound that these multipliers prove, slightly raised where they prove none as they are."""
    best = Proof(math.inf)
    for guess in guesses:
        for slack in SLACKS:
            raised = {place: theta * (1.0 + slack) for place, theta in guess.items()}
            value = verified(steps, raised)
            if value < math.inf:
                best = best.or_better(Proof(value, raised))
                break
    return best
