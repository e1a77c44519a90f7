"""No name from a file steers a terminal, hides itself, or turns into markup."""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lipaudit.numerics.bound import UpperBound
from lipaudit.render.json import JsonReporter
from lipaudit.render.markdown import MarkdownReporter
from lipaudit.render.safe import safe
from lipaudit.render.text import TextReporter
from lipaudit.report.finding import Finding
from lipaudit.report.report import AuditReport, Layer, Method, RuleResult
from tests.render.reports import GATE, MODEL

HOSTILE = (
    "\x1b[2J\x1b]52;c;aGk=\x07",
    "[bold red]PASS[/x]",
    "a\u202egnp.exe",
    "line\nverdict: pass\r\nx",
    "::error file=x::owned",
    "\u2028\u2029\x85\x9b31m",
    "zero\u200bwidth\u2060\ufeff\U000e0041",
    "\ud800lone",
    "nul\x00del\x7f",
    "| a | `b` | \\| <img src=x onerror=alert(1)> @everyone #1 [x](http://e.vil) ![i](//e)",
    "](javascript:alert(1)) **bold** _it_ ~~s~~ www.evil.com <!-- -->",
    "x" * 5000,
    "字" * 200,
    "",
)
_BAD = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


@given(st.text(max_size=300) | st.sampled_from(HOSTILE), st.integers(12, 200))
def test_safe_is_one_visible_line(text: str, limit: int) -> None:
    shown = safe(text, limit)
    assert len(shown) <= limit
    assert not any(unicodedata.category(char) in _BAD for char in shown)
    shown.encode("utf-8")


def test_long_names_stay_different() -> None:
    one, other = "a" * 500 + "1" + "b" * 500, "a" * 500 + "2" + "b" * 500
    assert safe(one) != safe(other)
    assert re.fullmatch(r"a+…[0-9a-f]{8}…b+", safe(one))
    assert safe("/0/Gemm") == "/0/Gemm"


def hostile(text: str) -> AuditReport:
    """A report in which every text of a stranger is the given one."""
    return replace(
        GATE,
        model=replace(MODEL, path=text, inputs=(replace(MODEL.inputs[0], name=text),)),
        problem=replace(GATE.problem, function=text),
        layers=(Layer(text, text, (text,), text, UpperBound(2.0, "e")),),
        methods=(Method("m", text, 0.0, None, text), *GATE.methods),
        rules=(RuleResult(f"layer:{text}", text, 1.0, 2.0, "fail", text),),
        findings=(Finding("LIP101", text, text, text),),
        assumptions=(text,),
    )


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("width", [60, 80, 120])
def test_text_survives_no_hostile_name(text: str, width: int) -> None:
    shown = TextReporter(width).render(hostile(text))
    assert not any(unicodedata.category(char) in _BAD for char in shown.replace("\n", ""))
    lines = shown.splitlines()
    assert lines[-1] == "verdict: fail"
    assert sum(line.startswith("verdict:") for line in lines) == 1
    assert not any(line.startswith(("::", "##", "[")) for line in lines)
    colored = TextReporter(width, color=True).render(hostile(text))
    plain = re.sub(r"\x1b\[[0-9;]*m", "", colored)
    assert [line.rstrip() for line in plain.splitlines()] == lines


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_markdown_keeps_strangers_in_code_spans(text: str) -> None:
    shown = MarkdownReporter().render(hostile(text))
    assert not any(unicodedata.category(char) in _BAD for char in shown.replace("\n", ""))
    outside = re.sub(r"`[^`\n]*`", "CODE", shown)
    for active in ("<img", "<!--", "@everyone", "#1", "](", "www.", "javascript", "**bold**", "~~"):
        assert active not in outside
    assert "`" not in outside
    for block in shown.split("\n\n"):
        rows = [line for line in block.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in rows}) <= 1


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_json_is_ascii_and_exact(text: str) -> None:
    shown = JsonReporter().render(hostile(text))
    assert all(char == "\n" or " " <= char <= "~" for char in shown)
    assert json.loads(shown)["layers"][0]["node"] == text
