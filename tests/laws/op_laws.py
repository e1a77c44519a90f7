"""What every op owes (the docstring of Op), as functions that raise AssertionError."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import torch

from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.ops.affine import Affine
from lipaudit.ops.bilinear import Divide, MatMulData, Multiply
from lipaudit.ops.elementwise import Elementwise
from lipaudit.ops.op import Op
from lipaudit.ops.scaled import RootMeanSquare, UnitVector
from lipaudit.ops.smooth import Normalise
from tests.cases.maps import exact

Boxes = tuple[Box, ...]
Points = tuple[torch.Tensor, ...]

FLAVOURS = (
    "plain",
    "mixed",
    "point",
    "touching",
    "straddling",
    "huge",
    "half-infinite",
    "infinite",
    "denormal",
    "points",
)

_HUGE = (1e6, 1e16, 1e100, 1e154, 1e300, 1.7e308)
_SMALL = (0.0, 5e-324, 1e-310, 1e-200, 1e-30)


def draw_box(shape: tuple[int, ...], flavour: str, telling: tuple[float, ...], seed: int, batch: int = 1) -> Box:
    """A box [batch, *shape] that hurts: each entry of the flavour's kind, ends at or beside the telling points."""
    rng = np.random.default_rng(seed)
    ends = [_entry(rng, flavour, telling) for _ in range(batch * math.prod(shape))]
    pair = np.array(ends, dtype=np.float64).reshape(batch, *shape, 2) if ends else np.zeros((batch, *shape, 2))
    lower, upper = torch.from_numpy(pair[..., 0].copy()), torch.from_numpy(pair[..., 1].copy())
    return Box(lower, upper)


def _entry(rng: np.random.Generator, flavour: str, telling: tuple[float, ...]) -> tuple[float, float]:
    if flavour == "mixed":
        flavour = str(rng.choice(FLAVOURS[2:]))
    at = float(rng.choice(telling)) if telling else 0.0
    width = float(rng.choice([1e-12, 1e-3, 0.5, 3.0]))
    x = float(rng.normal())
    match flavour:
        case "plain":
            return x, x + width
        case "point" | "points":
            value = at if flavour == "points" or rng.random() < 0.3 else x
            return value, value
        case "touching":
            beside = math.nextafter(at, math.inf if rng.random() < 0.5 else -math.inf)
            start = at if rng.random() < 0.5 else beside
            return (start, start + width) if rng.random() < 0.5 else (start - width, start)
        case "straddling":
            return at - width, at + float(rng.choice([1e-9, 0.1, 4.0]))
        case "huge":
            size = float(rng.choice(_HUGE))
            low = -size if rng.random() < 0.6 else float(rng.choice([-1.0, 0.0, size * 0.5, 1.0]))
            return low, size
        case "half-infinite":
            return (-math.inf, at + x) if rng.random() < 0.5 else (at + x, math.inf)
        case "infinite":
            return -math.inf, math.inf
        case "denormal":
            low, high = sorted(float(rng.choice(_SMALL)) * float(rng.choice([-1.0, 1.0])) for _ in range(2))
            return low, high
        case _:
            raise ValueError(flavour)


def draw_points(box: Box, seed: int, count: int = 6) -> torch.Tensor:
    """Points of the box [count, batch, *shape]: both ends, corners, and points between; infinite ends are cut."""
    rng = np.random.default_rng(seed)
    low, high = box.lower.numpy(), box.upper.numpy()
    reach = float(rng.choice([1.0, 1e3, 1e8]))
    left = np.where(np.isfinite(low), low, np.where(np.isfinite(high), np.minimum(high, 0) - reach, -reach))
    right = np.where(np.isfinite(high), high, np.maximum(left, 0) + reach)
    rows = [left, right]
    while len(rows) < count:
        share = rng.random(low.shape)
        if len(rows) % 2:
            share = np.round(share)
        between = left * (1 - share) + right * share
        rows.append(np.clip(np.where(np.isfinite(between), between, left), left, right))
    return torch.from_numpy(np.stack(rows))


def _arguments(boxes: Boxes, seed: int, count: int = 6) -> list[Points]:
    drawn = [draw_points(box, seed + 17 * place, count) for place, box in enumerate(boxes)]
    return [tuple(rows[i] for rows in drawn) for i in range(count)]


def _allowance(op: Op, points: Points, value: torch.Tensor) -> torch.Tensor:
    """What the float evaluation itself may be off by: the law is about the exact value."""
    size = value.abs()
    if isinstance(op, Affine):
        size = torch.zeros_like(value) + (0.0 if op.offset is None else op.offset.abs())
        for part, x in zip(op.maps, points, strict=True):
            size = size + part.majorant().apply(x.abs())
    elif isinstance(op, MatMulData):
        size = points[0].abs() @ points[1].abs()
    elif not isinstance(op, Multiply | Divide):
        size = size + torch.stack([x.abs().amax() for x in points]).sum() * 1e-2 + 1.0
    return size * 1e-13 + 1e-306


def interval_encloses(op: Op, boxes: Boxes, seed: int = 0) -> None:
    """forward(x) is in interval(box) for x in the box, corners included; to the float evaluation's own error."""
    said = op.interval(*boxes)
    assert said.lower.shape == said.upper.shape == (len(boxes[0].lower), *op.out_shape)
    for points in _arguments(boxes, seed):
        value = op.forward(*points)
        slack = _allowance(op, points, value)
        unknown = torch.isnan(value) | torch.isnan(slack) | torch.isinf(slack)  # it overflowed on the way
        inside = (value >= said.lower - slack) & (value <= said.upper + slack)
        assert bool((inside | unknown).all()), _told(said, value, inside | unknown)


def _told(said: Box, value: torch.Tensor, fine: torch.Tensor) -> str:
    bad = (~fine).reshape(-1).nonzero()[0, 0]
    numbers = (float(t.reshape(-1)[bad]) for t in (value, said.lower, said.upper))
    return "{!r} is not in [{!r}, {!r}]".format(*numbers)


def interval_encloses_exactly(op: Op, boxes: Boxes, seed: int = 0) -> None:
    """The exact rational value at points of the box is in the interval: not one rounding may be forgotten."""
    said = op.interval(*boxes)
    low, high = (end.reshape(len(end), -1).tolist() for end in (said.lower, said.upper))
    for points in _arguments(boxes, seed, 4):
        for row in range(len(boxes[0].lower)):
            values = _exact_forward(op, tuple(x[row] for x in points))
            for value, a, b in zip(values, low[row], high[row], strict=True):
                assert a == -math.inf or Fraction(a) <= value, f"{float(value)!r} < {a!r}"
                assert b == math.inf or value <= Fraction(b), f"{float(value)!r} > {b!r}"


def _exact_forward(op: Op, points: Points) -> list[Fraction]:
    flat = [np.array([Fraction(v) for v in x.reshape(-1).tolist()], dtype=object) for x in points]
    match op:
        case Affine():
            total = [Fraction(0)] * math.prod(op.out_shape)
            if op.offset is not None:
                total = [Fraction(v) for v in op.offset.reshape(-1).tolist()]
            for part, x in zip(op.maps, flat, strict=True):
                total = [a + b for a, b in zip(total, exact(part) @ x, strict=True)]
            return total
        case Multiply():
            return [a * b for a, b in zip(*flat, strict=True)]
        case _:
            raise TypeError(type(op).__name__)


def _flat_jacobian(op: Op, points: Points) -> list[torch.Tensor]:
    """The Jacobian in each argument at one row, [out, in_i]."""
    leaves = [x.detach().clone().requires_grad_(True) for x in points]
    value = op.forward(*(x.unsqueeze(0) for x in leaves))[0].reshape(-1)
    rows: list[list[torch.Tensor]] = [[] for _ in leaves]
    for entry in value:
        found = (
            torch.autograd.grad(entry, leaves, retain_graph=True, allow_unused=True)
            if entry.requires_grad
            else [None] * len(leaves)
        )
        for place, (leaf, grad) in enumerate(zip(leaves, found, strict=True)):
            rows[place].append((torch.zeros_like(leaf) if grad is None else grad).reshape(-1))
    sizes = [leaf.numel() for leaf in leaves]
    return [torch.stack(r) if r else torch.zeros(0, n, dtype=torch.float64) for r, n in zip(rows, sizes, strict=True)]


def norm_of(matrix: torch.Tensor, norm: Norm) -> float:
    """The operator norm, as a float; NaN where the matrix is not finite."""
    if not matrix.numel():
        return 0.0
    if not bool(matrix.isfinite().all()):
        return math.nan
    if norm is Norm.L2:
        peak = float(matrix.abs().max())
        return float(torch.linalg.matrix_norm(matrix / peak, 2)) * peak if peak else 0.0
    return float(matrix.abs().sum(0 if norm is Norm.L1 else 1).max())


RELATIVE = 1e-9


def gains_cover_jacobians(op: Op, boxes: Boxes, seed: int = 0) -> None:
    """||J(x)|| <= joint gain and ||J_i(x)|| <= gain_i at points of the box, in all three norms."""
    plain = isinstance(op, Affine | Multiply | Elementwise)
    for norm in Norm:
        separate = [gain.value for gain in op.gains(norm, *boxes)]
        joint = op.joint_gain(norm, *boxes).value
        assert len(separate) == len(boxes)
        for points in _arguments(boxes, seed, 4):
            if not plain and max(float(x.abs().max()) for x in points) > 1e12:
                continue  # where x_i - x_j is all rounding, so is autograd
            for row in range(len(boxes[0].lower)):
                parts = _flat_jacobian(op, tuple(x[row] for x in points))
                slack = 1e-300 if isinstance(op, Affine | Multiply) else 1e-12  # autograd's own cancellation
                for gain, part in zip(separate, parts, strict=True):
                    met = norm_of(part, norm)
                    assert not met > gain * (1 + RELATIVE) + slack, f"{norm.value}: slope {met!r} > gain {gain!r}"
                met = norm_of(torch.cat(parts, 1), norm)
                assert not met > joint * (1 + RELATIVE) + slack, f"{norm.value}: slope {met!r} > joint gain {joint!r}"


def gains_cover_slopes(op: Op, boxes: Boxes, seed: int = 0) -> None:
    """|f(x) - f(y)| <= joint gain |x - y| for pairs in the box, to the float evaluation's error."""
    drawn = _arguments(boxes, seed, 6)
    pairs = [(drawn[i], drawn[j]) for i in range(6) for j in range(i)]
    for norm in Norm:
        gain = op.joint_gain(norm, *boxes).value
        if math.isinf(gain):
            continue
        for one, other in pairs:
            difference = op.forward(*one) - op.forward(*other)
            slack = _allowance(op, one, op.forward(*one)) + _allowance(op, other, op.forward(*other))
            moved = torch.cat([(a - b).reshape(len(a), -1) for a, b in zip(one, other, strict=True)], 1)
            left, right = norm.of(difference), norm.of(moved) * gain * (1 + RELATIVE)
            error = norm.of(slack.expand_as(difference))
            known = torch.isfinite(left) & torch.isfinite(right)  # the norm of huge numbers overflows by itself
            assert not bool((known & (left > right + error)).any()), f"{norm.value}: slope above gain {gain!r}"


def smaller_box_is_no_worse(op: Op, boxes: Boxes, inner: Boxes) -> None:
    """Inside a box: ranges inside, gains at most; up to rounding, and as long as no square overflows."""
    outer_range, inner_range = op.interval(*boxes), op.interval(*inner)
    largest = _largest(outer_range, inner_range, *boxes, *inner)
    if largest > 1e150:
        return
    slack = 1e-9 * (1.0 + largest)  # a range is centre and radius of all its arguments
    if not isinstance(op, Normalise | RootMeanSquare | UnitVector):  # theirs is a ball around the centre, which moves
        assert bool((inner_range.lower >= outer_range.lower - slack).all())
        assert bool((inner_range.upper <= outer_range.upper + slack).all())
    for norm in Norm:
        for small, large in zip(op.gains(norm, *inner), op.gains(norm, *boxes), strict=True):
            assert small.value <= large.value * (1 + RELATIVE) + 1e-300
        small, large = op.joint_gain(norm, *inner), op.joint_gain(norm, *boxes)
        assert small.value <= large.value * (1 + RELATIVE) + 1e-300


def _largest(*boxes: Box) -> float:
    ends = torch.cat([end.reshape(-1) for box in boxes for end in (box.lower, box.upper)])
    return float(ends[torch.isfinite(ends)].abs().amax()) if bool(torch.isfinite(ends).any()) else 0.0


def shrink(box: Box, seed: int) -> Box:
    """A random box inside a box."""
    one, other = draw_points(box, seed, 4)[2:]
    return Box(torch.minimum(one, other), torch.maximum(one, other))


def point_range_is_tight(op: Op, points: Points) -> None:
    """At one point of ordinary size, the range is the value to a relative 1e-9."""
    said = op.interval(*(Box.point(x) for x in points))
    value = op.forward(*points)
    size = 1.0 + value.abs() + torch.stack([x.abs().amax() for x in points]).amax()
    assert bool(((said.upper - said.lower) <= 1e-9 * size).all())
    assert bool(((value - said.lower).abs() <= 1e-9 * size).all())
