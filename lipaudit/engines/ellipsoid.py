"""LipSDP-Neuron for any graph: certified ellipsoids around what the network can do to a small sphere."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar, final

import numpy as np
import torch

from lipaudit.engines.ellipsoid_balance import balanced
from lipaudit.engines.ellipsoid_build import program
from lipaudit.engines.ellipsoid_closed import Guess, best_closed, guessed
from lipaudit.engines.ellipsoid_descent import descend
from lipaudit.engines.ellipsoid_inequality import inequality
from lipaudit.engines.ellipsoid_interior import Optimum, reached, solve
from lipaudit.engines.ellipsoid_program import Linear, Program
from lipaudit.engines.ellipsoid_stages import loosened, staged
from lipaudit.engines.ellipsoid_verify import output_cover, verified
from lipaudit.engines.ellipsoid_work import (
    newton_memory,
    newton_work,
    recursion_memory,
    recursion_work,
    stages_work,
)
from lipaudit.engines.engine import Declined, Engine, Interrupted
from lipaudit.graph.problem import Problem
from lipaudit.numerics.bound import UpperBound, tightest
from lipaudit.numerics.norms import Norm
from lipaudit.numerics.rounding import tensor_up

_EVIDENCE = "ellipsoid recursion, residual certificate"

SLACKS = (0.0, 1e-8, 1e-5, 1e-3)
"""How much multipliers are raised where they just fail to prove anything."""

WORK = 2e12
"""Floating-point operations that the search for multipliers may take: the same on every machine."""

MEMORY = 2.0 * 2**30
"""Bytes that it may take."""

STAGE = 0.5
"""The tolerance of a stage: the ellipsoids that follow are the tighter for some slack."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Proof:
    """A proven bound and the multipliers that prove it, None where there are none (and the bound is inf).

    floor: a float64 guess of what no multipliers can go below, 0.0 where none is known.
    """

    value: float
    multipliers: Guess | None = None
    floor: float = 0.0

    def or_better(self, other: Proof) -> Proof:
        """The smaller bound, the larger floor."""
        best = other if other.value < self.value else self
        return replace(best, floor=max(self.floor, other.floor))

    def bound(self) -> UpperBound:
        """As an engine answers."""
        return UpperBound(self.value, _EVIDENCE, self.floor or None)


@final
@dataclass(frozen=True, slots=True)
class Ellipsoid(Engine):
    """J J' <= Y for every Jacobian J that the slopes allow, step by step: L = sqrt(lambda_max(Y)) at the output.

    The bound of LipSDP-Neuron (Fazlyab et al. 2019, arXiv:1906.04893, with diagonal multipliers only: the coupled ones
    of LipSDP-Network are unsound) for affine graphs of any shape, per-neuron slope ranges over the problem's region,
    and ops that are known by their gain alone. Sound for any multipliers, see `ellipsoid_verify`; those are guessed in
    closed form (ECLipsE-Fast among them), stage by stage (ECLipsE, Xu & Sivaranjani 2024, arXiv:2404.04375), and then
    all together by Newton's method on the barrier, to within `tolerance` of what LipSDP-Neuron can reach; where that
    is too much work, by descent. Tight for one hidden layer up to the relaxation of slopes; dense, so for networks of
    some thousand neurons. Steps are counted, not timed: the answer is the same on every machine unless `seconds` or
    the problem's deadline cut it short, and then it is proven all the same.
    """

    seconds: float = 40.0
    tolerance: float = 2e-5
    name: ClassVar[str] = "ellipsoid"
    label: ClassVar[str] = "ellipsoid recursion"
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.L2})

    def bound(self, problem: Problem) -> UpperBound:
        return self.prove(problem)[1].bound()

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
        pairs = tensor_up(torch.from_numpy(np.ldexp(roots.numpy(), steps.exponent))).fill_diagonal_(0.0)
        return pairs, proof.bound()

    def prove(self, problem: Problem) -> tuple[Program, Proof]:
        """The problem as a program, and the best that was proven of it. Raises Declined where it is out of scope."""
        if problem.norm is not Norm.L2:
            raise Declined("an ellipsoid bounds the l2 norm; its bound is carried over by the converted method")
        steps = balanced(program(problem))
        return steps, self.search(steps, min(problem.deadline, time.monotonic() + self.seconds))

    def search(self, steps: Program, deadline: float) -> Proof:
        """The smallest bound that was proven. Raises Interrupted with the one so far on Ctrl-C."""
        if all(isinstance(step, Linear) for step in steps.steps):
            return Proof(verified(steps, {}), {})
        closed = best_closed(steps, deadline)
        if not closed:
            return Proof(math.inf)
        best = _proven(steps, (guess for _, guess in closed[:2]))
        square, start = closed[0]
        if not square > 0.0:
            return best
        try:
            if stages_work(steps) < WORK and (guess := staged(steps, STAGE, deadline)) is not None:
                best = best.or_better(_proven(steps, [guess]))
                square, start = min((square, start), (guessed(steps, guess), guess), key=lambda pair: pair[0])
            if newton_work(steps) < WORK and newton_memory(steps) < MEMORY:
                return best.or_better(self._optimum(steps, start, deadline))
            evaluations = int(WORK / recursion_work(steps)) if recursion_memory(steps) < MEMORY else 0
            for guess in descend(steps, start, evaluations, deadline):
                best = best.or_better(_proven(steps, [guess]))
        except Interrupted as cut:
            raise Interrupted(tightest(best.bound(), cut.bound)) from None
        except KeyboardInterrupt:
            raise Interrupted(best.bound()) from None
        return best

    def _optimum(self, steps: Program, start: Guess, deadline: float) -> Proof:
        """By Newton's method, from a start that is given some room first. Raises Interrupted as `search` does."""
        data, found, loose = inequality(steps), Optimum(), loosened(steps, start)

        def proof() -> Proof:
            floor = math.ldexp(math.sqrt(found.lower), steps.exponent)
            return replace(_proven(steps, reversed(found.guesses)), floor=floor)

        try:
            solve(data, loose, reached(data, loose), self.tolerance, deadline, found)
        except KeyboardInterrupt:
            raise Interrupted(proof().bound()) from None
        return proof()


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
