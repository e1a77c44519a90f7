"""Pooling by p-norms."""

from __future__ import annotations

import math

from lipaudit.errors import Unsupported
from lipaudit.linear.map import Shape
from lipaudit.ops.lengths import WindowNorm
from lipaudit.ops.onnx.grouping import reduced, windows_of
from lipaudit.ops.onnx.windows import resolve_pads, window_indices
from lipaudit.ops.registry import Data, RawNode, float32, onnx_op


@onnx_op("LpPool", versions=(1, 2, 11, 18, 22))
def _lp_pool(
    node: RawNode,
    *,
    kernel_shape: list[int] | None = None,
    p: float = 2,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: list[int] | None = None,
    pads: list[int] | None = None,
    strides: list[int] | None = None,
) -> Data:
    """sqrt(N) k^max(0, 1/p - 1/2) in l2, N in l1, k^(1/p) in linf; k entries a window, N windows an entry"""
    x = node.data()
    if kernel_shape is None:
        raise Unsupported("attribute 'kernel_shape' is missing")
    kernel, ones = tuple(kernel_shape), (1,) * len(kernel_shape)
    stride, dilation = tuple(strides or ones), tuple(dilations or ones)
    extent: Shape = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True))
    padding = resolve_pads(auto_pad, pads, x.shape[2:], extent, stride)
    windows = window_indices(x.shape, kernel, stride, dilation, padding, ceil_mode)
    flat = windows.reshape(-1, windows.shape[-1])
    return node.emit(WindowNorm(flat, x.shape, tuple(windows.shape[:-1]), _order(p)), x)


@onnx_op("GlobalLpPool", versions=(1, 2, 22))
def _global_lp_pool(node: RawNode, *, p: float = 2) -> Data:
    """m^max(0, 1/p - 1/2) in l2, 1 in l1, m^(1/p) in linf, over m positions"""
    x = node.data()
    axes = tuple(range(2, len(x.shape)))
    return node.emit(WindowNorm(windows_of(x.shape, axes), x.shape, reduced(x.shape, axes, keep=True), _order(p)), x)


def _order(p: float) -> float:
    order = float32(p)
    if not 1.0 <= order < math.inf:
        raise Unsupported(f"p = {p:g} is not 1 or more, so it is no norm")
    return order
