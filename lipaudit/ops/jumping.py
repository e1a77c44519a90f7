"""Ops that jump: no Lipschitz constant, but an affine modulus |f(x) - f(y)| <= sum of slopes_i |x_i - y_i| + jump."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, final

import torch

from lipaudit.linear.map import Shape
from lipaudit.numerics.bound import ONE, UNBOUNDED, ZERO, UpperBound
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.numerics.rounding import sqrt_up, tensor_up
from lipaudit.ops.op import Op


class Jumping(Op):
    """An op that is not continuous. Whoever asks for its gain is told that there is none.

    Laws: for x, y in the boxes, |f(x) - f(y)| <= sum slopes(norm, boxes)_i |x_i - y_i| + jump(norm, boxes).
    """

    __slots__ = ()
    family: ClassVar[str] = "Jumping"

    @abstractmethod
    def slopes(self, norm: Norm, *boxes: Box) -> tuple[UpperBound, ...]:
        """For each argument: the linear part of the modulus."""

    @abstractmethod
    def jump(self, norm: Norm, *boxes: Box) -> UpperBound:
        """The constant part of the modulus."""

    @final
    def gains(self, norm: Norm, *boxes: Box) -> tuple[UpperBound, ...]:
        return (UNBOUNDED,) * len(self.in_shapes)

    @final
    def joint_gain(self, norm: Norm, *boxes: Box) -> UpperBound:
        return UNBOUNDED

    @final
    def caveat(self, *boxes: Box) -> str | None:
        return "it jumps: there is no finite Lipschitz constant, but an affine modulus (--modulus)"


def length(norm: Norm, jumps: torch.Tensor) -> UpperBound:
    """The norm of a vector of jumps [B, ..], the largest of the batch, rounded up."""
    rows = jumps.reshape(len(jumps), -1)
    if not bool(torch.isfinite(rows).all()):
        return UNBOUNDED
    return UpperBound(max((norm.bounds_of(row)[1] for row in rows), default=0.0), "jumps, entry by entry")


@final
@dataclass(frozen=True, slots=True)
class Stair:
    """A scalar function with steps that never falls.

    fn: exact in float64. rounds: whether it moves by less than |x - y| + 1.
    """

    name: str
    fn: Callable[[torch.Tensor], torch.Tensor]
    rounds: bool = False


def _of(condition: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: condition(x).to(x.dtype)


FLOOR = Stair("Floor", torch.floor, rounds=True)
CEIL = Stair("Ceil", torch.ceil, rounds=True)
ROUND = Stair("Round", torch.round, rounds=True)
TRUNCATE = Stair("Truncate", torch.trunc, rounds=True)
SIGN = Stair("Sign", torch.sign)
POSITIVE = Stair("Positive", _of(lambda x: x > 0))
NOT_NEGATIVE = Stair("NotNegative", _of(lambda x: x >= 0))


@final
@dataclass(frozen=True, slots=True, eq=False)
class Step(Jumping):
    """A stair applied to every entry; every stair is monotone, so ends map to ends, exactly.

    An entry whose range is [a, b] moves by at most b - a, whatever x and y; floor, ceil, round and truncation of one
    move by at most |x - y| + 1. So a rounding has (0, b - a) where that is at most 1 and (1, 1) elsewhere, a sign or a
    comparison (0, b - a). The vector of entries s_i d_i + j_i has at most the norm max s_i |d| + |j|.
    """

    stair: Stair
    shape: Shape
    rule: ClassVar[str] = "slope 1 and jump 1 an entry for a rounding; jump alone for a sign or a comparison"

    @property
    def in_shapes(self) -> tuple[Shape, ...]:
        return (self.shape,)

    @property
    def out_shape(self) -> Shape:
        return self.shape

    def forward(self, *args: torch.Tensor) -> torch.Tensor:
        return self.stair.fn(args[0])

    def interval(self, *boxes: Box) -> Box:
        return Box(self.stair.fn(boxes[0].lower), self.stair.fn(boxes[0].upper))

    def slopes(self, norm: Norm, *boxes: Box) -> tuple[UpperBound, ...]:
        return (ONE if bool((self._widths(*boxes) > 1.0).any()) and self.stair.rounds else ZERO,)

    def jump(self, norm: Norm, *boxes: Box) -> UpperBound:
        widths = self._widths(*boxes)
        return length(norm, widths.clamp(max=1.0) if self.stair.rounds else widths)

    def _widths(self, *boxes: Box) -> torch.Tensor:
        return spread(self.interval(*boxes))


def spread(box: Box) -> torch.Tensor:
    """The largest difference of two values of a box, entry by entry, rounded up; 0 for a point."""
    gap = box.upper - box.lower
    # whole numbers below 2^52 have an exact difference
    whole = (torch.round(box.lower) == box.lower) & (torch.round(box.upper) == box.upper) & (box.magnitude < 2.0**52)
    return torch.where(box.lower == box.upper, torch.zeros_like(gap), torch.where(whole, gap, tensor_up(gap)))


@final
@dataclass(frozen=True, slots=True, eq=False)
class Zero(Jumping):
    """1 where an entry is 0, 0 elsewhere: (0, 1) an entry that may be both."""

    shape: Shape
    rule: ClassVar[str] = "jump 1 an entry that may be both"

    @property
    def in_shapes(self) -> tuple[Shape, ...]:
        return (self.shape,)

    @property
    def out_shape(self) -> Shape:
        return self.shape

    def forward(self, *args: torch.Tensor) -> torch.Tensor:
        return (args[0] == 0).to(args[0].dtype)

    def interval(self, *boxes: Box) -> Box:
        lower, upper = boxes[0].lower, boxes[0].upper
        return Box(((lower == 0) & (upper == 0)).double(), ((lower <= 0) & (upper >= 0)).double())

    def slopes(self, norm: Norm, *boxes: Box) -> tuple[UpperBound, ...]:
        return (ZERO,)

    def jump(self, norm: Norm, *boxes: Box) -> UpperBound:
        return length(norm, spread(self.interval(*boxes)))


@final
@dataclass(frozen=True, slots=True, eq=False)
class Winner(Jumping):
    """The place of the largest entry of each row of [groups, size], the first (or last) of equals. sign -1: smallest.

    A row's winner is one of the places whose upper end reaches the surest value, so it moves by at most the distance
    between the outermost of those.
    """

    groups: int
    size: int
    sign: float = 1.0
    last: bool = False
    rule: ClassVar[str] = "jump: how far apart the places are that may win"

    @property
    def in_shapes(self) -> tuple[Shape, ...]:
        return ((self.groups, self.size),)

    @property
    def out_shape(self) -> Shape:
        return (self.groups,)

    def forward(self, *args: torch.Tensor) -> torch.Tensor:
        x = args[0] * self.sign
        best = x == x.amax(-1, keepdim=True)
        places = torch.arange(self.size, dtype=x.dtype)
        chosen = torch.where(best, places, -1.0 if self.last else float(self.size))
        return chosen.amax(-1) if self.last else chosen.amin(-1)

    def interval(self, *boxes: Box) -> Box:
        lower, upper = (boxes[0].lower, boxes[0].upper) if self.sign > 0 else (-boxes[0].upper, -boxes[0].lower)
        possible = upper >= lower.amax(-1, keepdim=True)
        places = torch.arange(self.size, dtype=torch.float64)
        first = torch.where(possible, places, math.inf).amin(-1)
        return Box(first, torch.where(possible, places, -math.inf).amax(-1))

    def slopes(self, norm: Norm, *boxes: Box) -> tuple[UpperBound, ...]:
        return (ZERO,)

    def jump(self, norm: Norm, *boxes: Box) -> UpperBound:
        return length(norm, spread(self.interval(*boxes)))


@final
@dataclass(frozen=True, slots=True, eq=False)
class Choose(Jumping):
    """a where the condition is not 0, b elsewhere; all three of one shape.

    Where both conditions agree an entry moves as a or b does. Where they differ, |a - b'| <= |a - a'| + |a' - b'|. So
    an entry moves by at most max(|da|, |db|), and by sup |a - b| more where the condition may go both ways; the norm
    of max(|da|, |db|) is at most |da| + |db|.
    """

    shape: Shape
    rule: ClassVar[str] = "1 for each choice; jump: how far apart the choices may be"

    @property
    def in_shapes(self) -> tuple[Shape, ...]:
        return (self.shape,) * 3

    @property
    def out_shape(self) -> Shape:
        return self.shape

    def forward(self, *args: torch.Tensor) -> torch.Tensor:
        return torch.where(args[0] != 0, args[1], args[2])

    def interval(self, *boxes: Box) -> Box:
        never, always = _settled(boxes[0])
        lower, upper = torch.minimum(boxes[1].lower, boxes[2].lower), torch.maximum(boxes[1].upper, boxes[2].upper)
        lower = torch.where(always, boxes[1].lower, torch.where(never, boxes[2].lower, lower))
        return Box(lower, torch.where(always, boxes[1].upper, torch.where(never, boxes[2].upper, upper)))

    def slopes(self, norm: Norm, *boxes: Box) -> tuple[UpperBound, ...]:
        never, always = _settled(boxes[0])
        return (ZERO, ZERO if bool(never.all()) else ONE, ZERO if bool(always.all()) else ONE)

    def jump(self, norm: Norm, *boxes: Box) -> UpperBound:
        never, always = _settled(boxes[0])
        apart = torch.maximum(boxes[1].upper - boxes[2].lower, boxes[2].upper - boxes[1].lower)
        apart = torch.where(never | always, torch.zeros_like(apart), tensor_up(apart))
        return length(norm, torch.nan_to_num(apart, nan=math.inf, posinf=math.inf))


def _settled(condition: Box) -> tuple[torch.Tensor, torch.Tensor]:
    """(where it is surely 0, where it surely is not)."""
    never = (condition.lower == 0) & (condition.upper == 0)
    return never, (condition.lower > 0) | (condition.upper < 0)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Look(Jumping):
    """The row of a constant table [rows, *rest] at a place that depends on the input: [*shape] -> [*shape, *rest].

    An entry moves by at most the spread of its column over the places that are possible; a place below 0 counts from
    the back. Places beyond the table do not occur in a model that runs; such an interval is cut to the table.
    """

    table: torch.Tensor
    shape: Shape
    rule: ClassVar[str] = "jump: the spread of the table over the places that are possible"

    @property
    def in_shapes(self) -> tuple[Shape, ...]:
        return (self.shape,)

    @property
    def out_shape(self) -> Shape:
        return (*self.shape, *self.table.shape[1:])

    def forward(self, *args: torch.Tensor) -> torch.Tensor:
        rows = len(self.table)
        places = args[0].long()
        return self.table[torch.where(places < 0, places + rows, places).clamp(0, rows - 1)]

    def interval(self, *boxes: Box) -> Box:
        rows = len(self.table)
        flat = self.table.reshape(rows, -1)
        lower, upper = boxes[0].lower.reshape(-1), boxes[0].upper.reshape(-1)
        first = torch.nan_to_num(torch.ceil(lower), neginf=-float(rows)).clamp(-rows, rows - 1).long()
        last = torch.nan_to_num(torch.floor(upper), posinf=float(rows)).clamp(-rows, rows - 1).long()
        whole = first < 0
        first, last = torch.where(whole, 0, first), torch.where(whole, rows - 1, torch.maximum(last, first))
        low, high = (
            torch.full((len(lower), flat.shape[1]), math.inf),
            torch.full((len(lower), flat.shape[1]), -math.inf),
        )
        low, high = low.double(), high.double()
        for place in range(rows):
            met = ((first <= place) & (last >= place)).unsqueeze(1)
            low = torch.where(met, torch.minimum(low, flat[place]), low)
            high = torch.where(met, torch.maximum(high, flat[place]), high)
        shape = (len(boxes[0].lower), *self.out_shape)
        return Box(low.reshape(shape), high.reshape(shape))

    def slopes(self, norm: Norm, *boxes: Box) -> tuple[UpperBound, ...]:
        return (ZERO,)

    def jump(self, norm: Norm, *boxes: Box) -> UpperBound:
        return length(norm, spread(self.interval(*boxes)))


@final
@dataclass(frozen=True, slots=True, eq=False)
class Pick(Jumping):
    """x[group, place] for places [groups, count] of rows [groups, size]; both depend on the input.

    |x_i - x'_j| <= |x_i - x'_i| + |x'_i - x'_j|: an entry moves by |dx| of the one it picks, and by the spread of the
    row's ranges more. `count` entries of a row may pick the same one: count in l1, its root in l2, 1 in linf.
    """

    groups: int
    size: int
    count: int
    rule: ClassVar[str] = "l2 sqrt(picks of a row), l1 picks, linf 1; jump: the spread of a row"

    @property
    def in_shapes(self) -> tuple[Shape, ...]:
        return ((self.groups, self.size), (self.groups, self.count))

    @property
    def out_shape(self) -> Shape:
        return (self.groups, self.count)

    def forward(self, *args: torch.Tensor) -> torch.Tensor:
        places = args[1].long()
        return args[0].gather(-1, torch.where(places < 0, places + self.size, places).clamp(0, self.size - 1))

    def interval(self, *boxes: Box) -> Box:
        shape = (-1, -1, self.count)
        low, high = boxes[0].lower.amin(-1, keepdim=True), boxes[0].upper.amax(-1, keepdim=True)
        return Box(low.expand(shape).contiguous(), high.expand(shape).contiguous())

    def slopes(self, norm: Norm, *boxes: Box) -> tuple[UpperBound, ...]:
        most = float(self.count)
        value = {Norm.L1: most, Norm.L2: sqrt_up(most), Norm.LINF: 1.0}[norm]
        return (ONE if self.count == 1 else UpperBound(value, "picks of one entry"), ZERO)

    def jump(self, norm: Norm, *boxes: Box) -> UpperBound:
        if self.size == 1:
            return ZERO
        return length(norm, spread(self.interval(*boxes)))
