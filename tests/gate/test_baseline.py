"""The baseline: its file, its outward rounding, and limits that are relative to it."""

from __future__ import annotations

import math
import tomllib
from dataclasses import replace
from datetime import date
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lipaudit.errors import InvalidInput
from lipaudit.gate.baseline import Baseline, Entry, baseline_toml, outward, parse_baseline, relative_name, updated
from lipaudit.gate.limits import Limits, Relative
from lipaudit.gate.policy import ModelPolicy, Preprocessing
from lipaudit.gate.ratchet import Record, compare, measured, new_entry, settings_of
from lipaudit.gate.verdict import judge
from lipaudit.report.report import AuditReport
from tests.render.reports import BOUND, CERTIFY, INFINITE, LOCAL, method

DAY = date(2026, 6, 15)
ALL = (BOUND, LOCAL, CERTIFY)
RULES = st.sampled_from(["global", "ratio", "layer:/0", "local.max", "lower", "clean", "certified@0.5"])


def settings(report: AuditReport = BOUND, **files: str) -> dict[str, str]:
    return settings_of(report, files, {})


def record(*reports: AuditReport, now: dict[str, str] | None = None) -> Record:
    return Record(new_entry("m.onnx", reports, settings(), "0.1", DAY), "b.toml", now or settings())


def policy(**limits: object) -> ModelPolicy:
    none = Preprocessing((0.0,), (1.0,), "none")
    wanted = Limits(**limits)  # type: ignore[arg-type]
    return ModelPolicy(Path("m.onnx"), preprocess=none, inputs="v:x", labels="v:y", limits=wanted)


def results(given: ModelPolicy, held: Record | None, *reports: AuditReport) -> tuple[dict[str, str], str]:
    rules, verdict = judge(given, reports, held, DAY)
    return {rule.id: rule.result for rule in rules}, verdict


@given(RULES, st.floats(min_value=0.0, allow_nan=False, allow_infinity=False))
def test_a_record_is_rounded_outward(rule: str, value: float) -> None:
    kept = outward(rule, value)
    smaller = rule in ("lower", "clean") or rule.startswith("certified@")
    exact, found = Fraction(value), Fraction(kept) if math.isfinite(kept) else None  # both float64, compared exactly
    if found is None:
        assert not smaller
        return
    assert found <= exact if smaller else found >= exact
    assert abs(found - exact) <= Fraction(1, 99_999) * exact or value < 1e-300


NAMES = st.text(min_size=1, max_size=20)


@given(NAMES, st.dictionaries(NAMES, st.floats(0.0, 1e300)), st.dictionaries(NAMES, NAMES))
def test_the_file_reads_back_whatever_the_names(model: str, values: dict[str, float], said: dict[str, str]) -> None:
    entry = Entry(model, "ab", DAY, "0.1", said, values)
    text = baseline_toml(Baseline("b", (entry,)))
    assert parse_baseline(tomllib.loads(text), "b") == Baseline("b", (entry,))
    assert all(char.isprintable() or char == "\n" for char in text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no baseline of schema 1"),
        ("schema = 2", "is no baseline of schema 1"),
        ("schema = 1\nmodel = 'm'", "unknown key 'model'; did you mean 'models'?"),
        ("schema = 1\n[[models]]\nmodel = 'm'", "belong to every record"),
        ("schema = 1\n[[models]]\nmodel='m'\nsha256='a'\nrecorded=2026-01-01\nvalues={global=nan}", "finite numbers"),
        ("schema = 1\n[[models]]\nmodel='m'\nsha256='a'\nrecorded=2026-01-01\nvalues={global=-1}", "finite numbers"),
    ],
)
def test_what_is_no_baseline(text: str, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_baseline(tomllib.loads(text), "b.toml")
    assert said in str(caught.value)
    assert "b.toml" in str(caught.value)


def test_records_of_other_models_are_kept() -> None:
    one, two = Entry("a", "1", DAY, ""), Entry("b", "2", DAY, "")
    new = replace(two, sha256="3")
    assert updated(Baseline("f", (one, two)), [new], "f").entries == (one, new)
    assert updated(None, [two, one], "f").entries == (one, two)


def test_a_model_is_named_from_the_baselines_folder(tmp_path: Path) -> None:
    assert relative_name(tmp_path / "models" / "a.onnx", tmp_path / "b.toml") == "models/a.onnx"
    assert relative_name(tmp_path / "a.onnx", tmp_path / "ci" / "b.toml") == "../a.onnx"


def test_everything_finite_is_recorded_under_the_rules_ids() -> None:
    found = measured(ALL)
    assert found["global"] == 4.4466
    assert found["lower"] == 3.7989
    assert found["layer:/0/Gemm"] == 7.32119
    assert set(found) >= {"ratio", "local.p95", "certified@0.1", "certified@0.25", "clean"}
    assert "global" not in measured([INFINITE])


def test_the_same_is_a_pass_and_worse_a_failure() -> None:
    wanted = policy(upper=Relative(1.0), layer=Relative(1.0), local=(("p95", Relative(1.0)),))
    wanted = replace(wanted, limits=replace(wanted.limits, certified=((0.1, Relative(1.0)),)))
    assert results(wanted, record(*ALL), *ALL)[1] == "pass"
    worse = replace(BOUND, upper=method(4.5))
    found, verdict = results(wanted, record(*ALL), worse, LOCAL, CERTIFY)
    assert (found["global"], verdict) == ("fail", "fail")
    assert results(policy(upper=Relative(1.05)), record(*ALL), worse)[1] == "pass"
    [rule], _ = judge(policy(upper=Relative(1.05)), [worse], record(*ALL), DAY)
    assert (rule.recorded, rule.limit) == (4.44661, 4.6689405)


def test_an_improvement_that_is_not_recorded_is_told() -> None:
    better = replace(BOUND, upper=method(4.0), lower=None)
    wanted = policy(upper=Relative(1.0))
    found, verdict = results(wanted, record(*ALL), better)
    assert (found, verdict) == ({"global": "pass", "recorded:global": "fail"}, "pass")
    strict = replace(wanted, levels={"LIP011": "error"})
    assert results(strict, record(*ALL), better)[1] == "fail"
    assert results(replace(wanted, levels={"LIP011": "off"}), record(*ALL), better) == ({"global": "pass"}, "pass")
    hardly = replace(BOUND, upper=method(4.4466 * 0.9995))
    assert results(strict, record(*ALL), hardly)[1] == "pass"


def test_a_limit_relative_to_nothing_is_inconclusive() -> None:
    wanted = policy(upper=Relative(1.0))
    assert results(wanted, None, BOUND)[1] == "inconclusive"
    assert results(wanted, record(INFINITE), BOUND)[1] == "inconclusive"
    [rule], _ = judge(wanted, [BOUND], record(INFINITE), DAY)
    assert rule.detail == "LIP012 the baseline records no global of m.onnx"


@pytest.mark.parametrize("key", ["norm", "region", "units", "domain_sha256"])
def test_other_settings_are_not_comparable(key: str) -> None:
    held = record(*ALL, now={**settings(), key: "another"})
    [rule], verdict = judge(policy(upper=Relative(100.0)), [BOUND], held, DAY)
    assert verdict == "inconclusive"
    assert "other settings" in rule.detail
    assert key.replace("_", " ") in rule.detail
    assert compare(held, ALL).differences


def test_other_data_only_concerns_the_samples() -> None:
    held = record(*ALL, now=settings(inputs="another"))
    assert results(policy(upper=Relative(1.0)), held, BOUND)[1] == "pass"
    assert results(policy(local=(("max", Relative(2.0)),)), held, LOCAL)[1] == "inconclusive"


def test_the_comparison_lists_what_was_audited() -> None:
    held = record(*ALL)
    now = replace(BOUND, upper=method(4.5), layers=BOUND.layers[1:])
    trends = {change.id: change.trend for change in compare(held, [now]).changes}
    assert trends["global"] == "worse"
    assert trends["lower"] == "same"
    assert trends["layer:preprocess"] == "gone"
    assert "local.max" not in trends
    assert compare(held, [now]).same_model


def test_a_candidate_is_held_against_the_only_record() -> None:
    one, two = Entry("a", "1", DAY, ""), Entry("b", "2", DAY, "")
    assert Baseline("f", (one,)).of("candidate") == one
    assert Baseline("f", (one, two)).of("candidate") is None
    assert Baseline("f", (one, two)).of("b") == two
