"""Planted mistakes of what is attained inside balls: each is seen by rational arithmetic."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lipaudit.graph.graph import Graph
from lipaudit.numerics.norms import Norm
from lipaudit.probes import around
from lipaudit.probes.around import Attained
from lipaudit.ranges.ball import Ball
from tests.laws import around_laws
from tests.planted import Plant


def pairs(_: Path) -> None:
    for seed in range(2):
        for norm in Norm:
            around_laws.pairs_hold(norm, seed)


def catalogue() -> list[Plant]:
    return [
        Plant("points of a ball that is too large", _outside_the_ball, pairs),
        Plant("the domain is forgotten", _outside_the_domain, pairs),
        Plant("a centre outside the domain is in it", _stray, pairs),
        Plant("the slope to nearest", _to_nearest, pairs),
    ]


def _outside_the_ball(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(around, "_WITHIN", 1.5)
    patch.setattr(around, "belongs", lambda ball, row, point: True)


def _outside_the_domain(patch: pytest.MonkeyPatch) -> None:
    right = around.attained_in

    def wrong(graph: Graph, guide: Graph, ball: Ball, starts: torch.Tensor, *, seconds: float, seed: int) -> Attained:
        return right(graph, guide, Ball(ball.centre, ball.radius, ball.norm), starts, seconds=seconds, seed=seed)

    patch.setattr(around_laws, "attained_in", wrong)


def _stray(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(around, "belongs", lambda ball, row, point: True)


def _to_nearest(patch: pytest.MonkeyPatch) -> None:
    def wrong(graph: Graph, norm: Norm, x: torch.Tensor, y: torch.Tensor) -> list[float]:
        slopes: list[float] = (norm.of(graph.forward(y) - graph.forward(x)) / norm.of(y - x)).tolist()
        return slopes

    patch.setattr(around, "slopes_below", wrong)
