"""The constants of one hidden layer against every corner of its slopes: functions that raise AssertionError."""

from __future__ import annotations

import itertools

import numpy as np
import torch

from lipaudit.engines.corners import Corners, hidden_layer
from lipaudit.graph.problem import Problem
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from tests.laws.exact_laws import HINGES, Small

KINDS = ("relu", "leaky", "abs")


def draw(seed: int, most: int = 7) -> Small:
    """A network of one hidden layer, of any shape and scale, with what hurts: equal, opposite and dead neurons."""
    rng = np.random.default_rng(seed)
    n, m, k = int(rng.integers(1, 9)), int(rng.integers(1, most + 1)), int(rng.integers(1, 6))
    first, last = rng.normal(size=(m, n)), rng.normal(size=(k, m))
    if seed % 5 == 1 and m > 1:
        first[1] = first[0] * (1.0 if seed % 2 else -1.0)
    if seed % 5 == 2:
        first[0] = 0.0
    if seed % 5 == 3:
        last[:, 0] = 0.0
    if seed % 7 == 0:
        first, last = first * 1e-80, last * 1e70
    offsets = [rng.normal(size=m) * np.abs(first).max(), rng.normal(size=k)]
    low = rng.normal(size=n)
    box = Box(torch.as_tensor(low)[None], torch.as_tensor(low + 0.5)[None])
    return Small([first, last], offsets, KINDS[seed % 3], box)


def largest(small: Small, decided: np.ndarray | None = None) -> float:
    """max ||W2 D W1|| over every corner that agrees with what is decided (1: larger slope, -1: smaller)."""
    _, *ends = HINGES[small.kind]
    low, high = min(ends), max(ends)
    decided = np.zeros(len(small.weights[0]), dtype=int) if decided is None else decided
    choices = [(low, high) if d == 0 else (high,) if d > 0 else (low,) for d in decided]
    corners = np.array(list(itertools.product(*choices)))
    scale = np.abs(small.weights[0]).max() or 1.0, np.abs(small.weights[1]).max() or 1.0
    first, last = small.weights[0] / scale[0], small.weights[1] / scale[1]
    norms = np.linalg.norm((last * corners[:, None, :]) @ first, 2, axis=(1, 2))
    return float(norms.max() * scale[0] * scale[1])


def problem(small: Small) -> Problem:
    return Problem.over(small.graph(), Norm.L2)


def is_largest(seed: int, *, tight: bool = True) -> None:
    """The bound is the largest norm of all corners, and never below it."""
    small = draw(seed)
    truth, found = largest(small), Corners(60.0).bound(problem(small)).value
    assert found >= truth * (1 - 1e-12), f"{found!r} is below {truth!r}"
    if tight:
        assert found <= truth * (1 + 1e-6) + 1e-60, f"{found!r} is above {truth!r}"


def nodes_are_above(seed: int) -> None:
    """Whatever is decided, the node's bound is at least the largest norm of what is left; all decided, it is that."""
    small = draw(seed)
    rng = np.random.default_rng(seed)
    hidden = hidden_layer(problem(small))
    m = len(small.weights[0])
    for decided in (np.zeros(m, dtype=np.int8), *rng.integers(-1, 2, size=(3, m)).astype(np.int8)):
        node, truth = hidden.node(decided, None), largest(small, decided)
        assert node.bound >= truth * (1 - 1e-12), f"{node.bound!r} is below {truth!r}"
        if decided.all():
            assert node.bound <= truth * (1 + 1e-9) + 1e-60
