"""Tensors of the file as float64, int64 or bool, and constant nodes evaluated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from lipaudit.errors import InvalidInput, Unsupported
from lipaudit.ops.registry import MAX_ENTRIES, Constant

MAX_STORED = 2**28
"""Entries of one tensor that the file itself holds."""


def constant(tensor: onnx.TensorProto, path: Path) -> Constant:
    """A stored tensor. Raises InvalidInput for non-finite weights, Unsupported for external data and odd types."""
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise Unsupported(f"its data lies in another file, which is not read; save {path.name} with its data inside")
    dims = list(tensor.dims)
    if min(dims, default=0) < 0:
        raise InvalidInput(f"model {path}: tensor {tensor.name!r} has the negative shape {dims}")
    if math.prod(dims) > MAX_STORED:
        raise Unsupported(f"its shape {dims} is too large")
    try:
        array = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as error:  # KeyError: a type that has no number
        detail = str(error).split("\n")[0][:160]
        raise InvalidInput(f"model {path}: tensor {tensor.name!r} is damaged ({detail})") from None
    return from_array(array)


def from_array(array: np.ndarray) -> Constant:
    """Real types become float64 (exactly), whole ones int64, booleans stay. Raises Unsupported for others."""
    if array.dtype == np.bool_:
        return Constant(torch.from_numpy(np.array(array, dtype=np.bool_)))
    if np.issubdtype(array.dtype, np.integer):
        if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
            raise Unsupported("it holds whole numbers beyond int64")
        return Constant(torch.from_numpy(np.array(array, dtype=np.int64)))
    if np.issubdtype(array.dtype, np.floating) or array.dtype.name in ("bfloat16",):
        return Constant(torch.from_numpy(np.array(array, dtype=np.float64)))
    raise Unsupported(f"tensors of type {array.dtype} are not supported")


def non_finite(value: Constant) -> tuple[int, ...] | None:
    """The index of the first entry that is NaN or infinite, None where there is none."""
    if not value.real or bool(torch.isfinite(value.value).all()):
        return None
    return tuple(int(i) for i in (~torch.isfinite(value.value)).nonzero()[0])


def evaluate(node: onnx.NodeProto, args: Sequence[Constant | None], opset: int, outputs: int) -> list[Constant]:
    """The node's outputs for constant arguments: whole numbers exactly, reals in float64 to nearest.

    Raises Unsupported where the op is not one that may be folded.
    """
    if node.op_type not in _FOLDABLE:
        raise Unsupported(f"{node.op_type} of constants is not folded")
    _cap(node, args)
    feeds = [None if arg is None else arg.value.numpy() for arg in args]
    if node.op_type == "Shape":
        return [Constant(torch.tensor(_shape_slice(feeds[0].shape, node), dtype=torch.int64))]  # type: ignore[union-attr]
    if node.op_type == "Cast":
        return [_cast(feeds[0], next((a.i for a in node.attribute if a.name == "to"), 0))]
    try:
        runner = ReferenceEvaluator(_alone(node, feeds, opset))
        with np.errstate(all="ignore"):
            results: Any = runner.run(None, {f"a{place}": feed for place, feed in enumerate(feeds) if feed is not None})
    except Exception as error:  # noqa: BLE001 - the reference implementation raises what its numpy calls raise
        detail = str(error).split("\n")[0][:120]
        raise Unsupported(f"it could not be evaluated ({type(error).__name__}: {detail})") from None
    return [from_array(np.asarray(result)) for result in results[:outputs]]


def _alone(node: onnx.NodeProto, feeds: Sequence[Any], opset: int) -> onnx.ModelProto:
    """A model of the one node. Every argument gets a name of its own, since a node may use one value twice."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    del copy.input[:]
    copy.input.extend("" if feed is None else f"a{place}" for place, feed in enumerate(feeds))
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(feeds[int(name[1:])].dtype), None)
        for name in copy.input
        if name
    ]
    outputs = [helper.make_tensor_value_info(name, onnx.TensorProto.UNDEFINED, None) for name in copy.output if name]
    graph = helper.make_graph([copy], "constant", inputs, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def _shape_slice(shape: tuple[int, ...], node: onnx.NodeProto) -> list[int]:
    attributes = {a.name: a.i for a in node.attribute}
    return list(shape)[attributes.get("start", 0) : attributes.get("end", len(shape))]


def _cast(array: Any, to: int) -> Constant:
    if to == onnx.TensorProto.BOOL:
        return Constant(torch.from_numpy(np.array(array != 0)))
    if to in _REALS:
        dtype = _REALS[to]
        return from_array(np.asarray(array).astype(dtype))
    if to in _WHOLE:
        return from_array(np.asarray(array).astype(_WHOLE[to]))
    raise Unsupported(f"a cast to type {to} is not supported")


_REALS = {1: np.float32, 10: np.float16, 11: np.float64}
_WHOLE = {2: np.uint8, 3: np.int8, 4: np.uint16, 5: np.int16, 6: np.int32, 7: np.int64, 12: np.uint32}

_FOLDABLE = frozenset(
    "Abs Add And Cast Ceil Clip Concat Constant ConstantOfShape CumSum DequantizeLinear Div Equal Erf Exp Expand "
    "EyeLike Flatten Floor Gather GatherElements GatherND Gemm Greater GreaterOrEqual Identity Less LessOrEqual Log "
    "MatMul Max Min Mod Mul Neg NonZero Not Or Pad Pow Range Reciprocal ReduceMax ReduceMean ReduceMin ReduceProd "
    "ReduceSum Relu Reshape Round ScatterElements ScatterND Shape Sigmoid Sign Sin Cos Size Slice Softmax Split Sqrt "
    "Squeeze Sub Sum Tanh Tile Transpose Trilu Unsqueeze Where".split()
)
"""Ops that may be evaluated at load time when all they depend on is constant."""


def _cap(node: onnx.NodeProto, args: Sequence[Constant | None]) -> None:
    """Refuses a result larger than MAX_ENTRIES before it is made."""
    values = [arg.value for arg in args if arg is not None]
    if not values or (size := _result_size(node.op_type, values)) <= MAX_ENTRIES:
        return
    raise Unsupported(f"its result would have {float(min(size, 10**300)):.3g} entries")


def _result_size(op: str, values: Sequence[torch.Tensor]) -> float:
    """At most how many entries the op makes of these arguments, where it may be more than any of them has."""
    numbers = [float(n) for n in values[-1].reshape(-1)[:64].tolist()]
    first = values[0]
    match op:
        case "ConstantOfShape":
            return math.prod(map(abs, numbers))
        case "Expand":
            return math.prod(map(abs, numbers)) * first.numel()
        case "Tile":
            return first.numel() * math.prod(map(abs, numbers))
        case "Range" if len(values) == 3:
            start, limit, delta = (float(value.reshape(())) for value in values)
            return abs((limit - start) / delta) if delta else 0.0
        case "Pad" if len(values) > 1:
            return math.prod(n + float(values[1].double().abs().sum()) for n in first.shape)
        case "MatMul" | "Gemm":
            inner = first.shape[-1] if first.dim() else 1
            return float(first.numel()) * float(values[-1].numel()) / max(1, inner)
        case "Gather" if len(values) > 1 and first.dim():
            return float(values[1].numel()) * first.numel() / max(1, min(first.shape))
        case "EyeLike":
            return float(max(first.shape, default=1)) ** 2
        case "Concat":
            return float(sum(value.numel() for value in values))
        case "ScatterND" | "ScatterElements" | "GatherND" | "GatherElements" | "Slice" | "Reshape" | "Split":
            return 0.0
        case _:  # the rest works entry by entry, on arguments spread to a common shape
            ranks = max(value.dim() for value in values)
            shapes = [(1,) * (ranks - value.dim()) + tuple(value.shape) for value in values]
            return float(math.prod(max(sizes) for sizes in zip(*shapes, strict=True)))
