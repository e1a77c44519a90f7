"""How far the functionals of a smooth network can fall over a ball, by the curvature on one side.

In a graph of affine nodes and functions f_i with a continuous derivative, let a(x) be the inputs of all neurons, V(x)
their Jacobian, and G_i(x) the derivative of a functional F = s.f by the output of neuron i. Along a segment x + t v,

    (d/dt) dF(x + t v).v = sum_i G_i f_i''(a_i) (V_i v)^2              for almost every t,                         (1)

since an affine node has no second derivative, the second derivative of a neuron's output is f_i'(a_i) a_i'' +
f_i''(a_i) a_i' a_i', and what enters at its output reaches F through G_i (f_i' is Lipschitz, so that both sides are
integrals of each other also where f_i'' jumps). This is the Hessian of Singla and Feizi (2020, arXiv:2006.00731); here
its terms keep their signs, have ranges over the ball, and all layers are in one ellipsoid.

From the centre c of a convex region in a ball, F(c + v) = F(c) + dF(c).v + the integral over t in [0, 1] of (1 - t)
v'H(c + t v) v, where v'Hv >= -sum_i m_i (V_i v)^2 for m_i >= -G_i f_i'', of either sign: a neuron that bends the right
way helps. Let z = (dF(c).v, V v), and Y >= [dF(c); V][dF(c); V]' for every V(x) of the region; then z' Y^-1 z <=
|v|^2, and as the weights 2 (1 - t) have integral 1,

    F(c) - F(c + v) <= sup over |v| <= r and z of that ellipsoid of -z_0 + sum_i m_i z_i^2 / 2,                    (2)

which `trust_region` proves. The part of the integral from t = p to q has the weight (1 - p)^2 - (1 - q)^2, and only the
ball of radius q r, with its own m and Y, matters for it. In the other norms Hölder's inequality bounds dF(c).v.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch

from lipaudit.graph.graph import Graph, Node, fold
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.numerics.rounding import U, gamma, tensor_down, tensor_up
from lipaudit.ops.affine import Affine
from lipaudit.ops.elementwise import Elementwise
from lipaudit.ranges.ball import Ball
from lipaudit.ranges.cover import Block, Form, certified, form, guessed, jacobi
from lipaudit.ranges.curved import slopes_of
from lipaudit.ranges.entries import Rows, Unknown, pulled
from lipaudit.ranges.joined import Neurons, chosen
from lipaudit.ranges.local import one_hot
from lipaudit.ranges.near import Near
from lipaudit.ranges.rows import Weights
from lipaudit.ranges.trust_region import Factor

NEURONS = 600
"""Most of them that are joined in one ellipsoid, together with the undecided ones: it has twice as many rows."""

SLACKS = (0.5, 4.0, 30.0, 250.0)
"""Of the closed forms of the ellipsoid's multipliers that are tried: small balls want large ones."""

STEPS = 12
"""Of the power iterations of a guess."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Ranges:
    """Of every value over a batch of balls and at their centres, as in `Near`: all that is needed of it here."""

    graph: Graph
    ball: Ball
    boxes: tuple[Box, ...]
    centres: tuple[Box, ...]
    weights: Weights
    deadline: float

    @staticmethod
    def of(around: Near) -> Ranges:
        return Ranges(around.graph, around.ball, around.boxes, around.centres, around.weights, around.deadline)

    def rows(self, index: torch.Tensor) -> Ranges:
        """Those of some of the balls."""
        boxes, centres = (tuple(Box(b.lower[index], b.upper[index]) for b in of) for of in (self.boxes, self.centres))
        return Ranges(self.graph, self.ball.rows(index), boxes, centres, self.weights, self.deadline)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Curvature:
    """The terms of (2) for functionals over a batch of regions.

    most: [B, K, N], at least -G_i f_i'' of every neuron. joint: the neurons' inputs, N rows, then the functionals'
    derivatives at the centres, K rows, as the rows asked for of an ellipsoid; in l2 the latter without the entries that
    the domain's edge stops. stopped: [B, K], what those add to a fall at most; in other norms the whole linear part.
    """

    ball: Ball
    most: torch.Tensor
    joint: Form
    stopped: torch.Tensor

    @staticmethod
    def of(around: Ranges, seeds: torch.Tensor, ball: Ball) -> Curvature:
        """Of the functionals seeds [B, K, *output_shape] (exact numbers), with m and Y of the region `around`.

        ball: where `falls` looks, with the same centres. Raises Unknown where a node has no second derivative, by its
        name, or where a bound is infinite.
        """
        graph = around.graph
        met: dict[int, Rows] = {}
        pulled(graph, around.boxes, seeds, met)
        places = [place for place in sorted(met) if not isinstance(graph.nodes[place - 1].op, Affine)]
        turns = [_turns(around, place, met[place]) for place in places]
        most = torch.cat(turns or [seeds.new_zeros(*seeds.shape[:2], 0)], 2)
        if not bool(most.isfinite().all()):
            raise Unknown("a second derivative is unbounded")
        if most.shape[2] > NEURONS:
            raise Unknown(f"more than {NEURONS} neurons")
        slope = pulled(graph, around.centres, seeds)
        rows = -slope.centre.flatten(2)
        if ball.norm is Norm.L2:
            rows, stopped = ball.split(rows)
        else:
            stopped = ball.widths(rows)[1]
        slip = torch.linalg.vector_norm(slope.radius.flatten(2), dim=2) * (1.0 + gamma(rows.shape[2] + 8)) + 2.0**-500
        stopped = tensor_up(stopped + tensor_up(slip * ball.reach()[:, None]) * (1.0 + 4.0 * U))
        return Curvature(ball, most, _joint(around, places, rows), stopped)

    def falls(self, weights: torch.Tensor) -> torch.Tensor:
        """[B, K]: at least the sup of (2) over the ball, rounded up; inf if unproven.

        weights: [B, K], not negative: how much each of them matters, which moves the effort and nothing that is proven.
        """
        ball = self.ball
        y, proven = certified(self.joint, self._multipliers(weights))
        factor = Factor.of(y, self.most.shape[2])
        found = torch.full_like(weights, torch.inf)
        for k, turn in enumerate(self.most.unbind(1)):
            if ball.norm is Norm.L2:
                found[:, k] = factor.sup(turn, k, ball.reach())
            else:
                found[:, k] = tensor_up(factor.top(turn) * tensor_up(ball.reach().square()) / 2)
        return torch.where(proven[:, None], tensor_up(tensor_up(found) + self.stopped), torch.inf)

    def _multipliers(self, weights: torch.Tensor) -> list[torch.Tensor]:
        """Of some closed forms the best for each ball: that with the least |dF(c)| r + M r^2 / 2, in plain float64."""
        reach, n = self.ball.reach(), self.most.shape[2]
        roots = self.most.clamp(min=0.0).sqrt()
        best: list[torch.Tensor] = []
        value = torch.full_like(reach, torch.inf)
        for slack in SLACKS:
            theta = jacobi(self.joint, slack)
            y = guessed(self.joint, theta)
            slope = y.diagonal(dim1=1, dim2=2)[:, n:].clamp(min=0.0).sqrt()
            fall = slope * reach[:, None] + _top(y[:, :n, :n], roots) * (reach * reach / 2)[:, None]
            total = torch.nan_to_num((fall * weights.sqrt()).sum(1), nan=torch.inf)
            better = total < value
            best = [torch.where(better[:, None], t, b) for t, b in zip(theta, best or theta, strict=True)]
            value = torch.minimum(value, total)
        return best


def smooth(graph: Graph) -> bool:
    """Whether there is anything to gain here: no kinks, and few enough neurons."""
    bent = [node.op for node in graph.nodes if not isinstance(node.op, Affine)]
    if not all(isinstance(op, Elementwise) and op.function.bend is not None for op in bent):
        return False
    return 0 < sum(int(torch.Size(op.out_shape).numel()) for op in bent) <= NEURONS


def bent_falls(around: Ranges, inner: Sequence[Ranges], seeds: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """[B, K]: how far the functionals seeds [B, K, *output_shape] fall from the centres in the balls, rounded up.

    inner: what is known of balls around the same centres with the same domain, smaller ones first. inf where nothing
    is proven, and where it is not wanted [B, K].
    """
    found = torch.full(wanted.shape, torch.inf, dtype=torch.float64)
    which, held = chosen(wanted)
    if not which.shape[1]:
        return found
    ball, few = around.ball, seeds[torch.arange(len(seeds)).unsqueeze(1), which]
    total, before = torch.zeros(which.shape, dtype=torch.float64), torch.zeros_like(ball.radius)
    for own in (*inner, around):
        # q is rounded down, so that q times the ball's radius is at most that of `own`
        share = torch.ones_like(before) if own is around else tensor_down(own.ball.radius / ball.radius)
        until = torch.maximum(share.clamp(max=1.0), before)
        try:
            fall = Curvature.of(own, few, ball).falls(held.double())
        except Unknown:
            return found
        # the four roundings of (q - p) ((1 - p) + (1 - q)) are relative ones; a share of 0 takes no part
        weight = ((until - before) * ((1.0 - before) + (1.0 - until)) * (1.0 + 8.0 * U))[:, None]
        total = tensor_up(total + torch.where(weight > 0, tensor_up(fall * weight), 0.0))
        before = until
    found.scatter_(1, which, torch.where(held, total, torch.inf))
    return found


def _turns(around: Ranges, place: int, rows: Rows) -> torch.Tensor:
    """[B, K, neurons], at least -G f'' of the neurons of a node: rows are G's ranges."""
    node = around.graph.nodes[place - 1]
    if not isinstance(node.op, Elementwise):
        raise Unknown(f"{node.kind} has no second derivative here")
    bend = node.op.function.bend_range(around.boxes[node.inputs[0]])
    if bend is None:
        raise Unknown(f"the slope of {node.op.function.name} jumps, or its second derivative is not known")
    room = rows.radius * (1.0 + 4.0 * U)
    reads = [tensor_up(-(rows.centre - room)), -tensor_up(rows.centre + room)]  # of -G, from above and from below
    corners = torch.stack([g * b.unsqueeze(1) for g in reads for b in (bend.lower, bend.upper)])
    return tensor_up(corners.amax(0)).flatten(2)


def _joint(around: Ranges, places: list[int], slopes: torch.Tensor) -> Form:
    """The inputs of the neurons of all places, and the rows slopes [B, K, n], over all choices of slopes."""
    graph, batch = around.graph, len(around.ball)
    models = {p: slopes_of(graph.nodes[p - 1].op, [around.boxes[i] for i in graph.nodes[p - 1].inputs]) for p in places}
    joined = Neurons(graph, around.weights, models, around.deadline)
    behind = fold(graph, frozenset[int](), _behind(graph))
    read = frozenset[int]().union(*(behind[graph.nodes[place - 1].inputs[0]] for place in places))
    blocks = []
    for place in places:
        value = graph.nodes[place - 1].inputs[0]
        shape = graph.shape(value)
        which = torch.arange(int(torch.Size(shape).numel())).expand(batch, -1)

        def units(part: slice, which: torch.Tensor = which, shape: tuple[int, ...] = shape) -> torch.Tensor:
            return one_hot(which[:, part], shape)

        blocks.append(joined.block([rows for _, rows in joined.pulls(value, units, which.shape[1])]))
        if place in read:
            joined.add(place)
    blocks.append(Block(slopes, torch.zeros(slopes.shape[:2], dtype=torch.float64), {}, {}))
    rows, error = torch.cat([b.rows for b in blocks], 1), torch.cat([b.error for b in blocks], 1)
    inner, inner_error = {}, {}
    for number, own in enumerate(joined.blocks):
        width = own.rows.shape[1]
        none = [b.rows.new_zeros(*b.rows.shape[:2], width) for b in blocks]
        inner[number] = torch.cat([b.inner.get(number, zero) for b, zero in zip(blocks, none, strict=True)], 1)
        inner_error[number] = torch.cat([b.inner_error.get(number, torch.zeros_like(b.error)) for b in blocks], 1)
    return form([*joined.blocks, Block(rows, error, inner, inner_error)])


def _behind(graph: Graph) -> Callable[[Node, tuple[frozenset[int], ...]], frozenset[int]]:
    """The places of the nodes that are not affine and that a value depends on."""
    numbers = {id(node): place for place, node in enumerate(graph.nodes, start=1)}

    def rule(node: Node, args: tuple[frozenset[int], ...]) -> frozenset[int]:
        own = frozenset[int]() if isinstance(node.op, Affine) else frozenset({numbers[id(node)]})
        return own.union(*args)

    return rule


def _top(y: torch.Tensor, roots: torch.Tensor) -> torch.Tensor:
    """[B, K]: about the largest eigenvalue of diag(roots_k) y diag(roots_k); roots: [B, K, N]."""
    x = roots + 2.0**-200
    for _ in range(STEPS):
        x = x / torch.linalg.vector_norm(x, dim=2, keepdim=True).clamp_min(2.0**-300)
        x = roots * ((roots * x) @ y)
    value: torch.Tensor = torch.linalg.vector_norm(x, dim=2)
    return value
