"""load_model: a path to a Graph, every reason for refusal collected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import torch

from lipaudit.errors import LipauditError, UsageError, one_word
from lipaudit.graph.graph import Graph, prune
from lipaudit.graph.simplify.fuse_choices import fuse_choices, jumps_left
from lipaudit.linear.map import LinearMap, Shape
from lipaudit.linear.selection import NOTHING, Selection
from lipaudit.loading.batching import Built, batch_of
from lipaudit.loading.building import Builder, dtype_name
from lipaudit.loading.excerpt import excerpt
from lipaudit.loading.inputs import Choice, Held, bind_inputs, read_inputs
from lipaudit.loading.model import Loaded, ModelFacts, Refusal, RefusedModel, TensorFacts
from lipaudit.loading.parity import check_parity
from lipaudit.loading.reading import parse_model, read_bytes, sha256
from lipaudit.loading.reference import RUNTIME
from lipaudit.loading.sources import Content
from lipaudit.numerics.box import Box
from lipaudit.ops.affine import Affine
from lipaudit.ops.registry import Data

OPSETS = range(1, 29)
"""Revisions of the default domain whose ops are listed."""


def load_model(
    path: str | Path | Content,
    *,
    shapes: Mapping[str, Shape] | None = None,
    output: str | None = None,
    box: Box | None = None,
    varying: Sequence[str] = (),
    held: Mapping[str, Held] | None = None,
    jumps: bool = False,
) -> Loaded:
    """The model as a graph, checked against onnxruntime at a few points (inside the box where one is given).

    shapes: the shape to audit of a named input, where the file leaves it open; symbolic axes are 1 otherwise.
    path: a file, or one in memory. output: the output to audit; all of them, as one vector, otherwise.
    varying: the inputs to audit, jointly; all that are not held, otherwise. held: the values of others.
    jumps: whether ops that are not continuous are read; such a graph has an affine modulus and no constant.
    Raises InvalidInput (no ONNX file, non-finite weights), UsageError (unknown names), RefusedModel (everything
    that cannot be audited, each with its node).
    """
    file = Path(path.name if isinstance(path, Content) else path)
    content = path.content if isinstance(path, Content) else read_bytes(file)
    with suppress(OSError):  # whoever asks it for an answer is told
        RUNTIME.start()  # so that it is ready by the time the graph is
    read = read_graph(content, file, shapes=shapes, output=output, varying=varying, held=held, jumps=jumps)
    return check_parity(read, box, jumps=jumps)


def read_graph(
    content: bytes,
    file: Path,
    *,
    shapes: Mapping[str, Shape] | None = None,
    output: str | None = None,
    varying: Sequence[str] = (),
    held: Mapping[str, Held] | None = None,
    jumps: bool = False,
) -> Loaded:
    """What load_model gives, for a file's bytes, before it is checked against onnxruntime."""
    model = parse_model(content, file)
    known = ModelFacts(str(file), sha256(content), _default_opset(model), (), (), None)
    try:
        return _read(model, content, file, Choice(shapes or {}, tuple(varying), held), output, jumps)
    except RefusedModel as refused:
        raise RefusedModel(refused.path, refused.refusals, refused.facts or known) from None


def _read(
    model: onnx.ModelProto, content: bytes, file: Path, choice: Choice, output: str | None, jumps: bool
) -> Loaded:
    opset = _opset(model, str(file))
    builder = Builder(model.graph, opset, file, jumps=jumps)
    wanted = _outputs(model.graph, output)
    builder, graph, inputs, outputs, arrays = _continuous(builder, choice, wanted)
    varying = tuple(facts for facts in inputs if facts.held is None)

    def read(shapes: dict[str, Shape]) -> Built:
        again = replace(choice, shapes={**choice.shapes, **shapes}, varying=tuple(facts.name for facts in varying))
        _, other, found, results, _ = _continuous(builder.again(jumps=jumps), again, wanted)
        return other, tuple(facts for facts in found if facts.held is None), results

    batch = batch_of((graph, varying, outputs), read)
    facts = ModelFacts(str(file), sha256(content), opset, inputs, outputs, None, tuple(builder.assumptions), batch)
    runnable = excerpt(model, content, builder.needed(wanted), [i.name for i in varying], wanted, arrays)
    return Loaded(facts, graph, runnable)


Function = tuple[Graph, tuple[TensorFacts, ...], tuple[TensorFacts, ...], dict[str, np.ndarray]]
"""The graph, the inputs that vary or are held, outputs, the values of those held."""


def _continuous(builder: Builder, choice: Choice, wanted: list[str]) -> tuple[Builder, *Function]:
    """The function, and the builder that read it.

    A model that is refused for its jumps is read once more with them: where every one turns out to be a choice between
    branches that agree at its threshold, nothing of it jumps.
    """
    try:
        return builder, *_function(builder, choice, wanted)
    except RefusedModel as refused:
        if builder.jumps or not any(refusal.code == "LIP105" for refusal in refused.refusals):
            raise
        second = builder.again(jumps=True)
        try:
            graph, inputs, outputs, arrays = _function(second, choice, wanted)
        except LipauditError:
            raise refused from None
        graph = prune(fuse_choices(graph))
        if jumps_left(graph):
            raise
        return second, graph, inputs, outputs, arrays


def _function(builder: Builder, choice: Choice, wanted: list[str]) -> Function:
    inputs, arrays = read_inputs(builder, choice)
    source, varying = bind_inputs(builder, inputs, choice, arrays)
    graph, outputs = _build(builder, source, wanted, str(builder.path))
    return prune(graph), tuple(f for f in inputs if f in varying or f.held is not None), outputs, arrays


def _default_opset(model: onnx.ModelProto) -> int:
    """The opset to name in a report, 0 where the file imports none."""
    return next((int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)


def _opset(model: onnx.ModelProto, path: str) -> int:
    """The one opset of the default domain. Two imports would let two runtimes read two functions."""
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if len(versions) != 1:
        said = "imports no opset of the default domain" if not versions else "imports the default opset twice"
        raise RefusedModel(path, (Refusal("model", "", f"it {said}", "LIP102"),))
    if versions[0] not in OPSETS:
        reason = f"opset {versions[0]} is not supported (known: {OPSETS.start} to {OPSETS.stop - 1})"
        raise RefusedModel(path, (Refusal("model", "", reason, "LIP102"),))
    if model.functions:
        reason = "it defines functions of its own, which are not read; export without them"
        raise RefusedModel(path, (Refusal("model", model.functions[0].name, reason, "LIP102"),))
    if model.graph.sparse_initializer:
        reason = "it stores sparse tensors, which are not read; export without them"
        raise RefusedModel(path, (Refusal("model", model.graph.sparse_initializer[0].values.name, reason, "LIP102"),))
    return int(versions[0])


def _outputs(graph: onnx.GraphProto, wanted: str | None) -> list[str]:
    names = [info.name for info in graph.output]
    if wanted is None:
        return names
    if wanted not in names:
        raise UsageError(f"--output {wanted!r} is not an output of the model (outputs: {', '.join(names)})")
    return [wanted]


def _build(builder: Builder, source: Shape, wanted: list[str], path: str) -> tuple[Graph, tuple[TensorFacts, ...]]:
    values = builder.run(wanted)
    if builder.refusals:
        raise RefusedModel(path, (*builder.refusals, *_perhaps_too_small(builder)))
    varying = [(name, v) for name, v in zip(wanted, values, strict=True) if isinstance(v, Data)]
    if not varying:
        raise RefusedModel(path, (Refusal("output", ", ".join(wanted), "it does not depend on the input", "LIP104"),))
    declared = {info.name: info.type.tensor_type.elem_type for info in builder.proto.output}
    facts = tuple(
        TensorFacts(name, value.shape, dtype_name(declared.get(name, 1)), tuple(value.shape)) for name, value in varying
    )
    joined = _join(builder, [value for _, value in varying])
    return Graph(source, tuple(builder.nodes), joined), facts


def _perhaps_too_small(builder: Builder) -> list[Refusal]:
    """A hint for every input whose open axes were read as 1, where something does not fit."""
    if not any("does not fit" in refusal.reason for refusal in builder.refusals):
        return []
    said = "its open {} is read as 1, which may be too small; give the sizes with --shape {}=..."
    return [
        Refusal("input", name, said.format(one_word(axes.rsplit(" ", 1)[0]), one_word(name)))
        for name, axes in builder.opened
    ]


def _join(builder: Builder, values: list[Data]) -> int:
    """The number of the only output, or of all of them flattened into one vector."""
    if len(values) == 1:
        return values[0].number
    sizes = [torch.Size(v.shape).numel() for v in values]
    maps: list[LinearMap] = []
    start = 0
    for value, size in zip(values, sizes, strict=True):
        index = torch.full((sum(sizes),), NOTHING)
        index[start : start + size] = torch.arange(size)
        maps.append(Selection.of(value.shape, index))
        start += size
    return builder.emit_named("outputs", "Concat", Affine(tuple(maps)), *values).number
