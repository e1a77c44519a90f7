"""The JSON contract: its keys, its numbers, and no NaN or infinity whatever the report holds."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lipaudit.render.json import JsonReporter
from lipaudit.report.report import AuditReport, Radii, Samples
from tests.render.reports import ALL, ATTACKED, BOUND, CERTIFY, GATE, GROUP, INFINITE, LOCAL, REFUSED, REGIONS, method

COMMON = {
    "schema_version",
    "command",
    "tool",
    "model",
    "problem",
    "layers",
    "bounds",
    "upper",
    "lower",
    "findings",
    "verdict",
    "assumptions",
    "run",
}


def load(report: AuditReport) -> dict[str, Any]:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} in the report")

    content = json.loads(JsonReporter().render(report), parse_constant=refuse)
    assert isinstance(content, dict)
    return content


@pytest.mark.parametrize("name", ALL)
def test_every_report_has_the_common_keys(name: str) -> None:
    assert set(load(ALL[name])) >= COMMON


def test_keys_of_a_command() -> None:
    assert set(load(BOUND)) == COMMON
    assert set(load(LOCAL)) == COMMON | {"samples"}
    assert set(load(REGIONS)) == COMMON | {"samples", "regions"}
    assert set(load(CERTIFY)) == COMMON | {"clean_accuracy", "certified", "radii"}
    assert set(load(GATE)) == COMMON | {"rules"}
    assert set(load(GROUP)) == COMMON | {"rules", "models"}


@given(st.floats(min_value=0.0, allow_nan=False))
def test_a_bound_reads_back_to_the_same_float(value: float) -> None:
    shown = load(replace(BOUND, upper=method(value)))["upper"]
    assert shown["kind"] == "certified"
    assert shown["finite"] == math.isfinite(value)
    if not math.isfinite(value):
        assert shown["value"] is shown["hex"] is shown["log10"] is None
        return
    assert shown["value"] == value == float.fromhex(shown["hex"])
    assert shown["log10"] is None if value == 0.0 else math.isclose(shown["log10"], math.log10(value))


def test_the_bracket_and_the_methods() -> None:
    shown = load(BOUND)
    assert (shown["upper"]["method"], shown["lower"]["method"]) == ("recursion", "ascent")
    assert shown["lower"]["kind"] == "attained"
    assert [entry["status"] for entry in shown["bounds"]] == ["bounded", "bounded", "declined"]
    assert shown["bounds"][2]["reason"] == "a Softmax stands between two layers"
    assert shown["model"]["parity"] == {"points": 4, "max_abs_difference": 1.1e-6, "tolerance": 1e-4}
    assert load(INFINITE)["upper"]["value"] is None


def test_samples_and_radii() -> None:
    norm = load(LOCAL)["samples"]["norm"]
    assert norm == pytest.approx({"min": 1.0, "p5": 1.1, "median": 2.0, "p95": 2.9, "max": 3.0, "argmax": 100})
    shown = load(CERTIFY)
    assert shown["clean_accuracy"] == 0.96
    assert [entry["radius"] for entry in shown["certified"]] == [0.1, 0.25]
    assert (shown["radii"]["count"], shown["radii"]["misclassified"]) == (96, 4)
    assert len(shown["radii"]["per_sample"]) == 100
    assert shown["radii"]["min"] > 0.0


def test_empty_and_broken_data_are_null_not_nan() -> None:
    none = np.zeros(0)
    empty = replace(LOCAL, samples=Samples("x", none), radii=Radii("x", none, none > 0, (math.inf, math.nan), "m"))
    shown = load(empty)
    assert shown["samples"]["norm"]["max"] is shown["clean_accuracy"] is shown["radii"]["median"] is None
    broken = load(replace(LOCAL, samples=Samples("x", np.array([1.0, math.nan, math.inf]))))
    assert broken["samples"]["per_sample"] == [1.0, None, None]
    assert broken["samples"]["norm"]["max"] is None


def test_a_refused_model_names_every_node() -> None:
    shown = load(REFUSED)
    assert shown["verdict"] is shown["upper"] is shown["model"]["sha256"] is None
    assert [(f["op"], f["subject"], f["code"]) for f in shown["findings"]] == [
        ("Einsum", "/e", "LIP101"),
        ("NonZero", "/n", "LIP101"),
    ]
    assert all(f["remedy"] and f["severity"] == "error" for f in shown["findings"])


def test_a_gate_over_several_models_holds_them_all() -> None:
    shown = load(GROUP)
    assert shown["model"] is None
    assert [part["model"]["path"] for part in shown["models"]] == ["digits.onnx", "bad.onnx"]
    assert shown["verdict"] == "fail"


def test_an_attack_brackets_the_radii() -> None:
    assert load(CERTIFY)["radii"]["attack"] is None
    attack = load(ATTACKED)["radii"]["attack"]
    assert (attack["count"], attack["tried"], attack["unconfirmed"]) == (86, 100, 2)
    assert attack["per_sample"][:4] == [0.0] * 4
    assert attack["per_sample"][95] is attack["answers"][95] is None
    assert attack["certified_over_attacked"] == pytest.approx(0.8)
    shares = {entry["radius"]: entry["accuracy_at_most"] for entry in attack["accuracy"]}
    certified = {entry["radius"]: entry["accuracy"] for entry in load(ATTACKED)["certified"]}
    assert set(shares) == set(certified)
    assert all(certified[radius] <= shares[radius] <= 0.96 for radius in shares)
