"""Ranges of every value over balls of inputs, and what else is known near their centres.

A range is the intersection of three enclosures, found value by value in the order of the graph:

- interval arithmetic over the ball's box;
- backward linear relaxation (CROWN, Zhang et al. 2018, arXiv:1811.00866): with parallel lines, v(x) - v(c) =
  C (x - c) + D w(x) with w_j in [low_j, high_j], the first term by the dual norm, cut by the domain; where not too many
  neurons are undecided, also with the lines of `lines`, whose slopes are moved for values that stay undecided;
- |v(x) - v(c)| <= r sqrt(V Y V'), Y the ellipsoid of the secants from the centre c, r the ball's radius in l2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch

from lipaudit.graph.graph import Graph, fold
from lipaudit.numerics.box import Box
from lipaudit.numerics.rounding import gamma, tensor_down, tensor_up, up
from lipaudit.ops.affine import Affine
from lipaudit.ranges.ball import Ball
from lipaudit.ranges.curved import secants_of, slopes_of
from lipaudit.ranges.entries import Unknown
from lipaudit.ranges.joined import JOINED, Neurons, chosen
from lipaudit.ranges.lines import widths
from lipaudit.ranges.local import Local, between, one_hot
from lipaudit.ranges.reduced import Asked, Reduced
from lipaudit.ranges.rows import Pulled, Weights, pulled

STEPS = 10
"""Of the ascent in the slopes of lines around one value."""

WORK = 2**32
"""Entries of all of a value's rows: where there would be more, interval arithmetic has to do."""


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
        return {p: slopes_of(n.op, [self.boxes[i] for i in n.inputs]) for p, n in nodes if p in self.secants}

    def reduced(self, seeds: torch.Tensor) -> tuple[Reduced, Asked]:
        """The undecided neurons from the centre, and the functionals seeds [B, R, *output_shape] (exact) of them.

        Raises Unknown where a node on the way has no model, or too many neurons are undecided.
        """
        if self.graph.output in self.blocked:
            raise Unknown("a node on the way has no model by slopes")
        problem = Reduced.of(self.joined, self.ball, self.boxes, self.centres)
        rows = pulled(self.graph, self.secants, self.weights, self.graph.output, seeds)
        return problem, problem.asked(self.joined.block([rows]))


def near(graph: Graph, ball: Ball, weights: Weights, deadline: float = math.inf, apart: bool = False) -> Near:
    """The ranges over each ball of the batch. Raises Late where the deadline (time.monotonic()) comes before them.

    apart: by intervals and parallel lines alone, which is far cheaper where many neurons are undecided.
    """
    centres = tuple(fold(graph, Box.point(ball.centre), lambda node, args: node.op.interval(*args)))
    boxes, blocked = [ball.box()], set[int]()
    joined = Neurons(graph, weights, {}, deadline, apart)
    for place, node in enumerate(graph.nodes, start=1):
        args = tuple(boxes[i] for i in node.inputs)
        own = node.op.interval(*args)
        if any(i in blocked for i in node.inputs):
            blocked.add(place)
        elif isinstance(node.op, Affine):
            own = refined(joined, ball, boxes, place, own, centres)
        else:
            try:
                joined.models[place] = secants_of(node.op, args, [centres[i] for i in node.inputs])
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


def refined(joined: Neurons, ball: Ball, boxes: list[Box], value: int, own: Box, centres: tuple[Box, ...]) -> Box:
    """A value's range `own` made smaller where it leaves a neuron that reads it undecided."""
    which, held = chosen(_deciding(joined.graph, value, own))
    shape = joined.graph.shape(value)
    if not which.shape[1] or which.numel() * joined.largest > WORK:
        return own
    problem = None if joined.size > JOINED else Reduced.of(joined, ball, boxes, centres)
    for part, rows in joined.pulls(value, lambda s: one_hot(which[:, s], shape), which.shape[1]):
        index, live = which[:, part], held[:, part]
        below, above = reaches(rows, joined.models, ball, boxes[0])
        if problem is not None:
            block = joined.block([rows])
            asked, around = problem.asked(block), joined.radius(block, ball)
            under, over = widths(problem, asked, 0)
            below, above = (torch.minimum(torch.minimum(x, y), around) for x, y in ((below, under), (above, over)))
            own = _narrowed(own, centres[value], index, live, below, above)
            left, live = chosen(_deciding(joined.graph, value, own).gather(1, index) & live)
            index = index.gather(1, left)
            below, above = widths(problem, asked.take(left), STEPS)
        own = _narrowed(own, centres[value], index, live, below, above)
    return own


def _narrowed(
    own: Box, centre: Box, which: torch.Tensor, held: torch.Tensor, below: torch.Tensor, above: torch.Tensor
) -> Box:
    """The range `own` where entries which [B, U] are no further from the centre than below and above, if held."""
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
