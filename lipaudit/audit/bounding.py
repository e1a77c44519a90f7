"""`bound`: per-layer gains, certified upper bounds of the global constant, and a lower bound that is attained."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from lipaudit.audit.modulus import bound_modulus
from lipaudit.audit.settings import DEFAULTS, Progress, Settings
from lipaudit.audit.subject import (
    Subject,
    as_points,
    assumptions,
    local_only,
    mixed_rows,
    model_facts,
    problem_facts,
    run_facts,
    subject,
)
from lipaudit.audit.suprema import steepest_norms
from lipaudit.engines.attention import Whole
from lipaudit.engines.changeover import Changeover, path
from lipaudit.engines.converted import Converted
from lipaudit.engines.corners import Corners
from lipaudit.engines.ellipsoid import Ellipsoid
from lipaudit.engines.engine import Engine, Interrupted, Outcome, contradicted, run
from lipaudit.engines.entrywise import Entrywise
from lipaudit.engines.exact import Exact
from lipaudit.engines.fourier import FourierEllipsoid
from lipaudit.engines.layer_product import LayerProduct, wholes_met
from lipaudit.engines.weighted import Weighted
from lipaudit.errors import UsageError
from lipaudit.graph.problem import Problem
from lipaudit.loading import ModelLike
from lipaudit.numerics.bound import UpperBound
from lipaudit.numerics.norms import NormPair, Norms
from lipaudit.ops.affine import Affine
from lipaudit.probes.ascent import ascend
from lipaudit.probes.witness import Witness
from lipaudit.report.finding import Finding
from lipaudit.report.report import Attained, AuditReport, Layer, Method

ENGINES: tuple[Engine, ...] = (
    LayerProduct(),
    Entrywise(),
    FourierEllipsoid(),  # before the dense one, which may take all the time there is
    Ellipsoid(),
    Changeover(),
    Weighted(),  # before the converted one, for the same reason
    Converted((LayerProduct(), FourierEllipsoid(), Ellipsoid())),
    Exact(),
    Corners(),
)
SEARCH_SECONDS = 4.0


def bound(
    model: ModelLike,
    settings: Settings = DEFAULTS,
    progress: Progress | None = None,
    *,
    starts: np.ndarray | None = None,
    source: str = "inputs",
    engines: Sequence[Engine] = (),
    interruptible: bool = False,
) -> AuditReport:
    """The bracket of the Lipschitz constant over the domain (everywhere without one).

    starts: inputs [N, *input_shape] to begin the search for the lower bound from, besides random ones; source: their
    name, for messages.
    engines: further engines to run, whose soundness their author vouches for; named in the report.
    interruptible: whether Ctrl-C ends the audit with a report of what was proven until then (LIP401), instead of none.
    """
    target = subject(model, settings)
    if settings.modulus:
        return bound_modulus(target, progress)
    problem = Problem.over(target.simplified, settings.norm, target.region, settings.budget, settings.limits)
    chosen = (*engines_for(settings.norm, settings.methods), *engines)
    outcomes: list[Outcome] = []
    lower = None
    try:
        for place, engine in enumerate(chosen):
            _tell(progress, f"upper bound: {engine.label}", place, len(chosen) + 1)
            outcomes.append(run(engine, problem))
        _tell(progress, "lower bound: search", len(chosen), len(chosen) + 1)
        begin = [*problem.hints, *([] if starts is None else [as_points(starts, target, source)])]
        lower = attained(target, torch.cat(begin) if begin else None)
        _tell(progress, "done", len(chosen) + 1, len(chosen) + 1)
    except KeyboardInterrupt as cut:
        if isinstance(cut, Interrupted):
            outcomes.append(Outcome(chosen[len(outcomes)], 0.0, cut.bound))
        if not interruptible or all(outcome.bound is None for outcome in outcomes):
            raise
        report = assemble(target, problem, [outcome for outcome in outcomes if outcome.apt], None)
        missing = [engine.name for engine in chosen[len(outcomes) :]] + ["the search from below"]
        said = Finding("LIP401", str(target.loaded.facts.path), f"not done: {', '.join(missing)}")
        return replace(report, findings=(*report.findings, said))
    told = [outcome for outcome in outcomes if outcome.apt or settings.methods]
    return assemble(target, problem, told, lower)


def _tell(progress: Progress | None, what: str, done: int, total: int) -> None:
    if progress is not None:
        progress(what, done, total)


def engines_for(norm: Norms, names: tuple[str, ...] = ()) -> tuple[Engine, ...]:
    """The named engines, or all that have something to say in the norm. Raises UsageError for an unknown name."""
    known = {engine.name: engine for engine in ENGINES}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(f"--method {unknown[0]!r} is not known (known: auto, {', '.join(known)})")
    if names:
        return tuple(known[name] for name in names)
    pair = NormPair.of(norm)
    if pair.mixed:
        return tuple(engine for engine in ENGINES if engine.mixed)
    return tuple(engine for engine in ENGINES if pair.source in engine.norms and not isinstance(engine, Changeover))


def best_upper(problem: Problem) -> Method:
    """The tightest answer of all engines."""
    outcomes = [run(engine, problem) for engine in engines_for(problem.pair)]
    bounded = [o for o in outcomes if o.bound is not None]
    if not bounded:
        first = outcomes[0]
        return Method(first.engine.name, first.engine.label, first.seconds, None, first.reason)
    best = min(bounded, key=lambda o: o.bound.value if o.bound else math.inf)
    return Method(best.engine.name, best.engine.label, best.seconds, best.bound)


def attained(target: Subject, starts: torch.Tensor | None = None, seconds: float = SEARCH_SECONDS) -> Attained | None:
    """The best lower bound that a short search finds, with its witness in raw units."""
    started = time.monotonic()
    settings = target.settings
    witness = ascend(
        target.graph,
        settings.norm,
        target.region,
        starts=starts,
        seconds=seconds,
        seed=settings.seed,
        guide=target.simplified,
    )
    return None if witness is None else as_attained(witness, "ascent", "Jacobian ascent, witness kept", started)


def as_attained(witness: Witness, name: str, label: str, started: float) -> Attained:
    """The report's form of a witness."""
    return Attained(name, label, time.monotonic() - started, witness.bound, witness.x.numpy(), witness.y.numpy())


def assemble(target: Subject, problem: Problem, outcomes: list[Outcome], lower: Attained | None) -> AuditReport:
    """The report, with every engine that an attained value contradicts set aside."""
    attained_bound = None if lower is None else lower.bound
    methods, findings = [], [*mixed_rows(target), *local_only(problem), *steepest_norms(problem)]
    for outcome in outcomes:
        reason = outcome.reason
        value = outcome.bound
        if contradicted(outcome, attained_bound):
            reason, value = "its bound lies below a value that is attained", None
            findings.append(Finding("LIP901", outcome.engine.name, f"{outcome.engine.label}: {reason}"))
        methods.append(Method(outcome.engine.name, outcome.engine.label, outcome.seconds, value, reason))
    bounded = [m for m in methods if m.bound is not None]
    upper = min(bounded, key=lambda m: m.bound.value if m.bound else 0.0, default=None)
    return AuditReport(
        "bound",
        model_facts(target.loaded.facts),
        problem_facts(target),
        run_facts(target),
        layers=layer_gains(problem),
        methods=tuple(methods),
        upper=upper,
        lower=lower,
        findings=tuple(findings),
        assumptions=assumptions(target),
    )


def layer_gains(problem: Problem) -> tuple[Layer, ...]:
    """Every node's gain in all its arguments together, linear runs with the shape of their weight.

    For a pair of norms, each gain is in the norms in which it enters the product, named with it. An attention that is
    bounded as a whole is one layer, in l2, and what it is made of is in its nodes.
    """
    layers = []
    whole = wholes_met(problem)
    within = {value for each in whole.values() for value in each.own(problem.graph)}
    ways = path(problem) if problem.pair.mixed else {}
    for place, node in enumerate(problem.graph.nodes):
        if place + 1 in within:
            if place + 1 in whole:
                layers.append(_attention(problem, whole[place + 1]))
            continue
        pair = ways.get(place, NormPair.of(problem.pair.target)) if problem.pair.mixed else problem.pair
        _, joint = problem.within(pair).gains(node)
        weight = " | ".join(p.describe() for p in node.op.maps if p.describe()) if isinstance(node.op, Affine) else ""
        gain, norms = UpperBound(joint.value, joint.evidence), str(pair) if problem.pair.mixed else ""
        layer = Layer(node.name, node.kind, node.origin or (node.name,), weight, gain, norms)
        if isinstance(node.op, Affine):
            account = problem.norms.account(node.op.maps, pair)
            layer = replace(layer, lower=account.lower, seconds=account.seconds)
        layers.append(layer)
    return tuple(layers)


def _attention(problem: Problem, whole: Whole) -> Layer:
    """The row of an attention that is bounded as a whole."""
    found, graph = whole.attention, problem.graph
    nodes = [graph.nodes[value - 1] for value in sorted(whole.own(graph))]
    names = tuple(dict.fromkeys(name for node in nodes for name in node.origin or (node.name,)))
    heads = "1 head" if found.heads == 1 else f"{found.heads} heads"
    return Layer(graph.nodes[found.output - 1].name, "Attention", names, f"{heads}, {found.keys} tokens", whole.gain)
