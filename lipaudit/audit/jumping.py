"""`certify --modulus`: radii (margin - jump) / slope for models that jump."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import torch

from lipaudit.audit.certifying import labels_of, without_softmax, without_strays
from lipaudit.audit.modulus import as_report, modulus_problem, modulus_radii, unbounded
from lipaudit.audit.subject import (
    Subject,
    assumptions,
    mixed_rows,
    model_facts,
    outside,
    problem_facts,
    run_facts,
)
from lipaudit.engines.affine_modulus import moduli
from lipaudit.errors import UsageError
from lipaudit.numerics.box import Box
from lipaudit.numerics.rounding import down
from lipaudit.probes.witness import batches, values_at
from lipaudit.report.finding import Finding
from lipaudit.report.report import AuditReport, Radii

LABEL = "margin less the jump, over the slope, of each pair of logits"


def certify_modulus(
    target: Subject,
    points: torch.Tensor,
    labels: np.ndarray | None,
    source: str,
    labels_source: str,
    wanted: tuple[float, ...],
    tolerance: float | None,
) -> AuditReport:
    """Radii of every sample from the modulus of f_y - f_j; for a regression, from the modulus of f."""
    started = time.monotonic()
    exact = target.graph if tolerance is not None else without_softmax(target.graph)
    graph = target.simplified if tolerance is not None else without_softmax(target.simplified)
    problem = modulus_problem(graph, target)
    modulus = moduli(problem)[problem.graph.output]
    findings = [*mixed_rows(target), *unbounded(problem)]
    if tolerance is not None:
        if not tolerance > 0.0:
            raise UsageError(f"--tolerance {tolerance} is not positive")
        left, slope = down(tolerance - modulus.jump.value), modulus.slope.value
        radius = 0.0 if not left > 0.0 else math.inf if slope == 0.0 else max(0.0, down(left / slope))
        values, right = np.full(len(points), radius), np.ones(len(points), dtype=bool)
        result = Radii(source, values, right, (slope, slope), "affine modulus", tolerance)
    else:
        if labels is None:
            raise UsageError("certify needs --labels (or --tolerance for a regression)")
        count = math.prod(graph.output_shape)
        if count < 2:
            raise UsageError("the model has one output: give --tolerance for a regression")
        truth = labels_of(labels, len(points), count, labels_source)
        boxes = [values_at(exact, points[rows]) for rows in batches(exact, len(points))]
        low, high = (torch.cat([e.reshape(len(e), -1) for e in ends]) for ends in _ends(boxes))
        found, correct, spread = modulus_radii(problem, Box(low, high), truth)
        result = Radii(source, found.numpy(), correct.numpy(), spread, LABEL, labels=truth.numpy())
        if wrong := int((~correct).sum()):
            findings.append(
                Finding("LIP301", source, f"{wrong} of {len(points)} samples are not classified as labelled")
            )
    said = list(assumptions(target))
    if (strays := outside(points, target)) > 0:
        said.append(f"{strays} of the inputs lie outside the declared domain: no radius is claimed for them")
        result = without_strays(result, points, target)
    if target.region is not None:
        said.append("a radius holds for changed inputs inside the declared domain")
    seconds = time.monotonic() - started
    return AuditReport(
        "certify",
        model_facts(target.loaded.facts),
        problem_facts(target),
        run_facts(target),
        radii=replace(result, seconds=seconds),
        modulus=as_report(problem, modulus, seconds),
        certified_at=wanted,
        findings=tuple(findings),
        assumptions=tuple(said),
    )


def _ends(boxes: list[Box]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    return [box.lower for box in boxes], [box.upper for box in boxes]
