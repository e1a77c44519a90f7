"""Which samples curvature is asked for, what the deadline and Ctrl-C leave, and that the report says so."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

from lipaudit.audit.certifying import certify
from lipaudit.audit.curving import curved_radii
from lipaudit.audit.settings import Settings
from lipaudit.audit.stages import Grown
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.ranges.ball import Ball
from lipaudit.ranges.curvature import Ranges
from lipaudit.ranges.joined import Late
from lipaudit.ranges.rows import Weights
from tests.cases import smooth as cases


@dataclass
class Recorded:
    """Samples whose margin of 1 ends at 1; `late`: those whose balls are not done."""

    rows: torch.Tensor
    log: list[int] = field(default_factory=list)
    late: frozenset[int] = frozenset()
    stop: int = -1

    @property
    def margins(self) -> torch.Tensor:
        return torch.ones(len(self.rows), 1, dtype=torch.float64)

    @property
    def anywhere(self) -> torch.Tensor:
        return torch.full((len(self.rows), 1), torch.inf, dtype=torch.float64)

    def ranges(self, radius: torch.Tensor) -> Ranges:
        if self.stop in self.rows.tolist():
            raise KeyboardInterrupt
        if self.late & set(self.rows.tolist()):
            raise Late
        self.log.extend(self.rows.tolist())
        ball = Ball(torch.zeros(len(radius), 1, dtype=torch.float64), radius, Norm.L2)
        box = Box(-radius[:, None], radius[:, None])
        return Ranges(cases.squares(0, 1, 1)[0], ball, (box,), (box,), Weights(), torch.inf)

    def curved(
        self, rows: torch.Tensor, radius: torch.Tensor, inner: Sequence[Ranges]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        assert all(len(own.ball) == len(rows) for own in inner)
        assert bool((inner[0].ball.radius < inner[1].ball.radius).all())
        return torch.full((len(rows), 1), torch.inf, dtype=torch.float64), (1.0 - radius.square())[:, None]


SAMPLES = Path(__file__).resolve().parents[2] / "sample_models"
KNOWN = torch.tensor([0.9, 0.0, 0.95, 0.5, torch.inf], dtype=torch.float64)
WORTH = torch.tensor([True, True, False, True, True])


def asked(deadline: float = torch.inf, late: frozenset[int] = frozenset(), stop: int = -1) -> tuple[Grown, list[int]]:
    log: list[int] = []
    found = Grown(KNOWN, 0)
    return curved_radii(found, WORTH, 1, deadline, lambda rows, _: Recorded(rows, log, late, stop)), log


def test_samples_with_a_radius_are_looked_at() -> None:
    found, log = asked()
    assert set(log) == {0, 3}
    assert 0.97 < float(found.values[0]) < 1.0
    assert 0.9 < float(found.values[3]) < 1.0
    assert torch.equal(found.values[[1, 2, 4]], KNOWN[[1, 2, 4]])
    assert (found.missed, found.late, found.cut, found.curved) == (0, 0, False, 2)


def test_what_is_cut_keeps_its_radius_and_is_counted() -> None:
    found, _ = asked(late=frozenset({3}))
    assert (float(found.values[3]), found.late, found.cut, found.curved) == (0.5, 1, False, 1)
    found, _ = asked(stop=3)
    assert (float(found.values[3]), found.late, found.cut, found.curved) == (0.5, 1, True, 1)
    found, log = asked(time.monotonic() - 1.0)
    assert (found.late, found.curved, log) == (2, 0, [])


@pytest.mark.parametrize("before", [Grown(KNOWN, 1), Grown(KNOWN, 0, late=1), Grown(KNOWN, 0, cut=True)])
def test_nothing_is_begun_where_samples_are_left(before: Grown) -> None:
    assert curved_radii(before, WORTH, 1, torch.inf, lambda rows, _: Recorded(rows, stop=0)) is before


def test_the_report_says_so() -> None:
    with np.load(SAMPLES / "digits_gelu.npz") as file:
        x, y = file["x"], file["y"]
    report = certify(SAMPLES / "digits_gelu.onnx", x, y, Settings(budget=60.0), local=True, limit=1)
    assert report.radii is not None
    assert report.radii.method.endswith("then curvature")
