"""What is printed is still true: read back exactly, an upper bound is not below its value, a lower not above."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lipaudit.render import numbers

FINITE = st.floats(min_value=0.0, allow_nan=False, allow_infinity=False)
DIGITS = st.integers(1, 17)


@given(FINITE, DIGITS)
@example(0.1, 1)
@example(5e-324, 4)
@example(1.7976931348623157e308, 4)
@example(999999.5, 6)
@example(0.00009999999, 2)
def test_printed_bounds_hold_and_are_close(value: float, digits: int) -> None:
    exact = Decimal(value)
    high, low = Decimal(numbers.upper(value, digits)), Decimal(numbers.lower(value, digits))
    assert low <= exact <= high
    assert high - low <= exact * Decimal(10) ** (1 - digits)
    assert low <= Decimal(numbers.nearest(value, digits)) <= high


@pytest.mark.parametrize(
    ("value", "up", "down"),
    [
        (1.0, "1", "1"),
        (0.0625, "0.0625", "0.0625"),
        (4.4466, "4.447", "4.446"),
        (4.99999, "5.000", "4.999"),
        (0.0, "0", "0"),
        (math.inf, "inf", "inf"),
        (12345678.0, "1.235e+7", "1.234e+7"),
        (1e-9, "1.001e-9", "1.000e-9"),
        (16.0, "16", "16"),
        (12345.6, "12350", "12340"),
    ],
)
def test_examples(value: float, up: str, down: str) -> None:
    assert (numbers.upper(value), numbers.lower(value)) == (up, down)


def test_nan_is_never_a_number() -> None:
    assert numbers.upper(math.nan) == numbers.lower(math.nan) == "nan"


@given(st.integers(1, 10_000), st.data())
def test_an_accuracy_is_never_flattered(total: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, total))
    printed = Decimal(numbers.percent_down(count / total).removesuffix("%"))
    assert printed <= Decimal(repr(count / total)) * 100
    assert (printed == 100) == (count == total)


@given(st.integers(1, 10_000), st.data(), st.integers(1, 6))
def test_a_share_is_never_flattered_and_needs_no_more_digits_than_it_has(
    total: int, data: st.DataObject, digits: int
) -> None:
    share = data.draw(st.integers(0, total)) / total
    printed = Decimal(numbers.share_down(share, digits))
    assert printed <= Decimal(repr(share)) < printed + Decimal(10) ** (1 - digits)
    assert (numbers.share_down(0.96), numbers.share_down(0.9999999), numbers.share_down(1.0)) == ("0.96", "0.9999", "1")


@given(FINITE, FINITE)
@example(0.99999999, 1.00000004)
@example(3.7989, 4.4466)
def test_a_tight_bracket_looks_tight(one: float, other: float) -> None:
    low, high = sorted((one, other))
    digits = numbers.digits_between(low, high)
    assert 4 <= digits <= 9
    shown = Decimal(numbers.upper(high, digits)) - Decimal(numbers.lower(low, digits))
    assert digits == 9 or shown <= 2 * (Decimal(high) - Decimal(low))


def test_digits_of_brackets() -> None:
    assert numbers.digits_between(3.7989, 4.4466) == 4
    assert numbers.digits_between(0.9999, 1.0001) == 5
    assert numbers.digits_between(1.0, 1.0) == 4
    assert numbers.digits_between(1.0, math.inf) == 4


def test_durations() -> None:
    assert [numbers.seconds(x) for x in (0.0, 0.01, 0.94, 1.9, 61.2, 250.0)] == [
        "<0.01 s",
        "0.01 s",
        "0.9 s",
        "1.9 s",
        "61.2 s",
        "250 s",
    ]
