"""The search for multipliers: the inequality against its recursion, the barrier's derivatives, units, optimum."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from lipaudit.engines.ellipsoid import Ellipsoid
from lipaudit.engines.ellipsoid_balance import balanced
from lipaudit.engines.ellipsoid_build import program
from lipaudit.engines.ellipsoid_closed import best_closed, guessed
from lipaudit.engines.ellipsoid_inequality import inequality, rates
from lipaudit.engines.ellipsoid_interior import _Barrier, reached, solve
from lipaudit.engines.ellipsoid_program import Program
from lipaudit.engines.ellipsoid_stages import loosened, staged
from lipaudit.engines.ellipsoid_verify import verified
from lipaudit.engines.layer_product import LayerProduct
from lipaudit.graph.graph import Graph, Node
from lipaudit.graph.problem import Problem
from lipaudit.linear.dense import Dense
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.ops import activations
from lipaudit.ops.affine import Affine
from lipaudit.ops.elementwise import Elementwise
from tests.engines.test_ellipsoid import KINDS, Net, chain, dense, identity, jacobian_norms, residual


def steps_of(graph: Graph, seed: int) -> Program:
    """Over a narrow box for every second seed: slopes of all kinds, some hardly bent."""
    if seed % 2 == 0:
        return program(Problem.over(graph, Norm.L2))
    width = 10.0 ** -(seed % 7)
    centre = torch.randn(1, *graph.input_shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return program(Problem.over(graph, Norm.L2, Box(centre - width, centre + width)))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("build", KINDS, ids=lambda build: build.__name__)
def test_the_inequality_and_the_recursion_are_one(build: Callable[[int], Graph], seed: int) -> None:
    steps = steps_of(build(seed), seed)
    for square, guess in best_closed(steps)[:2]:
        if square > 0.0:
            assert reached(inequality(steps), guess) == pytest.approx(guessed(steps, guess), rel=1e-6)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("build", KINDS, ids=lambda build: build.__name__)
def test_the_barriers_derivatives_are_those_of_log_det(build: Callable[[int], Graph], seed: int) -> None:
    steps = steps_of(build(seed), 2 * seed)
    square, guess = best_closed(steps)[0]
    if not square > 0.0:
        pytest.skip("a constant")
    data = inequality(steps)
    barrier = _Barrier(data, math.sqrt(square))
    point = torch.cat([rates(data, loosened(steps, guess)), torch.tensor([3.0], dtype=torch.float64)])
    leaf = point.clone().requires_grad_(True)

    def logdet(x: torch.Tensor) -> torch.Tensor:
        m = torch.zeros(data.side, data.side, dtype=torch.float64)
        m[: data.sizes[0], : data.sizes[0]] = torch.eye(data.sizes[0], dtype=torch.float64)
        starts = [sum(data.sizes[:b]) for b in range(len(data.sizes) + 1)]
        q = starts[-1]
        for a in data.atoms:
            for i in range(len(a.of)):
                v = torch.zeros(data.side, dtype=torch.float64)
                for block, rows in a.rows.items():
                    v[starts[block] : starts[block + 1]] = rows[i]
                e = torch.zeros(data.side, dtype=torch.float64)
                if a.own is not None:
                    e[starts[a.own] + i] = a.p[i]
                f, g = e - a.s[i] * v, e - a.z[i] * v
                m = m + x[a.of[i]] * (torch.outer(f, g) + torch.outer(g, f)) / 2
        corner = torch.zeros(data.side, data.side, dtype=torch.float64)
        for block, rows in data.output.items():
            corner[q:, starts[block] : starts[block + 1]] = rows / math.sqrt(square)
        m = m + corner + corner.mT + torch.diag(torch.cat([torch.zeros(q), torch.ones(data.side - q)])) * x[-1]
        return torch.logdet(m)

    state = barrier.at(point)
    assert state is not None
    assert state.logdet == pytest.approx(float(logdet(point)), abs=1e-6)
    local = barrier.expand(state)
    assert local is not None
    (gradient,) = torch.autograd.grad(logdet(leaf), leaf)
    assert torch.allclose(local.gradient, gradient, rtol=1e-6, atol=1e-9 * float(gradient.abs().max()))
    hessian = torch.autograd.functional.hessian(logdet, point)  # type: ignore[no-untyped-call]
    back = -hessian @ local.centring
    assert torch.allclose(back, gradient, rtol=1e-4, atol=1e-5 * float(gradient.abs().max()))


@pytest.mark.parametrize("seed", range(8))
def test_the_floor_is_below_and_near_what_is_proven(seed: int) -> None:
    """No multipliers that are tried go below the floor that the optimum claims."""
    steps = steps_of((chain, residual)[seed % 2](seed), 2 * seed)
    square, guess = best_closed(steps)[0]
    if not square > 0.0:
        pytest.skip("a constant")
    data = inequality(steps)
    found = solve(data, guess, square, 1e-6)
    generator = torch.Generator().manual_seed(seed)
    best = found.guesses[-1]
    assert guessed(steps, best) <= found.lower * (1 + 2e-6)
    for _ in range(20):
        other = {
            k: v * torch.exp(0.1 * torch.randn(len(v), generator=generator, dtype=torch.float64))
            for k, v in best.items()
        }
        assert reached(data, other) >= found.lower * (1 - 1e-9)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("build", KINDS, ids=lambda build: build.__name__)
def test_units_change_nothing(build: Callable[[int], Graph], seed: int) -> None:
    """With matrices of 2^-60 the units must move; the same multipliers, in the new units, prove the same."""
    steps = steps_of(build(seed), seed)
    moved = balanced(steps)
    before, after = best_closed(steps), best_closed(moved)
    if not before[0][0] > 0.0:
        pytest.skip("a constant")
    one = verified(steps, before[0][1])
    other = verified(moved, after[0][1])
    assert other == pytest.approx(one, rel=1e-6)


def deep(depth: int, width: int, factor: float) -> Graph:
    """A chain of random layers, each of norm about 2 factor: what is left at the end is tiny, or huge."""
    generator = torch.Generator().manual_seed(3)
    nodes: list[Node] = []
    for i in range(depth):
        weight = factor * torch.randn(width, width, generator=generator, dtype=torch.float64) * width**-0.5
        nodes.append(Node(f"gemm{i}", "Gemm", Affine((Dense(weight, (), 1, (width,), (width,)),)), (len(nodes),)))
        if i + 1 < depth:
            nodes.append(Node(f"relu{i}", "Relu", Elementwise(activations.relu(), (width,)), (len(nodes),)))
    return Graph((width,), tuple(nodes), len(nodes))


@pytest.mark.parametrize("factor", [1e-4, 0.5, 1e4])
def test_a_deep_chain_stays_in_the_range_of_float64(factor: float) -> None:
    """Forty layers of 1e-4 or 1e4: the bound is the same number, scaled."""
    unit = Ellipsoid(tolerance=1e-3).bound(Problem.over(deep(40, 3, 1.0), Norm.L2))
    bound = Ellipsoid(tolerance=1e-3).bound(Problem.over(deep(40, 3, factor), Norm.L2))
    assert math.log(bound.value) == pytest.approx(math.log(unit.value) + 40 * math.log(factor), abs=0.05)
    assert bound.slack is not None
    assert bound.slack < 1e-2


def test_a_chain_that_contracts_beyond_its_norms_is_followed() -> None:
    """80 layers whose ellipsoids shrink far more than their norms say: 1e-25 at the end, not refused."""
    graph = deep(80, 3, 0.2)
    problem = Problem.over(graph, Norm.L2)
    steps = balanced(program(problem))
    assert steps.exponent < program(problem).exponent
    value = Ellipsoid(tolerance=1e-1).bound(problem).value
    assert jacobian_norms(graph, problem, 0, 10) <= value < 1e-25


def test_stages_are_feasible_and_better_than_closed_forms() -> None:
    better = 0
    for seed in range(12):
        net = Net(seed, 6)
        value = 0
        for width in (12, 12, 12):
            value = net.scalar(net.linear(width, value), 0)
        net.linear(3, value)
        steps = balanced(program(Problem.over(net.graph(), Norm.L2)))
        guess = staged(steps, 0.5, math.inf)
        assert guess is not None
        assert verified(steps, guess) < math.inf
        better += guessed(steps, guess) < best_closed(steps)[0][0]
    assert better >= 10


def test_the_answer_does_not_depend_on_time() -> None:
    graph = deep(4, 30, 1.0)
    values = {Ellipsoid(seconds=s).bound(Problem.over(graph, Norm.L2)).value for s in (50.0, 80.0)}
    assert len(values) == 1


def test_an_engine_cut_short_says_nothing_about_its_optimum() -> None:
    problem = replace(Problem.over(deep(4, 30, 1.0), Norm.L2), deadline=0.0)
    assert Ellipsoid().bound(problem).floor is None


@pytest.mark.parametrize("seed", range(3))
def test_residual_blocks_are_joint(seed: int) -> None:
    """relu(z + U relu(V z)) four times, as in FC-R18: to the optimum, far below 1 + L for each block."""
    net = Net(seed, 20)
    value = net.scalar(net.linear(10, 0), 0)
    for _ in range(4):
        inner = net.scalar(net.add(Affine((dense(net.weight(10, 10) / 10**0.5),)), value), 0)
        value = net.scalar(net.add(Affine((identity(10), dense(net.weight(10, 10) / 20**0.5))), value, inner), 0)
    net.linear(3, value)
    problem = Problem.over(net.graph(), Norm.L2)
    bound = Ellipsoid().bound(problem)
    assert bound.slack is not None
    assert bound.slack < 2e-5
    assert jacobian_norms(net.graph(), problem, seed) <= bound.value < 0.2 * LayerProduct().bound(problem).value
