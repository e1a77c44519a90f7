"""Numbers for people, rounded the way their meaning asks: an upper bound up, a lower bound or a radius down.

`f"{x:.4g}"` rounds to nearest, so half of the upper bounds it prints are not upper bounds. Here the exact
decimal value of the float64 is rounded, so that what is printed is still true.
"""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal, Inexact

DIGITS = 4
_MOST = 9
_POSITIONAL = (Decimal("0.0001"), Decimal(1_000_000))


def upper(value: float, digits: int = DIGITS) -> str:
    """A decimal of so many significant digits that is not below value; "inf" for inf."""
    return _rounded(value, digits, ROUND_CEILING)


def lower(value: float, digits: int = DIGITS) -> str:
    """A decimal of so many significant digits that is not above value."""
    return _rounded(value, digits, ROUND_FLOOR)


def nearest(value: float, digits: int = DIGITS) -> str:
    """The nearest decimal of so many significant digits: for numbers that promise nothing."""
    return _rounded(value, digits, ROUND_HALF_EVEN)


def digits_between(low: float, high: float, fewest: int = DIGITS) -> int:
    """How many digits show [low, high] at most twice as wide as it is: a tight bracket should look like one."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return fewest
    gap = Decimal(float(high)) - Decimal(float(low))
    enough = (n for n in range(fewest, _MOST) if Decimal(upper(high, n)) - Decimal(lower(low, n)) <= 2 * gap)
    return next(enough, _MOST)


def share_down(share: float, digits: int = DIGITS) -> str:
    """A share in [0, 1] that is not above it. It is a count over a total, so 0.96 is 0.96: not the float just below."""
    if not math.isfinite(share):
        return lower(share)
    return format(Context(prec=digits, rounding=ROUND_FLOOR).plus(Decimal(repr(float(share)))).normalize(), "f")


def percent_down(share: float, digits: int = 1) -> str:
    """A share in [0, 1] as a percentage that is not above it: an accuracy is never flattered."""
    return _percent(share, digits, ROUND_FLOOR)


def percent_up(share: float, digits: int = 1) -> str:
    """A share in [0, 1] as a percentage that is not below it: for what is an upper bound."""
    return _percent(share, digits, ROUND_CEILING)


def percent(share: float, digits: int = 0) -> str:
    """A share as the nearest percentage."""
    return _percent(share, digits, ROUND_HALF_EVEN)


def seconds(value: float) -> str:
    """A duration in a few characters."""
    if not value >= 0.005:
        return "<0.01 s"
    if value < 100.0:
        return f"{value:.{2 if value < 0.1 else 1}f} s"
    return f"{value:.0f} s"


def _rounded(value: float, digits: int, rounding: str) -> str:
    if not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    context = Context(prec=digits, rounding=rounding)
    result = context.plus(Decimal(float(value)))
    if result.is_zero():
        return "0"
    if not context.flags[Inexact]:  # an exact 1 is "1"; "1.000" says that something was rounded
        result = result.normalize(context)
    if _POSITIONAL[0] <= abs(result) < _POSITIONAL[1]:
        return format(result, "f")
    return format(result, "e")


def _percent(share: float, digits: int, rounding: str) -> str:
    if not math.isfinite(share):
        return "n/a"
    # A count over a total is a float that may lie just below the true ratio: 9/10 is not "89.9%".
    scaled = Decimal(repr(float(share))) * 100
    return f"{scaled.quantize(Decimal(1).scaleb(-digits), rounding=rounding)}%"
