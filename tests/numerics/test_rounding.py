"""Outward-rounded arithmetic against rationals: never on the wrong side, and never far off."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lipaudit.numerics import rounding
from lipaudit.numerics.bound import UNBOUNDED, ZERO, LowerBound, UpperBound, tightest
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.numerics.rounding import MAX

LARGE = settings(max_examples=200)
numbers = st.one_of(
    st.floats(0.0, MAX),
    st.floats(0.0, 10.0),
    st.sampled_from((0.0, 5e-324, 1e-310, 2.0**-1022, 1e-160, 1.0, 1.0 + 2.0**-52, 1e154, 1.4e154, 1e300, MAX)),
)
some = st.lists(numbers, min_size=0, max_size=6)


def above(value: float, exact: Fraction) -> bool:
    return value == math.inf or Fraction(value) >= exact


def near(value: float, exact: Fraction, ulps: int) -> bool:
    """Not more than so many units above, or above the largest float."""
    if value == math.inf:
        return exact > Fraction(MAX) * (1 - Fraction(ulps + 2, 2**52))
    return Fraction(value) <= exact * (1 + Fraction(ulps, 2**52)) + ulps * Fraction(5e-324)


@LARGE
@given(terms=some)
def test_add_up(terms: list[float]) -> None:
    value, exact = rounding.add_up(*terms), sum(map(Fraction, terms), Fraction(0))
    assert above(value, exact)
    assert near(value, exact, 2)


@LARGE
@given(factors=some)
@example(factors=[1e-200, 1e-200, 1e300])
@example(factors=[5e-324, 0.25])
def test_mul_up(factors: list[float]) -> None:
    value, exact = rounding.mul_up(*factors), Fraction(math.prod(map(Fraction, factors)))
    assert above(value, exact)
    assert (value == 0.0) == (exact == 0)
    if all(f == 0 or 1e-50 < f < 1e50 for f in factors):
        assert near(value, exact, 2 * len(factors) + 1)


@LARGE
@given(factors=some)
def test_mul_down(factors: list[float]) -> None:
    value = rounding.mul_down(*factors)
    assert 0.0 <= value < math.inf
    assert Fraction(value) <= math.prod(map(Fraction, factors))


def test_nothing_times_infinity_is_nothing() -> None:
    assert rounding.mul_up(0.0, math.inf) == 0.0
    assert rounding.mul_up(math.inf, 0.0) == 0.0
    assert rounding.mul_up(math.inf, 1e-300) == math.inf
    assert rounding.add_up(math.inf, 1.0) == math.inf


@LARGE
@given(a=numbers, b=numbers)
def test_quotients(a: float, b: float) -> None:
    if b == 0.0:
        assert rounding.div_up(a, b) == (math.inf if a else 0.0)
        return
    exact = Fraction(a) / Fraction(b)
    assert above(rounding.div_up(a, b), exact)
    assert Fraction(rounding.div_down(a, b)) <= exact
    assert 0.0 <= rounding.div_down(a, b) < math.inf


@LARGE
@given(x=numbers)
def test_roots(x: float) -> None:
    assert Fraction(rounding.sqrt_up(x)) ** 2 >= Fraction(x)
    assert Fraction(rounding.sqrt_down(x)) ** 2 <= Fraction(x)
    assert rounding.sqrt_up(x) - rounding.sqrt_down(x) <= 1e-15 * math.sqrt(x) + 1e-323


@LARGE
@given(terms=some)
def test_hypot_up(terms: list[float]) -> None:
    value, exact = rounding.hypot_up(*terms), sum((Fraction(t) ** 2 for t in terms), Fraction(0))
    assert value == math.inf or Fraction(value) ** 2 >= exact


@pytest.mark.parametrize("n", [0, 1, 2, 3, 100, 10**6, 10**12, 2**49])
def test_gamma(n: int) -> None:
    exact = Fraction(n, 2**53) / (1 - Fraction(n, 2**53))
    assert exact <= Fraction(rounding.gamma(n)) <= exact * (1 + Fraction(1, 10**15))


@pytest.mark.parametrize("n", [-1, 2**50])
def test_gamma_of_too_much(n: int) -> None:
    with pytest.raises(ValueError, match="gamma"):
        rounding.gamma(n)


@LARGE
@given(terms=some)
def test_sum_up(terms: list[float]) -> None:
    assert above(rounding.sum_up(torch.tensor(terms, dtype=torch.float64)), sum(map(Fraction, terms), Fraction(0)))


# ------------------------------------------------------------------------------------------- norms


@LARGE
@given(terms=some, signs=st.integers(0, 63))
@example(terms=[MAX, MAX], signs=0)
@example(terms=[5e-324, 5e-324, 5e-324], signs=1)
@example(terms=[1e-160, 1e-160], signs=1)
def test_enclosures_of_a_norm(terms: list[float], signs: int) -> None:
    x = torch.tensor([-t if signs >> i & 1 else t for i, t in enumerate(terms)], dtype=torch.float64)
    for norm in Norm:
        low, high = norm.bounds_of(x)
        assert 0.0 <= low < math.inf
        exact = [Fraction(t) for t in terms]
        if norm is Norm.L2:
            square = sum((t * t for t in exact), Fraction(0))
            assert Fraction(low) ** 2 <= square
            assert high == math.inf or Fraction(high) ** 2 >= square
        else:
            truth = sum(exact, Fraction(0)) if norm is Norm.L1 else max(exact, default=Fraction(0))
            assert Fraction(low) <= truth
            assert above(high, truth)
        if max(terms, default=0.0) < 1e300 and min((t for t in terms if t), default=1.0) > 1e-300:
            assert high <= low * (1 + 1e-13)


@given(parts=some)
def test_blocks_combine(parts: list[float]) -> None:
    """The norm of blocks of these norms, attained by one entry a block."""
    x = torch.tensor(parts, dtype=torch.float64)
    for norm in Norm:
        assert norm.combine_up(parts) >= norm.bounds_of(x)[0]


def test_duals() -> None:
    assert [norm.dual for norm in (Norm.L1, Norm.L2, Norm.LINF)] == [Norm.LINF, Norm.L2, Norm.L1]


# ------------------------------------------------------------------------------------------- bounds and boxes


@pytest.mark.parametrize("value", [math.nan, -1.0, -5e-324])
def test_an_upper_bound_is_a_number_of_0_or_more(value: float) -> None:
    with pytest.raises(ValueError, match="not an upper bound"):
        UpperBound(value, "")


@pytest.mark.parametrize("value", [math.nan, -1.0, math.inf])
def test_a_lower_bound_is_finite(value: float) -> None:
    with pytest.raises(ValueError, match="not a lower bound"):
        LowerBound(value, "")


def test_bounds_do_not_mix() -> None:
    with pytest.raises(TypeError):
        _ = UpperBound(1.0, "") * LowerBound(1.0, "")  # type: ignore[operator]
    assert (UNBOUNDED * ZERO).value == 0.0
    assert tightest(UNBOUNDED, UpperBound(2.0, "a"), UpperBound(2.0, "b")).evidence == "a"


def _box(low: float, high: float) -> Box:
    return Box(torch.tensor([low], dtype=torch.float64), torch.tensor([high], dtype=torch.float64))


@pytest.mark.parametrize(("low", "high"), [(1.0, 0.0), (math.nan, 1.0), (0.0, math.nan)])
def test_boxes_that_do_not_exist(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        _box(low, high)


def test_other_types_are_no_box() -> None:
    with pytest.raises(ValueError, match="float64"):
        Box(torch.zeros(1), torch.zeros(1))
    with pytest.raises(ValueError, match="shapes"):
        Box(torch.zeros(1, dtype=torch.float64), torch.zeros(2, dtype=torch.float64))


def test_an_end_that_overflowed_is_a_number() -> None:
    """Entries are real numbers, however large: [inf, inf] would hold none."""
    box = _box(math.inf, math.inf)
    assert (float(box.lower), float(box.upper)) == (MAX, math.inf)
    box = _box(-math.inf, -math.inf)
    assert (float(box.lower), float(box.upper)) == (-math.inf, -MAX)


signed = st.one_of(st.floats(-MAX, MAX), numbers, numbers.map(lambda x: -x))


@LARGE
@given(a=signed, b=signed)
def test_centre_and_radius_cover_the_box(a: float, b: float) -> None:
    low, high = min(a, b), max(a, b)
    centre, radius = (float(t) for t in _box(low, high).centre_radius())
    assert math.isfinite(centre)
    if math.isfinite(radius):
        assert Fraction(centre) - Fraction(radius) <= Fraction(low)
        assert Fraction(centre) + Fraction(radius) >= Fraction(high)
    if low == high:
        assert (centre, radius) == (low, 0.0)


@LARGE
@given(a=signed, b=signed, relative=st.sampled_from((0.0, 2.0**-52, 1e-9)), absolute=numbers)
def test_widened_boxes_have_the_room(a: float, b: float, relative: float, absolute: float) -> None:
    low, high = min(a, b), max(a, b)
    wider = _box(low, high).widened(relative, absolute)
    lower, upper = float(wider.lower), float(wider.upper)
    exact_low = Fraction(low) - abs(Fraction(low)) * Fraction(relative) - Fraction(absolute)
    exact_high = Fraction(high) + abs(Fraction(high)) * Fraction(relative) + Fraction(absolute)
    assert lower == -math.inf or Fraction(lower) <= exact_low
    assert upper == math.inf or Fraction(upper) >= exact_high


@LARGE
@given(centre=signed, radius=numbers)
def test_around(centre: float, radius: float) -> None:
    box = Box.around(torch.tensor([centre], dtype=torch.float64), torch.tensor([radius], dtype=torch.float64))
    low, high = float(box.lower), float(box.upper)
    assert low == -math.inf or Fraction(low) <= Fraction(centre) - Fraction(radius)
    assert high == math.inf or Fraction(high) >= Fraction(centre) + Fraction(radius)


@pytest.mark.parametrize(
    ("centre", "radius"), [(math.nan, 1.0), (1.0, math.nan), (math.inf, math.inf), (math.inf, 1.0)]
)
def test_around_what_overflowed(centre: float, radius: float) -> None:
    box = Box.around(torch.tensor([centre], dtype=torch.float64), torch.tensor([radius], dtype=torch.float64))
    assert (float(box.lower), float(box.upper)) == (-math.inf, math.inf)


def test_a_difference_is_rounded_up_to_the_nearest() -> None:
    a, b = torch.randn(2, 500, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    b = b * torch.logspace(-20, 3, 500, dtype=torch.float64)
    for x, y, above in zip(a.tolist(), b.tolist(), rounding.difference_up(a, b).tolist(), strict=True):
        exact = Fraction(x) - Fraction(y)
        assert Fraction(math.nextafter(above, -math.inf)) < exact <= Fraction(above)
