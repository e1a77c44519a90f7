"""A certificate: the multipliers that prove a model's l2 constant over all inputs, for the independent checker."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch

from lipaudit.audit.settings import Settings
from lipaudit.audit.subject import subject
from lipaudit.engines.ellipsoid import Ellipsoid
from lipaudit.engines.ellipsoid_program import Gain, Linear, Program
from lipaudit.engines.engine import Declined
from lipaudit.errors import Unsupported
from lipaudit.graph.problem import Problem
from lipaudit.loading import ModelLike
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm


@final
@dataclass(frozen=True, slots=True, eq=False)
class Multipliers:
    """lambda for every entry of every activation, in order, and the bound they proved here. Guesses for a checker."""

    value: float
    rates: tuple[torch.Tensor, ...]
    input: str
    output: str
    shape: tuple[int, ...]


def multipliers(model: ModelLike, settings: Settings) -> Multipliers:
    """What the ellipsoid engine ends with, in raw units: lambda = 1 / Theta, with each value's scale taken out.

    Raises Unsupported for a domain, other norms, several inputs or outputs, and what the engine does not prove.
    """
    if settings.domain is not None or settings.pair.mixed or settings.pair.source is not Norm.L2 or settings.fixed:
        raise Unsupported("a certificate is of the l2 constant over all inputs: leave out --domain, --norm and --fix")
    target = subject(model, settings)
    facts = target.loaded.facts
    if len(facts.inputs) != 1 or len(facts.outputs) != 1:
        raise Unsupported("a certificate is of one input and one output: choose with --output")
    problem = Problem.over(target.simplified, Norm.L2, None, settings.budget)
    # The checker gives every activation all the slopes it has anywhere; so must these multipliers.
    anywhere = tuple(Box.everything(tuple(box.lower.shape)) for box in problem.boxes)
    try:
        program, proof = Ellipsoid().prove(replace(problem, boxes=anywhere))
    except Declined as declined:
        raise Unsupported(f"there is no certificate of this model: {declined}") from None
    if proof.multipliers is None:
        raise Unsupported("there is no certificate of this model: no multipliers proved a bound")
    rates = tuple(_rates(program, place, theta) for place, theta in _bent(program, proof.multipliers))
    return Multipliers(proof.value, rates, facts.inputs[0].name, facts.outputs[0].name, facts.inputs[0].shape)


def _bent(program: Program, guess: dict[int, torch.Tensor]) -> list[tuple[int, torch.Tensor]]:
    for step in program.steps:
        if isinstance(step, Gain):
            raise Unsupported("a certificate is of affine ops and activations; an op here is known by its gain only")
    return [(n, guess[n]) for n, step in enumerate(program.steps) if not isinstance(step, Linear)]


def _rates(program: Program, place: int, theta: torch.Tensor) -> torch.Tensor:
    """1 / Theta is of the source divided by 2^e."""
    exponent = program.exponents[program.steps[place].sources[0]]
    return torch.from_numpy(np.ldexp(1.0 / theta.reshape(-1).numpy(), -2 * exponent))
