"""Small random graphs without kinks, and some whose curvature is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from lipaudit.graph.graph import Graph
from lipaudit.linear.dense import Dense
from lipaudit.ops import activations, functions
from lipaudit.ops.scalar import Scalar
from tests.cases.graphs import Sketch

ACTIVATIONS: tuple[Callable[[], Scalar], ...] = (
    activations.sigmoid,
    activations.tanh,
    activations.softplus,
    activations.softsign,
    activations.erf,
    activations.gelu,
    activations.gelu_tanh,
    activations.mish,
    lambda: activations.swish(1.0),
    lambda: activations.elu(1.0),
    lambda: activations.celu(0.5),
    functions.sine,
    functions.cosine,
    functions.arctangent,
    lambda: functions.power(2.0),
)


def smooth(seed: int) -> Graph:
    """One to three layers of any of them, some with a skip past a layer, two or three outputs."""
    s = Sketch((int(np.random.default_rng(seed).integers(1, 5)),), seed)

    def bent(x: int, width: int) -> int:
        function = ACTIVATIONS[int(s.rng.integers(len(ACTIVATIONS)))]()
        return s.function(s.dense(x, width, s.normal(width, s.at(x)[0]) * s.rng.uniform(0.3, 1.5)), function)

    x = bent(0, int(s.rng.integers(1, 6)))
    for _ in range(int(s.rng.integers(0, 3))):
        match int(s.rng.integers(4)):
            case 0:
                x = s.sum(x, bent(x, s.at(x)[0]))
            case 1:
                x = s.concat(x, bent(x, int(s.rng.integers(1, 4))))
            case _:
                x = bent(x, int(s.rng.integers(1, 6)))
    return s.graph(s.dense(x, int(s.rng.integers(2, 4))))


def squares(seed: int, size: int = 4, width: int = 6) -> tuple[Graph, torch.Tensor, torch.Tensor]:
    """(f, W, A) of f(x) = A (W x)^2: the Hessian of u.f is 2 W' diag(u A) W everywhere."""
    s = Sketch((size,), seed)
    w, a = s.normal(width, size), s.normal(2, width)
    return s.graph(s.dense(s.function(s.dense(0, width, w, bias=False), functions.power(2.0)), 2, a, bias=False)), w, a


def mlp(act: Callable[[], Scalar], *widths: int, seed: int = 0, scale: float = 1.0) -> Graph:
    """Dense layers of weights of size scale / sqrt(inputs), with one function between."""
    s = Sketch((widths[0],), seed)
    x = 0
    for place, width in enumerate(widths[1:], start=1):
        x = s.dense(x, width, s.normal(width, s.at(x)[0]) * (scale / s.at(x)[0] ** 0.5))
        x = s.function(x, act()) if place < len(widths) - 1 else x
    return s.graph(x)


def cliff() -> Graph:
    """One input and two outputs: nearly a line around 0, with a bend downwards from 0.8 on, either way."""
    s = Sketch((1,), 0)
    ends = torch.tensor([[100.0], [-100.0]], dtype=torch.float64)
    steep = s.affine(Dense.plain(ends), 0, torch.tensor([-80.0, -80.0], dtype=torch.float64))
    out = torch.tensor([[-1.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
    return s.graph(s.dense(s.function(steep, activations.softplus()), 2, out, bias=False))
