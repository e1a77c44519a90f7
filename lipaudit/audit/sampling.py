"""`local`: the Jacobian's norm at given inputs, and the steepest proven pair near the largest."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from lipaudit.audit.bounding import as_attained
from lipaudit.audit.settings import Progress, Settings
from lipaudit.audit.subject import as_points, assumptions, model_facts, outside, problem_facts, run_facts, subject
from lipaudit.probes.jacobian import jacobian_norms
from lipaudit.probes.witness import best_witness
from lipaudit.report.report import AuditReport, Samples

WITNESSES = 4
"""How many of the largest samples are tried for a proven lower bound."""


def local(
    model: str | Path,
    inputs: np.ndarray,
    settings: Settings,
    *,
    source: str = "inputs",
    directions: bool = False,
    progress: Progress | None = None,
) -> AuditReport:
    """The Jacobian's operator norm at every input [N, *input_shape], in float64 (kind: numeric).

    directions: keep each sample's most amplified direction. The largest few samples also give a lower bound of the
    Lipschitz constant that is proven, at a pair of points.
    """
    target = subject(model, settings)
    points = as_points(inputs, target, source)
    started = time.monotonic()
    answer = jacobian_norms(
        target.graph.forward,
        points,
        settings.norm,
        directions=directions,
        seed=settings.seed,
        progress=None if progress is None else lambda done: progress("Jacobian norms", done, len(points)),
    )
    seconds = time.monotonic() - started
    top = answer.norm.argsort(descending=True)[:WITNESSES]
    steepest = jacobian_norms(target.graph.forward, points[top], settings.norm, directions=True, seed=settings.seed)
    assert steepest.direction is not None
    searched = time.monotonic()
    witness = best_witness(target.graph, settings.norm, points[top], steepest.direction, target.region)
    kept = None if answer.direction is None else answer.direction.numpy()
    said = list(assumptions(target))
    if (strays := outside(points, target)) > 0:
        said.append(f"{strays} of the inputs lie outside the declared domain")
    return AuditReport(
        "local",
        model_facts(target.loaded.facts),
        problem_facts(target),
        run_facts(target),
        lower=None if witness is None else as_attained(witness, "samples", "slope at the largest samples", searched),
        samples=Samples(source, answer.norm.numpy(), kept, seconds, answer.method),
        assumptions=tuple(said),
    )
