"""Linear maps of tokens: which input token an output entry depends on, and the matrix of one token."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch

from lipaudit.linear.dense import Dense
from lipaudit.linear.fuse import transpose
from lipaudit.linear.map import Adjoint, Compose, LinearMap, Sum
from lipaudit.linear.norms.entries import underflow_of_copy
from lipaudit.linear.pointwise import Diagonal
from lipaudit.linear.selection import NOTHING, Selection
from lipaudit.linear.token_rows import TokenRows, through
from lipaudit.numerics.norms import Norm
from lipaudit.numerics.rounding import gamma, up

Owners = tuple[torch.Tensor, torch.Tensor]
"""(least, greatest) label of the input entries that an output entry may depend on; least > greatest: of none."""

NOBODY = -1
"""The owner of output tokens that depend on no input token."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Tokenwise:
    """out[g, i] = (matrix[g] + D_gi) in[owner[i]], with |D_gi|_F <= error[g]; 0 where owner[i] is NOBODY.

    matrix: float64 [groups, rows, size]; owner: int64 [tokens], none twice but NOBODY.
    """

    matrix: torch.Tensor
    error: tuple[float, ...]
    owner: torch.Tensor


def tokenwise(part: LinearMap, size: int, groups: int, tokens: int) -> Tokenwise | None:
    """The matrices of a map whose output [groups, tokens, rows] depends token by token on an input [.., size].

    None where the structure of the pieces does not show that it does, or it is too much work. A group is a head.
    Sound: the owners follow from the pieces' structure with every stored weight counted as non-zero. How far the
    different tokens' matrices are from the one that stands for all, and what both may be off, are in the error.
    """
    if not size or part.in_size % size or not part.out_size or part.out_size % (groups * tokens):
        return None
    rows, count = part.out_size // (groups * tokens), part.in_size // size
    found = owners_of(part, torch.arange(part.in_size) // size)
    if found is None:
        return None
    low, high = (end.reshape(groups, tokens, rows).transpose(0, 1).reshape(tokens, -1) for end in found)
    low, high = low.amin(1), high.amax(1)
    free = low > high
    if not bool((free | (low == high)).all()):
        return None
    owner = torch.where(free, NOBODY, high)
    if len(set(owner[~free].tolist())) != int((~free).sum()) or bool(free.all()):
        return None
    made = through(part, TokenRows.of_tokens(count, size))
    if made is None:
        return None
    which = made.which.reshape(groups, tokens, rows).transpose(0, 1)[~free].reshape(-1, groups * rows)
    which = torch.unique(which, dim=0)
    matrix, off = made.rows[which[0]], torch.zeros(groups * rows, size, dtype=torch.float64)
    for other in which:
        away = (made.rows[other] - matrix).abs() * (1.0 + 2.0**-52)
        # of this token's own rows and of those that stand for all
        lost = (made.majorants[other] + made.majorants[which[0]]) * (gamma(part.roundings + 2) * (1.0 + 2.0**-50))
        off = torch.maximum(off, away + lost)
    slack = 2.0 * underflow_of_copy(part)  # as a norm already
    errors = [
        up(up(Norm.L2.bounds_of(entries)[1] * up(1.0 + gamma(4 * part.roundings + 8))) + slack)
        for entries in off.reshape(groups, -1)
    ]
    return Tokenwise(matrix.reshape(groups, rows, size), tuple(errors), owner)


def owners_of(part: LinearMap, labels: torch.Tensor) -> Owners | None:
    """Of every output entry, from the label of every input entry (flat); None for a piece that is not known here."""
    return _carried(part, (labels, labels))


def _carried(part: LinearMap, owners: Owners) -> Owners | None:
    low, high = owners
    nobody = 1 << 62
    match part:
        case Compose():
            current: Owners | None = owners
            for piece in part.maps:
                current = None if current is None else _carried(piece, current)
            return current
        case Sum():
            found = [_carried(term, owners) for term in part.terms]
            known = [pair for pair in found if pair is not None]
            if len(known) < len(found):
                return None
            return torch.stack([a for a, _ in known]).amin(0), torch.stack([b for _, b in known]).amax(0)
        case Diagonal():
            return owners
        case Selection():
            index = part.indices()
            unused = index == NOTHING
            return torch.where(unused, nobody, low[index]), torch.where(unused, NOBODY, high[index])
        case Dense():
            inside = (*part.lead, part.weight.shape[-1], part.trail)
            outside = (*part.lead, part.weight.shape[-2], part.trail)
            least, most = low.reshape(inside).amin(-2, keepdim=True), high.reshape(inside).amax(-2, keepdim=True)
            return least.expand(outside).reshape(-1), most.expand(outside).reshape(-1)
        case Adjoint(of=Selection() as inner):
            index = inner.indices()
            used = index != NOTHING
            least = torch.full((math.prod(part.out_shape),), nobody, dtype=torch.int64)
            most = torch.full((math.prod(part.out_shape),), NOBODY, dtype=torch.int64)
            least = least.scatter_reduce(0, index[used], low[used], "amin")
            return least, most.scatter_reduce(0, index[used], high[used], "amax")
        case Adjoint():
            inside_out = transpose(part.of)
            return None if isinstance(inside_out, Adjoint) else _carried(inside_out, owners)
        case _:
            return None
