"""Graphs: values in order, one traversal, and the rewrites that cannot change a function."""

from __future__ import annotations

import pytest
import torch

from lipaudit.graph.graph import Graph, Node, append, fold, prepend, prune
from lipaudit.graph.problem import Problem
from lipaudit.linear.dense import Dense
from lipaudit.linear.pointwise import Diagonal
from lipaudit.numerics.norms import Norm
from lipaudit.ops import activations
from lipaudit.ops.affine import Affine
from lipaudit.ops.elementwise import Elementwise
from tests.cases.graphs import FAMILIES, Family, Sketch
from tests.laws import engine_laws

RELU = Elementwise(activations.relu(), (2,))
HALVE = Affine((Diagonal(torch.tensor(0.5, dtype=torch.float64), (2,)),))


def test_nodes_take_only_values_that_are_there() -> None:
    with pytest.raises(ValueError, match="not there yet"):
        Graph((2,), (Node("a", "Relu", RELU, (1,)),), 1)
    with pytest.raises(ValueError, match="takes"):
        Graph((3,), (Node("a", "Relu", RELU, (0,)),), 1)
    with pytest.raises(ValueError, match="output"):
        Graph((2,), (Node("a", "Relu", RELU, (0,)),), 2)


def test_a_graph_without_nodes_is_the_identity() -> None:
    graph = Graph((2,), (), 0)
    x = torch.tensor([[1.0, -2.0]], dtype=torch.float64)
    assert torch.equal(graph.forward(x), x)
    assert engine_laws.layer_product(Problem.over(graph, Norm.L2)) == 1.0


def test_fold_visits_in_order() -> None:
    graph = Graph(
        (2,), (Node("a", "Relu", RELU, (0,)), Node("b", "Mul", HALVE, (1,)), Node("c", "Relu", RELU, (2,))), 3
    )
    assert fold(graph, "x", lambda node, args: f"{node.name}({', '.join(args)})") == [
        "x",
        "a(x)",
        "b(a(x))",
        "c(b(a(x)))",
    ]


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_fold_of_values_is_forward(family: Family) -> None:
    graph = family.build(3)
    x = torch.randn(4, *graph.input_shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    values = fold(graph, x, lambda node, args: node.op.forward(*args))
    assert torch.equal(values[graph.output], graph.forward(x))
    assert all(tuple(v.shape[1:]) == graph.shape(i) for i, v in enumerate(values))


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_pruning_keeps_the_function_and_nothing_else(family: Family) -> None:
    for seed in range(4):
        graph = family.build(seed)
        dead = Node("dead", "Mul", Affine((Diagonal(torch.tensor(9.0, dtype=torch.float64), graph.input_shape),)), (0,))
        nodes = (dead, *(Node(n.name, n.kind, n.op, tuple(i + 1 if i else 0 for i in n.inputs)) for n in graph.nodes))
        wider = Graph(graph.input_shape, nodes, graph.output + 1)
        engine_laws.functions_agree(graph, wider)
        pruned = prune(wider)
        engine_laws.functions_agree(graph, pruned)
        assert "dead" not in {n.name for n in pruned.nodes}
        used = {i for n in pruned.nodes for i in n.inputs} | {pruned.output}
        assert set(range(1, len(pruned.nodes) + 1)) <= used


def test_pruning_to_an_inner_value() -> None:
    graph = Graph((2,), (Node("a", "Relu", RELU, (0,)), Node("b", "Mul", HALVE, (1,))), 1)
    assert [n.name for n in prune(graph).nodes] == ["a"]
    assert prune(Graph((2,), graph.nodes, 0)).nodes == ()


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_appending_and_prepending_compose(family: Family) -> None:
    graph = family.build(5)
    x = torch.randn(3, *graph.input_shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    after = Affine((Diagonal(torch.tensor(-3.0, dtype=torch.float64), graph.output_shape),))
    before = Affine((Diagonal(torch.tensor(0.25, dtype=torch.float64), graph.input_shape),))
    assert torch.equal(append(graph, "after", "Mul", after).forward(x), -3.0 * graph.forward(x))
    assert torch.equal(prepend(graph, "before", "Mul", before).forward(x), graph.forward(0.25 * x))


def test_prepending_a_map_of_another_shape() -> None:
    s = Sketch((2,), 0)
    graph = s.graph(s.dense(0, 1))
    wide = prepend(graph, "mix", "MatMul", Affine((Dense.plain(torch.ones(2, 5, dtype=torch.float64)),)))
    assert wide.input_shape == (5,)
    x = torch.randn(3, 5, dtype=torch.float64)
    assert torch.allclose(wide.forward(x), graph.forward(x.sum(1, keepdim=True).expand(3, 2)))
