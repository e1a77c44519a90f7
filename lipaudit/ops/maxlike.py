"""The max family: every output is the largest (or smallest) of some inputs, or a sorted pair of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch.nn import functional

from lipaudit.linear.map import Shape
from lipaudit.linear.selection import NOTHING, Selection
from lipaudit.numerics.bound import ONE, UpperBound
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.numerics.rounding import sqrt_up
from lipaudit.ops.affine import Affine
from lipaudit.ops.op import Op


@final
@dataclass(frozen=True, slots=True)
class Pool:
    """The geometry of a max pooling over the axes behind the channel, padded alike on both sides."""

    kernel: Shape
    stride: Shape
    pads: Shape
    dilation: Shape
    ceil_mode: bool

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """[N, C, *size] -> [N, C, *out_size]."""
        pools = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)
        pooled = pools[len(self.kernel) - 1](x, self.kernel, self.stride, self.pads, self.dilation, self.ceil_mode)
        assert isinstance(pooled, torch.Tensor)
        return pooled


@final
@dataclass(frozen=True, slots=True, eq=False)
class WindowMax(Op):
    """y_i = max over j in windows[i] of x_j: max pooling, ReduceMax. With sign -1: the min.

    windows: int64 [out_size, width], flat input indices; NOTHING where a window is smaller (or reaches into padding).
    pool: the same windows as torch's max_pool takes them, where it can: the faster way to the same values.
    Sound: every row of the (Clarke) Jacobian is a convex combination of unit vectors of its window, so a column
    sums to at most the number of windows N that the entry can win: ||J||_inf = 1, ||J||_1 <= N, ||J||_2 <= sqrt(N).
    """

    windows: torch.Tensor
    source: Shape
    target: Shape
    sign: float = 1.0
    pool: Pool | None = None
    family: ClassVar[str] = "MaxLike"
    rule: ClassVar[str] = "l2 sqrt(N), l1 N, linf 1; N = most windows one entry can win"

    @property
    def in_shapes(self) -> tuple[Shape, ...]:
        return (self.source,)

    @property
    def out_shape(self) -> Shape:
        return self.target

    def forward(self, *args: torch.Tensor) -> torch.Tensor:
        if self.pool is not None and self.sign > 0:
            return self.pool(args[0].reshape(-1, *self.source[1:])).reshape(len(args[0]), *self.target)
        gathered = self._gather(args[0] * self.sign)
        # the gradient goes to one winner, an element of Clarke's Jacobian
        return gathered.max(-1).values.reshape(len(args[0]), *self.target) * self.sign

    def _gather(self, x: torch.Tensor) -> torch.Tensor:
        flat = x.reshape(len(x), -1)
        flat = torch.cat([flat, flat.new_full((len(x), 1), -math.inf)], 1)  # index -1 is this last column
        return flat[:, self.windows]

    def interval(self, *boxes: Box) -> Box:
        return Box(self.forward(boxes[0].lower), self.forward(boxes[0].upper))

    def gains(self, norm: Norm, *boxes: Box) -> tuple[UpperBound, ...]:
        if norm is Norm.LINF or not self.windows.numel():
            return (UpperBound(1.0 if self.windows.numel() else 0.0, "exact"),)
        wins = self._most_wins(boxes[0])
        value = float(wins) if norm is Norm.L1 else sqrt_up(float(wins))
        root = math.isqrt(wins)
        if norm is Norm.L2 and root * root == wins:
            value = float(root)
        return (UpperBound(value, f"an entry can win {wins} windows"),)

    def _most_wins(self, box: Box) -> int:
        """The largest number of windows in which one entry's interval reaches the window's surest value."""
        lower, upper = (box.lower, box.upper) if self.sign > 0 else (-box.upper, -box.lower)
        surest = self._gather(lower).amax(-1, keepdim=True)
        possible = (self._gather(upper) >= surest).any(0) & (self.windows != NOTHING)
        return int(torch.bincount(self.windows[possible], minlength=1).max())


@final
@dataclass(frozen=True, slots=True, eq=False)
class PointwiseMax(Op):
    """The entrywise largest (sign 1) or smallest (sign -1) of tensors stacked along a first axis.

    Sound: each output entry moves by at most the largest move of the entries compared, so 1 in any norm.
    """

    shape: Shape
    arity: int
    sign: float = 1.0
    family: ClassVar[str] = "MaxLike"
    rule: ClassVar[str] = "1 jointly in all norms"

    @property
    def in_shapes(self) -> tuple[Shape, ...]:
        return ((self.arity, *self.shape),)

    @property
    def out_shape(self) -> Shape:
        return self.shape

    def forward(self, *args: torch.Tensor) -> torch.Tensor:
        return (args[0] * self.sign).max(1).values * self.sign

    def interval(self, *boxes: Box) -> Box:
        return Box(self.forward(boxes[0].lower), self.forward(boxes[0].upper))

    def gains(self, norm: Norm, *boxes: Box) -> tuple[UpperBound, ...]:
        return (ONE,)


@final
@dataclass(frozen=True, slots=True, eq=False)
class SortPair(Op):
    """(max(a, b), min(a, b)) for (a, b) stacked along a first axis: GroupSort of pairs, MaxMin.

    Sound: sorting is a permutation on each piece and continuous, so 1-Lipschitz in every permutation-invariant norm
    (Anil, Lucas, Grosse 2019, arXiv:1811.05381, section 4).
    """

    shape: Shape
    family: ClassVar[str] = "MaxLike"
    rule: ClassVar[str] = "1 in all norms"

    @property
    def in_shapes(self) -> tuple[Shape, ...]:
        return ((2, *self.shape),)

    @property
    def out_shape(self) -> Shape:
        return (2, *self.shape)

    def forward(self, *args: torch.Tensor) -> torch.Tensor:
        a, b = args[0][:, 0], args[0][:, 1]
        swap = a < b
        return torch.stack([torch.where(swap, b, a), torch.where(swap, a, b)], 1)

    def interval(self, *boxes: Box) -> Box:
        return Box(self.forward(boxes[0].lower), self.forward(boxes[0].upper))

    def gains(self, norm: Norm, *boxes: Box) -> tuple[UpperBound, ...]:
        return (ONE,)


def stacking(arity: int, shape: Shape) -> Affine:
    """The affine op that stacks `arity` tensors of one shape along a new first axis."""
    size = math.prod(shape)
    maps = []
    for place in range(arity):
        index = torch.full((arity, size), NOTHING)
        index[place] = torch.arange(size)
        maps.append(Selection.of(shape, index.reshape(arity, *shape)))
    return Affine(tuple(maps))
