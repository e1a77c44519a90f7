"""Planted mistakes of bounds on halves of neurons and of the radii they prove: each is seen by a law."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lipaudit.audit import raising
from lipaudit.audit.raising import Sample
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.ranges import branching, halves
from lipaudit.ranges.ball import Ball
from lipaudit.ranges.halves import Halved
from tests.laws import branching_laws
from tests.planted import Plant, attribute


def least(norm: Norm, *seeds: int) -> Callable[[Path], None]:
    """No bound is above the least value of all pieces."""

    def law(_: Path) -> None:
        for seed in seeds:
            branching_laws.never_above_the_least(seed, norm)

    return law


def parts(slack: float) -> Callable[[Path], None]:
    """No bound of a part is above a value in it."""
    return lambda _: branching_laws.halves_hold(3, Norm.L2, slack)


def neurons(_: Path) -> None:
    """No bound of a neuron's own input is above its values."""
    for seed in range(2):
        branching_laws.rows_of_neurons_hold(seed, Norm.L2)


def program(_: Path) -> None:
    """What an integer program finds to be below 0 is not proven to be positive."""
    for seed in range(2):
        branching_laws.decided_on_both_sides_of_the_least(seed, Norm.LINF)


def both_sides(norm: Norm, *seeds: int) -> Callable[[Path], None]:
    """What is not within the exact radius is not proven."""

    def law(_: Path) -> None:
        for seed in seeds:
            branching_laws.decided_on_both_sides(seed, norm)

    return law


def radii(norm: Norm, *seeds: int) -> Callable[[Path], None]:
    """No raised radius is above the exact one."""

    def law(_: Path) -> None:
        for seed in seeds:
            branching_laws.raised_to_the_exact_radius(seed, norm, 0.8)

    return law


def rounding(_: Path) -> None:
    for seed in range(3):
        branching_laws.rounded_outward(seed, Norm.LINF)


def numbers(_: Path) -> None:
    branching_laws.never_closed_without_a_number(0, Norm.LINF)


Patch = Callable[[pytest.MonkeyPatch], None]


def _proven(change: Callable[..., tuple[Halved, torch.Tensor, torch.Tensor, torch.Tensor]]) -> Patch:
    """`Halved.proven` of something else: change(halved, which, signs, m)."""
    right = Halved.proven
    return attribute(Halved, "proven", lambda self, *given: right(*change(self, *given)))


def _ends(change: Callable[..., tuple[torch.Tensor, ...]]) -> Patch:
    """change(signs, low, between, high)."""
    right = Halved.ends
    return attribute(Halved, "ends", lambda self, signs: change(signs, *right(self, signs)))


def _one_child(patch: pytest.MonkeyPatch) -> None:
    right = branching._children

    def wrong(nodes: Any, chosen: torch.Tensor) -> Any:
        both = right(nodes, chosen)
        first = torch.arange(len(nodes.which))
        return both.rows(torch.cat([first, first]))

    patch.setattr(branching, "_children", wrong)


def _sign_of_a_multiplier(patch: pytest.MonkeyPatch) -> None:
    """n w + m dv is bounded with -m."""
    right = Halved._brackets
    patch.setattr(Halved, "_brackets", lambda self, signs, n, m: right(self, signs, n, -m))


def _inner_forgotten(self: Halved, which: torch.Tensor, signs: torch.Tensor, m: torch.Tensor) -> Any:
    """What the neurons' rows read of earlier neurons is not paid for: of outputs that read the last ones alone."""
    return replace(self, reduced=replace(self.reduced, inner=self.reduced.inner * 0.0)), which, signs, m


def _no_slack(self: Halved, which: torch.Tensor, signs: torch.Tensor, m: torch.Tensor) -> Any:
    reduced, asked = self.reduced, self.asked
    reduced, asked = replace(reduced, slack=reduced.slack * 0.0), replace(asked, slack=asked.slack * 0.0)
    return replace(self, reduced=reduced, asked=asked), which, signs, m


def _no_slack_of_rows(self: Halved, which: torch.Tensor, signs: torch.Tensor, m: torch.Tensor) -> Any:
    return replace(self, reduced=replace(self.reduced, slack=self.reduced.slack * 0.0)), which, signs, m


def _smaller(self: Halved, which: torch.Tensor, signs: torch.Tensor, m: torch.Tensor) -> Any:
    """The ball of 0.9 times the radius, in the ranges of the whole one."""
    ball = self.ball.sized(self.ball.radius * 0.9)
    return replace(self, reduced=replace(self.reduced, ball=ball)), which, signs, m


def _other_side(self: Halved, which: torch.Tensor, signs: torch.Tensor, m: torch.Tensor) -> Any:
    return self, which, -signs, m


def _nan_closes(patch: pytest.MonkeyPatch) -> None:
    """Where nothing is proven there is a NaN, and what is not at most 0 counts as closed."""
    right = Halved.proven

    def wrong(self: Halved, which: torch.Tensor, signs: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
        found = right(self, which, signs, m)
        return torch.where(found == -torch.inf, torch.nan, found)

    patch.setattr(Halved, "proven", wrong)
    patch.setattr(branching, "_closed", lambda bound: ~(bound <= 0))


def _rounded_to_nearest(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(halves, "gamma", lambda n: 0.0)
    patch.setattr(halves, "U", 0.0)
    patch.setattr(halves, "tensor_down", lambda x: x)


def _turned_domain(patch: pytest.MonkeyPatch) -> None:
    """The room up to the domain's edge is taken on the other side."""
    right = Ball.box

    def wrong(self: Ball) -> Box:
        box = right(self)
        return Box(2.0 * self.centre - box.upper, 2.0 * self.centre - box.lower)

    patch.setattr(Ball, "box", wrong)


def _runner_up_alone(patch: pytest.MonkeyPatch) -> None:
    """Only the class next in value at the centre is looked at."""
    right = Sample.stays

    def wrong(self: Sample, radius: float, effort: Any) -> tuple[bool, float]:
        one = self.margins.argmin()[None]
        return right(replace(self, seeds=self.seeds[:, one], margins=self.margins[one]), radius, effort)

    patch.setattr(Sample, "stays", wrong)


def _runner_up_forgotten(patch: pytest.MonkeyPatch) -> None:
    right = Sample.stays

    def wrong(self: Sample, radius: float, effort: Any) -> tuple[bool, float]:
        rest = torch.arange(len(self.margins)) != self.margins.argmin()
        return right(replace(self, seeds=self.seeds[:, rest], margins=self.margins[rest]), radius, effort)

    patch.setattr(Sample, "stays", wrong)


def _work_spent(patch: pytest.MonkeyPatch) -> None:
    """A tree whose work is spent counts as closed."""
    right = branching.positive

    def wrong(*given: Any) -> Any:
        found = right(*given)
        return replace(found, proven=found.proven or found.against is None)

    patch.setattr(raising, "positive", wrong)


def _leaf_skipped(patch: pytest.MonkeyPatch) -> None:
    """A node with nothing left to split is dropped."""
    right = branching._looked_at

    def wrong(halved: Halved, nodes: Any, met: Any, steps: int, effort: Any) -> Any:
        found = right(halved, nodes, met, steps, effort)
        return found.rows((found.loss > 0).any(1)) if steps == branching.LEAF else found

    patch.setattr(branching, "_looked_at", wrong)


def catalogue() -> list[Plant]:
    """Every mistake with the law that must see it."""
    return [
        Plant("a child is forgotten", _one_child, both_sides(Norm.L2, 0, 2, 10)),
        Plant("the sign of a multiplier in the brackets", _sign_of_a_multiplier, neurons),
        Plant("rows of earlier neurons forgotten", _proven(_inner_forgotten), least(Norm.L2, 4)),
        Plant("the far end of a split forgotten", _ends(lambda s, a, b, c: (a, b, b)), parts(0.0)),
        Plant("the near end of a split forgotten", _ends(lambda s, a, b, c: (b, b, c)), parts(0.0)),
        Plant("the other side of a split", _proven(_other_side), parts(0.0)),
        Plant("knots ignored", _ends(lambda s, a, b, c: (a, a, c)), least(Norm.L1, 0)),
        Plant("slack dropped", _proven(_no_slack), parts(0.3)),
        Plant("slack of the multipliers' rows dropped", _proven(_no_slack_of_rows), parts(0.3)),
        Plant("a smaller ball", _proven(_smaller), least(Norm.L2, 0, 1)),
        Plant("a domain on the other side of the centre", _turned_domain, least(Norm.LINF, 1, 3)),
        Plant("rounding to nearest", _rounded_to_nearest, rounding),
        Plant("roundings of the rows dropped", attribute(halves, "gamma", lambda n: 0.0), rounding),
        Plant("NaN counts as closed", _nan_closes, numbers),
        Plant("only the class next in value", _runner_up_alone, radii(Norm.LINF, 2)),
        Plant("the class next in value is forgotten", _runner_up_forgotten, radii(Norm.LINF, 4)),
        Plant("work that is spent closes a tree", _work_spent, both_sides(Norm.L2, 0, 2)),
        Plant("a node with nothing left to split is dropped", _leaf_skipped, program),
    ]
