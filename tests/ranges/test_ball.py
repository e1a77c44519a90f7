"""Balls: their boxes hold them, and no point of one carries a linear form past its width."""

from __future__ import annotations

import pytest
import torch

from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.ranges.ball import Ball
from tests.laws.region_laws import inside_of, widths_hold


def ball(norm: Norm, seed: int, cut: bool) -> Ball:
    generator = torch.Generator().manual_seed(seed)
    centre = torch.randn(4, 2, 3, generator=generator, dtype=torch.float64)
    radius = torch.rand(4, generator=generator, dtype=torch.float64) * 2.0
    domain = None
    if cut:  # some entries at its edge, some free, one fixed
        room = torch.rand(1, 2, 3, generator=generator, dtype=torch.float64)
        centre = torch.clamp(centre, -room, room)
        domain = Box(-room, room)
    return Ball(centre, radius, norm, domain)


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("norm", Norm)
@pytest.mark.parametrize("seed", range(5))
def test_no_point_of_a_ball_passes_a_width(norm: Norm, seed: int, cut: bool) -> None:
    widths_hold(ball(norm, seed, cut), seed)


@pytest.mark.parametrize("norm", Norm)
def test_a_width_is_met(norm: Norm) -> None:
    """Without a domain the dual norm is attained."""
    region = ball(norm, 0, cut=False)
    rows = torch.randn(4, 2, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    dual = norm.dual.of(rows.reshape(8, 6)).reshape(4, 2) * region.radius[:, None]
    below, above = region.widths(rows)
    assert torch.allclose(below, dual, rtol=1e-12, atol=0)
    assert torch.allclose(above, dual, rtol=1e-12, atol=0)


def test_the_domain_makes_a_width_smaller() -> None:
    region = Ball(torch.zeros(1, 2, dtype=torch.float64), torch.ones(1, dtype=torch.float64), Norm.L2, None)
    edge = Box(torch.tensor([[0.0, -5.0]]).double(), torch.tensor([[5.0, 5.0]]).double())
    cut = Ball(region.centre, region.radius, Norm.L2, edge)
    rows = torch.tensor([[[3.0, 4.0]]], dtype=torch.float64)
    below, above = cut.widths(rows)
    assert float(above) == pytest.approx(5.0)
    assert float(below) == pytest.approx(4.0)  # the first entry cannot go down


@pytest.mark.parametrize("norm", Norm)
def test_the_box_holds_the_ball(norm: Norm) -> None:
    region = ball(norm, 3, cut=True)
    points = inside_of(region, 200, 0)
    box = region.box()
    assert bool(((points >= box.lower.unsqueeze(1)) & (points <= box.upper.unsqueeze(1))).all())


def test_a_centre_outside_the_domain_is_not_cut() -> None:
    centre, radius = torch.full((1, 2), 3.0, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    box = Ball(centre, radius, Norm.L2, Box(torch.zeros(1, 2).double(), torch.ones(1, 2).double())).box()
    assert bool((box.lower < 2.0001).all())
    assert bool((box.upper > 3.9999).all())


@pytest.mark.parametrize("radius", [-1.0, float("nan"), float("inf")])
def test_what_is_no_ball(radius: float) -> None:
    with pytest.raises(ValueError, match="radius"):
        Ball(torch.zeros(1, 2, dtype=torch.float64), torch.tensor([radius], dtype=torch.float64), Norm.L2)
