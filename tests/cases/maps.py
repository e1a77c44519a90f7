"""A table of linear maps of every kind, and the exact matrix of each, written without the code under test."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import torch

from lipaudit.linear.conv import Conv
from lipaudit.linear.dense import Dense
from lipaudit.linear.map import Adjoint, Compose, LinearMap, Shape, Sum
from lipaudit.linear.pointwise import Diagonal
from lipaudit.linear.selection import NOTHING, Selection


class MapCase(NamedTuple):
    """tight: whether every norm is promised to be the true one (a dense copy is affordable)."""

    name: str
    build: Callable[[], LinearMap]

    def __str__(self) -> str:
        return self.name


def randn(*shape: int, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * scale


def conv(
    out: int,
    source: Shape,
    size: Shape,
    *,
    stride: int = 1,
    dilation: int = 1,
    pads: tuple[tuple[int, int], ...] | None = None,
    groups: int = 1,
    roundings: int = 0,
    kernel: torch.Tensor | None = None,
) -> Conv:
    axes = len(source) - 2
    weight = randn(out, source[1] // groups, *size, seed=out) if kernel is None else kernel
    padding = ((0, 0),) * axes if pads is None else pads
    return Conv(weight, source, (stride,) * axes, (dilation,) * axes, padding, groups, roundings)


def select(source: Shape, index: list[int], target: Shape) -> Selection:
    return Selection(torch.tensor(index, dtype=torch.int64), source, target)


def off_grid() -> torch.Tensor:
    """A 3-tap kernel whose peak frequency a circular transform of the image's own size does not see."""
    return torch.tensor([[[1.0, 2.0 * math.cos(0.75 * math.pi), 1.0]]], dtype=torch.float64)


def leaves() -> list[MapCase]:
    case = MapCase
    return [
        case("diagonal-full", lambda: Diagonal(randn(2, 3), (2, 3))),
        case("diagonal-channel", lambda: Diagonal(randn(3, 1, 1), (1, 3, 2, 2))),
        case("diagonal-scalar", lambda: Diagonal(torch.tensor(-2.5, dtype=torch.float64), (4,))),
        case("diagonal-zero", lambda: Diagonal(torch.zeros(3, dtype=torch.float64), (3,))),
        case("diagonal-rounded", lambda: Diagonal(randn(5), (5,), 3)),
        case("dense-wide", lambda: Dense.plain(randn(3, 7))),
        case("dense-tall", lambda: Dense.plain(randn(7, 3))),
        case("dense-row", lambda: Dense.plain(randn(1, 6))),
        case("dense-rounded", lambda: Dense.plain(randn(4, 4), 5)),
        case("dense-lead", lambda: Dense(randn(4, 3), (2,), 1, (2, 3), (2, 4))),
        case("dense-trail", lambda: Dense(randn(4, 3), (), 2, (3, 2), (4, 2))),
        case("dense-lead-trail", lambda: Dense(randn(2, 3), (2,), 2, (2, 3, 2), (2, 2, 2))),
        case("dense-stack", lambda: Dense(randn(3, 4, 2), (3,), 1, (3, 2), (3, 4))),
        case("dense-stack-broadcast", lambda: Dense(randn(2, 1, 3, 2), (2, 2), 1, (2, 2, 2), (2, 2, 3))),
        case("dense-equal-singular-values", lambda: Dense.plain(torch.linalg.qr(randn(5, 5))[0])),
        case("conv1d", lambda: conv(2, (1, 2, 6), (3,))),
        case("conv1d-pad", lambda: conv(2, (1, 2, 5), (3,), pads=((1, 1),))),
        case("conv1d-off-grid", lambda: conv(1, (1, 1, 3), (3,), pads=((1, 1),), kernel=off_grid())),
        case(
            "conv2d-ones",
            lambda: conv(
                1, (1, 1, 4, 4), (3, 3), pads=((1, 1),) * 2, kernel=torch.ones(1, 1, 3, 3, dtype=torch.float64)
            ),
        ),
        case("conv2d-asymmetric", lambda: conv(2, (1, 1, 4, 3), (2, 3), pads=((0, 2), (1, 0)))),
        case("conv2d-stride", lambda: conv(2, (1, 2, 5, 5), (3, 3), stride=2, pads=((1, 1),) * 2)),
        case("conv2d-stride-leftover", lambda: conv(2, (1, 1, 6, 5), (2, 2), stride=3)),
        case("conv2d-dilation", lambda: conv(1, (1, 2, 5, 5), (2, 2), dilation=2, pads=((1, 0),) * 2)),
        case("conv2d-groups", lambda: conv(4, (1, 4, 3, 3), (2, 2), groups=2)),
        case("conv2d-depthwise", lambda: conv(3, (1, 3, 3, 3), (3, 3), groups=3, pads=((1, 1),) * 2)),
        case("conv2d-two-samples", lambda: conv(2, (2, 1, 3, 3), (2, 2))),
        case("conv2d-rounded", lambda: conv(2, (1, 2, 3, 3), (2, 2), roundings=4)),
        case("conv3d", lambda: conv(1, (1, 1, 3, 2, 3), (2, 2, 2), pads=((1, 0),) * 3)),
        case("conv-pointwise", lambda: conv(3, (1, 2, 3, 3), (1, 1))),
        case("conv-kernel-in-padding", lambda: conv(1, (1, 1, 1), (5,), pads=((2, 2),))),
        case("reshape", lambda: Selection.reshape((2, 3), (3, 2))),
        case("permutation", lambda: select((4,), [2, 0, 3, 1], (4,))),
        case("slice", lambda: select((5,), [1, 2], (2,))),
        case("repeat", lambda: select((3,), [0, 0, 0, 1, 2], (5,))),
        case("pad", lambda: select((2,), [NOTHING, 0, 1, NOTHING], (4,))),
        case("nothing-but-zeros", lambda: select((2,), [NOTHING, NOTHING], (2,))),
        case("sum-over-axis", lambda: Adjoint(select((2,), [0, 1, 0, 1, 0, 1], (6,)))),
        case("conv-transpose", lambda: Adjoint(conv(2, (1, 2, 5, 5), (3, 3), stride=2, pads=((1, 0),) * 2))),
        case("dense-transposed", lambda: Adjoint(Dense.plain(randn(3, 5)))),
    ]


def composites() -> list[MapCase]:
    case = MapCase
    w, v = Dense.plain(randn(4, 5, seed=1)), Dense.plain(randn(3, 4, seed=2))
    square = Dense.plain(randn(4, 4, seed=3))
    identity = Selection.reshape((4,), (4,))
    return [
        case("dense-dense", lambda: Compose((w, v))),
        case("dense-diagonal-dense", lambda: Compose((w, Diagonal(randn(4), (4,), 2), v))),
        case(
            "conv-scale-flatten-dense",
            lambda: Compose(
                (
                    conv(2, (1, 1, 3, 3), (2, 2)),
                    Diagonal(randn(2, 1, 1), (1, 2, 2, 2), 3),
                    Selection.reshape((1, 2, 2, 2), (8,)),
                    Dense.plain(randn(3, 8)),
                )
            ),
        ),
        case("conv-conv", lambda: Compose((conv(2, (1, 1, 5), (2,)), conv(1, (1, 2, 4), (2,))))),
        case(
            "repeat-then-sum",
            lambda: Compose((select((3,), [0, 0, 1, 2], (4,)), Adjoint(select((2,), [0, 0, 1, 1], (4,))))),
        ),
        case("repeat-dense", lambda: Compose((select((2,), [0, 1, 0, 1], (4,)), v))),
        case("residual", lambda: Sum((identity, square))),
        case(
            "difference",
            lambda: Sum((square, Compose((Diagonal(torch.tensor(-1.0, dtype=torch.float64), (4,)), square)))),
        ),
        case("nearly-cancelling", lambda: Sum((square, Dense.plain(-square.weight * (1 + 2.0**-30))))),
        case(
            "duplicated-rows",
            lambda: Sum(
                (
                    Compose((square, select((4,), [0, 1, 2, 3, *[NOTHING] * 4], (8,)))),
                    Compose((square, select((4,), [*[NOTHING] * 4, 0, 1, 2, 3], (8,)))),
                )
            ),
        ),
        case(
            "block-diagonal",
            lambda: Sum(
                (
                    Compose(
                        (
                            select((6,), [0, 1, 2], (3,)),
                            Dense.plain(randn(2, 3, seed=4)),
                            select((2,), [0, 1, NOTHING, NOTHING], (4,)),
                        )
                    ),
                    Compose(
                        (
                            select((6,), [3, 4, 5], (3,)),
                            Dense.plain(randn(2, 3, seed=5)),
                            select((2,), [NOTHING, NOTHING, 0, 1], (4,)),
                        )
                    ),
                )
            ),
        ),
        case("adjoint-of-composite", lambda: Adjoint(Compose((w, v)))),
        case("sum-in-composite", lambda: Compose((w, Sum((identity, square)), v))),
        case("composite-in-sum", lambda: Sum((Compose((square, square)), Diagonal(randn(4), (4,)), square))),
        case(
            "average-pool",
            lambda: Compose(
                (
                    conv(
                        2, (1, 2, 4, 4), (2, 2), stride=2, groups=2, kernel=torch.ones(2, 1, 2, 2, dtype=torch.float64)
                    ),
                    Diagonal(torch.tensor(0.25, dtype=torch.float64), (1, 2, 2, 2), 1),
                )
            ),
        ),
    ]


def all_maps() -> list[MapCase]:
    return leaves() + composites()


# ----------------------------------------------------------------------------------------------- exact


def exact(part: LinearMap) -> np.ndarray:
    """The matrix [out_size, in_size] of Fractions that the stored weights say, spelt out entry by entry."""
    match part:
        case Compose():
            total = exact(part.maps[0])
            for piece in part.maps[1:]:
                total = exact(piece) @ total
            return total
        case Sum():
            return sum((exact(term) for term in part.terms[1:]), exact(part.terms[0]))
        case Adjoint():
            return exact(part.of).T
        case Diagonal():
            values = np.broadcast_to(part.scale.numpy(), part.shape).reshape(-1)
            matrix = _zeros(part.out_size, part.in_size)
            for place, value in enumerate(values):
                matrix[place, place] = Fraction(float(value))
            return matrix
        case Selection():
            matrix = _zeros(part.out_size, part.in_size)
            index = range(part.out_size) if part.index is None else part.index.tolist()
            for row, column in enumerate(index):
                if column != NOTHING:
                    matrix[row, column] = Fraction(1)
            return matrix
        case Dense():
            return _exact_dense(part)
        case Conv():
            return _exact_conv(part)
        case _:
            raise TypeError(type(part).__name__)


def _zeros(rows: int, columns: int) -> np.ndarray:
    matrix = np.empty((rows, columns), dtype=object)
    matrix[...] = Fraction(0)
    return matrix


def _exact_dense(part: Dense) -> np.ndarray:
    n_out, n_in = part.weight.shape[-2:]
    weights = np.broadcast_to(part.weight.numpy(), (*part.lead, n_out, n_in)).reshape(-1, n_out, n_in)
    matrix = _zeros(part.out_size, part.in_size)
    for block, weight in enumerate(weights):
        for i, j, t in itertools.product(range(n_out), range(n_in), range(part.trail)):
            matrix[(block * n_out + i) * part.trail + t, (block * n_in + j) * part.trail + t] = Fraction(
                float(weight[i, j])
            )
    return matrix


def _exact_conv(part: Conv) -> np.ndarray:
    n, _, *size = part.source
    out_channels, per_group, *window = part.kernel.shape
    out_size = part.out_shape[2:]
    kernel = part.kernel.numpy()
    matrix = _zeros(part.out_size, part.in_size)
    places = np.arange(part.in_size).reshape(part.source)
    targets = np.arange(part.out_size).reshape(part.out_shape)
    for sample, o in itertools.product(range(n), range(out_channels)):
        group = o // (out_channels // part.groups)
        for at in itertools.product(*map(range, out_size)):
            for c, tap in itertools.product(range(per_group), itertools.product(*map(range, window))):
                read = [
                    p * s + k * d - begin
                    for p, s, k, d, (begin, _) in zip(at, part.stride, tap, part.dilation, part.pads, strict=True)
                ]
                if all(0 <= r < m for r, m in zip(read, size, strict=True)):
                    column = places[(sample, group * per_group + c, *read)]
                    matrix[targets[(sample, o, *at)], column] += Fraction(float(kernel[(o, c, *tap)]))
    return matrix


def exact_sum(matrix: np.ndarray, axis: int) -> Fraction:
    """The largest absolute column (axis 0) or row (axis 1) sum."""
    return max((sum(map(abs, line), Fraction(0)) for line in (matrix.T if axis == 0 else matrix)), default=Fraction(0))


def scaled(part: LinearMap, factor: float) -> LinearMap:
    """The same kind of map with its stored weights times a power of two (of its first leaf that has weights)."""
    match part:
        case Diagonal():
            return Diagonal(part.scale * factor, part.shape, part.scale_roundings)
        case Dense():
            return Dense(part.weight * factor, part.lead, part.trail, part.source, part.target, part.weight_roundings)
        case Conv():
            kernel = part.kernel * factor
            return Conv(kernel, part.source, part.stride, part.dilation, part.pads, part.groups, part.kernel_roundings)
        case Compose():
            place = next((i for i, piece in enumerate(part.maps) if not isinstance(piece, Selection)), 0)
            return Compose((*part.maps[:place], scaled(part.maps[place], factor), *part.maps[place + 1 :]))
        case Sum():
            return Sum(tuple(scaled(term, factor) for term in part.terms))
        case Adjoint():
            return Adjoint(scaled(part.of, factor))
        case _:
            return part
