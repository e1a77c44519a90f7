"""How near the ellipsoid comes to the optimum of LipSDP-Neuron, on the networks of its peers."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest
import torch

from lipaudit.audit.settings import Settings
from lipaudit.audit.subject import subject
from lipaudit.engines.ellipsoid import Ellipsoid
from lipaudit.engines.engine import Declined, run
from lipaudit.graph.graph import Graph, Node
from lipaudit.graph.problem import Problem
from lipaudit.linear.dense import Dense
from lipaudit.numerics.norms import Norm
from lipaudit.ops import activations, functions
from lipaudit.ops.affine import Affine
from lipaudit.ops.elementwise import Elementwise

OPTIMA = {
    "lipsdp_random": (36.48222, 1.001),
    "lipsdp_mnist": (24.36634, 1.001),
    "lipmip_iris_0": (0.577849, 1.001),
    "lipmip_iris_1": (0.538956, 1.001),
    "lipmip_iris_2": (0.947615, 1.001),
    "lipmip_iris_3": (0.507122, 1.001),
    "eclipse_mnist_lyr3n100": (15.7330, 1.0001),
    "eclipse_rand_lyr5n20": (0.56887, 1.001),
}


@pytest.mark.parametrize("name", OPTIMA)
def test_it_reaches_the_optimum_of_lipsdp(shared: Path, name: str) -> None:
    optimum, factor = OPTIMA[name]
    path = shared / "models_peers" / f"{name}.onnx"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    problem = Problem.over(subject(path, Settings()).simplified, Norm.L2)
    value = Ellipsoid(seconds=10.0).bound(problem).value
    assert optimum * (1 - 1e-5) <= value <= optimum * factor


def network(*widths: int) -> Graph:
    """A chain of dense layers with ReLU in between, of one seed."""
    generator = torch.Generator().manual_seed(7)
    nodes: list[Node] = []
    for i, (n, m) in enumerate(itertools.pairwise(widths)):
        weight = torch.randn(m, n, generator=generator, dtype=torch.float64) * n**-0.5
        nodes.append(Node(f"gemm{i}", "Gemm", Affine((Dense(weight, (), 1, (n,), (m,)),)), (len(nodes),)))
        if i + 2 < len(widths):
            nodes.append(Node(f"relu{i}", "Relu", Elementwise(activations.relu(), (m,)), (len(nodes),)))
    return Graph((widths[0],), tuple(nodes), len(nodes))


def test_the_deadline_is_kept_and_more_time_is_never_worse() -> None:
    values = []
    for seconds in (0.2, 3.0):
        started = time.monotonic()
        values.append(Ellipsoid(seconds=seconds).bound(Problem.over(network(20, 300, 300, 300, 10), Norm.L2)).value)
        assert time.monotonic() - started < seconds + 20.0
    assert values[1] <= values[0]


def test_other_norms_and_large_networks_are_declined() -> None:
    small = network(3, 4, 2)
    with pytest.raises(Declined, match="l2"):
        Ellipsoid().bound(Problem.over(small, Norm.LINF))
    wide = network(2, *[100] * 161, 2)
    outcome = run(Ellipsoid(), Problem.over(wide, Norm.L2))
    assert outcome.bound is None
    assert outcome.reason is not None
    assert "neurons are more than the 16000" in outcome.reason


def test_an_unbounded_slope_is_declined_with_the_ops_own_reason() -> None:
    base = network(2, 3, 2)
    last = Node("sinh", "Sinh", Elementwise(functions.hyperbolic_sine(), (2,)), (base.output,))
    graph = Graph((2,), (*base.nodes, last), base.output + 1)
    with pytest.raises(Declined, match="unbounded"):
        Ellipsoid().bound(Problem.over(graph, Norm.L2))
