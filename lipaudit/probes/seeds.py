"""Where a search from below begins: samples of the region, and inputs at which a normalisation divides by least."""

from __future__ import annotations

import math
import time

import torch

from lipaudit.graph.graph import Graph, evaluate
from lipaudit.numerics.box import Box
from lipaudit.ops.scaled import RootMeanSquare, UnitVector
from lipaudit.ops.smooth import Normalise

_SCALES = (0.1, 1.0, 10.0, 100.0)
_DESCENT = 80


def samples(graph: Graph, region: Box | None, count: int, generator: torch.Generator) -> torch.Tensor:
    """Points of the region, uniform where it is finite, else normal at four sizes and moved into it."""
    shape = (count, *graph.input_shape)
    if region is not None and region.finite:
        share = torch.rand(shape, generator=generator, dtype=torch.float64)
        return region.lower + share * (region.upper - region.lower)
    drawn = torch.randn(shape, generator=generator, dtype=torch.float64)
    scales = torch.tensor(_SCALES, dtype=torch.float64).repeat(-(-count // len(_SCALES)))[:count]
    return inside(drawn * scales.reshape(-1, *[1] * len(graph.input_shape)), region)


def inside(x: torch.Tensor, region: Box | None) -> torch.Tensor:
    """The points moved into the region, entry by entry."""
    return x if region is None else torch.minimum(torch.maximum(x, region.lower), region.upper)


def flat_groups(
    graph: Graph, region: Box | None, starts: torch.Tensor, generator: torch.Generator, deadline: float = math.inf
) -> torch.Tensor:
    """Points at which one group of one normalisation has (nearly) no spread: there its slope is 1 / sqrt(eps), and
    the network's constant is often attained (a layer norm of constant tokens). Empty without normalisations.

    By Adam on the logarithm of the spread, from the starts, for each normalisation and up to four of its groups.
    """
    found = [starts[:0]]
    for place, node in enumerate(graph.nodes):
        if not isinstance(node.op, Normalise | RootMeanSquare | UnitVector) or time.monotonic() > deadline:
            continue
        before = Graph(graph.input_shape, graph.nodes[:place], node.inputs[0])
        groups = node.op.in_shapes[0][0]
        chosen, centred = torch.randperm(groups, generator=generator)[:4].tolist(), isinstance(node.op, Normalise)
        found += [_flattened(before, group, centred, starts, region) for group in chosen]
    return torch.cat(found)


def _flattened(graph: Graph, group: int, centred: bool, starts: torch.Tensor, region: Box | None) -> torch.Tensor:
    x = starts.clone()
    first, second = torch.zeros_like(x), torch.zeros_like(x)
    size = starts.abs().mean().clamp(min=1e-3)
    for step in range(_DESCENT):
        leaf = x.detach().requires_grad_(True)
        z = evaluate(graph, leaf, lambda node, args: node.op.forward(*args))[:, group]
        if not z.requires_grad:
            return starts[:0]
        spread = (z - z.mean(-1, keepdim=True) if centred else z).square().mean(-1)
        (gradient,) = torch.autograd.grad((spread + 1e-30).log().sum(), leaf, allow_unused=True)
        if gradient is None:
            return starts[:0]
        gradient = torch.nan_to_num(gradient)
        first, second = 0.8 * first + 0.2 * gradient, 0.95 * second + 0.05 * gradient * gradient
        rate = 0.3 * size * 0.93**step
        mean, power = first / (1.0 - 0.8 ** (step + 1)), (second / (1.0 - 0.95 ** (step + 1))).sqrt()
        x = inside(x - rate * mean / (power + 1e-12), region)
    return x.detach()
