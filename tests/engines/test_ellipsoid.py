"""Laws of the ellipsoid engine on random small networks: never below any Jacobian that the slopes allow."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest
import torch

from lipaudit.engines.ellipsoid import Ellipsoid
from lipaudit.graph.graph import Graph, Node
from lipaudit.graph.problem import Problem
from lipaudit.linear.dense import Dense
from lipaudit.linear.map import LinearMap
from lipaudit.linear.selection import NOTHING, Selection
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.ops import activations
from lipaudit.ops.affine import Affine
from lipaudit.ops.elementwise import Elementwise
from lipaudit.ops.maxlike import PointwiseMax, SortPair, WindowMax
from lipaudit.ops.op import Op
from lipaudit.ops.scalar import Scalar
from lipaudit.ops.smooth import Softmax

QUICK = Ellipsoid(seconds=2.0, tolerance=1e-3)

SCALARS: tuple[Callable[[], Scalar], ...] = (
    activations.relu,
    activations.tanh,
    activations.sigmoid,
    activations.gelu,
    lambda: activations.swish(1.0),
    lambda: activations.leaky_relu(0.1),
    lambda: activations.leaky_relu(-0.5),
    lambda: activations.leaky_relu(3.0),
    activations.absolute,
)


class Net:
    """A graph under construction, with random float64 weights from one seed."""

    def __init__(self, seed: int, inputs: int) -> None:
        self.random = random.Random(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.inputs, self.nodes, self.sizes = inputs, list[Node](), [inputs]

    def add(self, op: Op, *inputs: int) -> int:
        self.nodes.append(Node(f"n{len(self.nodes)}", type(op).__name__, op, inputs))
        self.sizes.append(math.prod(op.out_shape))
        return len(self.nodes)

    def weight(self, rows: int, columns: int) -> torch.Tensor:
        w = torch.randn(rows, columns, generator=self.generator, dtype=torch.float64)
        return w.abs() if self.random.random() < 0.15 else w

    def linear(self, out: int, *inputs: int) -> int:
        parts = tuple(dense(self.weight(out, self.sizes[i])) for i in inputs)
        return self.add(Affine(parts, torch.randn(out, generator=self.generator, dtype=torch.float64)), *inputs)

    def scalar(self, value: int, which: int | None = None) -> int:
        build = SCALARS[self.random.randrange(len(SCALARS)) if which is None else which]
        return self.add(Elementwise(build(), (self.sizes[value],)), value)

    def graph(self) -> Graph:
        return Graph((self.inputs,), tuple(self.nodes), len(self.nodes))


def dense(weight: torch.Tensor, roundings: int = 0) -> LinearMap:
    m, n = weight.shape
    return Dense(weight, (), 1, (n,), (m,), roundings)


def identity(size: int) -> LinearMap:
    return Selection.reshape((size,), (size,))


def chain(seed: int) -> Graph:
    net = Net(seed, 1 + seed % 5)
    value = 0
    for _ in range(net.random.randint(1, 4)):
        value = net.scalar(net.linear(net.random.randint(1, 12), value), 0 if seed % 2 else None)
    net.linear(net.random.randint(1, 4), value)
    return net.graph()


def residual(seed: int) -> Graph:
    net = Net(seed, 2 + seed % 4)
    size = net.random.randint(2, 7)
    value = net.linear(size, 0) if seed % 3 else 0
    size = net.sizes[value]
    for _ in range(net.random.randint(1, 3)):
        inner = net.scalar(net.linear(net.random.randint(1, 6), net.scalar(value) if seed % 2 else value))
        back = dense(net.weight(size, net.sizes[inner]))
        value = net.add(Affine((identity(size), back)), value, inner)
        if seed % 5 == 0:
            value = net.scalar(value)
    net.linear(net.random.randint(1, 3), value)
    return net.graph()


def branches(seed: int) -> Graph:
    """Shared inputs, a concatenation, and one value used three times."""
    net = Net(seed, 2 + seed % 3)
    a, b = net.scalar(net.linear(3, 0)), net.scalar(net.linear(4, 0))
    places = [torch.full((7,), NOTHING), torch.full((7,), NOTHING)]
    places[0][:3], places[1][3:] = torch.arange(3), torch.arange(4)
    both = net.add(Affine((Selection.of((3,), places[0]), Selection.of((4,), places[1]))), a, b)
    c = net.scalar(net.linear(3, both))
    net.linear(2, c, a, both, 0)
    return net.graph()


def sorting(seed: int) -> Graph:
    net = Net(seed, 3)
    value = 0
    for _ in range(net.random.randint(1, 3)):
        half = net.random.randint(1, 4)
        value = net.linear(2 * half, value)
        pair = net.add(Affine((Selection.reshape((2 * half,), (2, half)),)), value)
        kind = net.random.randrange(3)
        op = SortPair((half,)) if kind == 0 else PointwiseMax((half,), 2, 1.0 if kind == 1 else -1.0)
        value = net.add(op, pair)
        value = net.add(Affine((Selection.reshape(op.out_shape, (math.prod(op.out_shape),)),)), value)
    net.linear(2, value)
    return net.graph()


def known_by_gain(seed: int) -> Graph:
    """Ops that enter by their l2 gain: a pooling with overlap, a softmax, with and without a path around them."""
    net = Net(seed, 4)
    value = net.scalar(net.linear(6, 0))
    if seed % 2:
        windows = torch.tensor([[0, 1, 2], [2, 3, 4], [3, 4, 5]])
        mixed = net.add(WindowMax(windows, (6,), (3,)), value)
    else:
        mixed = net.add(Softmax((6,), 0), value)
    if seed % 3:
        net.linear(2, mixed, value)
    else:
        net.linear(2, mixed)
    return net.graph()


KINDS = (chain, residual, branches, sorting, known_by_gain)


def problem_of(graph: Graph, seed: int) -> Problem:
    """Everywhere, or over a random box for every third seed."""
    if seed % 3 != 2:
        return Problem.over(graph, Norm.L2)
    generator = torch.Generator().manual_seed(seed)
    centre = torch.randn(1, *graph.input_shape, generator=generator, dtype=torch.float64)
    return Problem.over(graph, Norm.L2, Box(centre - 0.3, centre + 0.3))


def jacobian_norms(graph: Graph, problem: Problem, seed: int, count: int = 60) -> float:
    """The largest ||J|| at random points of the region, by autograd."""
    generator = torch.Generator().manual_seed(seed + 1)
    shape = (count, *graph.input_shape)
    if math.isfinite(float(problem.region.lower.min())):
        low, high = problem.region.lower[:1], problem.region.upper[:1]
        x = low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)
    else:
        scale = 10.0 ** torch.linspace(-2, 1.5, count, dtype=torch.float64).reshape(-1, *[1] * len(graph.input_shape))
        x = scale * torch.randn(shape, generator=generator, dtype=torch.float64)
    worst = 0.0
    for point in x:
        j = torch.autograd.functional.jacobian(lambda v: graph.forward(v[None])[0], point)  # type: ignore[no-untyped-call]
        matrix = j.reshape(-1, point.numel())
        worst = max(worst, float(torch.linalg.matrix_norm(matrix, 2)))
    return worst


def allowed(graph: Graph, problem: Problem, pick: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> float:
    """||J|| for one choice of every slope within its range, whether or not a point has them all."""
    jacobians = [torch.eye(math.prod(graph.input_shape), dtype=torch.float64)]
    for node in graph.nodes:
        args = [jacobians[i] for i in node.inputs]
        match node.op:
            case Affine() as op:
                j = sum((p.as_matrix() @ a for p, a in zip(op.maps, args, strict=True)), torch.zeros(()))
            case Elementwise() as op:
                slopes = op.slopes(problem.arguments(node)[0])
                j = pick(slopes.lower.flatten(), slopes.upper.flatten())[:, None] * args[0]
            case SortPair() | PointwiseMax() as op:
                a, b = args[0].chunk(2)
                s = pick(-torch.ones(len(a), dtype=torch.float64), torch.ones(len(a), dtype=torch.float64))[:, None]
                both = [(a + b + s * (a - b)) / 2, (a + b - s * (a - b)) / 2]
                j = torch.cat(both) if isinstance(op, SortPair) else both[0]
            case _:
                pytest.skip("an op without slopes")
        jacobians.append(j)
    return float(torch.linalg.matrix_norm(jacobians[-1], 2))


def worst_allowed(graph: Graph, problem: Problem, seed: int) -> float:
    """The largest `allowed`, by flipping one corner after another from several starts."""
    generator = torch.Generator().manual_seed(seed)
    best = 0.0
    for _ in range(3):
        bits: list[torch.Tensor] = []

        def corner(low: torch.Tensor, high: torch.Tensor, bits: list[torch.Tensor], turn: list[int]) -> torch.Tensor:
            if turn[0] == len(bits):
                bits.append(torch.rand(low.shape, generator=generator, dtype=torch.float64) < 0.5)
            turn[0] += 1
            return torch.where(bits[turn[0] - 1], high, low)

        def value(bits: list[torch.Tensor] = bits) -> float:
            turn = [0]
            return allowed(graph, problem, lambda low, high: corner(low, high, bits, turn))

        now = value()
        for _ in range(2):
            for b in bits:
                for i in range(len(b)):
                    b[i] = ~b[i]
                    flipped = value()
                    if flipped > now:
                        now = flipped
                    else:
                        b[i] = ~b[i]
        best = max(best, now)
    return best


@pytest.mark.parametrize("seed", range(24))
@pytest.mark.parametrize("build", KINDS, ids=lambda build: build.__name__)
def test_it_is_above_every_jacobian(build: Callable[[int], Graph], seed: int) -> None:
    graph = build(seed)
    problem = problem_of(graph, seed)
    value = QUICK.bound(problem).value
    assert jacobian_norms(graph, problem, seed) <= value * (1 + 1e-12)
    if build is not known_by_gain:
        assert worst_allowed(graph, problem, seed) <= value * (1 + 1e-12)
