"""Small ONNX models, made on the spot, with onnxruntime as the only other opinion on what they compute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT


def weights(**arrays: Any) -> list[onnx.TensorProto]:
    """Initializers; lists of whole numbers become int64, anything real float32."""
    tensors = []
    for name, values in arrays.items():
        array = np.asarray(values)
        array = array.astype(np.int64) if np.issubdtype(array.dtype, np.integer) else array.astype(np.float32)
        tensors.append(numpy_helper.from_array(array, name))
    return tensors


def model(
    nodes: Sequence[onnx.NodeProto],
    initialisers: Sequence[onnx.TensorProto] = (),
    *,
    inputs: Sequence[tuple[str, Sequence[int | str | None] | None]] = (("x", (1, 2)),),
    outputs: Sequence[str] = ("y",),
    opset: int = 17,
    dtype: int = FLOAT,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info(name, dtype, shape) for name, shape in inputs],
        [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs],
        initializer=list(initialisers),
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    made.ir_version = 8
    return made


def node(op: str, inputs: Sequence[str], outputs: Sequence[str] = ("y",), **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(
        op, list(inputs), list(outputs), name=f"{op.lower()}_{outputs[0] if outputs else ''}", **attributes
    )


def saved(made: onnx.ModelProto, folder: Path, name: str = "model.onnx") -> Path:
    path = folder / name
    path.write_bytes(made.SerializeToString())
    return path


def random_array(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


class ModelCase(NamedTuple):
    """A model whose slope is easily got wrong. tight: whether the l2 bound is the l2 constant."""

    name: str
    build: Callable[[], onnx.ModelProto]
    shape: tuple[int, ...]
    tight: bool = True

    def __str__(self) -> str:
        return self.name


def _one(
    op: str, shape: tuple[int, ...], arrays: dict[str, Any] | None = None, opset: int = 17, **attributes: Any
) -> Callable[[], onnx.ModelProto]:
    def build() -> onnx.ModelProto:
        given = weights(**(arrays or {}))
        return model([node(op, ["x", *(arrays or {})], **attributes)], given, inputs=[("x", shape)], opset=opset)

    return build


def _image(*size: int) -> tuple[int, ...]:
    return (1, 2, *size)


def _norm(channels: int, **changes: Any) -> dict[str, Any]:
    found = {
        "scale": np.array([0.5, -4.0][:channels]),
        "bias": np.array([0.1, 0.2][:channels]),
        "mean": np.array([1.0, -1.0][:channels]),
        "variance": np.array([0.01, 4.0][:channels]),
    }
    return found | changes


def linear_cases() -> list[ModelCase]:
    """Models that are affine: their Jacobian is one matrix, which unit vectors through onnxruntime give."""
    r = random_array
    conv = {"w": r(2, 2, 2, 2)}
    cases = [
        ("gemm", _one("Gemm", (1, 3), {"w": r(3, 2), "b": r(2)}), (1, 3)),
        ("gemm-alpha", _one("Gemm", (1, 3), {"w": r(3, 2), "b": r(2)}, alpha=7.0, beta=0.25), (1, 3)),
        ("gemm-trans", _one("Gemm", (2, 1), {"w": r(4, 2)}, transA=1, transB=1, alpha=0.25), (2, 1)),
        ("gemm-trans-b", _one("Gemm", (1, 3), {"w": r(2, 3)}, transB=1), (1, 3)),
        ("matmul", _one("MatMul", (2, 3), {"w": r(3, 2)}), (2, 3)),
        ("matmul-stack", _one("MatMul", (2, 2, 3), {"w": r(2, 3, 2)}), (2, 2, 3)),
        ("matmul-vector", _one("MatMul", (2, 3), {"w": r(3)}), (2, 3)),
        ("conv", _one("Conv", _image(4, 4), conv), _image(4, 4)),
        ("conv-ones-padded", _one("Conv", (1, 1, 4, 4), {"w": np.ones((1, 1, 3, 3))}, pads=[1, 1, 1, 1]), (1, 1, 4, 4)),
        ("conv-stride", _one("Conv", _image(5, 5), conv, strides=[2, 2], pads=[1, 0, 0, 1]), _image(5, 5)),
        ("conv-dilation", _one("Conv", _image(4, 4), conv, dilations=[2, 1], pads=[1, 1, 1, 1]), _image(4, 4)),
        ("conv-group", _one("Conv", _image(3, 3), {"w": r(4, 1, 2, 2)}, group=2), _image(3, 3)),
        ("conv-same-upper", _one("Conv", _image(4, 3), conv, auto_pad="SAME_UPPER"), _image(4, 3)),
        ("conv-same-lower", _one("Conv", _image(4, 3), conv, auto_pad="SAME_LOWER", strides=[2, 2]), _image(4, 3)),
        (
            "conv-transpose",
            _one(
                "ConvTranspose",
                _image(3, 3),
                {"w": r(2, 2, 3, 3)},
                strides=[2, 2],
                pads=[1, 1, 1, 1],
                output_padding=[1, 1],
            ),
            _image(3, 3),
        ),
        ("conv-transpose-group", _one("ConvTranspose", _image(2, 2), {"w": r(2, 2, 2, 2)}, group=2), _image(2, 2)),
        ("batch-norm", _one("BatchNormalization", _image(2, 2), _norm(2), epsilon=0.5), _image(2, 2)),
        ("average-pool", _one("AveragePool", (1, 1, 4, 4), kernel_shape=[2, 2], pads=[1, 1, 1, 1]), (1, 1, 4, 4)),
        (
            "average-pool-counted",
            _one("AveragePool", (1, 1, 4, 4), kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
            (1, 1, 4, 4),
        ),
        (
            "average-pool-ceil",
            _one("AveragePool", (1, 1, 4, 4), kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
            (1, 1, 4, 4),
        ),
        ("gather-twice", _one("Gather", (3, 2), {"i": [0, 0, 2, 0]}, axis=0), (3, 2)),
        ("pad-reflect", _one("Pad", (1, 3), {"p": [0, 2, 0, 2]}, mode="reflect"), (1, 3)),
        ("pad-edge", _one("Pad", (1, 2), {"p": [0, 2, 0, 1]}, mode="edge"), (1, 2)),
        ("expand", _one("Expand", (1, 2), {"s": [3, 2]}), (1, 2)),
        ("tile", _one("Tile", (1, 2), {"t": [2, 3]}), (1, 2)),
        ("add-broadcast", _one("Add", (1, 2), {"c": r(3, 2)}), (1, 2)),
        ("mul-broadcast", _one("Mul", (1, 2), {"c": r(3, 2)}), (1, 2)),
        ("div", _one("Div", (1, 2), {"c": [0.5, -0.25]}), (1, 2)),
        ("reduce-sum-all", _one("ReduceSum", (2, 3)), (2, 3)),
        ("reduce-mean", _one("ReduceMean", (2, 3), axes=[1], keepdims=0), (2, 3)),
        ("slice-negative-step", _one("Slice", (1, 4), {"a": [-1], "b": [-100], "c": [1], "d": [-2]}), (1, 4)),
        ("depth-to-space", _one("DepthToSpace", (1, 4, 1, 2), blocksize=2), (1, 4, 1, 2)),
        ("difference-of-itself", lambda: model([node("Sub", ["x", "x"])]), (1, 2)),
        ("sum-with-itself", lambda: model([node("Add", ["x", "x"])]), (1, 2)),
        ("joined-with-itself", lambda: model([node("Concat", ["x", "x", "x"], axis=1)]), (1, 2)),
        (
            "two-outputs",
            lambda: model([node("Neg", ["x"], ["a"]), node("Add", ["x", "x"], ["b"])], outputs=["a", "b"]),
            (1, 2),
        ),
        ("two-inputs", lambda: model([node("Add", ["x", "z"])], inputs=[("x", (1, 2)), ("z", (1, 2))]), (4,)),
    ]
    return [ModelCase(*case) for case in cases]


def opened(made: onnx.ModelProto) -> Any:
    """An onnxruntime session of the model."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return ort.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])


def black_box_jacobian(made: onnx.ModelProto) -> np.ndarray:
    """The matrix of an affine model: f(e_i) - f(0) through onnxruntime, its inputs and outputs joined."""
    session = opened(made)
    shapes = [tuple(info.shape) for info in session.get_inputs()]
    names = [info.name for info in session.get_inputs()]
    size = sum(int(np.prod(s)) for s in shapes)

    def value(x: np.ndarray) -> np.ndarray:
        feeds, start = {}, 0
        for name, shape in zip(names, shapes, strict=True):
            count = int(np.prod(shape))
            feeds[name] = x[start : start + count].reshape(shape).astype(np.float32)
            start += count
        return np.concatenate([np.asarray(a, dtype=np.float64).reshape(-1) for a in session.run(None, feeds)])

    zero = value(np.zeros(size))
    return np.stack([value(unit) - zero for unit in np.eye(size)], 1)
