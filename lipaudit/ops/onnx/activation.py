"""Elementwise activations."""

from __future__ import annotations

import math

import torch
from numpy import broadcast_shapes

from lipaudit.errors import Unsupported
from lipaudit.linear.pointwise import Diagonal
from lipaudit.ops import activations, functions
from lipaudit.ops.bilinear import Multiply
from lipaudit.ops.elementwise import Elementwise
from lipaudit.ops.registry import Data, RawNode, float32, onnx_op
from lipaudit.ops.scalar import Scalar


def apply(node: RawNode, function: Scalar, x: Data | None = None) -> Data:
    """The scalar function on every entry of x, or of the first argument."""
    argument = node.data() if x is None else x
    return node.emit(Elementwise(function, argument.shape), argument)


@onnx_op("Relu", versions=(1, 6, 13, 14))
def _relu(node: RawNode, *, consumed_inputs: list[int] | None = None) -> Data:
    """slope in [0, 1]"""
    return apply(node, activations.relu())


@onnx_op("LeakyRelu", versions=(1, 6, 16))
def _leaky_relu(node: RawNode, *, alpha: float = 0.01, consumed_inputs: list[int] | None = None) -> Data:
    """slope in [min(1, alpha), max(1, alpha)]"""
    return apply(node, activations.leaky_relu(float32(alpha)))


@onnx_op("PRelu", versions=(1, 6, 7, 9, 16))
def _prelu(node: RawNode, *, consumed_inputs: list[int] | None = None) -> Data:
    """slope in [min(1, slope_i), max(1, slope_i)]"""
    x, slope = node.data(), node.constant(1, "slope")
    if node.version < 7 and slope.numel() > 1:
        slope = slope.reshape(-1, *[1] * (len(x.shape) - 2))
    if broadcast_shapes(slope.shape, x.shape) != tuple(x.shape):
        raise Unsupported("its slope is larger than its input")
    return apply(node, activations.prelu(slope))


@onnx_op("Abs", versions=(1, 6, 13))
def _abs(node: RawNode, *, consumed_inputs: list[int] | None = None) -> Data:
    """slope in [-1, 1]"""
    return apply(node, activations.absolute())


@onnx_op("Clip", versions=(1, 6, 11, 12, 13))
def _clip(
    node: RawNode,
    *,
    min: float | None = None,
    max: float | None = None,
    consumed_inputs: list[int] | None = None,
) -> Data:
    """slope in [0, 1]"""
    low, high = (-math.inf if min is None else float32(min)), (math.inf if max is None else float32(max))
    if node.version >= 11:
        lowest, highest = node.optional(1, "min"), node.optional(2, "max")
        low = -math.inf if lowest is None else float(lowest.reshape(()))
        high = math.inf if highest is None else float(highest.reshape(()))
    if not low <= high:
        raise Unsupported(f"min {low} is above max {high}, where runtimes disagree")
    return apply(node, activations.clip(low, high))


@onnx_op("Sigmoid", versions=(1, 6, 13))
def _sigmoid(node: RawNode, *, consumed_inputs: list[int] | None = None) -> Data:
    """slope in (0, 1/4]"""
    return apply(node, activations.sigmoid())


@onnx_op("Tanh", versions=(1, 6, 13))
def _tanh(node: RawNode, *, consumed_inputs: list[int] | None = None) -> Data:
    """slope in (0, 1]"""
    return apply(node, activations.tanh())


@onnx_op("HardSigmoid", versions=(1, 6, 22))
def _hard_sigmoid(
    node: RawNode, *, alpha: float = 0.2, beta: float = 0.5, consumed_inputs: list[int] | None = None
) -> Data:
    """slope in [0, alpha]: alpha x + beta, then clipped to [0, 1]"""
    x = node.data()
    scale = torch.tensor(float32(alpha), dtype=torch.float64)
    offset = torch.full(x.shape, float32(beta), dtype=torch.float64)
    return apply(node, activations.clip(0.0, 1.0), node.affine(Diagonal(scale, x.shape), x, offset))


@onnx_op("HardSwish", versions=(14, 22))
def _hard_swish(node: RawNode) -> Data:
    """slope in [-1/2, 3/2]"""
    return apply(node, activations.hard_swish())


@onnx_op("Elu", versions=(1, 6, 22))
def _elu(node: RawNode, *, alpha: float = 1.0, consumed_inputs: list[int] | None = None) -> Data:
    """slope in [0, max(1, alpha)]"""
    return apply(node, activations.elu(float32(alpha)))


_SELU_ALPHA, _SELU_GAMMA = 1.67326319217681884765625, 1.05070102214813232421875


@onnx_op("Selu", versions=(1, 6, 22))
def _selu(
    node: RawNode,
    *,
    alpha: float | None = None,
    gamma: float | None = None,
    consumed_inputs: list[int] | None = None,
) -> Data:
    """slope in [0, gamma alpha]"""
    # the first revision's defaults are written with fewer digits
    defaults = (1.6732, 1.0507) if node.version < 6 else (_SELU_ALPHA, _SELU_GAMMA)
    return apply(
        node,
        activations.selu(
            float32(defaults[0] if alpha is None else alpha), float32(defaults[1] if gamma is None else gamma)
        ),
    )


@onnx_op("Celu", versions=(12, 28))
def _celu(node: RawNode, *, alpha: float = 1.0) -> Data:
    """slope in (0, 1]"""
    if not float32(alpha) > 0:
        raise Unsupported(f"alpha {alpha} is not positive")
    return apply(node, activations.celu(float32(alpha)))


@onnx_op("Softplus", versions=(1, 22))
def _softplus(node: RawNode) -> Data:
    """slope in (0, 1)"""
    return apply(node, activations.softplus())


@onnx_op("Softsign", versions=(1, 22))
def _softsign(node: RawNode) -> Data:
    """slope in (0, 1]"""
    return apply(node, activations.softsign())


@onnx_op("Erf", versions=(9, 13))
def _erf(node: RawNode) -> Data:
    """slope in (0, 2 / sqrt(pi)]"""
    return apply(node, activations.erf())


@onnx_op("Gelu", versions=(20,))
def _gelu(node: RawNode, *, approximate: str = "none") -> Data:
    """slope in [-0.1290, 1.1290]"""
    if approximate not in ("none", "tanh"):
        raise Unsupported(f"approximate={approximate!r} is not known")
    return apply(node, activations.gelu() if approximate == "none" else activations.gelu_tanh())


@onnx_op("Swish", versions=(24,))
def _swish(node: RawNode, *, alpha: float = 1.0) -> Data:
    """slope in [-0.0999, 1.0999]"""
    return apply(node, activations.swish(float32(alpha)))


@onnx_op("Mish", versions=(18, 22))
def _mish(node: RawNode) -> Data:
    """slope in [-0.1126, 1.0885]"""
    return apply(node, activations.mish())


@onnx_op("SwiGLU", versions=(28,))
def _swiglu(node: RawNode, *, alpha: float = 1.0) -> Data:
    """swish(a) * b: each bounded by the other's range"""
    a, b = node.data(0), node.data(1)
    return node.emit(Multiply(a.shape), apply(node, activations.swish(float32(alpha)), a), b)


@onnx_op("ThresholdedRelu", versions=(10, 22))
def _thresholded_relu(node: RawNode, *, alpha: float = 1.0) -> Data:
    """slope in [0, 1] for alpha = 0; for any other it jumps by alpha"""
    if float32(alpha) != 0.0:
        raise Unsupported(f"it jumps by {alpha:g} at its threshold: there is no finite Lipschitz constant")
    return apply(node, activations.relu())


@onnx_op("Shrink", versions=(9,))
def _shrink(node: RawNode, *, bias: float = 0.0, lambd: float = 0.5) -> Data:
    """slope in [0, 1] for bias = lambd; for any other bias it jumps"""
    if float32(bias) != float32(lambd) or lambd < 0.0:
        raise Unsupported(f"it jumps by {lambd - bias:g} at {lambd:g}: there is no finite Lipschitz constant")
    return apply(node, functions.soft_threshold(float32(lambd)))
