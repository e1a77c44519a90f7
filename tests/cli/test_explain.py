"""Every code and word is explained: what, why, what to do, and an example that is right."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from lipaudit.cli import main
from lipaudit.cli.glossary import GLOSSARY
from lipaudit.gate.levels import RULES
from lipaudit.gate.policy import parse_policy
from lipaudit.report.codes import CODES

Captured = pytest.CaptureFixture[str]


def test_all_are_listed(capsys: Captured) -> None:
    assert main(["explain"]) == 0
    out = capsys.readouterr().out
    assert all(code in out and kind.title in out for code, kind in CODES.items())
    assert all(word in out for word in GLOSSARY)


@pytest.mark.parametrize("code", CODES)
def test_a_code(capsys: Captured, code: str) -> None:
    assert main(["explain", code.lower()]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{code} ")
    parts = [out.index(start) for start in ("What: ", "Why: ", "What to do: ", "Example:\n")]
    assert parts == sorted(parts)
    assert all(len(line) <= 100 for line in out.splitlines())
    kind = CODES[code]
    for text in (kind.meaning, kind.why, kind.remedy):
        assert text.endswith(".")
        assert "\n" not in text


@pytest.mark.parametrize("code", CODES)
def test_an_example_is_a_command_or_a_policy(code: str) -> None:
    example = CODES[code].example
    if not example.startswith(("[", "preprocess")):
        assert example.startswith(("lipaudit ", "torch.onnx.export("))
        return
    policy = parse_policy({"model": "m.onnx", **tomllib.loads(example)}, Path(), "example")
    assert policy.models


@pytest.mark.parametrize("word", GLOSSARY)
def test_a_word(capsys: Captured, word: str) -> None:
    assert main(["explain", word.upper()]) == 0
    assert capsys.readouterr().out.startswith(f"{word}\n")


def test_an_unknown_word_is_told_the_nearest(capsys: Captured) -> None:
    assert main(["explain", "LIP103x"]) == 2
    assert "did you mean 'lip103'?" in capsys.readouterr().err


def test_every_rule_has_a_code_of_its_own() -> None:
    assert len(set(RULES.values())) == len(RULES)
    assert set(RULES.values()) <= set(CODES)
