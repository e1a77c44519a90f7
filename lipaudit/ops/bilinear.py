"""Products and quotients of two tensors that both vary: Lipschitz only where the factors are bounded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch

from lipaudit.linear.map import Shape
from lipaudit.numerics.bound import UpperBound
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.numerics.rounding import TINY, gamma, mul_up, sqrt_up, tensor_down, tensor_up, up
from lipaudit.ops.op import Op


def _largest(x: torch.Tensor) -> float:
    return float(x.max()) if x.numel() else 0.0


def _unbounded(name: str, *boxes: Box) -> str | None:
    for which, box in zip(("first", "second"), boxes, strict=True):
        if not box.finite:
            reason = f"{name} multiplies two tensors that both vary, and its {which} is not bounded here"
            return f"{reason}; a --domain for the input makes the bound finite"
    return None


@final
@dataclass(frozen=True, slots=True, eq=False)
class Multiply(Op):
    """x * y entrywise. |d(xy)| <= |y| |dx| + |x| |dy|, so the gains are max |y| and max |x| in every norm."""

    shape: Shape
    family: ClassVar[str] = "Bilinear"
    rule: ClassVar[str] = "max |other factor|; l2 jointly max sqrt(x^2 + y^2)"

    @property
    def in_shapes(self) -> tuple[Shape, ...]:
        return (self.shape, self.shape)

    @property
    def out_shape(self) -> Shape:
        return self.shape

    def forward(self, *args: torch.Tensor) -> torch.Tensor:
        return args[0] * args[1]

    def interval(self, *boxes: Box) -> Box:
        a, b = boxes
        corners = [_times(p, q) for p in (a.lower, a.upper) for q in (b.lower, b.upper)]
        return Box.hull(*corners).widened(0.0)

    def gains(self, norm: Norm, *boxes: Box) -> tuple[UpperBound, ...]:
        a, b = boxes
        return (UpperBound(_largest(b.magnitude), "max |y|"), UpperBound(_largest(a.magnitude), "max |x|"))

    def joint_gain(self, norm: Norm, *boxes: Box) -> UpperBound:
        x, y = (box.magnitude for box in boxes)
        if norm is Norm.L1:
            return UpperBound(_largest(torch.maximum(x, y)), "max |x|, |y|")
        if norm is Norm.L2:
            return UpperBound(up(up(_largest(torch.hypot(x, y)))), "max sqrt(x^2 + y^2)")
        return UpperBound(up(_largest(x + y)), "max |x| + |y|")

    def caveat(self, *boxes: Box) -> str | None:
        return _unbounded("Mul", *boxes)


def _times(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """The product with 0 * inf = 0, which is what an end of an interval product means."""
    product = p * q
    return torch.where((p == 0) | (q == 0), torch.zeros_like(product), product)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Divide(Op):
    """x / y entrywise. d(x/y) = dx / y - x dy / y^2; no constant where 0 is in the range of y."""

    shape: Shape
    family: ClassVar[str] = "Bilinear"
    rule: ClassVar[str] = "1 / min |y|, and max |x| / min y^2"

    @property
    def in_shapes(self) -> tuple[Shape, ...]:
        return (self.shape, self.shape)

    @property
    def out_shape(self) -> Shape:
        return self.shape

    def forward(self, *args: torch.Tensor) -> torch.Tensor:
        return args[0] / args[1]

    def interval(self, *boxes: Box) -> Box:
        x, y = boxes
        everything = Box.everything(x.shape)
        touches = y.straddles_zero
        safe = Box(torch.where(touches, 1.0, y.lower), torch.where(touches, 1.0, y.upper))
        inverse = Box(tensor_down(1.0 / safe.upper), tensor_up(1.0 / safe.lower))
        product = Multiply(self.shape).interval(x, inverse)
        lower = torch.where(touches, everything.lower, product.lower)
        return Box(lower, torch.where(touches, everything.upper, product.upper))

    def gains(self, norm: Norm, *boxes: Box) -> tuple[UpperBound, ...]:
        x, y = boxes
        least = torch.where(y.straddles_zero, torch.zeros_like(y.lower), torch.minimum(y.lower.abs(), y.upper.abs()))
        inverse = tensor_up(1.0 / least)
        slope = tensor_up(tensor_up(x.magnitude * inverse) * inverse)  # up, lest it underflows to a constant's 0
        slope = torch.where(x.magnitude == 0, torch.zeros_like(inverse), slope)
        in_x = UpperBound(_largest(inverse), "1 / min |y|")
        return (in_x, UpperBound(mul_up(_largest(slope), up(1.0 + gamma(4))), "max |x| / min y^2"))

    def caveat(self, *boxes: Box) -> str | None:
        if bool(boxes[1].straddles_zero.any()):
            return "Div divides by a tensor whose range contains 0 here; a --domain may keep it away from 0"
        return None if boxes[0].finite else "Div's numerator is not bounded here; a --domain makes the bound finite"


@final
@dataclass(frozen=True, slots=True, eq=False)
class MatMulData(Op):
    """A @ B over the last two axes, both varying, equal leading axes: d(AB) = dA B + A dB.

    gains: the operator norms of the maps dA -> dA B and dB -> A dB, the largest over the leading axes, with
    ||B||_2 <= sqrt(||B||_1 ||B||_inf) taken of the largest magnitudes in the box.
    average: whether every row of A is known to be shares, not negative and with the sum 1. Each row of AB is then
    between the least and the greatest of B's rows, and ||A||_inf = 1.
    """

    left: Shape
    right: Shape
    average: bool = False
    family: ClassVar[str] = "Bilinear"
    rule: ClassVar[str] = "norm of the other factor's largest magnitudes; shares have row sums of 1"

    def __post_init__(self) -> None:
        if self.left[:-2] != self.right[:-2] or self.left[-1] != self.right[-2]:
            raise ValueError(f"matrices of shapes {self.left} and {self.right} have no product")

    @property
    def in_shapes(self) -> tuple[Shape, ...]:
        return (self.left, self.right)

    @property
    def out_shape(self) -> Shape:
        return (*self.left[:-1], self.right[-1])

    def forward(self, *args: torch.Tensor) -> torch.Tensor:
        return args[0] @ args[1]

    def interval(self, *boxes: Box) -> Box:
        if not (boxes[0].finite and boxes[1].finite):
            return Box.everything((len(boxes[0].lower), *self.out_shape))
        (a, ra), (b, rb) = (box.centre_radius() for box in boxes)
        n = self.left[-1]
        centre = a @ b
        spread = (a.abs() + ra) @ rb + ra @ b.abs()
        radius = (spread + (a.abs() @ b.abs()) * gamma(n)) * up(1.0 + gamma(2 * n + 6))
        found = Box.around(centre, tensor_up(radius + 4.0 * n * TINY))  # TINY a product, for underflow
        if not self.average:
            return found
        least, most = boxes[1].lower.amin(-2, keepdim=True), boxes[1].upper.amax(-2, keepdim=True)
        return Box(torch.maximum(found.lower, least), torch.minimum(found.upper, most))

    def gains(self, norm: Norm, *boxes: Box) -> tuple[UpperBound, ...]:
        a, b = (box.magnitude for box in boxes)
        # the l1 norm of dA -> dA B is the largest row sum of |B|, its linf norm the largest column sum
        widest = 1.0 if self.average else math.inf
        return (_product_gain(b.mT, norm, "other factor"), _product_gain(a, norm, "other factor", widest))

    def caveat(self, *boxes: Box) -> str | None:
        return _unbounded("MatMul", *boxes)


def _product_gain(matrix: torch.Tensor, norm: Norm, evidence: str, widest: float = math.inf) -> UpperBound:
    """The norm of x -> matrix @ x for the worst of a stack of non-negative matrices, no row sum above `widest`."""
    if not matrix.numel():
        return UpperBound(0.0, evidence)
    slack = up(1.0 + gamma(max(matrix.shape[-2:]) + 1))
    columns, rows = mul_up(_largest(matrix.sum(-2)), slack), mul_up(_largest(matrix.sum(-1)), slack)
    rows = min(rows, widest)
    value = {Norm.L1: columns, Norm.LINF: rows, Norm.L2: sqrt_up(mul_up(columns, rows))}[norm]
    return UpperBound(value, evidence)
