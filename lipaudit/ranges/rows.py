"""Rows of derivatives pulled through the models of a graph's nodes, with bounds of their rounding errors.

A row g of a value z is the functional g.d(z) of the difference d(z) of the value at two points of a region. Pulled to
the input it reads, exactly in real arithmetic,

    g.d(z) = C.d(x) + sum over the nodes' neurons j of D_j w_j,

with C and D_j linear in g. Both are computed to nearest, from output to input, and each row carries how far it may be
from the exact one, in l2, at every value: a linear map A passes an error e on as ||A||_2 e, and adds its own, gamma
|||A|||_2 |g|_2, where |||A||| is the norm of the matrix of absolute values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

import torch

from lipaudit.graph.graph import Graph
from lipaudit.linear.fuse import transpose
from lipaudit.linear.map import LinearMap
from lipaudit.linear.norms.operator import OperatorNorms
from lipaudit.numerics.norms import Norm
from lipaudit.numerics.rounding import U, gamma, mul_up, sqrt_up, sum_up
from lipaudit.ops.affine import Affine, underflow
from lipaudit.ranges.local import Local

ROOM = 1.0 + 2.0**-40
"""More than the roundings of one step's error bound take, which are a few dozen."""

_LOST = 2.0**-990
"""More than an entrywise operation loses by underflow, over all entries together."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """What pulling needs to know of each linear map, found once a map: its norm, its own rounding, what it loses."""

    norms: OperatorNorms = field(default_factory=OperatorNorms)
    _known: dict[int, tuple[LinearMap, float, float, float]] = field(default_factory=dict)

    def of(self, part: LinearMap) -> tuple[float, float, float]:
        """(||A||_2, gamma |||A|||_2, the l2 length of what A' loses by underflow), rounded up."""
        if id(part) not in self._known:
            majorant = part.majorant()
            rows, columns = (self.norms.of(majorant, norm).value for norm in (Norm.LINF, Norm.L1))
            schur = mul_up(sqrt_up(rows), sqrt_up(columns))  # ||M||_2 <= sqrt(||M||_1 ||M||_inf)
            norm = min(self.norms.of(part, Norm.L2).value, schur)
            lost = sum_up(underflow(transpose(part))) if part.roundings else 0.0
            self._known[id(part)] = (part, norm, mul_up(gamma(part.roundings), schur), lost)
        return self._known[id(part)][1:]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Pulled:
    """Rows at the input [B, R, n] and at the neurons of every node on the way, [B, R, neurons] by the node's place.

    input_error, errors: [B, R], how far a computed row may be from the exact one in l2.
    """

    input: torch.Tensor
    input_error: torch.Tensor
    neurons: dict[int, torch.Tensor]
    errors: dict[int, torch.Tensor]


def pulled(graph: Graph, models: Mapping[int, Local], weights: Weights, value: int, seeds: torch.Tensor) -> Pulled:
    """The rows seeds [B, R, *shape of the value], exact numbers, pulled to the input through the nodes' models.

    models: by place, of every node between that is not affine.
    """
    none = torch.zeros(seeds.shape[:2], dtype=torch.float64)
    held: dict[int, tuple[torch.Tensor, torch.Tensor]] = {value: (seeds, none)}
    neurons, errors = {}, {}
    for place in range(value, 0, -1):
        if place not in held:
            continue
        rows, error = held.pop(place)
        node = graph.nodes[place - 1]
        if isinstance(node.op, Affine):
            for i, part in zip(node.inputs, node.op.maps, strict=True):
                norm, own, lost = weights.of(part)
                image = part.adjoint(rows.flatten(0, 1)).reshape(*rows.shape[:2], *part.in_shape)
                _join(held, i, image, (error * norm + own * lengths(rows) + lost) * ROOM)
            continue
        model = models[place]
        length = lengths(rows)
        neurons[place] = model.coefficients(rows)
        errors[place] = (error * model.reading + length * (gamma(model.roundings) * model.reading) + _LOST) * ROOM
        grown = error * model.gain[:, None] + length * (gamma(model.roundings) * model.gain[:, None]) + _LOST
        for i, image in zip(node.inputs, model.pulls(rows), strict=True):
            _join(held, i, image, grown * ROOM)
    rows, error = held.get(0, (torch.zeros(*seeds.shape[:2], *graph.input_shape, dtype=torch.float64), none))
    return Pulled(rows.flatten(2), error, neurons, errors)


def _join(
    held: dict[int, tuple[torch.Tensor, torch.Tensor]], value: int, rows: torch.Tensor, error: torch.Tensor
) -> None:
    """Adds rows to those already at the value: their sum is rounded once an entry."""
    if value in held:
        other, before = held[value]
        rows = rows + other
        error = (error + before + U * lengths(rows)) * ROOM
    held[value] = rows, error


def lengths(rows: torch.Tensor) -> torch.Tensor:
    """At least the l2 length of every row [B, R, ...]: [B, R]."""
    length: torch.Tensor = torch.linalg.vector_norm(rows.flatten(2), dim=2)
    return length * (1.0 + gamma(rows[0, 0].numel() + 4)) + 2.0**-500 if rows.numel() else length
