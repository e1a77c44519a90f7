"""Laws of maxima written as ReLUs of differences: functions that raise AssertionError."""

from __future__ import annotations

import torch

from lipaudit.graph.graph import Graph, fold
from lipaudit.linear.selection import NOTHING
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.ops import activations
from lipaudit.ops.maxlike import PointwiseMax, WindowMax
from lipaudit.ops.scalar import Scalar
from lipaudit.ranges.hinges import hinged
from tests.cases.graphs import Sketch
from tests.laws.region_laws import grown_radii

BEFORE = (
    None,
    activations.relu(),
    activations.leaky_relu(0.2),
    activations.leaky_relu(-1.5),
    activations.tanh(),
    activations.kinked("shifted", 0.3, 2.0, 0.5),
)


def pooled(seed: int, before: Scalar | None, inputs: int = 3) -> Graph:
    """Dense, perhaps a function, the maxima or minima of windows with gaps (or of three values), dense."""
    s = Sketch((inputs,), seed)
    size, width = int(s.rng.integers(4, 9)), int(s.rng.integers(1, 8))
    x = s.dense(0, size)
    if before is not None:
        x = s.function(x, before)
    sign = float(s.rng.choice([-1.0, 1.0]))
    if seed % 3 == 2:
        y = s.extremum(sign, x, s.dense(0, size), s.dense(x, size))
    else:
        windows = torch.from_numpy(s.rng.integers(NOTHING, size, size=(2, 3, width)))
        windows[..., int(s.rng.integers(width))] = torch.from_numpy(s.rng.integers(0, size, size=(2, 3)))
        y = s.add(WindowMax(windows.reshape(6, width), (size,), (1, 2, 3), sign), x)
    total = s.dense(y, 3)
    if seed % 5 == 4:  # what the maximum reads is read again
        total = s.sum(s.dense(x, 3), total)
    return s.graph(total)


def same_function(graph: Graph, seed: int) -> None:
    """Without maxima, the same values, and ranges by intervals that are no wider."""
    found = hinged(graph)
    assert not any(isinstance(node.op, WindowMax | PointwiseMax) for node in found.nodes)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(64, *graph.input_shape, generator=generator, dtype=torch.float64)
    x = torch.cat([x, torch.zeros(1, *graph.input_shape, dtype=torch.float64)])
    meant = graph.forward(x)
    assert bool(((found.forward(x) - meant).abs() <= 1e-12 * (1.0 + meant.abs())).all())
    boxes = [Box.point(x), Box(x - 0.2, x + 0.2)]
    for box in boxes:
        before, after = (fold(g, box, lambda node, args: node.op.interval(*args))[g.output] for g in (graph, found))
        room = 1e-11 * (1.0 + before.magnitude)
        assert bool(((after.lower >= before.lower - room) & (after.upper <= before.upper + room)).all())
        assert bool(((after.lower <= meant + room) & (after.upper >= meant - room)).all())


def never_above_the_radius_on_a_line(norm: Norm, seeds: range) -> None:
    """Of one input the nearest change of class is found by looking everywhere, to within the step."""
    steps = torch.linspace(0.0, 4.0, 4001, dtype=torch.float64)
    for seed in seeds:
        graph = pooled(seed, BEFORE[seed % len(BEFORE)], 1)
        points = torch.randn(4, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        labels = graph.forward(points).argmax(1)
        found = grown_radii(graph, norm, points, labels, None)
        for x, label, radius in zip(points, labels, found, strict=True):
            ways = [graph.forward(x + sign * steps[:, None]).argmax(1) != label for sign in (1.0, -1.0)]
            changed = steps[ways[0] | ways[1]]
            if len(changed):
                assert float(radius) <= float(changed[0]), f"{float(radius)!r} is claimed, {float(changed[0])!r} is met"
