"""A table of ops: at least one case for every class, and one for every parameter that a rule turns on."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch

from lipaudit.linear.map import Adjoint, LinearMap
from lipaudit.linear.pointwise import Diagonal
from lipaudit.linear.selection import NOTHING, Selection
from lipaudit.ops import activations
from lipaudit.ops.affine import Affine
from lipaudit.ops.bilinear import Divide, MatMulData, Multiply
from lipaudit.ops.elementwise import Elementwise
from lipaudit.ops.lengths import WindowLogSumExp, WindowNorm
from lipaudit.ops.maxlike import PointwiseMax, Pool, SortPair, WindowMax, stacking
from lipaudit.ops.op import Op
from lipaudit.ops.scaled import LocalResponse, RootMeanSquare, UnitVector
from lipaudit.ops.smooth import LogSoftmax, Normalise, Softmax
from lipaudit.ops.sorting import Largest
from tests.cases.maps import all_maps, randn, select
from tests.cases.scalars import SCALARS


class OpCase(NamedTuple):
    """points: ends of boxes that tell most (kinks). smallest, largest: where arguments are drawn from, otherwise."""

    name: str
    build: Callable[[], Op]
    points: tuple[float, ...] = (0.0, 1.0)

    def __str__(self) -> str:
        return self.name


def overlapping(size: int, kernel: int, stride: int, pad: int = 0) -> torch.Tensor:
    """Windows of a pooling over one axis, NOTHING in the padding."""
    starts = range(-pad, size + pad - kernel + 1, stride)
    rows = [[j if 0 <= j < size else NOTHING for j in range(s, s + kernel)] for s in starts]
    return torch.tensor(rows, dtype=torch.int64)


def pooling(size: int, kernel: int, stride: int, pad: int = 0) -> WindowMax:
    windows = overlapping(size, kernel, stride, pad)
    pool = Pool((kernel,), (stride,), (pad,), (1,), False)
    return WindowMax(windows, (1, 1, size), (1, 1, len(windows)), pool=pool)


_MAPS = """
diagonal-channel diagonal-rounded dense-wide dense-tall dense-lead-trail dense-stack conv1d-pad conv2d-asymmetric
conv2d-stride-leftover conv2d-groups conv3d conv-kernel-in-padding permutation repeat pad nothing-but-zeros
sum-over-axis conv-transpose dense-dense dense-diagonal-dense conv-scale-flatten-dense repeat-then-sum
nearly-cancelling duplicated-rows sum-in-composite adjoint-of-composite average-pool
""".split()
"""Maps whose norms and matrices all have tests of their own; here, those whose ranges are made differently."""


def _affine() -> list[OpCase]:
    def one(build: Callable[[], LinearMap], offset: bool) -> Callable[[], Affine]:
        def make() -> Affine:
            part = build()
            return Affine((part,), randn(*part.out_shape, seed=5) if offset else None)

        return make

    chosen = [case for case in all_maps() if case.name in _MAPS]
    assert len(chosen) == len(_MAPS)
    cases = [OpCase(f"affine-{case}", one(case.build, bool(i % 2))) for i, case in enumerate(chosen)]
    weight = randn(3, 3, seed=2)
    from lipaudit.linear.dense import Dense

    identity = Selection.reshape((3,), (3,))
    minus = Diagonal(torch.tensor(-1.0, dtype=torch.float64), (3,))
    return [
        *cases,
        OpCase("add", lambda: Affine((identity, identity))),
        OpCase("subtract", lambda: Affine((identity, minus))),
        OpCase("add-constant", lambda: Affine((identity,), randn(3, seed=3), randn(3, seed=4).abs() * 1e-12)),
        OpCase("weighted-sum", lambda: Affine((Dense.plain(weight), identity, Diagonal(randn(3), (3,))), randn(3))),
        OpCase(
            "concat", lambda: Affine((select((2,), [0, 1, NOTHING], (3,)), select((1,), [NOTHING, NOTHING, 0], (3,))))
        ),
        OpCase(
            "sums-of-both",
            lambda: Affine((Adjoint(select((2,), [0, 1, 0, 1], (4,))), Adjoint(select((2,), [1, 1, 0], (3,))))),
        ),
        OpCase("stack", lambda: stacking(3, (2,))),
    ]


def _elementwise() -> list[OpCase]:
    cases = [
        OpCase(f"elementwise-{case}", lambda case=case: Elementwise(case.build(), (2,)), case.telling)  # type: ignore[misc]
        for case in SCALARS
    ]
    slopes = torch.tensor([[0.5], [-2.0]], dtype=torch.float64)
    limits = torch.tensor([-1.0, 0.5, 2.0], dtype=torch.float64)
    return [
        *cases,
        OpCase("elementwise-prelu-channels", lambda: Elementwise(activations.prelu(slopes), (1, 2, 3))),
        OpCase(
            "elementwise-clip-entries", lambda: Elementwise(activations.clip(limits, math.inf), (3,)), (-1.0, 0.5, 2.0)
        ),
    ]


def _maxlike() -> list[OpCase]:
    rows = torch.arange(6).reshape(2, 3)
    mixed = torch.tensor([[0, 1, 2], [2, 3, NOTHING], [2, 0, 4]], dtype=torch.int64)
    return [
        OpCase("max-pool-apart", lambda: pooling(6, 2, 2)),
        OpCase("max-pool-k3-s1", lambda: pooling(6, 3, 1)),
        OpCase("max-pool-k3-s2", lambda: pooling(7, 3, 2)),
        OpCase("max-pool-padded", lambda: pooling(5, 3, 1, pad=1)),
        OpCase("max-windows", lambda: WindowMax(mixed, (5,), (3,))),
        OpCase("min-windows", lambda: WindowMax(mixed, (5,), (3,), -1.0)),
        OpCase("reduce-max", lambda: WindowMax(rows, (2, 3), (2,))),
        OpCase("max-of-two", lambda: PointwiseMax((3,), 2)),
        OpCase("min-of-three", lambda: PointwiseMax((2, 2), 3, -1.0)),
        OpCase("sort-pair", lambda: SortPair((3,))),
        OpCase("largest-two-of-four", lambda: Largest(2, 4, 2)),
        OpCase("smallest-of-three", lambda: Largest(1, 3, 1, -1.0)),
        OpCase("sorted", lambda: Largest(1, 4, 4)),
    ]


def _bilinear() -> list[OpCase]:
    return [
        OpCase("multiply", lambda: Multiply((3,))),
        OpCase("divide", lambda: Divide((2,)), (0.0, 1.0, -0.5)),
        OpCase("matmul-data", lambda: MatMulData((2, 3), (3, 2))),
        OpCase("matmul-data-stack", lambda: MatMulData((2, 1, 2), (2, 2, 2))),
    ]


def _smooth() -> list[OpCase]:
    rows = torch.arange(6).reshape(2, 3)
    return [
        OpCase("softmax", lambda: Softmax((3,), 0)),
        OpCase("softmax-axis", lambda: Softmax((2, 2, 2), 1)),
        OpCase("softmax-masked", lambda: Softmax((3, 3), 1, torch.ones(3, 3).tril() > 0)),
        OpCase("softmax-of-one", lambda: Softmax((2, 1), 1)),
        OpCase("softmax-wide", lambda: Softmax((1, 7), 1)),
        OpCase("log-softmax", lambda: LogSoftmax((4,), 0)),
        OpCase("log-softmax-axis", lambda: LogSoftmax((3, 2), 0)),
        OpCase("log-softmax-of-one", lambda: LogSoftmax((2, 1), 1)),
        OpCase("normalise", lambda: Normalise(2, 4, 1e-5)),
        OpCase("normalise-pair", lambda: Normalise(1, 2, 1e-3)),
        OpCase("normalise-one", lambda: Normalise(3, 1, 1e-3)),
        OpCase("normalise-wide", lambda: Normalise(1, 12, 0.5)),
        OpCase("rms", lambda: RootMeanSquare(2, 3, 1e-4)),
        OpCase("rms-wide", lambda: RootMeanSquare(1, 12, 0.5)),
        OpCase("unit-vector", lambda: UnitVector(2, 3)),
        OpCase("unit-vector-l1", lambda: UnitVector(2, 3, p=1)),
        OpCase("unit-vector-floor", lambda: UnitVector(2, 3, floor=1e-2)),
        OpCase("unit-vector-added", lambda: UnitVector(1, 4, floor=1e-2, added=True)),
        OpCase("local-response", lambda: LocalResponse((1, 4, 2), 3, 1e-2, 0.75, 1.0)),
        OpCase("length", lambda: WindowNorm(rows, (2, 3), (2,), 2.0)),
        OpCase("length-p1", lambda: WindowNorm(rows, (2, 3), (2,), 1.0)),
        OpCase("length-p3-overlapping", lambda: WindowNorm(overlapping(6, 3, 1, 1), (6,), (6,), 3.0)),
        OpCase("length-p1.5-overlapping", lambda: WindowNorm(overlapping(5, 2, 1), (5,), (4,), 1.5)),
        OpCase("log-sum-exp", lambda: WindowLogSumExp(rows, (2, 3), (2,))),
    ]


def all_op_cases() -> list[OpCase]:
    return _affine() + _elementwise() + _maxlike() + _bilinear() + _smooth()
