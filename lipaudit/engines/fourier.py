"""LipSDP-Neuron for convolutional and residual graphs: certified ellipsoids, one small matrix a frequency."""

from __future__ import annotations

import contextlib
import math
import time
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch

from lipaudit.engines.engine import Declined, Engine, Inapplicable
from lipaudit.engines.fourier_build import program
from lipaudit.engines.fourier_descent import descend
from lipaudit.engines.fourier_program import Bend, Gain, Linear, Program, Step
from lipaudit.engines.fourier_recursion import CLOSED, Guess, Late, Symbols, closed
from lipaudit.engines.fourier_symbols import half
from lipaudit.engines.fourier_verify import constant, output_cover
from lipaudit.graph.problem import Problem
from lipaudit.numerics.bound import UpperBound
from lipaudit.numerics.norms import Norm
from lipaudit.numerics.rounding import tensor_up
from lipaudit.ops.elementwise import Elementwise

_EVIDENCE = "Fourier ellipsoid recursion, residual certificates"

SLACKS = (0.0, 1e-8, 1e-5, 1e-3)
"""How much multipliers are raised where they just fail to prove anything."""

MEMORY = 3 * 2**30
"""About the most bytes that one run may take."""

WRITTEN_OUT = 512
"""Layers of at most so many neurons are also tried with a multiplier for each neuron."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Proof:
    """A proven bound, the program and the output's cover that prove it, and the multipliers."""

    value: float
    program: Program
    cover: torch.Tensor | None = None
    multipliers: Guess | None = None

    def or_better(self, other: Proof) -> Proof:
        """The smaller bound."""
        return other if other.value < self.value else self


@final
@dataclass(frozen=True, slots=True)
class FourierEllipsoid(Engine):
    """J J' <= Y for every Jacobian J that the slopes allow, with Y the same in every cell of a torus around the image:
    L = sqrt(lambda_max(Y)) at the output.

    The bound of LipSDP-Neuron (Fazlyab et al. 2019, arXiv:1906.04893) with multipliers that are constant on every
    channel, which makes every matrix block-circulant: one of the size of the channels for each frequency, instead of
    one of the size of all neurons. Zero padding, stride, residual sums and concatenations are exact in it
    (`fourier_build`), max pooling of small windows is a contraction across their means, dense heads are written out,
    and what is known by its gain alone starts anew. Sound for any multipliers, see `fourier_verify`; those are guessed
    in closed form and then by descent until nothing is gained, or for as many steps as take about `seconds` on one core
    (fewer for a small network). Only where the problem's deadline cuts that short does the bound, proven all the same,
    depend on the machine.
    """

    seconds: float = 40.0
    name: ClassVar[str] = "fourier"
    label: ClassVar[str] = "Fourier ellipsoid recursion"
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.L2})

    def bound(self, problem: Problem) -> UpperBound:
        return UpperBound(self.prove(problem).value, _EVIDENCE)

    def pairwise(self, problem: Problem) -> tuple[torch.Tensor, UpperBound]:
        """Upper bounds of the constants of f_a - f_b for all outputs: float64 [K, K], symmetric; and that of f.

        Raises Declined where there are none.
        From the cover Y of the output, once for all pairs: |(e_a - e_b)'J|^2 <= Y_aa + Y_bb - 2 Y_ab.
        """
        if problem.norm is Norm.L2 and not program(problem).dense:
            raise Declined("its ellipsoid does not tell the entries of an image apart")
        proof = self.prove(problem)
        assert proof.cover is not None
        cover = proof.cover[0]
        diagonal = cover.diagonal()
        squares = diagonal[:, None] + diagonal[None, :] - 2.0 * cover
        room = (diagonal[:, None] + diagonal[None, :] + 2.0 * cover.abs()) * 2.0**-50
        roots = tensor_up(torch.sqrt((squares + room).clamp(min=0.0)))
        pairs = tensor_up(torch.from_numpy(np.ldexp(roots.numpy(), proof.program.exponent))).fill_diagonal_(0.0)
        return pairs, UpperBound(proof.value, _EVIDENCE)

    def prove(self, problem: Problem) -> Proof:
        """The best that was proven. Raises Declined where it is out of scope or out of reach."""
        if problem.norm is not Norm.L2:
            raise Declined("an ellipsoid bounds the l2 norm; its bound is carried over by the converted method")
        whole = program(problem)
        lattices = [c for c, step in zip(whole.lattices(), whole.steps, strict=False) if not isinstance(step, Linear)]
        if not any(math.prod(cells) > 1 for cells in lattices):
            raise Inapplicable("no activation follows a convolution: the other methods say as much")
        deadline = time.monotonic() + 2.0 / 3.0 * problem.time_left  # the rest is for others
        # what is small is said better by a multiplier for each neuron: the ellipsoid recursion's business
        share = min(1.0, 0.1 + _neurons(problem) / 12000)
        best = _Search(whole, deadline, problem.deadline).run(share * self.seconds)
        partly = program(problem, WRITTEN_OUT)
        if partly.widths() != whole.widths() and _seconds(partly) < 0.05 and time.monotonic() < deadline:
            best = best.or_better(_Search(partly, deadline, problem.deadline).run(share * self.seconds))
        if best.cover is None:
            raise Declined("no multipliers proved a bound in the time there was")
        return best


class _Search:
    """Looks for multipliers of one program, and proves what they give.

    deadline: until when it begins something; last: until when it goes on with it.
    """

    def __init__(self, steps: Program, deadline: float, last: float) -> None:
        self.steps, self.deadline, self.last, self.proving = steps, deadline, last, 0.0
        self.best = Proof(math.inf, steps)
        needed = _bytes(steps)
        if needed > MEMORY:
            raise Declined(f"it would take about {needed / 2**30:.1f} GiB of memory")
        if (seconds := _seconds(steps)) > deadline - time.monotonic():
            raise Declined(f"it would take about {seconds:.0f} s, more than there are")
        self.symbols = Symbols(steps, MEMORY // 4, last)

    def run(self, seconds: float) -> Proof:
        """The smallest bound proven, after as many steps of descent as should take `seconds`."""
        if all(isinstance(step, Linear) or not _open(step) for step in self.steps.steps):
            self.prove({})
            return self.best
        with contextlib.suppress(Late):
            self._improve(seconds)
        return self.best

    def _improve(self, seconds: float) -> None:
        found: list[tuple[float, Guess]] = []
        for rule in CLOSED:
            if found and self.left() < 0.0:
                break
            if (pair := closed(self.symbols, rule)) is not None:
                found.append(pair)
                if len(found) == 1:
                    self.prove(pair[1])  # so that there is something, and it is known how long that takes
        if not found:
            return
        square, start = min(found, key=lambda pair: pair[0])
        saving = _bytes(self.steps, 4) > MEMORY
        guesses = [start]
        if square > 0.0 and not (saving and _bytes(self.steps, 1) > MEMORY):
            steps = math.ceil(seconds / (0.01 + (2.0 if saving else 1.0) * _seconds(self.steps) / 8.0))
            until = self.deadline - 2.0 * self.proving
            guesses += descend(self.symbols, start, steps, until, saving=saving)
        for guess in reversed([guesses[0], *guesses[1:][-3:]]):
            if guess is found[0][1] or self.prove(guess):
                break

    def left(self) -> float:
        """The time left, less what one more proof takes."""
        return self.deadline - time.monotonic() - 1.5 * self.proving

    def prove(self, guess: Guess) -> bool:
        """Takes what these multipliers prove, slightly raised where they prove nothing as they are."""
        started, proven = time.monotonic(), False
        for slack in SLACKS:
            raised = {place: theta * (1.0 + slack) for place, theta in guess.items()} if slack else guess
            cover = output_cover(self.steps, raised, self.last)
            if cover is not None:
                self.best = self.best.or_better(Proof(constant(self.steps, cover), self.steps, cover, raised))
                proven = True
                break
        self.proving = max(self.proving, time.monotonic() - started)
        return proven


def _neurons(problem: Problem) -> int:
    return sum(math.prod(node.op.out_shape) for node in problem.graph.nodes if isinstance(node.op, Elementwise))


def _open(step: Step) -> bool:
    """Whether a step takes multipliers."""
    return isinstance(step, Bend) or (isinstance(step, Gain) and not step.closed)


def _shapes(steps: Program) -> list[tuple[int, int, int, int, int]]:
    """(frequencies before and after, channels before and after, those that a factorisation is of) of every step."""
    widths, counts = steps.widths(), [len(half(cells)) for cells in steps.lattices()]
    return [
        (counts[i], counts[i + 1], widths[i], widths[i + 1], 0 if isinstance(step, Linear) else len(step.source))
        for i, step in enumerate(steps.steps)
    ]


def _bytes(steps: Program, kept: int = 0) -> int:
    """About the memory that a proof takes; of descent, that keeps so many matrices of every step."""
    sides = [16 * (f * (a * a + a * b) + g * b * b) for f, g, a, b, _ in _shapes(steps)]
    symbols = min(MEMORY // 4, sum(16 * f * a * b for f, _, a, b, n in _shapes(steps) if not n))
    states = 16 * sum(g * b * b for _, g, _, b, _ in _shapes(steps))
    return 4 * max(sides, default=0) + (symbols + (states if kept == 1 else kept * sum(sides)) if kept else 0)


def _seconds(steps: Program) -> float:
    """About what a closed form and its proof take on one core."""
    flops = sum(8.0 * f * (a * a * b + a * b * b + n * n * n + n * n * b) for f, _, a, b, n in _shapes(steps))
    return 2e-10 * flops
