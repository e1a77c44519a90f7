"""Constants over balls node by node, also through nodes that mix entries: how long every row of derivatives can be.

By the models between all pairs of points, any functional of a value is g.d(z) = C d(x) + sum over nodes of D w, and
|w_j| is at most what its model makes of the lengths of what it reads: spread_j |v_j| for a neuron, sum_i R_ji |z_i|
for a node that mixes entries. So with n(.) at least the norm of the derivative by x (the dual of the inputs' norm),

    n(g) = |C|_dual + sum over nodes, j of |D_j| omega_j,    omega_j = spread_j n(v_j) or sum_i R_ji n(z_i),

node after node. Signs between deviations are lost, which the ellipsoid of `constants` keeps where it applies; what is
lost is of second order in the radius, so that small balls have their centre's Jacobian norm, nearly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import final

import torch

from lipaudit.linear.norms.dense_l2 import dense_l2
from lipaudit.numerics.norms import Norm
from lipaudit.numerics.rounding import gamma, sqrt_up, tensor_up, up
from lipaudit.ranges.curved import Curved
from lipaudit.ranges.entries import Unknown
from lipaudit.ranges.joined import Neurons, chosen
from lipaudit.ranges.local import one_hot
from lipaudit.ranges.near import Near
from lipaudit.ranges.rows import Pulled

WORK = 2**33
"""Entries of all rows of one value on their way through the graph's largest: where there would be more, nothing."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Nested:
    """The rows of some functionals of the output over a batch of balls, and what all nodes on the way may add.

    rows, error: C and how far it may be from exact in l2, [B, K, n] and [B, K]; added: [B, K], at least the norm of
    the rest, in the dual of the ball's norm.
    """

    norm: Norm
    rows: torch.Tensor
    error: torch.Tensor
    added: torch.Tensor

    @staticmethod
    def of(near: Near, seeds: torch.Tensor) -> Nested:
        """Of the functionals seeds [B, K, *output_shape] (exact numbers). Raises Unknown where a node has no model."""
        if near.graph.output in near.blocked:
            raise Unknown("a node on the way has no model by slopes")
        walk = _Walk(near, Neurons(near.graph, near.weights, near.slopes(), near.deadline))
        needed = _needed(near)
        for place in sorted(walk.joined.models):
            if place in needed:
                walk.visit(place)
        value = near.graph.output
        pulls = [rows for _, rows in walk.joined.pulls(value, lambda part: seeds[:, part], seeds.shape[1])]
        rows, error = torch.cat([p.input for p in pulls], 1), torch.cat([p.input_error for p in pulls], 1)
        return Nested(near.ball.norm, rows, error, torch.cat([walk.added(p) for p in pulls], 1))

    def lengths(self) -> torch.Tensor:
        """[B, K]: the constant of each functional, rounded up."""
        return tensor_up((dual(self.rows, self.error, self.norm) + self.added) * (1.0 + 2.0**-48))

    def norms(self) -> torch.Tensor:
        """[B]: the operator norm of all functionals together, from the norm of C and the lengths of what is added."""
        count, n = self.rows.shape[1:]
        slack = up(1.0 + gamma(count + 16))
        if self.norm is Norm.LINF or not count:
            return self.lengths().amax(1) if count else self.rows.new_zeros(len(self.rows))
        if self.norm is Norm.L1:
            columns = self.rows.abs().sum(1).amax(1) if n else self.rows.new_zeros(len(self.rows))
            return tensor_up((columns + self.error.sum(1) + self.added.sum(1)) * slack)
        whole = torch.tensor([dense_l2(rows).value for rows in self.rows], dtype=torch.float64)
        rest = torch.linalg.vector_norm(self.error + self.added, dim=1) + 2.0**-500
        return tensor_up((whole + rest * slack) * slack)


def _needed(near: Near) -> set[int]:
    """The places of nodes that the output reads."""
    needed, open_ = set[int](), [near.graph.output]
    while open_:
        place = open_.pop()
        if place > 0 and place not in needed:
            needed.add(place)
            open_.extend(near.graph.nodes[place - 1].inputs)
    return needed


@final
@dataclass(slots=True)
class _Walk:
    """omega by place, and the lengths of the values read, in the order of the graph."""

    near: Near
    joined: Neurons
    omega: dict[int, torch.Tensor] = field(default_factory=dict)
    known: dict[int, torch.Tensor] = field(default_factory=dict)

    def visit(self, place: int) -> None:
        model, node = self.joined.models[place], self.near.graph.nodes[place - 1]
        if isinstance(model, Curved):
            self.omega[place] = model.moved([self._lengths(value) for value in node.inputs])
            return
        which, held = chosen(model.spread > 0)
        omega = torch.zeros_like(model.spread)
        if which.shape[1]:
            self._affordable(which.shape[1])
            value = node.inputs[0]
            pulls = self.joined.pulls(value, lambda part: model.inputs(which[:, part]), which.shape[1])
            found = torch.where(held, torch.cat(list(self._measured(pulls)), 1), 0.0)
            omega.scatter_(1, which, tensor_up(found * model.spread.gather(1, which)))
        self.omega[place] = omega

    def _lengths(self, value: int) -> torch.Tensor:
        """[B, size]: of every entry of a value."""
        if value not in self.known:
            shape = self.near.graph.shape(value)
            size, count = int(torch.Size(shape).numel()), len(self.near.ball)
            self._affordable(size)
            places = torch.arange(size).expand(count, size)
            pulls = self.joined.pulls(value, lambda part: one_hot(places[:, part], shape), size)
            self.known[value] = torch.cat(list(self._measured(pulls)), 1)
        return self.known[value]

    def _affordable(self, rows: int) -> None:
        if rows * len(self.near.ball) * self.joined.largest > WORK:
            raise Unknown(f"{rows} rows of derivatives are more than are pulled through each region")

    def _measured(self, pulls: Iterator[tuple[slice, Pulled]]) -> Iterator[torch.Tensor]:
        for _, rows in pulls:
            length = dual(rows.input, rows.input_error, self.near.ball.norm)
            yield tensor_up((length + self.added(rows)) * (1.0 + 2.0**-48))

    def added(self, rows: Pulled) -> torch.Tensor:
        """[B, R]: what the nodes' deviations add to the rows."""
        total = torch.zeros_like(rows.input_error)
        for place, d in rows.neurons.items():
            omega = self.omega[place]
            slack = up(1.0 + gamma(2 * d.shape[2] + 12))
            total = total + (d.abs() @ omega.unsqueeze(2)).squeeze(2) * slack
            total = total + rows.errors[place] * (torch.linalg.vector_norm(omega, dim=1)[:, None] * slack + 2.0**-500)
        return total * (1.0 + 2.0**-48 * (len(rows.neurons) + 2)) + 2.0**-900


def dual(rows: torch.Tensor, error: torch.Tensor, norm: Norm) -> torch.Tensor:
    """[B, R]: at least |row|_dual of every exact row, the rows [B, R, n] being within error [B, R] of it in l2."""
    n = rows.shape[2]
    if norm is Norm.LINF:
        size, slip = rows.abs().sum(2), error * sqrt_up(float(n))
    elif norm is Norm.L1:
        size, slip = rows.abs().amax(2) if n else error, error
    else:
        size, slip = torch.linalg.vector_norm(rows, dim=2) + 2.0**-500, error
    return (size + slip) * up(1.0 + gamma(n + 16))
