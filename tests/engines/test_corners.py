"""The branch and bound on slope corners: the largest corner, valid at every time, attained where it says so."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch

import lipaudit.engines.corners as module
from lipaudit.audit.bounding import bound
from lipaudit.audit.settings import Settings
from lipaudit.engines.corners import Corners, hidden_layer
from lipaudit.engines.ellipsoid import Ellipsoid
from lipaudit.engines.engine import Inapplicable, run
from lipaudit.graph.problem import Problem
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from tests.cases.graphs import FAMILIES
from tests.laws import corners_laws, engine_laws
from tests.laws.exact_laws import Small
from tests.planted import Plant
from tests.planted_corners import catalogue


def random_network(seed: int, n: int, m: int, k: int, kind: str = "relu") -> Small:
    rng = np.random.default_rng(seed)
    nowhere = Box(torch.zeros(1, n, dtype=torch.float64), torch.zeros(1, n, dtype=torch.float64))
    weights = [rng.normal(size=(m, n)), rng.normal(size=(k, m))]
    return Small(weights, [rng.normal(size=m), rng.normal(size=k)], kind, nowhere)


@pytest.mark.parametrize("block", range(4))
def test_it_is_the_largest_of_all_corners(block: int) -> None:
    for seed in range(block, 240, 4):
        corners_laws.is_largest(seed)


def test_every_node_is_above_its_corners() -> None:
    for seed in range(60):
        corners_laws.nodes_are_above(seed)


def test_of_ten_neurons() -> None:
    for seed in range(12):
        small = random_network(seed, 3 + seed % 9, 10, 1 + seed % 5, corners_laws.KINDS[seed % 3])
        found = Corners(60.0).bound(corners_laws.problem(small)).value
        assert found == pytest.approx(corners_laws.largest(small), rel=1e-6)


@pytest.mark.parametrize("kind", corners_laws.KINDS)
def test_with_enough_inputs_it_is_attained(kind: str) -> None:
    for seed in range(4):
        small = random_network(seed, 10, 8, 3, kind)
        problem = corners_laws.problem(small)
        found = Corners(60.0).bound(problem)
        assert "exact" in found.evidence
        (point,) = problem.hints
        jacobian = engine_laws.jacobians(small.graph(), point)
        assert float(engine_laws.norms(jacobian, Norm.L2)[0]) == pytest.approx(found.value, rel=1e-6)


def test_it_is_not_called_exact_where_the_corner_has_no_cell() -> None:
    # relu(x) - relu(-x) = x has the slope 1; both neurons at once would have 2, and no x has them
    small = random_network(0, 1, 2, 1)
    small.weights[0][:], small.weights[1][:], small.offsets[0][:] = [[1.0], [-1.0]], [[1.0, -1.0]], 0.0
    problem = corners_laws.problem(small)
    found = Corners().bound(problem)
    assert found.value == pytest.approx(2.0, rel=1e-6)
    assert "exact" not in found.evidence
    assert not problem.hints


def test_over_a_region_it_is_above_and_exact_only_inside() -> None:
    for seed in range(30):
        small = corners_laws.draw(seed)
        problem = Problem.over(small.graph(), Norm.L2, small.box)
        found = Corners().bound(problem)
        points = small.box.lower + 0.5 * torch.rand(200, len(small.box.lower[0]), dtype=torch.float64)
        slopes = engine_laws.norms(engine_laws.jacobians(small.graph(), points), Norm.L2)
        assert found.value >= float(slopes.max()) * (1 - 1e-12)
        assert all(small.box.contains(point) for point in problem.hints)


@pytest.mark.parametrize("limit", [0, 1, 3])
def test_stopped_early_it_is_above_the_truth(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NODES", limit)
    for seed in range(30):
        corners_laws.is_largest(seed, tight=False)


def test_it_gives_up_where_the_gap_does_not_close() -> None:
    small = random_network(0, 100, 100, 10)
    problem = corners_laws.problem(small)
    closed = Corners(600.0).close(hidden_layer(problem))
    assert not closed.complete
    assert closed.nodes < module.NODES / 4
    assert closed.value <= Ellipsoid().bound(problem).value * (1 + 1e-9)


def test_the_deadline_is_kept() -> None:
    problem = corners_laws.problem(random_network(1, 40, 60, 10))
    started = time.monotonic()
    closed = Corners().close(hidden_layer(problem), started)
    assert closed.nodes == 0
    assert not closed.complete


def test_other_networks_are_declined() -> None:
    wide = random_network(0, 2, module.MOST + 1, 1)
    for graph in (wide.graph(), *(family.build(0) for family in FAMILIES if family.name in ("heads", "deep"))):
        outcome = run(Corners(), Problem.over(graph, Norm.L2))
        assert outcome.bound is None
        assert not outcome.apt
    with pytest.raises(Inapplicable):
        Corners().bound(Problem.over(random_network(0, 2, 3, 1).graph(), Norm.LINF))


def test_networks_of_the_field(shared: Path) -> None:
    report = bound(shared / "models_peers" / "lipsdp_mnist.onnx", Settings(norm=Norm.L2))
    assert report.upper is not None
    assert report.lower is not None
    assert report.upper.name == "corners"
    assert report.upper.bound is not None
    assert "exact" in report.upper.bound.evidence
    assert 24.2992 < report.lower.bound.value <= report.upper.bound.value <= report.lower.bound.value * (1 + 1e-6)


@pytest.mark.parametrize("plant", catalogue(), ids=str)
def test_a_planted_mistake_is_seen(plant: Plant, tmp_path: Path) -> None:
    plant.law(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        plant.patch(patch)
        with pytest.raises(AssertionError):
            plant.law(tmp_path)
