"""Global l2 bounds of convolutional and residual networks: the product of layer gains, one ellipsoid a frequency, and
the slope attained.

Run `python benchmarks/conv_bounds.py [--seconds 60] [NAME ...]` beside ../shared (its networks are not part of the
repository; sample_models and resnet20, of random weights, are). One thread. `ratio` is the bound over the product,
`cpu` the processor time of the bound alone, `MB` the most memory of the process so far. The public tools for bounds of
this kind (eclipse-nn, LipSDP) take dense chains only; auto_LiRPA's Jacobian bounds are of a box, and need one.
"""

from __future__ import annotations

import argparse
import math
import os
import resource
import time
from pathlib import Path

import torch

from lipaudit.audit.settings import Settings
from lipaudit.audit.subject import subject
from lipaudit.engines.engine import run
from lipaudit.engines.fourier import FourierEllipsoid
from lipaudit.engines.layer_product import LayerProduct
from lipaudit.graph.graph import Graph, Node
from lipaudit.graph.problem import Problem
from lipaudit.graph.simplify import simplify
from lipaudit.linear.conv import Conv
from lipaudit.linear.dense import Dense
from lipaudit.linear.fuse import compose
from lipaudit.linear.map import LinearMap
from lipaudit.linear.selection import Selection
from lipaudit.numerics.norms import Norm
from lipaudit.ops.activations import relu
from lipaudit.ops.affine import Affine
from lipaudit.ops.elementwise import Elementwise
from lipaudit.probes.ascent import ascend

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "models"
THEIRS = (
    "oval21_cifar_base_kw",
    "cifar10_resnet_2b",
    "fastml_conv2d_keras",
    "verivital_avgpool",
    "verivital_maxpool",
    "dnnv_dronet",
    "cgan32_1",
)


def resnet20(seed: int = 0, width: int = 16, blocks: int = 3) -> Graph:
    """ResNet-20 for CIFAR (He et al. 2016, arXiv:1512.03385, section 4.2) with projections (option B).

    Weights are drawn as He et al. 2015 (arXiv:1502.01852) propose, normal with variance 2 / fan-in; batch
    normalisation is the identity, as it is merged into convolutions and starts as; 10 outputs.
    """
    generator = torch.Generator().manual_seed(seed)
    nodes: list[Node] = []

    def add(op: Affine | Elementwise, *inputs: int) -> int:
        nodes.append(Node(f"n{len(nodes)}", type(op).__name__, op, inputs))
        return len(nodes)

    def shape(value: int) -> tuple[int, ...]:
        return nodes[value - 1].op.out_shape if value else (1, 3, 32, 32)

    def conv(source: int, out: int, kernel: int, stride: int) -> Conv:
        inner = shape(source)[1]
        scale = math.sqrt(2.0 / (inner * kernel * kernel))
        weight = torch.randn(out, inner, kernel, kernel, generator=generator, dtype=torch.float64) * scale
        pad = (kernel // 2, kernel // 2)
        return Conv(weight, shape(source), (stride, stride), (1, 1), (pad, pad))

    def bent(value: int) -> int:
        return add(Elementwise(relu(), shape(value)), value)

    x = bent(add(Affine((conv(0, width, 3, 1),)), 0))
    for stage in range(3):
        for block in range(blocks):
            stride, out = (2 if stage and not block else 1), width * 2**stage
            y = bent(add(Affine((conv(x, out, 3, stride),)), x))
            main = conv(y, out, 3, 1)
            skip: LinearMap = conv(x, out, 1, stride) if stride > 1 else Selection.reshape(shape(x), shape(x))
            x = bent(add(Affine((main, skip)), y, x))
    _, channels, *size = shape(x)
    positions = math.prod(size)
    head = torch.randn(10, channels, 1, generator=generator, dtype=torch.float64) * math.sqrt(2.0 / channels)
    pooled = Dense.plain((head / positions).expand(-1, -1, positions).reshape(10, -1))
    x = add(Affine((compose(Selection.reshape(shape(x), (channels * positions,)), pooled),)), x)
    return Graph((1, 3, 32, 32), tuple(nodes), x)


def networks() -> dict[str, Path | None]:
    """Where each network is, None for the one that is built."""
    files = [SHARED / f"{name}.onnx" for name in THEIRS]
    files += [ROOT / "sample_models" / f"{name}.onnx" for name in ("digits_cnn", "digits_resnet")]
    return {"resnet20": None} | {path.stem: path for path in files if path.is_file()}


def line(name: str, graph: Graph, seconds: float) -> str:
    """One row of the table."""
    problem = Problem.over(graph, Norm.L2)
    product = LayerProduct().bound(problem).value
    started = time.process_time()
    outcome = run(FourierEllipsoid(seconds=seconds), problem)
    took = time.process_time() - started
    witness = ascend(graph, Norm.L2, None, seconds=10.0)
    lower = 0.0 if witness is None else witness.bound.value
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if outcome.bound is None:
        return f"{name:24} {product:12.5g} {'':12} {'':9} {lower:12.5g} {took:7.1f} {most:6.0f} {outcome.reason}"
    value = outcome.bound.value
    return f"{name:24} {product:12.5g} {value:12.5g} {value / product:9.3g} {lower:12.5g} {took:7.1f} {most:6.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Global l2 bounds of convolutional networks, certified.")
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="at most, for one network of 12,000 neurons or more"
    )
    parser.add_argument("names", nargs="*", help="only networks whose name contains one of these")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"torch {torch.__version__}, {os.cpu_count()} cores, one thread used, at most {options.seconds:g} s a network"
    )
    print(
        f"{'network':24} {'product':>12} {'bound':>12} {'ratio':>9} {'attained':>12} {'cpu':>7} {'MB':>6}", flush=True
    )
    for name, path in networks().items():
        if not options.names or any(wanted in name for wanted in options.names):
            graph = simplify(resnet20()) if path is None else subject(path, Settings()).simplified
            print(line(name, graph, options.seconds), flush=True)


if __name__ == "__main__":
    main()
