"""Radii raised by quadratic certificates: larger, never past a change of class, and what there is at the deadline."""

from __future__ import annotations

import math
import time

import torch

from lipaudit.audit.squaring import Squares, squared
from lipaudit.audit.stages import Grown
from lipaudit.graph.graph import Graph
from lipaudit.numerics.norms import Norm
from lipaudit.ranges.ball import Ball
from lipaudit.ranges.hinges import hinged
from lipaudit.ranges.near import near
from lipaudit.ranges.quadratic import numbered, shown
from lipaudit.ranges.rows import Weights
from tests.engines.test_entrywise import mlp
from tests.laws.hinge_laws import BEFORE, pooled
from tests.laws.region_laws import classes_hold


def squares(graph: Graph, point: torch.Tensor, deadline: float = math.inf) -> tuple[Squares, torch.Tensor]:
    """Of a point [1, *shape] with the class that it has, [1]."""
    values = graph.forward(point).flatten(1)
    label, count = values.argmax(1), values.shape[1]
    units = torch.eye(count, dtype=torch.float64)
    seeds = (units[label] - units[[j for j in range(count) if j != int(label)]]).unsqueeze(0)
    margins = (seeds @ values[0]) * (1.0 - 1e-12)
    return Squares(graph, None, point, seeds, margins, Weights(), deadline), label


def raised_holds(seeds: range) -> int:
    """No class changes inside a raised radius. Gives how many were raised."""
    raised = 0
    for seed in seeds:
        graph = hinged(pooled(seed, BEFORE[1], 4)) if seed % 2 else mlp(4, 10, 8, 3, seed=seed)[0]
        point = torch.randn(1, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        sample, label = squares(graph, point)
        found = sample.raised(0.01)
        assert found >= 0.01
        raised += found > 0.01
        if found > 0.01:
            classes_hold(graph, Ball(point, torch.tensor([found], dtype=torch.float64), Norm.L2), label, seed, 400)
    return raised


def test_radii_are_raised_and_no_class_changes_inside() -> None:
    assert raised_holds(range(4)) > 1


def test_forms_of_one_ball_hold_in_a_smaller_one() -> None:
    graph = mlp(4, 10, 8, 3)[0]
    point = torch.randn(1, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    sample, _ = squares(graph, point)
    found, falls = sample.found, list[float]()
    for radius in (1.0, 0.9, 0.6):
        around = near(graph, Ball(point, torch.tensor([radius], dtype=torch.float64), Norm.L2), Weights())
        problem, asked = around.reduced(sample.seeds)
        places = numbered(around.joined, problem, 0)
        room = shown(problem, asked, 0, 0, 1e3, math.inf) if radius == 1.0 else falls[-1] * 1.001
        falls.append(shown(problem, asked, 0, 0, room * 1.001, -math.inf if found else math.inf, places, found))
        step = torch.randn(4000, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        moved = graph.forward(point + step / torch.linalg.vector_norm(step, dim=1, keepdim=True) * radius)
        assert float(((graph.forward(point) - moved) @ sample.seeds[0, 0]).max()) <= falls[-1]
    assert falls[2] <= falls[1] <= falls[0] < math.inf


def test_at_the_deadline_the_known_radius_is_all_there_is() -> None:
    graph = mlp(4, 10, 8, 3)[0]
    points = torch.randn(2, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    known = Grown(torch.tensor([0.01, 0.02], dtype=torch.float64), 0)
    now = time.monotonic()
    found = squared(known, torch.ones(2).bool(), now, 60.0, lambda row, late: squares(graph, points[row], late)[0])
    assert torch.equal(found.values, known.values)
    assert squares(graph, points[:1], now)[0].raised(0.01) == 0.01
