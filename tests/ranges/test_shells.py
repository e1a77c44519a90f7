"""The balls that are chosen for a radius: few, close to the end, and what was answered before a deadline is kept."""

from __future__ import annotations

import pytest
import torch

from lipaudit.ranges.joined import Late
from lipaudit.ranges.shells import Evaluate, Found, grown

ROUNDS = 12


class Falling:
    """Margins of 1 and 3 that fall as powers of the radius, up to an end, with constants over balls, if any."""

    def __init__(self, power: float, end: float = torch.inf, constant: float = torch.inf, balls: int = ROUNDS) -> None:
        self.power, self.end, self.constant, self.balls = power, end, constant, balls
        self.seen = list[float]()

    def __call__(self, rows: torch.Tensor, radius: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if len(self.seen) >= self.balls:
            raise Late
        self.seen.append(float(radius[0]))
        left = 1.0 - radius**self.power
        left = torch.where(radius > self.end, -torch.inf, left)
        above = torch.stack([left, left + 2.0], 1)
        return torch.full_like(above, self.constant), above


def found(evaluate: Evaluate, start: float, known: float = 0.0, *, shells: bool = False) -> Found:
    margins = torch.tensor([[1.0, 3.0]], dtype=torch.float64)
    one = torch.ones(1, dtype=torch.float64)
    return grown(
        evaluate, margins, torch.full_like(margins, torch.inf), known * one, start * one, ROUNDS, shells=shells
    )


@pytest.mark.parametrize("power", [1.0, 1.5, 2.0, 4.0, 12.0])
@pytest.mark.parametrize("start", [0.05, 0.35, 0.9, 1.5, 40.0])
def test_the_end_is_met_within_few_balls(start: float, power: float) -> None:
    evaluate = Falling(power)
    radius = float(found(evaluate, start).radii[0])
    assert 0.996 < radius < 1.0
    assert len(evaluate.seen) <= 10
    assert radius in evaluate.seen


@pytest.mark.parametrize("end", [0.02, 0.3, 0.8])
def test_a_sudden_end_is_met_too(end: float) -> None:
    assert 0.75 * end < float(found(Falling(2.0, end), 1.0).radii[0]) <= end


def test_constants_take_it_beyond_what_relaxation_shows() -> None:
    evaluate = Falling(1.0, 0.7, 1.0)
    assert 0.999 < float(found(evaluate, 0.5).radii[0]) < 1.0
    assert len(evaluate.seen) <= 4


def test_where_constants_add_nothing_one_ball_is_looked_at() -> None:
    evaluate = Falling(2.0, constant=1e6)
    answer = found(evaluate, 0.7, 0.95, shells=True)
    assert evaluate.seen == [0.7]
    assert bool(answer.idle.all())
    assert float(answer.radii[0]) == 0.95
    assert not found(Falling(2.0, constant=2.0), 0.7, 0.95, shells=True).idle.any()


def test_what_was_answered_before_the_deadline_is_kept() -> None:
    evaluate = Falling(3.0, balls=2)
    answer = found(evaluate, 0.35)
    assert answer.late
    assert answer.rounds == 2
    assert float(answer.radii[0]) == max(x for x in evaluate.seen if x < 1.0)
    nothing = found(Falling(2.0, balls=0), 0.35, 0.1)
    assert (nothing.late, nothing.rounds, float(nothing.radii[0])) == (True, 0, 0.1)
    assert not found(Falling(2.0), 0.35).late
