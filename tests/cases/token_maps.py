"""Linear maps of four tokens, each of three numbers, made of pieces of every kind."""

from __future__ import annotations

import torch

from lipaudit.linear.dense import Dense
from lipaudit.linear.map import Adjoint, Compose, LinearMap, Sum
from lipaudit.linear.pointwise import Diagonal
from lipaudit.linear.selection import NOTHING, Selection

N, D, WIDE = 4, 3, 6


def token_maps(twice: bool = False) -> dict[str, tuple[LinearMap, int, int, int]]:
    """(map, size of a token, groups, tokens of the output) by name; twice: "gone" uses one token two times."""
    generator = torch.Generator().manual_seed(2)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    wide = (N, WIDE)
    dense = Dense(normal(WIDE, D), (N,), 1, (N, D), wide)
    heads = Selection.of(wide, torch.arange(N * WIDE).reshape(N, 2, 3).permute(1, 0, 2).contiguous())
    own = Dense(normal(N, WIDE, D), (N,), 1, (N, D), wide)
    last = Dense(normal(WIDE, D), (), N, (D, N), (WIDE, N))
    turned = Selection.of((N, D), torch.arange(N * D).reshape(N, D).T.contiguous())
    back = Selection.of((WIDE, N), torch.arange(WIDE * N).reshape(WIDE, N).T.contiguous())
    order = torch.tensor([2, 0, 0 if twice else 3])
    rows = torch.arange(N * WIDE).reshape(N, WIDE)[order]
    gone = Selection.of(wide, torch.cat([rows, torch.full((1, WIDE), NOTHING)]))
    return {
        "heads": (Compose((dense, heads)), D, 2, N),
        "of its own each": (Compose((own, heads)), D, 2, N),
        "scaled": (Compose((Diagonal(normal(N, D), (N, D)), dense)), D, 1, N),
        "scaled alike": (Compose((dense, Diagonal(normal(WIDE), wide))), D, 1, N),
        "sum": (Sum((dense, Compose((Diagonal(normal(1, D), (N, D)), dense)))), D, 1, N),
        "tokens last": (Compose((turned, last, back)), D, 1, N),
        "adjoint": (Adjoint(Dense(normal(D, WIDE), (N,), 1, wide, (N, D))), D, 1, N),
        "moved back": (Adjoint(heads), 3, 1, 2 * N),
        "gone": (Compose((dense, gone)), D, 1, N),
    }
