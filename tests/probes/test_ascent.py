"""The search from below: never above the truth, often at it, inside the region, and the same for the same seed."""

from __future__ import annotations

import itertools
import time

import pytest
import torch

from lipaudit.graph.graph import Graph, Node
from lipaudit.linear.dense import Dense
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.ops import activations
from lipaudit.ops.affine import Affine
from lipaudit.ops.elementwise import Elementwise
from lipaudit.ops.smooth import Normalise
from lipaudit.probes.ascent import ascend
from lipaudit.probes.jacobian import jacobian_norms
from lipaudit.probes.moves import Flips, crossings
from lipaudit.probes.surrogate import kinks, rounded
from lipaudit.probes.work import work
from tests.cases.scalars import SCALARS, ScalarCase

ORDERS = {Norm.L1: 1, Norm.L2: 2, Norm.LINF: torch.inf}


def network(seed: int, *sizes: int) -> tuple[Graph, list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    nodes: list[Node] = []
    weights = []
    for place, (n, m) in enumerate(itertools.pairwise(sizes)):
        weight = torch.randn(m, n, generator=generator, dtype=torch.float64) / n**0.5
        weights.append(weight)
        if place:
            nodes.append(Node(f"relu{place}", "Relu", Elementwise(activations.relu(), (n,)), (len(nodes),)))
        offset = torch.randn(m, generator=generator, dtype=torch.float64) * 0.3
        nodes.append(Node(f"fc{place}", "Gemm", Affine((Dense.plain(weight),), offset), (len(nodes),)))
    return Graph((sizes[0],), tuple(nodes), len(nodes)), weights


@pytest.mark.parametrize("norm", Norm)
def test_a_wide_input_reaches_every_pattern_and_the_search_finds_the_best(norm: Norm) -> None:
    for seed in range(3):
        graph, (first, second) = network(seed, 9, 8, 3)
        exact = max(
            float(torch.linalg.matrix_norm(second @ (torch.tensor(mask).double()[:, None] * first), ORDERS[norm]))
            for mask in itertools.product((0, 1), repeat=8)
        )
        witness = ascend(graph, norm, None, seconds=0.8)
        assert witness is not None
        assert witness.bound.value <= exact * (1 + 1e-12)
        assert witness.bound.value >= exact * (1 - 1e-6)


def test_it_goes_far_beyond_samples() -> None:
    graph, _ = network(1, 40, 50, 50, 5)
    drawn = torch.randn(2000, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sampled = float(jacobian_norms(graph.forward, drawn, Norm.L2).norm.max())
    witness = ascend(graph, Norm.L2, None, seconds=1.0)
    assert witness is not None
    assert witness.bound.value > 1.3 * sampled


@pytest.mark.parametrize("norm", Norm)
def test_the_pair_lies_in_the_region(norm: Norm) -> None:
    graph, _ = network(5, 6, 10, 8, 3)
    region = Box(torch.full((1, 6), -0.1, dtype=torch.float64), torch.full((1, 6), 0.3, dtype=torch.float64))
    witness = ascend(graph, norm, region, seconds=0.4)
    assert witness is not None
    assert region.contains(witness.x[None])
    assert region.contains(witness.y[None])


def test_a_half_open_region_is_kept_too() -> None:
    graph, _ = network(5, 6, 10, 8, 3)
    region = Box(torch.full((1, 6), 0.5, dtype=torch.float64), torch.full((1, 6), torch.inf, dtype=torch.float64))
    witness = ascend(graph, Norm.L2, region, seconds=0.4)
    assert witness is not None
    assert region.contains(torch.stack([witness.x, witness.y]))


def test_the_same_seed_gives_the_same_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, _ = network(2, 12, 20, 20, 4)
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)  # no deadline: how long it goes on is reckoned, not measured
    first, again = (ascend(graph, Norm.L2, None, seconds=0.8, seed=7) for _ in range(2))
    assert first is not None
    assert again is not None
    assert first.bound == again.bound
    assert torch.equal(first.x, again.x)


def test_known_inputs_are_begun_from() -> None:
    """A bump a thousandth wide, far from every sample, is found from a start inside it."""
    steep = torch.tensor([[1000.0], [-2000.0], [1000.0]], dtype=torch.float64)
    offset = torch.tensor([0.0, 2000.0, -1000.0], dtype=torch.float64) * 777.0 + torch.tensor([0.0, 1.0, -2.0])
    nodes = (
        Node("fc0", "Gemm", Affine((Dense.plain(torch.ones(3, 1, dtype=torch.float64)),), -offset / 1000.0), (0,)),
        Node("relu", "Relu", Elementwise(activations.relu(), (3,)), (1,)),
        Node("fc1", "Gemm", Affine((Dense.plain(steep.T.contiguous()),)), (2,)),
    )
    graph = Graph((1,), nodes, 3)
    starts = torch.tensor([[0.0005]], dtype=torch.float64)
    witness = ascend(graph, Norm.L2, None, seconds=0.5, starts=starts)
    assert witness is not None
    assert witness.bound.value >= 999.0


def test_a_normalisation_is_met_where_it_divides_by_least() -> None:
    weight = torch.randn(8, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    offset = torch.full((8,), 2.0, dtype=torch.float64)
    part = Dense(weight, (), 1, (5,), (1, 8))
    nodes = (
        Node("fc", "Gemm", Affine((part,), offset.reshape(1, 8)), (0,)),
        Node("norm", "LayerNormalization", Normalise(1, 8, 1e-5), (1,)),
    )
    graph = Graph((5,), nodes, 2)
    centred = weight - weight.mean(0)
    truth = float(torch.linalg.matrix_norm(centred, 2)) / 1e-5**0.5
    witness = ascend(graph, Norm.L2, None, seconds=0.6)
    assert witness is not None
    assert 0.99 * truth <= witness.bound.value <= truth * (1 + 1e-9)


@pytest.mark.parametrize("case", SCALARS, ids=str)
def test_kinks_are_where_the_slope_jumps(case: ScalarCase) -> None:
    function = case.build()
    for at, jump in kinks(function):
        where = torch.as_tensor(at, dtype=torch.float64)
        beside = 1e-9 * (1.0 + where.abs())
        seen = function.derivative(where + beside) - function.derivative(where - beside)
        assert torch.allclose(seen, torch.as_tensor(jump, dtype=torch.float64).expand_as(seen), atol=1e-6)


def test_a_stand_in_is_smooth_and_near() -> None:
    relu = activations.relu()
    x = torch.linspace(-2.0, 2.0, 101, dtype=torch.float64)
    for beta in (2.0, 50.0):
        soft = rounded(relu, beta)(x)
        assert (soft >= relu.fn(x)).all()
        assert (soft - relu.fn(x)).max() <= 0.6932 / beta


def test_flips_and_crossings_change_the_pattern_they_mean() -> None:
    graph, (first, *_) = network(4, 9, 6, 2)
    offset = graph.nodes[0].op.offset  # type: ignore[attr-defined]
    point = torch.randn(9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    before = (first @ point + offset) > 0
    flipped = Flips(graph)(point, 6, torch.Generator().manual_seed(0))
    changed = ((flipped @ first.T + offset > 0) != before).sum(1)
    assert changed.tolist() == [1] * 6
    across = crossings(graph, point, 6)
    assert all((row @ first.T + offset > 0).ne(before).any() for row in across)


def test_work_counts_multiplications() -> None:
    graph, _ = network(0, 10, 20, 5)
    assert 300 <= work(graph) <= 500
