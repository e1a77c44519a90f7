"""Attained slopes: never above the exact slope of their pair, and close to it."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lipaudit.graph.graph import Graph, Node
from lipaudit.linear.dense import Dense
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.ops import activations
from lipaudit.ops.affine import Affine
from lipaudit.ops.elementwise import Elementwise
from lipaudit.probes.ascent import ascend
from lipaudit.probes.jacobian import jacobian_norms
from lipaudit.probes.witness import best_witness, slopes_below, values_at


def chain(seed: int, *sizes: int) -> tuple[Graph, list[torch.Tensor]]:
    """A ReLU network with dyadic weights and no bias, and its weights."""
    generator = torch.Generator().manual_seed(seed)
    nodes: list[Node] = []
    weights: list[torch.Tensor] = []
    for place, (n, m) in enumerate(pairwise(sizes)):
        weight = torch.randint(-8, 9, (m, n), generator=generator).double() / 8
        weights.append(weight)
        if place:
            nodes.append(Node(f"relu{place}", "Relu", Elementwise(activations.relu(), (n,)), (len(nodes),)))
        nodes.append(Node(f"fc{place}", "Gemm", Affine((Dense.plain(weight),)), (len(nodes),)))
    return Graph((sizes[0],), tuple(nodes), len(nodes)), weights


def exactly(weights: list[torch.Tensor], x: torch.Tensor) -> list[Fraction]:
    values = [Fraction(float(v)) for v in x]
    for place, weight in enumerate(weights):
        if place:
            values = [max(v, Fraction(0)) for v in values]
        products = [[Fraction(float(w)) * v for w, v in zip(row, values, strict=True)] for row in weight]
        values = [sum(row, Fraction(0)) for row in products]
    return values


def size(norm: Norm, vector: list[Fraction]) -> Fraction:
    """The norm itself for l1 and linf, its square for l2."""
    if norm is Norm.L1:
        return sum((abs(v) for v in vector), Fraction(0))
    return max(abs(v) for v in vector) if norm is Norm.LINF else sum((v * v for v in vector), Fraction(0))


@pytest.mark.parametrize("norm", Norm)
@given(seed=st.integers(0, 10_000), exponent=st.integers(-30, 3))
def test_a_slope_is_never_above_the_exact_one(norm: Norm, seed: int, exponent: int) -> None:
    graph, weights = chain(seed, 4, 6, 5, 3)
    generator = torch.Generator().manual_seed(seed + 1)
    x = torch.randn(1, 4, generator=generator, dtype=torch.float64)
    y = x + torch.randn(1, 4, generator=generator, dtype=torch.float64) * 2.0**exponent
    (slope,) = slopes_below(graph, norm, x, y)
    fx, fy = exactly(weights, x[0]), exactly(weights, y[0])
    rise = size(norm, [a - b for a, b in zip(fy, fx, strict=True)])
    step = size(norm, [Fraction(float(b)) - Fraction(float(a)) for a, b in zip(x[0], y[0], strict=True)])
    claimed = Fraction(slope) ** 2 if norm is Norm.L2 else Fraction(slope)
    assert claimed * step <= rise
    if exponent > -20:
        assert float(claimed * step) >= float(rise) * (1.0 - 1e-6)


def test_values_are_enclosed() -> None:
    graph, weights = chain(3, 5, 7, 4)
    points = torch.randn(20, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    box = values_at(graph, points)
    for row, point in enumerate(points):
        for low, high, value in zip(box.lower[row], box.upper[row], exactly(weights, point), strict=True):
            assert Fraction(float(low)) <= value <= Fraction(float(high))


@pytest.mark.parametrize("norm", Norm)
def test_a_linear_map_is_attained(norm: Norm) -> None:
    graph, (weight,) = chain(5, 6, 4)
    witness = ascend(graph, norm, None)
    assert witness is not None
    order = {Norm.L1: 1, Norm.L2: 2, Norm.LINF: torch.inf}[norm]
    truth = float(torch.linalg.matrix_norm(weight, order))
    assert truth * (1 - 1e-9) <= witness.bound.value <= truth * (1 + 1e-15)


def test_the_pair_stays_in_the_region() -> None:
    graph, _ = chain(8, 3, 8, 2)
    region = Box(torch.zeros(1, 3, dtype=torch.float64), torch.full((1, 3), 0.25, dtype=torch.float64))
    witness = ascend(graph, Norm.L2, region, seconds=0.2)
    assert witness is not None
    assert region.contains(witness.x[None])
    assert region.contains(witness.y[None])


def test_a_constant_function_has_no_witness() -> None:
    weight = torch.zeros(2, 3, dtype=torch.float64)
    graph = Graph((3,), (Node("fc", "Gemm", Affine((Dense.plain(weight),)), (0,)),), 1)
    point = torch.ones(1, 3, dtype=torch.float64)
    assert best_witness(graph, Norm.L2, point, point, None) is None


@pytest.mark.parametrize("norm", Norm)
def test_a_point_on_a_face_keeps_its_direction(norm: Norm) -> None:
    """In the corner of a box, with a steepest direction that leads out of it on one side and in on the other."""
    weight = torch.tensor([[1.0, -1.0, 2.0], [0.5, 1.0, 1.0]], dtype=torch.float64)
    graph = Graph((3,), (Node("fc", "Gemm", Affine((Dense.plain(weight),)), (0,)),), 1)
    region = Box(torch.zeros(1, 3, dtype=torch.float64), torch.ones(1, 3, dtype=torch.float64))
    point = torch.tensor([[1.0, 1.0, 0.0]], dtype=torch.float64)
    found = jacobian_norms(graph.forward, point, norm, directions=True)
    assert found.direction is not None
    witness = best_witness(graph, norm, point, found.direction, region)
    assert witness is not None
    assert witness.bound.value >= float(found.norm[0]) * (1 - 1e-6)
    assert region.contains(torch.stack([witness.x, witness.y]))
