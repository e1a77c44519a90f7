"""`local`: the Jacobian's norm at given inputs, and the steepest proven pair near the largest."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch

from lipaudit.audit.bounding import as_attained
from lipaudit.audit.bracketing import bracketed
from lipaudit.audit.regions import drawing, drawn, regions
from lipaudit.audit.settings import DEFAULTS, Progress, Settings
from lipaudit.audit.subject import (
    Subject,
    as_points,
    assumptions,
    model_facts,
    outside,
    problem_facts,
    run_facts,
    subject,
)
from lipaudit.errors import UsageError
from lipaudit.graph.device import moved
from lipaudit.graph.graph import Graph
from lipaudit.loading import ModelLike
from lipaudit.numerics.norms import Norm, NormPair, Norms
from lipaudit.probes.jacobian import JacobianNorms, jacobian_norms
from lipaudit.probes.mixed_jacobian import is_hard
from lipaudit.probes.reduce import Reduced, input_reduced
from lipaudit.probes.witness import best_witness
from lipaudit.report.finding import Finding
from lipaudit.report.report import AuditReport, Samples, Steepest

WITNESSES = 4
"""How many of the largest samples are tried for a proven lower bound."""


def local(
    model: ModelLike,
    inputs: np.ndarray,
    settings: Settings = DEFAULTS,
    *,
    source: str = "inputs",
    directions: bool = False,
    radius: float | None = None,
    limit: int | None = None,
    progress: Progress | None = None,
) -> AuditReport:
    """The Jacobian's operator norm at every input [N, *input_shape], in float64 (kind: numeric).

    radius: also a certified bound of the Lipschitz constant over each ball |x' - x| <= radius, cut by the domain, and
    beside it what a pair of points of the ball attains.
    limit: only so many of the inputs, drawn by the seed.
    directions: keep each sample's most amplified direction. The largest few samples also give a lower bound of the
    Lipschitz constant that is proven, at a pair of points.
    """
    if is_hard(settings.pair):
        settings.one_norm(
            f"the norm of a Jacobian {settings.pair} is NP-hard to compute; local knows pairs from l1 or to linf"
        )
    if radius is not None:
        settings.one_norm("a bound over a ball is known in one norm on both sides; leave --radius out")
    if settings.modulus:
        raise UsageError("a model that jumps has an affine modulus (bound, certify); its Jacobian says nothing")
    target = subject(model, settings)
    picked = drawn(len(inputs), limit, settings.seed)
    points = as_points(inputs if picked is None else np.asarray(inputs)[picked], target, source)
    started = time.monotonic()
    sampler = Sampler.of(target)
    answer = sampler(
        points,
        directions=directions,
        progress=None if progress is None else lambda done: progress("Jacobian norms", done, len(points)),
    )
    seconds = time.monotonic() - started
    top = answer.norm.argsort(descending=True)[:WITNESSES]
    steepest = sampler(points[top], directions=True)
    assert steepest.direction is not None
    searched = time.monotonic()
    witness = best_witness(target.graph, settings.norm, points[top], steepest.direction, target.region)
    kept = None if answer.direction is None else answer.direction.numpy()
    lower = None if witness is None else as_attained(witness, "samples", "slope at the largest samples", searched)
    certified, findings = None, tuple[Finding, ...]()
    if radius is not None:
        tell = None if progress is None else lambda done: progress("certified constants", done, len(points))
        certified, met = regions(target, points, radius, source, tell)
        searched = time.monotonic()
        tell = None if progress is None else lambda done: progress("attained constants", done, len(points))
        certified, inside, findings = bracketed(target, points, certified, met, tell)
        if inside is not None and (witness is None or inside.bound.value > witness.bound.value):
            lower = as_attained(inside, "balls", "slope between two points of a ball", searched)
    said = list(assumptions(target))
    if (strays := outside(points, target)) > 0:
        more = "" if radius is None else "; where a ball has no part of it, nothing is attained there"
        said.append(f"{strays} of the inputs lie outside the declared domain{more}")
    if picked is not None:
        said.append(drawing(len(picked), len(inputs), settings.seed))
    return AuditReport(
        "local",
        model_facts(target.loaded.facts),
        problem_facts(target),
        run_facts(target),
        lower=lower,
        samples=Samples(source, answer.norm.numpy(), kept, seconds, answer.method, _steepest(points, top, steepest)),
        regions=certified,
        findings=findings,
        drawn=picked,
        assumptions=tuple(said),
    )


def _steepest(points: torch.Tensor, top: torch.Tensor, found: JacobianNorms) -> tuple[Steepest, ...]:
    """The samples at the indices `top`, each with what was found there."""
    assert found.direction is not None
    rows = zip(top.tolist(), found.norm.tolist(), points[top], found.direction, strict=True)
    return tuple(Steepest(index, norm, x.numpy().copy(), way.numpy().copy()) for index, norm, x, way in rows)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Sampler:
    """Jacobian norms of a subject; in l2 with the input side of a wide first layer reduced, once."""

    graph: Graph
    norm: Norms
    seed: int
    reduced: Reduced | None
    device: torch.device

    @staticmethod
    def of(target: Subject) -> Sampler:
        norm, device = target.settings.norm, torch.device(target.settings.device)
        reduced = input_reduced(target.simplified) if target.settings.pair == NormPair.of(Norm.L2) else None
        return Sampler(moved(target.simplified, device), norm, target.settings.seed, moved(reduced, device), device)

    def __call__(
        self, points: torch.Tensor, *, directions: bool = False, progress: Callable[[int], None] | None = None
    ) -> JacobianNorms:
        """The norms at points [N, *input_shape], and the most amplified directions where asked."""
        small = self.reduced
        forward = self.graph.forward if small is None else small.graph.forward
        inputs = points.to(self.device) if small is None else small.project(points.to(self.device))
        answer = jacobian_norms(forward, inputs, self.norm, directions=directions, seed=self.seed, progress=progress)
        if small is not None and answer.direction is not None:
            answer = replace(answer, direction=small.lift(answer.direction, self.graph.input_shape))
        return moved(answer, torch.device("cpu"))
