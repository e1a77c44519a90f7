"""`--modulus`: |f(x) - f(y)| <= slope |x - y| + jump for models that jump, and the radii that it certifies."""

from __future__ import annotations

import time

import torch

from lipaudit.audit.settings import Progress
from lipaudit.audit.subject import Subject, assumptions, local_only, mixed_rows, model_facts, problem_facts, run_facts
from lipaudit.engines.affine_modulus import Modulus, moduli
from lipaudit.engines.pairwise import difference_norm, pairwise_constants
from lipaudit.errors import UsageError
from lipaudit.graph.graph import Graph
from lipaudit.graph.problem import Problem
from lipaudit.numerics.bound import ONE, UNBOUNDED
from lipaudit.numerics.box import Box
from lipaudit.numerics.rounding import mul_up, tensor_down, tensor_up
from lipaudit.ops.affine import Affine
from lipaudit.ops.jumping import Jumping
from lipaudit.report.finding import Finding
from lipaudit.report.report import AffineModulus, AuditReport, Jump


def bound_modulus(target: Subject, progress: Progress | None) -> AuditReport:
    """The modulus over the region, with every node that jumps. No slope from below: at a jump there is none."""
    if progress is not None:
        progress("affine modulus", 0, 1)
    problem = modulus_problem(target.simplified, target)
    started = time.monotonic()
    found = moduli(problem)[problem.graph.output]
    return AuditReport(
        "bound",
        model_facts(target.loaded.facts),
        problem_facts(target),
        run_facts(target),
        modulus=as_report(problem, found, time.monotonic() - started),
        findings=(*mixed_rows(target), *unbounded(problem)),
        assumptions=assumptions(target),
    )


def modulus_problem(graph: Graph, target: Subject) -> Problem:
    """The problem of a modulus. Raises UsageError for two different norms."""
    if target.settings.pair.mixed:
        raise UsageError("--modulus knows one norm for both sides")
    return Problem.over(graph, target.settings.pair, target.region, target.settings.budget)


def as_report(problem: Problem, modulus: Modulus, seconds: float) -> AffineModulus:
    """The report's form, with the jumps of the nodes that may jump over the region."""
    jumps = []
    for node in problem.graph.nodes:
        if isinstance(node.op, Jumping):
            height = node.op.jump(problem.norm, *problem.arguments(node))
            if height.value > 0.0:
                jumps.append(Jump(node.name, node.kind, height))
    return AffineModulus(modulus.slope, modulus.jump, tuple(jumps), seconds)


def unbounded(problem: Problem) -> tuple[Finding, ...]:
    """A finding for every node without a finite modulus over the region."""
    found = []
    for node in problem.graph.nodes:
        if isinstance(node.op, Jumping) and not node.op.jump(problem.norm, *problem.arguments(node)).finite:
            why = "what it chooses from, or jumps between, is not bounded here; a --domain bounds it"
            found.append(Finding("LIP110", node.name, why, node.kind))
    jumping = {node.name for node in problem.graph.nodes if isinstance(node.op, Jumping)}
    return (*found, *(f for f in local_only(problem) if f.subject not in jumping))


def modulus_radii(
    problem: Problem, values: Box, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, tuple[float, float]]:
    """(radii [N], correct [N], the range of the pairs' slopes) for output enclosures values [N, K] and labels [N].

    Sound: at x' f_y - f_j is at least m - (L |x' - x| + d), with m its value at x and (L, d) its modulus; so the class
    stays while |x' - x| < (m - d) / L for every j. Several moduli hold; the largest radius is taken.
    """
    found = moduli(problem)
    best = torch.zeros(len(labels), dtype=torch.float64)
    low = values.lower.gather(1, labels[:, None])
    margin = tensor_down(low - values.upper).scatter(1, labels[:, None], torch.inf)
    spread = (torch.inf, torch.inf)
    for slopes, jumps in _pairs(problem, found):
        left = tensor_down(margin - jumps[labels])
        ratio = torch.where(left > 0, tensor_down(left / slopes[labels]), torch.zeros_like(left))
        radii = torch.nan_to_num(ratio, nan=0.0, posinf=torch.inf).scatter(1, labels[:, None], torch.inf).amin(1)
        best = torch.maximum(best, radii)
        off = slopes[~torch.eye(len(slopes), dtype=torch.bool)]
        spread = min(spread, (float(off.min()), float(off.max())), key=lambda pair: pair[1])
    right = (margin > 0).all(1)
    return torch.where(right, best, torch.zeros_like(best)), right, spread


def _pairs(problem: Problem, values: list[Modulus]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(slopes, jumps), [K, K] each, of the differences of two outputs; every one of them holds.

    The modulus of f times |e_a - e_b|_dual; and, behind a last affine op of one argument, the differences of its rows.
    """
    graph, output = problem.graph, problem.graph.output
    count = int(torch.Size(graph.output_shape).numel())
    apart, off = difference_norm(problem.norm), 1.0 - torch.eye(count, dtype=torch.float64)
    whole = values[output]
    answers = [(_scaled(off, mul_up(apart, whole.slope.value)), _scaled(off, mul_up(apart, whole.jump.value)))]
    node = graph.nodes[output - 1] if output else None
    if node is not None and isinstance(node.op, Affine) and len(node.inputs) == 1:
        # of the last op alone, and not by way of all outputs together
        alone = [UNBOUNDED if place == output else ONE for place in range(len(values))]
        rows, inner = pairwise_constants(problem, alone), values[node.inputs[0]]
        answers.append((_scaled(rows, inner.slope.value), _scaled(rows, inner.jump.value)))
    return answers


def _scaled(rows: torch.Tensor, factor: float) -> torch.Tensor:
    return torch.where(rows == 0, torch.zeros_like(rows), tensor_up(rows * factor))
