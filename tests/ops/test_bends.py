"""Second derivatives against ball arithmetic, and which functions have none."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lipaudit.ops.gated import gelu_tanh_near
from lipaudit.ops.scalar import Bend, Mark
from tests.cases.scalars import C32, SCALARS, ScalarCase
from tests.laws import bend_laws
from tests.ops.test_scalars import intervals

BENT = [case for case in SCALARS if case.build().bend is not None]
every_bent = pytest.mark.parametrize("case", BENT, ids=str)
TURNS = (
    0.5,
    0.7,
    0.6584789484624084,
    1.3169578969248168,
    2.0,
    2.0134807246242579,
    2.1148425630208771,
    3.43584099353511,
)


def test_kinks_and_jumps_have_none() -> None:
    without = {case.name for case in SCALARS if case.build().bend is None}
    kinked = {"relu", "leaky-relu", "prelu", "abs", "clip", "elu-3", "elu-negative", "selu", "hard-swish", "shrink"}
    assert kinked <= without
    smooth = {"sigmoid", "tanh", "softplus", "softsign", "elu", "celu", "erf", "gelu", "gelu-tanh", "silu", "mish"}
    assert smooth | {"sin", "cos", "atan", "asinh", "exp", "square", "quick-gelu"} <= {case.name for case in BENT}


@every_bent
@given(data=st.data())
def test_bends_enclose(case: ScalarCase, data: st.DataObject) -> None:
    bend_laws.bend_encloses(case, *data.draw(intervals(case)))


@every_bent
def test_bends_enclose_where_they_turn(case: ScalarCase) -> None:
    for x in (*case.telling, *(side * turn for turn in TURNS for side in (-1.0, 1.0))):
        for low, high in ((x, x), (x, x + 1e-3), (x - 1e-3, x), (x - 1.0, x + 0.25), (x - 0.1, x + 3.0)):
            bend_laws.bend_encloses(case, low, high)
            bend_laws.slopes_differ_by_no_more(case, low, high)


@every_bent
@given(x=st.floats(-30.0, 30.0))
def test_bends_of_a_point_are_tight(case: ScalarCase, x: float) -> None:
    if x not in case.kinks and x != 0.0:
        bend_laws.bend_of_a_point_is_tight(case, x)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sigmoid", 1 / (6 * math.sqrt(3))),
        ("tanh", 4 / (3 * math.sqrt(3))),
        ("softplus", 0.25),
        ("softsign", 2.0),
        ("gelu", 2 / math.sqrt(2 * math.pi)),
        ("silu", 0.5),
        ("quick-gelu", 0.851),
        ("mish", 0.6442046372369724),
        ("erf", 0.9678828980765734),
        ("atan", 0.649519052838329),
        ("elu", 1.0),
        ("celu", 1 / C32),
        ("sin", 1.0),
    ],
)
def test_the_largest_bends(name: str, value: float) -> None:
    (case,) = (c for c in SCALARS if c.name == name)
    least, most = bend_laws.bends(case.build(), -math.inf, math.inf)
    assert max(-least, most) == pytest.approx(value, rel=1e-6)
    assert max(-least, most) >= value * (1 - 1e-15)


def test_a_gelu_of_rounded_constants() -> None:
    """Its second derivative is enclosed for every coefficient near the stated one."""
    (case,) = (c for c in SCALARS if c.name == "gelu-tanh")
    function = gelu_tanh_near(0.044715 + 4e-9, 1e-9)
    for x in (-3.0, -2.0134807246242579, -0.5, 0.0, 1.0, 2.0134807246242579):
        bend_laws.bend_encloses(case, x, x, function)
        bend_laws.bend_encloses(case, x - 0.5, x + 0.5, function)


@pytest.mark.parametrize("name", ["tanh", "gelu", "silu", "softplus", "atan", "softsign"])
def test_a_bend_whose_turns_are_forgotten_is_seen(name: str) -> None:
    (case,) = (c for c in SCALARS if c.name == name)
    right = case.build()
    assert right.bend is not None
    wrong = replace(right, bend=Bend(right.bend.fn, right.bend.limits, (), right.bend.error))
    ends = (-1.5, 1.25)
    bend_laws.bend_encloses(case, *ends, right)
    with pytest.raises(AssertionError):
        bend_laws.bend_encloses(case, *ends, wrong)


def test_a_slope_in_place_of_a_bend_is_seen() -> None:
    (case,) = (c for c in SCALARS if c.name == "tanh")
    right = case.build()
    wrong = replace(right, bend=Bend(right.derivative, (0.0, 0.0), (Mark(0.0, (1.0,)),), right.slope_error))
    with pytest.raises(AssertionError):
        bend_laws.bend_encloses(case, -1.0, 1.0, wrong)
