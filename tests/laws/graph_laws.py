"""What rewrites of graphs owe, as functions that raise AssertionError."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import torch

from lipaudit.graph.graph import Graph
from lipaudit.graph.simplify import simplify
from lipaudit.linear.dense import Dense
from lipaudit.linear.map import LinearMap
from lipaudit.linear.pointwise import Diagonal
from lipaudit.ops.affine import Affine
from tests.cases.graphs import Sketch
from tests.cases.maps import exact


def affine_run(seed: int) -> Graph:
    """A run of affine nodes of one input, with offsets of many sizes."""
    s = Sketch((3,), seed)
    x = 0
    for _ in range(4):
        if s.rng.random() < 0.4:
            part: LinearMap = Diagonal(s.normal(3), (3,), 0)
        else:
            part = Dense.plain(s.normal(3, 3))
        x = s.affine(part, x, s.normal(3) * 10.0 ** s.rng.uniform(-6, 6))
    return s.graph(s.sum(x, x) if seed % 2 else x)


def exact_value(graph: Graph, x: list[Fraction]) -> list[Fraction]:
    """An affine graph at a point, in rationals."""
    values = [np.array(x, dtype=object)]
    for node in graph.nodes:
        assert isinstance(node.op, Affine)
        total = sum(
            (exact(part) @ values[i] for part, i in zip(node.op.maps, node.inputs, strict=True)),
            start=np.array([Fraction(0)] * int(np.prod(node.op.out_shape)), dtype=object),
        )
        if node.op.offset is not None:
            total = total + np.array([Fraction(v) for v in node.op.offset.reshape(-1).tolist()], dtype=object)
        values.append(total)
    return list(values[graph.output])


def merged_offset_is_enclosed(graph: Graph) -> None:
    """After merging, the exact constant f(0) lies within offset_error of the offset."""
    merged = simplify(graph)
    assert len(merged.nodes) == 1
    op = merged.nodes[0].op
    assert isinstance(op, Affine)
    truth = exact_value(graph, [Fraction(0)] * int(np.prod(graph.input_shape)))
    zero = torch.zeros(int(np.prod(op.out_shape)), dtype=torch.float64)
    offset = zero if op.offset is None else op.offset.reshape(-1)
    error = zero if op.offset_error is None else op.offset_error.reshape(-1)
    for value, centre, radius in zip(truth, offset.tolist(), error.tolist(), strict=True):
        assert abs(value - Fraction(centre)) <= Fraction(radius), f"{float(value)!r} is not {centre!r} +- {radius!r}"
        assert radius <= 1e-9 * max(1e-3, float(offset.abs().max()))
