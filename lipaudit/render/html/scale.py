"""The bracket as a picture: every bound on one scale, as positions in percent that need no script and no figure."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from lipaudit.render import numbers, words
from lipaudit.report.report import AuditReport

_FAR = 8.0
"""From which ratio between the largest and the smallest on the scale is logarithmic."""

_TINY = 1e-290
"""Below this a tenth of a number may be 0: there are no round numbers to mark."""


@final
@dataclass(frozen=True, slots=True)
class Mark:
    """One bound: its name, its value as printed, its kind, and where it lies on the scale (None: beyond it)."""

    label: str
    value: str
    kind: str
    at: float | None
    best: bool


@final
@dataclass(frozen=True, slots=True)
class Scale:
    """The marks, largest first, and the band between both ends of the bracket (None without a bracket)."""

    marks: tuple[Mark, ...]
    band: tuple[float, float] | None
    ticks: tuple[tuple[float, str], ...]
    logarithmic: bool


def scale(report: AuditReport) -> Scale | None:
    """Every upper bound and the attained value on one scale; None without any finite one that is positive."""
    digits = words.bracket_digits(report)
    uppers = {method.name: method for method in (*report.methods, *((report.upper,) if report.upper else ()))}
    bounds = [method for method in uppers.values() if method.bound is not None]
    values = [method.bound.value for method in bounds if method.bound is not None and method.bound.finite]
    low = None if report.lower is None else report.lower.bound.value
    known = [value for value in [*values, *([] if low is None else [low])] if value > 0.0]
    if not known or not bounds:
        return None
    place, logarithmic = _placing(min(known), max(known))
    best = None if report.upper is None else report.upper.name
    rows = []
    for method in sorted(bounds, key=lambda m: -m.bound.value if m.bound else 0.0):
        assert method.bound is not None
        finite = method.bound.finite
        shown = numbers.upper(method.bound.value, digits) if finite else "no bound"
        at = place(method.bound.value) if finite else None
        rows.append(Mark(method.label, shown, "certified", at, method.name == best and finite))
    if report.lower is not None and low is not None:
        rows.append(Mark(report.lower.label, numbers.lower(low, digits), "attained", place(low), False))
    band = None
    if report.ratio is not None and report.upper is not None and report.upper.bound is not None and low is not None:
        band = place(low), place(report.upper.bound.value)
    return Scale(tuple(rows), band, _ticks(max(known), min(known), place, logarithmic), logarithmic)


def _placing(low: float, high: float) -> tuple[Callable[[float], float], bool]:
    """Where a value lies, in percent: from 0 on, or logarithmic where that would squeeze the small ones together."""
    if high <= _FAR * low:
        return lambda value: min(100.0, max(0.0, 100.0 * value / (1.06 * high))), False
    margin = 0.06 * (math.log(high) - math.log(low))
    start, end = math.log(low) - margin, math.log(high) + margin

    def at(value: float) -> float:
        return min(100.0, max(0.0, 100.0 * (math.log(value) - start) / (end - start))) if value > 0.0 else 0.0

    return at, True


def _ticks(
    high: float, low: float, place: Callable[[float], float], logarithmic: bool
) -> tuple[tuple[float, str], ...]:
    """A few round numbers with their places."""
    if logarithmic:
        first, last = math.ceil(math.log10(low)), math.floor(math.log10(high))
        step = max(1, math.ceil((last - first + 1) / 5))
        powers = range(first, last + 1, step)
        return tuple((place(10.0**power), _power(power)) for power in powers)
    if high < _TINY:
        return ()
    unit = 10.0 ** math.floor(math.log10(high))
    width = next(part * unit for part in (0.1, 0.2, 0.25, 0.5, 1.0, 2.0) if high / (part * unit) <= 5)
    return tuple((place(n * width), f"{n * width:.6g}") for n in range(int(high / width) + 1))


def _power(power: int) -> str:
    return f"{10.0**power:g}" if -4 <= power <= 5 else f"1e{power}"
