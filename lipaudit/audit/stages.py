"""In which order samples are looked at, through which balls, and what is left out when the time is over."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, final

import torch

from lipaudit.ranges.shells import Found, grown

PLAIN, RELAXED, WHOLE = 10, 8, 7
"""Balls a sample is looked at, at most: by parallel lines alone, by all that is known from its centre, and then with
the constants over them too."""

ROUGH = 1.1
"""Parallel lines alone are for a first radius: a ball that is larger by less is not worth one more."""

FINE = 1.001
"""The same of the last balls."""

BEYOND = 1.5
"""Of that radius: the first ball that is looked at closely."""

BELOW = 0.7
"""Of the radius that relaxation shows: the first ball whose constants are found."""

PATIENCE = 2
"""Batches whose constants are idle before those of the rest are not asked for."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Grown:
    """Radii [N], how many of the samples were not reached, how many only in part, and whether because of Ctrl-C.

    curved, squared, raised: how many have theirs from curvature, then from quadratic certificates, and then from branch
    and bound.
    """

    values: torch.Tensor
    missed: int
    late: int = 0
    cut: bool = False
    curved: int = 0
    squared: int = 0
    raised: int = 0


class Balls(Protocol):
    """Some samples, and what is asked of balls around them."""

    @property
    def margins(self) -> torch.Tensor:
        """[b, J], at the centres."""

    @property
    def anywhere(self) -> torch.Tensor:
        """[b, J], the margins' constants over the whole domain."""

    def first(self) -> torch.Tensor:
        """[b], a guess of where to look."""

    def plain(self, rows: torch.Tensor, radius: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """By parallel lines from the centre alone, for `shells.grown`."""

    def relaxed(self, rows: torch.Tensor, radius: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """By all that is known from the centre."""

    def whole(self, rows: torch.Tensor, radius: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """With the constants over the balls too."""


Look = Callable[[Balls, torch.Tensor], Found]


@final
@dataclass(slots=True)
class _Stages:
    """The two looks at a batch, and for how many batches one after the other its constants were idle."""

    idle: int = 0

    def looks(self, *, rough: bool, close: bool) -> list[Look]:
        return [look for look, wanted in ((self.rough, rough), (self.close, close)) if wanted]

    def rough(self, balls: Balls, known: torch.Tensor) -> Found:
        return grown(balls.plain, balls.margins, balls.anywhere, known, self._start(balls, balls.first()), PLAIN, ROUGH)

    def close(self, balls: Balls, known: torch.Tensor) -> Found:
        """known: what the rough look has shown is in it."""
        start = self._start(balls, torch.where(known > 0, known * BEYOND, balls.first()))
        shown = grown(balls.relaxed, balls.margins, balls.anywhere, known, start, RELAXED)
        if shown.late or self.idle >= PATIENCE:
            return shown
        start = self._start(balls, torch.where(shown.radii > 0, shown.radii * BELOW, balls.first()))
        found = grown(balls.whole, balls.margins, balls.anywhere, shown.radii, start, WHOLE, FINE, shells=True)
        if not found.late:
            self.idle = self.idle + 1 if bool(found.idle.all()) else 0
        return replace(found, rounds=shown.rounds + found.rounds)

    def _start(self, balls: Balls, radius: torch.Tensor) -> torch.Tensor:
        """Nowhere, where a margin is not positive."""
        return torch.where((balls.margins > 0).all(1), radius, torch.inf)


def in_stages(
    known: torch.Tensor,
    worth: torch.Tensor,
    step: int,
    deadline: float,
    batch: Callable[[torch.Tensor, float], Balls],
    tell: Callable[[int], None] | None,
) -> Grown:
    """The larger of the known radii [N] and those of the samples `worth` [N], batch(rows, deadline) at a time.

    All are looked at roughly, within a third of the time, before any is closely; each batch then has its share of the
    time that is left. Ctrl-C ends it: every radius so far is a proof by itself.
    """
    values, places, stages = known.clone(), worth.nonzero()[:, 0], _Stages()
    seen, done = torch.zeros_like(worth), torch.zeros_like(worth)
    parts = torch.split(places, step) if len(places) else ()
    now = time.monotonic()
    try:
        for last, until in ((False, now + (deadline - now) / 3.0), (True, deadline)):
            for number, rows in enumerate(parts):
                now = time.monotonic()
                if now >= until:
                    break
                balls = batch(rows, now + (until - now) / (len(parts) - number))
                for look in stages.looks(rough=not bool(seen[rows].any()), close=last):
                    found = look(balls, values[rows])
                    values[rows] = torch.maximum(values[rows], found.radii)
                    seen[rows] |= found.rounds > 0 or not found.late
                    done[rows] = last and not found.late
                if last and tell is not None:
                    tell(min((number + 1) * step, len(places)))
    except KeyboardInterrupt:
        return Grown(values, *_undone(worth, seen, done), cut=True)
    return Grown(values, *_undone(worth, seen, done))


def _undone(worth: torch.Tensor, seen: torch.Tensor, done: torch.Tensor) -> tuple[int, int]:
    """How many samples were not looked at, and how many not to the end."""
    return int((worth & ~seen).sum()), int((worth & seen & ~done).sum())
