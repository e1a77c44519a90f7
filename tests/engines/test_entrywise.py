"""Bounds of the Jacobian's entries: above every slope met, below the path norm, exact where they must be."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from lipaudit.engines.engine import Declined
from lipaudit.engines.entrywise import Entrywise, entry_sums
from lipaudit.engines.layer_product import LayerProduct
from lipaudit.graph.graph import Graph, Node
from lipaudit.graph.problem import Problem
from lipaudit.linear.dense import Dense
from lipaudit.numerics.norms import Norm
from lipaudit.ops import activations
from lipaudit.ops.affine import Affine
from lipaudit.ops.elementwise import Elementwise
from lipaudit.ops.smooth import Softmax
from tests.cases.graphs import FAMILIES, Family
from tests.laws import engine_laws, region_laws
from tests.laws.region_laws import ball_around


def bound_of(problem: Problem) -> float:
    try:
        return Entrywise().bound(problem).value
    except Declined:
        return float("inf")


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_no_slope_exceeds_the_bound(family: Family) -> None:
    for seed in range(15):
        engine_laws.bound_is_above(family.build(seed), seed, bound_of)


@pytest.mark.parametrize("norm", [Norm.L1, Norm.LINF])
@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_no_slope_in_a_ball_exceeds_the_bound(family: Family, norm: Norm) -> None:
    for seed in range(6):
        graph = family.build(seed)
        ball = ball_around(graph, norm, seed)
        try:
            bounds = entry_sums(Problem.over(graph, norm, ball.box()))
        except Declined:
            continue
        region_laws.slopes_hold(graph, ball, bounds, seed, 30)


def mlp(*widths: int, seed: int = 0) -> tuple[Graph, list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    nodes: list[Node] = []
    weights = []
    for n, m in itertools.pairwise(widths):
        weight = rng.normal(size=(m, n)) / n**0.5
        weights.append(weight)
        op = Affine((Dense.plain(torch.tensor(weight)),), torch.tensor(rng.normal(size=m) * 0.1))
        nodes.append(Node(f"fc{len(nodes)}", "Gemm", op, (len(nodes),)))
        if len(weights) < len(widths) - 1:
            nodes.append(Node(f"relu{len(nodes)}", "Relu", Elementwise(activations.relu(), (m,)), (len(nodes),)))
    return Graph((widths[0],), tuple(nodes), len(nodes)), weights


@pytest.mark.parametrize("norm", [Norm.L1, Norm.LINF])
@pytest.mark.parametrize("seed", range(5))
def test_never_above_the_path_norm_nor_the_product(norm: Norm, seed: int) -> None:
    graph, weights = mlp(7, 6, 5, 3, seed=seed)
    path = abs(weights[2]) @ abs(weights[1]) @ abs(weights[0])
    problem = Problem.over(graph, norm)
    found = Entrywise().bound(problem).value
    assert found <= path.sum(0 if norm is Norm.L1 else 1).max() * (1 + 1e-12)
    assert found <= LayerProduct().bound(problem).value * (1 + 1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_one_hidden_layer_by_hand(seed: int) -> None:
    """max_i sum_j |W2 W1|/2 + |W2||W1|/2, in numpy."""
    graph, (first, second) = mlp(6, 9, 4, seed=seed)
    hand = abs(second @ first) / 2 + abs(second) @ abs(first) / 2
    for norm, axis in ((Norm.LINF, 1), (Norm.L1, 0)):
        assert Entrywise().bound(Problem.over(graph, norm)).value == pytest.approx(hand.sum(axis).max(), rel=1e-12)


def test_says_why_where_it_has_no_range() -> None:
    graph = Graph((4,), (Node("s", "Softmax", Softmax((4,), 0), (0,)),), 1)
    with pytest.raises(Declined, match="Softmax"):
        Entrywise().bound(Problem.over(graph, Norm.LINF))
    with pytest.raises(Declined, match="l1 and linf"):
        entry_sums(Problem.over(graph, Norm.L2))


@pytest.mark.parametrize("seed", range(8))
def test_exact_in_l2_where_no_weight_is_negative(seed: int) -> None:
    """All neurons can be on at once, and the plain product is the Jacobian then: its norm, to rounding."""
    rng = np.random.default_rng(seed)
    depth, nodes, product = 2 + seed % 4, list[Node](), np.eye(4)
    for i in range(depth):
        weight = rng.random((5 if i + 1 < depth else 3, len(product)))
        product = weight @ product
        nodes.append(Node(f"fc{i}", "Gemm", Affine((Dense.plain(torch.tensor(weight)),)), (len(nodes),)))
        if i + 1 < depth:
            nodes.append(Node(f"r{i}", "Relu", Elementwise(activations.relu(), (len(weight),)), (len(nodes),)))
    problem = Problem.over(Graph((4,), tuple(nodes), len(nodes)), Norm.L2)
    truth = np.linalg.norm(product, 2)
    assert truth * (1 - 1e-12) <= Entrywise().bound(problem).value <= truth * (1 + 1e-9)
    assert Entrywise().bound(problem).value <= LayerProduct().bound(problem).value * (1 + 1e-12)


def test_a_jacobian_too_large_for_its_norm_is_declined() -> None:
    graph, _ = mlp(2100, 3, 2100)
    with pytest.raises(Declined, match="2100 x 2100"):
        Entrywise().bound(Problem.over(graph, Norm.L2))
