"""Products with constant weights: Gemm, MatMul, Conv, ConvTranspose, BatchNormalization."""

from __future__ import annotations

import math

import torch
from numpy import broadcast_shapes

from lipaudit.errors import Unsupported
from lipaudit.linear.conv import Conv
from lipaudit.linear.dense import Dense
from lipaudit.linear.fuse import compose
from lipaudit.linear.map import Adjoint, LinearMap, Shape
from lipaudit.linear.pointwise import Diagonal
from lipaudit.linear.selection import Selection
from lipaudit.ops.affine import Affine
from lipaudit.ops.bilinear import MatMulData
from lipaudit.ops.onnx.windows import Pads, resolve_pads
from lipaudit.ops.registry import Constant, Data, RawNode, Value, float32, onnx_op, room


@onnx_op("Gemm", versions=(1, 6, 7, 9, 11, 13))
def _gemm(
    node: RawNode,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,  # noqa: N803
    transB: int = 0,  # noqa: N803
    broadcast: int = 0,
) -> Data:
    """certified norm of alpha W"""
    left, right = (_matrix(node, place, turned) for place, turned in ((0, transA), (1, transB)))
    a, b = float32(alpha), float32(beta)
    if isinstance(left, Data) and isinstance(right, Constant):
        x, weight = left, right.value.double().t()
        target = (x.shape[0], weight.shape[0])
        rows: LinearMap = Dense(weight * a, (x.shape[0],), 1, x.shape, target, 0 if a == 1.0 else 1)
    else:  # a data weight: the product first, the factor after it
        x = product(node, left, right)
        target = (left.shape[0], right.shape[1])
        rows = Selection.reshape(target, target)
        if a != 1.0:
            rows = Diagonal(torch.tensor(a, dtype=torch.float64), target)
    extra = node.arg(2)
    if isinstance(extra, Data):
        scaled = Diagonal(torch.tensor(b, dtype=torch.float64), target)
        return node.emit(Affine((rows, scaled)), x, node.broadcast(extra, target))
    if extra is None or b == 0.0:
        return node.affine(rows, x)
    return _with_bias(node, rows, x, extra.value.double().expand(target), b)


def _matrix(node: RawNode, place: int, turned: int) -> Value:
    value = node.arg(place)
    if value is None or len(value.shape) != 2:
        raise Unsupported(f"argument {place + 1} has rank {0 if value is None else len(value.shape)}, not 2")
    if not turned:
        return value
    return node.pick(value, torch.t) if isinstance(value, Data) else Constant(value.value.t())


def product(node: RawNode, a: Value, b: Value) -> Data:
    """a @ b over the last two axes, leading axes equal. Raises Unsupported where neither depends on the input."""
    lead, (m, k), n = a.shape[:-2], a.shape[-2:], b.shape[-1]
    if isinstance(a, Data) and isinstance(b, Data):
        return node.emit(MatMulData(a.shape, b.shape), a, b)
    if isinstance(a, Data) and isinstance(b, Constant):
        batch = b.value.double().mT.unsqueeze(-3) if lead else b.value.double().mT
        return node.affine(Dense(batch, (*lead, m), 1, (*lead, m, k), (*lead, m, n)), a)
    if isinstance(a, Constant) and isinstance(b, Constant):
        raise Unsupported("both of its factors are constant")
    assert isinstance(a, Constant)
    assert isinstance(b, Data)
    return node.affine(Dense(a.value.double(), lead, n, (*lead, k, n), (*lead, m, n)), b)


def _with_bias(node: RawNode, part: LinearMap, x: Data, bias: torch.Tensor, factor: float) -> Data:
    error = None if factor == 1.0 else (bias * factor).abs() * 2.0**-52
    return node.emit(Affine((part,), (bias * factor).contiguous(), error), x)


@onnx_op("MatMul", versions=(1, 9, 13))
def _matmul(node: RawNode) -> Data:
    """certified norm of the constant factor; of two data tensors, each bounded by the other's range"""
    left, right = node.arg(0), node.arg(1)
    if isinstance(left, Data) and isinstance(right, Constant):
        return _weight_right(node, left, right.value)
    if isinstance(left, Constant) and isinstance(right, Data):
        return _weight_left(node, left.value, right)
    a, b = node.data(0), node.data(1)
    if len(a.shape) < 2 or len(b.shape) < 2:
        raise Unsupported("a product of two data tensors needs rank 2 or more")
    lead = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = node.broadcast(a, (*lead, *a.shape[-2:])), node.broadcast(b, (*lead, *b.shape[-2:]))
    return node.emit(MatMulData(a.shape, b.shape), a, b)


def _weight_right(node: RawNode, x: Data, weight: torch.Tensor) -> Data:
    """x @ weight."""
    vector = weight.dim() == 1
    matrix = weight.unsqueeze(-1) if vector else weight
    single = len(x.shape) == 1
    inside = (1, *x.shape) if single else x.shape
    lead = broadcast_shapes(inside[:-2], matrix.shape[:-2])
    x = node.broadcast(node.reshape(x, inside), (*lead, *inside[-2:]))
    rows = (*lead, inside[-2])
    batch = matrix.mT.unsqueeze(-3) if matrix.dim() > 2 else matrix.mT
    target: Shape = (*rows, matrix.shape[-1])
    y = node.affine(Dense(batch, rows, 1, x.shape, target), x)
    # numpy drops the axes that were added to rank-1 operands
    kept = [*lead, *([] if single else [inside[-2]])]
    return node.reshape(y, kept if vector else [*kept, matrix.shape[-1]])


def _weight_left(node: RawNode, weight: torch.Tensor, x: Data) -> Data:
    """weight @ x."""
    vector = weight.dim() == 1
    matrix = weight.unsqueeze(0) if vector else weight
    single = len(x.shape) == 1
    inside = (*x.shape, 1) if single else x.shape
    lead = broadcast_shapes(inside[:-2], matrix.shape[:-2])
    x = node.broadcast(node.reshape(x, inside), (*lead, *inside[-2:]))
    target: Shape = (*lead, matrix.shape[-2], inside[-1])
    y = node.affine(Dense(matrix, tuple(lead), inside[-1], x.shape, target), x)
    kept = [*lead, *([] if vector else [matrix.shape[-2]]), *([] if single else [inside[-1]])]
    return node.reshape(y, kept)


@onnx_op("Conv", versions=(1, 11, 22))
def _conv(
    node: RawNode,
    *,
    auto_pad: str = "NOTSET",
    dilations: list[int] | None = None,
    group: int = 1,
    kernel_shape: list[int] | None = None,
    pads: list[int] | None = None,
    strides: list[int] | None = None,
) -> Data:
    """certified norm, zero padding included"""
    x, kernel = node.data(), node.constant(1, "kernel")
    size = tuple(kernel.shape[2:])
    _check_kernel(kernel_shape, size)
    ones = (1,) * len(size)
    stride, dilation = tuple(strides or ones), tuple(dilations or ones)
    extent = tuple(d * (k - 1) + 1 for d, k in zip(dilation, size, strict=True))
    padding = resolve_pads(auto_pad, pads, x.shape[2:], extent, stride)
    part = Conv(kernel, x.shape, stride, dilation, padding, group)
    room(*x.shape[:2], *(n + sum(pair) for n, pair in zip(x.shape[2:], padding, strict=True)))
    room(*part.out_shape)
    return node.affine(part, x, _channel_offset(node, part.out_shape))


@onnx_op("ConvTranspose", versions=(1, 11, 22))
def _conv_transpose(
    node: RawNode,
    *,
    auto_pad: str = "NOTSET",
    dilations: list[int] | None = None,
    group: int = 1,
    kernel_shape: list[int] | None = None,
    output_padding: list[int] | None = None,
    output_shape: list[int] | None = None,
    pads: list[int] | None = None,
    strides: list[int] | None = None,
) -> Data:
    """certified norm of the convolution that it is the transpose of"""
    x, kernel = node.data(), node.constant(1, "kernel")
    size = tuple(kernel.shape[2:])
    _check_kernel(kernel_shape, size)
    ones = (1,) * len(size)
    stride, dilation = tuple(strides or ones), tuple(dilations or ones)
    extra = tuple(output_padding or [0] * len(size))
    whole = tuple(
        s * (n - 1) + e + d * (k - 1) + 1
        for s, n, e, d, k in zip(stride, x.shape[2:], extra, dilation, size, strict=True)
    )
    padding = _transposed_pads(auto_pad, pads, output_shape, whole, stride, x.shape[2:])
    source = (x.shape[0], kernel.shape[1] * group, *(n - sum(p) for n, p in zip(whole, padding, strict=True)))
    room(*source)
    room(*source[:2], *whole)
    if min(begin for begin, _ in padding) < 0:
        raise Unsupported(f"its pads {padding} are negative in front, which is not supported")
    padding = tuple((begin, max(0, end)) for begin, end in padding)  # a negative end is output padding
    forward = Conv(kernel, source, stride, dilation, padding, group)
    if forward.out_shape != x.shape:
        raise Unsupported(f"its output padding {list(extra)} does not fit its stride")
    return node.affine(Adjoint(forward), x, _channel_offset(node, source))


def _transposed_pads(
    auto_pad: str, pads: list[int] | None, wanted: list[int] | None, whole: Shape, stride: Shape, size: Shape
) -> Pads:
    """What is cut off the whole result, (begin, end) an axis."""
    axes = len(whole)
    if wanted is None and auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [s * n for s, n in zip(stride, size, strict=True)]
    if wanted is not None:
        totals = [n - w for n, w in zip(whole, wanted[-axes:], strict=True)]
        upper = auto_pad == "SAME_UPPER"
        return tuple((t // 2, t - t // 2) if upper else (t - t // 2, t // 2) for t in totals)
    if auto_pad not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise Unsupported(f"auto_pad {auto_pad!r} is not known")
    flat = pads if pads and auto_pad == "NOTSET" else [0] * (2 * axes)
    return tuple((flat[axis], flat[axis + axes]) for axis in range(axes))


def _check_kernel(kernel_shape: list[int] | None, size: Shape) -> None:
    if kernel_shape is not None and tuple(kernel_shape) != size:
        raise Unsupported(f"kernel_shape {kernel_shape} is not the kernel's {list(size)}")


def _channel_offset(node: RawNode, shape: Shape) -> torch.Tensor | None:
    bias = node.optional(2, "bias")
    if bias is None:
        return None
    return bias.reshape(1, -1, *[1] * (len(shape) - 2)).expand(shape).contiguous()


@onnx_op("BatchNormalization", versions=(1, 6, 7, 9, 14, 15))
def _batch_normalization(
    node: RawNode,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
    spatial: int = 1,
    is_test: int | None = None,
    consumed_inputs: list[int] | None = None,
) -> Data:
    """max |scale / sqrt(var + epsilon)| by channel, merged with its neighbours (inference only)"""
    if training_mode or (node.version < 7 and not is_test):
        raise Unsupported("it is in training mode, where one sample's output depends on the others")
    if not spatial:
        raise Unsupported("spatial=0 is not supported")
    if node.needed > 1:
        raise Unsupported("its running statistics are outputs, which only training has")
    x = node.data()
    scale, bias, mean, variance = (
        node.constant(place, what) for place, what in enumerate(("scale", "bias", "mean", "variance"), start=1)
    )
    shifted = variance + float32(epsilon)
    if not bool((shifted > 0).all()):
        raise Unsupported("variance + epsilon is not positive in some channel")
    factor = scale / torch.sqrt(shifted)
    shape = (1, -1, *[1] * (len(x.shape) - 2)) if len(x.shape) > 1 else (-1,)
    offset = (bias - mean * factor).reshape(shape).expand(x.shape).contiguous()
    # the factor carries 3 roundings (a sum, a root, a quotient), the offset two more
    error = ((bias.abs() + 2.0 * (mean * factor).abs()) * 2.0**-49).reshape(shape).expand(x.shape).contiguous()
    return node.emit(Affine((Diagonal(factor.reshape(shape), x.shape, 3),), offset, error), x)


@onnx_op("GlobalAveragePool", versions=(1, 22))
def _global_average_pool(node: RawNode) -> Data:
    """1 / sqrt(m) in l2, over m positions"""
    x = node.data()
    return average(node, x, tuple(range(2, len(x.shape))), keep=True)


def average(node: RawNode, x: Data, axes: tuple[int, ...], *, keep: bool, divide: bool = True) -> Data:
    """The mean (or the sum) over axes: the transpose of a broadcast, scaled."""
    kept = tuple(1 if axis in axes else n for axis, n in enumerate(x.shape))
    count = math.prod(n for axis, n in enumerate(x.shape) if axis in axes)
    places = torch.arange(math.prod(kept)).reshape(kept).expand(x.shape)
    part = Adjoint(Selection.of(kept, places))
    target = kept if keep else tuple(n for axis, n in enumerate(x.shape) if axis not in axes)
    pieces = [part, Selection.reshape(kept, target)]
    if divide and count > 1:
        scale = torch.tensor(1.0 / count, dtype=torch.float64)
        pieces.append(Diagonal(scale, target, 1))
    return node.affine(compose(*pieces), x)
