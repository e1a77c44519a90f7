"""JUnit, SARIF, GitHub annotations, CSV and JSON Lines, each read by a reader of its own."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import junitparser
import numpy as np
import pytest
import sarif_pydantic

from lipaudit.cli.output import exit_code
from lipaudit.render.csv import CsvReporter
from lipaudit.render.github import GithubReporter
from lipaudit.render.jsonl import JsonlReporter
from lipaudit.render.junit import JunitReporter
from lipaudit.render.sarif import SarifReporter
from lipaudit.report.finding import Finding
from lipaudit.report.report import AffineModulus, AuditReport, Samples
from tests.render.reports import ALL, ATTACKED, BOUND, CERTIFY, GATE, GROUP, INFINITE, LOCAL, MODULUS, REFUSED, up

OUTCOMES = {
    **ALL,
    "infinite modulus": replace(MODULUS, modulus=AffineModulus(up(math.inf), up(1.0), ())),
    "nothing bounded": replace(BOUND, upper=None),
    "contradicted": replace(BOUND, findings=(Finding("LIP901", "product", "contradicted"),)),
    "passed": replace(GATE, verdict="pass", rules=GATE.rules[:1]),
    "no rules": replace(GATE, verdict="inconclusive", rules=()),
    "no verdict": replace(GATE, verdict=None, rules=GATE.rules[:1]),
    "checked": replace(REFUSED, command="check", findings=()),
    "contradicted gate": replace(GATE, verdict="pass", rules=GATE.rules[:1], findings=(Finding("LIP901", "p", "c"),)),
}
"""Every way an audit can end."""


def parsed(report: AuditReport) -> list[Any]:
    return list(junitparser.JUnitXml.fromstring(JunitReporter().render(report).encode()))


@pytest.mark.parametrize("name", OUTCOMES)
def test_no_tool_takes_for_a_success_what_is_none(name: str) -> None:
    report = OUTCOMES[name]
    clean = exit_code(report) == 0
    assert all(suite.failures == suite.errors == 0 for suite in parsed(report)) == clean
    results = json.loads(SarifReporter().render(report))["runs"][0]["results"]
    assert all(result["level"] != "error" for result in results) == clean
    assert any(line.startswith("::error ") for line in GithubReporter().render(report).splitlines()) != clean


@pytest.mark.parametrize("name", OUTCOMES)
def test_junit_counts_what_it_holds(name: str) -> None:
    report = OUTCOMES[name]
    suites = parsed(report)
    assert len(suites) == max(1, len(report.parts))
    for suite in suites:
        cases = list(suite)
        assert suite.tests == len(cases)
        assert suite.failures == sum(isinstance(r, junitparser.Failure) for case in cases for r in case.result)
        assert suite.errors == sum(isinstance(r, junitparser.Error) for case in cases for r in case.result)
        assert len({case.name for case in cases}) == len(cases)
    text = JunitReporter().render(report)
    assert text.startswith('<?xml version="1.0" encoding="UTF-8"?>\n<testsuites name="lipaudit" tests=')
    assert not re.search(r"\b(nan|inf)\b", text) or name == "infinite"


_ALLOWED = {
    "testsuites": ({"testsuite"}, {"name", "tests", "failures", "errors", "skipped", "time"}),
    "testsuite": ({"properties", "testcase", "system-out"}, {"name", "tests", "failures", "errors", "skipped", "time"}),
    "properties": ({"property"}, set()),
    "property": (set(), {"name", "value"}),
    "testcase": ({"failure", "error", "system-out"}, {"classname", "name", "time"}),
    "failure": (set(), {"type", "message"}),
    "error": (set(), {"type", "message"}),
    "system-out": (set(), set()),
}
"""What the schemas of the CI servers know (each has its own; this much they share): children, attributes."""


@pytest.mark.parametrize("name", OUTCOMES)
def test_junit_has_only_what_every_reader_knows(name: str) -> None:
    for element in ElementTree.fromstring(JunitReporter().render(OUTCOMES[name])).iter():
        children, attributes = _ALLOWED[element.tag]
        assert {child.tag for child in element} <= children
        assert set(element.attrib) == attributes


def test_junit_of_a_gate() -> None:
    [suite] = parsed(GATE)
    results = {case.name: [type(result).__name__ for result in case.result] for case in suite}
    assert results == {"audit": [], "global": [], "layer:/0/Gemm": ["Failure"], "certified@0.25": ["Error"]}
    [failure] = next(case for case in suite if case.name == "layer:/0/Gemm").result
    assert failure.message == "7.322 is not <= 7"
    assert {prop.name: prop.value for prop in suite.properties()}["sha256"] == "ab" * 32


@pytest.mark.parametrize("name", OUTCOMES)
def test_sarif_is_what_its_model_says(name: str) -> None:
    text = SarifReporter().render(OUTCOMES[name])
    assert text.isascii()
    content = json.loads(text, parse_constant=lambda word: pytest.fail(word))
    log = sarif_pydantic.Sarif.model_validate(content)
    [run] = log.runs
    assert run.results is not None
    rules = run.tool.driver.rules or []
    for result, raw in zip(run.results, content["runs"][0]["results"], strict=True):
        assert result.rule_id == rules[raw["ruleIndex"]].id
        assert result.message.text
        assert result.locations
        assert " " not in raw["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]


def test_sarif_names_the_node_and_the_hash() -> None:
    [run] = json.loads(SarifReporter().render(replace(REFUSED, model=BOUND.model)))["runs"]
    assert [r["locations"][0]["logicalLocations"][0]["fullyQualifiedName"] for r in run["results"]] == [
        "Einsum /e",
        "NonZero /n",
    ]
    assert run["artifacts"][0]["hashes"] == {"sha-256": "ab" * 32}
    assert run["invocations"] == [{"executionSuccessful": False}]
    absolute = SarifReporter().render(replace(REFUSED, model=replace(BOUND.model, path="/a b/m#1?.onnx")))
    assert '"uri": "file:///a%20b/m%231%3F.onnx"' in absolute


def test_github_names_the_worst_first() -> None:
    lines = GithubReporter().render(GROUP).splitlines()
    kinds = [line.split(" ")[0] for line in lines]
    assert kinds == ["::notice"] * 2 + ["::error"] * 4
    assert lines[0].startswith("::notice file=digits.onnx,title=lipaudit::verdict fail: L is in [3.798, 4.447]")
    assert lines[4].startswith("::error file=bad.onnx,title=LIP101 unsupported op::Einsum /e: no rule. Export")
    assert "::warning file=digits.onnx,title=LIP110 no finite bound::Softmax /4" in GithubReporter().render(INFINITE)


def read(report: AuditReport) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(CsvReporter().render(report))))


def test_csv_and_json_lines_hold_the_same_exact_numbers() -> None:
    for report, names in (
        (LOCAL, ["index", "norm"]),
        (CERTIFY, ["index", "radius", "correct"]),
        (ATTACKED, ["index", "radius", "correct", "attacked", "answer"]),
    ):
        rows = read(report)
        objects = [json.loads(line) for line in JsonlReporter().render(report).splitlines()]
        assert len(rows) == len(objects) == 100 + (report is LOCAL)
        for number, (row, entry) in enumerate(zip(rows, objects, strict=True)):
            assert list(row) == list(entry) == names
            assert int(row["index"]) == entry["index"] == number
            for key in set(names) - {"index", "correct"}:
                value = float(row[key])
                assert entry[key] == value if math.isfinite(value) else entry[key] is None
            if "correct" in row:
                assert {"0": False, "1": True}[row["correct"]] is entry["correct"]
    assert CERTIFY.radii is not None
    labelled = replace(CERTIFY, radii=replace(CERTIFY.radii, labels=np.arange(100)))
    assert CsvReporter().render(labelled).startswith("index,label,radius,correct\n0,0,0.0,0\n")


def test_a_gate_has_a_row_a_sample_and_names_the_model_where_there_are_several() -> None:
    one = replace(GATE, samples=Samples("x", np.array([1.0, 2.0])), radii=CERTIFY.radii)
    rows = read(one)
    assert len(rows) == 100
    assert (rows[0]["norm"], rows[2]["norm"]) == ("1.0", "")
    both = replace(GROUP, parts=(one, replace(LOCAL, command="gate")))
    rows = read(both)
    assert [row["model"] for row in rows[:1] + rows[-1:]] == ["digits.onnx", "digits.onnx"]
    assert rows[100]["index"] == "0"
    assert rows[100]["radius"] == ""
    assert CsvReporter().render(REFUSED) == "index\n"
    assert JsonlReporter().render(REFUSED) == ""


def test_what_is_not_finite_is_null_in_json_lines() -> None:
    broken = replace(LOCAL, samples=Samples("x", np.array([math.nan, math.inf, 1e-320])))
    assert [json.loads(line)["norm"] for line in JsonlReporter().render(broken).splitlines()] == [None, None, 1e-320]
    assert [row["norm"] for row in read(broken)] == ["nan", "inf", "1e-320"]
