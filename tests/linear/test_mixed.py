"""Laws of operator norms and constants between two different vector norms."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from lipaudit.engines.changeover import Changeover, path
from lipaudit.engines.converted import Converted
from lipaudit.engines.engine import run
from lipaudit.engines.layer_product import LayerProduct
from lipaudit.graph.problem import Problem
from lipaudit.linear.dense import Dense
from lipaudit.linear.norms.dual import inf_to_one, inf_to_two
from lipaudit.numerics.norms import Norm, NormPair
from tests.cases.graphs import FAMILIES
from tests.cases.maps import MapCase, all_maps, randn, scaled
from tests.laws import mixed_laws
from tests.laws.mixed_laws import PAIRS

every_pair = pytest.mark.parametrize("pair", PAIRS, ids=str)


@every_pair
@pytest.mark.parametrize("case", all_maps(), ids=str)
def test_norm_is_above_and_tight(case: MapCase, pair: NormPair) -> None:
    mixed_laws.norm_is_above(case.build(), pair)


@every_pair
@pytest.mark.parametrize("exponent", [-1000, -400, 400, 1000])
def test_norm_at_other_scales(pair: NormPair, exponent: int) -> None:
    """The norm of 2^e A is 2^e that of A, up to its rounding."""
    for name in ("dense-wide", "conv2d-stride", "conv-transpose", "diagonal-full"):
        part = next(case for case in all_maps() if case.name == name).build()
        said = mixed_laws.certified(scaled(part, 2.0**exponent), pair) * 2.0**-exponent
        assert said >= mixed_laws.certified(part, pair) * (1.0 - 1e-12)


@every_pair
@pytest.mark.parametrize("name", [family.name for family in FAMILIES])
def test_graph_bound_is_above(name: str, pair: NormPair) -> None:
    family = next(f for f in FAMILIES if f.name == name)
    for seed in range(2):
        mixed_laws.bound_is_above(family.build(seed), pair, seed)


@pytest.mark.parametrize("shape", [(1, 6), (6, 1), (3, 9), (9, 3), (8, 8)], ids=str)
def test_dual_bounds(shape: tuple[int, int]) -> None:
    """Between the largest value at a corner and Grothendieck's constant times that, at every scale."""
    for seed, scale in itertools.product(range(5), (1.0, 2.0**-700, 2.0**700)):
        a = randn(*shape, seed=seed)
        for bound, pair in ((inf_to_two, NormPair(Norm.LINF, Norm.L2)), (inf_to_one, NormPair(Norm.LINF, Norm.L1))):
            truth, _ = mixed_laws.attained(a, pair)
            said = bound(a * scale) / scale
            assert truth * (1.0 - 1e-13) <= said <= truth * mixed_laws.GROTHENDIECK[str(pair)]


def test_dual_bound_of_orthogonal_rows_is_attained() -> None:
    """A Hadamard matrix maps some corner to sqrt(n) in every entry: the relaxation is tight, and rounding is all."""
    h = torch.ones(1, 1, dtype=torch.float64)
    for _ in range(3):
        h = torch.cat([torch.cat([h, h], 1), torch.cat([h, -h], 1)])
    assert 8.0 <= inf_to_two(h) <= 8.0 * (1.0 + 1e-9)


def test_dual_bound_of_nothing() -> None:
    zero = torch.zeros(3, 4, dtype=torch.float64)
    assert inf_to_two(zero) == inf_to_one(zero) == 0.0
    assert inf_to_two(torch.full((2, 2), 5e-324, dtype=torch.float64)) >= 2**1.5 * 5e-324


def test_the_norms_change_where_it_costs_least() -> None:
    """linf -> l2 of a wide and then a narrow map: the first is taken from linf, the second within l2."""
    from lipaudit.graph.graph import Graph, Node
    from lipaudit.ops.affine import Affine

    first, second = Dense.plain(randn(4, 30)), Dense.plain(randn(3, 4, seed=1))
    nodes = (Node("a", "Gemm", Affine((first,)), (0,)), Node("b", "Gemm", Affine((second,)), (1,)))
    problem = Problem.over(Graph((30,), nodes, 2), NormPair(Norm.LINF, Norm.L2))
    assert path(problem) == {0: NormPair(Norm.LINF, Norm.L2), 1: NormPair(Norm.L2, Norm.L2)}


def test_engines_of_one_norm_decline() -> None:
    graph = next(f for f in FAMILIES).build(0)
    problem = Problem.over(graph, NormPair(Norm.LINF, Norm.L2))
    outcome = run(LayerProduct(), problem)
    assert outcome.bound is None
    assert "linf -> l2" in (outcome.reason or "")
    with pytest.raises(ValueError, match="linf -> l2"):
        _ = problem.norm
    assert run(Changeover(), problem.within(Norm.L2)).bound is None
    carried = run(Converted((LayerProduct(),)), problem).bound
    inner = run(LayerProduct(), problem.within(Norm.L2)).bound
    assert carried is not None
    assert inner is not None
    assert carried.value >= inner.value * math.sqrt(math.prod(graph.input_shape)) * (1.0 - 1e-15)


@pytest.mark.parametrize("text", ["", "l3", "l2:", ":l2", "l2:l1:l2", "L2"])
def test_what_is_no_pair(text: str) -> None:
    with pytest.raises(ValueError, match="valid Norm"):
        NormPair.parse(text)
    assert NormPair.parse("linf:l2") == NormPair(Norm.LINF, Norm.L2)
