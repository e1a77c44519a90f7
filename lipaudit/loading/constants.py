"""Tensors of the file as float64, int64 or bool, and constant nodes evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from lipaudit.errors import InvalidInput, Unsupported
from lipaudit.ops.registry import Constant

MAX_ENTRIES = 2**28
"""No constant may be larger: a file of 200 bytes can ask for terabytes."""


def constant(tensor: onnx.TensorProto, path: Path) -> Constant:
    """A stored tensor. Raises InvalidInput for non-finite weights, Unsupported for external data and odd types."""
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise Unsupported(f"its data lies in another file, which is not read; save {path.name} with its data inside")
    if int(np.prod(tensor.dims, dtype=object) if tensor.dims else 1) > MAX_ENTRIES:
        raise Unsupported(f"its shape {list(tensor.dims)} is too large")
    try:
        array = numpy_helper.to_array(tensor)
    except (ValueError, TypeError) as error:
        raise InvalidInput(f"model {path}: tensor {tensor.name!r} is damaged ({error})") from None
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
        return [_cast(feeds[0], next(a.i for a in node.attribute if a.name == "to"))]
    try:
        runner = ReferenceEvaluator(_alone(node, feeds, opset))
        with np.errstate(all="ignore"):
            results: Any = runner.run(None, {f"a{place}": feed for place, feed in enumerate(feeds) if feed is not None})
    except Exception as error:  # noqa: BLE001 - the reference implementation raises what its numpy calls raise
        raise Unsupported(f"it could not be evaluated ({type(error).__name__}: {str(error)[:120]})") from None
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
    values = [None if arg is None else arg.value for arg in args]
    size = 0.0
    if node.op_type in ("ConstantOfShape", "Expand") and values[-1] is not None:
        size = float(np.prod([float(abs(n)) for n in values[-1].reshape(-1).tolist()]))
        size *= 1 if node.op_type == "ConstantOfShape" else max(1, values[0].numel() if values[0] is not None else 1)
        size = size if node.op_type == "ConstantOfShape" else min(size, float(MAX_ENTRIES) * 2)
    elif node.op_type == "Tile" and values[0] is not None and values[1] is not None:
        size = values[0].numel() * float(np.prod([float(n) for n in values[1].reshape(-1).tolist()]))
    elif node.op_type == "Range" and all(v is not None for v in values):
        start, limit, delta = (float(v.reshape(())) for v in values if v is not None)
        size = abs((limit - start) / delta) if delta else 0.0
    elif node.op_type == "Pad" and len(values) > 1 and values[0] is not None and values[1] is not None:
        size = float(np.prod([n + float(values[1].abs().sum()) for n in values[0].shape]))
    elif node.op_type == "MatMul" and values[0] is not None and values[1] is not None:
        size = (
            float(values[0].numel()) * float(values[1].numel()) / max(1, values[0].shape[-1] if values[0].dim() else 1)
        )
    if size > MAX_ENTRIES:
        raise Unsupported(f"its result would have {size:.3g} entries")
