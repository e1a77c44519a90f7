"""A slice of the campaign against operator norms."""

from __future__ import annotations

import pytest
import torch

from lipaudit.linear.norms import conv_tight
from lipaudit.numerics.bound import UpperBound
from tests.fuzz.norms import campaign, draw


def test_no_bound_is_on_the_wrong_side() -> None:
    torch.set_num_threads(1)
    faults, drawn = campaign(range(1_000_000, 1_000_160))
    assert faults == []
    assert min(drawn[kind] for kind in ("flat", "sign", "integer", "rank one", "Adjoint", "Compose", "Sum")) > 0


def test_a_map_is_its_seed() -> None:
    one, other = draw(7), draw(7)
    assert one.words == other.words
    assert torch.equal(one.part.as_matrix(), other.part.as_matrix())


def test_the_campaign_sees_a_bound_that_is_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """One part in 10^11 below what was proven is seen by the dense truth, or by balls."""
    real = conv_tight.band
    monkeypatch.setattr(
        conv_tight, "band", lambda *given: UpperBound(real(*given).value * (1.0 - 1e-7 - 1e-11), "planted")
    )
    faults, _ = campaign(range(1_000_000, 1_000_040))
    assert any(fault.method == "band" for fault in faults)
