"""Programs whose input is weighted, and programs of the transposed Jacobian: ellipsoids for norms other than l2.

Weights. For any d > 0 and any row g of a Jacobian, Cauchy-Schwarz says

    |g|_1^2 = (sum_j sqrt(d_j) |g_j| / sqrt(d_j))^2 <= (sum_j d_j) (sum_j g_j^2 / d_j).

The second factor is the square of a row of J S, S = diag(s), s_j = d_j^-1/2: the Jacobian of the network that is fed
S x, a diagonal map before its first. A cover of that, J S S J' <= Y, bounds it by p'Yp for the row p'J. So any s > 0
proves |p'J|_1^2 <= (sum_j 1 / s_j^2) p'Yp; the sum is rounded up from the very s that scaled the matrix. The best s and
multipliers together are the dual of the semidefinite relaxation of max |p'J x|, |x|_inf <= 1 (for one hidden
layer: Raghunathan, Steinhardt & Liang 2018, arXiv:1801.09344).

Transposes. A chain's Jacobian W_n S_n ... S_1 W_1 has the transpose W_1' S_1 ... S_n W_n', with the same slopes: a
program again, and ||J||_1 = ||J'||_inf.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from lipaudit.engines.ellipsoid_program import Gain, Linear, Program, Slope, Step
from lipaudit.numerics.rounding import TINY, U, add_up, mul_up, sum_up, tensor_down, tensor_up


def begins_linear(program: Program) -> Program:
    """The same program with a linear first step that leaves nothing of the input alive: the identity if need be."""
    if program.starts():
        return program
    eye = torch.eye(program.sizes[0], dtype=torch.float64)
    steps: list[Step] = [Linear((0,), (1,), eye, eye, 0.0, 0.0)]
    for step in program.steps:
        kept = tuple(v + 1 for v in step.kept)
        if isinstance(step, Linear):
            sources, targets = tuple(v + 1 for v in step.sources), tuple(v + 1 for v in step.targets)
            steps.append(replace(step, sources=sources, targets=targets, kept=kept))
        else:
            steps.append(replace(step, source=step.source + 1, target=step.target + 1, kept=kept))
    sizes, exponents = (program.sizes[0], *program.sizes), (0, *program.exponents)
    return Program(tuple(steps), sizes, program.output + 1, program.exponent, exponents)


def weighted(program: Program, scales: torch.Tensor) -> Program:
    """The program fed S x: the columns of its first step (which begins linear) times the scales, each rounded once.

    |W S - fl(matrix S)| <= s (eta majorant + loss) + u |matrix| s + TINY, and u |matrix| s <= u majorant s.
    """
    first = program.steps[0]
    assert isinstance(first, Linear)
    majorant = torch.where(first.majorant > 0.0, tensor_up(first.majorant * scales), 0.0)
    peak = float(scales.max()) if len(scales) else 1.0
    step = replace(
        first,
        matrix=first.matrix * scales,
        majorant=majorant,
        eta=add_up(mul_up(first.eta, 1.0 + 4.0 * U), 4.0 * U),
        loss=add_up(mul_up(first.loss, max(peak, 1.0)), 16.0 * TINY),
    )
    return replace(program, steps=(step, *program.steps[1:]))


def weight_sum(scales: torch.Tensor) -> float:
    """At least sum_j 1 / s_j^2."""
    return sum_up(tensor_up(1.0 / tensor_down(scales * scales)))


def transposed(program: Program) -> Program | None:
    """The program of J'; None for a graph that is no chain.

    Value v stands for 2^(e - e_v) of it, e the output's exponent: the stored matrices and slopes are the same.
    """
    ways = [0]
    for step in program.steps:
        if step.kept or step.sources != (ways[-1],) or len(step.targets) != 1:
            return None
        ways.append(step.targets[0])
    if ways[-1] != program.output:
        return None
    number = {v: len(ways) - 1 - place for place, v in enumerate(ways)}
    steps: list[Step] = []
    for step in reversed(program.steps):
        source, target = number[step.targets[0]], number[step.sources[0]]
        match step:
            case Linear():
                matrix, majorant = step.matrix.mT.contiguous(), step.majorant.mT.contiguous()
                steps.append(replace(step, sources=(source,), targets=(target,), matrix=matrix, majorant=majorant))
            case Slope() | Gain():
                steps.append(replace(step, source=source, target=target))
    back = ways[::-1]
    exponents = tuple(program.exponent - program.exponents[v] for v in back)
    return Program(tuple(steps), tuple(program.sizes[v] for v in back), len(ways) - 1, exponents[-1], exponents)
