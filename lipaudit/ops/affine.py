"""Affine ops: linear maps of the arguments plus a constant. Most of a network, and all that is exact."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch

from lipaudit.linear.fuse import add, compose
from lipaudit.linear.map import Adjoint, Compose, LinearMap, Shape, Sum
from lipaudit.linear.norms.operator import OperatorNorms
from lipaudit.linear.pointwise import Diagonal
from lipaudit.linear.selection import Selection
from lipaudit.numerics.bound import UpperBound
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.numerics.rounding import TINY, gamma, tensor_up, up
from lipaudit.ops.op import Op


@final
@dataclass(frozen=True, slots=True, eq=False)
class Affine(Op):
    """sum_i maps[i] x_i + offset.

    offset: float64 [*out_shape] or None for 0; the constant meant is within offset_error (entrywise) of it.
    also: an op of the first argument alone that has the same value, whatever the arguments can be: its ranges hold too.
    """

    maps: tuple[LinearMap, ...]
    offset: torch.Tensor | None = None
    offset_error: torch.Tensor | None = None
    also: Op | None = None
    family: ClassVar[str] = "Affine"
    rule: ClassVar[str] = "certified operator norm"

    def __post_init__(self) -> None:
        if len({part.out_shape for part in self.maps}) != 1:
            raise ValueError("the maps of an affine op share their output shape")
        if self.offset is not None and tuple(self.offset.shape) != self.out_shape:
            raise ValueError(f"an offset of shape {tuple(self.offset.shape)} for an output {self.out_shape}")
        if self.offset_error is not None and (self.offset is None or self.offset_error.shape != self.offset.shape):
            raise ValueError("an offset's error has its shape, and is of no use without it")

    @property
    def in_shapes(self) -> tuple[Shape, ...]:
        return tuple(part.in_shape for part in self.maps)

    @property
    def out_shape(self) -> Shape:
        return self.maps[0].out_shape

    @property
    def linear(self) -> LinearMap:
        """The map of the only argument."""
        (only,) = self.maps
        return only

    def forward(self, *args: torch.Tensor) -> torch.Tensor:
        total = self.maps[0].apply(args[0])
        for part, x in zip(self.maps[1:], args[1:], strict=True):
            total = total + part.apply(x)
        return total if self.offset is None else total + self.offset

    def interval(self, *boxes: Box) -> Box:
        found = self._ordered(boxes) or self._around(boxes)
        if self.also is None:
            return found
        other = self.also.interval(boxes[0])
        return Box(torch.maximum(found.lower, other.lower), torch.minimum(found.upper, other.upper))

    def _around(self, boxes: tuple[Box, ...]) -> Box:
        """By centre and radius."""
        zeros = torch.zeros(len(boxes[0].lower), *self.out_shape, dtype=torch.float64)
        centre, spread, size, unbounded, lost = zeros, zeros, zeros, zeros, zeros
        for part, box in zip(self.maps, boxes, strict=True):
            c, r = box.centre_radius()
            infinite = torch.isinf(r)
            majorant = part.majorant()
            centre = centre + part.apply(c)
            size = size + majorant.apply(c.abs())
            if bool((r > 0).any()):
                spread = spread + majorant.apply(torch.where(infinite, torch.zeros_like(r), r))
            if bool(infinite.any()):
                # far from 1, so that no run of small weights makes it 0; an overflow to inf or NaN counts as met
                unbounded = unbounded + majorant.apply(infinite.double() * 2.0**500)
            lost = lost + underflow(part)
        if self.offset is not None:
            centre, size = centre + self.offset, size + self.offset.abs()
        n = max(part.roundings for part in self.maps) + len(self.maps) + 1
        # spread and size are sums of non-negative terms: exact up to the factor below, for stored weights too
        radius = tensor_up((spread + size * gamma(n)) * up(1.0 + gamma(2 * n + 4)) + lost)
        if self.offset_error is not None:
            radius = tensor_up(radius + self.offset_error)
        return Box.around(centre, torch.where(unbounded == 0, radius, math.inf))

    def _ordered(self, boxes: tuple[Box, ...]) -> Box | None:
        """Where every map only moves, adds up or scales entries one by one, ends map to ends (infinite ones too)."""
        ends = _moved_ends(self.maps, boxes) or _scaled_ends(self.maps, boxes)
        if ends is None:
            return None
        lower, upper = ends
        n = max(part.roundings for part in self.maps) + len(self.maps) - 1
        if self.offset is None and n == 0:
            return Box(lower, upper)
        size = torch.zeros_like(lower)
        for part, box in zip(self.maps, boxes, strict=True):
            # an infinite end is exact, the finite one opposite to it is rounded like any other
            finite = [torch.where(torch.isfinite(end), end.abs(), 0.0) for end in (box.lower, box.upper)]
            size = size + part.majorant().apply(torch.maximum(*finite))
        if self.offset is not None:
            lower, upper, size, n = lower + self.offset, upper + self.offset, size + self.offset.abs(), n + 1
        error = size * gamma(2 * n + 4)
        if self.offset_error is not None:
            error = error + self.offset_error
        known = torch.isfinite(error)  # else a sum overflowed, and inf is not where it ends
        lower, upper = torch.where(known, lower, -math.inf), torch.where(known, upper, math.inf)
        return Box(lower, upper).widened(0.0, tensor_up(error))

    def gains(self, norm: Norm, *boxes: Box) -> tuple[UpperBound, ...]:
        norms = OperatorNorms()
        return tuple(norms.of(part, norm) for part in self.maps)

    def joint_gain(self, norm: Norm, *boxes: Box) -> UpperBound:
        return OperatorNorms().of_row(self.maps, norm)

    def after(self, index: int, inner: Affine) -> Affine:
        """This op with its argument `index` replaced by `inner`'s arguments: their composition, still affine.

        The rounding of the composed offset is bounded and kept in offset_error.
        """
        outer = self.maps[index]
        maps = (*self.maps[:index], *(compose(part, outer) for part in inner.maps), *self.maps[index + 1 :])
        if inner.offset is None:
            return Affine(maps, self.offset, self.offset_error)
        moved = outer.apply(inner.offset.unsqueeze(0))[0]
        majorant = outer.majorant()
        size = majorant.apply(inner.offset.abs().unsqueeze(0))[0]
        if inner.offset_error is not None:
            carried = majorant.apply(inner.offset_error.unsqueeze(0))[0]
        else:
            carried = torch.zeros_like(moved)
        offset = moved if self.offset is None else moved + self.offset
        own = torch.zeros_like(moved) if self.offset_error is None else self.offset_error
        reach = size + (0.0 if self.offset is None else self.offset.abs())
        error = (reach * gamma(outer.roundings + 2) + carried + own) * up(1.0 + gamma(outer.roundings + 6))
        error = error + underflow(outer)[0]
        return Affine(maps, offset, tensor_up(error))


def underflow(part: LinearMap) -> torch.Tensor:
    """[1, *out_shape]: what an entry of fl(A x) may lose to products below the normal range, whatever x is.

    A product that underflows is off by TINY at most, an inner product by TINY a term (a piece has at most `roundings`
    of them); later pieces stretch that by their majorants. Counted in units of TINY, doubled for its own roundings.
    """
    return _terms(part) * (2.0 * TINY)


def _terms(part: LinearMap) -> torch.Tensor:
    match part:
        case Compose():
            total = torch.zeros(1, *part.in_shape, dtype=torch.float64)
            for piece in part.maps:
                total = piece.majorant().apply(total) + _terms(piece)
            return total
        case Sum():
            return torch.stack([_terms(term) for term in part.terms]).sum(0)
        case Adjoint(of=Compose(maps=maps)):
            return _terms(Compose(tuple(Adjoint(piece) for piece in reversed(maps))))
        case Adjoint(of=Sum(terms=terms)):
            return _terms(Sum(tuple(Adjoint(term) for term in terms)))
        case _:
            return torch.full((1, *part.out_shape), float(part.roundings), dtype=torch.float64)


Ends = tuple[torch.Tensor, torch.Tensor]


def _moved_ends(maps: tuple[LinearMap, ...], boxes: tuple[Box, ...]) -> Ends | None:
    """The sums of both ends, for maps whose entries are 0 and 1."""
    if not all(isinstance(p.of if isinstance(p, Adjoint) else p, Selection) for p in maps):
        return None
    lower = torch.stack([p.apply(b.lower) for p, b in zip(maps, boxes, strict=True)]).sum(0)
    upper = torch.stack([p.apply(b.upper) for p, b in zip(maps, boxes, strict=True)]).sum(0)
    return lower, upper


def _scaled_ends(maps: tuple[LinearMap, ...], boxes: tuple[Box, ...]) -> Ends | None:
    """Both ends times a diagonal, swapped where it is negative, with 0 * inf = 0."""
    if len(maps) != 1 or not isinstance(maps[0], Diagonal):
        return None
    scale = maps[0].scale
    low, high = (
        torch.where(scale == 0, torch.zeros_like(end), scale * end) for end in (boxes[0].lower, boxes[0].upper)
    )
    return torch.minimum(low, high), torch.maximum(low, high)


def merge_arguments(op: Affine, keys: tuple[int, ...]) -> tuple[Affine, tuple[int, ...]]:
    """The same op with the maps of equal keys (the same source) added up into one."""
    if len(set(keys)) == len(keys):
        return op, keys
    grouped: dict[int, list[LinearMap]] = {}
    for key, part in zip(keys, op.maps, strict=True):
        grouped.setdefault(key, []).append(part)
    maps = tuple(add(*parts) for parts in grouped.values())
    return Affine(maps, op.offset, op.offset_error), tuple(grouped)
