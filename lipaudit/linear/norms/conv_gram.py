"""The Gram matrix of a zero-padded convolution in block columns, borders and all.

Unknowns are positions times channels, channels fastest. On the output side G = A A' couples outputs j and j + delta
whose taps meet the same input: s j + d a - p = s (j + delta) + d b - p, that is d (a - b) = s delta. On the input side
G = A' A couples inputs h and h + delta that the same output reads: d (b - a) = delta. Either way, axis by axis,
    G[(y + delta, o), (y, o')] = sum over a of mask(y, a) sum_r W[b(a)][o, r] W[a][o', r],
mask(y, a) saying that tap a has a partner at y inside the image. Positions of one mask share their block: a table of a
few c x c blocks a delta is all there is to know. delta >= 0 in lexicographic order is the lower triangle.

The side and the order of the axes with the least n bw^2 are taken. RCM orders worse than pixels do.
Rounding: an entry sums products over r and a, |fl(G) - G| <= gamma_n |A||A|' with n the terms of both sums, so the
norm of the error is at most gamma_n ||A||_1 ||A||_inf.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import NamedTuple, final

import torch

from lipaudit.linear.norms.block_cholesky import BandedGram
from lipaudit.numerics.rounding import TINY, add_up, gamma, mul_up

_BLOCK = 128  # unknowns of a block: large enough for products to run at full speed


class Axis(NamedTuple):
    """One axis of the convolution, without groups: taps, input, stride, dilation, zeros before, outputs."""

    taps: int
    size: int
    stride: int
    dilation: int
    before: int
    outputs: int


class _Coupling(NamedTuple):
    """One axis at one delta: mask [classes, taps], each position's class, and the partner of each tap or -1."""

    delta: int
    masks: torch.Tensor
    classes: torch.Tensor
    partner: tuple[int, ...]


@final
@dataclass(frozen=True, slots=True, eq=False)
class ConvGram(BandedGram):
    """See the module. tables: (flat delta, blocks [classes, c, c], class of each position), delta >= 0."""

    size: int
    block: int
    reach: int
    error: float
    spread: float
    channels: int
    tables: tuple[tuple[int, torch.Tensor, torch.Tensor], ...]

    def column(self, index: int) -> torch.Tensor:
        c, b = self.channels, self.block
        out = torch.zeros((self.reach + 1) * b, b, dtype=torch.float64)
        first = index * b // c
        for delta, blocks, classes in self.tables:
            here = classes[first : first + b // c]
            view = out.as_strided((len(here), c, c), (c * b + c, b, 1), delta * c * b)
            view.add_(blocks[here])  # narrow images have several deltas of one flat distance
        return out


class Plan(NamedTuple):
    """A side and an order of axes, and what they cost: n bw^2 flops."""

    outputs: bool
    order: tuple[int, ...]
    size: int
    width: int

    @property
    def flops(self) -> float:
        return float(self.size) * self.width**2


def plan(axes: tuple[Axis, ...], out_channels: int, in_channels: int) -> Plan:
    """The cheapest way to order the unknowns."""
    options = []
    for outputs, order in itertools.product((True, False), itertools.permutations(range(len(axes)))):
        channels = out_channels if outputs else in_channels
        positions, reach = 1, 0
        for i in reversed(order):
            n, most = _extent(axes[i], outputs)
            reach += most * positions
            positions *= n
        options.append(Plan(outputs, order, channels * positions, channels * (reach + 1)))
    return min(options, key=lambda option: option.flops)


def _extent(axis: Axis, outputs: bool) -> tuple[int, int]:
    """(positions of the axis, the largest delta that couples)."""
    if outputs:
        return axis.outputs, min(axis.outputs - 1, (axis.taps - 1) * axis.dilation // axis.stride)
    return axis.size, min(axis.size - 1, (axis.taps - 1) * axis.dilation)


def conv_gram(kernel: torch.Tensor, axes: tuple[Axis, ...], chosen: Plan, schur_square: float) -> ConvGram:
    """G of one group. kernel: float64 (c_out, c_in, *k), scaled to about 1; schur_square >= ||A||_1 ||A||_inf."""
    side = kernel if chosen.outputs else kernel.transpose(0, 1)
    ordered = side.permute(0, 1, *(2 + i for i in chosen.order))
    channels, others = ordered.shape[:2]
    weights = ordered.flatten(2).permute(2, 0, 1).contiguous()  # [taps, c, r]
    inner = [axes[i] for i in chosen.order]
    sizes = [_extent(axis, chosen.outputs)[0] for axis in inner]
    couplings = [_couplings(axis, chosen.outputs) for axis in inner]
    tables = []
    for parts in itertools.product(*couplings):
        if next((part.delta for part in parts if part.delta), 0) < 0:
            continue
        delta = 0
        for part, n in zip(parts, sizes, strict=True):
            delta = delta * n + part.delta
        tables.append((delta, *_table(weights, parts, sizes)))
    furthest = max((delta for delta, _, _ in tables), default=0)
    positions = max(1, min(_BLOCK // channels, math.prod(sizes), max(furthest, 32 // channels)))
    terms = others * len(weights) + len(weights) + 2
    underflow = mul_up(8.0 * terms * channels * (2 * furthest + 1), TINY)
    return ConvGram(
        channels * math.prod(sizes),
        channels * positions,
        -(-furthest // positions),
        add_up(mul_up(gamma(terms), schur_square), underflow),
        add_up(mul_up(1.0 + 2.0**-20, schur_square), underflow),
        channels,
        tuple(tables),
    )


def _couplings(axis: Axis, outputs: bool) -> list[_Coupling]:
    n, most = _extent(axis, outputs)
    y = torch.arange(n).unsqueeze(1)
    a = torch.arange(axis.taps)
    if outputs:
        met = axis.stride * y + axis.dilation * a - axis.before
        inside = (met >= 0) & (met < axis.size)
    else:
        met = y + axis.before - axis.dilation * a
        inside = (met % axis.stride == 0) & (met >= 0) & (met < axis.stride * axis.outputs)
    found = []
    for delta in range(-most, most + 1):
        shift = axis.stride * delta if outputs else delta
        if shift % axis.dilation:
            continue
        step = -shift // axis.dilation if outputs else shift // axis.dilation
        partner = tuple(i + step if 0 <= i + step < axis.taps else -1 for i in range(axis.taps))
        there = (y + delta >= 0) & (y + delta < n)
        masks = inside & there & (torch.tensor(partner) >= 0)
        if bool(masks.any()):
            classes, which = torch.unique(masks.double(), dim=0, return_inverse=True)
            found.append(_Coupling(delta, classes, which, partner))
    return found


def _table(weights: torch.Tensor, parts: tuple[_Coupling, ...], sizes: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """(blocks [classes, c, c], class of each position): the masks of all axes together."""
    mask, which = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, dtype=torch.int64)
    partner, valid = torch.zeros(1, dtype=torch.int64), torch.ones(1, dtype=torch.bool)
    for part in parts:
        taps = len(part.partner)
        mask = (mask.unsqueeze(1).unsqueeze(3) * part.masks.unsqueeze(0).unsqueeze(2)).flatten(2).flatten(0, 1)
        which = (which.unsqueeze(1) * len(part.masks) + part.classes).flatten()
        own = torch.tensor(part.partner)
        partner = (partner.unsqueeze(1) * taps + own.clamp(min=0)).flatten()
        valid = (valid.unsqueeze(1) & (own >= 0)).flatten()
    assert len(which) == math.prod(sizes)
    taps_used = valid.nonzero().flatten()
    products = weights[partner[taps_used]] @ weights[taps_used].mT  # [a, c (o), c (o')]
    blocks = (mask[:, taps_used] @ products.flatten(1)).reshape(-1, *products.shape[1:])
    return blocks, which


def kernel_schur_square(kernel: torch.Tensor) -> float:
    """||A||_1 ||A||_inf <= value: an output reads each tap at most once, an input is read by each at most once."""
    size = kernel.abs().flatten(2).sum(-1)
    rows, columns = float(size.sum(1).max()), float(size.sum(0).max())
    return mul_up(rows, columns, 1.0 + 2.0**-30)
