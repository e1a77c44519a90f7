"""Round numbers to mark on a scale."""

from __future__ import annotations

import math

_TINY = 1e-290
"""Below this a tenth of a number may be 0: there are no round numbers to mark."""


def logarithmic(low: float, high: float) -> list[tuple[float, str]]:
    """Powers of ten within [low, high] and, where these are few, twice and five times each; with their names."""
    first, last = math.ceil(math.log10(low)), math.floor(math.log10(high))
    step = max(1, math.ceil((last - first + 1) / 5))
    parts = (1, 2, 5) if last - first < 2 else (1,)
    found = [(part, power) for power in range(first - (step == 1), last + 1, step) for part in parts]
    return [(part * 10.0**power, _power(part, power)) for part, power in found if low <= part * 10.0**power <= high]


def linear(high: float) -> list[tuple[float, str]]:
    """Two to six multiples of a round number from 0 to at most high, with their names; none for a tiny high."""
    if high < _TINY:
        return []
    unit = 10.0 ** math.floor(math.log10(high))
    width = next(part * unit for part in (0.1, 0.2, 0.25, 0.5, 1.0, 2.0) if high / (part * unit) <= 5)
    return [(n * width, f"{n * width:.6g}") for n in range(int(high / width) + 1)]


def _power(part: int, power: int) -> str:
    return f"{part * 10.0**power:g}" if -4 <= power <= 5 else f"{part}e{power}"
