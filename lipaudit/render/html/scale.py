"""The bracket as a picture: every bound on one scale, as positions in percent that need no script and no figure."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from lipaudit.render import numbers, words
from lipaudit.render.html import ticks
from lipaudit.report.report import AuditReport

_FAR = 8.0
"""From which ratio between the largest and the smallest on the scale is logarithmic."""


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
    marks = ticks.logarithmic(min(known), max(known)) if logarithmic else ticks.linear(max(known))
    return Scale(tuple(rows), band, tuple((place(value), name) for value, name in marks), logarithmic)


def _placing(low: float, high: float) -> tuple[Callable[[float], float], bool]:
    """Where a value lies, in percent: from 0 on, or logarithmic where that would squeeze the small ones together."""
    if high <= _FAR * low:
        return lambda value: min(100.0, max(0.0, 100.0 * value / (1.06 * high))), False
    margin = 0.06 * (math.log(high) - math.log(low))
    start, end = math.log(low) - margin, math.log(high) + margin

    def at(value: float) -> float:
        return min(100.0, max(0.0, 100.0 * (math.log(value) - start) / (end - start))) if value > 0.0 else 0.0

    return at, True
