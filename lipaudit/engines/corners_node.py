"""One node of the branch and bound on slope corners: some neurons decided, and LipSDP-Neuron for the others."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch

from lipaudit.engines.corners_ascent import Sides
from lipaudit.engines.ellipsoid_closed import Guess, best_closed
from lipaudit.engines.ellipsoid_inequality import inequality
from lipaudit.engines.ellipsoid_interior import Optimum, reached, solve
from lipaudit.engines.ellipsoid_program import Linear, Program, Slope
from lipaudit.engines.ellipsoid_stages import loosened
from lipaudit.engines.ellipsoid_verify import verified
from lipaudit.linear.norms.sums import unscaled

TOLERANCE = 1e-7
"""Of a node's multipliers, relative in L^2."""

SLACKS = (0.0, 1e-8, 1e-5, 1e-3)
"""How much multipliers are raised where they just fail to prove anything."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """decided: [m] int8, 1 for the larger slope, -1 for the smaller, 0 for all in between.

    bound: proven for every choice of the other slopes. guess: multipliers for its children to begin with.
    looseness: [m], how much each open neuron's relaxation adds; worst: [m] bool, a corner that it points to.
    """

    decided: np.ndarray
    bound: float
    guess: Guess
    looseness: np.ndarray
    worst: np.ndarray

    @property
    def open(self) -> np.ndarray:
        """[m] bool: which neurons are not decided."""
        return np.asarray(self.decided == 0)

    def halves(self) -> list[np.ndarray]:
        """The decisions of both children: the neuron whose relaxation is loosest at either end of its slopes."""
        neuron = int(np.argmax(np.where(self.open, self.looseness, -1.0)))
        return [np.where(np.arange(len(self.decided)) == neuron, np.int8(end), self.decided) for end in (1, -1)]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Hidden:
    """A network of one hidden layer, as a program of three steps, and its slopes in the program's units."""

    program: Program
    low: torch.Tensor
    high: torch.Tensor
    sides: Sides

    @staticmethod
    def of(program: Program, low: torch.Tensor, high: torch.Tensor) -> Hidden:
        """From the program and the ends [m] of the slopes, which the program holds scaled by a power of two."""
        first, bend, last = program.steps
        assert isinstance(first, Linear)
        assert isinstance(bend, Slope)
        assert isinstance(last, Linear)
        shift = program.exponents[bend.source] - program.exponents[bend.target]
        low, high = low * 2.0**shift, high * 2.0**shift
        right, left = first.matrix, last.matrix
        if right.shape[1] > right.shape[0]:
            right = torch.linalg.qr(right.mT).R.mT
        if left.shape[0] > left.shape[1]:
            left = torch.linalg.qr(left).R
        return Hidden(program, low, high, Sides(left.numpy(), right.numpy(), low.numpy(), high.numpy()))

    def value(self, scaled: float) -> float:
        """What a norm in the program's units stands for."""
        return unscaled(scaled, self.program.exponent)

    def restricted(self, decided: np.ndarray) -> Program:
        """The program with the decided neurons' slopes exactly at their ends."""
        first, bend, last = self.program.steps
        assert isinstance(bend, Slope)
        signs = torch.from_numpy(decided)
        centre = torch.where(signs > 0, self.high, torch.where(signs < 0, self.low, bend.centre))
        radius = torch.where(signs == 0, bend.radius, 0.0)
        return replace(self.program, steps=(first, replace(bend, centre=centre, radius=radius), last))

    def node(self, decided: np.ndarray, parent: Node | None, deadline: float = math.inf) -> Node:
        """The node with its bound: proven whatever the multipliers, and never above that of the parent."""
        steps = self.restricted(decided)
        above = math.inf if parent is None else parent.bound
        if decided.all():
            theta = torch.ones(len(decided), dtype=torch.float64)
            none = np.zeros(len(decided))
            return Node(decided, min(above, verified(steps, {1: theta})), {1: theta}, none, decided > 0)
        if parent is not None:
            start = parent.guess
        else:
            closed = best_closed(steps)
            start = closed[0][1] if closed else {1: torch.ones(len(decided), dtype=torch.float64)}
        data, loose, found = inequality(steps), loosened(steps, start), Optimum()
        square = reached(data, loose)
        if 0.0 < square < math.inf:
            solve(data, loose, square, TOLERANCE, deadline, found)
        bound, guess = next(self._proofs(steps, [*found.guesses[-1:], start]), (math.inf, start))
        looseness, worst = self._loose(steps, guess[1], decided)
        return Node(decided, min(above, bound), guess, looseness, worst)

    def _proofs(self, steps: Program, guesses: list[Guess]) -> Iterator[tuple[float, Guess]]:
        """(bound, multipliers) of each guess that proves one, slightly raised where it proves none as it is."""
        for guess in guesses:
            for slack in SLACKS:
                raised = {place: theta * (1.0 + slack) for place, theta in guess.items()}
                value = verified(steps, raised)
                if value < math.inf:
                    yield value, raised
                    break

    def _loose(self, steps: Program, theta: torch.Tensor, decided: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(how much each neuron's relaxation adds, a corner), in float64 and for the order of the search only.

        For p at the output, with q and z the neuron's normalised output and input at the input that the bound thinks
        worst, the proof in `ellipsoid_verify` gives away theta q^2 + z^2 / theta - 2 s q z for the neuron's slope s in
        [-1, 1]. At the optimum p is a mixture of the top eigenvectors, weighted here by (t I - W2 Y W2')^-1.
        """
        bend = steps.steps[1]
        assert isinstance(bend, Slope)
        c, d, th = bend.centre.numpy(), bend.radius.numpy(), theta.numpy()
        left, right = self.sides.left, self.sides.right
        v = np.flatnonzero(d > 0.0)
        none = np.zeros(len(c)), np.where(decided != 0, decided > 0, True)
        y = right @ right.T
        try:
            solved = np.linalg.solve(np.diag(th[v]) - y[np.ix_(v, v)], y[v])
            cover = c[:, None] * (y + y[:, v] @ solved) * c + np.diag(d * d * th)
            out = left @ cover @ left.T
            top, vectors = np.linalg.eigh((out + out.T) / 2)
        except np.linalg.LinAlgError:
            return none
        if not top[-1] > 0.0:
            return none
        mixed = vectors / np.sqrt(top[-1] * (1.0 + 2e-4) - top)
        mixed /= np.linalg.norm(mixed)
        a = left.T @ mixed  # [m, k]: columns are the p, weighted
        z, q = th[v][:, None] * (solved @ (c[:, None] * a)), d[v][:, None] * a[v]
        given = th[v] * (q * q).sum(1) + (z * z).sum(1) / th[v] - 2.0 * np.abs((q * z).sum(1))
        looseness, worst = np.zeros(len(c)), decided > 0
        looseness[v] = np.maximum(given, 0.0)
        worst[v] = (q[:, -1] * z[:, -1]) >= 0.0
        return looseness, worst
