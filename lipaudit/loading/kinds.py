"""Which values of the graph are whole numbers or truth values: ONNX's types, of which the graph itself keeps none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import onnx
import torch
from onnx import defs, helper

from lipaudit.errors import Unsupported
from lipaudit.ops.registry import Constant, Data, Value

Kind = Literal["real", "int", "bool"]

_WHOLE_OK = frozenset(
    "Abs Add And ArgMax ArgMin Cast Clip Concat DequantizeLinear Equal Expand Flatten Gather GatherElements Greater "
    "GreaterOrEqual Identity Less LessOrEqual MatMul Max Min Mul Neg Not OneHot Or Pad ReduceMax ReduceMin ReduceSum "
    "Relu Reshape Sign Slice Split Squeeze Sub Sum Tile Transpose Unsqueeze Where Xor".split()
)
"""Ops that mean the same of whole numbers (which are taken not to overflow) as of real ones."""


def kind_of(value: Value | None, kinds: Mapping[int, Kind]) -> Kind:
    """The kind of a value; real where nothing else is known."""
    if isinstance(value, Data):
        return kinds.get(value.number, "real")
    if isinstance(value, Constant) and not value.real:
        return "bool" if value.value.dtype == torch.bool else "int"
    return "real"


def as_numbers(
    op: str, args: Sequence[Value | None], kinds: Mapping[int, Kind], schema: defs.OpSchema
) -> list[Value | None]:
    """The arguments with constants of whole numbers as float64 where they meet data of whole numbers.

    Raises Unsupported where an op is not known to mean the same of whole numbers.
    """
    whole = any(isinstance(arg, Data) and kind_of(arg, kinds) != "real" for arg in args)
    if not whole:
        return list(args)
    if op not in _WHOLE_OK:
        raise Unsupported("of whole numbers that depend on the input it is not supported")
    types = [schema.inputs[min(place, len(schema.inputs) - 1)].type_str for place in range(len(args))]
    data = {kind for kind, arg in zip(types, args, strict=True) if isinstance(arg, Data)}
    found: list[Value | None] = []
    for kind, arg in zip(types, args, strict=True):
        number = isinstance(arg, Constant) and not arg.real and (kind in data or op == "Where")
        found.append(Constant(arg.value.double()) if number and isinstance(arg, Constant) else arg)
    return found


def kinds_of(
    proto: onnx.NodeProto, schema: defs.OpSchema, args: Sequence[Value | None], kinds: Mapping[int, Kind], place: int
) -> Kind:
    """The kind of the node's output at that place, from the op's signature."""
    if proto.op_type == "Cast":
        return _named(next((a.i for a in proto.attribute if a.name == "to"), 1))
    if proto.op_type in ("QuantizeLinear", "DequantizeLinear"):
        return "int" if proto.op_type == "QuantizeLinear" else "real"
    formal = schema.outputs[min(place, len(schema.outputs) - 1)].type_str
    if formal.startswith("tensor("):
        return "bool" if formal == "tensor(bool)" else "int" if "int" in formal else "real"
    found = {
        kind_of(arg, kinds)
        for at, arg in enumerate(args)
        if arg is not None and schema.inputs[min(at, len(schema.inputs) - 1)].type_str == formal
    }
    if not found:
        return "int" if proto.op_type in ("ArgMax", "ArgMin", "TopK") and place else "real"
    return "int" if "int" in found else "bool" if "bool" in found else "real"


def stored_type(
    name: str, tensors: Mapping[str, onnx.TensorProto], producer: Mapping[str, onnx.NodeProto]
) -> int | None:
    """The protobuf's type of a constant that the file holds, in a tensor or a Constant node."""
    if name in tensors:
        return int(tensors[name].data_type)
    node = producer.get(name)
    if node is not None and node.op_type == "Constant":
        return next((int(a.t.data_type) for a in node.attribute if a.name == "value"), None)
    return None


def _named(to: int) -> Kind:
    if to == onnx.TensorProto.BOOL:
        return "bool"
    try:
        name = helper.tensor_dtype_to_string(to)
    except (KeyError, ValueError):
        return "real"
    return "int" if "INT" in name else "real"


def with_output_type(op: str, attributes: dict[str, Any], zero_type: int | None, given: bool) -> dict[str, Any]:
    """QuantizeLinear's result has the type of its zero point, which constants do not keep: told as output_dtype."""
    if op != "QuantizeLinear" or attributes.get("output_dtype"):
        return attributes
    if given and zero_type is None:
        raise Unsupported("the type of its zero point is not known")
    return {**attributes, "output_dtype": zero_type if given else int(onnx.TensorProto.UINT8)}
