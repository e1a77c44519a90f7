"""Simplifying keeps the function, and each rewrite does what it says and no more."""

from __future__ import annotations

import math

import pytest
import torch

from lipaudit.graph.graph import Graph, Node
from lipaudit.graph.problem import Problem
from lipaudit.graph.simplify import simplify
from lipaudit.graph.simplify.fuse_activations import fuse_activations
from lipaudit.graph.simplify.merge_affine import merge_affine
from lipaudit.graph.simplify.pair_sorts import pair_sorts
from lipaudit.linear.dense import Dense
from lipaudit.linear.pointwise import Diagonal
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.ops import activations
from lipaudit.ops.affine import Affine
from lipaudit.ops.bilinear import Multiply
from lipaudit.ops.elementwise import Elementwise
from lipaudit.ops.maxlike import PointwiseMax, SortPair
from tests.cases.graphs import FAMILIES, Family, Sketch
from tests.laws import engine_laws, graph_laws


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_simplifying_keeps_the_function(family: Family) -> None:
    for seed in range(25):
        graph = family.build(seed)
        simple = simplify(graph)
        engine_laws.functions_agree(graph, simple, seed)
        engine_laws.functions_agree(graph, simplify(simple), seed)


def kinds(graph: Graph) -> list[str]:
    return [type(node.op).__name__ for node in graph.nodes]


# ------------------------------------------------------------------------------------------- affine runs


@pytest.mark.parametrize("seed", range(30))
def test_the_offset_of_a_merged_run_is_enclosed(seed: int) -> None:
    graph_laws.merged_offset_is_enclosed(graph_laws.affine_run(seed))


def test_a_run_becomes_one_node_with_its_origin() -> None:
    s = Sketch((2,), 1)
    x = s.dense(s.affine(Diagonal(s.normal(2), (2,)), s.dense(0, 2)), 3)
    simple = simplify(s.graph(x))
    assert kinds(simple) == ["Affine"]
    assert set(simple.nodes[0].origin) == {"n0", "n1", "n2"}


def test_paths_from_one_source_add_up() -> None:
    s = Sketch((2,), 2)
    a, b = s.dense(0, 3), s.dense(0, 3)
    simple = simplify(s.graph(s.sum(a, b, a)))
    assert kinds(simple) == ["Affine"]
    assert len(simple.nodes[0].inputs) == 1


def test_what_joins_two_sources_stays() -> None:
    s = Sketch((2,), 3)
    a, b = s.function(s.dense(0, 2), activations.relu()), s.function(s.dense(0, 2), activations.tanh())
    simple = simplify(s.graph(s.dense(s.sum(a, b), 2)))
    joined = [node for node in simple.nodes if len(node.inputs) == 2]
    assert len(joined) == 1
    assert isinstance(joined[0].op, Affine)


def test_an_identity_adds_no_node() -> None:
    s = Sketch((3,), 4)
    places = s.places(0)
    x = s.pick(s.pick(0, places.flip(0)), places.flip(0))
    assert simplify(s.graph(x)).nodes == ()


def test_a_source_that_is_the_output_of_nothing() -> None:
    s = Sketch((2,), 5)
    x = s.function(s.dense(0, 2), activations.relu())
    s.dense(x, 2)
    graph = s.graph(x)
    engine_laws.functions_agree(graph, merge_affine(graph))


# ------------------------------------------------------------------------------------------- sorted pairs


def max_min(swap: bool, *, other: bool = False, extra: bool = False) -> Graph:
    s = Sketch((4,), 7)
    places = s.places(0)
    a, b, c = s.pick(0, places[:2]), s.pick(0, places[2:]), s.pick(0, places[1:3])
    high = s.extremum(1.0, a, b)
    low = s.extremum(-1.0, *((a, c) if other else (b, a) if swap else (a, b)))
    values = [high, low] + ([s.extremum(1.0, b, a)] if extra else [])
    return s.graph(s.concat(*values))


@pytest.mark.parametrize("swap", [False, True])
def test_max_and_min_of_one_pair_are_a_sort(swap: bool) -> None:
    graph = max_min(swap)
    paired = pair_sorts(graph)
    assert "SortPair" in kinds(paired)
    assert "PointwiseMax" not in kinds(paired)
    engine_laws.functions_agree(graph, paired)
    simple = simplify(graph)
    for norm in Norm:
        assert engine_laws.layer_product(Problem.over(simple, norm)) == pytest.approx(1.0, rel=1e-12)


def test_max_and_min_of_different_pairs_are_left_alone() -> None:
    graph = max_min(False, other=True)
    assert "SortPair" not in kinds(pair_sorts(graph))
    engine_laws.functions_agree(graph, simplify(graph))


def test_a_second_max_of_the_pair_is_left_alone() -> None:
    graph = max_min(True, extra=True)
    paired = pair_sorts(graph)
    assert kinds(paired).count("SortPair") == 1
    assert kinds(paired).count("PointwiseMax") == 1
    engine_laws.functions_agree(graph, paired)
    engine_laws.bound_is_above(graph)


def test_two_maxima_are_no_pair() -> None:
    s = Sketch((4,), 8)
    places = s.places(0)
    a, b = s.pick(0, places[:2]), s.pick(0, places[2:])
    graph = s.graph(s.concat(s.extremum(1.0, a, b), s.extremum(1.0, b, a)))
    assert "SortPair" not in kinds(pair_sorts(graph))


def test_a_max_with_itself_is_no_pair() -> None:
    s = Sketch((4,), 9)
    graph = s.graph(s.concat(s.extremum(1.0, 0, 0), s.extremum(-1.0, 0, 0)))
    engine_laws.functions_agree(graph, simplify(graph))
    engine_laws.bound_is_above(graph)


def test_extrema_of_what_is_no_plain_stack_are_left_alone() -> None:
    """Two values that are mixed, each in its own way, before the largest and the smallest are taken."""
    s = Sketch((2,), 10)
    a, b = s.function(s.dense(0, 2), activations.relu()), s.function(s.dense(0, 2), activations.tanh())
    tops = []
    for sign in (1.0, -1.0):
        parts = tuple(Dense(s.normal(4, 2), (), 1, (2,), (2, 2)) for _ in range(2))
        tops.append(s.add(PointwiseMax((2,), 2, sign), s.add(Affine(parts), a, b)))
    graph = s.graph(s.concat(*tops))
    assert "SortPair" not in kinds(pair_sorts(graph))
    engine_laws.functions_agree(graph, simplify(graph))


def test_extrema_of_the_input_itself() -> None:
    nodes = [Node(f"m{i}", "Max", PointwiseMax((2,), 2, sign), (0,)) for i, sign in enumerate((1.0, -1.0))]
    s = Sketch((2, 2), 11)
    s.nodes.extend(nodes)
    graph = s.graph(s.concat(1, 2))
    engine_laws.functions_agree(graph, simplify(graph))


def test_a_sort_that_is_already_one_stays() -> None:
    graph = Graph((2, 3), (Node("s", "Sort", SortPair((3,)), (0,)),), 1)
    assert kinds(simplify(graph)) == ["SortPair"]


# ------------------------------------------------------------------------------------------- activations


def gate(name: str, *, swapped: bool = False) -> Graph:
    s = Sketch((3,), 12)
    x = s.dense(0, 3)
    if name == "silu":
        other = s.function(x, activations.sigmoid())
    elif name == "quick-gelu":
        scaled = s.affine(Diagonal(torch.tensor(1.702, dtype=torch.float64), (3,)), x)
        other = s.function(scaled, activations.sigmoid())
    elif name == "mish":
        other = s.function(s.function(x, activations.softplus()), activations.tanh())
    elif name == "another's gate":
        other = s.function(s.dense(0, 3), activations.sigmoid())
    elif name == "shifted":
        shifted = s.affine(
            Diagonal(torch.tensor(1.0, dtype=torch.float64), (3,)), x, torch.ones(3, dtype=torch.float64)
        )
        other = s.function(shifted, activations.sigmoid())
    elif name == "per channel":
        other = s.function(
            s.affine(Diagonal(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64), (3,)), x), activations.sigmoid()
        )
    else:
        other = s.function(s.function(x, activations.relu()), activations.tanh())
    return s.graph(s.add(Multiply((3,)), *((other, x) if swapped else (x, other))))


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(
    ("name", "slope"), [("silu", 1.0998393201288670), ("quick-gelu", 1.0998393201288670), ("mish", 1.0884981612517279)]
)
def test_a_gate_of_itself_is_an_activation(name: str, slope: float, swapped: bool) -> None:
    graph = gate(name, swapped=swapped)
    simple = simplify(graph)
    engine_laws.functions_agree(graph, simple)
    assert "Multiply" not in kinds(simple)
    engine_laws.bound_is_above(graph)
    functions = [node.op for node in simple.nodes if isinstance(node.op, Elementwise)]
    (op,) = functions
    assert op.gains(Norm.L2, Box.everything((1, 3)))[0].value == pytest.approx(slope, rel=1e-12)


@pytest.mark.parametrize("name", ["another's gate", "shifted", "per channel", "relu in between"])
def test_what_is_no_activation_keeps_its_value(name: str) -> None:
    graph = gate(name)
    engine_laws.functions_agree(graph, fuse_activations(graph))
    engine_laws.functions_agree(graph, simplify(graph))
    engine_laws.bound_is_above(graph)
    if name in ("another's gate",):
        assert "Multiply" in kinds(simplify(graph))
        assert math.isinf(engine_laws.layer_product(Problem.over(simplify(graph), Norm.L2)))
