"""The laws of ops over the whole table of cases."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lipaudit.numerics.bound import UpperBound
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.ops.affine import Affine
from lipaudit.ops.bilinear import Multiply
from lipaudit.ops.elementwise import Elementwise
from lipaudit.ops.jumping import Jumping
from lipaudit.ops.op import Op
from lipaudit.ops.registry import registry
from tests.cases.ops import OpCase, all_op_cases
from tests.laws import op_laws
from tests.laws.op_laws import FLAVOURS

CASES = all_op_cases()
every_op = pytest.mark.parametrize("case", CASES, ids=str)
seeds = st.integers(0, 2**31)
flavours = st.sampled_from(FLAVOURS)


def test_every_op_class_has_a_case() -> None:
    """An op of no case fails the build."""
    registry()  # finds every module of ops
    found = [cls for cls in Op.__subclasses__() if cls is not Jumping and cls.__module__.startswith("lipaudit.")]
    classes = {cls.__name__ for cls in found}  # those that jump have laws and cases of their own
    assert classes <= {type(case.build()).__name__ for case in CASES}
    assert len({str(case) for case in CASES}) == len(CASES)


def drawn(case: OpCase, flavour: str, seed: int, batch: int) -> tuple[Op, tuple[Box, ...]]:
    op = case.build()
    boxes = (op_laws.draw_box(shape, flavour, case.points, seed + i, batch) for i, shape in enumerate(op.in_shapes))
    return op, tuple(boxes)


@every_op
@settings(max_examples=10)
@given(flavour=flavours, seed=seeds, batch=st.sampled_from((1, 3)))
def test_interval_encloses(case: OpCase, flavour: str, seed: int, batch: int) -> None:
    op_laws.interval_encloses(*drawn(case, flavour, seed, batch), seed)


@pytest.mark.parametrize("case", [c for c in CASES if isinstance(c.build(), Affine | Multiply)], ids=str)
@settings(max_examples=5)
@given(flavour=flavours, seed=seeds)
def test_interval_encloses_exactly(case: OpCase, flavour: str, seed: int) -> None:
    op_laws.interval_encloses_exactly(*drawn(case, flavour, seed, 1), seed)


@every_op
@settings(max_examples=6)
@given(flavour=flavours, seed=seeds, batch=st.sampled_from((1, 2)))
def test_gains_cover_jacobians(case: OpCase, flavour: str, seed: int, batch: int) -> None:
    op_laws.gains_cover_jacobians(*drawn(case, flavour, seed, batch), seed)


@every_op
@settings(max_examples=6)
@given(flavour=flavours, seed=seeds)
def test_gains_cover_slopes(case: OpCase, flavour: str, seed: int) -> None:
    op_laws.gains_cover_slopes(*drawn(case, flavour, seed, 1), seed)


@every_op
@settings(max_examples=6)
@given(flavour=flavours, seed=seeds)
def test_smaller_box_is_no_worse(case: OpCase, flavour: str, seed: int) -> None:
    op, boxes = drawn(case, flavour, seed, 1)
    op_laws.smaller_box_is_no_worse(op, boxes, tuple(op_laws.shrink(box, seed) for box in boxes))


_SINGULAR = ("Log", "Sqrt", "Acosh", "Asin", "Acos", "Atanh", "Tan", "Reciprocal", "Pow")


@every_op
@pytest.mark.parametrize("seed", range(3))
def test_point_range_is_tight(case: OpCase, seed: int) -> None:
    op = case.build()
    generator = torch.Generator().manual_seed(seed)
    points = tuple(torch.rand(1, *s, dtype=torch.float64, generator=generator) + 0.2 for s in op.in_shapes)
    if isinstance(op, Elementwise) and math.isinf(float(op.interval(*(Box.point(x) for x in points)).upper.max())):
        assert op.function.name.startswith(_SINGULAR)
        return
    op_laws.point_range_is_tight(op, points)


@every_op
def test_an_infinite_gain_comes_with_its_reason(case: OpCase) -> None:
    op = case.build()
    boxes = tuple(Box.everything((1, *shape)) for shape in op.in_shapes)
    infinite = any(math.isinf(gain.value) for norm in Norm for gain in op.gains(norm, *boxes))
    assert infinite == (op.caveat(*boxes) is not None)


@every_op
def test_answers_are_bounds(case: OpCase) -> None:
    op = case.build()
    boxes = tuple(Box.everything((2, *shape)) for shape in op.in_shapes)
    for norm in Norm:
        assert all(isinstance(gain, UpperBound) for gain in op.gains(norm, *boxes))
        assert isinstance(op.joint_gain(norm, *boxes), UpperBound)
    assert op.interval(*boxes).shape == (2, *op.out_shape)
    assert op.family
    assert op.rule
