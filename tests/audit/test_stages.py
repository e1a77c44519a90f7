"""Samples are looked at roughly before any is closely, and those that a deadline cuts are counted."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass

import pytest
import torch

from lipaudit.audit.stages import PATIENCE, in_stages
from lipaudit.ranges.joined import Late


@dataclass
class Recorded:
    """A batch of one sample whose margin of 1 ends at 1, by lines alone at 1/2; `late`: the kinds that are not done."""

    row: int
    log: list[tuple[str, int]]
    late: frozenset[str] = frozenset()
    constant: float = torch.inf

    @property
    def margins(self) -> torch.Tensor:
        return torch.ones(1, 1, dtype=torch.float64)

    @property
    def anywhere(self) -> torch.Tensor:
        return torch.full((1, 1), torch.inf, dtype=torch.float64)

    def first(self) -> torch.Tensor:
        return torch.full((1,), 0.35, dtype=torch.float64)

    def _answer(self, kind: str, radius: torch.Tensor, end: float) -> tuple[torch.Tensor, torch.Tensor]:
        if kind in self.late:
            raise Late
        self.log.append((kind, self.row))
        return torch.full((1, 1), self.constant, dtype=torch.float64), (1.0 - (radius / end) ** 2)[:, None]

    def plain(self, rows: torch.Tensor, radius: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self._answer("plain", radius, 0.5)

    def relaxed(self, rows: torch.Tensor, radius: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self._answer("relaxed", radius, 1.0)

    def whole(self, rows: torch.Tensor, radius: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self._answer("whole", radius, 1.0)


KNOWN = torch.full((5,), 0.01, dtype=torch.float64)
WORTH = torch.tensor([True, True, False, True, True])


def test_all_are_looked_at_roughly_before_any_is_closely() -> None:
    log: list[tuple[str, int]] = []
    found = in_stages(KNOWN, WORTH, 1, torch.inf, lambda rows, _: Recorded(int(rows[0]), log), None)
    order = [kind for kind, _ in itertools.groupby(log, key=lambda entry: entry[0])]
    assert order[:2] == ["plain", "relaxed"]
    assert "plain" not in order[1:]
    assert (found.missed, found.late, found.cut) == (0, 0, False)
    assert bool((found.values[WORTH] > 0.99).all())
    assert float(found.values[2]) == 0.01


def test_constants_that_are_idle_are_not_asked_for_again() -> None:
    log: list[tuple[str, int]] = []
    in_stages(KNOWN, WORTH, 1, torch.inf, lambda rows, _: Recorded(int(rows[0]), log, constant=1e6), None)
    assert len({row for kind, row in log if kind == "whole"}) == PATIENCE
    log.clear()
    in_stages(KNOWN, WORTH, 1, torch.inf, lambda rows, _: Recorded(int(rows[0]), log, constant=2.0), None)
    assert len({row for kind, row in log if kind == "whole"}) == int(WORTH.sum())


@pytest.mark.parametrize(
    ("late", "missed", "cut"), [(("relaxed",), 0, 2), (("whole",), 0, 2), (("plain", "relaxed"), 2, 0)]
)
def test_samples_that_the_deadline_cuts_are_counted(late: tuple[str, ...], missed: int, cut: int) -> None:
    log: list[tuple[str, int]] = []

    def batch(rows: torch.Tensor, _: float) -> Recorded:
        return Recorded(int(rows[0]), log, frozenset(late) if int(rows[0]) in (1, 3) else frozenset())

    found = in_stages(KNOWN, WORTH, 1, torch.inf, batch, None)
    assert (found.missed, found.late, found.cut) == (missed, cut, False)
    least = 0.01 if missed else 0.45 if "relaxed" in late else 0.99
    assert least <= float(found.values[1]) < (0.02 if missed else 0.5 if "relaxed" in late else 1.0)


def test_nothing_is_begun_after_the_deadline() -> None:
    log: list[tuple[str, int]] = []
    found = in_stages(KNOWN, WORTH, 1, time.monotonic() - 1.0, lambda rows, _: Recorded(int(rows[0]), log), None)
    assert (found.missed, found.late, log) == (4, 0, [])


def test_ctrl_c_keeps_what_was_proven() -> None:
    log: list[tuple[str, int]] = []

    def tell(done: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    found = in_stages(KNOWN, WORTH, 1, torch.inf, lambda rows, _: Recorded(int(rows[0]), log), tell)
    assert (found.missed, found.late, found.cut) == (0, 2, True)
    assert bool((found.values[WORTH][:2] > 0.99).all())
    assert bool((found.values[WORTH][2:] > 0.4).all())
