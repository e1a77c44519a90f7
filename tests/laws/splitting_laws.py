"""Constants over balls by branch and bound, against every pattern that linear programs find: raise AssertionError."""

from __future__ import annotations

import itertools
import math
import time
from fractions import Fraction

import numpy as np
import torch

from lipaudit.engines import splitting
from lipaudit.engines.splitting import Explored, Search
from lipaudit.numerics.norms import Norm
from lipaudit.ranges.ball import Ball
from lipaudit.ranges.cells import Cells, Sides
from lipaudit.ranges.near import near
from lipaudit.ranges.refuted import Halves, tightened
from lipaudit.ranges.rows import Weights
from tests.laws.exact_laws import ORDERS, Small, draw
from tests.laws.region_laws import units

EDGES = 64
"""Of the polygons inside and outside a disc."""


def ball_of(small: Small, norm: Norm, seed: int) -> Ball:
    """A ball around some point of the box, cut by it for every other seed."""
    share = np.random.default_rng(seed).uniform(0.3, 0.7, size=small.box.lower.shape)
    centre = small.box.lower + torch.as_tensor(share) * (small.box.upper - small.box.lower)
    radius = (small.box.upper - small.box.lower).amax(1) * (0.4 + 0.3 * (seed % 3))
    return Ball(centre, radius, norm, small.box if seed % 2 else None)


def explored(small: Small, ball: Ball, norm: Norm, limit: int = 4000) -> Explored:
    graph = small.graph()
    (cells,) = Cells.of(near(graph, ball, Weights()), units(graph, 1))
    return Search(cells, norm, limit, time.monotonic() + 60.0).run()


def sides_of(ball: Ball, size: float = 1.0) -> list[tuple[np.ndarray, float]]:
    """Sides of the ball, `size` times as large; in l2 (two inputs) of the polygon around it."""
    centre, radius = ball.centre[0].numpy(), float(ball.radius[0]) * size
    n = len(centre)
    if ball.norm is Norm.LINF:
        rows = [sign * row for row in np.eye(n) for sign in (1.0, -1.0)]
    elif ball.norm is Norm.L1:
        rows = [np.array(signs) for signs in itertools.product((1.0, -1.0), repeat=n)]
    elif n == 1:
        rows = [np.ones(1), -np.ones(1)]
    else:
        rows = [np.array([math.cos(a), math.sin(a)]) for a in np.arange(EDGES) * (2.0 * math.pi / EDGES)]
    return [(-row, radius + float(row @ centre)) for row in rows]


def is_exact(seed: int, norm: Norm, *, tight: bool = True, limit: int = 4000) -> None:
    """The value is the largest norm of all cells of the ball, up to rounding, and never below it.

    In l2 it lies between that of the polygons inside and outside (of two inputs; other networks are left out).
    """
    small = draw(seed)
    ball = ball_of(small, norm, seed)
    if norm is Norm.L2 and ball.centre.shape[1] > 2:
        return
    box = ball.box()
    cut = Small(small.weights, small.offsets, small.kind, box)
    found = explored(small, ball, norm, limit)
    inner = math.cos(math.pi / EDGES) if norm is Norm.L2 else 1.0
    ends = []
    for size in (inner, 1.0):
        cells = cut.norms_of_cells(sides_of(ball, size))
        ends.append(max(float(np.linalg.norm(cell, ORDERS[norm])) for cell in cells))
    assert found.value >= ends[0] * (1 - 1e-12), f"{found.value!r} is below {ends[0]!r}"
    assert found.met <= ends[1] * (1 + 1e-9), f"{found.met!r} was met, {ends[1]!r} is all there is"
    if tight:
        assert found.value <= ends[1] * (1 + 1e-9) + 1e-12, f"{found.value!r} is above {ends[1]!r}"
        assert found.complete


def plain(seed: int) -> bool:
    """Whether no two neurons of the drawn network are equal or opposite, whose common side no rounding tells apart."""
    return seed % 5 not in (1, 2)


def rows_hold(seed: int) -> None:
    """The rows on any choice of sides are within their errors of the recursion in rational numbers."""
    small = draw(seed)
    (cells,) = Cells.of(near(small.graph(), ball_of(small, Norm.LINF, 0), Weights()), units(small.graph(), 1))
    count, n = cells.left.shape[1], cells.rows.shape[2]
    signs = torch.as_tensor(np.random.default_rng(seed).choice([-1, 1], size=(1, count))).to(torch.int8)
    sides = Sides(signs, cells.low, cells.high)
    factor = cells.sided(sides)
    found = cells.folded(factor, torch.zeros(1, count, dtype=torch.bool))
    exact: list[list[Fraction]] = []
    for row in range(cells.rows.shape[1]):
        own = [Fraction(x) for x in (*cells.rows[0, row].tolist(), float(cells.start[0, row]))]
        for k, d in enumerate(cells.inner[0, row].tolist()):
            if d:
                own = [a + Fraction(d) * Fraction(float(factor[0, k])) * b for a, b in zip(own, exact[k], strict=True)]
        exact.append(own)
        stored = [*found.rows[0, row].tolist(), float(found.start[0, row])]
        off = [a - Fraction(b) for a, b in zip(own, stored, strict=True)]
        error = [Fraction(e) for e in found.error[0, row].tolist()]
        own_error = [Fraction(e) for e in cells.error[0, row].tolist()]
        spare = [e - b for e, b in zip(error, own_error, strict=True)]
        assert sum(x * x for x in off[:n]) <= spare[0] ** 2, f"row {row} is off by more than its error"
        assert abs(off[n]) <= spare[2], f"the start of row {row} is off by more than its error"


def cells_hold_their_points(seed: int, kind: str = "") -> None:
    """A cell that holds a point has its values in its ranges, and no weights, of whatever sign, prove it empty."""
    small = draw(seed)
    small = small._replace(kind=kind or small.kind)
    for norm in Norm:
        ball = ball_of(small, norm, seed)
        (cells,) = Cells.of(near(small.graph(), ball, Weights()), units(small.graph(), 1))
        count = cells.left.shape[1]
        if not count:
            continue
        pool = Search(cells, norm, 1, time.monotonic() + 60.0).pool
        shape = pool.signs.shape
        own = Sides(pool.signs, cells.low.expand(shape), cells.high.expand(shape))
        fold = cells.folded(cells.sided(own), torch.zeros(shape, dtype=torch.bool))
        u = ((fold.rows @ pool.points.unsqueeze(2)).squeeze(2) + fold.start)[:, :count]
        source = torch.Generator().manual_seed(seed)
        some = torch.rand(shape, generator=source) < 0.5
        sides, alive, halves = tightened(cells, Sides(torch.where(some, pool.signs, 0), own.low, own.high))
        assert bool(alive.all()), "a cell that holds a point is empty by its ranges"
        assert bool(((sides.low <= u + 1e-12) & (u - 1e-12 <= sides.high)).all()), "a value is not in its range"
        for _ in range(20):
            weights = torch.randn(shape, generator=source, dtype=torch.float64)
            for given in (weights, weights.abs(), -weights.abs()):
                assert not bool((excess_of(cells, halves, given) < 0).any()), "a cell that holds a point is empty"


def excess_of(cells: Cells, halves: Halves, weights: torch.Tensor) -> torch.Tensor:
    """As the search reads it."""
    found: torch.Tensor = vars(splitting)["excess"](cells, halves, weights)
    return found
