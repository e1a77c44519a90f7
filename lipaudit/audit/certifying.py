"""`certify`: radii from the certified global constants of the differences of two outputs."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch

from lipaudit.audit.settings import Progress, Settings
from lipaudit.audit.subject import (
    Subject,
    as_points,
    assumptions,
    local_only,
    model_facts,
    outside,
    problem_facts,
    run_facts,
    subject,
)
from lipaudit.engines.layer_product import LayerProduct, constants
from lipaudit.engines.pairwise import pairwise_constants
from lipaudit.errors import InvalidInput, UsageError
from lipaudit.graph.graph import Graph, prune
from lipaudit.graph.problem import Problem
from lipaudit.ops.affine import Affine
from lipaudit.ops.smooth import LogSoftmax, Softmax
from lipaudit.probes.radii import classification_radii, regression_radius
from lipaudit.report.finding import Finding
from lipaudit.report.report import AuditReport, Method, Radii

LABEL = "pairwise product of layer gains"


def certify(
    model: str | Path,
    inputs: np.ndarray,
    labels: np.ndarray | None,
    settings: Settings,
    *,
    source: str = "inputs",
    radii: tuple[float, ...] = (),
    tolerance: float | None = None,
    progress: Progress | None = None,
) -> AuditReport:
    """Certified radii of every sample, and the certified accuracy at the given ones.

    labels: whole numbers [N] for a classifier (its outputs are the logits; a final softmax is looked through).
    tolerance: for a regression instead, how far the output vector may move, in the norm of the audit.
    Raises InvalidInput for labels that do not fit, UsageError for a classifier with one output.
    """
    target = subject(model, settings)
    points = as_points(inputs, target, source)
    started = time.monotonic()
    if progress is not None:
        progress("constants", 0, 2)
    if tolerance is not None:
        result, method = _regression(target, points, tolerance, source)
    else:
        result, method = _classification(target, points, labels, source)
    if progress is not None:
        progress("radii", 2, 2)
    findings = list(local_only(Problem.over(target.simplified, settings.norm, target.region)))
    wrong = int((~result.correct).sum())
    if wrong:
        findings.append(Finding("LIP301", source, f"{wrong} of {len(points)} samples are not classified as labelled"))
    said = list(assumptions(target))
    if (strays := outside(points, target)) > 0:
        said.append(f"{strays} of the inputs lie outside the declared domain: no radius is claimed for them")
        result = _without_strays(result, points, target)
    if target.region is not None:
        said.append("a radius holds for changed inputs inside the declared domain")
    return AuditReport(
        "certify",
        model_facts(target.loaded.facts),
        problem_facts(target),
        run_facts(target),
        methods=(method,),
        upper=method,
        radii=Radii(
            result.source,
            result.values,
            result.correct,
            result.lipschitz,
            result.method,
            tolerance,
            time.monotonic() - started,
        ),
        certified_at=radii,
        findings=tuple(findings),
        assumptions=tuple(said),
    )


def _without_strays(result: Radii, points: torch.Tensor, target: Subject) -> Radii:
    assert target.region is not None
    inside = ((points >= target.region.lower) & (points <= target.region.upper)).reshape(len(points), -1).all(1)
    values = np.where(inside.numpy(), result.values, 0.0)
    return Radii(result.source, values, result.correct, result.lipschitz, result.method, result.tolerance)


def _classification(
    target: Subject, points: torch.Tensor, labels: np.ndarray | None, source: str
) -> tuple[Radii, Method]:
    if labels is None:
        raise UsageError("certify needs --labels (or --tolerance for a regression)")
    logits = without_softmax(target.simplified)
    count = int(torch.Size(logits.output_shape).numel())
    if count < 2:
        raise UsageError(
            "the model has one output, so no class can win over another: give --tolerance for a regression"
        )
    wanted = _class_labels(labels, len(points), count, source)
    problem = Problem.over(logits, target.settings.norm, target.region, target.settings.budget)
    started = time.monotonic()
    values = constants(problem)
    pairs = pairwise_constants(problem, values)
    seconds = time.monotonic() - started
    radii, correct = classification_radii(without_softmax(target.graph), pairs, points, wanted)
    off = pairs[~torch.eye(count, dtype=torch.bool)]
    spread = (float(off.min()), float(off.max()))
    method = Method(LayerProduct.name, "product of layer gains, of the logits", seconds, values[logits.output])
    return Radii(source, radii.numpy(), correct.numpy(), spread, LABEL), method


def _class_labels(labels: np.ndarray, samples: int, classes: int, source: str) -> torch.Tensor:
    flat = np.asarray(labels).reshape(-1)
    if len(flat) != samples:
        raise InvalidInput(f"{source}: {samples} inputs, but {len(flat)} labels")
    whole = np.asarray(flat, dtype=np.float64)
    if not np.all(np.isfinite(whole)) or np.any(whole != np.floor(whole)):
        raise InvalidInput(f"{source}: the labels are not whole numbers; a regression takes --tolerance instead")
    if whole.min() < 0 or whole.max() >= classes:
        said = f"label {int(whole.max() if whole.max() >= classes else whole.min())}"
        raise InvalidInput(f"{source}: {said} is not one of the model's {classes} classes (0 to {classes - 1})")
    return torch.as_tensor(whole.astype(np.int64))


def without_softmax(graph: Graph) -> Graph:
    """The graph up to the logits: softmax and log-softmax keep the order of the classes of one sample."""
    output = graph.output
    while output:
        node = graph.nodes[output - 1]
        moves = isinstance(node.op, Affine) and node.kind in ("Reshape", "Flatten", "Squeeze", "Softmax", "LogSoftmax")
        whole = isinstance(node.op, Softmax | LogSoftmax) and _over_all(node.op)
        if not (whole or moves):
            break
        output = node.inputs[0]
        if whole:
            return simplified_output(graph, output)
    return graph


def _over_all(op: Softmax | LogSoftmax) -> bool:
    return op.shape[op.axis] == torch.Size(op.shape).numel()


def simplified_output(graph: Graph, output: int) -> Graph:
    """The same graph with another value as its output."""
    return prune(Graph(graph.input_shape, graph.nodes, output))


def _regression(target: Subject, points: torch.Tensor, tolerance: float, source: str) -> tuple[Radii, Method]:
    if not tolerance > 0.0:
        raise UsageError(f"--tolerance {tolerance} is not positive")
    problem = Problem.over(target.simplified, target.settings.norm, target.region, target.settings.budget)
    started = time.monotonic()
    constant = constants(problem)[target.simplified.output]
    method = Method(LayerProduct.name, LayerProduct.label, time.monotonic() - started, constant)
    radius = regression_radius(constant.value, tolerance)
    values = np.full(len(points), radius)
    everyone = np.ones(len(points), dtype=bool)
    return Radii(source, values, everyone, (constant.value, constant.value), LayerProduct.label, tolerance), method
