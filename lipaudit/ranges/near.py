"""Ranges of every value over balls of inputs, and what else is known near their centres.

A range is the intersection of three enclosures, found value by value in the order of the graph:

- interval arithmetic over the ball's box;
- backward linear relaxation (CROWN, Zhang et al. 2018, arXiv:1811.00866, with parallel lines):
  v(x) - v(c) = C (x - c) + D w(x) with w_j in [low_j, high_j], the first term by the dual norm, cut by the domain;
- |v(x) - v(c)| <= r sqrt(V Y V'), Y the ellipsoid of the secants from the centre c, r the ball's radius in l2.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import final

import torch

from lipaudit.graph.graph import Graph, fold
from lipaudit.numerics.box import Box
from lipaudit.numerics.rounding import gamma, tensor_down, tensor_up, up
from lipaudit.ops.affine import Affine
from lipaudit.ranges.ball import Ball
from lipaudit.ranges.cover import Block, certified, form, jacobi
from lipaudit.ranges.entries import Unknown
from lipaudit.ranges.local import Local, between, from_centre, one_hot
from lipaudit.ranges.rows import Pulled, Weights, pulled

ENTRIES = 2**24
"""Entries of one value's rows at once, for all regions of a batch together."""

WORK = 2**32
"""Entries of all of a value's rows: where there would be more, interval arithmetic has to do."""

JOINED = 1200
"""Most undecided neurons of a region that are joined in one ellipsoid."""

Seeds = Callable[[slice], torch.Tensor]
"""Rows [B, r, *shape of a value] of a slice of those asked for."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Near:
    """What is known of a batch of balls.

    boxes, centres: by value, ranges over the balls, and thin boxes around the values at their centres.
    secants: the models from the centre, by place; joined: the undecided neurons by them, in the order of the graph.
    blocked: the values behind a node that has no model; no row is pulled from there to the input.
    """

    graph: Graph
    ball: Ball
    boxes: tuple[Box, ...]
    centres: tuple[Box, ...]
    secants: Mapping[int, Local]
    blocked: frozenset[int]
    weights: Weights
    joined: Neurons
    deadline: float = math.inf

    def slopes(self) -> dict[int, Local]:
        """The models between all pairs of points of a ball, by place, of the nodes that have one."""
        nodes = enumerate(self.graph.nodes, start=1)
        return {p: between(n.op, self.boxes[n.inputs[0]]) for p, n in nodes if p in self.secants}


class Late(Exception):
    """The deadline came before the rows were done."""


def near(graph: Graph, ball: Ball, weights: Weights, deadline: float = math.inf) -> Near:
    """The ranges over each ball of the batch. Raises Late where the deadline (time.monotonic()) comes before them."""
    centres = tuple(fold(graph, Box.point(ball.centre), lambda node, args: node.op.interval(*args)))
    boxes, blocked = [ball.box()], set[int]()
    joined = Neurons(graph, weights, {}, deadline)
    for place, node in enumerate(graph.nodes, start=1):
        args = tuple(boxes[i] for i in node.inputs)
        own = node.op.interval(*args)
        if any(i in blocked for i in node.inputs):
            blocked.add(place)
        elif isinstance(node.op, Affine):
            own = refined(joined, ball, boxes[0], place, own, centres[place])
        else:
            try:
                joined.models[place] = from_centre(node.op, args[0], centres[node.inputs[0]])
                if joined.size <= JOINED:
                    joined.add(place)
            except Unknown:
                blocked.add(place)
        boxes.append(own)
    return Near(graph, ball, tuple(boxes), centres, joined.models, frozenset(blocked), weights, joined, deadline)


def batch_size(graph: Graph) -> int:
    """How many balls are looked at together: many for small graphs; few where one alone takes its time.

    It depends on the graph alone, so that answers do not depend on the machine.
    """
    nonlinear = [node.op for node in graph.nodes if not isinstance(node.op, Affine)]
    neurons = min(JOINED, sum(int(torch.Size(op.out_shape).numel()) for op in nonlinear))
    return max(1, min(32, graph.batch, 2**20 // max(1, neurons * neurons)))


def refined(joined: Neurons, ball: Ball, box: Box, value: int, own: Box, centre: Box) -> Box:
    """A value's range `own` made smaller where it leaves a neuron that reads it undecided."""
    which, held = chosen(_deciding(joined.graph, value, own))
    shape = joined.graph.shape(value)
    if not which.shape[1] or which.numel() * joined.largest > WORK:
        return own
    linear = joined.size > JOINED
    below, above = (torch.full(which.shape, torch.inf, dtype=torch.float64) for _ in range(2))
    for part, rows in joined.pulls(value, lambda s: one_hot(which[:, s], shape), which.shape[1]):
        below[:, part], above[:, part] = reaches(rows, joined.models, ball, box)
        if not linear:
            around = joined.radius(joined.block([rows]), ball)
            below[:, part], above[:, part] = (torch.minimum(x[:, part], around) for x in (below, above))
    flat_low, flat_high = centre.lower.flatten(1), centre.upper.flatten(1)
    low = tensor_down(flat_low.gather(1, which) - torch.where(held, below, torch.inf))
    high = tensor_up(flat_high.gather(1, which) + torch.where(held, above, torch.inf))
    lower = torch.full_like(flat_low, -torch.inf).scatter(1, which, low).reshape(own.shape)
    upper = torch.full_like(flat_high, torch.inf).scatter(1, which, high).reshape(own.shape)
    return Box(torch.maximum(own.lower, lower), torch.minimum(own.upper, upper))


def _deciding(graph: Graph, value: int, box: Box) -> torch.Tensor:
    """[B, size]: the entries whose range is not yet narrow enough for every node that reads them."""
    wide = torch.zeros(len(box.lower), box.lower[0].numel(), dtype=torch.bool)
    for node in graph.nodes:
        if value in node.inputs and not isinstance(node.op, Affine):
            try:
                spread = between(node.op, box).spread if len(node.inputs) == 1 else None
            except Unknown:
                spread = None
            one_each = spread is not None and spread.shape == wide.shape
            wide |= spread > 0 if spread is not None and one_each else (box.upper > box.lower).flatten(1)
    return wide


def chosen(mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(which [B, U], held [B, U]): the places where the mask [B, n] is set, in order; held is False where padded."""
    most = int(mask.sum(1).max()) if len(mask) else 0
    which = torch.argsort(mask.to(torch.int8), dim=1, descending=True, stable=True)[:, :most]
    return which, mask.gather(1, which)


def reaches(rows: Pulled, models: Mapping[int, Local], ball: Ball, box: Box) -> tuple[torch.Tensor, torch.Tensor]:
    """(below, above) [B, R]: how far the rows' functionals may fall and rise from the centre, rounded up.

    models: from the centre; box: the ball's.
    """
    below, above = ball.widths(rows.input, box)
    slip = rows.input_error * ball.reach()[:, None]
    for place, d in rows.neurons.items():
        low, high = models[place].low[:, None], models[place].high[:, None]
        slack = up(1.0 + gamma(2 * d.shape[2] + 8))
        above = above + torch.where(d > 0, d * high, d * low).sum(2) * slack
        below = below - torch.where(d > 0, d * low, d * high).sum(2) * slack
        most = torch.linalg.vector_norm(torch.maximum(-low, high), dim=2) * slack + 2.0**-500
        slip = slip + rows.errors[place] * most
    room = 1.0 + 2.0**-48 * (len(rows.neurons) + 4)
    return tensor_up((below + slip) * room), tensor_up((above + slip) * room)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Neurons:
    """The undecided neurons met so far, with their rows. Grows while a batch of balls is looked at."""

    graph: Graph
    weights: Weights
    models: dict[int, Local]
    deadline: float
    places: list[int] = field(default_factory=list)
    which: list[torch.Tensor] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)

    @property
    def largest(self) -> int:
        """Entries of the graph's largest value."""
        return max(int(torch.Size(self.graph.shape(i)).numel()) for i in range(len(self.graph.nodes) + 1))

    @property
    def size(self) -> int:
        return sum(which.shape[1] for which in self.which)

    def add(self, place: int) -> None:
        """The undecided neurons of a node that has a model."""
        model = self.models[place]
        which, held = chosen(model.spread > 0)
        if not which.shape[1]:
            return

        def seeds(part: slice) -> torch.Tensor:
            rows = model.inputs(which[:, part])
            return rows * held[:, part].double().reshape(len(rows), -1, *[1] * (rows.dim() - 2))

        value = self.graph.nodes[place - 1].inputs[0]
        pulls = [rows for _, rows in self.pulls(value, seeds, which.shape[1])]
        self.blocks.append(self.block(pulls, model.spread.gather(1, which) * held))
        self.places.append(place)
        self.which.append(which)

    def pulls(self, value: int, seeds: Seeds, count: int) -> Iterator[tuple[slice, Pulled]]:
        """`count` rows of a value pulled to the input, some at a time."""
        probe = seeds(slice(0, 1))
        step = max(1, ENTRIES // max(1, self.largest * len(probe)))
        for start in range(0, count, step):
            if time.monotonic() > self.deadline:
                raise Late
            part = slice(start, min(start + step, count))
            yield part, pulled(self.graph, self.models, self.weights, value, seeds(part))

    def block(self, pulls: list[Pulled], spread: torch.Tensor | None = None) -> Block:
        """Pulled rows as a block of an ellipsoid: what they read of the input, and of the neurons met before."""
        inner, errors = {}, {}
        for number, (place, which) in enumerate(zip(self.places, self.which, strict=True)):
            if place in pulls[0].neurons:
                index = which.unsqueeze(1)
                read = [p.neurons[place] for p in pulls]
                inner[number] = torch.cat([d.gather(2, index.expand(-1, d.shape[1], -1)) for d in read], 1)
                errors[number] = torch.cat([p.errors[place] for p in pulls], 1)
        rows, error = torch.cat([p.input for p in pulls], 1), torch.cat([p.input_error for p in pulls], 1)
        return Block(rows, error, inner, errors, spread)

    def radius(self, asked: Block, ball: Ball) -> torch.Tensor:
        """[B, R]: how far the rows asked for may move from the centre, by the ellipsoid of the secants."""
        joint = form([*self.blocks, asked])
        y, proven = certified(joint, jacobi(joint, 0.5))
        root = tensor_up(tensor_up(y.diagonal(dim1=1, dim2=2).clamp(min=0.0).sqrt()) * ball.reach()[:, None])
        return torch.where(proven[:, None], root, torch.inf)
