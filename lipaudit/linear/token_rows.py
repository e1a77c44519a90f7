"""The rows of a linear map of tokens, each kept once: what every token goes through is computed for one of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch

from lipaudit.linear.dense import Dense
from lipaudit.linear.fuse import transpose
from lipaudit.linear.map import Adjoint, Compose, LinearMap, Sum
from lipaudit.linear.pointwise import Diagonal
from lipaudit.linear.selection import NOTHING, Selection

_WORK = 2e11
"""Most multiplications for one piece: about half a minute."""

_ENTRIES = 2**25
"""Most entries of the rows of one value: 256 MiB."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class TokenRows:
    """Entry e of a value is rows[which[e]] of the token that it depends on; row 0 is zero.

    which: int64 [entries]; rows: float64 [different rows, size]; majorants: the same of the map of absolute values.
    """

    which: torch.Tensor
    rows: torch.Tensor
    majorants: torch.Tensor

    @staticmethod
    def of_tokens(count: int, size: int) -> TokenRows:
        """The tokens themselves, [count, size]."""
        rows = torch.cat([torch.zeros(1, size, dtype=torch.float64), torch.eye(size, dtype=torch.float64)])
        return TokenRows(torch.arange(1, size + 1).repeat(count), rows, rows)


def through(part: LinearMap, of: TokenRows) -> TokenRows | None:
    """After a map, in which every output entry depends on one token at most; None for what is not known or too much.

    Sound: every row is the sum of products that `apply` adds up for a unit vector of its token, so that it is within
    gamma(part.roundings) of the row meant, in units of the majorant's. An entry that mixes tokens has a row that means
    nothing; it is for the caller to know that no output does (`owners_of`).
    """
    match part:
        case Compose():
            current: TokenRows | None = of
            for piece in part.maps:
                current = None if current is None else through(piece, current)
            return current
        case Sum():
            return _added([through(term, of) for term in part.terms])
        case Diagonal():
            return _scaled(part, of)
        case Selection():
            index = part.indices()
            return TokenRows(torch.where(index == NOTHING, 0, of.which[index]), of.rows, of.majorants)
        case Dense():
            return _multiplied(part, of)
        case Adjoint(of=Selection() as inner):
            if inner.most_copies() > 1:
                return None
            index = inner.indices()
            used = index != NOTHING
            which = torch.zeros(part.out_size, dtype=torch.int64)
            which[index[used]] = of.which[used]
            return TokenRows(which, of.rows, of.majorants)
        case Adjoint():
            inside_out = transpose(part.of)
            return None if isinstance(inside_out, Adjoint) else through(inside_out, of)
        case _:
            return None


def _kept(which: torch.Tensor, rows: torch.Tensor, majorants: torch.Tensor) -> TokenRows:
    """With a zero row put first; `which` counts the given rows from 0."""
    zero = torch.zeros(1, rows.shape[-1], dtype=torch.float64)
    return TokenRows(which + 1, torch.cat([zero, rows]), torch.cat([zero, majorants]))


def _scaled(part: Diagonal, of: TokenRows) -> TokenRows | None:
    scales, at = torch.unique(part.scale.expand(part.shape).reshape(-1), return_inverse=True)
    pairs, which = torch.unique(of.which * len(scales) + at, return_inverse=True)
    if len(pairs) * of.rows.shape[-1] > _ENTRIES:
        return None
    first, scale = pairs // len(scales), scales[pairs % len(scales)].unsqueeze(-1)
    return _kept(which, of.rows[first] * scale, of.majorants[first] * scale.abs())


def _added(terms: list[TokenRows | None]) -> TokenRows | None:
    known = [term for term in terms if term is not None]
    if len(known) < len(terms):
        return None
    tuples, which = torch.unique(torch.stack([term.which for term in known]), dim=1, return_inverse=True)
    if tuples.shape[1] * known[0].rows.shape[-1] > _ENTRIES:
        return None
    rows, majorants = (
        sum((getattr(term, name)[chosen] for term, chosen in zip(known[1:], tuples[1:], strict=True)), start)
        for name, start in (("rows", known[0].rows[tuples[0]]), ("majorants", known[0].majorants[tuples[0]]))
    )
    return _kept(which, rows, majorants)


def _multiplied(part: Dense, of: TokenRows) -> TokenRows | None:
    """One product for every different column of rows and matrix of a stack."""
    *batch, n_out, n_in = part.weight.shape
    outer = math.prod(part.lead)
    matrix = torch.arange(math.prod(batch)).reshape(batch or ()).expand(part.lead).reshape(outer, 1)
    columns = of.which.reshape(outer, n_in, part.trail).transpose(1, 2).reshape(outer * part.trail, n_in)
    labelled = torch.cat([columns, matrix.expand(outer, part.trail).reshape(-1, 1)], 1)
    different, at = torch.unique(labelled, dim=0, return_inverse=True)
    entries = len(different) * n_out * of.rows.shape[-1]
    if entries > _ENTRIES or float(entries) * n_in > _WORK:
        return None
    weights = part.weight.reshape(-1, n_out, n_in)
    made = [
        (weights[column[-1]] @ of.rows[column[:-1]], weights[column[-1]].abs() @ of.majorants[column[:-1]])
        for column in different
    ]
    which = (at.unsqueeze(-1) * n_out + torch.arange(n_out)).reshape(outer, part.trail, n_out).transpose(1, 2)
    rows, majorants = (torch.cat([pair[side] for pair in made]) for side in (0, 1))
    return _kept(which.reshape(-1), rows, majorants)
