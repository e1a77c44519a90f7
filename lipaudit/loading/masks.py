"""Attention masks: constants that hold -inf, which mean something to a softmax alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from numpy import broadcast_shapes

from lipaudit.errors import LipauditError
from lipaudit.linear.selection import Selection
from lipaudit.ops.affine import Affine
from lipaudit.ops.op import Op
from lipaudit.ops.registry import Constant, Data, Value
from lipaudit.ops.smooth import Softmax


@final
@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """Where a value is not -inf (bool, its shape), and what to say of an op that may not read it."""

    keep: torch.Tensor
    refusal: LipauditError


def is_mask(value: Value | None) -> bool:
    """Whether a constant is not finite, but only by entries of -inf."""
    if not isinstance(value, Constant) or not value.real:
        return False
    finite = torch.isfinite(value.value)
    return not bool(finite.all()) and bool((finite | (value.value == -math.inf)).all())


def unmasked(op: str, args: Sequence[Value | None]) -> tuple[list[Value | None], torch.Tensor] | None:
    """The arguments with 0 for -inf, and where the result is not -inf: of an Add, or a Where by a constant condition.

    None where no argument is a mask, or the op is another.
    """
    if op not in ("Add", "Where") or len(args) < 2 or not any(map(is_mask, args)):
        return None
    shape = broadcast_shapes(*(arg.shape for arg in args if arg is not None))
    gone: list[torch.Tensor | None] = [None] * len(args)
    found = list(args)
    for place, arg in enumerate(args):
        if isinstance(arg, Constant) and is_mask(arg):
            gone[place] = torch.isinf(arg.value).expand(shape)
            found[place] = Constant(torch.where(torch.isinf(arg.value), 0.0, arg.value))
    lost = torch.zeros(shape, dtype=torch.bool)
    if op == "Add":
        for part in gone:
            lost = lost if part is None else lost | part
        return found, ~lost
    condition = args[0]
    if not isinstance(condition, Constant):
        return None
    chosen = (condition.value != 0).expand(shape)
    for part, where in zip(gone[1:], (chosen, ~chosen), strict=True):
        lost = lost if part is None else lost | (part & where)
    return found, ~lost


def carried(op: Op, args: Sequence[Data], masks: Mapping[int, Mask]) -> Mask | None:
    """The mask of the op's result. Raises the mask's refusal where the op may not read a masked value."""
    found = [masks[arg.number] for arg in args if arg.number in masks]
    if not found or (isinstance(op, Softmax) and op.keep is not None):
        return None
    if isinstance(op, Affine) and len(args) == 1 and op.offset is None:
        (part,) = op.maps
        if isinstance(part, Selection) and part.index is None:
            return Mask(found[0].keep.reshape(op.out_shape), found[0].refusal)
    raise found[0].refusal
