"""Scalar functions against ball arithmetic: ranges of values and slopes, and every global constant proven anew."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lipaudit.numerics.box import Box
from lipaudit.ops import activations
from tests.cases.scalars import SCALARS, ScalarCase, makers
from tests.laws import scalar_laws

every_scalar = pytest.mark.parametrize("case", SCALARS, ids=str)

_SIZES = (
    0.0,
    5e-324,
    1e-310,
    1e-160,
    1e-20,
    1e-9,
    1e-3,
    0.3,
    1.0,
    2.5,
    7.0,
    30.0,
    100.0,
    700.0,
    746.0,
    1e6,
    1e16,
    1e80,
    1.3e154,
    1e160,
    1e300,
    1.7e308,
)


@st.composite
def intervals(draw: st.DrawFn, case: ScalarCase) -> tuple[float, float]:
    """Intervals that hurt: points, ends at a kink or beside it, huge, infinite, denormal."""
    ends = []
    for side in (-1.0, 1.0):
        kind = draw(st.sampled_from(("telling", "beside", "size", "plain", "infinite")))
        if kind in ("telling", "beside"):
            x = draw(st.sampled_from(case.telling))
            if kind == "beside":
                x = math.nextafter(x, draw(st.sampled_from((-math.inf, math.inf))))
        elif kind == "size":
            x = draw(st.sampled_from(_SIZES)) * draw(st.sampled_from((-1.0, 1.0)))
        elif kind == "plain":
            x = draw(st.floats(-10.0, 10.0))
        else:
            x = side * math.inf
        ends.append(x)
    low, high = min(ends), max(ends)
    if low == high and math.isinf(low):
        return -math.inf, math.inf
    return (low, high) if draw(st.booleans()) or not math.isfinite(low) else (low, low)


def test_every_scalar_function_has_a_case() -> None:
    assert makers() <= {case.maker for case in SCALARS}


@every_scalar
@given(data=st.data())
def test_ranges_enclose(case: ScalarCase, data: st.DataObject) -> None:
    scalar_laws.range_encloses(case, *data.draw(intervals(case)))


@every_scalar
def test_ranges_enclose_where_it_turns(case: ScalarCase) -> None:
    for x in case.telling:
        scalar_laws.range_encloses(case, x, x)
        scalar_laws.range_encloses(case, x, x + 1e-3)
        scalar_laws.range_encloses(case, x - 1e-3, x)
        scalar_laws.range_encloses(case, math.nextafter(x, -math.inf), math.nextafter(x, math.inf))


@every_scalar
@given(x=st.floats(-30.0, 30.0))
def test_ranges_of_a_point_are_tight(case: ScalarCase, x: float) -> None:
    if abs(x) > 1e-3 and not any(0 < abs(abs(x) - abs(p)) < 1e-2 for p in (1.0, math.pi / 2)):
        scalar_laws.narrow_range_is_tight(case, x)


@every_scalar
def test_global_slopes_are_proven(case: ScalarCase) -> None:
    scalar_laws.global_slope_range_is_proven(case)


@every_scalar
def test_global_slopes_are_tight(case: ScalarCase) -> None:
    if case.name == "clip-nothing":
        pytest.skip("a Clip without limits is read as one that may be met at infinity: 0 is in its range of slopes")
    scalar_laws.global_slope_range_is_tight(case)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gelu", 1.1289041451851548),
        ("gelu-tanh", 1.1289930686587718),
        ("silu", 1.0998393201288670),
        ("quick-gelu", 1.0998393201288670),
        ("swish-negative", 1.0998393201288670),
        ("mish", 1.0884981612517279),
        ("hard-swish", 1.5),
        ("erf", 1.1283791670955126),
        ("selu", 1.7580993463430304),
        ("sigmoid", 0.25),
        ("leaky-relu-2", 2.0),
        ("elu-negative", 3.0),
    ],
)
def test_the_constants_people_get_wrong(name: str, value: float) -> None:
    (case,) = (c for c in SCALARS if c.name == name)
    _, _, low, high = scalar_laws.ranges(case.build(), -math.inf, math.inf)
    assert max(-low, high) == pytest.approx(value, rel=1e-12)
    assert max(-low, high) >= value * (1 - 1e-16)


def test_one_number_an_entry() -> None:
    """A PRelu and a Clip with a tensor of parameters keep each entry's own."""
    alpha = torch.tensor([[0.5], [-2.0]], dtype=torch.float64)
    box = Box.everything((3, 2, 4))
    slopes = activations.prelu(alpha).slope_range(box)
    assert torch.equal(slopes.lower[1], torch.tensor([[0.5] * 4, [-2.0] * 4], dtype=torch.float64))
    clip = activations.clip(alpha, torch.full((2, 1), 1.0, dtype=torch.float64))
    values = clip.value_range(box)
    assert torch.equal(values.lower[2], alpha.expand(2, 4))
    assert bool((values.upper == 1.0).all())
