"""What every test starts from: one thread, repeatable draws, and a clear reason where ../shared is absent."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"

if str(ROOT) not in sys.path:  # so that `tests.cases` and `tests.laws` can be imported however pytest is started
    sys.path.insert(0, str(ROOT))

torch.set_num_threads(1)

_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile(
    "ci", derandomize=True, deadline=None, max_examples=20, database=None, suppress_health_check=_SLOW
)
settings.register_profile("long", deadline=None, max_examples=500, suppress_health_check=_SLOW)
settings.load_profile("ci")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of sample models that lies beside the repository on our machines, and not in a clone of it."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not here: its models are not part of the repository")
    return SHARED
