"""Ellipsoid bounds against every pattern of slopes: `python -m tests.engines.exhaustive --count 5000 --seed 0`.

||J|| is convex in each slope, so that its largest value over all that the ranges allow is met at a corner: all corners
of small networks are tried. That is what LipSDP-Neuron relaxes; no bound may lie below it, and with one hidden layer
it should lie near.
"""

from __future__ import annotations

import argparse
import math
import sys
import time

import torch

from lipaudit.engines.ellipsoid import Ellipsoid
from lipaudit.graph.graph import Graph
from lipaudit.graph.problem import Problem
from lipaudit.numerics.norms import Norm
from lipaudit.ops.affine import Affine
from lipaudit.ops.elementwise import Elementwise
from tests.engines.test_ellipsoid import Net, dense, identity, problem_of

NEURONS = 9


def small(seed: int) -> Graph:
    """A chain, a residual network, or one with a skip from the input; at most NEURONS neurons, of any activation."""
    net = Net(seed, 1 + seed % 4)
    kind = seed % 3
    value, left = 0, NEURONS
    if kind == 1:
        value = net.linear(net.random.randint(1, 3), 0)
    width = net.sizes[value]
    for _ in range(net.random.randint(1, 3)):
        hidden = net.random.randint(1, max(1, left // 2))
        left -= hidden
        bent = net.scalar(net.linear(hidden, value), 0 if seed % 2 else None)
        around = Affine((identity(width), dense(net.weight(width, hidden)))) if kind == 1 else None
        value = bent if around is None else net.add(around, value, bent)
        if left < 1:
            break
    if kind == 2:
        net.linear(net.random.randint(1, 3), value, 0)
    else:
        net.linear(net.random.randint(1, 3), value)
    return net.graph()


def largest(graph: Graph, problem: Problem) -> float:
    """The largest ||J|| over all corners of the slopes' ranges."""
    return float(torch.linalg.matrix_norm(corners(graph, problem), 2).max())


def corners(graph: Graph, problem: Problem) -> torch.Tensor:
    """J at all corners of the slopes' ranges: [corners, outputs, inputs]."""
    jacobians: list[torch.Tensor] = [torch.eye(math.prod(graph.input_shape), dtype=torch.float64)[None]]
    ranges = []
    for node in graph.nodes:
        if isinstance(node.op, Elementwise):
            slopes = node.op.slopes(problem.arguments(node)[0])
            ranges.append((slopes.lower.flatten(), slopes.upper.flatten()))
    total = sum(len(low) for low, _ in ranges)
    bits = (torch.arange(2**total)[:, None] >> torch.arange(total)) & 1
    start, turn = 0, 0
    for node in graph.nodes:
        args = [jacobians[i] for i in node.inputs]
        if isinstance(node.op, Affine):
            parts = [p.as_matrix() @ a for p, a in zip(node.op.maps, args, strict=True)]
            j = parts[0]
            for part in parts[1:]:
                j = j + part
        else:
            low, high = ranges[turn]
            corner = torch.where(bits[:, start : start + len(low)] > 0, high, low)
            start, turn = start + len(low), turn + 1
            j = corner[:, :, None] * args[0]
        jacobians.append(j)
    return jacobians[-1]


def ratio(seed: int) -> tuple[float, bool]:
    """(truth / bound, whether there is one hidden layer and no path around it) for one network."""
    graph = small(seed)
    problem = problem_of(graph, seed) if seed % 4 == 0 else Problem.over(graph, Norm.L2)
    truth, bound = largest(graph, problem), Ellipsoid().bound(problem)
    if bound.floor is not None:  # and what is called the optimum is no more than what was proven
        assert bound.floor <= bound.value * (1 + 1e-9), f"seed {seed}: floor {bound.floor!r} above {bound.value!r}"
    assert truth <= bound.value * (1 + 1e-12), f"seed {seed}: {truth!r} is allowed, {bound.value!r} is the bound"
    flat = sum(isinstance(node.op, Elementwise) for node in graph.nodes) == 1 and seed % 3 == 0
    return (truth / bound.value if bound.value > 0.0 else 1.0), flat


def main() -> None:
    parser = argparse.ArgumentParser(description="Ellipsoid bounds against every pattern of slopes.")
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    started = time.process_time()
    found = [ratio(seed) for seed in range(options.seed, options.seed + options.count)]
    every = torch.tensor([r for r, _ in found])
    flat = torch.tensor([r for r, one in found if one])
    said = [
        f"{options.count} networks, {time.process_time() - started:.0f} s: no bound below what its slopes allow",
        f"largest allowed norm over bound: median {every.median():.4f}, least {every.min():.4f}",
        f"one hidden layer ({len(flat)}): median {flat.median():.4f}, least {flat.min():.4f}",
    ]
    sys.stdout.write("\n".join(said) + "\n")


if __name__ == "__main__":
    main()
