"""Convolutions with zero padding, in one to three dimensions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch.nn import functional

from lipaudit.linear.map import LinearMap, Shape


@final
@dataclass(frozen=True, slots=True, eq=False)
class Conv(LinearMap):
    """The cross-correlation of ONNX Conv without its bias: [N, C, *size] -> [N, O, *out_size].

    kernel: float64 [O, C / groups, *k]; stride, dilation: one number an axis; pads: (begin, end) zeros an axis.
    kernel_roundings: how many roundings away from the intended numbers the stored kernel may be.
    """

    kernel: torch.Tensor
    source: Shape
    stride: Shape
    dilation: Shape
    pads: tuple[tuple[int, int], ...]
    groups: int = 1
    kernel_roundings: int = 0

    def __post_init__(self) -> None:
        axes = len(self.source) - 2
        if not 1 <= axes <= 3:
            raise ValueError(f"a convolution over {axes} axes is not known here")
        if self.kernel.dim() != axes + 2 or self.kernel.shape[1] * self.groups != self.source[1]:
            raise ValueError(f"a kernel {tuple(self.kernel.shape)} does not fit an input {self.source}")
        if min(*self.stride, *self.dilation, self.groups) < 1:
            raise ValueError("a stride, a dilation or the number of groups is not positive")
        if self.kernel.shape[0] % self.groups:
            raise ValueError(f"{self.kernel.shape[0]} outputs do not make {self.groups} equal groups")
        if min(min(pair) for pair in self.pads) < 0:
            raise ValueError("negative padding is not known here")
        if any(size < 1 for size in self.out_shape[2:]):
            raise ValueError(f"the kernel is larger than its padded input {self.source}")

    @property
    def in_shape(self) -> Shape:
        return self.source

    @property
    def out_shape(self) -> Shape:
        sizes = tuple(
            (size + sum(pad) - dilation * (k - 1) - 1) // stride + 1
            for size, pad, dilation, k, stride in zip(
                self.source[2:], self.pads, self.dilation, self.kernel.shape[2:], self.stride, strict=True
            )
        )
        return (self.source[0], self.kernel.shape[0], *sizes)

    @property
    def roundings(self) -> int:
        taps = math.prod(self.kernel.shape[2:])
        # forward sums C/g * taps products, the adjoint O/g * taps
        return max(self.kernel.shape[1], self.kernel.shape[0] // self.groups) * taps + self.kernel_roundings

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        merged = x.reshape(-1, *self.source[1:])
        if all(begin == end for begin, end in self.pads):
            y = self._convolve(merged, tuple(begin for begin, _ in self.pads))
        else:
            padding = [amount for pair in reversed(self.pads) for amount in pair]
            y = self._convolve(functional.pad(merged, padding), (0,) * len(self.pads))
        return y.reshape(len(x), *self.out_shape)

    def _convolve(self, x: torch.Tensor, padding: Shape) -> torch.Tensor:
        options = (self.kernel, None, self.stride, padding, self.dilation, self.groups)
        match x.dim():
            case 3:
                return functional.conv1d(x, *options)
            case 4:
                return functional.conv2d(x, *options)
            case _:
                return functional.conv3d(x, *options)

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        merged = y.reshape(-1, *self.out_shape[1:])
        padded = tuple(n + sum(pad) for n, pad in zip(self.source[2:], self.pads, strict=True))
        reached = tuple(
            (n - 1) * s + d * (k - 1) + 1
            for n, s, d, k in zip(self.out_shape[2:], self.stride, self.dilation, self.kernel.shape[2:], strict=True)
        )
        axes = len(padded)
        transposed = (functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d)
        x = transposed[axes - 1](merged, self.kernel, None, self.stride, 0, 0, self.groups, self.dilation)
        # entries of the padded input that no window reaches get 0; the padding is then cut off
        missing = [amount for p, r in zip(reversed(padded), reversed(reached), strict=True) for amount in (0, p - r)]
        x = functional.pad(x, missing)
        for axis, (size, (begin, _)) in enumerate(zip(self.source[2:], self.pads, strict=True), start=2):
            x = x.narrow(axis, begin, size)
        return x.reshape(len(y), *self.source)

    def majorant(self) -> LinearMap:
        return Conv(
            self.kernel.abs(), self.source, self.stride, self.dilation, self.pads, self.groups, self.kernel_roundings
        )

    def describe(self) -> str:
        window = "x".join(str(k) for k in self.kernel.shape[2:])
        stride = f" /{max(self.stride)}" if max(self.stride) > 1 else ""
        return f"{window} {self.source[1]}->{self.kernel.shape[0]}{stride}"
