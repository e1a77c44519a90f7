"""`certify`: radii from the certified global constants of the differences of two outputs."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from dataclasses import replace

import numpy as np
import torch

from lipaudit.audit.attacking import attacked, contradicted
from lipaudit.audit.confirming import Change, Misclassified, Moved
from lipaudit.audit.growing import local_radii
from lipaudit.audit.regions import drawing, drawn
from lipaudit.audit.settings import DEFAULTS, Progress, Settings
from lipaudit.audit.stages import Grown
from lipaudit.audit.subject import (
    Subject,
    as_points,
    assumptions,
    local_only,
    mixed_rows,
    model_facts,
    outside,
    problem_facts,
    run_facts,
    subject,
)
from lipaudit.audit.tolerance import LABEL as TOLERANCE
from lipaudit.audit.tolerance import global_radii, local_tolerance_radii
from lipaudit.engines.ellipsoid import Ellipsoid
from lipaudit.engines.engine import Declined
from lipaudit.engines.fourier import FourierEllipsoid
from lipaudit.engines.layer_product import LayerProduct, constants
from lipaudit.engines.pairwise import pairwise_constants
from lipaudit.engines.weighted import Weighted
from lipaudit.errors import UsageError
from lipaudit.graph.graph import Graph, prune
from lipaudit.graph.problem import Problem
from lipaudit.linear.selection import Selection
from lipaudit.loading import ModelLike
from lipaudit.loading.arrays import as_labels, numbers
from lipaudit.numerics.norms import Norm
from lipaudit.numerics.rounding import sqrt_up, tensor_up
from lipaudit.ops.affine import Affine
from lipaudit.ops.smooth import LogSoftmax, Softmax
from lipaudit.probes.radii import classification_radii
from lipaudit.report.finding import Finding
from lipaudit.report.report import AuditReport, Method, Radii

LABEL = "margin over the constant of each pair of logits"
CLOCK = "the clock ended the attack before its work was done: on a machine that is less busy it may find nearer inputs"
LOCAL = "margin used up by the constants of each pair of logits over growing balls"


def certify(
    model: ModelLike,
    inputs: np.ndarray,
    labels: np.ndarray | None,
    settings: Settings = DEFAULTS,
    *,
    source: str = "inputs",
    labels_source: str = "labels",
    radii: tuple[float, ...] = (),
    tolerance: float | None = None,
    attack: float = 0.0,
    local: bool = False,
    limit: int | None = None,
    progress: Progress | None = None,
    interruptible: bool = False,
) -> AuditReport:
    """Certified radii of every sample, and the certified accuracy at the given ones.

    source, labels_source: where both came from, for messages and the report.
    labels: whole numbers [N] for a classifier (its outputs are the logits; a final softmax is looked through).
    tolerance: for a regression instead, how far the output vector may move, in the norm of the audit.
    local: from constants over balls that grow around each sample, then by branch and bound on the sides of its neurons,
    within the budget; never below the others.
    limit: only so many of the samples, drawn by the seed.
    attack: seconds for counterexamples, the other end of each radius's bracket.
    interruptible: whether Ctrl-C, once there are radii, ends the audit with a report of them (LIP401), instead of none.
    Raises InvalidInput for labels that do not fit, UsageError for a classifier with one output.
    """
    if tolerance is None:
        settings.one_norm("the radius of a classification is in the inputs' norm alone, so give that one")
    target = subject(model, settings)
    picked = drawn(len(inputs), limit, settings.seed)
    picked_from = len(inputs)
    if picked is not None:
        inputs, labels = np.asarray(inputs)[picked], _picked(labels, len(inputs), picked)
    points = as_points(inputs, target, source)
    if settings.modulus:
        from lipaudit.audit.jumping import certify_modulus

        if local:
            raise UsageError("--method local bounds slopes, and a function that jumps has none: leave it out")
        report = certify_modulus(target, points, labels, source, labels_source, radii, tolerance)
        note = () if picked is None else (drawing(len(picked), picked_from, settings.seed),)
        return replace(report, drawn=picked, assumptions=(*report.assumptions, *note))
    started = time.monotonic()
    if progress is not None:
        progress("constants", 0, 2)
    pairs = None
    if tolerance is not None:
        result, method = global_radii(target, points, tolerance, source)
    else:
        result, method, pairs = _classification(target, points, labels, source, labels_source)
    if progress is not None:
        progress("radii", 2, 2)
    findings = list(mixed_rows(target))
    findings += list(local_only(Problem.over(target.simplified, settings.norm, target.region)))
    wrong = int((~result.correct).sum())
    if wrong:
        findings.append(Finding("LIP301", source, f"{wrong} of {len(points)} samples are not classified as labelled"))
    said = list(assumptions(target))
    if (strays := outside(points, target)) > 0:
        said.append(f"{strays} of the inputs lie outside the declared domain: no radius is claimed for them")
        result = without_strays(result, points, target)
    undone: list[str] = []
    if local:
        result, found = _grown(target, points, result, pairs, started + settings.budget, progress)
        if found.missed:
            said.append(
                f"{found.missed} samples were not reached within the budget: theirs are from the whole domain alone"
            )
        if found.late:
            said.append(f"{found.late} samples were cut short by the budget: given more, their radii may be larger")
        left = found.missed + found.late
        rest = f"the local radii of {left} samples" if left else "the rest of the branch and bound"
        undone += [rest] if found.cut else []
    if picked is not None:
        said.append(drawing(len(picked), picked_from, settings.seed))
    if attack > 0.0:
        if undone:
            undone.append("the attack")
        else:
            result, method, broken, cut, late = _bracketed(target, points, result, method, attack, progress)
            findings += broken
            said += [CLOCK] if late else []
            undone += ["the rest of the attack"] if cut else []
    if undone:
        if not interruptible:
            raise KeyboardInterrupt
        findings.append(Finding("LIP401", str(target.loaded.facts.path), f"not done: {', '.join(undone)}"))
    if target.region is not None:
        said.append("a radius holds for changed inputs inside the declared domain")
    return AuditReport(
        "certify",
        model_facts(target.loaded.facts),
        problem_facts(target),
        run_facts(target),
        methods=(method,),
        upper=method,
        radii=replace(result, tolerance=tolerance, seconds=time.monotonic() - started),
        certified_at=radii,
        drawn=picked,
        findings=tuple(findings),
        assumptions=tuple(said),
    )


def _picked(labels: np.ndarray | None, count: int, picked: np.ndarray) -> np.ndarray | None:
    """The labels of the drawn samples; labels that do not fit stay as they are, to be refused as such."""
    flat = None if labels is None else np.asarray(labels).reshape(-1)
    return labels if flat is None or len(flat) != count else flat[picked]


def _grown(
    target: Subject,
    points: torch.Tensor,
    result: Radii,
    pairs: torch.Tensor | None,
    deadline: float,
    progress: Progress | None,
) -> tuple[Radii, Grown]:
    """The radii from balls that grow around each sample and branch and bound, and what became of them."""
    known, pair, region = torch.as_tensor(result.values), target.settings.pair, target.region
    worth = torch.as_tensor(result.correct) & _inside(points, target)
    # the balls, and then the trees
    tell = None if progress is None else lambda done: progress("radii", done, 2 * int(worth.sum()))
    budget = target.settings.budget
    if pairs is None:
        assert result.tolerance is not None
        graph, slack, constant, label = target.simplified, result.tolerance, result.lipschitz[1], TOLERANCE
        found = local_tolerance_radii(
            graph, pair, region, points, slack, constant, known, worth, deadline, budget, tell
        )
    else:
        logits, labels, label = without_softmax(target.simplified), torch.as_tensor(result.labels), LOCAL
        found = local_radii(logits, pair.source, region, points, labels, pairs, known, worth, deadline, budget, tell)
    label = f"{label}, then curvature" if found.curved else label
    label = f"{label}, then quadratic certificates" if found.squared else label
    label = f"{label}, then branch and bound on the sides of the neurons" if found.raised else label
    return replace(result, values=found.values.numpy(), method=label, whole=result.values), found


def _bracketed(
    target: Subject, points: torch.Tensor, result: Radii, method: Method, seconds: float, progress: Progress | None
) -> tuple[Radii, Method, list[Finding], bool, bool]:
    """The radii with the attack's counterexamples, and whether Ctrl-C cut it short, or the clock.

    A counterexample inside a certified radius is our fault: then none is claimed.
    """
    tell = None if progress is None else lambda done: progress("attack", done, len(points))
    norm = target.settings.pair.source
    search, exact, does = target.simplified, target.graph, "moves too far"
    if result.tolerance is None:
        search, exact, does = without_softmax(search), without_softmax(exact), "changes class"
    try:
        change = _change(target, points, result)
        found, cut, late = attacked(target, norm, search, exact, points, result, change, seconds, tell)
    except KeyboardInterrupt:
        return result, method, [], True, False
    inside = contradicted(found, result)
    if not len(inside):
        return replace(result, attack=found), method, [], cut, late
    row, reason = int(inside[0]), "a counterexample lies inside a certified radius"
    said = f"sample {row} {does} at distance {found.values[row]:.6g}, inside its radius {result.values[row]:.6g}"
    more = "" if len(inside) == 1 else f", and {len(inside) - 1} more samples do"
    nothing = replace(result, values=np.zeros_like(result.values), whole=None, attack=found)
    broken = Finding("LIP901", method.name, f"{said}{more}")
    return nothing, replace(method, bound=None, reason=reason), [broken], cut, late


def _change(target: Subject, points: torch.Tensor, result: Radii) -> Change:
    """What the attack looks for."""
    if result.tolerance is not None:
        return Moved.of(target, points, result.tolerance)
    assert result.labels is not None
    return Misclassified(torch.as_tensor(result.labels))


def without_strays(result: Radii, points: torch.Tensor, target: Subject) -> Radii:
    """The radii, 0 for inputs outside the region."""
    return replace(result, values=np.where(_inside(points, target).numpy(), result.values, 0.0))


def _inside(points: torch.Tensor, target: Subject) -> torch.Tensor:
    if target.region is None:
        return torch.ones(len(points), dtype=torch.bool)
    return ((points >= target.region.lower) & (points <= target.region.upper)).reshape(len(points), -1).all(1)


def _classification(
    target: Subject, points: torch.Tensor, labels: np.ndarray | None, source: str, labels_source: str
) -> tuple[Radii, Method, torch.Tensor]:
    if labels is None:
        raise UsageError("certify needs --labels (or --tolerance for a regression)")
    logits = without_softmax(target.simplified)
    count = int(torch.Size(logits.output_shape).numel())
    if count < 2:
        raise UsageError(
            "the model has one output, so no class can win over another: give --tolerance for a regression"
        )
    wanted = labels_of(labels, len(points), count, labels_source)
    problem = Problem.over(logits, target.settings.norm, target.region, target.settings.budget, target.settings.limits)
    pairs, method = _pairs(problem)
    radii, correct = classification_radii(without_softmax(target.graph), pairs, points, wanted)
    off = pairs[~torch.eye(count, dtype=torch.bool)]
    spread = (float(off.min()), float(off.max()))
    return Radii(source, radii.numpy(), correct.numpy(), spread, LABEL, labels=wanted.numpy()), method, pairs


def labels_of(labels: np.ndarray, count: int, classes: int, source: str) -> torch.Tensor:
    """The labels as int64 [count]. Raises InvalidInput where they are none."""
    return torch.as_tensor(as_labels(numbers(np.asarray(labels), source), count, classes, source))


def _pairs(problem: Problem) -> tuple[torch.Tensor, Method]:
    """The constants of all differences of two logits, the smallest of every valid bound, and that of all logits."""
    started, norm = time.monotonic(), problem.norm
    values = constants(problem)
    pairs = pairwise_constants(problem, values)
    best = Method(LayerProduct.name, LayerProduct.label, 0.0, values[problem.graph.output])
    inside = problem.within(Norm.L2)
    if norm is not Norm.L2:
        pairs = torch.minimum(pairs, _carried(pairwise_constants(inside, constants(inside)), problem))
    for engine in (FourierEllipsoid(), Ellipsoid()):
        try:
            around, whole = engine.pairwise(inside)
        except (Declined, MemoryError, ArithmeticError, ValueError, RuntimeError):
            continue  # the other bounds hold without it, as they do where an engine of `bound` declines
        pairs = torch.minimum(pairs, _carried(around, problem))
        if norm is Norm.L2 and best.bound is not None and whole.value < best.bound.value:
            best = Method(engine.name, engine.label, 0.0, whole)
    if norm is Norm.LINF:
        with suppress(Declined, MemoryError, ArithmeticError, ValueError, RuntimeError):  # as above
            pairs = torch.minimum(pairs, Weighted().pairwise(problem))
    return pairs, replace(best, label=f"{best.label}, of the logits", seconds=time.monotonic() - started)


def _carried(pairs: torch.Tensor, problem: Problem) -> torch.Tensor:
    """l2 constants of scalar functions in the problem's norm.

    A gradient g has |g|_1 <= sqrt(n) |g|_2 (linf in) and |g|_inf <= |g|_2 (l1 in).
    """
    if problem.norm is not Norm.LINF:
        return pairs
    return tensor_up(pairs * sqrt_up(float(math.prod(problem.graph.input_shape))))


def without_softmax(graph: Graph) -> Graph:
    """The graph up to the logits: softmax and log-softmax keep the order of the classes of one sample."""
    output = graph.output
    while output:
        node = graph.nodes[output - 1]
        moves = isinstance(node.op, Affine) and _only_reshapes(node.op)
        whole = isinstance(node.op, Softmax | LogSoftmax) and _over_all(node.op)
        if not (whole or moves):
            break
        output = node.inputs[0]
        if whole:
            return simplified_output(graph, output)
    return graph


def _only_reshapes(op: Affine) -> bool:
    """Whether the entries keep their order and values: anything else would rename the classes."""
    part = op.maps[0]
    return len(op.maps) == 1 and op.offset is None and isinstance(part, Selection) and part.index is None


def _over_all(op: Softmax | LogSoftmax) -> bool:
    masked = isinstance(op, Softmax) and op.keep is not None
    return op.shape[op.axis] == torch.Size(op.shape).numel() and not masked


def simplified_output(graph: Graph, output: int) -> Graph:
    """The same graph with another value as its output."""
    return prune(Graph(graph.input_shape, graph.nodes, output))
