"""Every mistake planted in branch and bound for radii is seen by its law, and the law holds without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.planted import Plant
from tests.planted_branching import catalogue


@pytest.mark.parametrize("plant", catalogue(), ids=str)
def test_a_planted_mistake_is_seen(plant: Plant, tmp_path: Path) -> None:
    plant.law(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        plant.patch(patch)
        with pytest.raises(AssertionError):
            plant.law(tmp_path)
