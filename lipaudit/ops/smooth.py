"""Vector-valued smooth ops with a constant of their own: softmax, log-softmax, layer normalisation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch

from lipaudit.linear.map import Shape
from lipaudit.numerics.bound import UpperBound
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.numerics.rounding import div_up, down, gamma, mul_up, sqrt_down, sqrt_up, tensor_up, up
from lipaudit.ops.entrywise import centred_entrywise
from lipaudit.ops.op import Op
from lipaudit.ops.variance import least_variance

# Softmax and its sums: exp, a sum of n terms, a quotient; 16 units in the last place for exp.
_EXP_ROUNDINGS = 16

# Softmax encloses a share by its differences to all others: so many at a time, and in all (about a minute).
_PAIRS = 2**22
_MOST_PAIRS = 2**32


@final
@dataclass(frozen=True, slots=True, eq=False)
class Softmax(Op):
    """exp(x_i) / sum_j exp(x_j) along `axis` (of the unbatched shape).

    keep: bool [*shape], where x_i counts; elsewhere it is taken for -inf, and its share is 0. Every row keeps some.
    A masked softmax is a softmax of the kept entries, so its constant is no larger.
    Constant 1/2 in l1, l2 and linf: Nair 2025 (arXiv:2510.23012); J = diag(p) - p p', whose l1 = linf norm is
    max 2 p (1 - p) <= 1/2 and whose largest eigenvalue is at most that (Gershgorin).
    """

    shape: Shape
    axis: int
    keep: torch.Tensor | None = None
    family: ClassVar[str] = "Smooth"
    rule: ClassVar[str] = "1/2 in all norms"

    def __post_init__(self) -> None:
        if self.keep is not None and not bool(self.keep.any(self.axis).all()):
            raise ValueError("a row of a softmax is masked as a whole")

    @property
    def in_shapes(self) -> tuple[Shape, ...]:
        return (self.shape,)

    @property
    def out_shape(self) -> Shape:
        return self.shape

    def forward(self, *args: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self._masked(args[0]), self.axis + 1)

    def _masked(self, x: torch.Tensor) -> torch.Tensor:
        return x if self.keep is None else torch.where(self.keep, x, -math.inf)

    def interval(self, *boxes: Box) -> Box:
        zero = torch.zeros_like(boxes[0].lower)
        most = zero + 1.0 if self.keep is None else zero + self.keep
        if not boxes[0].finite:
            return Box(zero, most)
        lower, upper = boxes[0].lower, boxes[0].upper
        n = self.shape[self.axis]
        if lower.numel() * n > _MOST_PAIRS:
            return Box(zero, most)
        # x_j - x_i is rounded once, which exp turns into a relative error of the share
        axis = self.axis + 1
        gap = (upper.amax(axis, keepdim=True) - lower.amin(axis, keepdim=True)) * 2.0**-51
        relative = torch.where(gap < 0.1, gap * 2.0 + gamma(n + 4 * _EXP_ROUNDINGS), zero + 1.0)
        lower, upper = self._masked(lower), self._masked(upper)
        least, most = self._share(lower, upper, n), self._share(upper, lower, n)
        low = least - least * relative - 1e-300
        high = torch.where(relative < 1.0, most + most * relative + 1e-300, zero + 1.0)
        loosened = Box(torch.minimum(low, high), high).widened(0.0)
        shares = Box(loosened.lower.clamp(min=0.0), loosened.upper.clamp(max=1.0))
        if self.keep is None:
            return shares
        return Box(torch.where(self.keep, shares.lower, zero), torch.where(self.keep, shares.upper, zero))

    def _share(self, own: torch.Tensor, others: torch.Tensor, n: int) -> torch.Tensor:
        """1 / (1 + sum over j != i of exp(others_j - own_i))."""
        if n == 1:
            return torch.ones_like(own)
        own, others = own.movedim(self.axis + 1, -1), others.movedim(self.axis + 1, -1)
        entries, rows = own.reshape(-1), others.reshape(-1, n)
        shares = []
        step = max(1, _PAIRS // n)
        for start in range(0, len(entries), step):  # all pairs at once would be n times as many
            part = torch.arange(start, min(start + step, len(entries)))
            gaps = rows[part // n] - entries[part].unsqueeze(-1)
            gaps[torch.arange(len(part)), part % n] = -math.inf
            # a masked entry compares -inf with -inf; its share is not used
            shares.append(1.0 / (1.0 + torch.nan_to_num(torch.exp(gaps), nan=0.0, posinf=math.inf).sum(-1)))
        return torch.cat(shares).reshape(own.shape).movedim(-1, self.axis + 1)

    def gains(self, norm: Norm, *boxes: Box) -> tuple[UpperBound, ...]:
        most = self.shape[self.axis] if self.keep is None else int(self.keep.sum(self.axis).max())
        if most == 1:
            return (UpperBound(0.0, "constant"),)
        return (UpperBound(0.5, "softmax"),)


@final
@dataclass(frozen=True, slots=True, eq=False)
class LogSoftmax(Op):
    """x_i - log sum_j exp(x_j) along `axis`.

    J = I - 1 p': an oblique projection, ||J||_2 = sqrt(n) |p|_2 <= sqrt(n); a column sums to at most n - 1 in
    absolute value (|1 - p_i| + (n - 1) p_i), a row to 1 - p_i + (1 - p_i) <= 2.
    """

    shape: Shape
    axis: int
    family: ClassVar[str] = "Smooth"
    rule: ClassVar[str] = "l2 sqrt(n), l1 n - 1, linf 2"

    @property
    def in_shapes(self) -> tuple[Shape, ...]:
        return (self.shape,)

    @property
    def out_shape(self) -> Shape:
        return self.shape

    def forward(self, *args: torch.Tensor) -> torch.Tensor:
        return torch.log_softmax(args[0], self.axis + 1)

    def interval(self, *boxes: Box) -> Box:
        lower, upper = boxes[0].lower, boxes[0].upper
        if not boxes[0].finite:
            return Box(torch.full_like(lower, -math.inf), torch.zeros_like(upper))
        # the log-sum is monotone in every entry
        total_low, total_high = (torch.logsumexp(end, self.axis + 1, keepdim=True) for end in (lower, upper))
        low, high = lower - total_high, torch.minimum(upper - total_low, torch.zeros_like(upper))
        reach = boxes[0].magnitude.amax(self.axis + 1, keepdim=True) + math.log(max(2, self.shape[self.axis])) + 1.0
        error = reach * gamma(self.shape[self.axis] + 4 * _EXP_ROUNDINGS)
        loosened = Box(torch.minimum(low, high), high).widened(0.0, error)
        return Box(loosened.lower, loosened.upper)

    def gains(self, norm: Norm, *boxes: Box) -> tuple[UpperBound, ...]:
        n = self.shape[self.axis]
        if n == 1:
            return (UpperBound(0.0, "constant"),)
        value = {Norm.L1: float(n - 1), Norm.L2: sqrt_up(float(n)), Norm.LINF: 2.0}[norm]
        return (UpperBound(value, "log-softmax"),)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Normalise(Op):
    """(x - mean) / sqrt(var + eps) over the last axis of [groups, d], without scale and shift.

    J = (1/s)(P - z z' / (d s^2)) with P = I - 1 1'/d, z = P x, s = sqrt(|z|^2 / d + eps): eigenvalues 1/s, eps/s^3
    and 0, so ||J||_2 <= 1/s, attained at constant x (d >= 2). In l1 and linf:
    ||J|| <= (1/s) max(2 (d-1)/d, (1 + sqrt(d))/2), and at most `centred_entrywise(d)` / sqrt(eps) anywhere.
    """

    groups: int
    size: int
    eps: float
    family: ClassVar[str] = "Smooth"
    rule: ClassVar[str] = "1 / min sqrt(var + eps); attained at constant inputs"

    @property
    def in_shapes(self) -> tuple[Shape, ...]:
        return ((self.groups, self.size),)

    @property
    def out_shape(self) -> Shape:
        return (self.groups, self.size)

    def forward(self, *args: torch.Tensor) -> torch.Tensor:
        centred = args[0] - args[0].mean(-1, keepdim=True)
        return centred / torch.sqrt((centred * centred).mean(-1, keepdim=True) + self.eps)

    def interval(self, *boxes: Box) -> Box:
        # |N_i| <= sqrt(d - 1) whatever the input, and |N(x) - N(c)| <= |x - c|_2 / min s
        c, r = boxes[0].centre_radius()
        value = self.forward(c)
        noise = c.abs().amax(-1, keepdim=True) * gamma(self.size + 3)  # the mean's and the difference's rounding
        reach = torch.sqrt(((r + noise * 2.0) ** 2).sum(-1, keepdim=True)) / self.least_deviation(boxes[0])
        radius = tensor_up((reach + value.abs() * gamma(self.size + 8)) * up(1.0 + gamma(self.size + 8)))
        edge = torch.full_like(value, sqrt_up(float(self.size - 1)))
        around = Box.around(value, radius)
        return Box(torch.maximum(around.lower, -edge), torch.minimum(around.upper, edge))

    def gains(self, norm: Norm, *boxes: Box) -> tuple[UpperBound, ...]:
        if self.size == 1:
            return (UpperBound(0.0, "constant"),)
        inverse = div_up(1.0, self.least_deviation(boxes[0]))
        if norm is Norm.L2:
            return (UpperBound(inverse, "1 / min sqrt(var + eps)"),)
        d = float(self.size)
        shape = max(up(2.0 * (d - 1.0) / d), up(up(1.0 + sqrt_up(d)) / 2.0))
        anywhere = mul_up(div_up(1.0, sqrt_down(self.eps)), centred_entrywise(self.size))
        return (UpperBound(min(mul_up(inverse, shape), anywhere), "1 / min sqrt(var + eps), entrywise"),)

    def least_deviation(self, box: Box) -> float:
        """A lower bound of sqrt(var + eps) over the box: the spread that must remain between its intervals."""
        least = float(least_variance(box).min()) if box.lower.numel() else 0.0
        return sqrt_down(max(self.eps, down(least + self.eps)))
