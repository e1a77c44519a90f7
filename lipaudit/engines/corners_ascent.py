"""Corners of slopes with a large norm, by flips: what a branch and bound compares its open nodes with.

Nothing here is proven, and no bound rests on it: it decides when to stop, and which pattern is handed on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

STARTS = 40
"""Random corners that the ascent begins from."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Corner:
    """A corner, upper: [m] bool, the neurons with their larger slope; value: ||W2 D W1||, to nearest."""

    upper: np.ndarray
    value: float


@final
@dataclass(frozen=True, slots=True, eq=False)
class Sides:
    """right: [m, r] and left: [k, m], both sides of the hidden layer; low, high: [m], its slopes."""

    left: np.ndarray
    right: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def ascended(self, upper: np.ndarray) -> Corner:
        """From a corner to one that no single flip improves in its own singular vectors.

        With the top pair (u, v) of M, |M v + step_i left_i (right_i v)| and |M'u + step_i right_i (left_i u)| are
        at most the norm after the flip of neuron i: every accepted flip is a true ascent.
        """
        upper = upper.copy()
        while True:
            slope = np.where(upper, self.high, self.low)
            matrix = (self.left * slope) @ self.right
            u, s, vt = np.linalg.svd(matrix, full_matrices=False)
            if not len(s) or not s[0] > 0.0:
                return Corner(upper, 0.0)
            u, v = u[:, 0], vt[0]
            step = np.where(upper, self.low, self.high) - slope
            before, after = step * (self.right @ v), step * (u @ self.left)
            forward = s[0] ** 2 + 2.0 * before * ((matrix @ v) @ self.left) + before**2 * (self.left**2).sum(0)
            backward = s[0] ** 2 + 2.0 * after * (self.right @ (u @ matrix)) + after**2 * (self.right**2).sum(1)
            gain = np.maximum(forward, backward)
            best = int(np.argmax(gain))
            if not gain[best] > s[0] ** 2 * (1.0 + 1e-12):
                return Corner(upper, float(s[0]))
            upper[best] = not upper[best]

    def best(self, seed: int = 0) -> Corner:
        """The best of all larger slopes and of some random starts."""
        rng = np.random.default_rng(seed)
        starts = [np.ones(len(self.low), dtype=bool), *(rng.random((STARTS, len(self.low))) < 0.5)]
        return max((self.ascended(start) for start in starts), key=lambda corner: corner.value)
