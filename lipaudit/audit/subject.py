"""The subject of an audit: the model as a function of raw inputs on its domain, and the facts about it."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass
from importlib.metadata import version
from typing import final

import numpy as np
import torch

from lipaudit.audit.settings import DEFAULTS, Domain, Preprocess, Settings
from lipaudit.errors import UsageError
from lipaudit.graph.graph import Graph, prepend
from lipaudit.graph.problem import Problem, caveats
from lipaudit.graph.simplify import simplify
from lipaudit.linear.map import Shape
from lipaudit.linear.pointwise import Diagonal
from lipaudit.loading import Held, Loaded, ModelFacts, ModelLike, RefusedModel, as_content, load_model
from lipaudit.loading.arrays import as_batch, numbers
from lipaudit.numerics.box import Box
from lipaudit.ops.affine import Affine
from lipaudit.report.finding import Finding
from lipaudit.report.report import AuditReport, Command, Model, Region, Run, Tensor
from lipaudit.report.report import Problem as ProblemFacts

REAL_ARITHMETIC = (
    "the bound is of the function in real arithmetic with the stored weights; the rounding of the deployed runtime "
    "is not part of it"
)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """What is audited: graph is the function of raw inputs as the file has it, simplified the same for engines."""

    loaded: Loaded
    settings: Settings
    graph: Graph
    simplified: Graph
    region: Box | None
    started: float


def subject(model: ModelLike, settings: Settings) -> Subject:
    """Loads the model, puts the declared preprocessing in front, and finds the region.

    Raises what load_model raises, and UsageError for a domain or preprocessing that does not fit the input.
    """
    started = time.monotonic()
    # The domain is in raw units, so its box is known only once the input's shape is: parity uses it afterwards.
    probe = _parity_box(settings)
    loaded = load_model(
        as_content(model, settings.example),
        shapes=settings.shapes,
        output=settings.output,
        box=probe,
        varying=settings.inputs,
        held={name: Held(fixed.value, fixed.source) for name, fixed in settings.fixed.items()},
        jumps=settings.modulus,
    )
    graph = _with_preprocess(loaded, settings.preprocess)
    region = None if settings.domain is None else _region(settings.domain, graph.input_shape)
    return Subject(loaded, settings, graph, simplify(graph), region, started)


def _parity_box(settings: Settings) -> Box | None:
    """A scalar domain moved to model units, for the points of the parity check; None where there is no scalar one."""
    domain, pre = settings.domain, settings.preprocess
    if domain is None or not isinstance(domain.lower, float | int) or not isinstance(domain.upper, float | int):
        return None
    mean, std = (pre.mean[0], pre.std[0]) if pre is not None else (0.0, 1.0)
    ends = sorted(((domain.lower - mean) / std, (domain.upper - mean) / std))
    low, high = (torch.tensor(end, dtype=torch.float64) for end in ends)
    return Box(low, high)


def _with_preprocess(loaded: Loaded, preprocess: Preprocess | None) -> Graph:
    """The graph of raw inputs: (x - mean) / std is its first, affine, node."""
    if preprocess is None or preprocess.trivial:
        return loaded.graph
    shape = loaded.graph.input_shape
    mean, std = (by_channel(values, shape, preprocess) for values in (preprocess.mean, preprocess.std))
    scale = 1.0 / std
    offset = (-mean * scale).expand(shape).contiguous()
    error = offset.abs() * 2.0**-51  # a quotient and a product, rounded
    op = Affine((Diagonal(scale, shape, 1),), offset, error)
    return prepend(loaded.graph, "preprocess", "Preprocess", op)


def by_channel(values: tuple[float, ...], shape: Shape, preprocess: Preprocess) -> torch.Tensor:
    """A mean or standard deviation, shaped to stand beside inputs [B, *shape]. Raises UsageError where it cannot."""
    numbers = torch.tensor(values, dtype=torch.float64)
    if numbers.numel() == 1:
        return numbers.reshape(())
    if len(shape) < 2 or shape[1] != numbers.numel():
        said = f"preprocess {preprocess.source!r} has {numbers.numel()} numbers"
        raise UsageError(f"{said}, but axis 1 of the input {list(shape)} does not")
    return numbers.reshape(1, -1, *[1] * (len(shape) - 2))


def _region(domain: Domain, shape: Shape) -> Box:
    ends = []
    for end in (domain.lower, domain.upper):
        array = torch.as_tensor(np.asarray(end, dtype=np.float64))
        if array.dim() and array.numel() == torch.Size(shape).numel():
            array = array.reshape(shape)
        try:
            ends.append(array.expand(1, *shape).contiguous())
        except RuntimeError:
            said = f"domain {domain.source!r} has shape {list(array.shape)}"
            raise UsageError(f"{said}, but the input is {list(shape)}") from None
    if not bool((ends[0] <= ends[1]).all()):
        raise UsageError(f"domain {domain.source!r} has a lower end above its upper end")
    return Box(*ends)


def as_points(data: np.ndarray, target: Subject, source: str) -> torch.Tensor:
    """The inputs [N, *input_shape] as float64. Raises InvalidInput where they cannot be."""
    samples = as_batch(numbers(np.asarray(data), source), target.graph.input_shape, source)
    return torch.as_tensor(np.ascontiguousarray(samples, dtype=np.float64))


def outside(points: torch.Tensor, target: Subject) -> int:
    """How many of the points lie outside the region."""
    if target.region is None:
        return 0
    inside = (points >= target.region.lower) & (points <= target.region.upper)
    return int((~inside.reshape(len(points), -1).all(1)).sum())


def model_facts(facts: ModelFacts) -> Model:
    """The report's words for what was loaded."""
    inputs, outputs = (
        tuple(Tensor(t.name, t.shape, t.dtype, t.held) for t in tensors) for tensors in (facts.inputs, facts.outputs)
    )
    return Model(facts.path, facts.sha256, facts.opset, inputs, outputs, facts.parity, facts.batch)


def problem_facts(target: Subject) -> ProblemFacts:
    """What is certified, in the report's words."""
    settings, facts = target.settings, target.loaded.facts
    region = None
    if settings.domain is not None and target.region is not None:
        low, high = float(target.region.lower.min()), float(target.region.upper.max())
        region = Region("box", low, high, settings.domain.source)
    pre = settings.preprocess
    units = "model input units" if pre is None else "raw input units"
    if pre is not None and not pre.trivial:
        units += f" ({pre.source})"
    ins, outs = (", ".join(f"{t.name}{list(t.shape)}" for t in tensors) for tensors in (facts.varying, facts.outputs))
    held = ", ".join(f"{t.name} = {t.held}" for t in facts.inputs if t.held is not None)
    return ProblemFacts(
        settings.pair.source.value,
        settings.pair.target.value,
        region,
        units,
        f"{ins} -> {outs}" + (f", with {held}" if held else ""),
    )


def run_facts(target: Subject) -> Run:
    """How the audit was made, for the report."""
    return Run(time.monotonic() - target.started, target.settings.seed, versions())


def versions() -> dict[str, str]:
    """Of everything a number may depend on."""
    packages = ("lipaudit", "torch", "onnx", "onnxruntime", "numpy", "scipy")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def assumptions(target: Subject) -> tuple[str, ...]:
    """What the reader has to grant."""
    said = [REAL_ARITHMETIC, *target.loaded.facts.assumptions]
    if (batch := target.loaded.facts.batch) is not None and not batch.mixed:
        said.append(batch.statement)
    if target.settings.preprocess is None:
        said.append("no preprocessing was declared: distances are in the units of the model's own input")
    return tuple(said)


def local_only(problem: Problem) -> tuple[Finding, ...]:
    """A finding for every node that has no finite gain on the region."""
    return tuple(Finding("LIP110", node.name, why, node.kind) for node, why in caveats(problem))


def mixed_rows(target: Subject) -> tuple[Finding, ...]:
    """A finding where the open leading axis is no batch."""
    batch = target.loaded.facts.batch
    name = next((facts.name for facts in target.loaded.facts.varying), "")
    return (Finding("LIP111", name, batch.statement, "input"),) if batch is not None and batch.mixed else ()


def check(model: ModelLike, settings: Settings = DEFAULTS) -> AuditReport:
    """Whether and as what the model can be audited: facts, and the nodes that need a domain. Computes no bound."""
    target = subject(model, settings)
    problem = Problem.over(target.simplified, settings.norm, target.region)
    return AuditReport(
        "check",
        model_facts(target.loaded.facts),
        problem_facts(target),
        run_facts(target),
        findings=(*mixed_rows(target), *local_only(problem)),
        assumptions=assumptions(target),
    )


def refused_report(error: RefusedModel, command: Command, settings: Settings) -> AuditReport:
    """The report of a model that cannot be audited: every refused node, and no number."""
    model = Model(error.path, "", 0, (), (), None) if error.facts is None else model_facts(error.facts)
    pair = settings.pair
    findings = tuple(Finding(r.code, r.node, r.reason, r.op) for r in error.refusals)
    problem = ProblemFacts(pair.source.value, pair.target.value, None, "model input units", "")
    return AuditReport(command, model, problem, Run(0.0, settings.seed, versions()), findings=findings)
