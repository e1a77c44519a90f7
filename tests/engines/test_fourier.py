"""Laws of the Fourier recursion: never below any Jacobian that the slopes allow, the dense recursion on a circle."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from lipaudit.engines.ellipsoid import Ellipsoid
from lipaudit.engines.engine import Declined
from lipaudit.engines.fourier import FourierEllipsoid
from lipaudit.engines.fourier_build import program
from lipaudit.engines.fourier_program import Bend, Block, Linear, Program
from lipaudit.engines.fourier_recursion import CLOSED, Guess, Symbols, closed, guessed, jacobi
from lipaudit.engines.fourier_symbols import half, symbol
from lipaudit.engines.fourier_verify import output_cover, verified
from lipaudit.engines.layer_product import constants
from lipaudit.engines.pairwise import pairwise_constants
from lipaudit.graph.graph import Graph, append
from lipaudit.graph.problem import Problem
from lipaudit.graph.simplify import simplify
from lipaudit.linear.conv import Conv
from lipaudit.linear.dense import Dense
from lipaudit.linear.selection import Selection
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.ops import activations, functions
from lipaudit.ops.affine import Affine
from tests.cases.conv_graphs import FAMILIES, Images
from tests.laws import engine_laws, slope_laws


def fourier(problem: Problem, written_out: int = 0) -> float:
    """The best closed form's proven bound; inf where there is none."""
    steps = program(problem, written_out)
    found = (closed(Symbols(steps, 2**26), rule) for rule in CLOSED[:3])
    return min((verified(steps, guess) for _, guess in filter(None, found)), default=math.inf)


@pytest.mark.parametrize("block", range(3))
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_it_is_above_all_slopes(family: Callable[[int], Graph], block: int) -> None:
    found = []
    for seed in range(10 * block, 10 * block + 10):
        graph = family(seed) if seed % 2 else simplify(family(seed))
        problem = Problem.over(graph, Norm.L2)
        bound = fourier(problem, written_out=0 if seed % 3 else 20)
        found.append(slope_laws.is_above_all_slopes(graph, bound, problem, seed))
    assert sum(ratio > 0.05 for ratio in found) >= 5  # else the search is too weak to tell anything


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_it_is_above_all_slopes_of_a_box(family: Callable[[int], Graph]) -> None:
    for seed in range(100, 108):
        graph = simplify(family(seed))
        generator = torch.Generator().manual_seed(seed)
        centre = torch.randn(1, *graph.input_shape, generator=generator, dtype=torch.float64)
        width = (0.05, 0.5, 2.0)[seed % 3]
        problem = Problem.over(graph, Norm.L2, Box(centre - width, centre + width))
        slope_laws.is_above_all_slopes(graph, fourier(problem), problem, seed)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_the_engine_is_above_what_is_met_and_descends(family: Callable[[int], Graph]) -> None:
    for seed in range(200, 203):
        graph = simplify(family(seed))
        problem = Problem.over(graph, Norm.L2)
        try:
            bound = FourierEllipsoid(seconds=5.0).bound(problem).value
        except Declined:
            steps = program(problem)
            spread = [step for step, cells in zip(steps.steps, steps.lattices(), strict=False) if math.prod(cells) > 1]
            assert all(isinstance(step, Linear) for step in spread) or fourier(problem) == math.inf
            continue
        assert engine_laws.steepest(graph, seed)[Norm.L2] <= bound * (1 + 1e-9)
        assert slope_laws.worst_slopes(problem, seed) <= bound * (1 + 1e-12)
        assert bound <= fourier(problem) * (1 + 1e-6)


def garbage(steps: Program, seed: int) -> Guess:
    """Multipliers of all sizes, some that prove nothing."""
    generator = torch.Generator().manual_seed(seed)

    def rule(place: int, y: torch.Tensor) -> torch.Tensor:
        theta = jacobi(0.5)(place, y)
        return theta * torch.rand(len(theta), generator=generator, dtype=torch.float64).mul(6.0).sub(1.2).exp()

    found = closed(Symbols(steps, 2**26), rule)
    return {} if found is None else found[1]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_any_multipliers_prove_a_bound_or_nothing(family: Callable[[int], Graph]) -> None:
    for seed in range(300, 310):
        problem = Problem.over(simplify(family(seed)), Norm.L2)
        steps = program(problem)
        worst = slope_laws.worst_slopes(problem, seed, starts=2)
        for trial in range(3):
            guess = garbage(steps, 10 * seed + trial)
            assert worst <= verified(steps, guess) * (1 + 1e-12)
            less = {place: theta * 0.55 for place, theta in guess.items()}
            assert worst <= verified(steps, less) * (1 + 1e-12)
            assert verified(steps, {place: -theta for place, theta in guess.items()}) == math.inf or not guess


# --------------------------------------------------------------------------------- against the dense recursion


def circular(seed: int) -> Program:
    """Convolutions on a circle with slopes between and a kept value: no window, so nothing is lost to padding."""
    generator = torch.Generator().manual_seed(seed)
    cells, channels = 4 + seed % 5, 2

    def block(row: int, column: int, rows: int, columns: int, taps: int) -> Block:
        weight = torch.randn(taps, rows, columns, generator=generator, dtype=torch.float64)
        return Block(row, column, weight, torch.arange(taps)[:, None] - 1)

    def linear(*blocks: Block, rows: int, columns: int, factor: int = 1) -> Linear:
        majorant = torch.zeros(rows, columns, dtype=torch.float64)
        for b in blocks:
            at = slice(b.row, b.row + b.weight.shape[1]), slice(b.column, b.column + b.weight.shape[2])
            majorant[at] += b.weight.abs().sum(0) * (1 + 2.0**-40)
        return Linear(tuple(blocks), (factor,), majorant, 0.0, 0.0, 8)

    half_slope = torch.full((3,), 0.5, dtype=torch.float64)
    first = linear(block(0, 0, 3, channels, 3), rows=3, columns=channels)
    keep = Block(0, 0, torch.eye(3, dtype=torch.float64)[None], torch.zeros(1, 1, dtype=torch.int64))
    second = linear(keep, block(3, 0, 3, 3, 2), rows=6, columns=3)
    third = linear(block(0, 0, 2, 3, 1), block(0, 3, 2, 3, 3), rows=2, columns=6, factor=2)
    steps = (
        first,
        Bend(torch.arange(3), torch.arange(0), half_slope, half_slope),
        second,
        Bend(torch.arange(3, 6), torch.arange(3), half_slope * 0.5, half_slope * 1.5),
        third,
    )
    return Program((2 * cells,), channels, steps, torch.arange(2), 0, False)


def dense_of(step: Linear, cells: int) -> torch.Tensor:
    """The step as a matrix [coarse cells x rows, cells x columns]."""
    assert step.factor is not None
    rows, columns = step.majorant.shape
    coarse = cells // step.factor[0]
    matrix = torch.zeros(coarse, rows, cells, columns, dtype=torch.float64)
    for b in step.blocks:
        for m in range(coarse):
            for w, s in zip(b.weight, b.shifts[:, 0].tolist(), strict=True):
                at = slice(b.row, b.row + w.shape[0]), slice(b.column, b.column + w.shape[1])
                matrix[m, at[0], (step.factor[0] * m + s) % cells, at[1]] += w
    return matrix.reshape(coarse * rows, cells * columns)


@pytest.mark.parametrize("seed", range(8))
def test_on_a_circle_it_is_the_dense_recursion(seed: int) -> None:
    steps = circular(seed)
    found = closed(Symbols(steps, 2**26), jacobi(0.7))
    assert found is not None
    value, guess = found
    cells = steps.cells[0]
    y = torch.eye(cells * steps.channels, dtype=torch.float64)
    for place, step in enumerate(steps.steps):
        if isinstance(step, Linear):
            t = dense_of(step, cells)
            cells //= (step.factor or (1,))[0]
            y = t @ y @ t.T
            continue
        assert isinstance(step, Bend)
        width = len(y) // cells
        at = [torch.cat([index + width * m for m in range(cells)]) for index in (step.source, step.rest)]
        v, rest = at
        theta, c, d = (x.repeat(cells) for x in (guess[place], step.centre, step.radius))
        all_rows = torch.cat([rest, v])
        gain = torch.linalg.solve(torch.diag(theta) - y[v][:, v], y[v][:, all_rows])
        inner = y[all_rows][:, all_rows] + y[all_rows][:, v] @ gain
        scale = torch.cat([torch.ones(len(rest), dtype=torch.float64), c])
        inner = inner * scale * scale[:, None]
        inner.diagonal()[len(rest) :] += d * d * theta
        order = torch.cat(
            [
                torch.cat(
                    [
                        torch.arange(len(step.rest)) + len(step.rest) * m,
                        len(rest) + torch.arange(len(step.source)) + len(step.source) * m,
                    ]
                )
                for m in range(cells)
            ]
        )
        y = inner[order][:, order]
    dense = float(torch.linalg.eigvalsh(y)[-1])
    assert value == pytest.approx(dense, rel=1e-10)
    assert math.sqrt(dense) <= verified(steps, guess) <= math.sqrt(dense) * (1 + 1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_a_symbol_is_the_transform_of_its_matrix(seed: int) -> None:
    steps = circular(seed)
    step, cells = steps.steps[0], steps.cells[0]
    assert isinstance(step, Linear)
    matrix = dense_of(step, cells).reshape(cells, step.majorant.shape[0], cells, steps.channels)
    for place, k in enumerate(half(steps.cells).index[:, 0].tolist()):
        turns = torch.exp(2j * math.pi * k * torch.arange(cells, dtype=torch.float64) / cells)
        there = (matrix[0] * turns[None, :, None]).sum(1)
        assert torch.allclose(symbol(step, steps.cells)[place], there, atol=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_a_multiplier_for_each_neuron_is_never_worse(seed: int) -> None:
    """The dense recursion's optimum is over more multipliers, and knows the padding exactly."""
    s = Images(400 + seed, 4)
    x = s.bend(s.affine(s.conv(0, 2, keeps=True), 0))
    graph = s.graph(s.dense(s.bend(s.affine(s.conv(x, 2, keeps=True), x)), 2))
    problem = Problem.over(simplify(graph), Norm.L2)
    assert Ellipsoid(seconds=10.0).bound(problem).value <= FourierEllipsoid(seconds=5.0).bound(problem).value * 1.001


def test_written_out_at_once_it_is_the_dense_recursion() -> None:
    s = Images(7, 4)
    graph = s.graph(s.dense(s.bend(s.affine(s.conv(0, 2, keeps=True), 0)), 3))
    steps = program(Problem.over(simplify(graph), Norm.L2), 1000)
    assert not any(steps.lattices()[1:])
    assert len([step for step in steps.steps if isinstance(step, Bend)]) == 1


# --------------------------------------------------------------------------------- what is on the torus


def test_a_value_that_padding_reads_is_cut_out_first() -> None:
    """Two padded convolutions with nothing between: what the first says outside the window must not be read."""
    s = Images(3)
    s.shape = (1, 1, 5)
    part = Conv(torch.ones(1, 1, 3, dtype=torch.float64), (1, 1, 5), (1,), (1,), ((1, 1),))
    x = s.affine(part, 0)
    steps = program(Problem.over(s.graph(s.affine(part, x)), Norm.L2))
    assert [type(step).__name__ for step in steps.steps] == ["Linear", "Bend", "Linear"]


@pytest.mark.parametrize(("follows", "lowest"), [("padding", 0.0), ("head", 0.5)])
def test_a_slope_range_takes_0_in_where_padding_follows(follows: str, lowest: float) -> None:
    s = Images(3)
    s.shape = (1, 1, 5)
    part = Conv(torch.ones(1, 1, 3, dtype=torch.float64), (1, 1, 5), (1,), (1,), ((1, 1),))
    x = s.function(s.affine(part, 0), activations.leaky_relu(0.5))
    graph = s.graph(s.affine(part, x) if follows == "padding" else s.dense(x, 1))
    (bend,) = [step for step in program(Problem.over(graph, Norm.L2)).steps if isinstance(step, Bend)]
    assert float(bend.centre) - float(bend.radius) == lowest


def test_a_skip_goes_with_the_branch_where_the_resolution_changes() -> None:
    s = Images(5)
    s.shape = (1, 2, 8)
    x = s.function(s.affine(Conv(s.normal(2, 2, 3), (1, 2, 8), (1,), (1,), ((1, 1),)), 0), activations.relu())
    y = s.function(s.affine(Conv(s.normal(4, 2, 3), (1, 2, 8), (2,), (1,), ((1, 1),)), x), activations.relu())
    main = Conv(s.normal(4, 4, 3), (1, 4, 4), (1,), (1,), ((1, 1),))
    skip = Conv(s.normal(4, 2, 1), (1, 2, 8), (2,), (1,), ((0, 0),))
    steps = program(Problem.over(s.graph(s.add(Affine((main, skip)), y, x)), Norm.L2))
    assert max(steps.widths()) == 8  # not 4 + 2 x 2 of the finer value's phases beside it


def test_without_a_convolution_it_leaves_it_to_the_dense_recursion() -> None:
    s = Images(1)
    s.shape = (3,)
    graph = s.graph(s.dense(s.function(s.dense(0, 4), activations.relu()), 2))
    with pytest.raises(Declined, match="no activation follows"):
        FourierEllipsoid().bound(Problem.over(graph, Norm.L2))


def test_an_unbounded_slope_is_declined() -> None:
    s = Images(2)
    s.shape = (1, 1, 6)
    part = Conv(torch.ones(1, 1, 3, dtype=torch.float64), (1, 1, 6), (1,), (1,), ((1, 1),))
    graph = s.graph(s.function(s.affine(part, 0), functions.exponential()))
    with pytest.raises(Declined, match="unbounded"):
        FourierEllipsoid().bound(Problem.over(graph, Norm.L2))


# --------------------------------------------------------------------------------- pairs


def test_pairs_are_above_the_slopes_of_differences() -> None:
    for seed in range(6):
        s = Images(500 + seed, 5)
        x = s.bend(s.affine(s.conv(0, 2, keeps=True), 0))
        graph = simplify(s.graph(s.dense(s.bend(s.affine(s.conv(x, 2, keeps=True), x)), 3)))
        problem = Problem.over(graph, Norm.L2)
        pairs, whole = FourierEllipsoid(seconds=3.0).pairwise(problem)
        assert bool((pairs <= whole.value * math.sqrt(2.0) * (1 + 1e-9)).all())
        for a in range(3):
            for b in range(a):
                weight = torch.zeros(1, 3, dtype=torch.float64)
                weight[0, a], weight[0, b] = 1.0, -1.0
                difference = append(graph, "difference", "Gemm", Affine((Dense.plain(weight),)))
                found = slope_laws.worst_slopes(Problem.over(difference, Norm.L2), seed, starts=3)
                assert found <= float(pairs[a, b]) * (1 + 1e-12)
                assert float(pairs[a, b]) == float(pairs[b, a])


def test_the_same_network_has_the_same_bound() -> None:
    s = Images(13, 5)
    x = s.function(s.affine(s.conv(0, 2, keeps=True), 0), activations.relu())
    problem = Problem.over(simplify(s.graph(s.dense(s.bend(s.affine(s.conv(x, 2, keeps=True), x)), 3))), Norm.L2)
    assert len({FourierEllipsoid(seconds=5.0).bound(problem).value for _ in range(2)}) == 1


def test_nothing_is_proven_by_nothing() -> None:
    s = Images(9, 4)
    graph = s.graph(s.dense(s.bend(s.affine(s.conv(0, 2, keeps=True), 0)), 2))
    steps = program(Problem.over(graph, Norm.L2))
    assert verified(steps, {}) == math.inf
    assert output_cover(steps, {1: torch.tensor([math.nan])}) is None
    assert guessed(Symbols(steps, 2**20), {1: torch.full((2,), 1e-9, dtype=torch.float64)}) == math.inf


def test_a_selection_that_is_no_window_is_written_out() -> None:
    s = Images(4)
    s.shape = (1, 2, 4)
    x = s.affine(Selection.of(s.shape, torch.tensor([[[0, 2, 1, 3], [4, 4, 5, 6]]])), 0)
    conv = Conv(s.normal(2, 2, 3), (1, 2, 4), (1,), (1,), ((1, 1),))
    graph = s.graph(s.bend(s.affine(conv, x)))
    problem = Problem.over(graph, Norm.L2)
    slope_laws.is_above_all_slopes(graph, fourier(problem), problem)


def test_pairs_are_tighter_than_those_of_the_product() -> None:
    s = Images(11, 6)
    x = s.function(s.affine(s.conv(0, 2, keeps=True), 0), activations.relu())
    for _ in range(3):
        x = s.function(s.affine(s.conv(x, 2, keeps=True), x), activations.relu())
    problem = Problem.over(simplify(s.graph(s.dense(x, 3))), Norm.L2)
    pairs, _ = FourierEllipsoid(seconds=20.0).pairwise(problem)
    product = pairwise_constants(problem, constants(problem))
    assert float(pairs.max()) < 0.9 * float(product.max())
