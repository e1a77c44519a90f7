"""How a search from below goes on from the best points: hops of all lengths, and steps across the nearest kinks."""

from __future__ import annotations

import math

import torch

from lipaudit.graph.graph import Graph, fold
from lipaudit.numerics.norms import Norm
from lipaudit.ops.affine import Affine
from lipaudit.ops.elementwise import Elementwise
from lipaudit.probes.surrogate import kinks

_LARGEST = 2**20
"""Entries of a first layer that is worth a pseudoinverse."""


def hops(points: torch.Tensor, directions: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    """`count` points around each, along its most amplified direction or any other, 0.001 to 3 times its size away."""
    ones = [1] * (points.dim() - 1)
    parents, along = points.repeat(count, *ones), directions.repeat(count, *ones)
    noise = torch.randn(parents.shape, generator=generator, dtype=torch.float64)
    chosen = torch.rand((len(parents), *ones), generator=generator) < 0.5
    move = torch.where(chosen, noise, along)
    length = lengths(move).clamp(min=1e-300)
    exponent = torch.rand(length.shape, generator=generator, dtype=torch.float64) * 3.5 - 3.0
    sign = torch.where(torch.rand(length.shape, generator=generator) < 0.5, -1.0, 1.0)
    step: torch.Tensor = lengths(parents).clamp(min=1e-3) * 10.0**exponent * sign
    return parents + move / length * step


def shaken(points: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    """`count` copies of each with normal noise of 1 to 100 per cent of its size: where an ascent may begin again."""
    ones = [1] * (points.dim() - 1)
    parents = points.repeat(count, *ones)
    noise = torch.randn(parents.shape, generator=generator, dtype=torch.float64)
    exponent = torch.rand((len(parents), *ones), generator=generator, dtype=torch.float64) * 2.0 - 2.0
    size = lengths(parents).clamp(min=1e-3) / math.sqrt(parents[0].numel())
    return parents + noise * size * 10.0**exponent


def blends(points: torch.Tensor, others: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """For each of `others` [B, *shape] a child of one of the points: some entries, few or many, are the other's."""
    ones = [1] * (points.dim() - 1)
    parents = points[torch.randint(len(points), (len(others),), generator=generator)]
    share = 10.0 ** (-2.0 * torch.rand((len(others), *ones), generator=generator, dtype=torch.float64))
    taken = torch.rand(others.shape, generator=generator, dtype=torch.float64) < share
    return torch.where(taken, others, parents)


class Flips:
    """Pattern local search of the first layer: every single neuron's preactivation mirrored, all others kept.

    x - 2 z_i A^+ e_i for z = A x + b: exact where the layer has at most as many neurons as inputs (any pattern can be
    had, then); else the point that comes nearest to it.
    """

    def __init__(self, graph: Graph) -> None:
        self._matrix: torch.Tensor | None = None
        first = graph.nodes[0].op if graph.nodes and graph.nodes[0].inputs == (0,) else None
        if isinstance(first, Affine) and first.linear.in_size * first.linear.out_size <= _LARGEST:
            self._matrix = first.linear.as_matrix()
            self._offset = torch.zeros(len(self._matrix)).double() if first.offset is None else first.offset.reshape(-1)
            self._back = torch.linalg.pinv(self._matrix)

    @property
    def known(self) -> bool:
        """Whether the first layer is one that this can flip."""
        return self._matrix is not None

    def __call__(self, point: torch.Tensor, most: int, generator: torch.Generator) -> torch.Tensor:
        """Up to `most` of the flips of one point [*input_shape], drawn at random where there are more."""
        assert self._matrix is not None
        flat = point.reshape(-1)
        before = self._matrix @ flat + self._offset
        rows = torch.randperm(len(before), generator=generator)[:most]
        flipped: torch.Tensor = flat - 2.0 * before[rows, None] * self._back.T[rows]
        return flipped.reshape(-1, *point.shape)


def crossings(graph: Graph, point: torch.Tensor, most: int) -> torch.Tensor:
    """Points just across the nearest kinks of one point [*input_shape]: the neighbouring pieces, and their far side.

    A kink at distance |z| / |grad z| (to first order) is crossed along grad z, by a little and by as much again.
    """
    copies = point.expand(most, *point.shape).clone().requires_grad_(True)
    values = fold(graph, copies, lambda node, args: node.op.forward(*args))
    gaps = []
    for node in graph.nodes:
        if isinstance(node.op, Elementwise):
            beyond = values[node.inputs[0]]
            gaps += [(beyond - at).reshape(most, -1) for at, _ in kinks(node.op.function)]
    if not gaps:
        return copies[:0].detach()
    gap = torch.cat([g / g[0].detach().abs().median().clamp(min=1e-300) for g in gaps], 1)
    if not gap.requires_grad:
        return copies[:0].detach()
    nearest = gap[0].detach().abs().argsort()[:most]
    rows = torch.arange(len(nearest))
    (gradient,) = torch.autograd.grad(gap[rows, nearest].sum(), copies)
    gradient, distance = gradient[: len(nearest)], gap[rows, nearest].detach()
    square = gradient.reshape(len(nearest), -1).square().sum(1)
    step = torch.where(square > 0.0, distance / square.clamp(min=1e-300), torch.zeros_like(square))
    move = -step.reshape(-1, *[1] * point.dim()) * gradient
    start = copies[: len(nearest)].detach()
    return torch.cat([start + 1.01 * move, start + 2.0 * move])


def lengths(x: torch.Tensor) -> torch.Tensor:
    """The l2 norm of each row, shaped to divide it."""
    return Norm.L2.of(x).reshape(-1, *[1] * (x.dim() - 1))
