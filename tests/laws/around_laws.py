"""What is attained inside balls, against rational arithmetic and against every pattern: raise AssertionError."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import torch

from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.probes.around import Attained, attained_in
from lipaudit.ranges.ball import Ball
from tests.laws.exact_laws import ORDERS, Small, draw
from tests.laws.splitting_laws import ball_of, sides_of
from tests.probes.test_witness import chain, exactly, size

SECONDS = 0.05
"""Enough for an ascent in each of these networks."""


def balls(norm: Norm, seed: int, rows: int = 4) -> Ball:
    """Balls of very different sizes, cut by a box for every other seed; the last centre is outside of it."""
    centre = torch.randn(rows, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) / 2
    radius = torch.tensor([1e-3, 0.1, 1.0, 0.5], dtype=torch.float64)
    edge = torch.full((1, 4), 0.4, dtype=torch.float64)
    if seed % 2:
        centre[:-1] = centre[:-1].clamp(-0.4, 0.4)  # on its faces
    return Ball(centre, radius, norm, Box(-edge, edge) if seed % 2 else None)


def found_in(ball: Ball, seed: int) -> tuple[Attained, list[torch.Tensor]]:
    graph, weights = chain(seed, 4, 8, 6, 3)
    none = torch.zeros(0, *ball.centre.shape, dtype=torch.float64)
    return attained_in(graph, graph, ball, none, seconds=SECONDS, seed=seed), weights


def pairs_hold(norm: Norm, seed: int) -> None:
    """Both points of every pair are in the ball and in the domain, and the slope is not above the exact one."""
    ball = balls(norm, seed)
    found, weights = found_in(ball, seed)
    for row, value in enumerate(found.values.tolist()):
        ends = [found.x[row], found.y[row]]
        if value == 0.0:
            continue
        radius = Fraction(float(ball.radius[row]))
        for end in ends:
            away = [Fraction(float(a)) - Fraction(float(b)) for a, b in zip(end, ball.centre[row], strict=True)]
            assert size(norm, away) <= (radius**2 if norm is Norm.L2 else radius), "a point outside the ball"
            inside = ball.domain is None or bool(((end >= ball.domain.lower) & (end <= ball.domain.upper)).all())
            assert inside, "a point outside the domain"
        values = [exactly(weights, end) for end in ends]
        rise = size(norm, [a - b for a, b in zip(*values, strict=True)])
        step = size(norm, [Fraction(float(a)) - Fraction(float(b)) for a, b in zip(*ends, strict=True)])
        slope = Fraction(value) ** 2 if norm is Norm.L2 else Fraction(value)
        assert slope * step <= rise, f"{value!r} is not attained"


def below_every_pattern(norm: Norm, seed: int) -> float:
    """Not above the largest norm of all cells of the ball; gives the share of it that is attained."""
    small = draw(seed)
    ball = ball_of(small, norm, seed)
    if norm is Norm.L2 and ball.centre.shape[1] > 2:
        return math.nan
    graph = small.graph()
    none = torch.zeros(0, *ball.centre.shape, dtype=torch.float64)
    (value,) = attained_in(graph, graph, ball, none, seconds=SECONDS).values.tolist()
    cut = Small(small.weights, small.offsets, small.kind, ball.box())
    most = max(float(np.linalg.norm(cell, ORDERS[norm])) for cell in cut.norms_of_cells(sides_of(ball)))
    assert value <= most * (1 + 1e-12), f"{value!r} is above {most!r}"
    return value / most if most > 0.0 else 1.0
