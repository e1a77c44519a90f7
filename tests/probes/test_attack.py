"""The attack's candidates: at the exact distance for linear classifiers, inside the domain, the same for one seed."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from lipaudit.graph.graph import Graph, Node
from lipaudit.linear.dense import Dense
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.ops.affine import Affine
from lipaudit.probes.aims import OtherClass
from lipaudit.probes.attack import nearest_changes
from lipaudit.probes.projection import to_ball, to_hyperplane
from tests.probes.test_ascent import network

X = torch.rand(30, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def linear(classes: int = 4) -> tuple[Graph, torch.Tensor]:
    weight = torch.randn(classes, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return Graph((6,), (Node("fc", "Gemm", Affine((Dense.plain(weight),)), (0,)),), 1), weight


def shortest(norm: Norm, normal: np.ndarray, target: float, low: np.ndarray, high: np.ndarray) -> float:
    """min |d| with normal . d <= target and low <= d <= high, by a linear program (l1, linf) or its dual (l2)."""
    n = len(normal)
    if norm is Norm.L2:  # d = clip(-t normal), t >= 0 as small as it may be: the KKT conditions
        few, most = 0.0, 1e6
        if np.clip(-most * normal, low, high) @ normal > target:
            return np.inf
        for _ in range(200):
            middle = (few + most) / 2
            few, most = (few, middle) if np.clip(-middle * normal, low, high) @ normal <= target else (middle, most)
        return float(np.linalg.norm(np.clip(-most * normal, low, high)))
    if norm is Norm.L1:
        cost, above = np.concatenate([np.zeros(n), np.ones(n)]), np.eye(n)
    else:
        cost, above = np.concatenate([np.zeros(n), [1.0]]), np.ones((n, 1))
    rows = np.block([[np.eye(n), -above], [-np.eye(n), -above], [normal[None], np.zeros((1, above.shape[1]))]])
    limits = [*zip(low, high, strict=True), *[(0.0, None)] * above.shape[1]]
    found = linprog(cost, rows, np.concatenate([np.zeros(2 * n), [target]]), bounds=limits, method="highs")
    return float(found.fun) if found.fun is not None else np.inf


@pytest.mark.parametrize("norm", Norm)
def test_the_projection_is_the_shortest_move_in_the_box(norm: Norm) -> None:
    rng = np.random.default_rng(3)
    for _ in range(30):
        normal, target = rng.normal(size=5), -rng.uniform(0.0, 2.0)
        low, high = -rng.uniform(0.0, 1.0, size=5), rng.uniform(0.0, 1.0, size=5)
        given = [torch.as_tensor(part)[None] for part in (normal, low, high)]
        move = to_hyperplane(norm, given[0], torch.tensor([target]).double(), given[1], given[2])
        assert bool(((move >= given[1] - 1e-12) & (move <= given[2] + 1e-12)).all())
        best = shortest(norm, normal, target, low, high)
        if np.isfinite(best):
            assert float((move[0] * given[0][0]).sum()) <= target + 1e-6
            assert float(norm.of(move)[0]) == pytest.approx(best, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("norm", Norm)
@pytest.mark.parametrize("boxed", [False, True], ids=["everywhere", "in a box"])
def test_a_linear_classifier_is_changed_at_its_exact_distance(norm: Norm, boxed: bool) -> None:
    graph, weight = linear()
    labels = graph.forward(X).argmax(1)
    region = Box(torch.zeros(1, 6, dtype=torch.float64), torch.ones(1, 6, dtype=torch.float64)) if boxed else None
    found = nearest_changes(graph, norm, X, OtherClass(labels), region, seconds=0.5)
    assert found.tried.all()
    for row, label in enumerate(labels.tolist()):
        x = X[row].numpy()
        low, high = (-x, 1.0 - x) if boxed else (np.full(6, -99.0), np.full(6, 99.0))
        exact = min(
            shortest(norm, normal, -float(normal @ x), low, high)
            for other in range(4)
            if other != label
            for normal in [(weight[label] - weight[other]).numpy()]
        )
        distance = float(found.distances[row])
        assert distance >= exact * (1 - 1e-9)
        assert distance <= exact * (1 + 1e-6) + 1e-9
        if boxed and np.isfinite(distance):
            assert region is not None
            assert region.contains(found.points[row][None])


@pytest.mark.parametrize("norm", Norm)
def test_candidates_of_a_network_change_its_class_and_are_near(norm: Norm) -> None:
    graph, _ = network(9, 6, 20, 20, 4)
    labels = graph.forward(X).argmax(1)
    found = nearest_changes(graph, norm, X, OtherClass(labels), None, seconds=0.5)
    changed = graph.forward(found.points).argmax(1) != labels
    assert changed.all()
    assert torch.allclose(norm.of(found.points - X), found.distances)
    # no better by brute force along 2000 random segments of that length
    generator = torch.Generator().manual_seed(0)
    for row in range(5):
        noise = torch.randn(2000, 6, generator=generator, dtype=torch.float64)
        near = X[row] + 0.97 * found.distances[row] * noise / norm.of(noise)[:, None]
        assert (graph.forward(near).argmax(1) == labels[row]).all()


def test_the_same_seed_gives_the_same_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, _ = network(9, 6, 20, 20, 4)
    labels = graph.forward(X).argmax(1)
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)
    first, again = (nearest_changes(graph, Norm.L2, X, OtherClass(labels), None, seed=5, seconds=0.5) for _ in range(2))
    assert torch.equal(first.points, again.points)
    assert not first.late


def test_without_time_nothing_is_tried() -> None:
    graph, _ = linear()
    found = nearest_changes(graph, Norm.L2, X, OtherClass(graph.forward(X).argmax(1)), None, deadline=-1.0)
    assert found.late
    assert not found.tried.any()
    assert found.distances.isinf().all()


@pytest.mark.parametrize("norm", Norm)
def test_the_nearest_point_of_a_ball(norm: Norm) -> None:
    """Inside, and no other point is nearer: <move - p, q - p> <= 0 for all q of the ball."""
    generator = torch.Generator().manual_seed(2)
    move = torch.randn(40, 7, generator=generator, dtype=torch.float64)
    radius = 2.0 * torch.rand(40, generator=generator, dtype=torch.float64)
    near = to_ball(norm, move, radius)
    assert (norm.of(near) <= radius * (1 + 1e-12)).all()
    left = move - near
    assert torch.allclose(radius * norm.dual.of(left), (left * near).sum(1), atol=1e-12)
