"""How much work and memory a search for multipliers takes: what decides, before it begins, which one is made."""

from __future__ import annotations

import math

from lipaudit.engines.ellipsoid_program import Linear, Program

NEWTON_STEPS = 60
"""About what it takes; the deadline apart, it is allowed twice that."""

STAGE_STEPS = 15


def _parts(program: Program) -> list[int]:
    """The sizes of the bent values."""
    return [program.sizes[step.target] for step in program.steps if not isinstance(step, Linear)]


def newton_work(program: Program) -> float:
    """Of Newton's method on all multipliers together: factors and products of matrices as wide as all neurons."""
    neurons = sum(_parts(program))
    side = neurons + min(program.sizes[program.output], neurons)
    return NEWTON_STEPS * 3.0 * float(side) ** 3


def stages_work(program: Program) -> float:
    """Of the stages: the same for each bent value, with what is alive and what is read next."""
    work = 0.0
    for step in program.steps:
        if not isinstance(step, Linear):
            alive = sum(program.sizes[v] for v in step.kept) + program.sizes[step.target]
            work += STAGE_STEPS * 3.0 * float(2 * alive + program.sizes[step.target]) ** 3
    return work


def recursion_work(program: Program) -> float:
    """Of one evaluation of the recursion with its gradient: some products of matrices as wide as what is alive."""
    work = 1.0
    for step in program.steps:
        kept = sum(program.sizes[v] for v in step.kept)
        sources, targets = sum(program.sizes[v] for v in step.sources), sum(program.sizes[v] for v in step.targets)
        if step.sources == (0,) and not step.kept:
            work += 2.0 * targets * targets * sources
        else:
            work += 18.0 * float(kept + max(sources, targets)) ** 3
    return work if math.isfinite(work) else math.inf


def recursion_memory(program: Program) -> float:
    """Bytes that an evaluation of the recursion keeps for its gradient: some matrices of what is alive at each step."""
    total = 0.0
    for step in program.steps:
        if step.sources != (0,) or step.kept:
            side = sum(program.sizes[v] for v in (*step.kept, *step.targets))
            total += 8.0 * 8.0 * float(side) ** 2
    return total


def newton_memory(program: Program) -> float:
    """Bytes of Newton's method: some matrices as wide as all neurons, and the rows of the inequality."""
    return 8.0 * 16.0 * float(sum(_parts(program))) ** 2
