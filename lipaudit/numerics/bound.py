"""The numbers a report is made of: an upper bound, a lower bound; each knows what it rests on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

from lipaudit.numerics.rounding import mul_up


@final
@dataclass(frozen=True, slots=True)
class UpperBound:
    """A certified upper bound: a number proven not to be below the quantity, for every rounding.

    value: in [0, inf]; inf is the honest default, NaN cannot be built.
    evidence: how it was proven, in a few words.
    floor: what the method could not have gone below, a float64 value without a proof; None where it does not know.
    """

    value: float
    evidence: str
    floor: float | None = None

    def __post_init__(self) -> None:
        if not self.value >= 0.0:
            raise ValueError(f"not an upper bound: {self.value}")

    @property
    def finite(self) -> bool:
        return math.isfinite(self.value)

    @property
    def slack(self) -> float | None:
        """How far the bound is above what its method could at best have said, relative; numeric."""
        if self.floor is None or not self.floor > 0.0 or not self.finite:
            return None
        return max(self.value / self.floor - 1.0, 0.0)

    def __mul__(self, other: UpperBound) -> UpperBound:
        """The product of two gains, rounded up."""
        if not isinstance(other, UpperBound):
            return NotImplemented
        return UpperBound(mul_up(self.value, other.value), f"{self.evidence} x {other.evidence}")


@final
@dataclass(frozen=True, slots=True)
class LowerBound:
    """A number proven to be attained: the quantity is at least this. Never mixed with an UpperBound."""

    value: float
    evidence: str

    def __post_init__(self) -> None:
        if not 0.0 <= self.value < math.inf:
            raise ValueError(f"not a lower bound: {self.value}")


def tightest(*bounds: UpperBound) -> UpperBound:
    """The smallest of several upper bounds of one quantity (the first of equals)."""
    return min(bounds, key=lambda bound: bound.value)


UNBOUNDED = UpperBound(math.inf, "unbounded")
ZERO = UpperBound(0.0, "constant")
ONE = UpperBound(1.0, "exact")
