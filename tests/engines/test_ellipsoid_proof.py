"""The certificate of an ellipsoid: exact rational checks, garbage multipliers, and planted bugs that must be seen."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import flint
import pytest
import torch

from lipaudit.engines import ellipsoid_rounding, ellipsoid_verify
from lipaudit.engines.ellipsoid import Ellipsoid, _proven
from lipaudit.engines.ellipsoid_build import program
from lipaudit.engines.ellipsoid_closed import Guess, best_closed, fast, indices, recursion
from lipaudit.engines.ellipsoid_inequality import inequality
from lipaudit.engines.ellipsoid_interior import solve
from lipaudit.engines.ellipsoid_program import Gain, Linear, Program, Slope
from lipaudit.engines.ellipsoid_verify import verified
from lipaudit.graph.graph import Graph, Node
from lipaudit.graph.problem import Problem
from lipaudit.numerics.norms import Norm
from lipaudit.ops import activations
from lipaudit.ops.affine import Affine
from lipaudit.ops.elementwise import Elementwise
from tests.engines.test_ellipsoid import Net, branches, chain, dense, known_by_gain, residual, sorting, worst_allowed

Exact = list[list[Fraction]]


def rational(matrix: torch.Tensor) -> flint.fmpq_mat:
    rows = [[flint.fmpq(*Fraction(v).as_integer_ratio()) for v in row] for row in matrix.tolist()]
    return flint.fmpq_mat(matrix.shape[0], matrix.shape[1], [v for row in rows for v in row])


def taken(m: flint.fmpq_mat, rows: list[int], columns: list[int]) -> flint.fmpq_mat:
    return flint.fmpq_mat(len(rows), len(columns), [m[i, j] for i in rows for j in columns])


def positive(m: flint.fmpq_mat) -> bool:
    """Whether a symmetric rational matrix is positive definite: all pivots of Gaussian elimination are."""
    n = m.nrows()
    a = [[m[i, j] for j in range(n)] for i in range(n)]
    for k in range(n):
        if not a[k][k] > 0:
            return False
        for i in range(k + 1, n):
            f = a[i][k] / a[k][k]
            for j in range(k, n):
                a[i][j] -= f * a[k][j]
    return True


def exact_output(steps: Program, guess: Guess) -> flint.fmpq_mat | None:
    """Y of the output in rational arithmetic, by the textbook form Abar (Y + Y V'(Theta - V Y V')^-1 V Y) Abar' +
    Ubar Theta Ubar'; None where some Theta - V Y V' is not positive definite."""
    sizes = steps.sizes
    order: tuple[int, ...] = (0,)
    y = rational(torch.eye(sizes[0], dtype=torch.float64))
    for place, step in enumerate(steps.steps):
        where = {v: indices(order, (v,), sizes).tolist() for v in order}
        kept = [i for v in step.kept for i in where[v]]
        source = [i for v in step.sources for i in where[v]]
        alive, n = list(range(y.nrows())), len(source)
        keep = [[Fraction(int(i == j)) for j in alive] for i in kept]
        match step:
            case Linear():
                turn = [[Fraction(0)] * len(alive) for _ in range(step.matrix.shape[0])]
                for i, row in enumerate(step.matrix.tolist()):
                    for j, w in zip(source, row, strict=True):
                        turn[i][j] += Fraction(w)
                extra = None
            case Slope():
                bent = [i for i in range(n) if float(step.radius[i]) > 0]
                theta = guess[place].tolist()
                rows = [source[i] for i in bent]
                g = -taken(y, rows, rows)
                for i, j in enumerate(bent):
                    g[i, i] += rational(torch.tensor([[theta[j]]], dtype=torch.float64))[0, 0]
                if not positive(g):
                    return None
                if rows:
                    y = y + taken(y, alive, rows) * g.inv() * taken(y, rows, alive)
                turn = [[Fraction(float(step.centre[i])) * int(source[i] == j) for j in alive] for i in range(n)]
                squares = [Fraction(float(step.radius[i])) ** 2 for i in range(n)]
                extra = [squares[i] * Fraction(theta[i]) if i in bent else Fraction(0) for i in range(n)]
            case Gain():
                raise NotImplementedError
        full = [*keep, *turn]
        t = flint.fmpq_mat(len(full), len(alive), [flint.fmpq(*v.as_integer_ratio()) for row in full for v in row])
        y = t * y * t.transpose()
        if extra is not None:
            for i, e in enumerate(extra):
                y[len(kept) + i, len(kept) + i] += flint.fmpq(*e.as_integer_ratio())
        order = (*step.kept, *step.targets)
    at = indices(order, (steps.output,), sizes).tolist()
    return taken(y, at, at)


def encloses(steps: Program, guess: Guess, value: float) -> bool:
    """Whether value^2 I > Y exactly, the power of two of the program taken out."""
    y = exact_output(steps, guess)
    if y is None:
        return False
    square = (Fraction(value) / Fraction(2) ** steps.exponent) ** 2
    eye = rational(torch.eye(y.nrows(), dtype=torch.float64))
    return positive(flint.fmpq(*square.as_integer_ratio()) * eye - y)


def guesses(steps: Program) -> list[Guess]:
    closed = best_closed(steps)
    return [guess for _, guess in closed] + solve(inequality(steps), closed[0][1], closed[0][0], 1e-6).guesses


def problem_of(graph: Graph) -> Problem:
    return Problem.over(graph, Norm.L2)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("build", [chain, residual, branches, sorting], ids=lambda build: build.__name__)
def test_what_is_verified_holds_in_rational_arithmetic(build: Callable[[int], Graph], seed: int) -> None:
    steps = program(problem_of(build(seed)))
    if sum(steps.sizes) > 60:
        pytest.skip("too many entries for rationals")
    proven = 0
    for guess in guesses(steps)[::2]:
        value = verified(steps, guess)
        if value < math.inf:
            assert encloses(steps, guess, value)
            proven += 1
    assert proven


def test_rounded_weights_are_covered() -> None:
    """A stored weight stands for any within its roundings: the bound of the stored one holds for those."""
    seed = 4
    graph = chain(seed)
    loose = []
    for node in graph.nodes:
        op = node.op
        if isinstance(op, Affine):
            op = Affine((dense(op.linear.as_matrix(), 5),), op.offset)
        loose.append(Node(node.name, node.kind, op, node.inputs))
    steps = program(problem_of(Graph(graph.input_shape, tuple(loose), graph.output)))
    guess = best_closed(steps)[0][1]
    value = verified(steps, guess)
    off = 1.0 + 2.0**-51
    moved = tuple(replace(s, matrix=s.matrix * off) if isinstance(s, Linear) else s for s in steps.steps)
    assert encloses(replace(steps, steps=moved), guess, value)


@pytest.mark.parametrize("build", [chain, residual, branches, sorting], ids=lambda build: build.__name__)
@pytest.mark.parametrize("seed", range(6))
def test_garbage_proves_nothing_false(build: Callable[[int], Graph], seed: int) -> None:
    graph = build(seed)
    problem = problem_of(graph)
    steps = program(problem)
    truth = worst_allowed(graph, problem, seed)
    generator = torch.Generator().manual_seed(seed)
    good = best_closed(steps)[0][1]
    for kind in range(12):
        guess = {}
        for place, theta in good.items():
            noise = torch.randn(theta.shape, generator=generator, dtype=torch.float64)
            special = (1e-300, 1e300, 0.0, -1.0, math.nan, math.inf, 1e-8)
            if kind < len(special):
                some = torch.rand(theta.shape, generator=generator, dtype=torch.float64) < 0.5
                guess[place] = torch.where(some, torch.full_like(theta, special[kind]), theta)
            else:
                guess[place] = theta * torch.exp(noise * (kind - 6.0))
        assert verified(steps, guess) >= truth * (1 - 1e-12)
    assert verified(steps, {}) == math.inf or not good
    assert verified(steps, {k: v[:-1] for k, v in good.items()}) == math.inf or not good
    assert verified(steps, {k: v.float() for k, v in good.items()}) == math.inf or not good


def shifted() -> Graph:
    """relu(x) - relu(x - 1)"""
    one = torch.tensor([[1.0], [1.0]], dtype=torch.float64)
    first = Affine((dense(one),), torch.tensor([0.0, -1.0], dtype=torch.float64))
    last = Affine((dense(torch.tensor([[1.0, -1.0]], dtype=torch.float64)),))
    relu = Elementwise(activations.relu(), (2,))
    nodes = (Node("a", "Gemm", first, (0,)), Node("b", "Relu", relu, (1,)), Node("c", "Gemm", last, (2,)))
    return Graph((1,), nodes, 3)


def test_coupled_multipliers_are_refused() -> None:
    """LipSDP-Network certifies about 1e-5 here; the truth is 1. Theta is a vector, and a matrix proves nothing."""
    problem = problem_of(shifted())
    assert Ellipsoid().bound(problem).value >= 1.0
    steps = program(problem)
    theta = best_closed(steps)[0][1][1]
    coupled = torch.diag(theta) - 0.4 * theta.max() * torch.ones(2, 2, dtype=torch.float64)
    assert verified(steps, {1: coupled}) == math.inf
    assert verified(steps, {1: -theta}) == math.inf


def mutated(steps: Program, change: Callable[[object], object]) -> Program:
    return replace(steps, steps=tuple(change(step) for step in steps.steps))  # type: ignore[misc]


def found_below(build: Callable[[int], Graph], change: Callable[[object], object], seeds: range) -> int:
    """On how many networks the laws see that the changed program is unsound."""
    caught = 0
    for seed in seeds:
        graph = build(seed)
        problem = problem_of(graph)
        steps = mutated(program(problem), change)
        caught += Ellipsoid().search(steps, math.inf).value < worst_allowed(graph, problem, seed) * (1 - 1e-9)
    return caught


def test_a_dropped_branch_is_seen() -> None:
    def drop(step: object) -> object:
        if not isinstance(step, Linear) or len(step.sources) < 2:
            return step
        keep = torch.ones_like(step.matrix)
        keep[:, : step.matrix.shape[0]] = 0.0
        return replace(step, matrix=step.matrix * keep, majorant=step.majorant * keep)

    assert found_below(residual, drop, range(6)) >= 3


def test_a_wrong_slope_range_is_seen() -> None:
    def to_one(step: object) -> object:
        if not isinstance(step, Slope):
            return step
        half = torch.full_like(step.centre, 0.5 * 2.0 ** -(float(step.centre.max()) > 0.6))
        return replace(step, centre=half * 0.5, radius=half * 0.5)

    def gelus(seed: int) -> Graph:
        net = Net(seed, 2)
        net.linear(2, net.scalar(net.linear(3, 0), 3))
        return net.graph()

    assert found_below(gelus, to_one, range(6)) == 6


def flat(seed: int, scalar: int = 8) -> Graph:
    """One hidden layer, of |x| (whose ellipsoid has no inverse in it) or another activation."""
    net = Net(seed, 5)
    net.linear(5, net.scalar(net.linear(5, 0), scalar))
    return net.graph()


def exactly_below(seeds: range, bound: Callable[[Program, Guess], float]) -> int:
    caught = 0
    for seed in seeds:
        steps = program(problem_of(flat(seed)))
        for _, guess in best_closed(steps):
            value = bound(steps, guess)
            caught += value < math.inf and not encloses(steps, guess, value)
    return caught


def test_an_iterate_that_is_not_verified_is_seen() -> None:
    def unverified(steps: Program, guess: Guess) -> float:
        y = recursion(steps, lambda place, _: guess[place])
        return math.sqrt(float(torch.linalg.eigvalsh(y)[-1])) * 2.0**steps.exponent

    assert exactly_below(range(10), unverified) > 5
    assert exactly_below(range(10), verified) == 0


def test_inflation_left_out_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """With Theta barely above Y_vv, G is nearly singular and rounding is all there is of it."""

    def tight(steps: Program, slack: float) -> Guess:
        chosen: Guess = {}

        def choose(place: int, y: torch.Tensor) -> torch.Tensor:
            chosen[place] = fast(slack)(place, y)
            return chosen[place]

        recursion(steps, choose)
        return chosen

    graphs = (chain(2), flat(0, 0), flat(4, 0))
    cases = [(program(problem_of(graph)), slack) for graph in graphs for slack in (1e-7, 1e-9, 1e-10, 1e-12)]
    proven = [(p, g, verified(p, g)) for p, slack in cases for g in [tight(p, slack)]]
    assert all(encloses(p, g, v) for p, g, v in proven if v < math.inf)

    def bare(matrix: torch.Tensor, g: float, e: torch.Tensor) -> torch.Tensor:
        return (matrix + matrix.mT) / 2

    monkeypatch.setattr(ellipsoid_rounding, "inflated", bare)
    monkeypatch.setattr(ellipsoid_verify, "inflated", bare)
    inverse = ellipsoid_rounding._inverse_root
    monkeypatch.setattr(ellipsoid_rounding, "_inverse_root", lambda y, theta: (inverse(y, theta)[0], 1.0))
    unproven = [(p, g, verified(p, g)) for p, g, _ in proven]
    assert sum(v < math.inf and not encloses(p, g, v) for p, g, v in unproven) > 3


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("build", [chain, residual, sorting, known_by_gain], ids=lambda build: build.__name__)
@pytest.mark.parametrize("power", [300, -300, 40])
def test_powers_of_two_go_through(build: Callable[[int], Graph], seed: int, power: int) -> None:
    """The last layer times 2^k gives 2^k times the bound, bit by bit; nothing under- or overflows."""
    graph = build(seed)
    last = graph.nodes[-1].op
    assert isinstance(last, Affine)
    scaled = Affine(tuple(dense(p.as_matrix() * 2.0**power) for p in last.maps))
    nodes = (*graph.nodes[:-1], Node("last", "Gemm", scaled, graph.nodes[-1].inputs))
    quick = Ellipsoid(tolerance=1e-2)
    before = quick.search(program(problem_of(graph)), math.inf).value
    after = quick.search(program(problem_of(Graph(graph.input_shape, nodes, graph.output))), math.inf).value
    assert after == before * 2.0**power


def test_permuted_neurons_change_only_rounding() -> None:
    for seed in range(6):
        net = Net(seed, 3)
        net.linear(2, net.scalar(net.linear(7, net.scalar(net.linear(6, 0), 0)), 0))
        graph = net.graph()
        order = torch.randperm(6, generator=net.generator)
        first, second = (graph.nodes[i].op for i in (0, 2))
        assert isinstance(first, Affine)
        assert isinstance(second, Affine)
        moved = (first.linear.as_matrix()[order], second.linear.as_matrix()[:, order])
        ops = {0: Affine((dense(moved[0]),)), 2: Affine((dense(moved[1]),))}
        nodes = tuple(Node(n.name, n.kind, ops.get(i, n.op), n.inputs) for i, n in enumerate(graph.nodes))
        both = (graph, Graph(graph.input_shape, nodes, graph.output))
        values = [Ellipsoid().bound(problem_of(g)).value for g in both]
        assert values[0] == pytest.approx(values[1], rel=1e-4)


def test_a_raised_guess_is_tried_where_one_just_fails() -> None:
    steps = program(problem_of(chain(3)))
    good = best_closed(steps)[0][1]
    exact = {k: v / (1.0 + 2e-7) for k, v in good.items()}
    assert _proven(steps, [exact]).value < math.inf
