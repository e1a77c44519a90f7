"""Radii of a regression from growing balls: exact for linear maps, and nothing inside moves too far."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch

from lipaudit.audit.tolerance import local_tolerance_radii
from lipaudit.graph.graph import Graph, Node
from lipaudit.linear.dense import Dense
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm, NormPair
from lipaudit.ops.affine import Affine
from lipaudit.probes.aims import TooFar
from lipaudit.probes.attack import nearest_changes
from lipaudit.ranges.ball import Ball
from tests.engines.test_entrywise import mlp
from tests.laws.region_laws import inside_of

TOLERANCE = 0.3


def radii(graph: Graph, pair: NormPair, points: torch.Tensor, domain: Box | None = None) -> torch.Tensor:
    zero, everyone = torch.zeros(len(points), dtype=torch.float64), torch.ones(len(points), dtype=torch.bool)
    found = local_tolerance_radii(graph, pair, domain, points, TOLERANCE, math.inf, zero, everyone, math.inf, 0.0)
    assert not found.missed
    return found.values


@pytest.mark.parametrize("norm", Norm)
def test_one_linear_output_never_above_the_exact_radius_and_close_to_it(norm: Norm) -> None:
    weight = torch.randn(1, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    graph = Graph((6,), (Node("fc", "Gemm", Affine((Dense.plain(weight),)), (0,)),), 1)
    points = torch.randn(4, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    w, slack = [abs(Fraction(v)) for v in weight[0].tolist()], Fraction(TOLERANCE)
    for radius in radii(graph, NormPair.of(norm), points).tolist():
        r = Fraction(radius)
        if norm is Norm.L2:
            assert r * r * sum(v * v for v in w) <= slack * slack
        else:
            assert r * (sum(w) if norm is Norm.LINF else max(w)) <= slack
        assert radius >= 0.98 * TOLERANCE / float(norm.dual.of(weight)[0])


def nothing_moves_too_far(norm: Norm, target: Norm | None = None) -> None:
    graph, _ = mlp(5, 12, 10, 3)
    pair = NormPair(norm, target or norm)
    points = torch.rand(6, 5, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    box = Box(torch.zeros(1, 5, dtype=torch.float64), torch.ones(1, 5, dtype=torch.float64))
    for domain in (None, box):
        found = radii(graph, pair, points, domain)
        assert (found > 0).all()
        values = graph.forward(points)
        near = inside_of(Ball(points, found, norm, domain), 400, 0)
        for own, around in zip(values, near, strict=True):
            moved = pair.target.of(graph.forward(around) - own)
            assert float(moved.max()) <= TOLERANCE * (1 + 1e-12), "an output moves too far inside the radius"
        attack = nearest_changes(graph, norm, points, TooFar(values, TOLERANCE, pair.target), domain, seconds=0.3)
        assert (attack.distances >= found * (1 - 1e-12)).all(), "an output moves too far inside the radius"


@pytest.mark.parametrize("norm", Norm)
def test_nothing_inside_moves_too_far(norm: Norm) -> None:
    nothing_moves_too_far(norm)


def test_nothing_inside_moves_too_far_in_a_pair_of_norms() -> None:
    nothing_moves_too_far(Norm.LINF, Norm.L2)
