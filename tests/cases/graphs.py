"""Small random graphs by the thousand, drawn from a seed; some built so that a product of layer gains is the truth."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from lipaudit.graph.graph import Graph, Node
from lipaudit.linear.conv import Conv
from lipaudit.linear.dense import Dense
from lipaudit.linear.fuse import compose
from lipaudit.linear.map import LinearMap, Shape
from lipaudit.linear.pointwise import Diagonal
from lipaudit.linear.selection import NOTHING, Selection
from lipaudit.ops import activations, functions
from lipaudit.ops.affine import Affine
from lipaudit.ops.bilinear import Multiply
from lipaudit.ops.elementwise import Elementwise
from lipaudit.ops.maxlike import PointwiseMax, WindowMax, stacking
from lipaudit.ops.op import Op
from lipaudit.ops.scalar import Scalar
from lipaudit.ops.smooth import LogSoftmax, Normalise, Softmax


class Sketch:
    """A graph under construction, with a source of random numbers."""

    def __init__(self, shape: Shape, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.shape = shape
        self.nodes: list[Node] = []

    def at(self, value: int) -> Shape:
        return self.shape if value == 0 else self.nodes[value - 1].op.out_shape

    def add(self, op: Op, *inputs: int, kind: str = "") -> int:
        name = f"n{len(self.nodes)}"
        self.nodes.append(Node(name, kind or type(op).__name__, op, inputs, (name,)))
        return len(self.nodes)

    def affine(self, part: LinearMap, value: int, offset: torch.Tensor | None = None) -> int:
        return self.add(Affine((part,), offset), value)

    def normal(self, *shape: int) -> torch.Tensor:
        return torch.from_numpy(self.rng.normal(size=shape))

    def pick(self, value: int, places: torch.Tensor) -> int:
        return self.affine(Selection.of(self.at(value), places), value)

    def places(self, value: int) -> torch.Tensor:
        shape = self.at(value)
        return torch.arange(math.prod(shape)).reshape(shape)

    def flat(self, value: int) -> int:
        size = math.prod(self.at(value))
        return value if self.at(value) == (size,) else self.affine(Selection.reshape(self.at(value), (size,)), value)

    def dense(self, value: int, out: int, weight: torch.Tensor | None = None, *, bias: bool = True) -> int:
        x = self.flat(value)
        matrix = self.normal(out, self.at(x)[0]) if weight is None else weight
        return self.affine(Dense.plain(matrix), x, self.normal(out) * 0.3 if bias else None)

    def function(self, value: int, scalar: Scalar) -> int:
        return self.add(Elementwise(scalar, self.at(value)), value)

    def sum(self, *values: int) -> int:
        shape = self.at(values[0])
        return self.add(Affine(tuple(Selection.reshape(shape, shape) for _ in values)), *values, kind="Add")

    def concat(self, *values: int) -> int:
        sizes = [math.prod(self.at(v)) for v in values]
        maps, start = [], 0
        for value, size in zip(values, sizes, strict=True):
            index = torch.full((sum(sizes),), NOTHING)
            index[start : start + size] = torch.arange(size)
            maps.append(Selection.of(self.at(value), index))
            start += size
        return self.add(Affine(tuple(maps)), *values, kind="Concat")

    def extremum(self, sign: float, *values: int) -> int:
        shape = self.at(values[0])
        stacked = self.add(stacking(len(values), shape), *values)
        return self.add(PointwiseMax(shape, len(values), sign), stacked, kind="Max" if sign > 0 else "Min")

    def graph(self, output: int | None = None) -> Graph:
        return Graph(self.shape, tuple(self.nodes), len(self.nodes) if output is None else output)


def windows_of(shape: Shape, kernel: Shape, stride: Shape, dilation: Shape) -> torch.Tensor:
    """Flat input indices [*out_shape, entries] of a pooling over the axes behind the channel, without padding."""
    taken = torch.arange(math.prod(shape)).reshape(shape)
    for axis, (n, k, s, d) in enumerate(zip(shape[2:], kernel, stride, dilation, strict=True), start=2):
        starts = range(0, n - d * (k - 1), s)
        at = torch.tensor([[p + d * j for j in range(k)] for p in starts])
        taken = taken.movedim(axis, -1)[..., at].movedim(-2, axis)
    return taken.flatten(len(shape))


ACTIVATIONS: tuple[Callable[[], Scalar], ...] = (
    activations.relu,
    activations.relu,
    lambda: activations.leaky_relu(2.0),
    lambda: activations.leaky_relu(-1.5),
    activations.absolute,
    lambda: activations.clip(-0.5, 0.5),
    activations.sigmoid,
    activations.tanh,
    activations.softplus,
    lambda: activations.elu(3.0),
    lambda: activations.selu(1.6732632, 1.050701),
    activations.erf,
    activations.gelu,
    activations.gelu_tanh,
    lambda: activations.swish(1.0),
    lambda: activations.swish(1.702),
    activations.mish,
    activations.hard_swish,
    functions.sine,
    functions.arctangent,
)
STEEP: tuple[Callable[[], Scalar], ...] = (
    lambda: activations.leaky_relu(2.0),
    lambda: activations.leaky_relu(-1.5),
    lambda: activations.elu(3.0),
    lambda: activations.swish(1.0),
    activations.gelu,
    activations.gelu_tanh,
    activations.hard_swish,
    activations.mish,
    activations.erf,
)


def _choose(s: Sketch, options: tuple[Callable[[], Scalar], ...]) -> Scalar:
    return options[int(s.rng.integers(len(options)))]()


def mlp(seed: int) -> Graph:
    """One to three dense layers with any activation."""
    s = Sketch((int(np.random.default_rng(seed).integers(1, 4)),), seed)
    x = 0
    for _ in range(int(s.rng.integers(1, 4))):
        x = s.function(s.dense(x, int(s.rng.integers(1, 5))), _choose(s, ACTIVATIONS))
    return s.graph(s.dense(x, int(s.rng.integers(1, 4))))


def scalar_steep(seed: int) -> Graph:
    """A single activation of slope beyond 1 on one or two inputs: its slope is the constant."""
    s = Sketch((1,), seed)
    return s.graph(s.function(s.dense(0, 1), _choose(s, STEEP)))


def branches(seed: int) -> Graph:
    """Residual sums, differences, concatenations and duplicates of branches that share their input."""
    s = Sketch((2,), seed)
    stem = s.function(s.dense(0, 3), _choose(s, ACTIVATIONS)) if s.rng.random() < 0.5 else s.dense(0, 3)
    one = s.function(s.dense(stem, 3), _choose(s, ACTIVATIONS)) if s.rng.random() < 0.7 else s.dense(stem, 3)
    match int(s.rng.integers(7)):
        case 0:
            x = s.sum(stem, one)
        case 1:
            x = s.sum(one, one)
        case 2:
            x = s.concat(stem, one)
        case 3:
            x = s.concat(one, one, one)
        case 4:
            minus = s.affine(Diagonal(torch.tensor(-1.0, dtype=torch.float64), (3,)), one)
            x = s.sum(stem, minus)
        case 5:
            other = s.function(s.dense(stem, 3), _choose(s, ACTIVATIONS))
            x = s.sum(one, other, stem)
        case _:
            x = s.extremum(1.0 if s.rng.random() < 0.5 else -1.0, one, stem)
    if s.rng.random() < 0.5:
        x = s.dense(s.function(x, _choose(s, ACTIVATIONS)), 2)
    return s.graph(x)


def picks(seed: int) -> Graph:
    """Slices and gathers with repeats, pads, transposes, between dense layers."""
    s = Sketch((3,), seed)
    x = s.dense(0, 4)
    index = torch.from_numpy(s.rng.integers(-1, 4, size=int(s.rng.integers(2, 7))))
    x = s.affine(Selection(index, (4,), (len(index),)), x)
    if s.rng.random() < 0.6:
        x = s.function(x, _choose(s, ACTIVATIONS))
    return s.graph(s.dense(x, 2) if s.rng.random() < 0.5 else x)


def sorted_pairs(seed: int) -> Graph:
    """MaxMin as exporters write it: Split, Max, Min, Concat; sometimes with a partner of another pair."""
    s = Sketch((2,), seed)
    x = s.dense(0, 4)
    places = s.places(x)
    a, b = s.pick(x, places[:2]), s.pick(x, places[2:])
    c = s.pick(x, places[1:3])
    high = s.extremum(1.0, a, b)
    low = s.extremum(-1.0, b, a) if s.rng.random() < 0.6 else s.extremum(-1.0, a, c)
    return s.graph(s.dense(s.concat(high, low), 2) if s.rng.random() < 0.7 else s.concat(high, low))


def images(seed: int) -> Graph:
    """Convolutions of every kind on tiny images, batch norms, and pools that overlap."""
    s = Sketch((1, 2, int(np.random.default_rng(seed).integers(3, 5)), 3), seed)
    x = 0
    for _ in range(int(s.rng.integers(1, 3))):
        x = _image_layer(s, x)
        if s.rng.random() < 0.5:
            x = s.function(x, _choose(s, ACTIVATIONS))
    if math.prod(s.at(x)) > 6 or s.rng.random() < 0.3:
        x = s.dense(x, 2)
    return s.graph(x)


def _image_layer(s: Sketch, x: int) -> int:
    _, channels, *size = s.at(x)
    kernel = tuple(int(s.rng.integers(1, 3 if n < 4 else 4)) for n in size)
    stride = tuple(int(s.rng.integers(1, 3)) for _ in size)
    dilation = tuple(2 if n >= 2 * k and s.rng.random() < 0.3 else 1 for n, k in zip(size, kernel, strict=True))
    fits = all(n >= d * (k - 1) + 1 for n, d, k in zip(size, dilation, kernel, strict=True))
    if not fits:
        return s.affine(Diagonal(s.normal(channels, 1, 1), s.at(x), 3), x, s.normal(*s.at(x)))
    match int(s.rng.integers(4)):
        case 0 | 1:
            groups = channels if channels == 2 and s.rng.random() < 0.4 else 1
            pads = tuple((int(s.rng.integers(2)), int(s.rng.integers(2))) for _ in size)
            weight = s.normal(2, channels // groups, *kernel)
            part: LinearMap = Conv(weight, s.at(x), stride, dilation, pads, groups)
            if s.rng.random() < 0.4:
                part = compose(part, Diagonal(s.normal(2, 1, 1), part.out_shape, 3))
            return s.affine(part, x, s.normal(*part.out_shape) * 0.2)
        case 2:
            windows = windows_of(s.at(x), kernel, stride, dilation)
            return s.add(WindowMax(windows.reshape(-1, windows.shape[-1]), s.at(x), tuple(windows.shape[:-1])), x)
        case _:
            ones = torch.ones(channels, 1, *kernel, dtype=torch.float64)
            sums = Conv(ones, s.at(x), stride, dilation, ((0, 0),) * len(size), channels)
            share = Diagonal(torch.tensor(1.0 / math.prod(kernel), dtype=torch.float64), sums.out_shape, 1)
            return s.affine(compose(sums, share), x)


def heads(seed: int) -> Graph:
    """Softmax, log-softmax and normalisation behind dense layers."""
    s = Sketch((2,), seed)
    x = s.dense(0, 3)
    match int(s.rng.integers(3)):
        case 0:
            x = s.add(Softmax((3,), 0), x)
        case 1:
            x = s.add(LogSoftmax((3,), 0), x)
        case _:
            reshaped = s.affine(Selection.reshape((3,), (1, 3)), x)
            x = s.flat(s.add(Normalise(1, 3, 0.1), reshaped))
    return s.graph(s.dense(x, 2))


def products(seed: int) -> Graph:
    """Products of two branches, squares and reciprocals: with a constant inside a box only."""
    s = Sketch((2,), seed)
    one = s.function(s.dense(0, 2), _choose(s, ACTIVATIONS))
    other = s.dense(0, 2)
    match int(s.rng.integers(3)):
        case 0:
            x = s.add(Multiply((2,)), one, other)
        case 1:
            x = s.add(Multiply((2,)), one, s.function(other, activations.sigmoid()))
        case _:
            x = s.sum(s.function(other, functions.power(2.0)), s.function(one, functions.exponential()))
    return s.graph(x)


# ----------------------------------------------------------------------------- where the product is the truth


def all_on(seed: int) -> Graph:
    """One non-negative matrix behind ReLUs that are on around the bias: the constant of the matrix."""
    s = Sketch((3,), seed)
    inner = s.function(
        s.affine(Selection.reshape((3,), (3,)), 0, torch.full((3,), 9.0, dtype=torch.float64)), activations.relu()
    )
    return s.graph(s.dense(inner, 3, s.normal(3, 3).abs(), bias=False))


def aligned(seed: int) -> Graph:
    """Rank-one layers, each one's left singular vector the next one's right one, with ReLUs that are on: l2."""
    s = Sketch((3,), seed)
    x, u = 0, s.normal(3).abs() + 0.1
    for _ in range(int(s.rng.integers(2, 5))):
        v = s.normal(3).abs() + 0.1
        x = s.function(
            s.dense(x, 3, torch.outer(v / v.norm(), u / u.norm()) * s.rng.uniform(0.2, 3), bias=False),
            activations.relu(),
        )
        u = v
    return s.graph(x)


def orthogonal(seed: int) -> Graph:
    """Orthogonal layers between sorts of pairs: exactly 1 in l2."""
    s = Sketch((4,), seed)
    x = 0
    for _ in range(2):
        x = s.dense(x, 4, torch.linalg.qr(s.normal(4, 4))[0])
        a, b = s.pick(x, s.places(x)[:2]), s.pick(x, s.places(x)[2:])
        x = s.concat(s.extremum(1.0, a, b), s.extremum(-1.0, b, a))
    return s.graph(x)


def duplicated(seed: int) -> Graph:
    """[f; f] and f + f of one dense layer: sqrt(2) and 2 times its norm."""
    s = Sketch((2,), seed)
    f = s.function(s.dense(0, 2, torch.diag(s.normal(2).abs() + 0.2)), activations.relu())
    return s.graph(s.sum(f, f) if seed % 2 else s.concat(f, f))


def one_layer(seed: int) -> Graph:
    """One convolution, pooled or not, as a linear map: the certified norm is the norm."""
    s = Sketch((1, 2, 4, 4), seed)
    groups, stride = int(s.rng.integers(1, 3)), int(s.rng.integers(1, 3))
    dilation = int(s.rng.integers(1, 3))
    part = Conv(s.normal(2, 2 // groups, 2, 2), s.shape, (stride,) * 2, (dilation,) * 2, ((1, 0), (0, 1)), groups)
    return s.graph(s.affine(part, 0))


def one_pool(seed: int) -> Graph:
    """One overlapping max pooling over a row: sqrt of the windows that one entry can win."""
    s = Sketch((1, 1, 5), seed)
    kernel, stride = int(s.rng.integers(2, 4)), int(s.rng.integers(1, 3))
    windows = windows_of(s.shape, (kernel,), (stride,), (1,))
    scaled = s.affine(Diagonal(torch.tensor(s.rng.uniform(0.5, 2.0), dtype=torch.float64), s.shape), 0)
    return s.graph(s.add(WindowMax(windows.reshape(-1, kernel), s.shape, tuple(windows.shape[:-1])), scaled))


def steep_once(seed: int) -> Graph:
    """One activation of slope beyond 1 behind a scale: its largest slope."""
    return scalar_steep(seed)


class Family(NamedTuple):
    """tight: whether a search is expected to come near the product in l2."""

    name: str
    build: Callable[[int], Graph]
    tight: bool = False
    bounded: bool = True

    def __str__(self) -> str:
        return self.name


FAMILIES = (
    Family("mlp", mlp),
    Family("branches", branches),
    Family("picks", picks),
    Family("sorted-pairs", sorted_pairs),
    Family("images", images),
    Family("heads", heads),
    Family("products", products, bounded=False),
    Family("all-on", all_on, tight=True),
    Family("aligned", aligned, tight=True),
    Family("orthogonal", orthogonal, tight=True),
    Family("duplicated", duplicated, tight=True),
    Family("one-layer", one_layer, tight=True),
    Family("one-pool", one_pool, tight=True),
    Family("steep-once", steep_once, tight=True),
)


def family(name: str) -> Family:
    return next(f for f in FAMILIES if f.name == name)
