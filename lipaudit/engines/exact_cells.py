"""Cells of sign patterns: polyhedra in a box, and proofs that one of them has no interior."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from scipy.optimize import linprog

from lipaudit.numerics.rounding import TINY, gamma

_MORE = 1.0 + 2.0**-40


@final
@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """{x in the box : slope x + start >= 0}, the real numbers within the errors of those stored.

    slope, slope_error: [k, n]; start, start_error: [k].
    """

    slope: np.ndarray
    slope_error: np.ndarray
    start: np.ndarray
    start_error: np.ndarray

    @staticmethod
    def whole(inputs: int) -> Cell:
        """The box itself."""
        return Cell(np.zeros((0, inputs)), np.zeros((0, inputs)), np.zeros(0), np.zeros(0))

    def cut(self, slope: np.ndarray, slope_error: np.ndarray, start: float, start_error: float) -> Cell:
        """The part of the cell on one more side."""
        return Cell(
            np.vstack([self.slope, slope[None]]),
            np.vstack([self.slope_error, slope_error[None]]),
            np.append(self.start, start),
            np.append(self.start_error, start_error),
        )

    def holds(self, points: np.ndarray) -> np.ndarray:
        """[N] bool: which points are inside, to nearest."""
        return np.asarray((points @ self.slope.T + self.start > 0.0).all(1))


def shrunk(cell: Cell, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A smaller box around the cell's part of a box: each side, solved for each entry with the others at their best.

    slope_j x_j >= -(start + sum over k != j of the largest slope_k x_k), rounded outward; a box that would be empty is
    left as it was.
    """
    slope, error = cell.slope, cell.slope_error
    if not len(slope):
        return low, high
    largest = np.maximum(slope * low, slope * high)
    size = np.abs(largest).sum(1) + np.abs(cell.start)
    far = np.maximum(np.abs(low), np.abs(high))
    room = (error @ far + cell.start_error + gamma(slope.shape[1] + 8) * size) * _MORE + TINY * slope.shape[1]
    rest = (largest.sum(1) + cell.start + room)[:, None] - largest  # slope_j x_j + rest >= 0
    rest = np.nextafter(rest + np.abs(rest) * 2.0**-50 + size[:, None] * 2.0**-50, np.inf)
    sure = np.abs(slope) > 2.0 * error
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        bound = -rest / slope
        # slope_j is known up to its error only
        slack = np.abs(bound) * (2.0 * error / np.abs(slope) + 2.0**-50) + TINY
    usable = sure & np.isfinite(bound) & np.isfinite(slack)
    below = np.where(usable & (slope > 0.0), bound - slack, -np.inf).max(0)
    above = np.where(usable & (slope < 0.0), bound + slack, np.inf).min(0)
    new_low = np.maximum(low, np.nextafter(below, -np.inf))
    new_high = np.minimum(high, np.nextafter(above, np.inf))
    empty = new_low > new_high
    return np.where(empty, low, new_low), np.where(empty, high, new_high)


def has_no_interior(cell: Cell, weights: np.ndarray, low: np.ndarray, high: np.ndarray) -> bool:
    """Whether these weights prove that the cell has no interior (relative to the box's own free entries).

    With s_i(x) >= 0 on the cell and weights w_i >= 0: if sum w_i s_i <= 0 everywhere in the box, then every s_i with
    w_i > 0 vanishes on the cell, and if one of these is not constant in the free entries, the cell lies in a hyperplane
    (a Farkas certificate; with < 0 the cell is empty). Whoever found the weights is not trusted: the largest value over
    the box is enclosed with every rounding, and the sign of the final sum is that of the exact sum (math.fsum).
    """
    if not len(weights) or not bool((weights >= 0.0).all() and np.isfinite(weights).all()):
        return False
    free = low < high
    varying = ((np.abs(cell.slope) > cell.slope_error) & free).any(1)
    if not bool((varying & (weights > 0.0)).any()):
        return False
    used = weights > 0.0
    weights = weights[used]
    slope, error = cell.slope[used], cell.slope_error[used]
    start, start_error = cell.start[used], cell.start_error[used]
    rounding = gamma(len(weights) + 2)
    sums, room = weights @ slope, _room(weights, slope, error, rounding)
    first = float(weights @ start)
    first_room = float(_room(weights, start[:, None], start_error[:, None], rounding).item())
    terms = [math.nextafter(first + first_room, math.inf) if first_room > 0.0 else first]
    for value, around, bottom, top in zip(sums.tolist(), room.tolist(), low.tolist(), high.tolist(), strict=True):
        ends = [value]
        if around > 0.0:
            ends = [math.nextafter(value - around, -math.inf), math.nextafter(value + around, math.inf)]
        products = [
            0.0 if end == 0.0 or side == 0.0 else math.nextafter(end * side, math.inf)
            for end in ends
            for side in (bottom, top)
        ]
        terms.append(max(products))
    return all(map(math.isfinite, terms)) and math.fsum(terms) <= 0.0


def is_flat(cell: Cell, low: np.ndarray, high: np.ndarray) -> bool:
    """Whether the last side is exactly the opposite of another: s >= 0 and -s >= 0 leave a hyperplane.

    Neurons of equal or opposite weights are common, and no weights could prove this with any rounding at all.
    """
    slope, start = cell.slope[-1], cell.start[-1]
    if cell.slope_error[-1].any() or cell.start_error[-1] or not slope[low < high].any():
        return False
    same = (cell.slope[:-1] == -slope).all(1) & (cell.start[:-1] == -start)
    return bool((same & ~cell.slope_error[:-1].any(1) & (cell.start_error[:-1] == 0.0)).any())


def _room(weights: np.ndarray, values: np.ndarray, errors: np.ndarray, rounding: float) -> np.ndarray:
    """[n]: how far fl(weights @ values) may be from the real sum, 0 only where all values are exactly 0."""
    size = weights @ np.abs(values)
    met = ((np.abs(values) + errors) > 0.0).sum(0)
    return np.asarray((weights @ errors + rounding * size) * _MORE + 4.0 * TINY * met)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What a linear program says of a cell: a point of its interior, or weights that may prove there is none."""

    point: np.ndarray | None
    weights: np.ndarray | None


def look_inside(cell: Cell, low: np.ndarray, high: np.ndarray) -> Look:
    """The deepest point of the cell (its sides measured in their own lengths), by HiGHS; trusted for nothing."""
    k, n = cell.slope.shape
    lengths = np.abs(cell.slope).sum(1)
    if not (np.isfinite(lengths).all() and np.isfinite(cell.start).all()):
        return Look(None, None)
    lengths = np.where(lengths > 0.0, lengths, 1.0)
    width = np.where(high > low, high - low, 1.0)
    # x = low + width y, 0 <= y <= 1: maximise t with (slope x + start) / length >= t
    inside = cell.slope * width / lengths[:, None]
    start = (cell.slope @ low + cell.start) / lengths
    rows = np.hstack([-inside, np.ones((k, 1))])
    bounds = [(0.0, 1.0 if h > b else 0.0) for b, h in zip(low, high, strict=True)] + [(None, 1.0)]
    answer = linprog(np.append(np.zeros(n), -1.0), rows, start, bounds=bounds, method="highs")
    if answer.x is None or not answer.success:
        return Look(None, None)
    if answer.x[-1] > 1e-9:
        return Look(np.clip(low + width * answer.x[:n], low, high), None)
    weights = np.maximum(-np.asarray(answer.ineqlin.marginals), 0.0) / lengths
    return Look(None, weights)


def firm_weights(cell: Cell, low: np.ndarray, high: np.ndarray) -> np.ndarray | None:
    """Weights whose sum of sides falls off as steeply as can be had from where it is largest, by HiGHS.

    For cells that only touch the box, in a corner: there the largest value is exactly 0, and only a firm sign of every
    slope survives rounding. Maximise d with sum w = 1 and w . s(low) + sum_j max(0, width_j (slope_j + d)) <= -d
    (<= 0 where all s(low) are exactly 0).
    """
    k, n = cell.slope.shape
    lengths = np.abs(cell.slope).sum(1)
    if not (np.isfinite(lengths).all() and np.isfinite(cell.start).all()):
        return None
    lengths = np.where(lengths > 0.0, lengths, 1.0)
    slope, width = cell.slope / lengths[:, None], high - low
    first = (cell.slope @ low + cell.start) / lengths
    # variables: w (k), the positive parts (n), d
    parts = np.hstack([(slope * width).T, -np.eye(n), width[:, None]])
    total = np.concatenate([first, np.ones(n), [1.0 if first.any() else 0.0]])
    answer = linprog(
        np.append(np.zeros(k + n), -1.0),
        np.vstack([parts, total[None]]),
        np.zeros(n + 1),
        np.append(np.ones(k), np.zeros(n + 1))[None],
        [1.0],
        bounds=[(0.0, None)] * (k + n) + [(None, 1.0)],
        method="highs",
    )
    return None if answer.x is None or not answer.success else np.maximum(answer.x[:k], 0.0) / lengths
