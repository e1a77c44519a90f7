"""Ranges of the entries of Jacobians, pulled back from the output in centre-radius form.

Rows of J = dF/dx are held as (C, R) with |row - C| <= R entrywise, for every choice of slopes that the ranges allow.
A linear node turns (C, R) into (A'C, |A'|R), a slope in [c - d, c + d] into (cC, |c|R + d(|C| + R)); where a value is
used more than once its pulls add up. So |C| + R bounds |J| entrywise over any convex region on which the ranges hold,
and is at most the product of absolute weights and largest slopes (the path norm), since |cC| + |c|R + d(|C| + R) =
max|slope| (|C| + R). For one hidden layer it is exact up to which slopes occur together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import final

import torch

from lipaudit.graph.graph import Graph
from lipaudit.linear.fuse import transpose
from lipaudit.linear.map import LinearMap
from lipaudit.linear.selection import NOTHING
from lipaudit.numerics.box import Box
from lipaudit.numerics.rounding import TINY, U, gamma, up
from lipaudit.ops.affine import Affine, underflow
from lipaudit.ops.bilinear import MatMulData, Multiply
from lipaudit.ops.elementwise import Elementwise
from lipaudit.ops.maxlike import PointwiseMax, SortPair, WindowMax
from lipaudit.ops.op import Op

ENTRIES = 2**24
"""Entries of one value's rows at once, for all samples of a batch together."""

_LOST = 2.0**-1000
"""More than a few operations lose by underflow, per entry."""


class Unknown(Exception):
    """The entries of an op's Jacobian have no range here, with the reason."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """|row - centre| <= radius entrywise; both [B, K, *shape] of the value that the rows are derivatives by."""

    centre: torch.Tensor
    radius: torch.Tensor

    def __add__(self, other: Rows) -> Rows:
        centre = self.centre + other.centre
        return Rows(centre, (self.radius + other.radius + U * centre.abs()) * (1.0 + 4.0 * U))

    def magnitude(self) -> torch.Tensor:
        """At least |row|, entrywise."""
        return (self.centre.abs() + self.radius) * (1.0 + 4.0 * U)

    def scaled(self, factor: Box) -> Rows:
        """The product with numbers of a range [B, *shape], entrywise."""
        c, d = factor.centre_radius()
        return self.times(c.unsqueeze(1), d.unsqueeze(1))

    def times(self, c: torch.Tensor, d: torch.Tensor) -> Rows:
        """The product with numbers within d of c, entrywise; broadcast."""
        centre = self.centre * c
        radius = self.radius * (c.abs() + d) + self.centre.abs() * d + centre.abs() * U
        return Rows(centre, radius * (1.0 + 8.0 * U) + _LOST)


def magnitudes(graph: Graph, boxes: Sequence[Box], seeds: torch.Tensor | None = None) -> Iterator[torch.Tensor]:
    """Upper bounds of |dF/dx|, F = seeds f, entrywise: [B, k, *input_shape], some k rows at a time, in order.

    boxes: ranges of all values, B at a time, over convex regions. seeds: [K, *output_shape] or [B, K, *output_shape],
    all unit vectors where None. Raises Unknown where an op between has no range of its Jacobian's entries.
    """
    size, batch = int(torch.Size(graph.output_shape).numel()), len(boxes[0].lower)
    largest = max(int(torch.Size(graph.shape(i)).numel()) for i in range(len(graph.nodes) + 1))
    step = max(1, ENTRIES // max(1, largest * batch))
    count = size if seeds is None else seeds.shape[-len(graph.output_shape) - 1]
    for start in range(0, count, step):
        if seeds is None:
            units = torch.zeros(min(step, size - start), size, dtype=torch.float64)
            units[torch.arange(len(units)), torch.arange(start, start + len(units))] = 1.0
            chosen = units.reshape(len(units), *graph.output_shape)
        else:
            chosen = seeds.narrow(seeds.dim() - len(graph.output_shape) - 1, start, min(step, count - start))
        yield pulled(graph, boxes, chosen.expand(batch, -1, *graph.output_shape)).magnitude()


def pulled(graph: Graph, boxes: Sequence[Box], seeds: torch.Tensor, met: dict[int, Rows] | None = None) -> Rows:
    """The rows seeds [B, K, *output_shape] of the output's Jacobian, pulled to the input: [B, K, *input_shape].

    met: filled, where given, with the rows by every value on the way.
    """
    held: dict[int, Rows] = {graph.output: Rows(seeds, torch.zeros_like(seeds))}
    for place in range(graph.output, 0, -1):
        rows = held.pop(place, None)
        if rows is None:
            continue
        if met is not None:
            met[place] = rows
        node = graph.nodes[place - 1]
        args = tuple(boxes[i] for i in node.inputs)
        for i, part in zip(node.inputs, pull(node.op, args, rows), strict=True):
            held[i] = held[i] + part if i in held else part
    zero = torch.zeros(*seeds.shape[:2], *graph.input_shape, dtype=torch.float64)
    found = held.get(0, Rows(zero, zero))
    if not bool((found.centre.isfinite() & found.radius.isfinite()).all()):
        raise Unknown("the ranges of the Jacobian's entries overflow")
    return found


@singledispatch
def pull(op: Op, boxes: tuple[Box, ...], rows: Rows) -> tuple[Rows, ...]:
    """The rows by each argument of the op, from those by its value."""
    raise Unknown(f"the entries of the Jacobian of {type(op).__name__} have no range")


@pull.register
def _(op: Affine, boxes: tuple[Box, ...], rows: Rows) -> tuple[Rows, ...]:
    return tuple(through(part, rows) for part in op.maps)


def through(part: LinearMap, rows: Rows) -> Rows:
    """A'(C, R): fl(A'C) is within gamma |A|'|C| of A'C, and |A'R| <= |A|'R, both through the majorant at once."""
    lead, n = rows.centre.shape[:2], part.roundings
    centre = rows.centre.reshape(-1, *part.out_shape)
    spread = rows.radius.reshape(-1, *part.out_shape) + gamma(n) * up(1.0 + 4.0 * U) * centre.abs()
    majorant = part.majorant()
    radius = majorant.adjoint(spread) * up(1.0 + gamma(2 * n + 8)) if bool(spread.any()) else None
    pulled_centre = part.adjoint(centre)
    lost = underflow(transpose(part)) * 2.0 + _LOST if n else torch.zeros(1, *part.in_shape, dtype=torch.float64)
    total = lost.expand_as(pulled_centre) if radius is None else radius + lost
    return Rows(pulled_centre.reshape(*lead, *part.in_shape), total.reshape(*lead, *part.in_shape))


@pull.register
def _(op: Elementwise, boxes: tuple[Box, ...], rows: Rows) -> tuple[Rows, ...]:
    slopes = op.slopes(boxes[0])
    if not slopes.finite:
        raise Unknown(op.caveat(*boxes) or f"a slope of {op.function.name} is unbounded")
    return (rows.scaled(slopes),)


@pull.register
def _(op: Multiply, boxes: tuple[Box, ...], rows: Rows) -> tuple[Rows, ...]:
    if not (boxes[0].finite and boxes[1].finite):
        raise Unknown(op.caveat(*boxes) or "a factor is unbounded")
    return rows.scaled(boxes[1]), rows.scaled(boxes[0])


@pull.register
def _(op: MatMulData, boxes: tuple[Box, ...], rows: Rows) -> tuple[Rows, ...]:
    if not (boxes[0].finite and boxes[1].finite):
        raise Unknown(op.caveat(*boxes) or "a factor is unbounded")
    (a, ra), (b, rb) = (box.centre_radius() for box in boxes)
    a, ra, b, rb = (x.unsqueeze(1).mT for x in (a, ra, b, rb))  # the pulls multiply with transposes
    c, r = rows.centre, rows.radius
    return _matmul(c, r, b, rb), _matmul(a, ra, c, r)


def _matmul(x: torch.Tensor, rx: torch.Tensor, y: torch.Tensor, ry: torch.Tensor) -> Rows:
    """(x, rx) @ (y, ry), with the rounding of the products."""
    n = x.shape[-1]
    spread = (x.abs() + rx) @ ry + rx @ y.abs() + gamma(n + 2) * (x.abs() @ y.abs())
    return Rows(x @ y, spread * up(1.0 + gamma(2 * n + 8)) + 8.0 * n * TINY + _LOST)


@pull.register
def _(op: WindowMax, boxes: tuple[Box, ...], rows: Rows) -> tuple[Rows, ...]:
    low, high = shares(op, boxes[0])
    c, d = ((low + high) / 2).unsqueeze(1), ((high - low) / 2).unsqueeze(1)  # of 0, 1/2 and 1: exact
    flat = Rows(rows.centre.flatten(2).unsqueeze(-1), rows.radius.flatten(2).unsqueeze(-1)).times(c, d)
    index = torch.where(op.windows == NOTHING, int(torch.Size(op.source).numel()), op.windows).reshape(-1)
    used = int(torch.bincount(index[index < int(torch.Size(op.source).numel())], minlength=1).max())
    ends = []
    for x in (flat.centre, flat.radius, flat.centre.abs()):
        total = x.new_zeros(*x.shape[:2], int(torch.Size(op.source).numel()) + 1)
        total.index_add_(2, index, x.flatten(2))
        ends.append(total[..., :-1].reshape(*x.shape[:2], *op.source))
    centre, radius, size = ends
    return (Rows(centre, (radius + gamma(used) * size) * up(1.0 + gamma(used + 6)) + _LOST),)


def shares(op: WindowMax, box: Box) -> tuple[torch.Tensor, torch.Tensor]:
    """(least, most) [B, out, width]: how much of a window's maximum an entry can be.

    The shares of a window add up to 1; 0 for an entry that can never be largest, 1 for one that always is.
    """
    lower, upper = (box.lower, box.upper) if op.sign > 0 else (-box.upper, -box.lower)
    flat = [torch.cat([x.flatten(1), x.new_full((len(x), 1), -torch.inf)], 1)[:, op.windows] for x in (lower, upper)]
    possible = (flat[1] >= flat[0].amax(-1, keepdim=True)) & (op.windows != NOTHING)
    alone = possible & (possible.sum(-1, keepdim=True) == 1)
    return alone.double(), possible.double()


@pull.register
def _(op: PointwiseMax, boxes: tuple[Box, ...], rows: Rows) -> tuple[Rows, ...]:
    lower, upper = (boxes[0].lower, boxes[0].upper) if op.sign > 0 else (-boxes[0].upper, -boxes[0].lower)
    possible = upper >= lower.amax(1, keepdim=True)
    alone = (possible & (possible.sum(1, keepdim=True) == 1)).double()
    c, d = (alone + possible.double()) / 2, (possible.double() - alone) / 2
    spread = Rows(rows.centre.unsqueeze(2), rows.radius.unsqueeze(2))
    return (spread.times(c.unsqueeze(1), d.unsqueeze(1)),)


@pull.register
def _(op: SortPair, boxes: tuple[Box, ...], rows: Rows) -> tuple[Rows, ...]:
    box = boxes[0]
    first = box.lower[:, 0] >= box.upper[:, 1]  # a >= b throughout: the sorted pair is (a, b)
    second = box.lower[:, 1] >= box.upper[:, 0]
    low, high = first.double().unsqueeze(1), 1.0 - (second & ~first).double().unsqueeze(1)
    c, d = (low + high) / 2, (high - low) / 2
    largest, least = (Rows(rows.centre[:, :, i], rows.radius[:, :, i]) for i in (0, 1))
    a = largest.times(c, d) + least.times(1.0 - c, d)
    b = largest.times(1.0 - c, d) + least.times(c, d)
    return (Rows(torch.stack([a.centre, b.centre], 2), torch.stack([a.radius, b.radius], 2)),)
