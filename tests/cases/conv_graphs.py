"""Small random convolutional graphs by the thousand: every padding, stride and dilation, residual and concatenated."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from lipaudit.graph.graph import Graph
from lipaudit.linear.conv import Conv
from lipaudit.linear.fuse import compose
from lipaudit.linear.map import Adjoint, Compose, LinearMap
from lipaudit.linear.pointwise import Diagonal
from lipaudit.linear.selection import NOTHING, Selection
from lipaudit.ops import activations, functions
from lipaudit.ops.affine import Affine
from lipaudit.ops.maxlike import Pool, WindowMax
from lipaudit.ops.scalar import Scalar
from tests.cases.graphs import Sketch, windows_of

BENT: tuple[Callable[[], Scalar], ...] = (
    activations.relu,
    activations.relu,
    activations.tanh,
    activations.gelu,
    lambda: activations.leaky_relu(0.3),
    lambda: activations.leaky_relu(-0.5),
    lambda: activations.leaky_relu(2.0),
    activations.absolute,
    functions.arctangent,
)


class Images(Sketch):
    """A sketch whose values are images of one or two axes."""

    def __init__(self, seed: int, largest: int = 6) -> None:
        super().__init__((1, 1, 1), seed)
        axes = 2 if self.rng.random() < 0.6 else 1
        high = largest if axes == 2 else 2 * largest
        size = tuple(int(self.rng.integers(2, high + 1)) for _ in range(axes))
        self.shape = (1, int(self.rng.integers(1, 3)), *size)

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def some(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def conv(self, source: int, out: int, *, keeps: bool = False, stride: int | None = None) -> LinearMap:
        """A random convolution, grouped or transposed at times; keeps: of the same size, divided by a given stride."""
        shape = self.at(source)
        channels, *size = shape[1:]
        kernel, strides, dilation, pads = [], [], [], []
        for n in size:
            s = stride or (1 if keeps else self.some(1, 3))
            if keeps:
                k, d = (3, 1) if self.chance(0.7) else (1, 1) if self.chance(0.5) else (3, 2)
                before = d * (k - 1) // 2
                pads.append((before, d * (k - 1) - before))
            else:
                k, d = self.some(1, 4), 1 if self.chance(0.7) else 2
                p, q = self.some(0, 3), self.some(0, 3)
                q += max(0, d * (k - 1) + 1 - n - p - q)
                pads.append((p, q))
            kernel.append(k)
            strides.append(s)
            dilation.append(d)
        groups = channels if channels == out and self.chance(0.25) else 1
        weight = self.normal(out, channels // groups, *kernel)
        part: LinearMap = Conv(weight, shape, tuple(strides), tuple(dilation), tuple(pads), groups)
        if self.chance(0.2):
            scale = self.normal(out, *[1] * len(size))
            part = (
                compose(part, Diagonal(scale, part.out_shape, 3))
                if self.chance(0.5)
                else Compose((part, Diagonal(scale, part.out_shape, 3)))
            )
        return part

    def transposed(self, source: int, out: int) -> LinearMap | None:
        """A transposed convolution of the value, None where the drawn numbers do not make one."""
        channels, *size = self.at(source)[1:]
        k, s, p = self.some(1, 3), self.some(1, 2), self.some(0, 1)
        target = tuple(s * (n - 1) + k - 2 * p + self.some(0, s - 1) for n in size)
        if min(target) < 1 or math.prod(target) * out > 60 or any(n + 2 * p < k for n in target):
            return None
        there = Conv(
            self.normal(channels, out, *[k] * len(size)),
            (1, out, *target),
            (s,) * len(size),
            (1,) * len(size),
            ((p, p),) * len(size),
        )
        return Adjoint(there) if there.out_shape == self.at(source) else None

    def bend(self, value: int) -> int:
        return self.function(value, BENT[int(self.rng.integers(len(BENT)))]())

    def small(self, value: int) -> bool:
        return math.prod(self.at(value)) <= 60

    def end(self, value: int) -> Graph:
        if math.prod(self.at(value)) > 12 or self.chance(0.4):
            value = self.dense(value, self.some(1, 3))
        return self.graph(value)


def chain(seed: int) -> Graph:
    """Convolutions of every kind, one behind the other, with or without an activation between them."""
    s = Images(seed)
    x = 0
    for _ in range(s.some(1, 4)):
        part = s.transposed(x, s.some(1, 2)) if s.chance(0.2) else None
        part = s.conv(x, s.some(1, 3)) if part is None else part
        if math.prod(part.out_shape) > 90:
            break
        x = s.affine(part, x)
        if s.chance(0.75):
            x = s.bend(x)
    return s.end(x)


def residual(seed: int) -> Graph:
    """Residual blocks, activations behind the sum or before the branch; projections with a stride; dense skips."""
    s = Images(seed, 5)
    x = s.affine(s.conv(0, 2, keeps=True), 0)
    if s.chance(0.6):
        x = s.bend(x)
    for _ in range(s.some(1, 2)):
        inner = s.bend(x) if s.chance(0.4) else x
        stride = 2 if s.chance(0.3) else 1
        shape = s.at(x)
        y = s.bend(s.affine(s.conv(inner, 2, keeps=True, stride=stride), inner))
        main = s.conv(y, 2, keeps=True)
        if stride > 1:
            axes = len(shape) - 2
            skip: LinearMap = Conv(s.normal(2, 2, *[1] * axes), shape, (stride,) * axes, (1,) * axes, ((0, 0),) * axes)
        elif s.chance(0.3):
            skip = s.conv(x, 2, keeps=True)
        else:
            skip = Selection.reshape(shape, shape)
        x = s.add(Affine((main, skip)), y, x) if skip.out_shape == main.out_shape else y
        if s.chance(0.6):
            x = s.bend(x)
    return s.end(x)


def joined(seed: int) -> Graph:
    """Channels of several values side by side, as in a dense net, then a convolution of all of them."""
    s = Images(seed, 4)
    values = [s.affine(s.conv(0, 1, keeps=True), 0)]
    for _ in range(s.some(1, 2)):
        values.append(s.bend(s.affine(s.conv(values[-1], 1, keeps=True), values[-1])))
    sizes = [s.at(v)[1] for v in values]
    rest, maps, start = s.at(values[0])[2:], [], 0
    for value, n in zip(values, sizes, strict=True):
        index = torch.full((1, sum(sizes), *rest), NOTHING)
        index[0, start : start + n] = torch.arange(math.prod(s.at(value))).reshape(s.at(value)[1:])
        maps.append(Selection.of(s.at(value), index))
        start += n
    x = s.add(Affine(tuple(maps)), *values)
    x = s.affine(s.conv(x, 2), x)
    return s.end(s.bend(x))


def pooled(seed: int) -> Graph:
    """Max and average pooling between convolutions, beside a skip at times."""
    s = Images(seed, 5)
    x = s.bend(s.affine(s.conv(0, 2, keeps=True), 0))
    shape = s.at(x)
    axes = len(shape) - 2
    kernel = tuple(min(n, s.some(1, 3)) for n in shape[2:])
    stride = tuple(s.some(1, 2) for _ in range(axes))
    if s.chance(0.5):
        windows = windows_of(shape, kernel, stride, (1,) * axes)
        pool = Pool(kernel, stride, (0,) * axes, (1,) * axes, False) if s.chance(0.8) else None
        x = s.add(WindowMax(windows.reshape(-1, windows.shape[-1]), shape, tuple(windows.shape[:-1]), pool=pool), x)
    else:
        ones = torch.ones(2, 1, *kernel, dtype=torch.float64)
        sums = Conv(ones, shape, stride, (1,) * axes, ((0, 0),) * axes, 2)
        share = Diagonal(torch.tensor(1.0 / math.prod(kernel), dtype=torch.float64), sums.out_shape, 1)
        x = s.affine(compose(sums, share), x)
    x = s.affine(s.conv(x, 2), x)
    return s.end(s.bend(x) if s.chance(0.7) else x)


def moved(seed: int) -> Graph:
    """Channels last at either end, slices with a step, zeros around, scales that differ from place to place."""
    s = Images(seed, 5)
    channels, *size = s.shape[1:]
    x = 0
    if s.chance(0.5):
        s.shape = (1, *size, channels)
        picked = s.places(0)[0].movedim(-1, 0)[None]
        x = s.pick(0, picked)
    x = s.affine(s.conv(x, 2, keeps=True), x)
    match s.some(0, 3):
        case 0:
            x = s.pick(x, s.places(x)[..., :: s.some(1, 2)][..., s.some(0, 1) :] if s.at(x)[-1] > 3 else s.places(x))
        case 1:
            around = torch.nn.functional.pad(s.places(x) + 1, (s.some(0, 2), s.some(0, 2))) - 1
            x = s.pick(x, around)
        case 2:
            x = s.affine(Diagonal(s.normal(*s.at(x)), s.at(x)), x)
        case _:
            x = s.pick(x, s.places(x).flip(1))
    if s.chance(0.5):
        x = s.bend(x)
    x = s.bend(s.affine(s.conv(x, 2), x))
    if s.chance(0.5):
        x = s.pick(x, s.places(x).movedim(1, -1))
    return s.end(x)


FAMILIES: tuple[Callable[[int], Graph], ...] = (chain, residual, joined, pooled, moved)
