"""Every planted mistake is seen by its law, and the law holds without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.planted import Plant, catalogue

CATALOGUE = catalogue()


def test_the_catalogue_is_large_and_its_names_tell_apart() -> None:
    assert len(CATALOGUE) >= 60
    assert len({plant.name for plant in CATALOGUE}) == len(CATALOGUE)


@pytest.mark.parametrize("plant", CATALOGUE, ids=str)
def test_a_planted_mistake_is_seen(plant: Plant, tmp_path: Path) -> None:
    plant.law(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        plant.patch(patch)
        with pytest.raises(AssertionError):
            plant.law(tmp_path)
    plant.law(tmp_path)
