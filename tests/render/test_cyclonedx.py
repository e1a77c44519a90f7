"""The ML-BOM is valid by CycloneDX's own strict schema, whatever the names, and its intervals hold the truth."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from lipaudit.render.cyclonedx import CyclonedxReporter
from lipaudit.report.report import AuditReport
from tests.render.reports import ALL, BOUND, CERTIFY, INFINITE

VALIDATOR = JsonStrictValidator(SchemaVersion.V1_6)


def bom(report: AuditReport) -> dict[str, Any]:
    text = CyclonedxReporter().render(report)
    assert text.isascii()
    assert text.endswith("}\n")
    assert VALIDATOR.validate_str(text) is None
    content = json.loads(text)
    assert isinstance(content, dict)
    return content


def metrics(report: AuditReport) -> list[dict[str, Any]]:
    [component] = bom(report)["components"]
    found = component["modelCard"].get("quantitativeAnalysis", {}).get("performanceMetrics", [])
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize("name", ALL)
def test_every_report_is_valid_and_the_same_twice(name: str) -> None:
    content = bom(ALL[name])
    assert content == bom(ALL[name])
    assert len(content["components"]) == len(ALL[name].parts or (1,))
    assert {component["type"] for component in content["components"]} == {"machine-learning-model"}


def test_the_interval_is_the_bracket_rounded_outward() -> None:
    [metric] = metrics(BOUND)
    interval = metric["confidenceInterval"]
    assert Decimal(interval["lowerBound"]) <= Decimal.from_float(3.7989)
    assert Decimal(interval["upperBound"]) >= Decimal.from_float(4.4466)
    assert metric["value"] == interval["upperBound"]
    [open_above] = metrics(INFINITE)
    assert "value" not in open_above
    assert set(open_above["confidenceInterval"]) == {"lowerBound"}


def test_a_certified_accuracy_is_a_lower_end() -> None:
    clean, *certified = metrics(CERTIFY)
    assert clean["value"] == "0.96"
    for metric in certified:
        interval = metric["confidenceInterval"]
        assert metric["value"] == interval["lowerBound"]
        assert float(interval["lowerBound"]) <= float(interval["upperBound"]) <= 0.96


@pytest.mark.parametrize("name", ["\x1b[31m", "\u202e", "\ud800", '"}', "\x00", "a" * 5000])
def test_hostile_names(name: str) -> None:
    layers = (replace(BOUND.layers[0], node=name),)
    report = replace(BOUND, layers=layers, model=replace(BOUND.model, path=name), assumptions=(name,))
    assert len(bom(report)["components"]) == 1
