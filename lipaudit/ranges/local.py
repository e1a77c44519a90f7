"""Nodes near a point, as a linear map and what may deviate from it: the model that all rows are pulled through.

For two points of a region, the difference of a node's value is

    d(out) = M d(in) + sum_j w_j b_j,    w_j = (s_j - k_j) v_j,    |s_j - k_j| <= spread_j,

M linear, v_j a linear functional of d(in) (the neuron's own input), b_j what it adds to (its output). Two readings:

- *between all pairs* of points: s_j is any slope met over the range of the neuron (Clarke's interval);
- *from the centre*: one point is the centre of the ball, so that s_j is a secant's slope from there, and w_j itself
  lies in [low_j, high_j].
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import singledispatch
from typing import final

import torch

from lipaudit.linear.selection import NOTHING
from lipaudit.numerics.box import Box
from lipaudit.numerics.rounding import U, tensor_down, tensor_up
from lipaudit.ops.elementwise import Elementwise
from lipaudit.ops.maxlike import PointwiseMax, WindowMax
from lipaudit.ops.op import Op
from lipaudit.ops.scalar import Scalar
from lipaudit.ranges.entries import Unknown, shares

PIECES = 8
"""How many parts of a neuron's range a smooth function's remainder is read from."""


class Local(ABC):
    """A nonlinear node's model for a batch of regions. Neurons are numbered 0.. in a flat order of the model's own."""

    __slots__ = ()

    @property
    @abstractmethod
    def spread(self) -> torch.Tensor:
        """[B, neurons], not negative; 0 where the node is linear."""

    @property
    @abstractmethod
    def low(self) -> torch.Tensor:
        """[B, neurons], at most w_j from the centre; not positive."""

    @property
    @abstractmethod
    def high(self) -> torch.Tensor:
        """[B, neurons], at least w_j from the centre; not negative."""

    @abstractmethod
    def pull(self, rows: torch.Tensor) -> torch.Tensor:
        """M' of rows [B, R, *out_shape], to nearest: [B, R, *in_shape]."""

    def pulls(self, rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """`pull` by every argument of the node: most have one."""
        return (self.pull(rows),)

    @abstractmethod
    def coefficients(self, rows: torch.Tensor) -> torch.Tensor:
        """rows . b_j, to nearest: [B, R, neurons]."""

    @abstractmethod
    def inputs(self, which: torch.Tensor) -> torch.Tensor:
        """v_j for neurons which [B, U]: rows of entries -1, 0, 1, exact: [B, U, *in_shape]."""

    @property
    @abstractmethod
    def gain(self) -> torch.Tensor:
        """[B]: at least the l2 norm of M'."""

    @property
    @abstractmethod
    def reading(self) -> float:
        """At least the l2 norm of rows -> coefficients."""

    @property
    @abstractmethod
    def roundings(self) -> int:
        """How many nested roundings an entry of pull and of coefficients carries."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Neurons(Local):
    """An elementwise node: out = slope . in + w, entry by entry."""

    slope: torch.Tensor
    around: torch.Tensor
    least: torch.Tensor
    most: torch.Tensor

    @property
    def spread(self) -> torch.Tensor:
        return self.around.flatten(1)

    @property
    def low(self) -> torch.Tensor:
        return self.least.flatten(1)

    @property
    def high(self) -> torch.Tensor:
        return self.most.flatten(1)

    def pull(self, rows: torch.Tensor) -> torch.Tensor:
        return rows * self.slope.unsqueeze(1)

    def coefficients(self, rows: torch.Tensor) -> torch.Tensor:
        return rows.flatten(2)

    def inputs(self, which: torch.Tensor) -> torch.Tensor:
        return one_hot(which, self.slope.shape[1:])

    @property
    def gain(self) -> torch.Tensor:
        return self.slope.flatten(1).abs().amax(1)

    @property
    def reading(self) -> float:
        return 1.0

    @property
    def roundings(self) -> int:
        return 1


@final
@dataclass(frozen=True, slots=True, eq=False)
class Winners(Local):
    """A node whose outputs are the largest of some inputs: d(out_i) = sum_j p_j d(in_j), p >= 0 with sum 1.

    With a reference r of each window, d(out_i) = d(in_r) + sum_j p_j (d(in_j) - d(in_r)): a slope in [0, 1] for every
    other entry that can win, k_j = 1 / (entries that can win). Windows are seen as in `WindowMax`.
    index: [B, out, 1 + width] flat inputs, the reference first; shares: [B, out, width], k_j, 0 where j cannot win.
    """

    index: torch.Tensor
    shares: torch.Tensor
    around: torch.Tensor
    reach: torch.Tensor
    source: tuple[int, ...]
    target: tuple[int, ...]
    sign: float
    copies: int

    @property
    def spread(self) -> torch.Tensor:
        return self.around.flatten(1)

    @property
    def low(self) -> torch.Tensor:
        return -self.high

    @property
    def high(self) -> torch.Tensor:
        return tensor_up(self.around * self.reach).flatten(1)

    def pull(self, rows: torch.Tensor) -> torch.Tensor:
        flat = rows.flatten(2).unsqueeze(-1)
        rest = (1.0 - self.shares.sum(-1, keepdim=True)).unsqueeze(1)
        weights = torch.cat([flat * rest, flat * self.shares.unsqueeze(1)], -1).flatten(2)
        size = int(torch.Size(self.source).numel())
        total = rows.new_zeros(*rows.shape[:2], size + 1)
        total.scatter_add_(2, self.index.flatten(1).unsqueeze(1).expand_as(weights), weights)
        return total[..., :size].reshape(*rows.shape[:2], *self.source)

    def coefficients(self, rows: torch.Tensor) -> torch.Tensor:
        return rows.flatten(2).unsqueeze(-1).expand(-1, -1, -1, self.shares.shape[-1]).flatten(2)

    def inputs(self, which: torch.Tensor) -> torch.Tensor:
        own, reference = self._pairs(which)
        size = int(torch.Size(self.source).numel())
        rows = torch.zeros(*which.shape, size + 1, dtype=torch.float64)
        rows.scatter_add_(2, own.unsqueeze(2), torch.ones_like(own, dtype=torch.float64).unsqueeze(2))
        rows.scatter_add_(2, reference.unsqueeze(2), -torch.ones_like(own, dtype=torch.float64).unsqueeze(2))
        return rows[..., :size].reshape(*which.shape, *self.source)

    def differences(self, box: Box, which: torch.Tensor) -> Box:
        """A box around v_j for neurons which [B, U], the node's input being in the box."""
        own, reference = self._pairs(which)
        low, high = (torch.cat([x.flatten(1), x.new_zeros(len(x), 1)], 1) for x in (box.lower, box.upper))
        least, most = low.gather(1, own) - high.gather(1, reference), high.gather(1, own) - low.gather(1, reference)
        return Box(tensor_down(least), tensor_up(most))

    def _pairs(self, which: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Flat inputs [B, U]: the neurons' own entries, and the references of their windows."""
        width = self.shares.shape[-1]
        window, slot = which // width, which % width
        flat = self.index.flatten(1)
        return flat.gather(1, window * (width + 1) + slot + 1), flat.gather(1, window * (width + 1))

    @property
    def gain(self) -> torch.Tensor:
        # each row's absolute weights add up to 1 (k_j >= 0 with sum at most 1), each entry is in `copies` windows
        return torch.full((len(self.index),), float(self.copies), dtype=torch.float64)

    @property
    def reading(self) -> float:
        return float(self.shares.shape[-1])

    @property
    def roundings(self) -> int:
        return self.copies + self.shares.shape[-1] + 3


def one_hot(which: torch.Tensor, shape: torch.Size | tuple[int, ...]) -> torch.Tensor:
    """Unit vectors: [B, U] of flat places -> [B, U, *shape]."""
    rows = torch.zeros(*which.shape, int(torch.Size(shape).numel()), dtype=torch.float64)
    return rows.scatter_(2, which.unsqueeze(2), 1.0).reshape(*which.shape, *shape)


@singledispatch
def between(op: Op, box: Box) -> Local:
    """The model between all pairs of points of a region, over which the node's input is in the box."""
    raise Unknown(f"{type(op).__name__} has no model by slopes")


@singledispatch
def from_centre(op: Op, box: Box, centre: Box) -> Local:
    """The model from the centre of a ball: its input is in the box, and at the centre in `centre`."""
    raise Unknown(f"{type(op).__name__} has no model by slopes")


@between.register
def _(op: Elementwise, box: Box) -> Local:
    slopes = op.slopes(box)
    if not slopes.finite:
        raise Unknown(op.caveat(box) or f"a slope of {op.function.name} is unbounded")
    slope, around = slopes.centre_radius()
    return Neurons(slope, around, torch.zeros_like(slope), torch.zeros_like(slope))


@from_centre.register
def _(op: Elementwise, box: Box, centre: Box) -> Local:
    slopes = op.slopes(box)
    if not slopes.finite:
        raise Unknown(op.caveat(box) or f"a slope of {op.function.name} is unbounded")
    if not box.finite:
        raise Unknown(f"the input of {op.function.name} is not bounded near the centre")
    knot = kink(op.function, op.shape)
    if knot is not None:
        return _from_kink(*knot, box, centre, slopes)
    slope, around = slopes.centre_radius()
    below, above = tensor_up(centre.upper - box.lower), tensor_up(box.upper - centre.lower)
    reach = tensor_up(around * torch.maximum(below, above).clamp(min=0.0))
    low, high = Pieces.of(op.function, box, centre).remainder(slope)
    return Neurons(slope, around, torch.maximum(low, -reach).clamp(max=0.0), torch.minimum(high, reach).clamp(min=0.0))


def kink(function: Scalar, shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None:
    """(knot, slope left of it, slope right of it) [1, *shape] of a function that is two half-lines, None of any other.

    The derivative is monotone on either side of the only mark, and there equal to its limit at infinity: constant.
    """
    if any(function.slope_error) or len(function.slope_marks) != 1 or function.period is not None or function.poles:
        return None
    (mark,) = function.slope_marks
    if len(mark.values) != 2 or function.domain != (-torch.inf, torch.inf):
        return None
    ends = [torch.as_tensor(x, dtype=torch.float64) for x in (*mark.values, *function.slope_limits)]
    if not (bool((ends[0] == ends[2]).all()) and bool((ends[1] == ends[3]).all())):
        return None
    zero = torch.zeros(1, *shape, dtype=torch.float64)
    return zero + mark.at, zero + ends[0], zero + ends[1]


def _from_kink(
    knot: torch.Tensor, left: torch.Tensor, right: torch.Tensor, box: Box, centre: Box, slopes: Box
) -> Neurons:
    """Secants of two half-lines from the centre: the share of the way on the far side of the knot is at most what it is
    for the farthest point and the nearest centre."""
    inside = (box.lower < knot) & (knot < box.upper)
    beyond_left = (knot - box.lower) / (centre.lower - box.lower).clamp_min(1e-300)
    beyond_right = (box.upper - knot) / (box.upper - centre.upper).clamp_min(1e-300)
    room = 1.0 + 8.0 * U
    far_left = torch.where(centre.lower > knot, (beyond_left * room).clamp(0.0, 1.0), 1.0)
    far_right = torch.where(centre.upper < knot, (beyond_right * room).clamp(0.0, 1.0), 1.0)
    from_right = right + (left - right) * far_left
    from_left = left + (right - left) * far_right
    near = torch.where(centre.lower > knot, right, left)
    far = torch.where(centre.lower > knot, from_right, torch.where(centre.upper < knot, from_left, right))
    low, high = torch.minimum(near, far), torch.maximum(near, far)
    size = (left.abs() + right.abs()) * 8.0 * U
    low, high = torch.maximum(low - size, slopes.lower), torch.minimum(high + size, slopes.upper)
    low, high = torch.where(inside, low, slopes.lower), torch.where(inside, high, slopes.upper)
    slope, around = Box(low, torch.maximum(low, high)).centre_radius()
    # h(v) = f(v) - slope v, about the knot: extreme at the ends and the knot
    at = [_bent(x - knot, left - slope, right - slope) for x in (box.lower, box.upper)]
    own = [_bent(x - knot, left - slope, right - slope) for x in (centre.lower, centre.upper)]
    middle = torch.where(inside, torch.zeros_like(at[0]), at[0])
    straddled = (centre.lower < knot) & (knot < centre.upper)
    here = torch.where(straddled, torch.zeros_like(at[0]), own[0])
    error = torch.stack([x.abs() for x in (*at, *own)]).amax(0) * 16.0 * U
    least = torch.stack([*at, middle]).amin(0) - torch.stack([*own, here]).amax(0)
    most = torch.stack([*at, middle]).amax(0) - torch.stack([*own, here]).amin(0)
    straight = around == 0
    low_end = torch.where(straight, 0.0, tensor_down(least - error).clamp(max=0.0))
    high_end = torch.where(straight, 0.0, tensor_up(most + error).clamp(min=0.0))
    return Neurons(slope.expand_as(box.lower), around.expand_as(box.lower), low_end, high_end)


def _bent(x: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    return torch.where(x < 0, left * x, right * x)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """A scalar function over a box cut into pieces, from which f(v) - f(c) - a (v - c) is bounded for any slope a.

    points: [P + 1, ...], rising from end to end of the box; values, own: boxes around f there and at the centre;
    slopes: [P, ...], around every slope of a piece; centre: a box around c.
    """

    points: torch.Tensor
    values: Box
    slopes: Box
    centre: Box
    own: Box

    @staticmethod
    def of(function: Scalar, box: Box, centre: Box, count: int = PIECES) -> Pieces:
        """`count` pieces of equal length."""
        ends = [box.lower + (box.upper - box.lower) * (i / count) for i in range(count)] + [box.upper]
        points = torch.stack([torch.minimum(torch.maximum(p, box.lower), box.upper) for p in ends])
        pieces = Box(torch.minimum(points[:-1], points[1:]), torch.maximum(points[:-1], points[1:]))
        values = function.value_range(Box.point(points))
        return Pieces(points, values, function.slope_range(pieces), centre, function.value_range(centre))

    def map(self, transform: Callable[[torch.Tensor], torch.Tensor]) -> Pieces:
        """Some of the entries: `transform` moves the axes behind the pieces'."""
        boxes = [box.map(transform) for box in (self.values, self.slopes, self.centre, self.own)]
        return Pieces(transform(self.points), boxes[0], boxes[1], boxes[2], boxes[3])

    def remainder(self, slope: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(at most, at least) f(v) - f(c) - slope (v - c) for v in the box and c in `centre`.

        On a piece from p to q, with slopes in [a, b], h(v) = f(v) - slope v lies within [a - slope, b - slope] (v - p)
        of h(p), and likewise from q.
        """
        low, high = _tilted(self.values.lower, self.values.upper, self.points, self.points, slope)
        width = tensor_up(self.points[1:] - self.points[:-1]).clamp(min=0.0)
        rise = tensor_up(tensor_up(self.slopes.upper - slope).clamp(min=0.0) * width)
        fall = tensor_up(tensor_up(slope - self.slopes.lower).clamp(min=0.0) * width)
        most = torch.minimum(tensor_up(high[:-1] + rise), tensor_up(high[1:] + fall)).amax(0)
        least = torch.maximum(tensor_down(low[:-1] - fall), tensor_down(low[1:] - rise)).amin(0)
        here = _tilted(self.own.lower, self.own.upper, self.centre.lower, self.centre.upper, slope)
        first_low, first_high = torch.minimum(least, low[0]), torch.maximum(most, high[0])
        return tensor_down(first_low - here[1]), tensor_up(first_high - here[0])


def _tilted(
    least: torch.Tensor, most: torch.Tensor, lower: torch.Tensor, upper: torch.Tensor, slope: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """f(v) - slope v for v in [lower, upper], a thin box, and f(v) in [least, most]."""
    ends = [slope * lower, slope * upper]
    error = torch.maximum(*(end.abs() for end in ends)) * 2.0 * U + 2.0**-1000
    low, high = torch.minimum(*ends) - error, torch.maximum(*ends) + error
    return tensor_down(least - tensor_up(high)), tensor_up(most - tensor_down(low))


def _winners(windows: torch.Tensor, source: tuple[int, ...], target: tuple[int, ...], sign: float, box: Box) -> Winners:
    probe = WindowMax(windows, source, target, sign)
    most = shares(probe, box)[1]
    size = int(torch.Size(source).numel())
    index = torch.where(windows == NOTHING, size, windows).expand(len(box.lower), -1, -1)
    lower = torch.cat([box.lower.flatten(1) * sign, box.lower.new_full((len(box.lower), 1), -torch.inf)], 1)
    upper = torch.cat([box.upper.flatten(1) * sign, box.upper.new_full((len(box.upper), 1), -torch.inf)], 1)
    lower, upper = torch.minimum(lower, upper), torch.maximum(lower, upper)
    if not box.finite:
        raise Unknown("a maximum is taken over unbounded values")
    low, high = (x.gather(1, index.flatten(1)).reshape(index.shape) for x in (lower, upper))
    middle = torch.where(most > 0, (low + high) / 2, -torch.inf)
    reference = middle.argmax(-1, keepdim=True)
    count = most.sum(-1, keepdim=True)
    share = torch.where(most > 0, 1.0 / count, 0.0).scatter(-1, reference, 0.0)
    around = torch.where(share > 0, tensor_up(1.0 - share), 0.0)
    # |d(in_j) - d(in_r)| from the centre is at most the width of the difference's range
    width = tensor_up(high - low)
    own = width.gather(-1, reference)
    reach = torch.where(share > 0, tensor_up(width + own), 0.0)
    first = index.gather(-1, reference)
    used = windows[windows != NOTHING]
    copies = int(torch.bincount(used, minlength=1).max()) if used.numel() else 0
    return Winners(torch.cat([first, index], -1), share, around, reach, source, target, sign, max(copies, 1))


@between.register
def _(op: WindowMax, box: Box) -> Local:
    return _winners(op.windows, op.source, op.target, op.sign, box)


@from_centre.register
def _(op: WindowMax, box: Box, centre: Box) -> Local:
    return _winners(op.windows, op.source, op.target, op.sign, box)


def stacked(op: PointwiseMax) -> torch.Tensor:
    """The windows of a maximum of several values, as in `WindowMax`."""
    size = int(torch.Size(op.shape).numel())
    return torch.arange(op.arity * size).reshape(op.arity, size).T.contiguous()


@between.register
def _(op: PointwiseMax, box: Box) -> Local:
    return _winners(stacked(op), op.in_shapes[0], op.shape, op.sign, box)


@from_centre.register
def _(op: PointwiseMax, box: Box, centre: Box) -> Local:
    return _winners(stacked(op), op.in_shapes[0], op.shape, op.sign, box)
