"""Pooling, and the padding rules that it shares with convolution."""

from __future__ import annotations

import math

import torch

from lipaudit.errors import Unsupported
from lipaudit.linear.conv import Conv
from lipaudit.linear.fuse import compose
from lipaudit.linear.map import Shape
from lipaudit.linear.pointwise import Diagonal
from lipaudit.linear.selection import NOTHING
from lipaudit.ops.maxlike import Pool, WindowMax
from lipaudit.ops.registry import Data, RawNode, onnx_op, room

Pads = tuple[tuple[int, int], ...]


def resolve_pads(auto_pad: str, pads: list[int] | None, size: Shape, extent: Shape, stride: Shape) -> Pads:
    """(begin, end) an axis. extent: what a dilated kernel spans."""
    axes = len(size)
    if min((*extent, *stride), default=1) < 1:
        raise Unsupported("its kernel, strides and dilations have to be positive")
    if auto_pad == "NOTSET":
        flat = pads or [0] * (2 * axes)
        return tuple((flat[axis], flat[axis + axes]) for axis in range(axes))
    if auto_pad == "VALID":
        return ((0, 0),) * axes
    if auto_pad not in ("SAME_UPPER", "SAME_LOWER"):
        raise Unsupported(f"auto_pad {auto_pad!r} is not known")
    result = []
    for n, e, s in zip(size, extent, stride, strict=True):
        total = max(0, (math.ceil(n / s) - 1) * s + e - n)
        small, large = total // 2, total - total // 2
        result.append((small, large) if auto_pad == "SAME_UPPER" else (large, small))
    return tuple(result)


def _output_size(n: int, pad: tuple[int, int], extent: int, stride: int, ceil_mode: int) -> int:
    room = n + sum(pad) - extent
    if not ceil_mode:
        return room // stride + 1
    size = -(-room // stride) + 1
    # a window that would start in the end padding is dropped
    return size - 1 if (size - 1) * stride >= n + pad[0] else size


def window_indices(x: Shape, kernel: Shape, stride: Shape, dilation: Shape, pads: Pads, ceil_mode: int) -> torch.Tensor:
    """Flat input indices [N, C, *out, prod(kernel)], NOTHING outside the input."""
    places = torch.arange(math.prod(x)).reshape(x)
    extent = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True))
    for axis, (n, k, s, d, e, pad) in enumerate(zip(x[2:], kernel, stride, dilation, extent, pads, strict=True)):
        count = _output_size(n, pad, e, s, ceil_mode)
        if count < 1:
            raise Unsupported(f"its window is larger than its padded input {list(x)}")
        room(*places.shape[: axis + 2], count, *places.shape[axis + 3 :], k)
        at = torch.arange(count).unsqueeze(1) * s - pad[0] + torch.arange(k).unsqueeze(0) * d
        inside = (at >= 0) & (at < n)
        # earlier axes already carry their window behind; it stays last
        moved = places.movedim(axis + 2, -1)
        taken = moved[..., at.clamp(0, n - 1)]
        taken = torch.where(inside, taken, torch.full_like(taken, NOTHING))
        taken = taken.movedim(-2, axis + 2)
        if axis:
            taken = taken.flatten(-2)
        places = taken
    return places


@onnx_op("MaxPool", versions=(1, 8, 10, 11, 12, 22))
def _max_pool(
    node: RawNode,
    *,
    kernel_shape: list[int],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: list[int] | None = None,
    pads: list[int] | None = None,
    storage_order: int = 0,
    strides: list[int] | None = None,
) -> Data:
    """sqrt(N) in l2, N in l1, 1 in linf; N = most windows an entry can win"""
    if node.needed > 1:
        raise Unsupported("its indices are used, which jump")
    x = node.data()
    kernel, ones = tuple(kernel_shape), (1,) * len(kernel_shape)
    stride, dilation = tuple(strides or ones), tuple(dilations or ones)
    extent = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True))
    padding = resolve_pads(auto_pad, pads, x.shape[2:], extent, stride)
    windows = window_indices(x.shape, kernel, stride, dilation, padding, ceil_mode)
    if bool((windows == NOTHING).all(-1).any()):
        raise Unsupported("a window lies wholly in the padding")
    target = tuple(windows.shape[:-1])
    even = all(begin == end <= k // 2 for (begin, end), k in zip(padding, kernel, strict=True))
    begins = tuple(begin for begin, _ in padding)
    pool = Pool(kernel, stride, begins, dilation, bool(ceil_mode)) if even and len(kernel) <= 3 else None
    return node.emit(WindowMax(windows.reshape(-1, windows.shape[-1]), x.shape, target, 1.0, pool), x)


@onnx_op("GlobalMaxPool", versions=(1, 22))
def _global_max_pool(node: RawNode) -> Data:
    """1 in all norms"""
    x = node.data()
    windows = torch.arange(math.prod(x.shape)).reshape(x.shape[0] * x.shape[1], -1)
    return node.emit(WindowMax(windows, x.shape, (*x.shape[:2], *[1] * (len(x.shape) - 2))), x)


@onnx_op("AveragePool", versions=(1, 7, 10, 11, 19, 22))
def _average_pool(
    node: RawNode,
    *,
    kernel_shape: list[int],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    dilations: list[int] | None = None,
    pads: list[int] | None = None,
    strides: list[int] | None = None,
) -> Data:
    """certified norm of the window sums over the counts"""
    x = node.data()
    kernel, ones = tuple(kernel_shape), (1,) * len(kernel_shape)
    stride, dilation = tuple(strides or ones), tuple(dilations or ones)
    extent = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True))
    padding = resolve_pads(auto_pad, pads, x.shape[2:], extent, stride)
    sizes = [
        _output_size(n, p, e, s, ceil_mode) for n, p, e, s in zip(x.shape[2:], padding, extent, stride, strict=True)
    ]
    # with ceil_mode the last window may reach past the padding: more zeros there, which no count includes
    reach = tuple(
        (b, max(e, (m - 1) * s + k - n - b))
        for (b, e), m, s, k, n in zip(padding, sizes, stride, extent, x.shape[2:], strict=True)
    )
    channels = x.shape[1]
    room(channels, *kernel)
    room(*(n + sum(pair) for n, pair in zip(x.shape[2:], reach, strict=True)))
    sums = Conv(torch.ones(channels, 1, *kernel, dtype=torch.float64), x.shape, stride, dilation, reach, channels)
    crop = tuple(slice(0, m) for m in sizes)
    if tuple(sums.out_shape[2:]) != tuple(sizes):
        raise Unsupported("its windows do not fit its padded input")
    counted = torch.ones(1, 1, *x.shape[2:], dtype=torch.float64)
    counting = Conv(torch.ones(1, 1, *kernel, dtype=torch.float64), tuple(counted.shape), stride, dilation, reach)
    if count_include_pad:
        counts = _padded_counts(x.shape[2:], padding, reach, kernel, stride, dilation)
    else:
        counts = counting.apply(counted.unsqueeze(0))[0][(slice(None), slice(None), *crop)]
    if not bool((counts > 0).all()):
        raise Unsupported("a window lies wholly in the padding")
    uniform = counts.reshape(-1)[0] if bool((counts == counts.reshape(-1)[0]).all()) else counts
    return node.affine(compose(sums, Diagonal(1.0 / uniform, sums.out_shape, 1)), x)


def _padded_counts(
    size: Shape, padding: Pads, reach: Pads, kernel: Shape, stride: Shape, dilation: Shape
) -> torch.Tensor:
    """How many entries each window has in the padded input (not in what ceil_mode adds beyond it)."""
    padded = tuple(n + sum(p) for n, p in zip(size, padding, strict=True))
    beyond = tuple((0, r[1] - p[1]) for p, r in zip(padding, reach, strict=True))
    ones = torch.ones(1, 1, 1, *padded, dtype=torch.float64)
    counter = Conv(torch.ones(1, 1, *kernel, dtype=torch.float64), (1, 1, *padded), stride, dilation, beyond)
    return counter.apply(ones)[0]
