"""A small piecewise linear network as dense pieces: its Jacobian and values over a cell of signs, with their errors."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch

from lipaudit.engines.engine import Declined
from lipaudit.graph.problem import Problem
from lipaudit.linear.conv import Conv
from lipaudit.linear.dense import Dense
from lipaudit.linear.map import Adjoint, Compose, LinearMap
from lipaudit.linear.norms.entries import underflow_of_copy
from lipaudit.linear.pointwise import Diagonal
from lipaudit.linear.selection import Selection
from lipaudit.numerics.rounding import TINY, gamma
from lipaudit.ops.affine import Affine
from lipaudit.ops.elementwise import Elementwise

ENTRIES = 2**20
"""Most entries of all matrices together: beyond, a network is not small."""

LONGEST = 800
"""Most terms of one sum, for the room that errors of errors are given below."""

_HINGES = ("Relu", "LeakyRelu", "PRelu", "Abs")
"""Functions of one slope left of 0 and another right of it, and 0 at 0."""

_MORE = 1.0 + 2.0**-40
"""Covers the rounding of a sum of fewer than a thousand non-negative terms, and of a few products with it."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Form:
    """What is known of a value of the network over a cell.

    slope, slope_error: [m, n], the Jacobian lies entrywise within slope +- slope_error.
    start, start_error: [m], and where `whole`, the value is slope x + start within both errors (one affine function).
    low, high: [m], the values lie between.
    """

    slope: np.ndarray
    slope_error: np.ndarray
    start: np.ndarray
    start_error: np.ndarray
    low: np.ndarray
    high: np.ndarray
    whole: bool


@final
@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """sum of matrices times values, plus an offset; the real numbers are within the errors (entrywise)."""

    sources: tuple[int, ...]
    matrices: tuple[np.ndarray, ...]
    errors: tuple[np.ndarray, ...]
    offset: np.ndarray
    offset_error: np.ndarray


@final
@dataclass(frozen=True, slots=True, eq=False)
class Hinge:
    """left x below 0, right x above it, entry by entry; number: which row of a pattern decides it."""

    source: int
    left: np.ndarray
    right: np.ndarray
    number: int


@final
@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """The network over a box. ranges: [m] pairs for every value, over the whole box."""

    steps: tuple[Linear | Hinge, ...]
    ranges: tuple[tuple[np.ndarray, np.ndarray], ...]
    output: int
    low: np.ndarray
    high: np.ndarray

    @property
    def hinges(self) -> tuple[Hinge, ...]:
        return tuple(step for step in self.steps if isinstance(step, Hinge))

    def undecided(self) -> int:
        """Neurons whose sign the box leaves open, with two different slopes."""
        return sum(int(_open(hinge, *self.ranges[hinge.source]).sum()) for hinge in self.hinges)

    def forms(self, pattern: tuple[np.ndarray, ...], box: tuple[np.ndarray, np.ndarray]) -> list[Form]:
        """Every value over the cell where the neurons have these signs (1 not below 0, -1 not above, 0 either).

        box: (low, high) of a box that the cell lies in.
        """
        n = len(self.low)
        zero, one = np.zeros((n, n)), np.eye(n)
        nothing = np.zeros(n)
        found = [Form(one, zero, nothing, nothing, *box, True)]
        for place, step in enumerate(self.steps, start=1):
            form = self._linear(step, found, box) if isinstance(step, Linear) else _hinged(step, found, pattern)
            low, high = self.ranges[place]
            low, high = np.maximum(form.low, low), np.minimum(form.high, high)
            empty = low > high  # the cell is empty, as its sides will say; nothing is read off such a range
            low, high = np.where(empty, self.ranges[place][0], low), np.where(empty, self.ranges[place][1], high)
            found.append(replace(form, low=low, high=high))
        return found

    def _linear(self, step: Linear, found: list[Form], box: tuple[np.ndarray, np.ndarray]) -> Form:
        rows = len(step.offset)
        slope, error = np.zeros((rows, len(self.low))), np.zeros((rows, len(self.low)))
        start, start_error = step.offset.copy(), step.offset_error.copy()
        middle, reach = step.offset.copy(), step.offset_error.copy()
        size, start_size = np.zeros_like(slope), np.abs(step.offset)
        met, start_met = np.zeros_like(slope), np.zeros_like(start)
        terms = 1
        for matrix, loss, source in zip(step.matrices, step.errors, step.sources, strict=True):
            form, whole = found[source], np.abs(matrix)
            above = whole + loss
            terms += matrix.shape[1]
            slope = slope + matrix @ form.slope
            size = size + whole @ np.abs(form.slope)
            error = error + (above @ form.slope_error + loss @ np.abs(form.slope)) * _MORE
            start = start + matrix @ form.start
            start_size = start_size + whole @ np.abs(form.start)
            start_error = start_error + (above @ form.start_error + loss @ np.abs(form.start)) * _MORE
            there = (above > 0.0).astype(np.float64)
            met = met + there @ (np.abs(form.slope) + form.slope_error > 0.0)
            start_met = start_met + there @ (np.abs(form.start) + form.start_error > 0.0)
            centre, radius = _centred(form.low, form.high)
            with np.errstate(invalid="ignore"):
                middle = middle + matrix @ np.where(np.isfinite(radius), centre, 0.0)
                spread = above @ np.where(np.isfinite(radius), radius, 0.0) + loss @ np.abs(centre)
                spread = np.where((above > 0.0) @ np.isinf(radius), np.inf, spread)
            reach = reach + (spread + gamma(terms + 2) * (whole @ np.abs(centre))) * _MORE
        rounding = gamma(terms + 4)
        # and what products below the normal range may have lost: nothing where a factor of each was 0
        error = (error + rounding * size) * _MORE + 4.0 * TINY * met
        start_error = (start_error + rounding * start_size) * _MORE + 4.0 * TINY * start_met
        if step.sources == (0,):  # times the identity, which rounds nothing
            slope, error, start, start_error = step.matrices[0], step.errors[0], step.offset, step.offset_error
        reach = (reach + rounding * np.abs(middle)) * _MORE + terms * TINY
        low, high = np.nextafter(middle - reach, -np.inf), np.nextafter(middle + reach, np.inf)
        low, high = _signed(step, found, low, high)
        whole = all(found[source].whole for source in step.sources)
        if whole:  # one affine function over the cell: its own range over the box is the tighter one
            least, most = affine_range(slope, error, start, start_error, *box)
            low, high = np.maximum(low, least), np.minimum(high, most)
        return Form(slope, error, start, start_error, low, high, whole)


def _signed(step: Linear, found: list[Form], low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The range, cut at 0 where every term has that sign: rounding must not leave open what is not."""
    never_below, never_above = step.offset >= step.offset_error, step.offset <= -step.offset_error
    for matrix, loss, source in zip(step.matrices, step.errors, step.sources, strict=True):
        form = found[source]
        plus, minus, none = matrix >= loss, matrix <= -loss, (matrix == 0.0) & (loss == 0.0)
        up, down = form.low >= 0.0, form.high <= 0.0
        never_below &= (none | (plus & up) | (minus & down)).all(1)
        never_above &= (none | (plus & down) | (minus & up)).all(1)
    return np.where(never_below, np.maximum(low, 0.0), low), np.where(never_above, np.minimum(high, 0.0), high)


def _hinged(step: Hinge, found: list[Form], pattern: tuple[np.ndarray, ...]) -> Form:
    form, signs = found[step.source], pattern[step.number]
    right, left = (signs > 0) | (form.low >= 0.0), (signs < 0) | (form.high <= 0.0)
    slope, error, start, start_error, sure = _scaled(step, form, right, left)
    low = np.where(right & ~left, np.maximum(form.low, 0.0), form.low)
    high = np.where(left & ~right, np.minimum(form.high, 0.0), form.high)
    low, high = np.minimum(low, high), np.maximum(low, high)  # a range that its sign leaves empty
    least, most = _hinge_range(step, low, high)
    least, most = np.nextafter(least, -np.inf), np.nextafter(most, np.inf)
    # signs that no rounding changes
    never_below = (step.right >= 0.0) & ((low >= 0.0) | (step.left <= 0.0))
    never_above = (step.left >= 0.0) & (high <= 0.0)
    least, most = (
        np.where(never_below, np.maximum(least, 0.0), least),
        np.where(never_above, np.minimum(most, 0.0), most),
    )
    return Form(slope, error, start, start_error, least, most, form.whole and sure)


def _scaled(
    step: Hinge, form: Form, right: np.ndarray, left: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, bool]:
    """(slope, its error, start, its error, whether every slope is one number) behind the hinges."""
    # a value that does not vary has no sign to decide: it is that of its start, and an error of it is stretched
    constant = ~((np.abs(form.slope) + form.slope_error) > 0.0).any(1)
    right, left = np.where(constant, form.start >= 0.0, right), np.where(constant, form.start < 0.0, left)
    low_slope, high_slope = np.minimum(step.left, step.right), np.maximum(step.left, step.right)
    steepest = np.maximum(np.abs(step.left), np.abs(step.right))
    low_slope = np.where(right, step.right, np.where(left, step.left, low_slope))
    high_slope = np.where(right, step.right, np.where(left, step.left, high_slope))
    centre = np.where(low_slope == high_slope, low_slope, low_slope / 2 + high_slope / 2)
    radius = np.where(low_slope == high_slope, 0.0, np.maximum(high_slope - centre, centre - low_slope) * _MORE)
    slope = centre[:, None] * form.slope
    size = np.abs(slope)
    spread = (np.abs(centre) + radius)[:, None] * form.slope_error + radius[:, None] * np.abs(form.slope)
    # a slope of 0, 1 or -1 rounds nothing
    rounding = np.where(np.isin(centre, (-1.0, 0.0, 1.0)), 0.0, gamma(2))
    lost = np.where(rounding > 0.0, 4.0 * TINY, 0.0)
    error = (spread + rounding[:, None] * size) * _MORE + lost[:, None] * (np.abs(form.slope) + form.slope_error > 0.0)
    start = centre * form.start
    stretch = np.where(constant, steepest, np.abs(centre))
    start_error = (stretch * form.start_error + rounding * np.abs(start)) * _MORE
    start_error = start_error + lost * (np.abs(form.start) + form.start_error > 0.0)
    return slope, error, start, start_error, bool((radius == 0.0).all())


def _hinge_range(step: Hinge, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The least and the largest value over [low, high], to nearest: at the ends, or at the kink where it is inside."""
    ends = [np.where(end >= 0.0, _times(step.right, end), _times(step.left, end)) for end in (low, high)]
    kink = (low < 0.0) & (high > 0.0)
    least, most = np.minimum(*ends), np.maximum(*ends)
    return np.where(kink, np.minimum(least, 0.0), least), np.where(kink, np.maximum(most, 0.0), most)


def _times(slope: np.ndarray, end: np.ndarray) -> np.ndarray:
    """slope * end with 0 * inf = 0."""
    with np.errstate(invalid="ignore"):
        return np.where(slope == 0.0, 0.0, slope * end)


def _centred(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(centre, radius), the radius rounded up; centre 0 and radius inf for an infinite range."""
    finite = np.isfinite(low) & np.isfinite(high)
    low, high = np.where(finite, low, 0.0), np.where(finite, high, 0.0)
    centre = low / 2 + high / 2
    radius = np.nextafter(np.maximum(high - centre, centre - low), np.inf)
    return centre, np.where(finite, np.where(low == high, 0.0, radius), np.inf)


def affine_range(
    slope: np.ndarray,
    slope_error: np.ndarray,
    start: np.ndarray,
    start_error: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """(lower, upper) ends of slope x + start over a box, each row's errors included, rounded outward."""
    ends = []
    far = np.maximum(np.abs(low), np.abs(high))
    for side, bottom, top in ((-1.0, low, high), (1.0, high, low)):
        with np.errstate(invalid="ignore"):
            best = np.where(slope > 0.0, slope * bottom, np.where(slope < 0.0, slope * top, 0.0))
            off = np.where(slope_error > 0.0, slope_error * far, 0.0).sum(1)
            size = np.abs(best).sum(1) + np.abs(start)
            room = (off + start_error + gamma(slope.shape[1] + 6) * size) * _MORE + TINY * slope.shape[1]
            end = np.where(np.isfinite(size) & np.isfinite(room), best.sum(1) + start + side * room, side * np.inf)
        ends.append(np.nextafter(end, side * np.inf))
    return ends[0], ends[1]


def _open(hinge: Hinge, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    return np.asarray((low < 0.0) & (high > 0.0) & (hinge.left != hinge.right))


def pieces(problem: Problem) -> Pieces:
    """The problem's network in pieces. Raises Declined where it is not piecewise linear, or not small."""
    steps: list[Linear | Hinge] = []
    total, hinges = 0, 0
    for node in problem.graph.nodes:
        op = node.op
        if isinstance(op, Affine):
            if max(part.roundings for part in op.maps) > LONGEST:
                raise Declined(f"the network is not small: {node.name} sums up more than {LONGEST} terms")
            total += sum(part.in_size * part.out_size for part in op.maps)
            if total > ENTRIES:
                raise Declined("the network is not small: its matrices have more than a million entries")
            steps.append(_affine(op, node.inputs))
        elif isinstance(op, Elementwise) and op.function.name in _HINGES:
            left, right = (_spread(value, op.shape) for value in op.function.slope_limits)
            steps.append(Hinge(node.inputs[0], left, right, hinges))
            hinges += 1
        else:
            raise Declined(f"{node.name} ({node.kind}) has more than two linear pieces; only hinges are told apart")
    ranges = tuple((box.lower[0].reshape(-1).numpy(), box.upper[0].reshape(-1).numpy()) for box in problem.boxes)
    low, high = ranges[0]
    return Pieces(tuple(steps), ranges, problem.graph.output, low, high)


def _spread(value: float | torch.Tensor, shape: tuple[int, ...]) -> np.ndarray:
    return np.asarray(torch.as_tensor(value, dtype=torch.float64).expand(shape).reshape(-1).numpy())


def _entry_roundings(part: LinearMap) -> int:
    """How many roundings an entry of the dense copy carries: a single piece's entries are its stored weights."""
    match part:
        case Selection():
            return 0
        case Dense():
            return part.weight_roundings
        case Conv():
            return part.kernel_roundings
        case Diagonal():
            return part.scale_roundings
        case Adjoint():
            return _entry_roundings(part.of)
        case Compose(maps=maps) if sum(not isinstance(piece, Selection) for piece in maps) == 1:
            return sum(map(_entry_roundings, maps))
        case _:
            return part.roundings


def _affine(op: Affine, inputs: tuple[int, ...]) -> Linear:
    matrices, errors = [], []
    for part in op.maps:
        matrices.append(part.as_matrix().numpy())
        above, count = part.majorant().as_matrix().numpy(), _entry_roundings(part)
        errors.append(above * (gamma(count) * _MORE) + underflow_of_copy(part) if count else np.zeros_like(above))
        if not np.isfinite(above).all():
            raise Declined("a weight is beyond float64")
    size = math.prod(op.out_shape)
    offset = np.zeros(size) if op.offset is None else op.offset.reshape(-1).numpy()
    error = np.zeros(size) if op.offset_error is None else op.offset_error.reshape(-1).numpy()
    return Linear(inputs, tuple(matrices), tuple(errors), offset, error)
