"""Certified constants over balls and certified radii, against what is met by sampling and by attacks.

Run `make bench-local`, or `python benchmarks/regions.py [constants] [exact] [peers] [radii]`. Networks that are not
there (the third-party ones live beside the checkout, in ../shared) are left out, and said so.
Seconds are of processor time.
"""

from __future__ import annotations

import argparse
import itertools
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from lipaudit.audit import Domain, Settings, certify, raising
from lipaudit.audit.subject import subject
from lipaudit.engines.splitting import Explored, Search
from lipaudit.graph.graph import Graph, Node
from lipaudit.linear.dense import Dense
from lipaudit.linear.selection import Selection
from lipaudit.numerics.norms import Norm
from lipaudit.ops import activations
from lipaudit.ops.affine import Affine
from lipaudit.ops.elementwise import Elementwise
from lipaudit.ranges.ball import Ball
from lipaudit.ranges.cells import Cells
from lipaudit.ranges.constants import Slopes
from lipaudit.ranges.near import near
from lipaudit.ranges.rows import Weights

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"

SMALL = ((2, 16, 16, 1), (3, 12, 12, 12, 2), (5, 20, 20, 1), (10, 10, 10, 10, 1))
"""Networks whose constants over balls are found exactly."""


def mlp(*widths: int) -> Graph:
    """torch's own initialisation, seed 0, with ReLUs between."""
    torch.manual_seed(0)
    nodes: list[Node] = []
    for n, m in itertools.pairwise(widths):
        layer = nn.Linear(n, m)
        op = Affine((Dense.plain(layer.weight.detach().double()),), layer.bias.detach().double())
        nodes.append(Node(f"fc{len(nodes)}", "Gemm", op, (len(nodes),)))
        nodes.append(Node(f"relu{len(nodes)}", "Relu", Elementwise(activations.relu(), (m,)), (len(nodes),)))
    return Graph((widths[0],), tuple(nodes[:-1]), len(nodes) - 1)


def jacobians(graph: Graph, x: torch.Tensor) -> torch.Tensor:
    """[B, K, n] by autograd."""
    leaf = x.clone().requires_grad_(True)
    y = graph.forward(leaf).flatten(1)
    rows = [torch.autograd.grad(y[:, k].sum(), leaf, retain_graph=True)[0].flatten(1) for k in range(y.shape[1])]
    return torch.stack(rows, 1)


def met(graph: Graph, ball: Ball, pull: torch.Tensor) -> torch.Tensor:
    """[B]: the largest Jacobian norm met: at random points of the sphere, and where hidden neurons are pushed over."""
    found = []
    for row in range(len(ball)):
        x, r = ball.centre[row], ball.radius[row]
        random = torch.randn(256, *x.shape, generator=torch.Generator().manual_seed(row), dtype=torch.float64)
        steps = torch.cat([random, pull[row], -pull[row]])
        steps = steps.sign() if ball.norm is Norm.LINF else steps
        size = ball.norm.of(steps).clamp_min(1e-300).reshape(-1, *[1] * x.dim())
        j = jacobians(graph, x + steps / size * (r * (1 - 1e-9)))
        norms = torch.linalg.svdvals(j)[:, 0] if ball.norm is Norm.L2 else j.abs().sum(2).amax(1)
        found.append(norms.max())
    return torch.stack(found)


def pulls(graph: Graph, centre: torch.Tensor, value: int) -> torch.Tensor:
    """[B, units, *input_shape]: the gradients of a hidden layer's units at the centres."""
    found = jacobians(Graph(graph.input_shape, graph.nodes[:value], value), centre)
    return found.reshape(*found.shape[:2], *graph.input_shape)


def over_balls(graph: Graph, centre: torch.Tensor, norm: Norm, radius: float, rows: torch.Tensor) -> torch.Tensor:
    """[B]: certified constants of the functionals `rows` [K, outputs] of the output."""
    ball = Ball(centre, torch.full((len(centre),), radius, dtype=torch.float64), norm)
    seeds = rows.reshape(1, len(rows), *graph.output_shape).expand(len(centre), *[-1] * (1 + len(graph.output_shape)))
    return Slopes.of(near(graph, ball, Weights()), seeds.contiguous()).norms(norm)


def constants() -> None:
    graph, count = mlp(784, 256, 256, 10), 16
    centre = torch.rand(count, 784, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    print("\nMLP 784-256-256-10, l2, inputs in [0, 1]: certified over met, median and worst of", count)
    for radius in (0.01, 0.1, 0.3, 1.0):
        started = time.process_time()
        bounds = over_balls(graph, centre, Norm.L2, radius, torch.eye(10, dtype=torch.float64))
        seconds = (time.process_time() - started) / count
        ball = Ball(centre, torch.full((count,), radius, dtype=torch.float64), Norm.L2)
        ratio = bounds / met(graph, ball, torch.cat([pulls(graph, centre, v) for v in (1, 3)], 1))
        print(f"| {radius} | {float(ratio.median()):.3f} | {float(ratio.max()):.3f} | {seconds:.3f} s a sample |")


def pick(graph: Graph, output: int) -> Node:
    """One output alone."""
    shape = graph.output_shape
    places = torch.arange(int(torch.Size(shape).numel())).reshape(-1)[output : output + 1]
    return Node("pick", "Gather", Affine((Selection.of(shape, places),)), (graph.output,))


def split(graph: Graph, ball: Ball, limit: int) -> tuple[Explored, int, float]:
    """(what branch and bound finds over one ball, open neurons, seconds of processor time, ranges included)."""
    started = time.process_time()
    size = int(torch.Size(graph.output_shape).numel())
    seeds = torch.eye(size, dtype=torch.float64).reshape(1, size, *graph.output_shape)
    (cells,) = Cells.of(near(graph, ball, Weights()), seeds)
    found = Search(cells, ball.norm, limit, time.monotonic() + 3600.0).run()
    return found, cells.left.shape[1], time.process_time() - started


def exact() -> None:
    """Small networks: the constant itself, over balls around 0."""
    print("\n| network | norm | radius | open | upper | met | cells | seconds |")
    graphs = [("-".join(map(str, w)), mlp(*w), 0.0) for w in SMALL]
    for place in range(4):
        path = SHARED / "models_peers" / f"lipmip_iris_{place}.onnx"
        if path.exists():
            graphs.append((path.stem, subject(path, Settings()).simplified, 0.5))
    for name, graph, middle in graphs:
        centre = torch.full((1, *graph.input_shape), middle, dtype=torch.float64)
        for norm, radius in itertools.product(Norm, (0.5,) if middle else (0.3, 1.0)):
            ball = Ball(centre, torch.tensor([radius], dtype=torch.float64), norm)
            found, neurons, seconds = split(graph, ball, 60000)
            print(
                f"| {name} | {norm.value} | {radius} | {neurons} | {found.value:.6f} | {found.met:.6f} |"
                f" {found.nodes} | {seconds:.1f} |",
                flush=True,
            )


def peers_split() -> None:
    """Branch and bound on output 1 of lirpa_mnist_fc_3layer."""
    path = SHARED / "models_peers" / "lirpa_mnist_fc_3layer.onnx"
    if not path.exists():
        return
    graph = subject(path, Settings()).simplified
    centre = torch.rand(8, *graph.input_shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    part = Graph(graph.input_shape, (*graph.nodes, pick(graph, 1)), len(graph.nodes) + 1)
    row = torch.ones(1, 1, dtype=torch.float64)
    tried = torch.cat([pulls(graph, centre, v) for v in (1, 3)], 1)
    print("\nlirpa_mnist_fc_3layer, output 1, branch and bound: | radius | open | bound, before | over met | seconds |")
    for name, radius, limit in (("1/255", 1 / 255, 2000), ("4/255", 4 / 255, 2000), ("0.1", 0.1, 200)):
        for place in range(8):
            ball = Ball(centre[place : place + 1], torch.tensor([radius], dtype=torch.float64), Norm.LINF)
            before = float(over_balls(part, ball.centre, Norm.LINF, radius, row)[0])
            found, neurons, seconds = split(part, ball, limit)
            value, largest = (
                min(before, found.value),
                max(found.met, float(met(part, ball, tried[place : place + 1])[0])),
            )
            print(
                f"| {name} | {neurons} | {value:.2f}, {before:.2f} | {value / largest:.3f}, {before / largest:.3f} |"
                f" {seconds:.2f} |",
                flush=True,
            )


def peers() -> None:
    path = SHARED / "models_peers" / "lirpa_mnist_fc_3layer.onnx"
    if not path.exists():
        print("\nlirpa_mnist_fc_3layer is not there")
        return
    graph = subject(path, Settings()).simplified
    centre = torch.rand(8, *graph.input_shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    print("\nlirpa_mnist_fc_3layer, linf, one output at a time 8 points: | radius | median | of output 1 | over met |")
    for name, radius in (("1/255", 1 / 255), ("4/255", 4 / 255), ("0.1", 0.1)):
        started = time.process_time()
        found = [over_balls(graph, centre, Norm.LINF, radius, row[None]) for row in torch.eye(10, dtype=torch.float64)]
        table = torch.stack(found)
        seconds = (time.process_time() - started) / table.numel()
        ball = Ball(centre, torch.full((8,), radius, dtype=torch.float64), Norm.LINF)
        tried = torch.cat([pulls(graph, centre, v) for v in (1, 3)], 1)
        parts = [Graph(graph.input_shape, (*graph.nodes, pick(graph, k)), len(graph.nodes) + 1) for k in range(10)]
        ratio = table / torch.stack([met(part, ball, tried) for part in parts])
        shown = f"{float(table.median()):.1f} | {float(table[1].median()):.1f} | {float(ratio.median()):.3f}"
        print(f"| {name} | {shown} | worst {float(ratio.max()):.3f} | {seconds:.3f} s each |")


RADII = (
    ("digits_mlp", "sample_models/digits_mlp", "0,16", 60),
    ("digits_gelu", "sample_models/digits_gelu", "0,16", 30),
    ("digits_cnn", "sample_models/digits_cnn", "0,16", 8),
    ("digits_resnet", "sample_models/digits_resnet", "0,16", 4),
    ("mnistfc_256x2", "mnistfc_256x2", "0,1", 16),
    ("eran_sigmoid_6x200", "eran_sigmoid_6x200", "0,1", 4),
    ("oval21_cifar_base_kw", "oval21_cifar_base_kw", "", 4),
    ("cifar10_resnet_2b", "cifar10_resnet_2b", "", 2),
)


def radii(only: list[str], budget: float, most: int) -> None:
    print("\n| network | samples | global | local | local / global | attacked | certified / attacked | seconds |")
    for name, where, domain, limit in RADII:
        if only and name not in only:
            continue
        model, x, y = data(where)
        if not model.exists():
            print(f"| {name} | not there |")
            continue
        ends = [float(end) for end in domain.split(",")] if domain else []
        box = Domain(ends[0], ends[1], domain) if ends else None
        settings = Settings(domain=box, budget=budget)
        if y is None:  # without labels, the network's own answers
            target = subject(model, settings)
            shaped = torch.as_tensor(np.ascontiguousarray(x), dtype=torch.float64).reshape(
                len(x), *target.graph.input_shape
            )
            y = target.graph.forward(shaped).flatten(1).argmax(1).numpy()
        started = time.process_time()
        report = certify(model, x, y, settings, local=True, limit=min(limit, most), attack=10.0)
        found = report.radii
        assert found is not None
        assert found.whole is not None
        right = found.correct & (found.values > 0)
        whole, own = np.median(found.whole[right]), np.median(found.values[right])
        attack, share = "-", "-"
        if found.attack is not None:
            hit = right & np.isfinite(found.attack.values)
            attack, share = (
                f"{np.median(found.attack.values[hit]):.4g}",
                f"{np.median(found.values[hit] / found.attack.values[hit]):.2f}",
            )
        seconds = time.process_time() - started
        late = [text for text in report.assumptions if "by the budget" in text or "within the budget" in text]
        print(
            f"| {name} | {int(right.sum())} | {whole:.4g} | {own:.4g} | {own / whole:.3g} | {attack} | {share} |"
            f" {seconds:.0f} | {'; '.join(late)}",
            flush=True,
        )


def data(where: str) -> tuple[Path, np.ndarray, np.ndarray | None]:
    if where.startswith("sample_models/"):
        with np.load(ROOT / f"{where}.npz") as file:
            return ROOT / f"{where}.onnx", file["x"], file["y"]
    path = SHARED / "models" / f"{where}.onnx"
    inputs = SHARED / "models" / f"{where}.inputs.npy"
    return path, np.load(inputs) if inputs.exists() else np.empty(0), None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=[])
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--budget", type=float, default=180.0)
    parser.add_argument("--limit", type=int, default=60, help="samples of one network at most")
    parser.add_argument("--share", type=float, default=raising.SHARE, help="of the budget, for branch and bound")
    given = parser.parse_args()
    torch.set_num_threads(1)
    parts = given.parts or ["constants", "exact", "peers", "radii"]
    if "constants" in parts:
        constants()
    if "exact" in parts:
        exact()
    if "peers" in parts:
        peers()
        peers_split()
    if "radii" in parts:
        raising.SHARE = given.share
        radii(given.only, given.budget, given.limit)


if __name__ == "__main__":
    main()
