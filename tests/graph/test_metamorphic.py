"""Graphs that compute the same, or a known change of it: what that does to the bound (TRUST.md section 2.3)."""

from __future__ import annotations

import math

import pytest
import torch

from lipaudit.graph.graph import Graph, Node, append, prepend
from lipaudit.graph.problem import Problem
from lipaudit.graph.simplify import simplify
from lipaudit.linear.dense import Dense
from lipaudit.linear.pointwise import Diagonal
from lipaudit.linear.selection import NOTHING, Selection
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.ops import activations
from lipaudit.ops.affine import Affine
from tests.cases.graphs import FAMILIES, Family, Sketch
from tests.laws.engine_laws import functions_agree, layer_product

SEEDS = range(3)
every_family = pytest.mark.parametrize("family", [f for f in FAMILIES if f.bounded], ids=str)


def bounds(graph: Graph) -> list[float]:
    """The bound of the simplified graph in every norm."""
    simple = simplify(graph)
    return [layer_product(Problem.over(simple, norm)) for norm in Norm]


def assert_close(one: list[float], other: list[float], rel: float = 1e-8) -> None:
    for a, b in zip(one, other, strict=True):
        assert a == pytest.approx(b, rel=rel)


def scale(factor: float, shape: tuple[int, ...]) -> Affine:
    return Affine((Diagonal(torch.tensor(factor, dtype=torch.float64), shape),))


def _two_layers(
    seed: int, factors: torch.Tensor | None = None, order: torch.Tensor | None = None, shift: float = 0.0
) -> Graph:
    """W2 relu(W1 x + b), its hidden units rescaled by powers of two, or permuted."""
    s = Sketch((3,), seed)
    w1, b1, w2 = s.normal(4, 3), s.normal(4), s.normal(2, 4)
    c = torch.ones(4, dtype=torch.float64) if factors is None else factors
    p = torch.arange(4) if order is None else order
    x = s.affine(Dense.plain((w1 * c[:, None])[p]), 0, (b1 * c)[p] + shift)
    x = s.function(x, activations.relu())
    return s.graph(s.dense(x, 2, (w2 / c)[:, p], bias=False))


@pytest.mark.parametrize("seed", SEEDS)
def test_m1_rescaled_units_compute_the_same(seed: int) -> None:
    from tests.laws.engine_laws import bound_is_above, steepest

    factors = torch.tensor([2.0, 0.125, 8.0, 1.0], dtype=torch.float64)
    plain, other = _two_layers(seed), _two_layers(seed, factors)
    functions_agree(plain, other)
    bound_is_above(other, seed)
    met = steepest(plain, seed)
    for norm, bound in zip(Norm, bounds(other), strict=True):
        assert met[norm] <= bound * (1 + 1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_m2_permuted_units_do_not_matter(seed: int) -> None:
    plain, other = _two_layers(seed), _two_layers(seed, order=torch.tensor([2, 0, 3, 1]))
    functions_agree(plain, other)
    assert_close(bounds(plain), bounds(other))


@pytest.mark.parametrize("seed", SEEDS)
def test_m5_biases_do_not_matter(seed: int) -> None:
    assert bounds(_two_layers(seed)) == bounds(_two_layers(seed, shift=3.5))


@every_family
def test_m3_signs_and_order_of_inputs_do_not_matter(family: Family) -> None:
    for seed in SEEDS:
        graph = family.build(seed)
        size = math.prod(graph.input_shape)
        order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
        signs = Diagonal(torch.where(order % 2 == 0, 1.0, -1.0).double().reshape(graph.input_shape), graph.input_shape)
        move = Affine((Selection.of(graph.input_shape, order.reshape(graph.input_shape)),))
        turned = prepend(prepend(graph, "move", "Gather", move), "signs", "Mul", Affine((signs,)))
        before, after = bounds(graph), bounds(turned)
        for a, b in zip(before, after, strict=True):
            assert b <= a * (1 + 1e-8)  # a merged pair of maps may only be better


@every_family
@pytest.mark.parametrize("exponent", [-300, -40, 17, 300])
def test_m4_powers_of_two_are_exact(family: Family, exponent: int) -> None:
    """No absolute tolerance hides in a norm: 2^k f has 2^k times the bound."""
    for seed in SEEDS:
        graph = family.build(seed)
        factor = 2.0**exponent
        scaled = append(graph, "scale", "Mul", scale(factor, graph.output_shape))
        for one, other in zip(bounds(graph), bounds(scaled), strict=True):
            assert other == pytest.approx(one * factor, rel=1e-9)
            assert (other > 0) == (one > 0)


@every_family
def test_m6_what_passes_through_changes_nothing(family: Family) -> None:
    for seed in SEEDS:
        graph = family.build(seed)
        shape = graph.output_shape
        flat = (math.prod(shape),)
        there, back = Affine((Selection.reshape(shape, flat),)), Affine((Selection.reshape(flat, shape),))
        longer = append(append(graph, "flatten", "Flatten", there), "reshape", "Reshape", back)
        longer = append(
            longer, "zero", "Add", Affine((Selection.reshape(shape, shape),), torch.zeros(shape, dtype=torch.float64))
        )
        longer = append(longer, "one", "Mul", scale(1.0, shape))
        functions_agree(graph, longer)
        assert_close(bounds(graph), bounds(longer), 1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_m7_merged_layers_are_no_worse_than_apart(seed: int) -> None:
    s = Sketch((3,), seed)
    graph = s.graph(s.dense(s.dense(0, 4), 2))
    for norm, merged in zip(Norm, bounds(graph), strict=True):
        assert merged <= layer_product(Problem.over(graph, norm)) * (1 + 1e-9)


def joined(graph: Graph, how: str) -> Graph:
    """[f; f], f + f, f - f, x + f(x), [x; f(x)]."""
    s = Sketch(graph.input_shape, 0)
    s.nodes.extend(graph.nodes)
    f = graph.output
    match how:
        case "twice":
            return s.graph(s.concat(f, f))
        case "sum":
            return s.graph(s.sum(f, f))
        case "difference":
            return s.graph(s.sum(f, s.add(scale(-1.0, graph.output_shape), f)))
        case "residual":
            return s.graph(s.sum(0, f))
        case _:
            return s.graph(s.concat(0, f))


@every_family
def test_m8_a_duplicated_branch(family: Family) -> None:
    """[f; f] is sqrt(2), 2 and 1 times f in l2, l1 and linf; f + f is 2 times; f - f is not negative."""
    for seed in SEEDS:
        graph = family.build(seed)
        one, twice, total, gone = (
            bounds(g) for g in (graph, *(joined(graph, h) for h in ("twice", "sum", "difference")))
        )
        for norm, a, b, c, d in zip(Norm, one, twice, total, gone, strict=True):
            factor = {Norm.L1: 2.0, Norm.L2: math.sqrt(2.0), Norm.LINF: 1.0}[norm]
            assert b == pytest.approx(factor * a, rel=1e-8)
            assert c == pytest.approx(2.0 * a, rel=1e-8)
            assert d >= 0.0


@every_family
def test_m9_shortcuts(family: Family) -> None:
    for seed in SEEDS:
        graph = family.build(seed)
        one = dict(zip(Norm, bounds(graph), strict=True))
        # as built: merging f's last layer into the concatenation may cost some of the bound
        wide = joined(graph, "beside")
        beside = {norm: layer_product(Problem.over(wide, norm)) for norm in Norm}
        one = {norm: max(one[norm], layer_product(Problem.over(graph, norm))) for norm in Norm}
        assert beside[Norm.L2] <= math.hypot(1.0, one[Norm.L2]) * (1 + 1e-8)
        assert beside[Norm.L1] <= (1.0 + one[Norm.L1]) * (1 + 1e-8)
        assert beside[Norm.LINF] <= max(1.0, one[Norm.LINF]) * (1 + 1e-8)
        assert all(beside[norm] >= 1.0 for norm in Norm)
        if graph.output_shape == graph.input_shape:
            for norm, bound in zip(Norm, bounds(joined(graph, "residual")), strict=True):
                assert bound <= (1.0 + one[norm]) * (1 + 1e-8)


@every_family
def test_m9_a_part_of_the_output_is_no_larger(family: Family) -> None:
    for seed in SEEDS:
        graph = family.build(seed)
        size = math.prod(graph.output_shape)
        half = Affine((Selection.of(graph.output_shape, torch.arange(max(1, size // 2))),))
        for part, whole in zip(bounds(append(graph, "slice", "Slice", half)), bounds(graph), strict=True):
            assert part <= whole * (1 + 1e-8)


@every_family
def test_m10_appended_zeros_change_nothing(family: Family) -> None:
    for seed in SEEDS:
        graph = family.build(seed)
        size = math.prod(graph.output_shape)
        index = torch.cat([torch.arange(size), torch.full((3,), NOTHING)])
        padded = append(graph, "pad", "Pad", Affine((Selection.of(graph.output_shape, index),)))
        assert_close(bounds(padded), bounds(graph))


@every_family
def test_m18_names_and_the_order_of_independent_nodes_do_not_matter(family: Family) -> None:
    for seed in SEEDS:
        graph = family.build(seed)
        renamed = tuple(Node(f"other{i}", "Kind", n.op, n.inputs) for i, n in enumerate(graph.nodes))
        assert bounds(Graph(graph.input_shape, renamed, graph.output)) == bounds(graph)
        dead = Node("first", "Mul", scale(7.0, graph.input_shape), (0,))
        moved = tuple(Node(n.name, n.kind, n.op, tuple(i + 1 if i else 0 for i in n.inputs)) for n in graph.nodes)
        assert bounds(Graph(graph.input_shape, (dead, *moved), graph.output + 1)) == bounds(graph)


@every_family
def test_m14_a_box_is_no_worse_than_everywhere_and_joins_are_the_worst_of_them(family: Family) -> None:
    for seed in SEEDS:
        graph = simplify(family.build(seed))
        centre = torch.randn(3, *graph.input_shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        boxes = Box(centre - 0.2, centre + 0.2)
        for norm in Norm:
            together = layer_product(Problem.over(graph, norm, boxes))
            apart = [
                layer_product(Problem.over(graph, norm, Box(boxes.lower[i : i + 1], boxes.upper[i : i + 1])))
                for i in range(3)
            ]
            assert together >= max(apart) * (1 - 1e-9)
            assert together <= layer_product(Problem.over(graph, norm)) * (1 + 1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_m16_the_norms_are_consistent(seed: int) -> None:
    s = Sketch((4,), seed)
    one, two, infinite = bounds(s.graph(s.dense(0, 3)))
    assert two * two <= one * infinite * (1 + 1e-9)
    assert infinite <= 2.0 * two * (1 + 1e-9)  # sqrt(4)
    assert one <= math.sqrt(3.0) * two * (1 + 1e-9)


@every_family
def test_m17_rows_of_a_batch_do_not_mix(family: Family) -> None:
    graph = family.build(2)
    x = torch.randn(4, *graph.input_shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    whole = graph.forward(x)
    changed = x.clone()
    changed[1] += 1.0
    others = [0, 2, 3]
    assert torch.allclose(graph.forward(changed)[others], whole[others], rtol=1e-12, atol=1e-12)
