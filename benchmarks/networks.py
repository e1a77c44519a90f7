"""Networks that benchmarks build themselves: shapes of the literature with random weights, reproducible from a seed."""

from __future__ import annotations

import math

import torch

from lipaudit.graph.graph import Graph, Node
from lipaudit.linear.conv import Conv
from lipaudit.linear.dense import Dense
from lipaudit.linear.fuse import compose
from lipaudit.linear.map import LinearMap
from lipaudit.linear.selection import Selection
from lipaudit.ops.activations import relu
from lipaudit.ops.affine import Affine
from lipaudit.ops.elementwise import Elementwise


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
