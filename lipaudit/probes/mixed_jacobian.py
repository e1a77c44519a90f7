"""Operator norms of the Jacobian between two different vector norms: float64 numbers, not proofs.

From l1 a norm is that of the largest column, to linf that of the largest row: both are computed. The other three
(linf -> l2, linf -> l1, l2 -> l1) are NP-hard; an ascent finds values that are attained, which a search may follow,
but none that could be called the norm.
"""

from __future__ import annotations

import math

import torch

from lipaudit.numerics.norms import Norm, NormPair
from lipaudit.probes.bidiagonal import length, or_one
from lipaudit.probes.products import Product

_STARTS, _SWEEPS = 3, 10


def is_hard(pair: NormPair) -> bool:
    """Whether the norm of a matrix is NP-hard to compute for the pair (Hendrickx & Olshevsky 2010)."""
    return pair.mixed and pair.source is not Norm.L1 and pair.target is not Norm.LINF


def largest_line(
    sides: tuple[Product, Product], pair: NormPair, rows: int, *, pulls: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """(norm [B], index of the column or row [B]) for a pair that is not hard; all of J, `rows` lines at a time.

    sides: (pull, push) where `pulls`, m <= n, and (push, pull) otherwise: the cheaper side first.
    """
    columns = pair.source is Norm.L1
    norm = pair.target if columns else pair.source.dual
    order = {Norm.L2: 2.0, Norm.LINF: math.inf}[norm]
    blocks = sides[0].blocks(rows)
    if columns != pulls:  # a block [B, r, .] holds whole lines
        lines = torch.cat([torch.linalg.vector_norm(block, order, dim=2) for block in blocks], 1)
    else:
        lines = torch.zeros_like(sides[0].source).flatten(1)
        for block in blocks:
            part = torch.linalg.vector_norm(block, order, dim=1)
            lines = torch.hypot(lines, part) if norm is Norm.L2 else torch.maximum(lines, part)
    value, where = lines.max(1)
    return value, where


def line_direction(pair: NormPair, top: torch.Tensor, pull: Product) -> torch.Tensor:
    """[B, n]: the input direction of norm 1 that the line `top` amplifies most."""
    count = pull.source[0].numel()
    if pair.source is Norm.L1:
        return torch.nn.functional.one_hot(top, count).to(pull.out)
    row = pull(torch.nn.functional.one_hot(top, pull.out.shape[1]).to(pull.out))
    return row / or_one(length(row))


def ascended(pull: Product, push: Product, pair: NormPair, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(|J d|_target [B], d [B, n] with |d|_source = 1) for a hard pair: the best of a few ascents.

    v -> J'u for u dual to J v, then v dual to that: |J v| never falls (Boyd 1974; Higham 2002, section 15.2).
    """
    noise = torch.Generator().manual_seed(seed)
    best: torch.Tensor | None = None
    direction = torch.zeros_like(pull.source).flatten(1)
    for _ in range(_STARTS):
        start = torch.randn(direction.shape[1], generator=noise, dtype=torch.float64).to(direction)
        v = _aligned(start.expand_as(direction), pair.source)
        for _ in range(_SWEEPS):
            v = _aligned(pull(_aligned(push(v), pair.target.dual)), pair.source)
        image = push(v)
        value = length(image)[:, 0] if pair.target is Norm.L2 else image.abs().sum(1)
        better = torch.ones_like(value, dtype=torch.bool) if best is None else value > best
        best = value if best is None else torch.where(better, value, best)
        direction = torch.where(better[:, None], v, direction)
    assert best is not None
    return best, direction


def _aligned(g: torch.Tensor, norm: Norm) -> torch.Tensor:
    """The vector of norm 1 with the largest product with g: signs for linf (0 as +), g over its length for l2."""
    if norm is Norm.LINF:
        return torch.where(g < 0.0, -1.0, 1.0).to(g)
    return g / or_one(length(g))
