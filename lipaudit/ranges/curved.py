"""Models of nodes that mix entries: softmax, normalisations, products of two values, lengths, sorting.

Where one neuron has one slope (`local`), these have a matrix of them. Its entries are enclosed over the box of the
node's input (`Jacobian`), and the model is d(out) = C d(in) + w, one w_j an output,
|w_j| <= sum over i of R_ji |d(in_i)|. So w has no single v_j to go with: what is read of it is its range from the
centre (`low`, `high`), and how long its rows can be (`moved`), which `nested` takes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import final

import torch

from lipaudit.linear.selection import NOTHING
from lipaudit.numerics.box import Box
from lipaudit.numerics.rounding import gamma, tensor_down, tensor_up, up
from lipaudit.ops.bilinear import Divide, MatMulData, Multiply
from lipaudit.ops.lengths import WindowLogSumExp, WindowNorm
from lipaudit.ops.op import Op
from lipaudit.ops.scaled import RootMeanSquare, UnitVector
from lipaudit.ops.smooth import LogSoftmax, Normalise, Softmax
from lipaudit.ops.sorting import Largest
from lipaudit.ops.variance import least_variance
from lipaudit.ranges.entries import Unknown
from lipaudit.ranges.jacobians import LOST, Grouped, Jacobian, Multiplied, Scaled, entries, products
from lipaudit.ranges.local import Local, between, from_centre

MATRIX = 2**24
"""Most entries of a node's Jacobian, for all regions of a batch together."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Curved(Local):
    """A node's model by the entries of its Jacobian, one part an argument. least, most: [B, outputs], w's range."""

    parts: tuple[Jacobian, ...]
    least: torch.Tensor
    most: torch.Tensor

    @property
    def spread(self) -> torch.Tensor:
        raise Unknown("a node that mixes entries has no single slope")

    @property
    def low(self) -> torch.Tensor:
        return self.least

    @property
    def high(self) -> torch.Tensor:
        return self.most

    def moved(self, lengths: Sequence[torch.Tensor]) -> torch.Tensor:
        """At least |w_j| where |d(in_i)| <= lengths, by argument [B, entries]: [B, outputs]; norms of rows likewise."""
        total = torch.zeros_like(self.least)
        for part, length in zip(self.parts, lengths, strict=True):
            total = tensor_up(total + part.moved(length))
        return total

    def pull(self, rows: torch.Tensor) -> torch.Tensor:
        (part,) = self.parts
        return part.pull(rows)

    def pulls(self, rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(part.pull(rows) for part in self.parts)

    def coefficients(self, rows: torch.Tensor) -> torch.Tensor:
        return rows.flatten(2)

    def inputs(self, which: torch.Tensor) -> torch.Tensor:  # noqa: ARG002 - there is none to give
        raise Unknown("a node that mixes entries has no single slope")

    @property
    def gain(self) -> torch.Tensor:
        return torch.stack([part.gain for part in self.parts]).amax(0)

    @property
    def reading(self) -> float:
        return 1.0

    @property
    def roundings(self) -> int:
        return max(part.roundings for part in self.parts)


def slopes_of(op: Op, boxes: Sequence[Box]) -> Local:
    """The model between all pairs of points of a region, for any number of arguments. Raises Unknown without one."""
    if jacobian.dispatch(type(op)) is jacobian.dispatch(object):
        return between(op, *boxes) if len(boxes) == 1 else _none(op)
    parts = _known(op, jacobian(op, tuple(boxes)))
    nothing = torch.zeros(len(boxes[0].lower), int(torch.Size(op.out_shape).numel()), dtype=torch.float64)
    return Curved(parts, nothing, nothing)


def secants_of(op: Op, boxes: Sequence[Box], centres: Sequence[Box]) -> Local:
    """The model from the centre of a ball, for any number of arguments. Raises Unknown without one.

    w = f(x) - f(c) - C (x - c) is read from R (as the segment from c to x is in the box), for products from
    (x - c)(y - d), and from the ranges of f(x) and f(c) themselves.
    """
    if jacobian.dispatch(type(op)) is jacobian.dispatch(object):
        return from_centre(op, boxes[0], centres[0]) if len(boxes) == 1 else _none(op)
    product = isinstance(op, Multiply | MatMulData)
    parts = _known(op, jacobian(op, tuple(centres) if product else tuple(boxes)))
    reach = [_reach(box, centre) for box, centre in zip(boxes, centres, strict=True)]
    around = torch.zeros(len(boxes[0].lower), int(torch.Size(op.out_shape).numel()), dtype=torch.float64)
    size = torch.zeros_like(around)
    for part, length in zip(parts, reach, strict=True):
        around = tensor_up(around + part.moved(length.flatten(1)))
        size = tensor_up(size + part.size(length.flatten(1)))
    if product:  # C is at the centre, to within R: what is left is the product of the differences
        other = jacobian(op, tuple(Box(-r, r) for r in reach))[0]
        around = tensor_up(around + other.moved(reach[0].flatten(1)))
    if not bool(around.isfinite().all()):
        raise Unknown(f"{type(op).__name__} is not bounded near the centre")
    value, own = op.interval(*boxes), op.interval(*centres)
    below = tensor_up(tensor_up(own.upper - value.lower).flatten(1) + size)
    above = tensor_up(tensor_up(value.upper - own.lower).flatten(1) + size)
    return Curved(parts, -torch.minimum(around, below).clamp(min=0.0), torch.minimum(around, above).clamp(min=0.0))


def _none(op: Op) -> Local:
    raise Unknown(f"{type(op).__name__} has no model by slopes")


def _known(op: Op, parts: tuple[Jacobian, ...]) -> tuple[Jacobian, ...]:
    for part in parts:
        if not bool(part.gain.isfinite().all()):
            raise Unknown(f"the slopes of {type(op).__name__} are not bounded near the centre")
    return parts


def _reach(box: Box, centre: Box) -> torch.Tensor:
    """At least |x - c|, entrywise."""
    return torch.maximum(tensor_up(box.upper - centre.lower), tensor_up(centre.upper - box.lower)).clamp(min=0.0)


@singledispatch
def jacobian(op: Op, boxes: tuple[Box, ...]) -> tuple[Jacobian, ...]:
    """The op's Jacobian over boxes of its arguments. Raises Unknown where it has no range."""
    raise Unknown(f"{type(op).__name__} has no model by slopes")


def _along(shape: tuple[int, ...], axis: int) -> torch.Tensor:
    """Flat places [groups, n] of the rows along an axis."""
    places = torch.arange(int(torch.Size(shape).numel())).reshape(shape)
    return places.movedim(axis, -1).reshape(-1, shape[axis])


def _room(batch: int, *shape: int) -> None:
    if batch * math.prod(shape) > MATRIX:
        raise Unknown(f"a Jacobian of {math.prod(shape)} entries is more than is looked at")


def _same(centre: torch.Tensor, radius: torch.Tensor, index: torch.Tensor, shape: tuple[int, ...]) -> Grouped:
    return Grouped(centre, radius, index, torch.argsort(index.reshape(-1)), shape, shape)


def _shares(op: Softmax, box: Box, index: torch.Tensor) -> Box:
    return op.interval(box).map(lambda x: x.flatten(1)[:, index])


@jacobian.register
def _(op: Softmax, boxes: tuple[Box, ...]) -> tuple[Jacobian, ...]:
    """p_i (1 - p_i) and -p_i p_j."""
    index = _along(op.shape, op.axis)
    n = index.shape[1]
    _room(len(boxes[0].lower), len(index), n, n)
    p = _shares(op, boxes[0], index)
    low, high = (-(x.unsqueeze(-1) * x.unsqueeze(-2)) for x in (p.upper, p.lower))
    ends = [x * (1.0 - x) for x in (p.lower, p.upper)]
    top = torch.where((p.lower <= 0.5) & (p.upper >= 0.5), 0.25, torch.maximum(*ends))
    low, high = (x.diagonal_scatter(y, dim1=-2, dim2=-1) for x, y in ((low, torch.minimum(*ends)), (high, top)))
    centre, radius = entries(low, high, torch.maximum(low.abs(), high.abs()))
    return (_same(centre, radius, index, op.shape),)


@jacobian.register
def _(op: LogSoftmax, boxes: tuple[Box, ...]) -> tuple[Jacobian, ...]:
    """1 - p_i, and -p_j off the diagonal."""
    index = _along(op.shape, op.axis)
    n = index.shape[1]
    _room(len(boxes[0].lower), len(index), n, n)
    p = _shares(Softmax(op.shape, op.axis), boxes[0], index)
    eye = torch.eye(n, dtype=torch.float64)
    low, high = (eye - x.unsqueeze(-2).expand(*x.shape[:2], n, n) for x in (p.upper, p.lower))
    centre, radius = entries(low, high, torch.ones_like(low))
    return (_same(centre, radius, index, op.shape),)


def _disjoint(windows: torch.Tensor, name: str) -> None:
    used = windows[windows != NOTHING]
    if used.numel() and int(torch.bincount(used).max()) > 1:
        raise Unknown(f"the windows of {name} overlap")


def _rows(low: torch.Tensor, high: torch.Tensor, op: WindowNorm | WindowLogSumExp) -> tuple[Jacobian, ...]:
    """One row a window: its gradient between low and high [B, windows, width]."""
    centre, radius = entries(low, high, torch.maximum(low.abs(), high.abs()))
    empty = op.windows == NOTHING
    centre, radius = (torch.where(empty, 0.0, x).unsqueeze(2) for x in (centre, radius))
    return (Grouped(centre, radius, op.windows, torch.arange(len(op.windows)), op.source, op.target),)


@jacobian.register
def _(op: WindowLogSumExp, boxes: tuple[Box, ...]) -> tuple[Jacobian, ...]:
    """The softmax of each window."""
    inside = boxes[0].map(lambda x: x.flatten(1)[:, op.windows])
    p = Softmax(tuple(op.windows.shape), 1).interval(inside)
    return _rows(p.lower, p.upper, op)


@jacobian.register
def _(op: WindowNorm, boxes: tuple[Box, ...]) -> tuple[Jacobian, ...]:
    """x_j / |x|, of the euclidean length; at 0 anything in the unit ball."""
    if op.p != 2.0:
        raise Unknown("only windows' euclidean lengths have a model")
    _disjoint(op.windows, "WindowNorm")
    inside = boxes[0].map(lambda x: torch.cat([x.flatten(1), x.new_zeros(len(x), 1)], 1)[:, op.windows])
    unit = _unit(inside, _length(inside))
    return _rows(unit.lower, unit.upper, op)


def _length(box: Box) -> Box:
    """The euclidean length of rows [.., d], outward: [.., 1]."""
    least = torch.where(box.straddles_zero, 0.0, torch.minimum(box.lower.abs(), box.upper.abs()))
    low, high = (torch.linalg.vector_norm(x, dim=-1, keepdim=True) for x in (least, box.magnitude))
    slack = gamma(box.shape[-1] + 8)
    return Box((low * (1.0 - slack) - LOST).clamp(min=0.0), high * (1.0 + 2.0 * slack) + 2.0**-500)


def _unit(box: Box, length: Box) -> Box:
    """x / |x| for rows x, entrywise: within [-1, 1] where the length may be 0."""
    safe = length.lower > 2.0**-400
    inverse = _inverse(Box(torch.where(safe, length.lower, 1.0), torch.where(safe, length.upper, 1.0)))
    low, high = products(box, inverse)
    one = torch.ones_like(low)
    low = torch.where(safe, torch.maximum(tensor_down(low), -one), -one)
    high = torch.where(safe, torch.minimum(tensor_up(high), one), one)
    return Box(torch.minimum(low, one), torch.maximum(high, -one))


def _inverse(box: Box) -> Box:
    """1 / x for x > 0, outward."""
    return Box(tensor_down(1.0 / box.upper), tensor_up(1.0 / box.lower))


def _bent(plain: torch.Tensor, y: Box, share: Box, inverse: Box) -> tuple[torch.Tensor, torch.Tensor]:
    """(C, R) of inverse (plain - share y y') for rows y [B, G, d]; share, inverse: [B, G, 1], not negative."""
    low, high = products(y.map(lambda x: x.unsqueeze(-1)), y.map(lambda x: x.unsqueeze(-2)))
    diagonal = low.diagonal(dim1=-2, dim2=-1)
    squares = torch.where(y.straddles_zero, 0.0, torch.minimum(y.lower.square(), y.upper.square()))
    low = low.diagonal_scatter(torch.maximum(diagonal, squares), dim1=-2, dim2=-1)
    low, high = products(Box(low, torch.maximum(low, high)), share.map(lambda x: x.unsqueeze(-1)))
    least, most = products(Box(plain - high, plain - torch.minimum(low, high)), inverse.map(lambda x: x.unsqueeze(-1)))
    size = inverse.upper.unsqueeze(-1) * (plain.abs() + torch.maximum(low.abs(), high.abs()))
    return entries(least, most, size)


def _ball(box: Box) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(c, r, l2 length of r rounded up, [.., 1]) of rows."""
    c, r = box.centre_radius()
    return c, r, torch.linalg.vector_norm(r, dim=-1, keepdim=True) * up(1.0 + gamma(r.shape[-1] + 8)) + 2.0**-500


def _deviation(square: torch.Tensor, eps: float, size: int, reach: torch.Tensor, least: torch.Tensor) -> Box:
    """sqrt(q(x) / d + eps) around a centre where |x|^2 of its part is `square` [.., 1]: 1 / sqrt(d)-Lipschitz in l2.

    least: a lower bound of q / d over the box.
    """
    slack = gamma(4 * size + 32)
    middle = (square / size + eps).sqrt()
    further = reach / math.sqrt(size) * (1.0 + slack)
    error = middle * slack + 2.0**-500
    floor = (least.clamp(min=0.0) + eps).sqrt() * (1.0 - slack)
    low = torch.maximum((middle - further - error) * (1.0 - slack), floor)
    return Box(low, torch.maximum((middle + further + error) * (1.0 + slack), low))


@jacobian.register
def _(op: Normalise, boxes: tuple[Box, ...]) -> tuple[Jacobian, ...]:
    """(1/s)(P - y y' / d), y = P x / s the value, s = sqrt(|P x|^2 / d + eps)."""
    d, box = op.size, boxes[0]
    _room(len(box.lower), op.groups, d, d)
    c, r, reach = _ball(box)
    z = c - c.mean(-1, keepdim=True)
    noise = c.abs().amax(-1, keepdim=True) * gamma(d + 8)
    # z off by `noise` an entry moves its length by sqrt(d) of it
    s = _deviation(
        z.square().sum(-1, keepdim=True),
        op.eps,
        d,
        reach + noise * math.sqrt(d) * 1.1,
        least_variance(box).unsqueeze(-1),
    )
    inverse = _inverse(s)
    around = (r * (1.0 - 2.0 / d) + r.mean(-1, keepdim=True)) * up(1.0 + gamma(d + 16)) + noise
    low, high = products(Box(z - around, z + around).widened(0.0), inverse)
    own = op.interval(box)
    y = _within(Box(tensor_down(low), tensor_up(high)), own)
    plain = torch.eye(d, dtype=torch.float64) - 1.0 / d
    share = Box.point(torch.full_like(s.lower, 1.0 / d))
    centre, radius = _bent(plain, y, share, inverse)
    return (_same(centre, radius, _along((op.groups, d), 1), (op.groups, d)),)


def _within(box: Box, other: Box) -> Box:
    """Both at once, where rounding does not keep them apart."""
    low, high = torch.maximum(box.lower, other.lower), torch.minimum(box.upper, other.upper)
    return Box(torch.minimum(low, high), torch.maximum(low, high))


@jacobian.register
def _(op: RootMeanSquare, boxes: tuple[Box, ...]) -> tuple[Jacobian, ...]:
    """(1/s)(I - y y' / d), y = x / s the value, s = sqrt(|x|^2 / d + eps)."""
    d, box = op.size, boxes[0]
    _room(len(box.lower), op.groups, d, d)
    c, _, reach = _ball(box)
    least = _length(box).lower.square() / d * (1.0 - gamma(8))
    s = _deviation(c.square().sum(-1, keepdim=True), op.eps, d, reach, least)
    inverse = _inverse(s)
    low, high = products(box, inverse)
    y = _within(Box(tensor_down(low), tensor_up(high)), op.interval(box))
    share = Box.point(torch.full_like(s.lower, 1.0 / d))
    centre, radius = _bent(torch.eye(d, dtype=torch.float64), y, share, inverse)
    return (_same(centre, radius, _along((op.groups, d), 1), (op.groups, d)),)


@jacobian.register
def _(op: UnitVector, boxes: tuple[Box, ...]) -> tuple[Jacobian, ...]:
    """(1/n)(I - t e e'), e = x / |x|, n the length divided by, t = |x| / n; t = 0 below a floor of n."""
    d, box = op.size, boxes[0]
    if op.p != 2:
        raise Unknown("only vectors of euclidean length have a model")
    _room(len(box.lower), op.groups, d, d)
    length = _length(box)
    floor = Box(*(torch.full_like(length.lower, op.floor * (1.0 + room)) for room in (-2e-15, 2e-15)))
    if op.added:
        n = Box(tensor_down(length.lower + floor.lower), tensor_up(length.upper + floor.upper))
    else:
        n = Box(torch.maximum(length.lower, floor.lower), torch.maximum(length.upper, floor.upper))
    if not bool((n.lower > 0).all()):
        raise Unknown("a vector is divided by a length that may be 0")
    if op.added:
        share = Box(length.lower / n.upper * (1.0 - 1e-14), (length.upper / n.lower * (1.0 + 1e-14)).clamp(max=1.0))
    else:
        share = Box((length.lower > floor.upper).double(), (length.upper >= floor.lower).double())
    centre, radius = _bent(torch.eye(d, dtype=torch.float64), _unit(box, length), share, _inverse(n))
    return (_same(centre, radius, _along((op.groups, d), 1), (op.groups, d)),)


@jacobian.register
def _(op: Largest, boxes: tuple[Box, ...]) -> tuple[Jacobian, ...]:
    """Entry t can be the i-th largest if i is from the number of those surely above it to that of those possibly so."""
    _room(len(boxes[0].lower), op.groups, op.size, op.size)
    box = boxes[0] if op.sign > 0 else Box(-boxes[0].upper, -boxes[0].lower)
    low, high = box.lower.unsqueeze(-1), box.upper.unsqueeze(-1)
    others = ~torch.eye(op.size, dtype=torch.bool)
    surely = ((box.lower.unsqueeze(-2) > high) & others).sum(-1)
    possibly = ((box.upper.unsqueeze(-2) >= low) & others).sum(-1)
    rank = torch.arange(op.count).reshape(-1, 1)
    can = (rank >= surely.unsqueeze(-2)) & (rank <= possibly.unsqueeze(-2))
    alone = can & (surely == possibly).unsqueeze(-2)
    centre, radius = (alone.double() + can.double()) / 2, (can.double() - alone.double()) / 2
    order = torch.arange(op.groups * op.count)
    return (Grouped(centre, radius, _along((op.groups, op.size), 1), order, (op.groups, op.size), op.out_shape),)


@jacobian.register
def _(op: Multiply, boxes: tuple[Box, ...]) -> tuple[Jacobian, ...]:
    return tuple(Scaled(*box.centre_radius()) for box in reversed(boxes))


@jacobian.register
def _(op: MatMulData, boxes: tuple[Box, ...]) -> tuple[Jacobian, ...]:
    (a, ra), (b, rb) = (box.centre_radius() for box in boxes)
    return Multiplied(b, rb, op.left, left=False), Multiplied(a, ra, op.right, left=True)


@jacobian.register
def _(op: Divide, boxes: tuple[Box, ...]) -> tuple[Jacobian, ...]:
    """1 / y and -x / y^2."""
    x, y = boxes
    if bool(y.straddles_zero.any()):
        raise Unknown("a divisor may be 0")
    inverse = Box(tensor_down(1.0 / y.upper), tensor_up(1.0 / y.lower))
    value = op.interval(x, y)
    low, high = products(value, inverse)
    first, second = inverse.centre_radius(), entries(-high, -low, torch.maximum(low.abs(), high.abs()))
    return Scaled(*first), Scaled(*second)
