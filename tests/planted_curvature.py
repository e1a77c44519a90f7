"""Mistakes in the falls by curvature, each planted in the code; a law of the tests must see it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import lipaudit.ranges.curvature as curvature_module
import lipaudit.ranges.entries as entries_module
from lipaudit.graph.simplify import simplify
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.ops import activations
from lipaudit.ops.affine import Affine
from lipaudit.ranges.ball import Ball
from lipaudit.ranges.curvature import Curvature, Ranges
from lipaudit.ranges.joined import Neurons
from lipaudit.ranges.trust_region import Factor
from tests.cases import smooth as cases
from tests.laws.curvature_laws import falls_hold, hessians_hold, split_holds, suprema_hold
from tests.laws.region_laws import ball_around
from tests.planted import Plant


def hessian_law(_: Path) -> None:
    """No Hessian is below its terms, no slope outside its ellipsoid."""
    for seed in (1, 2, 3):
        graph = cases.mlp(activations.tanh, 3, 6, 5, 2, seed=seed, scale=2.0)
        hessians_hold(graph, ball_around(graph, Norm.L2, seed, 3), seed, 40)


def fall_law(_: Path) -> None:
    """Nothing falls further, with and without a domain, in l2 and linf."""
    for norm in (Norm.L2, Norm.LINF):
        for seed in range(3):
            graph = simplify(cases.squares(seed)[0])
            ball = Ball(torch.ones(1, 4, dtype=torch.float64) * 0.3, torch.tensor([1.5], dtype=torch.float64), norm)
            falls_hold(graph, ball, seed)
            edge = torch.full((1, 4), 0.31, dtype=torch.float64)
            falls_hold(graph, Ball(ball.centre, ball.radius, norm, Box(-edge * 9, edge)), seed)


def part_law(_: Path) -> None:
    """Nothing falls further where the curvature is far from the centre."""
    graph = cases.cliff()
    for radius in (0.93, 1.15, 1.5):
        centre = torch.zeros(1, 1, dtype=torch.float64)
        falls_hold(graph, Ball(centre, torch.tensor([radius], dtype=torch.float64), Norm.L2), 0)


def split_law(_: Path) -> None:
    """What a domain's edge stops moves a linear form no further than said."""
    for seed in range(4):
        split_holds(seed)


def suprema_law(_: Path) -> None:
    """The suprema of quadratic forms over ellipsoids are reached."""
    for seed in range(12):
        suprema_hold(seed)


def _other_side(patch: pytest.MonkeyPatch) -> None:
    """The range of G f'' is taken for that of -G f''."""
    right = curvature_module._turns

    def wrong(around: Ranges, place: int, rows: Any) -> torch.Tensor:
        return right(around, place, replace(rows, centre=-rows.centre))

    patch.setattr(curvature_module, "_turns", wrong)


def _at_the_centre(patch: pytest.MonkeyPatch) -> None:
    """The curvature of the centre is taken for the ball's."""
    right = curvature_module._turns
    patch.setattr(curvature_module, "_turns", lambda around, *rest: right(replace(around, boxes=around.centres), *rest))


def _range_of_the_rest_dropped(patch: pytest.MonkeyPatch) -> None:
    """The derivatives by the neurons' outputs lose their ranges."""
    right = curvature_module._turns

    def wrong(around: Ranges, place: int, rows: Any) -> torch.Tensor:
        return right(around, place, replace(rows, radius=rows.radius * 0.0))

    patch.setattr(curvature_module, "_turns", wrong)


def _never_bends_up(patch: pytest.MonkeyPatch) -> None:
    """Of a neuron's second derivatives only the larger end is looked at."""
    right = curvature_module._turns

    def wrong(around: Ranges, place: int, rows: Any) -> torch.Tensor:
        found = right(around, place, rows)
        return torch.minimum(found, right(around, place, replace(rows, centre=-rows.centre)).abs() * 0.1)

    patch.setattr(curvature_module, "_turns", wrong)


def _first_layers_forgotten(patch: pytest.MonkeyPatch) -> None:
    """The last layer's neurons bend alone: what earlier ones add through the slopes behind them is missing."""
    right = entries_module.pulled

    def wrong(*args: Any) -> Any:
        found = right(*args)
        if len(args) > 3:
            first = min(place for place in args[3] if not isinstance(args[0].nodes[place - 1].op, Affine))
            args[3][first] = replace(args[3][first], centre=args[3][first].centre * 0.0)
            args[3][first] = replace(args[3][first], radius=args[3][first].radius * 0.0)
        return found

    patch.setattr(curvature_module, "pulled", wrong)


def _slopes_of_the_centre(patch: pytest.MonkeyPatch) -> None:
    """The neurons' inputs move by the slopes of the models alone: none is undecided."""
    patch.setattr(Neurons, "add", lambda self, place: None)


def _no_cross_term(patch: pytest.MonkeyPatch) -> None:
    """The linear part is taken for orthogonal to what the neurons read, and no longer than what is left of it."""
    right = Factor.of

    def wrong(y: torch.Tensor, n: int) -> Factor:
        found = right(y, n)
        return replace(found, b=found.b * 0.0)

    patch.setattr(Factor, "of", wrong)


def _half_the_turn(patch: pytest.MonkeyPatch) -> None:
    """The second order of a Taylor series is halved once more."""
    right = Factor._bent
    patch.setattr(Factor, "_bent", lambda self, turn: right(self, turn / 2))


def _edge_forgotten(patch: pytest.MonkeyPatch) -> None:
    """What the domain's edge stops is taken for 0."""
    right = Ball.split
    patch.setattr(Ball, "split", lambda self, rows: (right(self, rows)[0], right(self, rows)[1] * 0.0))


def _hoelder_forgotten(patch: pytest.MonkeyPatch) -> None:
    """In linf the linear part is that of l2."""
    right = Ball.widths

    def wrong(self: Ball, rows: torch.Tensor, box: Box | None = None) -> Any:
        return right(replace(self, norm=Norm.L2), rows, box)

    patch.setattr(Ball, "widths", wrong)


def _inner_for_all(patch: pytest.MonkeyPatch) -> None:
    """What is known of the smallest ball is taken for the whole."""
    right = curvature_module.bent_falls

    def wrong(around: Ranges, inner: Any, *rest: Any) -> torch.Tensor:
        return right(replace(around, boxes=inner[0].boxes), (), *rest)

    patch.setattr(curvature_module, "bent_falls", wrong)


def _parts_too_far(patch: pytest.MonkeyPatch) -> None:
    """The ranges of inner balls are taken for those of larger ones."""
    right = curvature_module.bent_falls

    def wrong(around: Ranges, inner: Any, *rest: Any) -> torch.Tensor:
        far = [replace(own, ball=own.ball.sized(own.ball.radius * 1.3)) for own in inner]
        return right(around, far, *rest)

    patch.setattr(curvature_module, "bent_falls", wrong)


def _terms_left_out(name: str) -> Callable[[pytest.MonkeyPatch], None]:
    def patch_terms(patch: pytest.MonkeyPatch) -> None:
        right = Curvature.of

        def wrong(*args: Any) -> Curvature:
            found = right(*args)
            return replace(found, **{name: getattr(found, name) * 0.0})

        patch.setattr(Curvature, "of", staticmethod(wrong))

    return patch_terms


def catalogue() -> list[Plant]:
    """Every mistake with the law that must see it."""
    return [
        Plant("the other side", _other_side, hessian_law),
        Plant("curvature at the centre", _at_the_centre, hessian_law),
        Plant("a range of slopes dropped", _range_of_the_rest_dropped, hessian_law),
        Plant("a neuron that never bends up", _never_bends_up, hessian_law),
        Plant("first layers forgotten", _first_layers_forgotten, hessian_law),
        Plant("slopes of the centre", _slopes_of_the_centre, hessian_law),
        Plant("no cross term", _no_cross_term, suprema_law),
        Plant("no cross term over a ball", _no_cross_term, fall_law),
        Plant("half the turn", _half_the_turn, suprema_law),
        Plant("half the turn over a ball", _half_the_turn, fall_law),
        Plant("the domain's edge forgotten", _edge_forgotten, split_law),
        Plant("l2 for linf", _hoelder_forgotten, fall_law),
        Plant("second order left out", _terms_left_out("most"), fall_law),
        Plant("inner ranges for the whole ball", _inner_for_all, part_law),
        Plant("parts that reach too far", _parts_too_far, part_law),
    ]
