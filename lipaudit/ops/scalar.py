"""Scalar functions of one variable with proven ranges of value and slope over any interval."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch

from lipaudit.numerics.box import Box
from lipaudit.numerics.rounding import U

Function = Callable[[torch.Tensor], torch.Tensor]
Number = float | torch.Tensor

TAIL = 1e-290
"""An absolute error in units of u, 1e-306: what is lost where e^-x or x^-2 leaves the normal range or x^2 overflows."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Mark:
    """A point between which a function (or its derivative) is monotone, and the values met there.

    at: where (a number, or a tensor of one number an entry); an exact kink, or a rounded critical point.
    values: one value for a smooth extremum, both one-sided values for a kink or a jump of the derivative.
    """

    at: Number
    values: tuple[Number, ...]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Bend:
    """The second derivative of a function whose first is continuous: its fields are as those of `Scalar`.

    It may jump, at marks of both sides' values.
    """

    fn: Function
    limits: tuple[Number, Number]
    marks: tuple[Mark, ...]
    error: tuple[float, float]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Scalar:
    """A scalar function, applied to every entry, with the facts that determine all its rules.

    fn, derivative: in float64, with errors of at most `fn_error` and `slope_error`: (relative, absolute) in units
    of u = 2^-53. At a kink `derivative` may be either side's.
    value_marks, slope_marks: between consecutive marks fn, and the derivative, is monotone.
    limits: fn at -inf and +inf; slope_limits: the derivative there.
    span, slope_span: outward-rounded ranges over the whole line, to intersect with.
    domain: where the function is defined and locally Lipschitz (open interval); poles: points it is not defined at.
    period: of extremal marks, for sine and cosine: marks repeat every `period`.
    bend: its second derivative; None where the first jumps, or where no second one is written down.
    """

    name: str
    fn: Function
    derivative: Function
    limits: tuple[Number, Number]
    slope_limits: tuple[Number, Number]
    value_marks: tuple[Mark, ...] = ()
    slope_marks: tuple[Mark, ...] = ()
    span: tuple[Number, Number] = (-math.inf, math.inf)
    slope_span: tuple[Number, Number] = (-math.inf, math.inf)
    fn_error: tuple[float, float] = (0.0, 0.0)
    slope_error: tuple[float, float] = (0.0, 0.0)
    domain: tuple[float, float] = (-math.inf, math.inf)
    poles: tuple[float, ...] = ()
    period: float | None = None
    bend: Bend | None = None

    def value_range(self, box: Box) -> Box:
        """A box around fn over the box, entrywise."""
        return self._hull(self.fn, box, self.limits, self.value_marks, self.span, self.fn_error)

    def slope_range(self, box: Box) -> Box:
        """A box around every derivative met in the closed box, both sides' at a kink (Clarke's interval)."""
        return self._hull(self.derivative, box, self.slope_limits, self.slope_marks, self.slope_span, self.slope_error)

    def bend_range(self, box: Box) -> Box | None:
        """A box around every second derivative met, both sides' where it jumps; None where `bend` is.

        By the mean value theorem (f'(x) - f'(y)) / (x - y) is in it for any two points of the box.
        """
        if self.bend is None:
            return None
        own = self.bend
        return self._hull(own.fn, box, own.limits, own.marks, (-math.inf, math.inf), own.error)

    def _hull(
        self,
        f: Function,
        box: Box,
        limits: tuple[Number, Number],
        marks: tuple[Mark, ...],
        span: tuple[Number, Number],
        error: tuple[float, float],
    ) -> Box:
        outside = self._undefined(box)
        zero = torch.zeros_like(box.lower)
        ends = [_at(f, torch.where(outside, zero + self._somewhere(), end), limits) for end in (box.lower, box.upper)]
        low, high = torch.minimum(*ends), torch.maximum(*ends)
        for mark in marks:
            met = self._met(mark.at, box)
            for value in mark.values:
                number = zero + value
                low = torch.where(met, torch.minimum(low, number), low)
                high = torch.where(met, torch.maximum(high, number), high)
        if any(error):
            loosened = Box(low, high).widened(error[0] * U, error[1] * U)
            low, high = loosened.lower, loosened.upper
        low, high = torch.maximum(low, zero + span[0]), torch.minimum(high, zero + span[1])
        low = torch.where(outside, torch.full_like(low, -math.inf), low)
        high = torch.where(outside, torch.full_like(high, math.inf), high)
        return Box(low, high)

    def _undefined(self, box: Box) -> torch.Tensor:
        outside = (box.lower <= self.domain[0]) & (self.domain[0] > -math.inf)
        outside = outside | ((box.upper >= self.domain[1]) & (self.domain[1] < math.inf))
        for pole in self.poles:
            outside = outside | ((box.lower <= pole) & (box.upper >= pole))
        return outside

    def _somewhere(self) -> float:
        """A point of the domain, to evaluate at where the answer will not be used."""
        low, high = self.domain
        if math.isfinite(low):
            return low + 1.0 if math.isinf(high) else (low + high) / 2
        return 1.0

    def _met(self, at: Number, box: Box) -> torch.Tensor:
        if self.period is None:
            return (box.lower <= at) & (box.upper >= at)
        # an index k with lower <= at + k period <= upper, found with room for rounding; unbounded boxes meet all
        slack = 8 * U * (1.0 + box.magnitude / self.period)
        first = torch.ceil((box.lower - at) / self.period - slack)
        last = torch.floor((box.upper - at) / self.period + slack)
        return (first <= last) | torch.isinf(box.magnitude)


def _at(f: Function, x: torch.Tensor, limits: tuple[Number, Number]) -> torch.Tensor:
    finite = torch.isfinite(x)
    value = f(torch.where(finite, x, torch.ones_like(x)))
    zero = torch.zeros_like(value)
    value = torch.where(x == -math.inf, zero + limits[0], value)
    return torch.where(x == math.inf, zero + limits[1], value)
