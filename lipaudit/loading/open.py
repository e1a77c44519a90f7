"""load_model: a path to a Graph, every reason for refusal collected."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import onnx
import torch

from lipaudit.errors import UsageError
from lipaudit.graph.graph import Graph, prune
from lipaudit.linear.map import LinearMap, Shape
from lipaudit.linear.selection import NOTHING, Selection
from lipaudit.loading.building import Builder, dtype_name
from lipaudit.loading.excerpt import excerpt
from lipaudit.loading.model import REALS, Loaded, ModelFacts, Refusal, RefusedModel, TensorFacts
from lipaudit.loading.parity import check_parity
from lipaudit.loading.reading import parse_model, read_bytes, sha256
from lipaudit.loading.reference import RUNTIME
from lipaudit.numerics.box import Box
from lipaudit.ops.affine import Affine
from lipaudit.ops.registry import MAX_ENTRIES, Data

OPSETS = range(1, 29)
"""Revisions of the default domain whose ops are listed."""


def load_model(
    path: str | Path,
    *,
    shapes: Mapping[str, Shape] | None = None,
    output: str | None = None,
    box: Box | None = None,
) -> Loaded:
    """The model as a graph, checked against onnxruntime at a few points (inside the box where one is given).

    shapes: the shape to audit of a named input, where the file leaves it open; symbolic axes are 1 otherwise.
    output: the output to audit; all of them, as one vector, otherwise.
    Raises InvalidInput (no ONNX file, non-finite weights), UsageError (unknown names), RefusedModel (everything
    that cannot be audited, each with its node).
    """
    file = Path(path)
    content = read_bytes(file)
    with suppress(OSError):  # whoever asks it for an answer is told
        RUNTIME.start()  # so that it is ready by the time the graph is
    return check_parity(read_graph(content, file, shapes=shapes, output=output), box)


def read_graph(
    content: bytes, file: Path, *, shapes: Mapping[str, Shape] | None = None, output: str | None = None
) -> Loaded:
    """What load_model gives, for a file's bytes, before it is checked against onnxruntime."""
    model = parse_model(content, file)
    known = ModelFacts(str(file), sha256(content), _default_opset(model), (), (), None)
    try:
        return _read(model, content, file, shapes or {}, output)
    except RefusedModel as refused:
        raise RefusedModel(refused.path, refused.refusals, refused.facts or known) from None


def _read(
    model: onnx.ModelProto, content: bytes, file: Path, shapes: Mapping[str, Shape], output: str | None
) -> Loaded:
    opset = _opset(model, str(file))
    builder = Builder(model.graph, opset, file)
    inputs = _inputs(builder, shapes)
    wanted = _outputs(model.graph, output)
    graph, outputs = _build(builder, inputs, wanted, str(file))
    facts = ModelFacts(str(file), sha256(content), opset, inputs, outputs, None, tuple(builder.assumptions))
    runnable = excerpt(model, content, builder.order, [i.name for i in inputs if i.dtype in REALS], wanted)
    return Loaded(facts, prune(graph), runnable)


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


def _inputs(builder: Builder, shapes: Mapping[str, Shape]) -> tuple[TensorFacts, ...]:
    initialisers = {tensor.name for tensor in builder.proto.initializer}
    found = [info for info in builder.proto.input if info.name not in initialisers]
    unknown = sorted(set(shapes) - {info.name for info in found})
    if unknown:
        names = ", ".join(info.name for info in found)
        raise UsageError(f"--shape names {unknown[0]!r}, which is no input of the model (inputs: {names})")
    return tuple(_input_facts(info, shapes.get(info.name), builder) for info in found)


def _input_facts(info: onnx.ValueInfoProto, given: Shape | None, builder: Builder) -> TensorFacts:
    tensor = info.type.tensor_type
    declared = tuple(
        dim.dim_value if dim.HasField("dim_value") else (dim.dim_param or None) for dim in tensor.shape.dim
    )
    if not tensor.HasField("shape") and dtype_name(tensor.elem_type) in REALS:
        if given is None:
            raise UsageError(f"input {info.name!r} has no shape in the file; say which one to audit with --shape")
        return TensorFacts(info.name, given, dtype_name(tensor.elem_type), (None,) * len(given))
    if given is not None:
        fits = len(given) == len(declared) and all(
            not isinstance(d, int) or d <= 0 or d == g for d, g in zip(declared, given, strict=False)
        )
        if not fits:
            raise UsageError(f"--shape {list(given)} does not fit input {info.name!r} of shape {list(declared)}")
    elif open_axes := [str(d or "?") for d in declared if not isinstance(d, int) or d <= 0]:
        axes = f"axis {open_axes[0]} is" if len(open_axes) == 1 else f"axes {', '.join(open_axes)} are"
        builder.assumptions.append(f"one sample is audited: of input {info.name!r} the open {axes} 1")
    shape = given or tuple(d if isinstance(d, int) and d > 0 else 1 for d in declared)
    dtype = dtype_name(tensor.elem_type)
    if dtype in REALS and math.prod(shape) > MAX_ENTRIES:
        raise RefusedModel(str(builder.path), (Refusal("input", info.name, f"its shape {list(shape)} is too large"),))
    return TensorFacts(info.name, shape, dtype, declared)


def _outputs(graph: onnx.GraphProto, wanted: str | None) -> list[str]:
    names = [info.name for info in graph.output]
    if wanted is None:
        return names
    if wanted not in names:
        raise UsageError(f"--output {wanted!r} is not an output of the model (outputs: {', '.join(names)})")
    return [wanted]


def _build(
    builder: Builder, inputs: tuple[TensorFacts, ...], wanted: list[str], path: str
) -> tuple[Graph, tuple[TensorFacts, ...]]:
    source = _bind_inputs(builder, inputs)
    values = builder.run(wanted)
    if builder.refusals:
        raise RefusedModel(path, tuple(builder.refusals))
    varying = [(name, v) for name, v in zip(wanted, values, strict=True) if isinstance(v, Data)]
    if not varying:
        raise RefusedModel(path, (Refusal("output", ", ".join(wanted), "it does not depend on the input", "LIP104"),))
    declared = {info.name: info.type.tensor_type.elem_type for info in builder.proto.output}
    facts = tuple(
        TensorFacts(name, value.shape, dtype_name(declared.get(name, 1)), tuple(value.shape)) for name, value in varying
    )
    joined = _join(builder, [value for _, value in varying])
    return Graph(source, tuple(builder.nodes), joined), facts


def _bind_inputs(builder: Builder, inputs: tuple[TensorFacts, ...]) -> Shape:
    """Names the inputs' values; several are cut out of one flat vector."""
    real = [facts for facts in inputs if facts.dtype in REALS]
    for facts in inputs:
        if facts.dtype not in REALS:
            builder.refuse_input(facts.name, facts.dtype)
    if not real:
        raise RefusedModel(str(builder.path), tuple(builder.input_refusals) or (_NO_INPUT,))
    if len(inputs) == 1:
        builder.bind(inputs[0].name, Data(0, inputs[0].shape))
        return inputs[0].shape
    total = sum(torch.Size(facts.shape).numel() for facts in real)
    if total > MAX_ENTRIES:
        reason = f"its inputs have {total} entries together, which is too many"
        raise RefusedModel(str(builder.path), (Refusal("model", "", reason),))
    start = 0
    for facts in real:
        size = torch.Size(facts.shape).numel()
        pick = torch.arange(start, start + size).reshape(facts.shape)
        cut = Affine((Selection.of((total,), pick),))
        builder.bind(facts.name, builder.emit_named(facts.name, "Input", cut, Data(0, (total,))))
        start += size
    return (total,)


_NO_INPUT = Refusal("model", "", "it has no input", "LIP104")


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
