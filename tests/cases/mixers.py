"""Small random graphs with nodes that mix entries: attention, normalisation, gates, quotients, lengths and sorting."""

from __future__ import annotations

import torch

from lipaudit.graph.graph import Graph
from lipaudit.linear.pointwise import Diagonal
from lipaudit.linear.selection import Selection
from lipaudit.ops import activations
from lipaudit.ops.bilinear import Divide, MatMulData, Multiply
from lipaudit.ops.lengths import WindowLogSumExp, WindowNorm
from lipaudit.ops.maxlike import SortPair, stacking
from lipaudit.ops.op import Op
from lipaudit.ops.scaled import RootMeanSquare, UnitVector
from lipaudit.ops.smooth import LogSoftmax, Normalise, Softmax
from lipaudit.ops.sorting import Largest
from tests.cases.graphs import ACTIVATIONS, Family, Sketch


def _shaped(s: Sketch, value: int, *shape: int) -> int:
    return s.affine(Selection.reshape(s.at(value), shape), value)


def _scaled(s: Sketch, value: int, factor: float) -> int:
    return s.affine(Diagonal(torch.tensor(factor, dtype=torch.float64), s.at(value)), value)


def _turned(s: Sketch, value: int) -> int:
    return s.pick(value, s.places(value).T)


def _layer(s: Sketch, value: int, size: int) -> int:
    return s.function(s.dense(value, size), ACTIVATIONS[int(s.rng.integers(len(ACTIVATIONS)))]())


def attention(seed: int) -> Graph:
    """One head over three tokens of two entries, with a residual and a normalisation in front or behind, or neither."""
    s = Sketch((3,), seed)
    tokens = _shaped(s, s.dense(0, 6), 3, 2)
    norm: Op = Normalise(3, 2, 0.1) if s.rng.random() < 0.5 else RootMeanSquare(3, 2, 0.1)
    start = s.add(norm, tokens) if s.rng.random() < 0.4 else tokens
    q, k, v = (_shaped(s, s.dense(start, 6), 3, 2) for _ in range(3))
    scores = s.add(MatMulData((3, 2), (2, 3)), q, _turned(s, k))
    shares = s.add(Softmax((3, 3), 1), _scaled(s, scores, 0.7) if s.rng.random() < 0.7 else scores)
    x = s.add(MatMulData((3, 3), (3, 2)), shares, v)
    x = s.sum(x, tokens) if s.rng.random() < 0.6 else x
    x = s.add(norm, x) if s.rng.random() < 0.4 else x
    return s.graph(s.dense(_layer(s, x, 4) if s.rng.random() < 0.5 else x, 2))


def gates(seed: int) -> Graph:
    """Two steps of a gated recurrent cell, or products of a value with itself."""
    s = Sketch((2,), seed)
    if seed % 3 == 0:
        x = s.dense(0, 3)
        return s.graph(s.dense(s.add(Multiply((3,)), x, x if seed % 2 else s.function(x, activations.tanh())), 2))
    state = s.function(s.dense(0, 3), activations.tanh())
    for _ in range(2):
        gate = s.function(s.dense(s.concat(0, state), 3), activations.sigmoid())
        fresh = s.function(s.dense(s.concat(0, state), 3), activations.tanh())
        state = s.sum(s.add(Multiply((3,)), gate, fresh), s.add(Multiply((3,)), gate, state))
    return s.graph(s.dense(state, 2))


def quotients(seed: int) -> Graph:
    """A value divided by one that stays away from 0 near most points."""
    s = Sketch((2,), seed)
    above = s.function(s.dense(0, 3), activations.softplus() if seed % 2 else activations.sigmoid())
    below = s.affine(Selection.reshape((3,), (3,)), above, torch.full((3,), 0.3, dtype=torch.float64))
    return s.graph(s.dense(s.add(Divide((3,)), _layer(s, 0, 3), below), 2))


def lengths(seed: int) -> Graph:
    """Lengths, log-sums and unit vectors of what a layer gives."""
    s = Sketch((3,), seed)
    x = _layer(s, 0, 6)
    windows = torch.arange(6).reshape(2, 3)
    ops: tuple[Op, ...] = (
        WindowNorm(windows, (6,), (2,), 2.0),
        WindowLogSumExp(windows, (6,), (2,)),
        UnitVector(2, 3, 2, 0.4),
        UnitVector(2, 3, 2, 0.2, added=True),
        UnitVector(2, 3),
        LogSoftmax((2, 3), 1),
    )
    op = ops[seed % len(ops)]
    x = s.add(op, x if op.in_shapes[0] == (6,) else _shaped(s, x, 2, 3))
    return s.graph(s.dense(x, 2))


def ranks(seed: int) -> Graph:
    """Sorted pairs, and the largest entries of groups, between layers."""
    s = Sketch((3,), seed)
    x = s.dense(0, 6)
    if seed % 2:
        x = s.add(Largest(2, 3, 1 + seed % 3, 1.0 if seed % 4 == 1 else -1.0), _shaped(s, x, 2, 3))
    else:
        for _ in range(2):
            a, b = s.pick(x, s.places(x)[:3]), s.pick(x, s.places(x)[3:])
            x = s.dense(s.add(SortPair((3,)), s.add(stacking(2, (3,)), a, b)), 6)
    return s.graph(s.dense(x, 2))


MIXERS = (
    Family("attention", attention, bounded=False),
    Family("gates", gates, bounded=False),
    Family("quotients", quotients, bounded=False),
    Family("lengths", lengths, bounded=False),
    Family("ranks", ranks),
)
