"""Resize and Upsample: separable, so one matrix along each axis (a mere selection for the nearest pixel)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import final

import torch

from lipaudit.errors import Unsupported
from lipaudit.linear.selection import NOTHING, Selection
from lipaudit.ops.affine import Affine
from lipaudit.ops.onnx.axis import along
from lipaudit.ops.registry import Data, RawNode, float32, onnx_op, room

Places = list[Fraction]

_LONGEST = 2**17
"""Most places of an axis: each is worked out as a fraction, and a file of 200 bytes can ask for as many as it likes."""


@final
@dataclass(frozen=True, slots=True)
class _Axis:
    """How one axis is resized: from `size` to `count` places. Exact: a stored scale is a rational number."""

    size: int
    count: int
    scale: Fraction
    roi: tuple[Fraction, Fraction] = (Fraction(0), Fraction(1))

    @property
    def length(self) -> Fraction:
        """The resized length before it is rounded down."""
        return self.scale * self.size

    def coordinates(self, mode: str) -> Places:
        """Where in the original every resized place lies."""
        half, last = Fraction(1, 2), Fraction(self.size - 1)
        if self.count > _LONGEST:
            raise Unsupported(f"an axis of {self.count} places is too long to resize exactly")
        places = [Fraction(x) for x in range(self.count)]
        match mode:
            case "half_pixel":
                return [(x + half) / self.scale - half for x in places]
            case "half_pixel_symmetric":
                start = Fraction(self.size, 2) * (1 - self.count / self.length)
                return [start + (x + half) / self.scale - half for x in places]
            case "pytorch_half_pixel":
                return [(x + half) / self.scale - half if self.length != 1 else -half for x in places]
            case "align_corners":
                return [x * last / (self.length - 1) if self.length != 1 else Fraction(0) for x in places]
            case "asymmetric":
                return [x / self.scale for x in places]
            case "tf_half_pixel_for_nn":
                return [(x + half) / self.scale for x in places]
            case "tf_crop_and_resize":
                start, span = self.roi[0] * last, (self.roi[1] - self.roi[0]) * last
                return [start + (x * span / (self.length - 1) if self.length != 1 else span / 2) for x in places]
            case _:
                raise Unsupported(f"coordinate_transformation_mode={mode!r} is not known")


def _nearest(axis: _Axis, at: Places, mode: str) -> list[int]:
    half = Fraction(1, 2)
    rounding: dict[str, Callable[[Fraction], int]] = {
        "round_prefer_floor": lambda x: math.ceil(x - half),
        "round_prefer_ceil": lambda x: math.floor(x + half),
        "floor": math.floor,
        "ceil": math.ceil,
    }
    if mode not in rounding:
        raise Unsupported(f"nearest_mode={mode!r} is not known")
    return [min(max(rounding[mode](x), 0), axis.size - 1) for x in at]


def _kernel(mode: str, a: Fraction, distance: Fraction) -> Fraction:
    """The weight of a pixel at a distance: a hat, or Keys' cubic (1981, equation 4)."""
    t = abs(distance)
    if mode == "linear":
        return max(1 - t, Fraction(0))
    if t <= 1:
        return ((a + 2) * t - (a + 3)) * t * t + 1
    return ((a * t - 5 * a) * t + 8 * a) * t - 4 * a if t < 2 else Fraction(0)


def _weights(axis: _Axis, at: Places, mode: str, a: Fraction, *, antialias: bool, inside_only: bool) -> torch.Tensor:
    """[count, size]: every resized place as a weighted sum, exact up to one rounding.

    Places beyond the border stand for the border pixel, or with inside_only for nothing, the rest weighing more.
    """
    room(axis.count, axis.size)
    shrink = axis.scale if antialias else Fraction(1)
    reach = math.ceil((1 if mode == "linear" else 2) / shrink) + 1
    matrix = torch.zeros(axis.count, axis.size, dtype=torch.float64)
    for row, x in enumerate(at):
        weights: dict[int, Fraction] = {}
        for place in range(math.floor(x) - reach, math.floor(x) + reach + 1):
            if not inside_only or 0 <= place < axis.size:
                pixel = min(max(place, 0), axis.size - 1)
                weights[pixel] = weights.get(pixel, Fraction(0)) + _kernel(mode, a, (place - x) * shrink)
        total = sum(weights.values()) if inside_only or antialias else Fraction(1)
        for pixel, weight in weights.items():
            matrix[row, pixel] = float(weight / total)
    return matrix


@onnx_op("Resize", versions=(10, 11, 13, 18, 19))
def _resize(
    node: RawNode,
    *,
    mode: str = "nearest",
    coordinate_transformation_mode: str = "half_pixel",
    nearest_mode: str = "round_prefer_floor",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    antialias: int = 0,
    axes: list[int] | None = None,
    keep_aspect_ratio_policy: str = "stretch",
) -> Data:
    """sqrt(copies) in l2 for nearest, the product of the axes' certified norms for linear and cubic"""
    x = node.data()
    if node.version < 11:
        return _upsampled(node, x, mode, node.constant(1, "scales").double().tolist())
    chosen = list(range(len(x.shape))) if axes is None else [axis % len(x.shape) for axis in axes]
    plan = _plan(node, x, chosen, keep_aspect_ratio_policy, coordinate_transformation_mode == "tf_crop_and_resize")
    beyond = coordinate_transformation_mode == "tf_crop_and_resize"
    for place, axis in plan.items():
        at = axis.coordinates(coordinate_transformation_mode)
        out = torch.tensor([beyond and not 0 <= t <= axis.size - 1 for t in at])
        if mode == "nearest":
            picked = torch.where(out, torch.tensor(NOTHING), torch.tensor(_nearest(axis, at, nearest_mode)))
            x = _selected(node, x, place, picked)
        elif mode in ("linear", "cubic"):
            smooth, a = bool(antialias) and axis.scale < 1, Fraction(float32(cubic_coeff_a))
            matrix = _weights(axis, at, mode, a, antialias=smooth, inside_only=bool(exclude_outside))
            x = along(node, x, place, torch.where(out.unsqueeze(1), torch.zeros_like(matrix), matrix), 1)
        else:
            raise Unsupported(f"mode={mode!r} is not known")
        if bool(out.any()) and extrapolation_value != 0.0:
            x = _filled(node, x, place, out, float32(extrapolation_value))
    return x


def _plan(node: RawNode, x: Data, chosen: list[int], policy: str, crop: bool) -> dict[int, _Axis]:
    """The axes that change, with their sizes."""
    roi = node.optional(1, "roi") if crop else None
    edges = [Fraction(side) for side in (0, 1) for _ in chosen]
    if roi is not None and roi.numel():
        edges = [Fraction(edge) for edge in roi.double().tolist()]
    spans = list(zip(edges[: len(chosen)], edges[len(chosen) :], strict=True))
    scales, sizes = node.optional(2, "scales"), node.optional(3, "sizes")
    lengths = [x.shape[axis] for axis in chosen]
    if scales is not None and scales.numel():
        ratios = [Fraction(scale) for scale in scales.double().tolist()]
        parts = [end - start if crop else Fraction(1) for start, end in spans]
        wanted = [math.floor(n * part * ratio) for n, part, ratio in zip(lengths, parts, ratios, strict=True)]
    elif sizes is not None:
        wanted = [int(n) for n in sizes.tolist()]
        ratios = [Fraction(n, length) for n, length in zip(wanted, lengths, strict=True)]
        if policy != "stretch":
            ratios = [min(ratios) if policy == "not_larger" else max(ratios)] * len(chosen)
            wanted = [math.floor(ratios[0] * length + Fraction(1, 2)) for length in lengths]
    else:
        raise Unsupported("it has neither scales nor sizes")
    if min(wanted) < 1 or min(ratios) <= 0:
        raise Unsupported("it has an axis that is resized to nothing")
    room(*(wanted[chosen.index(axis)] if axis in chosen else n for axis, n in enumerate(x.shape)))
    whole = (Fraction(0), Fraction(1))
    return {
        place: _Axis(size, count, ratio, span)
        for place, size, count, ratio, span in zip(chosen, lengths, wanted, ratios, spans, strict=True)
        if ratio != 1 or span != whole
    }


def _selected(node: RawNode, x: Data, place: int, picked: torch.Tensor) -> Data:
    def select(places: torch.Tensor) -> torch.Tensor:
        taken = places.index_select(place, picked.clamp(min=0))
        nothing = (picked == NOTHING).reshape([-1 if axis == place else 1 for axis in range(places.dim())])
        return torch.where(nothing, torch.full_like(taken, NOTHING), taken)

    return node.pick(x, select)


def _filled(node: RawNode, x: Data, place: int, out: torch.Tensor, value: float) -> Data:
    """x, which is 0 there, with a value at the places of one axis."""
    shape = [-1 if axis == place else 1 for axis in range(len(x.shape))]
    offset = (out.double() * value).reshape(shape).expand(x.shape).contiguous()
    return node.emit(Affine((Selection.reshape(x.shape, x.shape),), offset), x)


@onnx_op("Upsample", versions=(1, 7, 9, 10))
def _upsample(
    node: RawNode,
    *,
    mode: str = "nearest",
    scales: list[float] | None = None,
    height_scale: float = 1.0,
    width_scale: float = 1.0,
) -> Data:
    """sqrt(copies) in l2 for nearest, the product of the axes' certified norms for linear"""
    if node.version >= 9:
        factors = node.constant(1, "scales").double().tolist()
    else:
        factors = [float32(s) for s in (scales or [1.0, 1.0, height_scale, width_scale])]
    return _upsampled(node, node.data(), mode, factors)


def _upsampled(node: RawNode, x: Data, mode: str, factors: list[float]) -> Data:
    """The old resize: original place = resized place / scale, rounded down for nearest."""
    if len(factors) != len(x.shape) or mode not in ("nearest", "linear", "bilinear"):
        raise Unsupported(f"mode {mode!r} with scales {factors} is not known for {list(x.shape)}")
    for place, factor in enumerate(factors):
        ratio = Fraction(factor)
        axis = _Axis(x.shape[place], math.floor(x.shape[place] * ratio), ratio)
        room(*x.shape[:place], axis.count, *x.shape[place + 1 :])
        at = axis.coordinates("asymmetric")
        if factor == 1.0:
            continue
        if mode == "nearest":
            x = _selected(node, x, place, torch.tensor(_nearest(axis, at, "floor")))
        else:
            x = along(node, x, place, _weights(axis, at, "linear", Fraction(0), antialias=False, inside_only=False), 1)
    return x
