"""Vectors divided by a length of their own: RMS norm, unit vectors, local response normalisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch.nn import functional

from lipaudit.linear.map import Shape
from lipaudit.numerics.bound import UpperBound
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.numerics.rounding import div_up, down, gamma, mul_down, mul_up, sqrt_down, sqrt_up, tensor_up, up
from lipaudit.ops.entrywise import rms_entrywise
from lipaudit.ops.op import Op


def least_length(box: Box, p: int = 2) -> float:
    """A lower bound of the p-norm (1 or 2) of every row [.., d] over the box, the least of all rows."""
    ends = torch.minimum(box.lower.abs(), box.upper.abs())
    least = torch.where(box.straddles_zero, torch.zeros_like(ends), ends)
    length = torch.linalg.vector_norm(least, float(p), -1)
    return mul_down(float(length.min()), down(1.0 - gamma(least.shape[-1] + 8))) if length.numel() else 0.0


def _around(op: Op, box: Box, lipschitz: float, size: int, edge: float) -> Box:
    """f(box) in f(c) + lipschitz |x - c|_2, and in [-edge, edge] whatever the input. Rows [.., d]."""
    centre, radius = box.centre_radius()
    value = op.forward(centre)
    reach = torch.linalg.vector_norm(radius, 2.0, -1, keepdim=True) * lipschitz
    noise = (1.0 + value.abs()) * gamma(4 * size + 64)
    spread = tensor_up((reach + noise * edge) * up(1.0 + gamma(size + 16)))
    bound = torch.full_like(value, edge)
    spread = torch.where(torch.isfinite(spread), spread, bound * 4.0)
    value = torch.where(torch.isfinite(value), value, torch.zeros_like(value))
    around = Box(value - spread, value + spread).widened(0.0)
    return Box(torch.maximum(around.lower, -bound), torch.minimum(around.upper, bound))


@final
@dataclass(frozen=True, slots=True, eq=False)
class RootMeanSquare(Op):
    """x / sqrt(|x|_2^2 / d + eps) over the last axis of [groups, d]: RMSNorm without its scale.

    With s = sqrt(|x|^2 / d + eps), J = (1/s)(I - x x' / (d s^2)): eigenvalues 1/s and eps/s^3, so ||J||_2 <= 1/s,
    attained at x = 0. J is symmetric; with t = |x|^2 / (d s^2) < 1 and a = |x_i| / (sqrt(d) s), row i sums to at most
    (1/s)(1 - a^2 + a sqrt(d-1) sqrt(t - a^2)) <= (1/s)(1 + t (sqrt(d) - 1) / 2) <= (1/s)(1 + sqrt(d)) / 2; and since
    1/s = sqrt(1 - t) / sqrt(eps), to at most `rms_entrywise(d)` / sqrt(eps) anywhere.
    """

    groups: int
    size: int
    eps: float
    family: ClassVar[str] = "Smooth"
    rule: ClassVar[str] = "l2 1 / min sqrt(mean square + eps), attained at 0; l1, linf times a factor of the size"

    @property
    def in_shapes(self) -> tuple[Shape, ...]:
        return ((self.groups, self.size),)

    @property
    def out_shape(self) -> Shape:
        return (self.groups, self.size)

    def forward(self, *args: torch.Tensor) -> torch.Tensor:
        return args[0] / torch.sqrt((args[0] * args[0]).mean(-1, keepdim=True) + self.eps)

    def interval(self, *boxes: Box) -> Box:
        # |x_i| <= |x|_2 < sqrt(d) s
        return _around(
            self, boxes[0], div_up(1.0, self.least_deviation(boxes[0])), self.size, sqrt_up(float(self.size))
        )

    def gains(self, norm: Norm, *boxes: Box) -> tuple[UpperBound, ...]:
        inverse = div_up(1.0, self.least_deviation(boxes[0]))
        if norm is Norm.L2:
            return (UpperBound(inverse, "1 / min sqrt(mean square + eps)"),)
        here = mul_up(inverse, up(up(1.0 + sqrt_up(float(self.size))) / 2.0))
        anywhere = mul_up(div_up(1.0, sqrt_down(self.eps)), rms_entrywise(self.size))
        return (UpperBound(min(here, anywhere), "1 / min sqrt(mean square + eps), entrywise"),)

    def least_deviation(self, box: Box) -> float:
        """A lower bound of sqrt(|x|^2 / d + eps) over the box."""
        rho = least_length(box)
        return sqrt_down(max(self.eps, down(mul_down(rho, rho, 1.0 / self.size, 1.0 - 4e-16) + self.eps)))


@final
@dataclass(frozen=True, slots=True, eq=False)
class UnitVector(Op):
    """x / length over the last axis of [groups, d], with length |x|_p, max(|x|_2, floor) or |x|_2 + floor.

    p: 1 or 2 (a floor is for 2 only). added: the floor is added to the length instead of bounding it from below.
    The floor meant is within 4 roundings of the stored one.
    l2 norm: J = (1/n)(I - t xh xh') with xh = x / |x|_2, t = |x| / n in [0, 1], n the length (floor and t = 0 below
    a floor): eigenvalues 1/n and (1 - t)/n, rows at most (1/n)(1 + sqrt(d)) / 2 as in RootMeanSquare, J symmetric.
    p = 1: J = (1/n)(I - xh s'), s the signs: columns 2 (1 - |xh_j|) / n <= 2/n; rows 1 + (d - 2)|xh_i| <= max(1, d - 1)
    over n; l2 at most the root of their product (Schur). No constant where the length may be 0.
    """

    groups: int
    size: int
    p: int = 2
    floor: float = 0.0
    added: bool = False
    family: ClassVar[str] = "Smooth"
    rule: ClassVar[str] = "1 / min length (2 / min length in l1 for the 1-norm)"

    def __post_init__(self) -> None:
        if self.p not in (1, 2) or not self.floor >= 0.0 or (self.floor and self.p != 2):
            raise ValueError("a unit vector is of the 1-norm, or of the 2-norm with a floor of 0 or more")

    @property
    def in_shapes(self) -> tuple[Shape, ...]:
        return ((self.groups, self.size),)

    @property
    def out_shape(self) -> Shape:
        return (self.groups, self.size)

    def forward(self, *args: torch.Tensor) -> torch.Tensor:
        length = torch.linalg.vector_norm(args[0], float(self.p), -1, keepdim=True)
        length = length + self.floor if self.added else length.clamp(min=self.floor)
        return args[0] / torch.where(length == 0, torch.ones_like(length), length)

    def interval(self, *boxes: Box) -> Box:
        return _around(self, boxes[0], self.gains(Norm.L2, *boxes)[0].value, self.size, 1.0 + 1e-12)

    def gains(self, norm: Norm, *boxes: Box) -> tuple[UpperBound, ...]:
        inverse = div_up(1.0, self._least(boxes[0]))
        root = sqrt_up(float(self.size))
        if self.p == 2:
            factor = 1.0 if norm is Norm.L2 else up(up(1.0 + root) / 2.0)
        else:
            rows = max(1.0, self.size - 1.0)
            factor = {Norm.L1: 2.0, Norm.LINF: rows, Norm.L2: sqrt_up(2.0 * rows)}[norm]
        return (UpperBound(mul_up(inverse, factor), "1 / min length"),)

    def caveat(self, *boxes: Box) -> str | None:
        if self._least(boxes[0]) > 0.0:
            return None
        return "it divides by a length that may be 0 here, where it jumps; a --domain may keep it away from 0"

    def _least(self, box: Box) -> float:
        length, floor = least_length(box, self.p), mul_down(self.floor, 1.0 - 1e-15)
        return down(length + floor) if self.added and length else floor if self.added else max(length, floor)


@final
@dataclass(frozen=True, slots=True, eq=False)
class LocalResponse(Op):
    """x_c / D_c^beta with D_c = bias + alpha/n sum of x_k^2 over the n channels around c. Shape [N, C, positions].

    Sound: dy_c / dx_k = [c = k] D_c^-beta - 2 beta (alpha/n) x_c x_k D_c^(-beta-1). A row of the second part sums to at
    most 2 beta (alpha/n) |x_c| sqrt(n) |x_window|_2 D^(-beta-1) <= 2 beta sqrt(n) D^-beta, because alpha/n |x_window|^2
    < D and |x_c| <= |x_window|_2; a column has n terms of at most beta D^-beta each (2 |x_c x_k| <= x_c^2 + x_k^2), the
    diagonal's twice that. D >= bias. l2: the root of both (Schur).
    """

    shape: Shape
    size: int
    alpha: float
    beta: float
    bias: float
    family: ClassVar[str] = "Smooth"
    rule: ClassVar[str] = "min D^-beta (1 + 2 beta sqrt(n)) in linf, (1 + beta (n + 1)) in l1, l2 the root of both"

    def __post_init__(self) -> None:
        if not (self.alpha >= 0.0 and self.beta >= 0.0 and self.bias > 0.0 and self.size >= 1 and len(self.shape) == 3):
            raise ValueError("a local response has alpha, beta >= 0, bias > 0 and the shape [N, C, positions]")

    @property
    def in_shapes(self) -> tuple[Shape, ...]:
        return (self.shape,)

    @property
    def out_shape(self) -> Shape:
        return self.shape

    def forward(self, *args: torch.Tensor) -> torch.Tensor:
        return args[0] / self._denominator(args[0] * args[0]) ** self.beta

    def _denominator(self, squares: torch.Tensor) -> torch.Tensor:
        before, after = (self.size - 1) // 2, self.size // 2
        padded = functional.pad(squares, (0, 0, before, after))
        return self.bias + self.alpha / self.size * padded.unfold(2, self.size, 1).sum(-1)

    def interval(self, *boxes: Box) -> Box:
        box = boxes[0]
        ends = torch.minimum(box.lower.abs(), box.upper.abs())
        least = torch.where(box.straddles_zero, torch.zeros_like(ends), ends)
        low, high = (self._denominator(m * m) ** -self.beta for m in (box.magnitude, least))
        corners = [_times(p, q) for p in (box.lower, box.upper) for q in (low, high)]
        return Box.hull(*corners).widened(gamma(2 * self.size + 64 + int(8 * self.beta)), 1e-300)

    def gains(self, norm: Norm, *boxes: Box) -> tuple[UpperBound, ...]:
        peak = up(self._least(boxes[0]) ** -self.beta * (1.0 + 1e-14))
        rows = up(1.0 + mul_up(2.0 * self.beta, sqrt_up(float(self.size))))
        columns = up(1.0 + mul_up(self.beta, self.size + 1.0))
        factor = {Norm.LINF: rows, Norm.L1: columns, Norm.L2: sqrt_up(mul_up(rows, columns))}[norm]
        return (UpperBound(mul_up(peak, factor), "D^-beta times the window's share"),)

    def _least(self, box: Box) -> float:
        ends = torch.minimum(box.lower.abs(), box.upper.abs())
        least = torch.where(box.straddles_zero, torch.zeros_like(ends), ends)
        return max(self.bias, float(self._denominator(least * least).min()) * (1.0 - gamma(self.size + 8)))


def _times(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    product = p * q
    return torch.where((p == 0) | (q == 0), torch.zeros_like(product), product)
