"""Boxes: a closed interval for every entry of a tensor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch

from lipaudit.numerics.rounding import MAX, tensor_down, tensor_up


@final
@dataclass(frozen=True, slots=True, eq=False)
class Box:
    """{x : lower <= x <= upper} entrywise; float64, equal shapes, infinite ends allowed, never NaN or empty.

    Entries are real numbers: a lower end that overflowed to inf becomes the largest float64, an upper end likewise.
    """

    lower: torch.Tensor
    upper: torch.Tensor

    def __post_init__(self) -> None:
        if self.lower.shape != self.upper.shape:
            raise ValueError(f"ends of shapes {tuple(self.lower.shape)} and {tuple(self.upper.shape)}")
        if self.lower.dtype != torch.float64 or self.upper.dtype != torch.float64:
            raise ValueError("a box is made of float64")
        if not bool((self.lower <= self.upper).all()):  # NaN fails too
            raise ValueError("a box whose lower end is above its upper end, or NaN, does not exist")
        if bool((self.lower == math.inf).any()) or bool((self.upper == -math.inf).any()):
            object.__setattr__(self, "lower", self.lower.clamp(max=MAX))
            object.__setattr__(self, "upper", self.upper.clamp(min=-MAX))

    @staticmethod
    def everything(shape: Sequence[int]) -> Box:
        """All of R^shape."""
        full = torch.full(tuple(shape), math.inf, dtype=torch.float64)
        return Box(-full, full)

    @staticmethod
    def point(x: torch.Tensor) -> Box:
        """The single point x (float64)."""
        return Box(x, x)

    @staticmethod
    def hull(*points: torch.Tensor) -> Box:
        """The smallest box around points of one shape."""
        stacked = torch.stack(points)
        return Box(stacked.amin(0), stacked.amax(0))

    @staticmethod
    def around(centre: torch.Tensor, radius: torch.Tensor) -> Box:
        """[centre - radius, centre + radius], rounded outward; infinite where either overflowed on the way."""
        low, high = tensor_down(centre - radius), tensor_up(centre + radius)
        known = torch.isfinite(centre) & torch.isfinite(radius)
        return Box(torch.where(known, low, -math.inf), torch.where(known, high, math.inf))

    @property
    def shape(self) -> torch.Size:
        return self.lower.shape

    @property
    def finite(self) -> bool:
        return bool(torch.isfinite(self.lower).all() and torch.isfinite(self.upper).all())

    @property
    def magnitude(self) -> torch.Tensor:
        """max |x| over the box, entrywise."""
        return torch.maximum(self.lower.abs(), self.upper.abs())

    @property
    def straddles_zero(self) -> torch.Tensor:
        """Where the interval contains 0."""
        return (self.lower <= 0) & (self.upper >= 0)

    def centre_radius(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(c, r) with the box inside [c - r, c + r]; r is inf (and c 0) where an end is infinite."""
        finite = torch.isfinite(self.lower) & torch.isfinite(self.upper)
        lower = torch.where(finite, self.lower, torch.zeros_like(self.lower))
        upper = torch.where(finite, self.upper, torch.zeros_like(self.upper))
        centre = lower / 2 + upper / 2
        radius = tensor_up(torch.maximum(upper - centre, centre - lower))
        degenerate = lower == upper
        centre = torch.where(degenerate, lower, centre)
        radius = torch.where(degenerate, torch.zeros_like(radius), radius)
        return centre, torch.where(finite, radius, torch.full_like(radius, math.inf))

    def contains(self, x: torch.Tensor) -> bool:
        """Whether x (or every row of a batch x) lies in the box."""
        return bool(((x >= self.lower) & (x <= self.upper)).all())

    def intersect(self, other: Box) -> Box:
        """Both boxes at once. Raises ValueError when they are disjoint."""
        return Box(torch.maximum(self.lower, other.lower), torch.minimum(self.upper, other.upper))

    def map(self, transform: object) -> Box:
        """The box with both ends moved by an index map (reshape, gather...), which keeps order."""
        assert callable(transform)
        return Box(transform(self.lower), transform(self.upper))

    def widened(self, relative: float, absolute: torch.Tensor | float = 0.0) -> Box:
        """The box with room for an evaluation error of `relative` |end| + `absolute`, plus one step outward."""
        # the room first, rounded up by itself: added to an end of the other sign, it may cancel
        below = tensor_down(self.lower - _room(self.lower, relative, absolute))
        above = tensor_up(self.upper + _room(self.upper, relative, absolute))
        lower = torch.where(torch.isfinite(self.lower), below, self.lower)
        upper = torch.where(torch.isfinite(self.upper), above, self.upper)
        return Box(lower, upper)


def _room(end: torch.Tensor, relative: float, absolute: torch.Tensor | float) -> torch.Tensor | float:
    """|end| relative + absolute, rounded up; exactly `absolute` without a relative part."""
    return tensor_up(tensor_up(end.abs() * relative) + absolute) if relative else absolute
