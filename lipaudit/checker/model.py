"""The model, read strictly: constants as float64, nodes in order, and nothing that could be read in two ways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import onnx
from onnx import numpy_helper

from lipaudit.checker.forms import Rejected

OPSETS = range(13, 25)
_REAL = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE)


@final
@dataclass(frozen=True, slots=True)
class Step:
    """One node: its op, its name, its inputs ("" where left out), its only output, and its attributes."""

    op: str
    name: str
    inputs: tuple[str, ...]
    output: str
    attributes: dict[str, object]


@final
@dataclass(frozen=True, slots=True)
class Network:
    """What is read of a file. shape: of the only input, one sample; steps: those that the output needs, in order."""

    source: str
    shape: tuple[int, ...]
    output: str
    constants: dict[str, np.ndarray]
    steps: tuple[Step, ...]


def read(content: bytes, shape: tuple[int, ...], output: str) -> Network:
    """The network of an ONNX file, for one input of this shape. Raises Rejected for everything that is not plain."""
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except Exception as error:  # noqa: BLE001 - protobuf's own exceptions differ by backend
        raise Rejected(f"the model is no ONNX file: {error}") from None
    imports = [(entry.domain, int(entry.version)) for entry in model.opset_import]
    versions = [version for domain, version in imports if domain in ("", "ai.onnx")]
    if len(versions) != 1 or versions[0] not in OPSETS or model.functions or model.graph.sparse_initializer:
        raise Rejected(f"opset, functions or sparse tensors: only opset {OPSETS.start} to {OPSETS.stop - 1} is read")
    graph = model.graph
    constants: dict[str, np.ndarray] = {}
    for tensor in graph.initializer:
        _define(constants, tensor.name, _array(tensor))
    free = [info for info in graph.input if info.name not in constants]
    if len(free) != 1 or len(graph.input) != 1 or free[0].type.tensor_type.elem_type not in _REAL:
        raise Rejected("the model must have one real input, and no constant among its inputs")
    declared = free[0].type.tensor_type.shape.dim
    fits = len(declared) == len(shape) and all(d.dim_value in (0, s) for d, s in zip(declared, shape, strict=True))
    if not fits or not all(s > 0 for s in shape):
        raise Rejected(f"the input does not have the certified shape {list(shape)}")
    if output not in {info.name for info in graph.output}:
        raise Rejected(f"{output!r} is no output of the model")
    steps = _steps(graph, constants, free[0].name)
    return Network(free[0].name, shape, output, constants, _needed(steps, output, free[0].name))


def _steps(graph: onnx.GraphProto, constants: dict[str, np.ndarray], source: str) -> list[Step]:
    known, steps = {source, *constants}, []
    for node in graph.node:
        if node.domain not in ("", "ai.onnx"):
            raise Rejected(f"{node.op_type}: the domain {node.domain!r} is not known")
        names = [name for name in node.output if name]
        if not names or any(name in known for name in names):
            raise Rejected(f"{node.op_type} {node.name!r}: an output without a name of its own")
        attributes = {a.name: _attribute(a) for a in node.attribute}
        if len(attributes) != len(node.attribute) or not {name for name in node.input if name} <= known:
            raise Rejected(f"{node.op_type} {node.name!r}: a repeated attribute, or an input that comes later")
        known.update(names)
        value = attributes.get("value")
        if node.op_type == "Constant" and set(attributes) == {"value"} and isinstance(value, np.ndarray):
            _define(constants, names[0], value)
        else:  # further outputs, such as a mask, are refused where they are used
            steps.append(Step(node.op_type, node.name, tuple(node.input), node.output[0], attributes))
    return steps


def _needed(steps: list[Step], output: str, source: str) -> tuple[Step, ...]:
    wanted, kept = {output}, []
    for step in reversed(steps):
        if step.output in wanted:
            wanted.update(step.inputs)
            kept.append(step)
    if not kept or source not in wanted:
        raise Rejected(f"the output {output!r} is not computed from the input")
    return tuple(reversed(kept))


def _define(constants: dict[str, np.ndarray], name: str, value: np.ndarray) -> None:
    if not name or name in constants:
        raise Rejected(f"the constant {name!r} is defined twice")
    constants[name] = value


def _array(tensor: onnx.TensorProto) -> np.ndarray:
    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        raise Rejected(f"the constant {tensor.name!r} is in another file")
    try:
        value = np.asarray(numpy_helper.to_array(tensor))
    except (ValueError, TypeError) as error:
        raise Rejected(f"the constant {tensor.name!r} cannot be read: {error}") from None
    if value.dtype.kind == "i":
        return value
    if value.dtype not in (np.float16, np.float32, np.float64):
        raise Rejected(f"the constant {tensor.name!r} has the type {value.dtype}")
    real = value.astype(np.float64)  # exact
    if not np.all(np.isfinite(real)):
        raise Rejected(f"the constant {tensor.name!r} is not finite")
    return real


def _attribute(a: onnx.AttributeProto) -> object:
    kinds = onnx.AttributeProto
    if a.ref_attr_name:
        raise Rejected(f"the attribute {a.name!r} refers to another")
    if a.type == kinds.TENSOR:
        return _array(a.t)
    plain = {kinds.FLOAT: a.f, kinds.INT: a.i, kinds.STRING: a.s}
    if a.type in plain:
        return plain[a.type]
    if a.type == kinds.INTS:
        return tuple(a.ints)
    raise Rejected(f"the attribute {a.name!r} is of a kind that is not read")
