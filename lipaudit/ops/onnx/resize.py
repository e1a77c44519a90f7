"""Resize and Upsample: separable, so one matrix along each axis (a mere selection for the nearest pixel)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch

from lipaudit.errors import Unsupported
from lipaudit.linear.selection import NOTHING, Selection
from lipaudit.ops.affine import Affine
from lipaudit.ops.onnx.axis import along
from lipaudit.ops.registry import Data, RawNode, float32, onnx_op

# a weight is a polynomial of a rounded coordinate, divided by a sum of such
_WEIGHT_ROUNDINGS = 64


@final
@dataclass(frozen=True, slots=True)
class _Axis:
    """How one axis is resized: from `size` to `count` places, `length` of them before rounding down."""

    size: int
    count: int
    scale: float
    roi: tuple[float, float]

    @property
    def length(self) -> float:
        return self.scale * self.size

    def coordinates(self, mode: str) -> torch.Tensor:
        """Where in the original every resized place lies."""
        x = torch.arange(self.count, dtype=torch.float64)
        match mode:
            case "half_pixel":
                return (x + 0.5) / self.scale - 0.5
            case "half_pixel_symmetric":
                return self.size / 2 * (1.0 - self.count / self.length) + (x + 0.5) / self.scale - 0.5
            case "pytorch_half_pixel":
                return (x + 0.5) / self.scale - 0.5 if self.length != 1 else torch.full_like(x, -0.5)
            case "align_corners":
                return x * ((self.size - 1) / (self.length - 1)) if self.length != 1 else torch.zeros_like(x)
            case "asymmetric":
                return x / self.scale
            case "tf_crop_and_resize":
                start, end = self.roi
                if self.length == 1:
                    return torch.full_like(x, (end - start) * (self.size - 1) / 2) + start * (self.size - 1)
                return x * ((end - start) * (self.size - 1) / (self.length - 1)) + start * (self.size - 1)
            case "tf_half_pixel_for_nn":
                return (x + 0.5) / self.scale
            case _:
                raise Unsupported(f"coordinate_transformation_mode={mode!r} is not known")


def _nearest(at: torch.Tensor, mode: str) -> torch.Tensor:
    rounding = {
        "round_prefer_floor": lambda x: torch.ceil(x - 0.5),
        "round_prefer_ceil": lambda x: torch.floor(x + 0.5),
        "floor": torch.floor,
        "ceil": torch.ceil,
    }
    if mode not in rounding:
        raise Unsupported(f"nearest_mode={mode!r} is not known")
    return rounding[mode](at).long()


def _kernel(mode: str, a: float, distance: torch.Tensor) -> torch.Tensor:
    """The weight of a pixel at a distance: a hat, or Keys' cubic (1981, equation 4)."""
    t = distance.abs()
    if mode == "linear":
        return (1.0 - t).clamp(min=0.0)
    near = ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0
    far = ((a * t - 5.0 * a) * t + 8.0 * a) * t - 4.0 * a
    return torch.where(t <= 1.0, near, torch.where(t < 2.0, far, torch.zeros_like(t)))


def _weights(axis: _Axis, at: torch.Tensor, mode: str, a: float, *, antialias: bool, outside: bool) -> torch.Tensor:
    """[count, size]: every resized place as a weighted sum; the border pixels are repeated unless `outside`."""
    shrink = min(axis.scale, 1.0) if antialias else 1.0
    reach = math.ceil((1 if mode == "linear" else 2) / shrink) + 1
    first = torch.floor(at).long().unsqueeze(1) + torch.arange(-reach, reach + 1)
    weight = _kernel(mode, a, (first - at.unsqueeze(1)) * shrink)
    inside = (first >= 0) & (first < axis.size)
    if outside:
        weight = torch.where(inside, weight, torch.zeros_like(weight))
    if outside or antialias:
        weight = weight / weight.sum(1, keepdim=True)
    matrix = torch.zeros(axis.count, axis.size, dtype=torch.float64)
    return matrix.scatter_add(1, first.clamp(0, axis.size - 1), weight)


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
        out = (at < 0) | (at > axis.size - 1) if beyond else torch.zeros(axis.count, dtype=torch.bool)
        if mode == "nearest":
            picked = torch.where(out, torch.tensor(NOTHING), _nearest(at, nearest_mode).clamp(0, axis.size - 1))
            x = _selected(node, x, place, picked)
        elif mode in ("linear", "cubic"):
            smooth = bool(antialias) and axis.scale < 1.0
            matrix = _weights(
                axis, at, mode, float32(cubic_coeff_a), antialias=smooth, outside=bool(exclude_outside)
            )
            x = along(node, x, place, torch.where(out.unsqueeze(1), torch.zeros_like(matrix), matrix), _WEIGHT_ROUNDINGS)
        else:
            raise Unsupported(f"mode={mode!r} is not known")
        if bool(out.any()) and extrapolation_value != 0.0:
            x = _filled(node, x, place, out, float32(extrapolation_value))
    return x


def _plan(node: RawNode, x: Data, chosen: list[int], policy: str, crop: bool) -> dict[int, _Axis]:
    """The axes that change, with their sizes."""
    roi = node.optional(1, "roi") if crop else None
    edges = [0.0] * len(chosen) + [1.0] * len(chosen) if roi is None or not roi.numel() else roi.double().tolist()
    scales = node.optional(2, "scales")
    sizes = node.optional(3, "sizes")
    plan: dict[int, _Axis] = {}
    if scales is not None and scales.numel():
        for place, (axis, scale) in enumerate(zip(chosen, scales.double().tolist(), strict=True)):
            span = (edges[place], edges[place + len(chosen)])
            part = span[1] - span[0] if crop else 1.0
            plan[axis] = _Axis(x.shape[axis], math.floor(x.shape[axis] * part * scale), scale, span)
    elif sizes is not None:
        wanted = [int(n) for n in sizes.tolist()]
        ratios = [n / x.shape[axis] for n, axis in zip(wanted, chosen, strict=True)]
        if policy != "stretch":
            common = min(ratios) if policy == "not_larger" else max(ratios)
            ratios = [common] * len(chosen)
            wanted = [math.floor(common * x.shape[axis] + 0.5) for axis in chosen]
        for place, (axis, n, ratio) in enumerate(zip(chosen, wanted, ratios, strict=True)):
            plan[axis] = _Axis(x.shape[axis], n, ratio, (edges[place], edges[place + len(chosen)]))
    else:
        raise Unsupported("it has neither scales nor sizes")
    if any(axis.count < 1 or not axis.scale > 0 for axis in plan.values()):
        raise Unsupported("it has an axis that is resized to nothing")
    same = {p for p, a in plan.items() if a.scale == 1.0 and a.count == a.size and a.roi == (0.0, 1.0)}
    return {place: axis for place, axis in plan.items() if place not in same}


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
        axis = _Axis(x.shape[place], math.floor(x.shape[place] * factor), factor, (0.0, 1.0))
        if factor == 1.0:
            continue
        at = axis.coordinates("asymmetric")
        if mode == "nearest":
            x = _selected(node, x, place, _nearest(at, "floor").clamp(0, axis.size - 1))
        else:
            x = along(node, x, place, _weights(axis, at, "linear", 0.0, antialias=False, outside=False), _WEIGHT_ROUNDINGS)
    return x
