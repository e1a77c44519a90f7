"""Points deep inside a cell of a ball, or weights that may prove it empty: convex programs, trusted for nothing."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import linprog, nnls

from lipaudit.numerics.norms import Norm
from lipaudit.ranges.cells import Cells
from lipaudit.ranges.refuted import Halves

_DEPTHS = (0.3, 0.1, 0.03, 1e-2, 1e-3, 1e-4, 1e-6, 1e-8)
"""Tried in l2, in units of the half-spaces' widths over the ball."""


def look_inside(cells: Cells, halves: Halves, row: int) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """(d [n] inside all half-spaces of one cell and the ball, None) or (None, weights [U]); (None, None) if neither."""
    used = halves.used[row].nonzero()[:, 0]
    scale = halves.width[row, used].clamp_min(1e-300)
    slope, start = (halves.slope[row, used] / scale[:, None]).numpy(), (halves.start[row, used] / scale).numpy()
    centre = cells.ball.centre.flatten()
    low, high = ((end.flatten() - centre).numpy() for end in (cells.box.lower, cells.box.upper))
    if not (np.isfinite(slope).all() and np.isfinite(start).all()):
        return None, None
    radius, norm = float(cells.ball.radius[0]), cells.ball.norm
    point, found = (
        _nearest(slope, start, low, high, radius)
        if norm is Norm.L2
        else _deepest(slope, start, low, high, radius if norm is Norm.L1 else None)
    )
    weights = None
    if found is not None:
        weights = torch.zeros(halves.used.shape[1], dtype=torch.float64)
        weights[used] = torch.as_tensor(np.maximum(found, 0.0)) / scale
    return None if point is None else torch.as_tensor(point), weights


def _deepest(
    slope: np.ndarray, start: np.ndarray, low: np.ndarray, high: np.ndarray, radius: float | None
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Maximise t with slope d + start >= t, d in the box, |d|_1 <= radius (where given) and t <= 1."""
    k, n = slope.shape
    rows = np.hstack([-slope, np.ones((k, 1))])
    bounds = [*zip(low, high, strict=True), (None, 1.0)]
    if radius is not None:  # d = p - q with p, q >= 0
        rows = np.hstack([-slope, slope, np.ones((k, 1))])
        rows = np.vstack([rows, np.append(np.ones(2 * n), 0.0)])
        bounds = [(0.0, max(0.0, b)) for b in high] + [(0.0, max(0.0, -a)) for a in low] + [(None, 1.0)]
    right = start if radius is None else np.append(start, radius)
    cost = np.zeros(rows.shape[1])
    cost[-1] = -1.0
    answer = linprog(cost, rows, right, bounds=bounds, method="highs")
    if answer.x is None or not answer.success:
        return None, None
    if answer.x[-1] > 1e-9:
        return answer.x[:n] if radius is None else answer.x[:n] - answer.x[n : 2 * n], None
    return None, -np.asarray(answer.ineqlin.marginals)[:k]


def _nearest(
    slope: np.ndarray, start: np.ndarray, low: np.ndarray, high: np.ndarray, radius: float
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The shortest d with slope d + start >= depth within the box, for the largest depth that the ball has room for.

    By non-negative least squares (Lawson and Hanson 1974, chapter 23, problem LDP).
    """
    k, n = slope.shape
    tops, bottoms = np.flatnonzero(high < radius), np.flatnonzero(-low < radius)
    eye = np.eye(n)
    rows = np.vstack([slope, -eye[tops], eye[bottoms]])
    for depth in (*_DEPTHS, 0.0):
        least = np.concatenate([depth - start, -high[tops], low[bottoms]])
        try:
            weights, left = nnls(np.vstack([rows.T, least[None]]), np.append(np.zeros(n), 1.0))
        except RuntimeError:
            return None, None
        rest = np.vstack([rows.T, least[None]]) @ weights - np.append(np.zeros(n), 1.0)
        d = -rest[:n] / rest[n] if abs(rest[n]) > 1e-14 else np.full(n, np.inf)
        fits = left > 1e-10 and np.linalg.norm(d) <= radius * (1.0 - (1e-9 if depth else -1e-9))
        if fits and depth and (slope @ d + start > 0.0).all():
            return d, None
        if not depth:
            return None, weights[:k]
    return None, None
