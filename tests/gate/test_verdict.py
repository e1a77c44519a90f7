"""The gate passes only what is proven: NaN, infinity, a missing proof and a missing unit never do."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lipaudit.gate.levels import RULES
from lipaudit.gate.limits import Limits
from lipaudit.gate.policy import ModelPolicy, Preprocessing
from lipaudit.gate.verdict import judge, verdict_of
from lipaudit.report.finding import Finding
from lipaudit.report.report import AuditReport, Parity, Radii, RuleResult, Samples
from tests.render.reports import BOUND, CERTIFY, INFINITE, LOCAL, MODEL, REFUSED, attained, method

NONE = Preprocessing((0.0,), (1.0,), "none")


def policy(**limits: object) -> ModelPolicy:
    return ModelPolicy(
        Path("digits.onnx"),
        preprocess=NONE,
        inputs="v:x",
        labels="v:y",
        limits=Limits(**limits),  # type: ignore[arg-type]
    )


def judged(given: ModelPolicy, *reports: AuditReport) -> tuple[dict[str, str], str]:
    rules, verdict = judge(given, reports)
    return {rule.id: rule.result for rule in rules}, verdict


def test_within_and_over() -> None:
    results, verdict = judged(policy(upper=5.0, ratio=1.2), BOUND)
    assert (results, verdict) == ({"global": "pass", "ratio": "pass"}, "pass")
    assert judged(policy(upper=4.4466), BOUND)[1] == "pass"
    assert judged(policy(upper=math.nextafter(4.4466, 0.0)), BOUND) == ({"global": "fail"}, "fail")
    assert judged(policy(ratio=1.1), BOUND)[1] == "fail"


@given(st.floats(min_value=0.0, allow_nan=False), st.floats(0.0, 1e300))
def test_a_pass_is_a_finite_number_within_the_limit(value: float, limit: float) -> None:
    report = replace(BOUND, upper=method(value), lower=None)
    [rule], verdict = judge(policy(upper=limit), [report])
    assert (verdict == "pass") == (math.isfinite(value) and value <= limit)
    assert (verdict == "inconclusive") == math.isinf(value)
    assert rule.measured is None or math.isfinite(rule.measured)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_rule_passes_on_a_number_that_is_none(value: float) -> None:
    samples = replace(LOCAL, samples=Samples("x", np.array([1.0, value])))
    assert judged(policy(local=(("p95", 1e308), ("max", 1e308))), samples)[1] == "inconclusive"


def test_a_radius_that_is_no_number_certifies_nothing() -> None:
    radii = Radii("x", np.array([1.0, math.nan]), np.array([True, True]), (1.0, 1.0), "m")
    assert judged(policy(certified=((0.1, 0.0),)), replace(CERTIFY, radii=radii))[1] == "inconclusive"


def test_an_infinite_bound_is_not_proven_but_an_attained_value_can_fail() -> None:
    assert judged(policy(upper=5.0), INFINITE) == ({"global": "inconclusive"}, "inconclusive")
    assert judged(policy(upper=5.0), replace(BOUND, upper=None))[1] == "inconclusive"
    [rule], verdict = judge(policy(upper=3.0), [INFINITE])
    assert (rule.result, rule.measured, verdict) == ("fail", 3.7989, "fail")
    assert "attained" in rule.detail
    assert judged(policy(ratio=100.0), INFINITE)[1] == "inconclusive"


def test_layers_by_limit_by_name_and_by_pattern() -> None:
    results, verdict = judged(policy(layer=8.0), BOUND)
    assert verdict == "pass"
    assert list(results) == ["layer:preprocess", "layer:/0/Gemm", "layer:/1/Relu", "layer:/2/Gemm"]
    assert judged(policy(layer=7.0), BOUND)[0]["layer:/0/Gemm"] == "fail"
    assert judged(policy(layer=7.0, layers=(("/0/*", 8.0),)), BOUND)[1] == "pass"
    assert judged(policy(layers=(("/*/Gemm", 5.0),)), BOUND) == (
        {"layer:/0/Gemm": "fail", "layer:/2/Gemm": "pass"},
        "fail",
    )
    assert judged(policy(layers=(("*", 1.0), ("/0/Gemm", 8.0), ("/2/Gemm", 8.0))), BOUND)[1] == "pass"
    assert judged(policy(layers=(("/3/Mul", 4.0),)), BOUND) == ({"layer:/2/Gemm": "fail"}, "fail")


def test_a_pattern_without_a_layer_is_not_a_pass() -> None:
    results, verdict = judged(policy(upper=5.0, layers=(("/9/*", 5.0),)), BOUND)
    assert (results["layer:/9/*"], verdict) == ("inconclusive", "inconclusive")
    assert judged(policy(layer=5.0), replace(BOUND, layers=()))[1] == "inconclusive"


def test_local_quantiles_are_called_numeric() -> None:
    rules, verdict = judge(policy(local=(("median", 2.0), ("p95", 2.95), ("max", 2.5))), [LOCAL])
    assert [rule.result for rule in rules] == ["pass", "pass", "fail"]
    assert verdict == "fail"
    assert all("numeric, of 101 samples" in rule.detail for rule in rules)


def test_certified_and_clean_accuracy() -> None:
    results, verdict = judged(policy(certified=((0.1, 0.9), (0.25, 0.76)), clean_accuracy=0.96), CERTIFY)
    assert results == {"certified@0.1": "pass", "certified@0.25": "fail", "clean": "pass"}
    assert verdict == "fail"


def test_what_is_missing_is_inconclusive() -> None:
    wanted = policy(local=(("max", 3.0),), certified=((0.1, 0.5),), clean_accuracy=0.5)
    rules, verdict = judge(replace(wanted, inputs=None), [BOUND])
    assert {rule.detail for rule in rules} == {"the policy gives no inputs"}
    assert verdict == "inconclusive"
    assert judge(replace(wanted, labels=None), [BOUND])[0][1].detail == "the policy gives no labels"
    none = np.zeros(0)
    empty = replace(CERTIFY, radii=Radii("x", none, none > 0, (1.0, 1.0), "m"))
    assert judged(wanted, replace(LOCAL, samples=Samples("x", none)), empty)[1] == "inconclusive"
    assert {rule.detail for rule in judge(wanted, [replace(LOCAL, samples=Samples("x", none)), empty])[0]} == {
        "there are no samples"
    }


def test_a_regression_has_no_clean_accuracy() -> None:
    radii = Radii("x", np.ones(3), np.ones(3, dtype=bool), (1.0, 1.0), "m", tolerance=0.5)
    assert judged(policy(clean_accuracy=0.5), replace(CERTIFY, radii=radii))[1] == "inconclusive"


BLOCKED = {
    "refused": REFUSED,
    "contradicted": replace(BOUND, findings=(Finding("LIP901", "product", "below a value that is attained"),)),
    "no parity": replace(BOUND, model=replace(MODEL, parity=None)),
    "parity nan": replace(BOUND, model=replace(MODEL, parity=Parity(4, math.nan, 1.0))),
    "parity off": replace(BOUND, model=replace(MODEL, parity=Parity(4, 2.0, 1.0))),
    "upper below lower": replace(BOUND, lower=attained(4.45)),
}


@pytest.mark.parametrize("name", BLOCKED)
def test_a_doubted_model_passes_and_fails_nothing(name: str) -> None:
    for limits in ({"upper": 5.0, "layer": 8.0}, {"upper": 1.0}):
        results, verdict = judged(policy(**limits), BLOCKED[name])
        assert set(results.values()) == {"inconclusive"}
        assert verdict == "inconclusive"


def test_undeclared_preprocessing_is_no_unit() -> None:
    rules, verdict = judge(replace(policy(upper=5.0), preprocess=None), [BOUND])
    assert verdict == "inconclusive"
    assert rules[0].detail.startswith("LIP203")


def test_one_audit_that_could_not_be_made_leaves_the_others() -> None:
    unproven = replace(LOCAL, samples=None, findings=(Finding("LIP202", "m", "a Sign has no Jacobian"),))
    results, verdict = judged(policy(upper=1.0, local=(("max", 3.0),)), BOUND, unproven)
    assert (results, verdict) == ({"global": "fail", "local.max": "inconclusive"}, "fail")
    assert judge(policy(local=(("max", 3.0),)), [BOUND, unproven])[0][0].detail == "a Sign has no Jacobian"


@given(st.lists(st.sampled_from(["pass", "fail", "inconclusive"])))
def test_the_verdict_over_rules(results: list[str]) -> None:
    rules = [RuleResult("r", "m", None, 1.0, result) for result in results]  # type: ignore[arg-type]
    verdict = verdict_of(rules)
    assert (verdict == "pass") == (bool(results) and set(results) == {"pass"})
    assert (verdict == "fail") == ("fail" in results)


def levelled(given: ModelPolicy, **levels: str) -> ModelPolicy:
    return replace(given, levels={RULES[name]: level for name, level in levels.items()})  # type: ignore[misc]


def test_a_level_turns_a_rule_down_or_off() -> None:
    wanted = policy(upper=1.0, ratio=2.0)
    [failed, _], verdict = judge(levelled(wanted, upper="warn"), [BOUND])
    assert (failed.result, failed.level, failed.decides, verdict) == ("fail", "warn", False, "pass")
    assert judged(levelled(wanted, upper="off"), BOUND) == ({"ratio": "pass"}, "pass")
    assert judged(levelled(wanted, upper="error"), BOUND)[1] == "fail"
    assert judged(levelled(wanted, upper="off", ratio="off"), BOUND)[1] == "inconclusive"


@pytest.mark.parametrize("name", BLOCKED)
def test_no_level_passes_what_is_not_proven(name: str) -> None:
    wanted = levelled(policy(upper=5.0), upper="warn")
    assert judged(wanted, BLOCKED[name])[1] == "inconclusive"
    assert judged(levelled(policy(upper=5.0), upper="warn"), INFINITE)[1] == "inconclusive"
    assert judged(replace(wanted, preprocess=None), BOUND)[1] == "inconclusive"


def test_layers_by_op_and_off() -> None:
    results, verdict = judged(policy(layer=1.0, layers=(("op:Gemm", 8.0), ("op:Div", None))), BOUND)
    assert results == {"layer:/0/Gemm": "pass", "layer:/1/Relu": "pass", "layer:/2/Gemm": "pass"}
    assert verdict == "pass"
    merged = replace(BOUND.layers[1], op="Div+Gemm")
    assert judged(policy(layers=(("op:Div", 1.0),)), replace(BOUND, layers=(merged,)))[1] == "fail"
    assert judged(policy(upper=5.0, layers=(("op:Conv", None),)), BOUND)[1] == "pass"
