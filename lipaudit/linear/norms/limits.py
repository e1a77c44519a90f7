"""What the certificate of one map may cost, and how tight it is asked to be."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import final

RATE = 2e10
"""float64 operations a second that a processor core is taken to do, where time is to be told beforehand."""


@final
@dataclass(frozen=True, slots=True)
class Limits:
    """Within these every method stays; beyond them the best bound that is cheaper is the answer.

    precision: how far above a value that is attained a bound may lie, relatively, before a tighter method is tried.
    flops: of one method on one map. memory: bytes of one map's work space.
    entries, small_side: of a dense copy. deadline: in time.monotonic() seconds.
    """

    precision: float = 1e-3
    flops: float = 4e11
    memory: float = 2.0**31
    entries: int = 2**23
    small_side: int = 1024
    deadline: float = math.inf

    def affords(self, flops: float, held: float = 0.0) -> bool:
        """Whether a computation fits: half of the time that is left is the most that one map may take."""
        seconds = self.deadline - time.monotonic()
        return flops <= min(self.flops, 0.5 * RATE * max(seconds, 0.0)) and held <= self.memory

    def reached(self, upper: float, lower: float) -> bool:
        """Whether a bound is as tight as it is asked to be."""
        return upper <= lower * (1.0 + self.precision)

    @property
    def spent(self) -> bool:
        return time.monotonic() > self.deadline


DEFAULT_LIMITS = Limits()
