"""Counterexamples are genuine in every norm; a planted mistake is seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from lipaudit.numerics.norms import Norm
from tests.laws import attack_laws
from tests.planted import Plant
from tests.planted_attack import catalogue


@pytest.mark.parametrize("norm", Norm)
@pytest.mark.parametrize("scaled", [False, True], ids=["plain", "preprocessed"])
def test_counterexamples_are_genuine(norm: Norm, scaled: bool, tmp_path: Path) -> None:
    attack_laws.counterexamples_are_genuine(tmp_path, norm, scaled=scaled)


def test_a_radius_above_an_attack_is_a_fault(tmp_path: Path) -> None:
    attack_laws.faults_are_reported(tmp_path)


@pytest.mark.parametrize("norm", Norm)
def test_moves_are_genuine(norm: Norm, tmp_path: Path) -> None:
    attack_laws.moves_are_genuine(tmp_path, norm)


def test_a_tie_is_no_success(tmp_path: Path) -> None:
    attack_laws.a_tie_is_no_success(tmp_path)


@pytest.mark.parametrize("plant", catalogue(), ids=str)
def test_a_planted_mistake_is_seen(plant: Plant, tmp_path: Path) -> None:
    plant.law(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        plant.patch(patch)
        with pytest.raises(AssertionError):
            plant.law(tmp_path)
