"""Radii of smooth networks that have been looked at through balls already, once more by their curvature."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

import torch

from lipaudit.audit.stages import Grown
from lipaudit.ranges.curvature import Ranges
from lipaudit.ranges.joined import Late
from lipaudit.ranges.shells import grown

BALLS = 5
"""A sample is looked at through, at most."""

BEYOND = 1.04
"""Times the known radius: the first of them."""

INNER = (0.45, 0.75)
"""Of the known radius: smaller balls, whose ranges are found once and hold for the inner parts of all of these."""


class Bent(Protocol):
    """Some samples, and what is asked of balls around them."""

    @property
    def margins(self) -> torch.Tensor:
        """[b, J], at the centres."""

    @property
    def anywhere(self) -> torch.Tensor:
        """[b, J], the margins' constants over the whole domain."""

    def ranges(self, radius: torch.Tensor) -> Ranges:
        """Of all values over balls around all of the samples."""

    def curved(
        self, rows: torch.Tensor, radius: torch.Tensor, inner: Sequence[Ranges]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """By curvature and by all that is known from the centre, for `shells.grown`; inner: as in `bent_falls`."""


def curved_radii(
    found: Grown, worth: torch.Tensor, step: int, deadline: float, batch: Callable[[torch.Tensor, float], Bent]
) -> Grown:
    """The radii found, or larger ones, of the samples `worth` [N], batch(rows, deadline) at a time.

    A sample without a radius has none to begin from. Nothing is looked at where some samples were not reached, or not
    to the end; what the deadline or Ctrl-C cuts keeps the radius it had.
    """
    if found.missed or found.late or found.cut:
        return found
    values = found.values.clone()
    places = (worth & (values > 0) & values.isfinite()).nonzero()[:, 0]
    parts, left, cut = torch.split(places, step) if len(places) else (), len(places), False
    try:
        for number, rows in enumerate(parts):
            now = time.monotonic()
            if now >= deadline:
                break
            own, late = _larger(batch(rows, now + (deadline - now) / (len(parts) - number)), values[rows])
            values[rows] = torch.maximum(values[rows], own)
            left -= 0 if late else len(rows)
    except KeyboardInterrupt:
        cut = True
    return replace(found, values=values, late=left, cut=cut, curved=int((values > found.values).sum()))


def _larger(balls: Bent, known: torch.Tensor) -> tuple[torch.Tensor, bool]:
    """The radii [b], and whether the deadline came first."""
    try:
        inner = [balls.ranges(known * part) for part in INNER]
    except Late:
        return known, True

    def look(rows: torch.Tensor, radius: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return balls.curved(rows, radius, [ranges.rows(rows) for ranges in inner])

    found = grown(look, balls.margins, balls.anywhere, known, known * BEYOND, BALLS)
    return found.radii, found.late
