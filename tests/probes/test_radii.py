"""Certified radii of classifiers whose exact radius is known, and the bugs that would enlarge them."""

from __future__ import annotations

import pytest
import torch

from lipaudit.engines.ellipsoid import Ellipsoid
from lipaudit.engines.layer_product import constants
from lipaudit.engines.pairwise import pairwise_constants
from lipaudit.graph.graph import Graph, Node
from lipaudit.graph.problem import Problem
from lipaudit.linear.dense import Dense
from lipaudit.numerics.norms import Norm
from lipaudit.ops import activations
from lipaudit.ops.affine import Affine
from lipaudit.ops.elementwise import Elementwise
from lipaudit.probes.radii import classification_radii, regression_radius

X = torch.randn(40, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def linear() -> tuple[Graph, torch.Tensor]:
    weight = torch.randn(5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    offset = torch.linspace(-0.2, 0.2, 5, dtype=torch.float64)
    return Graph((6,), (Node("fc", "Gemm", Affine((Dense.plain(weight),), offset), (0,)),), 1), weight


def pairs_of(graph: Graph, norm: Norm) -> torch.Tensor:
    problem = Problem.over(graph, norm)
    return pairwise_constants(problem, constants(problem))


def exact_radii(graph: Graph, weight: torch.Tensor, norm: Norm, labels: torch.Tensor) -> torch.Tensor:
    logits = graph.forward(X)
    best = torch.full((len(X),), torch.inf, dtype=torch.float64)
    for row, label in enumerate(labels.tolist()):
        for other in range(5):
            if other != label:
                slope = norm.dual.of((weight[label] - weight[other])[None])[0]
                best[row] = torch.minimum(best[row], (logits[row, label] - logits[row, other]) / slope)
    return best.clamp(min=0.0)


@pytest.mark.parametrize("norm", Norm)
def test_a_linear_classifier_gets_its_exact_radius_and_never_more(norm: Norm) -> None:
    graph, weight = linear()
    labels = graph.forward(X).argmax(1)
    radii, correct = classification_radii(graph, pairs_of(graph, norm), X, labels)
    exact = exact_radii(graph, weight, norm, labels)
    assert correct.all()
    assert (radii <= exact * (1 + 1e-12)).all()
    assert (radii >= exact * (1 - 1e-9)).all()


def test_a_misclassified_sample_has_radius_zero() -> None:
    graph, _ = linear()
    labels = (graph.forward(X).argmax(1) + 1) % 5
    radii, correct = classification_radii(graph, pairs_of(graph, Norm.L2), X, labels)
    assert not correct.any()
    assert not radii.any()


def test_a_tie_is_not_a_correct_answer() -> None:
    weight = torch.ones(2, 3, dtype=torch.float64)
    graph = Graph((3,), (Node("fc", "Gemm", Affine((Dense.plain(weight),)), (0,)),), 1)
    pairs = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    point = torch.ones(1, 3, dtype=torch.float64)
    radii, correct = classification_radii(graph, pairs, point, torch.tensor([0]))
    assert float(radii[0]) == 0.0
    assert not bool(correct[0])


@pytest.mark.parametrize("norm", Norm)
def test_pairs_bound_every_sampled_slope(norm: Norm) -> None:
    generator = torch.Generator().manual_seed(4)
    first, second = (torch.randn(s, generator=generator, dtype=torch.float64) for s in ((9, 6), (5, 9)))
    nodes = (
        Node("fc1", "Gemm", Affine((Dense.plain(first),)), (0,)),
        Node("relu", "Relu", Elementwise(activations.relu(), (9,)), (1,)),
        Node("fc2", "Gemm", Affine((Dense.plain(second),)), (2,)),
    )
    graph = Graph((6,), nodes, 3)
    pairs = pairs_of(graph, norm)
    y = X.flip(0) * 0.3
    change = graph.forward(y) - graph.forward(X)
    step = norm.of(y - X)
    for a in range(5):
        for b in range(5):
            slope = float(((change[:, a] - change[:, b]).abs() / step).max())
            assert slope <= float(pairs[a, b]) * (1 + 1e-12)
    # never looser than the constant of the whole output times |e_a - e_b|
    whole = constants(Problem.over(graph, norm))[3].value * {Norm.L1: 1.0, Norm.L2: 2**0.5, Norm.LINF: 2.0}[norm]
    assert float(pairs.max()) <= whole * (1 + 1e-12)


@pytest.mark.parametrize("shrink", [0.5, 1 / 2**0.5, 1 - 1e-6], ids=["halved", "sqrt 2 missing", "rounded inward"])
def test_a_pair_constant_that_is_too_small_is_caught(shrink: float) -> None:
    graph, weight = linear()
    labels = graph.forward(X).argmax(1)
    radii, _ = classification_radii(graph, pairs_of(graph, Norm.L2) * shrink, X, labels)
    exact = exact_radii(graph, weight, Norm.L2, labels)
    assert not (radii <= exact * (1 + 1e-12)).all()


def test_regression_radius() -> None:
    assert regression_radius(4.0, 1.0) < 0.25
    assert regression_radius(4.0, 1.0) > 0.25 * (1 - 1e-12)
    assert regression_radius(0.0, 1.0) == float("inf")
    assert regression_radius(float("inf"), 1.0) == 0.0


def test_ellipsoid_pairs_are_sound_and_tighter_than_the_whole() -> None:
    generator = torch.Generator().manual_seed(7)
    first, second = (torch.randn(s, generator=generator, dtype=torch.float64) for s in ((12, 6), (5, 12)))
    nodes = (
        Node("fc1", "Gemm", Affine((Dense.plain(first),)), (0,)),
        Node("relu", "Relu", Elementwise(activations.relu(), (12,)), (1,)),
        Node("fc2", "Gemm", Affine((Dense.plain(second),)), (2,)),
    )
    problem = Problem.over(Graph((6,), nodes, 3), Norm.L2)
    pairs, whole = Ellipsoid().pairwise(problem)
    # every pattern of the ReLU is reachable here (more neurons than inputs are not needed for that): take them all
    worst = torch.zeros(5, 5, dtype=torch.float64)
    for mask in range(2**12):
        active = torch.tensor([float(mask >> i & 1) for i in range(12)], dtype=torch.float64)
        jacobian = second @ (active[:, None] * first)
        worst = torch.maximum(worst, torch.cdist(jacobian, jacobian))
    reached = torch.autograd.functional.jacobian(problem.graph.forward, X[:1])[0, :, 0]  # type: ignore[no-untyped-call]
    assert (torch.cdist(reached, reached) <= pairs * (1 + 1e-12)).all()
    assert (pairs <= whole.value * 2**0.5 * (1 + 1e-9)).all()
    # the relaxation may allow more than any pattern of ones and zeros does, never less than those that occur
    assert (pairs >= torch.cdist(reached, reached) * (1 - 1e-12)).all()
    assert float((worst / pairs.clamp(min=1e-300)).max()) <= 1 + 1e-9
