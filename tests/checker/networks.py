"""Small networks for the checker: each with its function in plain numpy, the other opinion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import onnx

from tests.cases.models import model, node, weights

Function = Callable[[np.ndarray], np.ndarray]


class Affine(NamedTuple):
    """One affine step of the checker's table, alone in a model. shape: of the input."""

    name: str
    shape: tuple[int, ...]
    build: Callable[[], onnx.ModelProto]

    def __str__(self) -> str:
        return self.name


def _one(
    op: str, shape: tuple[int, ...], flip: bool = False, arrays: dict[str, Any] | None = None, **attributes: Any
) -> Affine:
    given = arrays or {}

    def build() -> onnx.ModelProto:
        names = [*given, "x"] if flip else ["x", *given]
        return model([node(op, names, **attributes)], weights(**given), inputs=[("x", shape)], opset=20)

    extra = "-".join(f"{k}{v}" for k, v in attributes.items() if k not in ("kernel_shape",))
    return Affine(f"{op}{'-left' if flip else ''}-{extra}" if extra or flip else f"{op}{[*given]}", shape, build)


def _random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


_BATCH = {"s": _random(3), "b": _random(3), "m": _random(3), "v": np.abs(_random(3)) + 0.1}
AFFINE = [
    _one("Gemm", (1, 4), arrays={"w": _random(4, 3), "b": _random(3)}, alpha=0.3, beta=2.0),
    _one("Gemm", (1, 4), arrays={"w": _random(3, 4)}, transB=1),
    _one("MatMul", (1, 4), arrays={"w": _random(4, 5)}),
    _one("MatMul", (2, 3, 4), arrays={"w": _random(4, 2)}),
    _one("MatMul", (4, 2), flip=True, arrays={"w": _random(3, 4)}),
    _one("Conv", (1, 2, 5, 5), arrays={"w": _random(3, 2, 3, 3), "b": _random(3)}, pads=[1, 1, 1, 1]),
    _one("Conv", (1, 2, 6, 5), arrays={"w": _random(4, 1, 3, 2)}, group=2, strides=[2, 1], pads=[0, 1, 2, 0]),
    _one("Conv", (1, 1, 6, 6), arrays={"w": _random(2, 1, 2, 3)}, dilations=[2, 1], strides=[1, 2]),
    _one("Add", (1, 3), arrays={"c": _random(2, 3)}),
    _one("Sub", (1, 3), arrays={"c": _random(3)}),
    _one("Sub", (1, 3), flip=True, arrays={"c": _random(4, 3)}),
    _one("Mul", (1, 3), arrays={"c": _random(3)}),
    _one("Mul", (1, 3), flip=True, arrays={"c": _random(5, 3)}),
    _one("Div", (1, 3), arrays={"c": np.array([2.0, -0.5, 16.0])}),
    _one("Neg", (1, 3)),
    _one("Identity", (1, 3)),
    _one("Flatten", (2, 3, 2), axis=0),
    _one("Flatten", (2, 3, 2), axis=-1),
    _one("Reshape", (2, 6), arrays={"shape": [0, -1, 3]}),
    _one("Transpose", (1, 2, 3), perm=[0, 2, 1]),
    _one("Transpose", (2, 3)),
    _one("ReduceMean", (1, 2, 3, 4), arrays={"axes": [2, 3]}, keepdims=0),
    _one("ReduceMean", (2, 3), arrays={"axes": [-1]}),
    _one("BatchNormalization", (1, 3, 2), arrays=_BATCH, epsilon=0.01),
]

SLOPED: dict[str, tuple[Function, dict[str, Any]]] = {
    "Relu": (lambda x: np.maximum(x, 0.0), {}),
    "Tanh": (np.tanh, {}),
    "Sigmoid": (lambda x: 1.0 / (1.0 + np.exp(-x)), {}),
    "Softplus": (lambda x: np.logaddexp(0.0, x), {}),
    "Softsign": (lambda x: x / (1.0 + np.abs(x)), {}),
    "Abs": (np.abs, {}),
    "LeakyRelu": (lambda x: np.where(x > 0.0, x, float(np.float32(1.5)) * x), {"alpha": 1.5}),
    "Elu": (lambda x: np.where(x > 0.0, x, 2.0 * np.expm1(np.minimum(x, 0.0))), {"alpha": 2.0}),
}


def residual(op: str, seed: int) -> tuple[onnx.ModelProto, Function]:
    """y = B s(A s(W x) + V x) + C s(W x): two activations, a skip connection, and an output that reads both."""
    rng = np.random.default_rng(seed)
    function, attributes = SLOPED[op]
    w, v, a, b, c = (rng.normal(size=s).astype(np.float32) for s in ((3, 4), (3, 4), (4, 4), (4, 2), (4, 2)))
    nodes = [
        node("MatMul", ["x", "w"], ["p"]),
        node(op, ["p"], ["s"], **attributes),
        node("MatMul", ["s", "a"], ["as"]),
        node("MatMul", ["x", "v"], ["vx"]),
        node("Add", ["as", "vx"], ["q"]),
        node(op, ["q"], ["t"], **attributes),
        node("MatMul", ["t", "b"], ["bt"]),
        node("MatMul", ["s", "c"], ["cs"]),
        node("Sub", ["bt", "cs"]),
    ]

    def run(x: np.ndarray) -> np.ndarray:
        s = function(x @ w.astype(float))
        return np.asarray(function(s @ a.astype(float) + x @ v.astype(float)) @ b.astype(float) - s @ c.astype(float))

    return model(nodes, weights(w=w, v=v, a=a, b=b, c=c), inputs=[("x", (1, 3))], opset=20), run


def steepest(run: Function, size: int, seed: int, count: int = 4000) -> float:
    """The largest slope over random pairs, near and far: the constant is at least this."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, size)) * rng.choice([0.1, 1.0, 5.0], (count, 1))
    step = rng.normal(size=(count, size)) * rng.choice([1e-3, 0.1, 3.0], (count, 1))
    up = np.linalg.norm(run(x + step) - run(x), axis=1)
    return float(np.max(up / np.linalg.norm(step, axis=1)) * (1.0 - 1e-7))
