"""Ellipsoids of a weighted input: the semidefinite bound for linf, l1 and pairs of norms."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, final

import numpy as np
import torch

from lipaudit.engines.ellipsoid import MEMORY, SLACKS
from lipaudit.engines.ellipsoid_balance import balanced
from lipaudit.engines.ellipsoid_build import program
from lipaudit.engines.ellipsoid_closed import Guess, best_closed, recursion
from lipaudit.engines.ellipsoid_descent import POWERS, minimised
from lipaudit.engines.ellipsoid_program import Gain, Linear, Program
from lipaudit.engines.ellipsoid_stages import staged
from lipaudit.engines.ellipsoid_verify import output_cover
from lipaudit.engines.ellipsoid_weights import begins_linear, transposed, weight_sum, weighted
from lipaudit.engines.ellipsoid_work import recursion_memory, recursion_work, stages_work
from lipaudit.engines.engine import Declined, Engine, Interrupted
from lipaudit.graph.problem import Problem
from lipaudit.linear.norms.dense_l2 import dense_l2
from lipaudit.linear.norms.sums import unscaled
from lipaudit.numerics.bound import UpperBound
from lipaudit.numerics.norms import Norm, NormPair
from lipaudit.numerics.rounding import mul_up, sqrt_up, sum_up, tensor_up

_EVIDENCE = "weighted ellipsoid, residual certificate"

WORK = 2e11
"""Floating-point operations that the search may take: the same on every machine."""

EVALUATIONS = 600
"""Most evaluations, however small the network."""

FEWEST = 10
"""Fewer for one output are not worth a start."""

LEAST = 1e-6
"""The least weight of an input, the mean being 1: what it costs is one part in a million."""

_LINF_BOTH, _L2_LINF = NormPair(Norm.LINF, Norm.LINF), NormPair(Norm.L2, Norm.LINF)
TURNED = {NormPair(Norm.L1, Norm.L1): _LINF_BOTH, NormPair(Norm.L1, Norm.L2): _L2_LINF}
"""The pairs that are bounded by way of the transpose: ||J||_{p->q} = ||J'||_{q*->p*}."""

Squares = Callable[[torch.Tensor], torch.Tensor]
"""Y -> the squares, the largest of which is to be made small."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """What was chosen: scales s of the inputs, any positive ones, and multipliers of the program fed s x."""

    scales: torch.Tensor
    multipliers: Guess


@final
@dataclass(frozen=True, slots=True)
class Weighted(Engine):
    """max_i |row_i J|_1 <= sqrt((sum d) max_i Y_ii), J D^-1 J' <= Y, for any weights d > 0 of the inputs.

    By Cauchy-Schwarz, see `ellipsoid_weights`; Y is the cover of the network fed D^-1/2 x, verified like any ellipsoid,
    and read where the norm of the outputs looks: its largest diagonal entry (linf), its norm (l2), sum |Y_ij| >=
    e'Ye for every sign vector e (l1). With weights of 1 this is never above sqrt(n) ||J||_2 of the same multipliers.
    Weights and multipliers are found together by L-BFGS; for one output, their optimum is the dual of the semidefinite
    relaxation. From l2 and l1 there is nothing to weight (|x|_2 <= |x|_1); ||J||_1 and l1 -> l2 are bounded as those
    of the transpose where the network is a chain. Steps are counted, not timed, unless a deadline cuts them short.
    """

    seconds: float = 40.0
    name: ClassVar[str] = "weighted"
    label: ClassVar[str] = "ellipsoid of weighted inputs"
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.L1, Norm.LINF})
    mixed: ClassVar[bool] = True

    def bound(self, problem: Problem) -> UpperBound:
        pair = TURNED.get(problem.pair, problem.pair)
        if pair == NormPair.of(Norm.L2):
            raise Declined("there is nothing to weight in l2")
        steps = _steps(problem, turned=pair is not problem.pair)
        best, free = math.inf, pair.source is Norm.LINF
        aim, certified = _READ[pair.target]
        try:
            for chosen in self._search(steps, aim, free, self._deadline(problem)):
                total, cover = proven(steps, chosen)
                if cover is not None:  # |x|_2 <= |x|_1 and |x|_2 = |x|_2 need no sum: the scales are 1
                    square = mul_up(total, certified(cover)) if free else certified(cover)
                    best = min(best, unscaled(sqrt_up(square), steps.exponent))
        except KeyboardInterrupt:
            raise Interrupted(UpperBound(best, _EVIDENCE)) from None
        if best == math.inf:
            raise Declined("no multipliers proved a bound")
        return UpperBound(best, _EVIDENCE)

    def pairwise(self, problem: Problem) -> torch.Tensor:
        """Upper bounds of the linf constants of f_a - f_b for all outputs: float64 [K, K], symmetric.

        |(e_a - e_b)'J|_1^2 <= (sum d) (Y_aa + Y_bb - 2 Y_ab): weights for all pairs together, then, while there is work
        left, for those of each output; every cover bounds all pairs. Raises Declined where there are none.
        """
        if problem.pair != _LINF_BOTH:
            raise Declined("weights are for distances in linf")
        steps = _steps(problem, turned=False)
        count = steps.sizes[steps.output]
        if count < 2:
            raise Declined("there is one output, so no pair")
        pairs = torch.full((count, count), math.inf, dtype=torch.float64)
        deadline = self._deadline(problem)
        start: Weights | None = None
        for chosen in self._search(steps, _differences(None), True, deadline):
            start = chosen
            pairs = torch.minimum(pairs, _apart(steps, chosen))
        allowed = _evaluations(steps) // (2 * count) if count > 2 else 0
        for a in range(count):
            if start is None or allowed < FEWEST:
                break
            for chosen in _descend(steps, start, _differences(a), True, allowed, deadline, POWERS[1:2]):
                pairs = torch.minimum(pairs, _apart(steps, chosen))
        if not bool(pairs.isfinite().any()):
            raise Declined("no multipliers proved a bound")
        return pairs.fill_diagonal_(0.0)

    def _deadline(self, problem: Problem) -> float:
        return min(problem.deadline, time.monotonic() + self.seconds)

    def _search(self, steps: Program, squares: Squares, free: bool, deadline: float) -> Iterator[Weights]:
        """Better and better choices, the first with the weights at 1; free: whether weights are to be chosen."""
        first = steps.steps[0]
        assert isinstance(first, Linear)
        even = torch.ones(steps.sizes[0], dtype=torch.float64)
        starts = [even]
        if free and len(even):
            columns = torch.linalg.vector_norm(first.matrix, dim=0)
            if float(columns.max()) > 0.0:
                starts.append(_scales((columns / columns.max()).clamp_min(1e-9).log()))
        found: list[tuple[float, Weights]] = []
        for scales in starts:
            trial = weighted(steps, scales)
            guesses = [{}] if _straight(steps) else [guess for _, guess in best_closed(trial, deadline)[:2]]
            if guesses and stages_work(trial) < WORK and not _straight(steps):
                guesses += [guess for guess in [staged(trial, 0.5, deadline)] if guess is not None]
            for guess in guesses:
                chosen = Weights(scales, guess)
                yield chosen
                try:
                    value = float(squares(recursion(trial, lambda place, _, g=guess: g[place])).max())  # type: ignore[misc]
                except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
                    continue
                found.append((value, chosen))
        if found and math.isfinite(least := min(value for value, _ in found)) and least > 0.0:
            start = next(chosen for value, chosen in found if value == least)
            yield from _descend(steps, start, squares, free, _evaluations(steps), deadline, POWERS)


def _straight(steps: Program) -> bool:
    return all(isinstance(step, Linear) for step in steps.steps)


def _steps(problem: Problem, *, turned: bool) -> Program:
    """The problem's program, or its transpose's. Raises Declined where it is out of scope."""
    found: Program | None = balanced(program(problem.within(Norm.L2)))
    if turned and found is not None:
        found = transposed(found)
        if found is None:
            raise Declined("the transposed ellipsoid is for chains, and this network has branches")
        found = balanced(found)
    assert found is not None
    return begins_linear(found)


def _evaluations(steps: Program) -> int:
    if recursion_memory(steps) >= MEMORY:
        return 0
    return min(EVALUATIONS, int(WORK / recursion_work(steps)))


def proven(steps: Program, chosen: Weights) -> tuple[float, torch.Tensor | None]:
    """(at least sum_j 1 / s_j^2, a certified cover of the program fed s x; None for no proof)."""
    fed = weighted(steps, chosen.scales)
    for slack in SLACKS:
        raised = {place: theta * (1.0 + slack) for place, theta in chosen.multipliers.items()}
        cover = output_cover(fed, raised)
        if cover is not None:
            return weight_sum(chosen.scales), cover
    return math.inf, None


def _apart(steps: Program, chosen: Weights) -> torch.Tensor:
    """The bounds of all pairs of outputs that this choice proves; inf for none."""
    total, cover = proven(steps, chosen)
    count = steps.sizes[steps.output]
    if cover is None:
        return torch.full((count, count), math.inf, dtype=torch.float64)
    diagonal = cover.diagonal()
    both = diagonal[:, None] + diagonal[None, :]
    squares = (both - 2.0 * cover + (both + 2.0 * cover.abs()) * 2.0**-50).clamp(min=0.0)
    roots = tensor_up(torch.sqrt(tensor_up(tensor_up(squares) * total)))
    return tensor_up(torch.from_numpy(np.ldexp(roots.numpy(), steps.exponent)))


def _differences(a: int | None) -> Squares:
    """The squares of all pairs of outputs, or of those with output a."""

    def squares(y: torch.Tensor) -> torch.Tensor:
        diagonal = y.diagonal()
        apart = diagonal[:, None] + diagonal[None, :] - 2.0 * y
        if a is not None:
            return torch.cat([apart[a, :a], apart[a, a + 1 :]])
        return apart[tuple(torch.tril_indices(len(y), len(y), -1))]

    return squares


_READ: dict[Norm, tuple[Squares, Callable[[torch.Tensor], float]]] = {
    Norm.LINF: (lambda y: y.diagonal(), lambda y: float(y.diagonal().max())),
    Norm.L2: (lambda y: torch.linalg.eigvalsh(y), lambda y: dense_l2(y).value),
    Norm.L1: (lambda y: y.abs().sum().reshape(1), lambda y: sum_up(y.abs().reshape(-1))),
}
"""By the norm of the outputs: what is made small, and what is certified of a cover."""


def _scales(point: torch.Tensor) -> torch.Tensor:
    """d^-1/2 for weights d in proportion to exp(point), of mean 1 and nowhere below LEAST."""
    weights = torch.softmax(point, 0) * (len(point) * (1.0 - LEAST)) + LEAST
    return weights.rsqrt()


def _descend(
    steps: Program,
    start: Weights,
    squares: Squares,
    free: bool,
    evaluations: int,
    deadline: float,
    powers: tuple[float, ...],
) -> Iterator[Weights]:
    """Better choices by L-BFGS on (log d, log Theta), one for each power of the smooth maximum of the squares."""
    like, inputs = start.multipliers, len(start.scales) if free else 0
    first = steps.steps[0]
    assert isinstance(first, Linear)
    begin = [-2.0 * start.scales.log()] if free else []
    point = torch.cat([*begin, *(theta.log() for theta in like.values()), torch.zeros(0, dtype=torch.float64)])

    def choice(there: torch.Tensor) -> Weights:
        pieces = torch.split_with_sizes(there[inputs:].exp(), [len(theta) for theta in like.values()])
        guess = dict(zip(like, pieces, strict=True))
        for place, theta in guess.items():
            if isinstance(steps.steps[place], Gain):
                guess[place] = theta.mean().expand(len(theta))
        return Weights(_scales(there[:inputs]) if free else start.scales, guess)

    def objective(there: torch.Tensor, power: float) -> tuple[float, torch.Tensor] | None:
        leaf = there.clone().requires_grad_(True)
        chosen = choice(leaf)
        fed = replace(steps, steps=(replace(first, matrix=first.matrix * chosen.scales), *steps.steps[1:]))
        seen: list[torch.Tensor] = []
        try:
            found = squares(recursion(fed, lambda place, _: chosen.multipliers[place], seen)).clamp_min(0.0)
            top = found.max().detach()
            value = top.log() + ((found / top) ** power).sum().log() / power + sum(seen) * (0.05 / power)
            value.backward()  # type: ignore[no-untyped-call]
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
            return None
        if leaf.grad is None or not bool(value.isfinite() & leaf.grad.isfinite().all()):
            return None
        return float(value.detach()), leaf.grad

    if not len(point):
        return
    left = evaluations
    for place, power in enumerate(powers):
        allowed = left if place == len(powers) - 1 else left // 2
        if time.monotonic() > deadline or allowed < 2:
            return
        point, used = minimised(lambda there, p=power: objective(there, p), point, allowed, deadline)  # type: ignore[misc]
        left -= used
        chosen = choice(point)
        yield Weights(chosen.scales, {k: v.clone() for k, v in chosen.multipliers.items()})
