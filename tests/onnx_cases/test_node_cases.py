"""ONNX's own node cases: every listed op agrees with the standard, or is refused for a reason that is listed here."""

from __future__ import annotations

import re

import pytest
from onnx import defs

from lipaudit.ops.registry import registry
from tests.onnx_cases.node_cases import NodeCase, answers, node_cases

REFUSED = {
    "BatchNormalization": "training mode",
    "Clip": "Less: its output is true or false|min .* is above max|depends on the input",
    "Dropout": "training mode",
    "ScatterElements": "reduction='(mul|max|min)' is not supported",
    "ScatterND": "reduction='(mul|max|min)' is not supported",
    "Slice": "is empty",
    "Shrink": "it jumps by|Less: its output is true or false",
    "ThresholdedRelu": "it jumps by|Less: its output is true or false",
}
"""Listed ops some of whose cases are refused, with the reason: an expansion by Less and Where that jumps, say."""

NEVER_CONTINUOUS = {"ThresholdedRelu"}
"""Listed ops that are continuous only with attributes that no node case has."""


def _outcome(case: NodeCase) -> tuple[str, str]:
    """('passed' | 'wrong' | 'refused', the reasons)."""
    found = list(answers(case))
    wrong = [str(answer) for answer in found if answer.difference is not None and not answer.difference <= 1.0]
    if wrong:
        return "wrong", f"{case.name}: {wrong[0]}"
    if any(answer.difference is not None for answer in found):
        return "passed", ""
    return "refused", " | ".join(answer.reason for answer in found)


@pytest.mark.parametrize("op", registry())
def test_listed_op_agrees_with_every_node_case(op: str) -> None:
    outcomes = [_outcome(case) for case in node_cases().get(op, []) if case.real_inputs]
    assert [why for kind, why in outcomes if kind == "wrong"] == []
    reasons = [why for kind, why in outcomes if kind == "refused"]
    allowed = REFUSED.get(op)
    assert [why for why in reasons if allowed is None or not re.search(allowed, why)] == []
    if outcomes and op not in NEVER_CONTINUOUS:
        assert any(kind == "passed" for kind, _ in outcomes)


@pytest.mark.parametrize("op", [op for op in node_cases() if op not in registry()])
def test_unlisted_op_is_refused_or_right_and_never_crashes(op: str) -> None:
    for case in node_cases()[op]:
        if case.real_inputs:
            kind, why = _outcome(case)
            assert kind != "wrong", why
            assert kind == "passed" or why or not list(answers(case)), f"{case.name} is refused without a reason"


OMITTED: dict[str, set[int]] = {}
"""Revisions that exist and are left out on purpose, by op."""


@pytest.mark.parametrize("op", registry())
def test_every_revision_that_onnx_knows_is_listed(op: str) -> None:
    known = {s.since_version for s in defs.get_all_schemas_with_history() if s.name == op and s.domain == ""}
    assert set(registry()[op].versions) == known - OMITTED.get(op, set())


@pytest.mark.parametrize("op", registry())
def test_no_attribute_is_named_that_onnx_does_not_know(op: str) -> None:
    schemas = [s for s in defs.get_all_schemas_with_history() if s.name == op and s.domain == ""]
    known = {name for schema in schemas for name in schema.attributes}
    assert set(registry()[op].attributes) <= known | {"consumed_inputs"}
    newest = max(schemas, key=lambda schema: schema.since_version)
    assert set(newest.attributes) <= set(registry()[op].attributes)
