"""The direction of L-BFGS, which the searches for multipliers share. Nothing here is proven."""

from __future__ import annotations

import torch


def two_loops(gradient: torch.Tensor, pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """The L-BFGS approximation of the inverse Hessian times the gradient.

    pairs: (step, change of the gradient), the newest last.
    Nocedal & Wright, Numerical Optimization, 2006, algorithm 7.4.
    """
    q = gradient.clone()
    weights = []
    for s, y in reversed(pairs):
        weight = float(s @ q) / float(s @ y)
        weights.append(weight)
        q -= weight * y
    if pairs:
        s, y = pairs[-1]
        q *= float(s @ y) / float(y @ y)
    for (s, y), weight in zip(pairs, reversed(weights), strict=True):
        q += (weight - float(y @ q) / float(s @ y)) * s
    return q
