"""The schemas describe what is really written and read: every command's JSON, every configuration of the tests."""

from __future__ import annotations

import copy
import json
import shutil
import tomllib
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from lipaudit.cli import main
from lipaudit.errors import UsageError
from lipaudit.gate.levels import RULES, SETTINGS
from lipaudit.gate.policy import KEYS, parse_policy
from lipaudit.render.json import document
from lipaudit.report.codes import CODES
from tests.gate.test_policy import FULL
from tests.render.reports import ALL

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "sample_models"
Captured = pytest.CaptureFixture[str]


def schema(name: str) -> dict[str, Any]:
    content = json.loads((files("lipaudit") / "schemas" / f"{name}.json").read_text())
    assert isinstance(content, dict)
    return content


def closed(node: Any) -> Any:
    """The schema with every listed set of keys made the only one: it says of a key that it is not described."""
    if isinstance(node, list):
        return [closed(entry) for entry in node]
    if not isinstance(node, dict):
        return node
    inside = {key: closed(value) for key, value in node.items()}
    return (
        {"additionalProperties": False, **inside} if "properties" in node and node.get("type") == "object" else inside
    )


REPORT = Draft202012Validator(closed(schema("report")))
CONFIG = Draft202012Validator(schema("config"))


def config(text: str) -> dict[str, Any]:
    """The TOML as JSON has it."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(entry) for key, entry in value.items()}
        if isinstance(value, list):
            return [plain(entry) for entry in value]
        return value.isoformat() if isinstance(value, date) else value

    content = plain(tomllib.loads(text))
    assert isinstance(content, dict)
    return content


@pytest.mark.parametrize("name", ["report", "config"])
def test_it_is_printed_and_is_a_schema(capsys: Captured, name: str) -> None:
    assert main(["schema", name]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == schema(name)
    Draft202012Validator.check_schema(shown)


@pytest.mark.parametrize("name", ALL)
def test_reports_made_by_hand(name: str) -> None:
    REPORT.validate(document(ALL[name]))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(SAMPLES / "digits_mlp.onnx", tmp_path)
    with np.load(SAMPLES / "digits_mlp.npz") as data:
        np.savez(tmp_path / "digits_mlp.npz", x=data["x"][:5], y=data["y"][:5])
    text = (SAMPLES / "demo.toml").read_text()
    (tmp_path / "lipaudit.toml").write_text(text.replace("[limits]", 'baseline = "b.toml"\n[limits]'))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", ["bound", "local", "certify", "gate", "check", "baseline write"])
@pytest.mark.usefixtures("folder")
def test_what_every_command_writes(capsys: Captured, command: str) -> None:
    main([*command.split(), "--output-format", "json"])
    content = json.loads(capsys.readouterr().out)
    assert content["command"] == command.split()[0]
    REPORT.validate(content)


def test_a_wrong_report_is_none() -> None:
    good = document(ALL["ratchet"])
    for change in ({"verdict": "passed"}, {"schema_version": "2"}, {"new_key": 1}, {"upper": 3.0}):
        assert not REPORT.is_valid({**copy.deepcopy(good), **change})


GOOD = [
    FULL,
    *(kind.example for kind in CODES.values() if kind.example.startswith(("[", "preprocess"))),
    (SAMPLES / "demo.toml").read_text(),
    "[[models]]\nmodel = 'a'\n[[models]]\nmodel = 'b'\nlimits = {ratio = 3}",
]


@pytest.mark.parametrize("text", GOOD)
def test_configurations_that_are_read(text: str) -> None:
    CONFIG.validate(config(text))


@pytest.mark.parametrize(
    "text",
    [
        "modle = 'm'",
        "norm = 'l3'",
        "domain = [0]",
        "preprocess = 'imagenet'",
        "preprocess = {}",
        "budget = 'soon'",
        "budget = 0",
        "precision = 0",
        "memory = 2",
        "memory = '2 TB'",
        "seed = -1",
        "[limits]\nuper = 3",
        "[limits]\nupper = -1",
        "[limits]\nupper = true",
        "[limits]\nratio = 0.5",
        "[limits.local]",
        "[limits.certified]\nradius = 1",
        "[rules]\nratio = 'of'",
        "[[waivers]]\nrule = 'clean'\nreason = 'r'",
        "[[models]]\nnorm = 'l1'",
    ],
)
def test_what_the_parser_refuses_the_schema_refuses(text: str) -> None:
    assert not CONFIG.is_valid(config(text))
    with pytest.raises(UsageError):
        parse_policy(tomllib.loads(text), Path(), "lipaudit.toml")


def test_the_keys_are_the_parsers() -> None:
    content = schema("config")
    assert set(content["properties"]) == {*KEYS, "models"}
    assert set(content["$defs"]["model"]["properties"]) == set(KEYS)
    rules = content["properties"]["rules"]["properties"]
    assert set(rules) == {*RULES, *RULES.values()}
    assert all(level == {"enum": list(SETTINGS)} for level in rules.values())
