"""Global l2 bounds of dense networks beside the product, the peers' methods and what is attained, in one table.

Run `make bench-global`, or `python benchmarks/global_bounds.py [--peers 60] [NAME ...]`. One thread; seconds are of
processor time, all figures of a row are of one run. The networks: those that ECLipsE's own generator draws (numpy seed
7 width + 13 layers), a residual one, trained sample models of this repository, and, where ../shared is there, the
peers' own weights and third-party networks. Columns:

    product    of layer gains, certified          Fast       ECLipsE-Fast's multipliers, verified by our recursion
    lipaudit   the ellipsoid recursion, certified floor      what LipSDP-Neuron cannot go below (dual, float64)
    attained   from below, with a witness         eclipse-nn ECLipsE as on PyPI, its own claim
    Clarabel   LipSDP-Neuron by cvxpy, its own claim; x: a peer's seconds over ours

`--peers S`: at most S processor seconds for each answer of a peer (0: none). Needs `pip install -e '.[bench]'`; where
a peer is not installed or its network is none that it can read, the column says "-".
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from lipaudit.audit.settings import Settings
from lipaudit.audit.subject import subject
from lipaudit.engines.ellipsoid import Ellipsoid, _proven
from lipaudit.engines.ellipsoid_balance import balanced
from lipaudit.engines.ellipsoid_build import program
from lipaudit.engines.ellipsoid_closed import multipliers_of
from lipaudit.engines.engine import Declined, run
from lipaudit.engines.layer_product import LayerProduct
from lipaudit.graph.graph import Graph, Node
from lipaudit.graph.problem import Problem
from lipaudit.linear.dense import Dense
from lipaudit.linear.selection import Selection
from lipaudit.numerics.norms import Norm
from lipaudit.ops import activations
from lipaudit.ops.affine import Affine
from lipaudit.ops.elementwise import Elementwise
from lipaudit.probes.ascent import ascend

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
RANDOM = ((2, 80), (5, 20), (5, 40), (10, 20), (5, 80), (10, 80), (20, 60), (50, 100), (100, 100))
MORE = ("mnistfc_256x2", "eran_sigmoid_6x200")


class Network(NamedTuple):
    name: str
    graph: Graph
    weights: list[np.ndarray] | None  # of a chain of ReLU layers, which the peers can read


def drawn(layers: int, width: int) -> list[np.ndarray]:
    """The weights of ECLipsE's generator: each norm is drawn before its matrix."""
    np.random.seed(7 * width + 13 * layers)  # the published recipe
    sizes = [4, *[width] * (layers - 1), 1]
    weights = []
    for n, m in itertools.pairwise(sizes):
        norm = np.random.uniform(0.4, 1.8)
        matrix = np.random.randn(m, n)
        weights.append(matrix * (norm / np.linalg.norm(matrix, 2)))
    return weights


def chain(weights: list[np.ndarray]) -> Graph:
    nodes: list[Node] = []
    for i, weight in enumerate(weights):
        nodes.append(Node(f"gemm{i}", "Gemm", Affine((Dense.plain(torch.tensor(weight)),)), (len(nodes),)))
        if i + 1 < len(weights):
            relu = Elementwise(activations.relu(), (len(weight),))
            nodes.append(Node(f"relu{i}", "Relu", relu, (len(nodes),)))
    return Graph((weights[0].shape[1],), tuple(nodes), len(nodes))


def residual(blocks: int, width: int) -> Graph:
    """784 inputs, blocks z -> relu(z + U relu(V z)), 10 outputs: the shape of GLipSDP's FC-R18, weights of one seed."""
    generator = torch.Generator().manual_seed(0)

    def weight(m: int, n: int, size: float = 1.0) -> Dense:
        return Dense.plain(torch.randn(m, n, generator=generator, dtype=torch.float64) * size * n**-0.5)

    nodes: list[Node] = []

    def add(op: Affine | Elementwise, *inputs: int) -> int:
        nodes.append(Node(f"n{len(nodes)}", type(op).__name__, op, inputs))
        return len(nodes)

    relu = Elementwise(activations.relu(), (width,))
    z = add(relu, add(Affine((weight(width, 784),)), 0))
    for _ in range(blocks):
        inner = add(relu, add(Affine((weight(width, width),)), z))
        around = Selection.reshape((width,), (width,))
        z = add(relu, add(Affine((around, weight(width, width, 0.5))), z, inner))
    add(Affine((weight(10, width),)), z)
    return Graph((784,), tuple(nodes), len(nodes))


def weights_of(graph: Graph) -> list[np.ndarray] | None:
    """The matrices of a plain chain of linear layers and ReLU; None for anything else."""
    found = []
    for place, node in enumerate(graph.nodes):
        if node.inputs != (place,):
            return None
        if isinstance(node.op, Affine):
            found.append(node.op.maps[0].as_matrix().numpy())
        elif node.kind != "Relu":
            return None
    return found if 2 * len(found) - 1 == len(graph.nodes) else None


def networks(names: list[str]) -> list[Network]:
    """All that are here and whose name contains one of `names` (all for none)."""

    def wanted(name: str) -> bool:
        return not names or any(part in name for part in names)

    found = [
        Network(f"random {layers} x {width}", chain(w), w)
        for layers, width in RANDOM
        if wanted(f"random {layers} x {width}") and (w := drawn(layers, width))
    ]
    if wanted("residual 8 x 64"):
        found.append(Network("residual 8 x 64", residual(8, 64), None))
    files = sorted((SHARED / "models_peers").glob("*.onnx"))
    files += [path for name in MORE if (path := SHARED / "models" / f"{name}.onnx").is_file()]
    files += [ROOT / "sample_models" / f"{name}.onnx" for name in ("digits_mlp", "digits_cnn")]
    for path in files:
        if wanted(path.stem):
            graph = subject(path, Settings()).simplified
            found.append(Network(path.stem, graph, weights_of(graph)))
    return found


def peer(method: str, weights: list[np.ndarray] | None, seconds: float) -> tuple[float | None, float | None]:
    """(its value, its processor seconds); (None, the limit) where that is not enough, None twice where it cannot."""
    if weights is None or seconds <= 0 or (method == "clarabel" and sum(len(w) for w in weights) > 260):
        return None, None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.npz"
        np.savez(path, **{f"w{i}": w for i, w in enumerate(weights)})  # type: ignore[arg-type]
        command = [sys.executable, str(Path(__file__).with_name("peers.py")), method, str(path), str(int(seconds))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == -signal.SIGXCPU:
        return None, seconds
    lines = done.stdout.strip().splitlines()
    answer = json.loads(lines[-1]) if lines else {}
    return answer.get("value"), answer.get("cpu")


def row(network: Network, patience: float) -> str:
    """One line of the table."""
    problem = Problem.over(network.graph, Norm.L2)
    product = LayerProduct().bound(problem).value
    started = time.process_time()
    outcome = run(Ellipsoid(seconds=600.0), problem)  # on a busy machine: steps are counted anyway
    cpu = time.process_time() - started
    if outcome.bound is None:
        return f"| {network.name} | | {product:.5g} | | {outcome.reason} | | | | | | | |"
    ours = outcome.bound
    try:
        steps = balanced(program(problem))
        scalar = _proven(steps, [multipliers_of(steps, eclipse_fast)]).value
    except (Declined, ValueError):
        scalar = math.inf
    witness = ascend(network.graph, Norm.L2, None, seconds=2.0, seed=0)
    low = 0.0 if witness is None else witness.bound.value
    neurons = sum(int(np.prod(n.op.out_shape)) for n in network.graph.nodes if not isinstance(n.op, Affine))
    greedy, spent = peer("ECLipsE", network.weights, patience)
    solver, took = peer("clarabel", network.weights, patience)
    floor = "-" if ours.floor is None else f"{ours.floor:.6g}"
    cells = [
        network.name,
        str(neurons),
        f"{product:.5g}",
        f"{scalar:.5g}",
        f"**{ours.value:.6g}**",
        floor,
        f"{ours.value / product:.3g}",
        f"{ours.value / scalar:.3g}",
        f"{low:.5g}",
        f"{ours.value / low:.4g}" if low > 0.0 else "-",
        f"{cpu:.2f}",
        _answer(greedy, spent, cpu),
        _answer(solver, took, cpu),
    ]
    return "| " + " | ".join(cells) + " |"


def eclipse_fast(_: int, y: torch.Tensor) -> torch.Tensor:
    """Theta = 2 lambda_max(Y_vv) I, to the last digit."""
    top = float(torch.linalg.eigvalsh(y)[-1]) if len(y) else 0.0
    return torch.full((len(y),), 2.0 * max(top, 2.0**-200), dtype=torch.float64)


def _answer(value: float | None, seconds: float | None, ours: float) -> str:
    if seconds is None:
        return "-"
    times = f"x{seconds / max(ours, 1e-3):.0f}"
    return f"none in {seconds:.0f} s (>{times})" if value is None else f"{value:.6g} ({seconds:.2g} s, {times})"


def versions() -> str:
    """What was measured with."""
    found = [f"{platform.machine()}, {os.cpu_count()} cores, one thread; Python {platform.python_version()}"]
    for name in ("torch", "numpy", "cvxpy", "clarabel", "scs", "eclipse-nn"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    return ", ".join(found)


def main() -> None:
    parser = argparse.ArgumentParser(description="Global l2 bounds, certified, beside the peers.")
    parser.add_argument("--peers", type=float, default=60.0, help="seconds for each answer of a peer (0: none)")
    parser.add_argument("names", nargs="*", help="only networks whose name contains one of these")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(versions() + "\n")
    titles = (
        "network, neurons, product, Fast, lipaudit, floor, of product, of Fast, attained, bracket, CPU s, eclipse-nn"
    )
    print("| " + " | ".join([*titles.split(", "), "Clarabel"]) + " |")
    print("|---" * 13 + "|", flush=True)
    for network in networks(options.names):
        print(row(network, options.peers), flush=True)


if __name__ == "__main__":
    main()
