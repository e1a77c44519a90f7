"""A short search for inputs with a large Jacobian norm: samples, then hops and gradient steps from the best."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal, final

import torch

from lipaudit.errors import InvalidInput
from lipaudit.graph.graph import Graph
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm, NormPair, Norms
from lipaudit.probes.jacobian import jacobian_norms
from lipaudit.probes.mixed_jacobian import is_hard
from lipaudit.probes.witness import Witness, best_witness

_ELITE = 4
_CHILDREN = 8
_PATIENCE = 12


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """Points with their Jacobian norms and most amplified directions, largest first."""

    points: torch.Tensor
    norms: torch.Tensor
    directions: torch.Tensor

    def best(self, count: int) -> _Found:
        order = torch.argsort(self.norms, descending=True)[:count]
        return _Found(self.points[order], self.norms[order], self.directions[order])

    def joined(self, other: _Found) -> _Found:
        pairs = ((self.points, other.points), (self.norms, other.norms), (self.directions, other.directions))
        return _Found(*(torch.cat(pair) for pair in pairs))


def ascend(
    graph: Graph,
    norm: Norms,
    region: Box | None,
    *,
    starts: torch.Tensor | None = None,
    seconds: float = 2.0,
    seed: int = 0,
) -> Witness | None:
    """A pair of points in the region with a large proven slope; None where none above 0 was found.

    starts: known inputs [N, *input_shape] to begin from, besides samples of the region (of normal points at three
    scales where the region is unbounded). The search itself proves nothing; what it returns does.
    """
    deadline = time.monotonic() + seconds
    generator = torch.Generator().manual_seed(seed)
    found = _measure(graph, norm, _samples(graph, region, starts, generator)).best(_ELITE)
    if not len(found.points):
        return None
    if any(node.op.family != "Affine" for node in graph.nodes):
        found = _climb(graph, norm, region, found, deadline, generator)
    return best_witness(graph, norm, found.points, found.directions, region)


def _samples(graph: Graph, region: Box | None, starts: torch.Tensor | None, generator: torch.Generator) -> torch.Tensor:
    shape = graph.input_shape
    if region is not None and region.finite:
        share = torch.rand((24, *shape), generator=generator, dtype=torch.float64)
        drawn = region.lower + share * (region.upper - region.lower)
    else:
        drawn = torch.randn((24, *shape), generator=generator, dtype=torch.float64)
        scales = torch.tensor([0.1, 1.0, 10.0], dtype=torch.float64).repeat(8).reshape(-1, *[1] * len(shape))
        drawn = _inside(drawn * scales, region)
    if starts is None:
        return drawn
    return torch.cat([_inside(starts[:256], region), drawn])


def _inside(x: torch.Tensor, region: Box | None) -> torch.Tensor:
    return x if region is None else torch.minimum(torch.maximum(x, region.lower), region.upper)


def _measure(graph: Graph, norm: Norms, points: torch.Tensor) -> _Found:
    """What is found at the points. Those where the function has no derivative (0/0, the root of 0) are left out."""
    try:
        method: Literal["auto", "ascent"] = "ascent" if is_hard(NormPair.of(norm)) else "auto"
        answer = jacobian_norms(graph.forward, points, norm, method=method, tolerance=1e-3, directions=True)
    except InvalidInput:
        if len(points) == 1:
            return _Found(points[:0], points.new_zeros(0), points[:0])
        half = len(points) // 2
        return _measure(graph, norm, points[:half]).joined(_measure(graph, norm, points[half:]))
    assert answer.direction is not None
    return _Found(points, answer.norm, answer.direction)


def _climb(
    graph: Graph, norm: Norms, region: Box | None, found: _Found, deadline: float, generator: torch.Generator
) -> _Found:
    """Rounds of proposals around the best points until time or patience ends. Each keeps the best of all."""
    idle = 0
    while idle < _PATIENCE and time.monotonic() < deadline:
        children = _measure(graph, norm, _inside(_proposals(graph, norm, found, generator), region))
        merged = found.joined(children).best(_ELITE)
        idle = 0 if float(merged.norms[0]) > float(found.norms[0]) * (1.0 + 1e-6) else idle + 1
        found = merged
    return found


def _proposals(graph: Graph, norm: Norms, found: _Found, generator: torch.Generator) -> torch.Tensor:
    """Hops of random length: random ones, along the most amplified direction, along the gradient of the slope."""
    count, shape = len(found.points), found.points.shape[1:]
    ones = [1] * len(shape)
    parents = found.points.repeat(_CHILDREN, *ones)
    noise = torch.randn((count * _CHILDREN, *shape), generator=generator, dtype=torch.float64)
    along = found.directions.repeat(_CHILDREN, *ones)
    uphill = _uphill(graph, norm, found).repeat(_CHILDREN, *ones)
    kind = torch.arange(count * _CHILDREN).reshape(-1, *ones) // count % 4
    move = torch.where(kind < 2, noise, torch.where(kind == 2, along, uphill))
    length = norm_2(move).clamp(min=1e-300)
    size = norm_2(parents).clamp(min=1e-3)
    exponent = torch.rand((count * _CHILDREN, *ones), generator=generator, dtype=torch.float64) * 3.0 - 2.5
    sign = torch.where(torch.rand(exponent.shape, generator=generator, dtype=torch.float64) < 0.5, -1.0, 1.0)
    sign = torch.where(kind == 3, torch.ones_like(sign), sign)
    return parents + move / length * size * 10.0**exponent * sign


def norm_2(x: torch.Tensor) -> torch.Tensor:
    """The l2 norm of each row, shaped to divide it."""
    return Norm.L2.of(x).reshape(-1, *[1] * (x.dim() - 1))


def _uphill(graph: Graph, norm: Norms, found: _Found) -> torch.Tensor:
    """The gradient of u'J(x)v for fixed v and u dual to J v: 0 on the pieces of a piecewise linear function."""
    x = found.points.detach().requires_grad_(True)
    v = found.directions
    step = 1e-6 * norm_2(x.detach()).clamp(min=1e-3)
    with torch.no_grad():
        change = (graph.forward(x + step * v) - graph.forward(x - step * v)).reshape(len(x), -1)
    target = NormPair.of(norm).target
    if target is Norm.L1:
        u = change.sign()
    elif target is Norm.LINF:
        u = torch.zeros_like(change).scatter(1, change.abs().argmax(1, keepdim=True), 1.0) * change.sign()
    else:
        u = change / change.norm(dim=1, keepdim=True).clamp(min=1e-300)
    y = graph.forward(x).reshape(len(x), -1)
    if not y.requires_grad:
        return torch.zeros_like(v)
    (pulled,) = torch.autograd.grad(y, x, u, create_graph=True)
    if not pulled.requires_grad:
        return torch.zeros_like(v)
    (gradient,) = torch.autograd.grad((pulled * v).sum(), x, allow_unused=True)
    return torch.zeros_like(v) if gradient is None else torch.nan_to_num(gradient)
