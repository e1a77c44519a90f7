"""Rewrites of a linear map into an equal one with fewer pieces, so that its norm is taken of the whole."""

from __future__ import annotations

import math

import torch

from lipaudit.linear.conv import Conv
from lipaudit.linear.dense import Dense
from lipaudit.linear.map import Adjoint, Compose, LinearMap, Sum
from lipaudit.linear.pointwise import Diagonal
from lipaudit.linear.selection import NOTHING, Selection
from lipaudit.numerics.rounding import TINY


def compose(*maps: LinearMap) -> LinearMap:
    """The map that applies maps[0] first, fused where two neighbours make one piece. At least one map."""
    pieces: list[LinearMap] = []
    for part in maps:
        for piece in part.maps if isinstance(part, Compose) else (part,):
            pieces.append(piece)
            while len(pieces) > 1 and (merged := _merge(pieces[-2], pieces[-1])) is not None:
                pieces[-2:] = [merged]
    trimmed = [p for p in pieces if not is_identity(p)] or pieces[:1]
    return trimmed[0] if len(trimmed) == 1 else Compose(tuple(trimmed))


def add(*terms: LinearMap) -> LinearMap:
    """The sum of maps, as one selection where they fill different parts of the output (a concatenation).

    What all of them do first is done once: split and concatenated again, W stays W.
    """
    if len(terms) == 1:
        return terms[0]
    selections = [t for t in terms if isinstance(t, Selection)]
    if len(selections) == len(terms):
        filled = torch.stack([t.indices() for t in selections])
        if int((filled != NOTHING).sum(0).max()) <= 1:
            return Selection.of(terms[0].in_shape, filled.amax(0).reshape(terms[0].out_shape))
    firsts = [t.maps[0] if isinstance(t, Compose) else t for t in terms]
    if all(first is firsts[0] for first in firsts):
        rests = [Compose(t.maps[1:]) if isinstance(t, Compose) and len(t.maps) > 2 else _rest(t) for t in terms]
        return compose(firsts[0], add(*rests))
    return Sum(tuple(terms))


def _rest(term: LinearMap) -> LinearMap:
    """What a term of at most two pieces does after its first one."""
    return term.maps[1] if isinstance(term, Compose) else Selection.reshape(term.out_shape, term.out_shape)


def is_identity(part: LinearMap) -> bool:
    """Whether the map is the identity, shapes included."""
    return isinstance(part, Selection) and part.index is None and part.in_shape == part.out_shape


def _merge(first: LinearMap, second: LinearMap) -> LinearMap | None:
    """second after first as one piece, or None where there is no such piece."""
    match first, second:
        case Selection(), Selection():
            if first.index is None and second.index is None:
                return Selection.reshape(first.in_shape, second.out_shape)
            chosen = torch.cat([first.indices(), torch.tensor([NOTHING])])[second.indices()]
            return Selection.of(first.in_shape, chosen.reshape(second.out_shape))
        case Diagonal(), Diagonal():
            scale, roundings = _product(first.scale, second.scale), first.scale_roundings + second.scale_roundings + 1
            return None if scale is None else Diagonal(scale, first.shape, roundings)
        case Dense(), Diagonal():
            return _scaled_rows(first, second)
        case Diagonal(), Dense():
            return _scaled_columns(first, second)
        case Conv(), Diagonal():
            return _scaled_channels(second, first, after=True)
        case Diagonal(), Conv():
            return _scaled_channels(first, second, after=False)
        case Adjoint(of=Conv() as conv), Diagonal():  # D A' = (A D)'
            scaled = _scaled_channels(second, conv, after=False)
            return None if scaled is None else Adjoint(scaled)
        case Diagonal(), Adjoint(of=Conv() as conv):
            scaled = _scaled_channels(first, conv, after=True)
            return None if scaled is None else Adjoint(scaled)
        case _:
            return None


def _single_vector(dense: Dense) -> bool:
    return math.prod(dense.lead) * dense.trail == 1 and dense.weight.dim() == 2


def _scaled_rows(dense: Dense, diagonal: Diagonal) -> Dense | None:
    if not _single_vector(dense):
        return None
    scale = diagonal.scale.expand(diagonal.shape).reshape(-1, 1)
    return _reweighted(dense, scale, diagonal)


def _scaled_columns(diagonal: Diagonal, dense: Dense) -> Dense | None:
    if not _single_vector(dense):
        return None
    scale = diagonal.scale.expand(diagonal.shape).reshape(1, -1)
    return _reweighted(dense, scale, diagonal)


def _product(weight: torch.Tensor, scale: torch.Tensor) -> torch.Tensor | None:
    """weight * scale, each entry within one rounding of exact; None where one under- or overflows."""
    product = weight * scale
    lost = (product.abs() < TINY) & (weight != 0) & (scale != 0)
    return None if bool((lost | ~product.isfinite()).any()) else product


def _reweighted(dense: Dense, scale: torch.Tensor, diagonal: Diagonal) -> Dense | None:
    if (weight := _product(dense.weight, scale)) is None:
        return None
    roundings = dense.weight_roundings + diagonal.scale_roundings + 1
    return Dense(weight, dense.lead, dense.trail, dense.source, dense.target, roundings)


def _scaled_channels(diagonal: Diagonal, conv: Conv, *, after: bool) -> Conv | None:
    """A scale that is one number a channel moves into the kernel; any other cannot."""
    scale = diagonal.scale
    while scale.dim() < len(diagonal.shape):
        scale = scale.unsqueeze(0)
    if any(size != 1 for axis, size in enumerate(scale.shape) if axis != 1):
        return None
    channels = scale.reshape(-1).expand(diagonal.shape[1])
    ones = [1] * (conv.kernel.dim() - 2)
    if after:
        kernel = _product(conv.kernel, channels.reshape(-1, 1, *ones))
    else:
        grouped = channels.reshape(conv.groups, 1, conv.kernel.shape[1]).expand(
            conv.groups, conv.kernel.shape[0] // conv.groups, conv.kernel.shape[1]
        )
        kernel = _product(conv.kernel, grouped.reshape(conv.kernel.shape[0], conv.kernel.shape[1], *ones))
    if kernel is None:
        return None
    roundings = conv.kernel_roundings + diagonal.scale_roundings + 1
    return Conv(kernel, conv.source, conv.stride, conv.dilation, conv.pads, conv.groups, roundings)


def transpose(part: LinearMap) -> LinearMap:
    """The adjoint map, with the adjoint taken inside where that gives a simpler piece."""
    match part:
        case Adjoint():
            return part.of
        case Compose():
            return Compose(tuple(transpose(piece) for piece in reversed(part.maps)))
        case Diagonal():
            return part
        case Selection() if part.index is None:
            return Selection.reshape(part.out_shape, part.in_shape)
        case Dense():
            return Dense(part.weight.mT, part.lead, part.trail, part.target, part.source, part.weight_roundings)
        case _:
            return Adjoint(part)
