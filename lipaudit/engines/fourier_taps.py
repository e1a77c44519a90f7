"""A linear map between images as taps: what every output position reads, the same for all of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import final

import torch

from lipaudit.linear.conv import Conv
from lipaudit.linear.map import Adjoint, Compose, LinearMap, Shape, Sum
from lipaudit.linear.pointwise import Diagonal
from lipaudit.linear.selection import NOTHING, Selection
from lipaudit.numerics.rounding import TINY
from lipaudit.ops.maxlike import WindowMax

POOLED = 4
"""Most entries of a pooling's window that are told apart."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Taps:
    """out[j] = sum_a kernel[:, :, a] in[stride j + dilation a - offset], with zeros outside the input's window.

    transposed: out[stride j + dilation a - offset] += kernel[:, :, a] in[j] instead, cut to the output's window.
    kernel: float64 [out channels, in channels, *taps]; size, out: the windows' sizes, one number an axis.
    roundings: how many roundings away from the kernel meant the stored one may be.
    """

    kernel: torch.Tensor
    stride: Shape
    dilation: Shape
    offset: Shape
    size: Shape
    out: Shape
    transposed: bool = False
    roundings: int = 0

    def reach(self, axis: int) -> tuple[int, int]:
        """(first, last) output positions that a signal on the input's window alone may reach, without any cut."""
        s, d, o = self.stride[axis], self.dilation[axis], self.offset[axis]
        n, wide = self.size[axis], self.dilation[axis] * (self.kernel.shape[2 + axis] - 1)
        if self.transposed:
            return -o, s * (n - 1) + d * (self.kernel.shape[2 + axis] - 1) - o
        return -((wide - o) // s), (n - 1 + o) // s

    def leaves_window(self) -> bool:
        """Whether an output position of the window reads positions outside the input's window."""
        for axis, (n, m, s, o) in enumerate(zip(self.size, self.out, self.stride, self.offset, strict=True)):
            wide = self.dilation[axis] * (self.kernel.shape[2 + axis] - 1)
            if self.transposed:
                first, last = -((wide - o) // s), (m - 1 + o) // s
            else:
                first, last = -o, s * (m - 1) + wide - o
            if first < 0 or last > n - 1:
                return True
        return False

    def stays_inside(self) -> bool:
        """Whether a signal on the input's window gives one on the output's window, nothing being cut off."""
        reaches = [self.reach(axis) for axis in range(len(self.size))]
        return all(first >= 0 and last < m for (first, last), m in zip(reaches, self.out, strict=True))


@final
@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """The same entries in another order and shape: out[i] = in[index[i]], None for a reshape."""

    index: torch.Tensor | None
    shape: Shape


Piece = Taps | Order


def terms_of(part: LinearMap) -> tuple[LinearMap, ...]:
    """The maps that a sum adds up."""
    return part.terms if isinstance(part, Sum) else (part,)


def pieces_of(part: LinearMap) -> list[Piece] | None:
    """The map as taps and orders, one after the other; None where it has another kind of piece."""
    found: list[Piece] = []
    for piece in part.maps if isinstance(part, Compose) else (part,):
        made = _piece(piece)
        if made is None:
            return None
        merged = _merged(found[-1], made) if found else None
        if merged is not None:
            found[-1] = merged
        elif not (isinstance(made, Order) and made.index is None and made.shape == piece.in_shape):
            found.append(made)
    return found


def _piece(part: LinearMap) -> Piece | None:
    match part:
        case Conv():
            return _conv(part)
        case Adjoint(of=Conv() as inner):
            there = _conv(inner)
            if there is None:
                return None
            return replace(there, kernel=there.kernel.transpose(0, 1), size=there.out, out=there.size, transposed=True)
        case Diagonal():
            return _scale(part)
        case Selection():
            if part.index is None:
                return Order(None, part.target)
            if part.in_size == part.out_size and int(part.index.min()) >= 0 and part.most_copies() <= 1:
                return Order(part.index, part.target)
            return _window(part)
        case _:
            return None


def _conv(part: Conv) -> Taps | None:
    if part.source[0] != 1:
        return None
    kernel = part.kernel
    if part.groups > 1:
        rows, columns = kernel.shape[0] // part.groups, kernel.shape[1]
        kernel = torch.zeros(kernel.shape[0], part.source[1], *kernel.shape[2:], dtype=torch.float64)
        for g in range(part.groups):
            at = slice(g * rows, (g + 1) * rows)
            kernel[at, g * columns : (g + 1) * columns] = part.kernel[at]
    offset = tuple(begin for begin, _ in part.pads)
    return Taps(
        kernel,
        part.stride,
        part.dilation,
        offset,
        part.source[2:],
        part.out_shape[2:],
        roundings=part.kernel_roundings,
    )


def _scale(part: Diagonal) -> Taps | None:
    shape = part.shape
    if len(shape) < 3 or shape[0] != 1:
        return None
    scale = part.scale.expand(shape)[0].flatten(1)
    if not bool((scale == scale[:, :1]).all()):
        return None
    return _pointwise(torch.diag(scale[:, 0]), shape[2:], part.scale_roundings)


def _pointwise(matrix: torch.Tensor, size: Shape, roundings: int = 0) -> Taps:
    ones = (1,) * len(size)
    return Taps(matrix.reshape(*matrix.shape, *ones), ones, ones, (0,) * len(size), size, size, roundings=roundings)


def identity(channels: int, size: Shape) -> Taps:
    """The identity of an image."""
    return _pointwise(torch.eye(channels, dtype=torch.float64), size)


def pooling(op: WindowMax) -> Taps | None:
    """The means of a max pooling's windows, c channels, then what is across the mean, in k - 1 orthonormal directions
    (Helmert's), c channels each: 0 where a window reaches into padding. None for windows that are no image's."""
    pool = op.pool
    if pool is None or len(op.source) < 3 or op.source[0] != 1:
        return None
    k, channels = math.prod(pool.kernel), op.source[1]
    if k > POOLED:
        return None
    rows = torch.zeros(k, k, dtype=torch.float64)
    rows[0] = 1.0 / k
    for j in range(1, k):
        length = math.sqrt(j * (j + 1.0))
        rows[j, :j], rows[j, j] = 1.0 / length, -j / length
    kernel = torch.einsum("rk,oi->roik", rows, torch.eye(channels, dtype=torch.float64))
    kernel = kernel.reshape(k * channels, channels, *pool.kernel)
    return Taps(kernel, pool.stride, pool.dilation, pool.pads, op.source[2:], op.target[2:], roundings=4)


def _window(part: Selection) -> Taps | None:
    """A selection that moves a whole window and picks channels: a slice with a step, zeros around, a concatenation."""
    source, target = part.source, part.target
    if len(source) < 3 or len(source) != len(target) or source[0] != 1 or target[0] != 1 or part.index is None:
        return None
    index = part.index.reshape(target[1:])
    if not bool((index != NOTHING).any()):
        return None
    places, rest = [], index.clamp_min(0)
    for n in reversed(source[1:]):
        places.append(rest % n)
        rest = rest // n
    places.reverse()
    known = index != NOTHING
    lines = []
    for axis, place in enumerate(places):
        others = tuple(i for i in range(len(places)) if i != axis)
        high = torch.where(known, place, -1).amax(others)
        low = torch.where(known, place, 2**62).amin(others)
        if not bool(((high == low) | (high < 0)).all()):
            return None
        lines.append(high)
    stride, offset = [], []
    for line, n in zip(lines[1:], source[2:], strict=True):
        used = (line >= 0).nonzero()[:, 0]
        first = int(used[0])
        step = int(line[used[1]] - line[first]) // int(used[1] - first) if len(used) > 1 else 1
        if step < 1:
            return None
        shift = step * first - int(line[first])
        meant = step * torch.arange(len(line)) - shift
        if not bool((torch.where((meant >= 0) & (meant < n), meant, -1) == line.clamp_min(-1)).all()):
            return None
        stride.append(step)
        offset.append(shift)
    inside = torch.ones((), dtype=torch.bool)
    for axis, line in enumerate(lines):
        inside = inside & (line >= 0).reshape(*[-1 if i == axis else 1 for i in range(len(lines))])
    if not bool((inside == known).all()):
        return None
    kernel = torch.zeros(target[1], source[1], dtype=torch.float64)
    chosen = (lines[0] >= 0).nonzero()[:, 0]
    kernel[chosen, lines[0][chosen]] = 1.0
    ones = (1,) * len(stride)
    return Taps(kernel.reshape(*kernel.shape, *ones), tuple(stride), ones, tuple(offset), source[2:], target[2:])


def _merged(first: Piece, second: Piece) -> Piece | None:
    """second after first where one of them is a map of channels alone, or both are orders."""
    match first, second:
        case Order(), Order():
            if first.index is None or second.index is None:
                return Order(second.index if first.index is None else first.index, second.shape)
            return Order(first.index[second.index], second.shape)
        case Taps(), Taps() if _scales(second):
            return _times(first, second, second.kernel.flatten(1).sum(1).reshape(-1, 1))
        case Taps(), Taps() if _scales(first):
            return _times(second, first, first.kernel.flatten(1).sum(1).reshape(1, -1))
        case _:
            return None


def _scales(taps: Taps) -> bool:
    """Whether it is a factor for every channel: then it commutes with every window."""
    matrix = taps.kernel.flatten(1)
    plain = taps.stride == taps.dilation == (1,) * len(taps.size) and not any(taps.offset) and taps.size == taps.out
    square = matrix.shape[0] == matrix.shape[1] and math.prod(taps.kernel.shape[2:]) == 1
    return plain and square and bool((matrix == torch.diag(matrix.diagonal())).all())


def _times(taps: Taps, scale: Taps, factor: torch.Tensor) -> Taps | None:
    factor = factor.reshape(*factor.shape, *[1] * len(taps.size))
    kernel = taps.kernel * factor
    lost = (kernel.abs() < TINY) & (taps.kernel != 0) & (factor != 0)
    if bool((lost | ~kernel.isfinite()).any()):
        return None
    return replace(taps, kernel=kernel, roundings=taps.roundings + scale.roundings + 1)
