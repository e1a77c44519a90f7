"""Units for every value in which its ellipsoid is near the unit ball, however deep the network."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch

from lipaudit.engines.ellipsoid_closed import advanced, begun, indices, jacobi
from lipaudit.engines.ellipsoid_program import Linear, Program, Step
from lipaudit.linear.norms.sums import unscaled
from lipaudit.numerics.rounding import TINY, add_up

SHIFT = 4
"""Powers of two that a value's unit may be off by before it is changed."""


def balanced(program: Program) -> Program:
    """The same program in units where the recursion's Y stays near 1: exactly the same map.

    The norm of each matrix alone says little after some layers: a network of a hundred may contract by 1e-60 what the
    product of norms leaves at 1. Multiplying by a power of two is exact but for what leaves the normal range, which
    `loss` takes up. Which closed form finds the units does not matter to what is proven.
    """
    shifts = [0] * len(program.sizes)
    steps: list[Step] = []
    state, choose = begun(program), jacobi(0.5)
    for place, step in enumerate(program.steps):
        if isinstance(step, Linear):
            base = max((shifts[s] for s in step.sources), default=0)
            step = _shifted(step, [-shifts[s] for s in step.sources], [base] * len(step.targets), program.sizes)
        trial = replace(program, steps=(*steps, step, *program.steps[place + 1 :]))
        try:
            order, y = advanced(trial, place, state, choose)
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
            return program
        if isinstance(step, Linear):
            scale, changes = torch.ones(len(y), dtype=torch.float64), list[int]()
            for target in step.targets:
                at = indices(order, (target,), program.sizes)
                peak = float(y.diagonal()[at].max()) if len(at) else 0.0
                if not math.isfinite(peak):
                    return program
                change = round(math.log2(peak) / 2) if peak > 0.0 else 0
                changes.append(change if abs(change) >= SHIFT else 0)
                shifts[target] = base + changes[-1]
                scale[at] = 2.0 ** -changes[-1]
            step = _shifted(step, [0] * len(step.sources), changes, program.sizes)
            y = y * scale * scale[:, None]
        else:
            shifts[step.targets[0]] = shifts[step.sources[0]]
        steps.append(step)
        state = order, y
    exponents = tuple(e + shift for e, shift in zip(program.exponents, shifts, strict=True))
    return replace(program, steps=tuple(steps), exponent=exponents[program.output], exponents=exponents)


def _shifted(step: Linear, sources: list[int], targets: list[int], sizes: tuple[int, ...]) -> Linear:
    """The step for sources and targets held divided by 2^-source and 2^target of what they were."""
    if not any(sources) and not any(targets):
        return step
    across = torch.cat([torch.full((sizes[v],), -s) for v, s in zip(step.sources, sources, strict=True)])
    down = torch.cat([torch.full((sizes[v],), t) for v, t in zip(step.targets, targets, strict=True)])
    powers = across[None, :] - down[:, None]
    most = int(powers.max()) if powers.numel() else 0
    return replace(
        step,
        matrix=_ldexp(step.matrix, powers),
        majorant=_ldexp(step.majorant, powers),
        loss=add_up(unscaled(step.loss, max(most, -1500)), 16.0 * TINY),
    )


def _ldexp(x: torch.Tensor, powers: torch.Tensor) -> torch.Tensor:
    """x 2^powers, exact but for entries that leave the normal range (off by TINY at most).

    Not by torch.ldexp, which takes its powers in float32 in some versions.
    """
    return torch.from_numpy(np.ldexp(x.numpy(), powers.numpy().astype(np.int32)))
