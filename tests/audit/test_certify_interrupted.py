"""Ctrl-C in the middle of `certify`: the radii that were proven until then are reported, and what was found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lipaudit.audit import Domain, Settings, certify, growing
from lipaudit.cli.output import exit_code

SAMPLES = Path(__file__).resolve().parents[2] / "sample_models"
SETTINGS = Settings(domain=Domain(0.0, 16.0, "0,16"), budget=60.0)


class Interrupter:
    """A progress callback that presses Ctrl-C at the second report of this kind."""

    def __init__(self, kind: str) -> None:
        self.kind, self.seen = kind, 0

    def __call__(self, what: str, done: int, total: int) -> None:
        self.seen += what == self.kind
        if self.seen == 2:
            raise KeyboardInterrupt


@pytest.mark.parametrize("kind", ["radii", "attack"])
def test_what_was_proven_before_is_reported(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with np.load(SAMPLES / "digits_mlp.npz") as file:
        x, y = file["x"][:40], file["y"][:40]
    model = SAMPLES / "digits_mlp.onnx"
    local = kind == "radii"
    monkeypatch.setattr(growing, "batch_size", lambda graph: 5)  # after the first of them comes the second report
    report = certify(model, x, y, SETTINGS, local=local, attack=2.0, progress=Interrupter(kind), interruptible=True)
    assert [finding.code for finding in report.findings if finding.code == "LIP401"] == ["LIP401"]
    assert exit_code(report) == 130
    radii = report.radii
    assert radii is not None
    assert (radii.values[radii.correct] > 0).all()
    assert (radii.attack is None) == local
    if radii.attack is not None:
        assert radii.attack.found.sum() > 30
    with pytest.raises(KeyboardInterrupt):
        certify(model, x, y, SETTINGS, local=local, attack=2.0, progress=Interrupter(kind))
