"""Ctrl-C in the middle of an audit: what is proven so far is reported, and nothing else."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, final

import pytest

from lipaudit.audit import Settings, bound
from lipaudit.cli.output import exit_code
from lipaudit.engines.ellipsoid_inequality import multipliers
from lipaudit.engines.engine import Engine
from lipaudit.graph.problem import Problem
from lipaudit.numerics.bound import UpperBound

SAMPLES = Path(__file__).resolve().parents[2] / "sample_models"


@final
@dataclass(frozen=True, slots=True)
class Impatient(Engine):
    """An engine during which somebody presses Ctrl-C."""

    name: ClassVar[str] = "impatient"
    label: ClassVar[str] = "impatient"

    def bound(self, problem: Problem) -> UpperBound:
        raise KeyboardInterrupt


def test_what_was_proven_before_is_reported() -> None:
    settings = Settings(methods=("product",))
    report = bound(SAMPLES / "digits_mlp.onnx", settings, engines=(Impatient(),), interruptible=True)
    assert report.upper is not None
    assert report.upper.name == "product"
    assert report.lower is None
    assert [f.code for f in report.findings if f.code == "LIP401"] == ["LIP401"]
    assert "impatient, the search from below" in next(f.message for f in report.findings if f.code == "LIP401")
    assert exit_code(report) == 130


def test_without_a_bound_or_a_wish_for_one_it_stops() -> None:
    model = SAMPLES / "digits_mlp.onnx"
    with pytest.raises(KeyboardInterrupt):
        bound(model, Settings(methods=("product",)), engines=(Impatient(),))
    with pytest.raises(KeyboardInterrupt):
        bound(model, Settings(methods=("ellipsoid",)), Interrupter(), interruptible=True)


class Interrupter:
    """A progress callback that presses Ctrl-C before the first engine."""

    def __call__(self, what: str, done: int, total: int) -> None:
        raise KeyboardInterrupt


def test_the_ellipsoid_keeps_its_best_verified_iterate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C at the twentieth Newton step: better than any closed form, above the optimum, and verified."""
    model, settings = SAMPLES / "digits_mlp.onnx", Settings(methods=("ellipsoid",))
    whole = bound(model, settings)
    calls = [0]

    def counted(*args: object) -> object:
        calls[0] += 1
        if calls[0] == 60:
            raise KeyboardInterrupt
        return multipliers(*args)  # type: ignore[arg-type]

    monkeypatch.setattr("lipaudit.engines.ellipsoid_interior.multipliers", counted)
    report = bound(model, settings, interruptible=True)
    assert report.upper is not None
    assert report.upper.bound is not None
    assert whole.upper is not None
    assert whole.upper.bound is not None
    assert whole.upper.bound.value <= report.upper.bound.value < math.inf
    assert exit_code(report) == 130
