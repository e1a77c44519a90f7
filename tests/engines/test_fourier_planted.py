"""Every planted mistake in the Fourier recursion is seen by its law, and the law holds without it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.planted_fourier import Plant, catalogue

LAWS = list(dict.fromkeys(plant.law for plant in catalogue()))


@pytest.mark.parametrize("law", LAWS)
def test_the_laws_hold(law: Callable[[], None]) -> None:
    law()


@pytest.mark.parametrize("plant", catalogue(), ids=str)
def test_a_planted_mistake_is_seen(plant: Plant) -> None:
    with pytest.MonkeyPatch.context() as patch:
        plant.patch(patch)
        with pytest.raises(AssertionError):
            plant.law()
