"""A waiver excuses a measured failure until its day, and nothing else; every one is told."""

from __future__ import annotations

from datetime import date
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lipaudit.gate.verdict import verdict_of
from lipaudit.gate.waivers import excused, without_use
from lipaudit.report.rule import Result, RuleResult, Waiver

DAY = date(2026, 6, 15)


def rule(result: str, name: str = "layer:/0/Gemm", subject: str = "models/a.onnx") -> RuleResult:
    return RuleResult(name, subject, 2.0, 1.0, result, code="LIP003")  # type: ignore[arg-type]


def waiver(pattern: str = "layer:/0/*", expires: str = "2026-06-15", model: str = "*") -> Waiver:
    return Waiver(pattern, "because", expires, model)


@pytest.mark.parametrize("pattern", ["layer:/0/Gemm", "layer:*", "LIP003", "*"])
def test_a_failure_is_excused_up_to_and_with_the_last_day(pattern: str) -> None:
    [judged] = excused([rule("fail")], [waiver(pattern)], DAY)
    assert judged.result == "fail"
    assert judged.waiver == waiver(pattern)
    assert verdict_of([judged]) == "pass"
    assert without_use([waiver(pattern)], [judged], DAY) == ()


@pytest.mark.parametrize("pattern", ["layer:/1/*", "LIP001", "global", "layer:/0"])
def test_another_rule_is_not(pattern: str) -> None:
    [judged] = excused([rule("fail")], [waiver(pattern)], DAY)
    assert verdict_of([judged]) == "fail"
    [told] = without_use([waiver(pattern)], [judged], DAY)
    assert (told.code, told.subject) == ("LIP022", pattern)


@pytest.mark.parametrize(
    ("model", "meant"),
    [("*", True), ("a.onnx", True), ("models/*.onnx", True), ("models/a.onnx", True), ("b.onnx", False), ("a", False)],
)
def test_a_waiver_of_one_model(model: str, meant: bool) -> None:
    assert (verdict_of(excused([rule("fail")], [waiver(model=model)], DAY)) == "pass") == meant


def test_an_expired_waiver_excuses_nothing_and_fails_by_itself() -> None:
    old = waiver(expires="2026-06-14")
    judged = excused([rule("pass")], [old], DAY)
    assert [r.result for r in judged] == ["pass", "fail"]
    assert (judged[1].code, judged[1].id, judged[1].measured) == ("LIP021", "waiver:layer:/0/*", 1.0)
    assert verdict_of(judged) == "fail"
    assert verdict_of(excused([rule("fail")], [old], DAY)) == "fail"
    assert len(excused([rule("pass")], [waiver(expires="2026-06-14", model="b.onnx")], DAY)) == 1


@given(
    st.lists(st.sampled_from(get_args(Result)), min_size=1),
    st.lists(st.sampled_from(["*", "layer:/0/*", "LIP003"]), max_size=3),
)
def test_no_waiver_makes_what_is_inconclusive_pass(results: list[str], patterns: list[str]) -> None:
    judged = excused([rule(result) for result in results], [waiver(p) for p in patterns], DAY)
    assert (verdict_of(judged) == "pass") == (
        "inconclusive" not in results and ("fail" not in results or bool(patterns))
    )
    assert [r.result for r in judged] == results
    assert all((r.waiver is not None) == (r.result == "fail" and bool(patterns)) for r in judged)
