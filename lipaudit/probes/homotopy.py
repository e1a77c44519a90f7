"""Ascent of the Jacobian's norm through smooth stand-ins of the network that sharpen as it goes."""

from __future__ import annotations

import time

import torch

from lipaudit.graph.graph import Graph
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import NormPair, Norms
from lipaudit.probes.surrogate import smoothed, value_scales

_MOMENTUM, _MEMORY = 0.9, 0.99


def climb(
    graph: Graph,
    norm: Norms,
    points: torch.Tensor,
    *,
    steps: int,
    rate: float,
    beta: tuple[float, float],
    region: Box | None = None,
    deadline: float = float("inf"),
    generator: torch.Generator,
) -> torch.Tensor:
    """Points [B, *input_shape] from which the (smoothed) Jacobian's norm is larger: Adam on log |J_beta|, for a
    piecewise linear network as well, whose own Jacobian has no gradient.

    beta: first and last sharpness, in units of each layer's usual values; rate: the first step, relative to the
    size of the point (the width of the region, where there is one); it shrinks to a tenth.
    |J| is u'Jv for dual u and v, improved by one power step with each step of the ascent: pull u, then v and
    the gradient from one backward pass through that pull. Nothing here is a proof.
    """
    x = points.clone()
    scales = value_scales(graph, x)
    size = _sizes(x, region)
    shape = (len(x), *[1] * (x.dim() - 1))
    first, second = torch.zeros_like(x), torch.zeros_like(x)
    outputs = int(torch.Size(graph.output_shape).numel())
    u = torch.randn(len(x), outputs, generator=generator, dtype=torch.float64)
    for step in range(steps):
        if time.monotonic() > deadline:
            break
        progress = step / max(1, steps - 1)
        soft = smoothed(graph, scales, beta[0] * (beta[1] / beta[0]) ** progress)
        gradient, u = uphill(soft, norm, x, u)
        gradient = torch.nan_to_num(gradient * size, nan=0.0, posinf=0.0, neginf=0.0)
        first = _MOMENTUM * first + (1.0 - _MOMENTUM) * gradient
        second = _MEMORY * second + (1.0 - _MEMORY) * gradient * gradient
        mean = first / (1.0 - _MOMENTUM ** (step + 1))
        spread = (second / (1.0 - _MEMORY ** (step + 1))).sqrt()
        # one scale a sample where the gradient is tiny everywhere: noise is not to be blown up entry by entry
        floor = 1e-3 * spread.reshape(len(x), -1).amax(1).reshape(shape) + 1e-12
        x = x + rate * (1.0 - 0.9 * progress) * size * mean / (spread + floor)
        if region is not None:
            x = torch.minimum(torch.maximum(x, region.lower), region.upper)
    return x.detach()


def _sizes(x: torch.Tensor, region: Box | None) -> torch.Tensor:
    """The unit of a step: the width of the region, or the root mean square of each point."""
    if region is not None and region.finite:
        return ((region.upper - region.lower) / 2).expand_as(x)
    flat = x.reshape(len(x), -1)
    return flat.square().mean(1).sqrt().clamp(min=1e-6).reshape(len(x), *[1] * (x.dim() - 1))


def uphill(graph: Graph, norm: Norms, x: torch.Tensor, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(the gradient of log u'Jv, the next J v) for u dual to the last J v and v dual to J'u."""
    x = x.detach().requires_grad_(True)
    pair = NormPair.of(norm)
    u = pair.target.dual_vector(u).detach().requires_grad_(True)
    y = graph.forward(x).reshape(len(x), -1)
    if not y.requires_grad:
        return torch.zeros_like(x), u.detach()
    (pulled,) = torch.autograd.grad(y, x, u, create_graph=True)
    flat = pulled.reshape(len(x), -1)
    v = pair.source.dual.dual_vector(flat.detach())
    total = (flat * v).sum(1).clamp(min=1e-300).log().sum()
    if not total.requires_grad:
        return torch.zeros_like(x), u.detach()
    slope, pushed = torch.autograd.grad(total, (x, u), allow_unused=True)
    return (
        torch.zeros_like(x) if slope is None else slope.detach(),
        u.detach() if pushed is None else torch.nan_to_num(pushed.detach()),
    )
