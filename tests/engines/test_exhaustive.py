"""Every pattern of slopes of small networks, and two unsound ellipsoids that this must see."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lipaudit.engines import ellipsoid
from lipaudit.engines.ellipsoid_program import Program, Slope
from lipaudit.engines.ellipsoid_verify import Multipliers, verified
from tests.engines import exhaustive


@pytest.mark.parametrize("block", range(8))
def test_no_pattern_exceeds_the_bound(block: int) -> None:
    found = [exhaustive.ratio(seed) for seed in range(30 * block, 30 * block + 30)]
    flat = torch.tensor([r for r, one in found if one])
    assert float(torch.tensor([r for r, _ in found]).median()) > 0.9
    assert not len(flat) or float(flat.median()) > 0.95


def caught() -> int:
    """On how many of 60 networks the law fails."""
    failures = 0
    for seed in range(60):
        try:
            exhaustive.ratio(seed)
        except AssertionError:
            failures += 1
    return failures


def test_a_forgotten_unit_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: the bound in the units that the steps are held in, not the output's own."""

    def unitless(program: Program, multipliers: Multipliers) -> float:
        return verified(replace(program, exponent=min(program.exponent, 0)), multipliers)

    monkeypatch.setattr(ellipsoid, "verified", unitless)
    assert caught() > 20


def test_slopes_taken_for_their_centres_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: neurons of half the radius that their slopes have."""

    def narrowed(program: Program, multipliers: Multipliers) -> float:
        steps = tuple(replace(s, radius=s.radius / 2) if isinstance(s, Slope) else s for s in program.steps)
        return verified(replace(program, steps=steps), multipliers)

    monkeypatch.setattr(ellipsoid, "verified", narrowed)
    assert caught() > 20


def test_the_optimisers_own_word_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: what the dual says the optimum is, less its gap, reported as the bound."""
    original = ellipsoid.Ellipsoid.search

    def believed(self: ellipsoid.Ellipsoid, steps: Program, deadline: float) -> ellipsoid.Proof:
        proof = original(self, steps, deadline)
        return replace(proof, value=proof.floor) if proof.floor else proof

    monkeypatch.setattr(ellipsoid.Ellipsoid, "search", believed)
    assert caught() > 5
