"""An engine's bound against slopes that were found: functions that raise AssertionError."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from lipaudit.engines.layer_product import LayerProduct
from lipaudit.graph.graph import Graph
from lipaudit.graph.problem import Problem
from lipaudit.graph.simplify import simplify
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm

BoundOf = Callable[[Problem], float]


def layer_product(problem: Problem) -> float:
    return LayerProduct().bound(problem).value


def jacobians(graph: Graph, x: torch.Tensor) -> torch.Tensor:
    """Dense Jacobians [B, out, in] at the rows of x, by autograd."""
    leaf = x.detach().clone().requires_grad_(True)
    y = graph.forward(leaf).reshape(len(x), -1)
    if not y.requires_grad:
        return torch.zeros(len(x), y.shape[1], leaf[0].numel(), dtype=torch.float64)
    rows = []
    for entry in range(y.shape[1]):
        (grad,) = torch.autograd.grad(y[:, entry].sum(), leaf, retain_graph=True)
        rows.append(grad.reshape(len(x), -1))
    return torch.stack(rows, 1)


def norms(matrices: torch.Tensor, norm: Norm) -> torch.Tensor:
    if norm is Norm.L2:
        singular: torch.Tensor = torch.linalg.svdvals(matrices)
        return singular[:, 0]
    return matrices.abs().sum(1 if norm is Norm.L1 else 2).amax(1)


def steepest(graph: Graph, seed: int, box: Box | None = None, points: int = 24, rounds: int = 3) -> dict[Norm, float]:
    """The largest Jacobian norm met: random points of all sizes, then steps from the best ones, ever smaller."""
    generator = torch.Generator().manual_seed(seed)
    shape = (points, *graph.input_shape)

    def fresh() -> torch.Tensor:
        if box is not None:
            return box.lower + torch.rand(shape, generator=generator, dtype=torch.float64) * (box.upper - box.lower)
        size = torch.tensor([0.1, 1.0, 3.0, 10.0], dtype=torch.float64).repeat(points)[:points]
        return torch.randn(shape, generator=generator, dtype=torch.float64) * size.reshape(-1, *[1] * (len(shape) - 1))

    best = dict.fromkeys(Norm, 0.0)
    x, step = fresh(), 1.0
    for _ in range(rounds):
        matrices = jacobians(graph, x)
        kept = []
        for norm in Norm:
            found = torch.nan_to_num(norms(matrices, norm), nan=0.0, posinf=0.0)
            best[norm] = max(best[norm], float(found.max()))
            kept.append(x[found.topk(2).indices])
        around = torch.cat(kept).repeat(points // 6 + 1, *[1] * (len(shape) - 1))[:points]
        x = around + step * torch.randn(shape, generator=generator, dtype=torch.float64)
        step *= 0.3
        if box is not None:
            x = torch.minimum(torch.maximum(x, box.lower), box.upper)
    return best


def slopes(graph: Graph, seed: int, box: Box, norm: Norm) -> float:
    """The largest |f(x) - f(y)| / |x - y| over pairs of the box, far and near, less what rounding may have added."""
    generator = torch.Generator().manual_seed(seed)
    shape = (16, *graph.input_shape)
    x, y = (
        box.lower + torch.rand(shape, generator=generator, dtype=torch.float64) * (box.upper - box.lower)
        for _ in range(2)
    )
    near = torch.rand(16, generator=generator, dtype=torch.float64).pow(8).reshape(-1, *[1] * (len(shape) - 1))
    y = x + near * (y - x)
    values = graph.forward(x), graph.forward(y)
    moved = norm.of(values[0] - values[1]) - 1e-12 * (1.0 + norm.of(values[0]))
    ratio = torch.nan_to_num(moved / norm.of(x - y), nan=0.0, posinf=0.0)
    return float(ratio.max())


RELATIVE = 1e-9


def bound_is_above(
    graph: Graph, seed: int = 0, bound_of: BoundOf = layer_product, box: Box | None = None
) -> dict[Norm, float]:
    """No slope met exceeds the bound, in any norm, of the graph or of its simplified form. Gives met / bound."""
    met = steepest(graph, seed, box)
    simple = simplify(graph)
    ratios = {}
    for norm in Norm:
        lower = met[norm] if box is None else max(met[norm], slopes(graph, seed, box, norm))
        bounds = {}
        for name, form in (("as built", graph), ("simplified", simple)):
            bounds[name] = bound_of(Problem.over(form, norm, box))
            assert lower <= bounds[name] * (1 + RELATIVE) + 1e-12, (
                f"{norm.value}, {name}: {lower!r} is met, {bounds[name]!r} is the bound"
            )
        ratios[norm] = lower / bounds["simplified"] if 0 < bounds["simplified"] < math.inf else 0.0
    return ratios


def functions_agree(one: Graph, other: Graph, seed: int = 0) -> None:
    """Two graphs give the same values, to rounding."""
    x = torch.randn(5, *one.input_shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2.0
    a, b = one.forward(x).reshape(5, -1), other.forward(x).reshape(5, -1)
    assert a.shape == b.shape
    assert torch.allclose(a, b, rtol=1e-10, atol=1e-10)
