"""The text and markdown reports: the bracket first, the verdict last, the layout within its width."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest

from lipaudit.render import reporters
from lipaudit.render.csv import CsvReporter
from lipaudit.render.html import HtmlReporter
from lipaudit.render.json import JsonReporter
from lipaudit.render.layouts import cells
from lipaudit.render.markdown import MarkdownReporter
from lipaudit.render.text import TextReporter
from lipaudit.report.report import Layer, Radii, Samples, Steepest
from tests.render.reports import (
    ALL,
    ATTACKED,
    BOUND,
    CERTIFIED,
    CERTIFY,
    GATE,
    INFINITE,
    LOCAL,
    REFUSED,
    REGIONS,
    attained,
    method,
    up,
)

BOUND_TEXT = """\
L is in [3.798, 4.447]   l2 -> l2, raw input units (0..16)   ratio 1.18

 model    digits.onnx
 sha256   abababababababab
 tensors  input [1, 64] float32 -> output [1, 10] float32
 region   inputs in [0, 16]
 parity   within 1.2e-6 of onnxruntime at 4 points

Per-layer gains (l2 -> l2)
 node        op    weight  gain <=  kind       share of log-product
 preprocess  Div   16       0.0625  certified
 /0/Gemm     Gemm  64->96   7.3212  certified  ████████▌        58%
 /1/Relu     Relu                1  certified
 /2/Gemm     Gemm  96->10   4.2001  certified  ██████▌          42%

Global Lipschitz constant
 bound         value  kind          time  method
 upper         5.248  certified   0.01 s  product of layer gains
 upper (best)  4.447  certified   0.01 s  ellipsoid recursion
 upper             -  declined   <0.01 s  semidefinite programme: a Softmax
                                          stands between two layers
 lower         3.798  attained     1.9 s  Jacobian ascent, witness kept

Assumptions
 - input input: the open axes batch are 1 (one sample)
"""


def first(report: object) -> str:
    return TextReporter().render(report).splitlines()[0]  # type: ignore[arg-type]


def test_the_whole_report_of_a_bound() -> None:
    assert TextReporter().render(BOUND) == BOUND_TEXT


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("width", [80, 120])
def test_lines_keep_the_width_and_have_no_blanks_at_the_end(name: str, width: int) -> None:
    lines = TextReporter(width).render(ALL[name]).splitlines()
    assert all(cells(line) <= width for line in lines[1:] if not line.startswith("L "))
    assert all(line == line.rstrip() for line in lines)
    assert "\x1b" not in "".join(lines)


def test_colour_and_surroundings_change_no_character() -> None:
    plain = TextReporter(80).render(GATE)
    with mock.patch.dict(os.environ, {"FORCE_COLOR": "1", "COLUMNS": "40", "TERM": "dumb"}):
        assert TextReporter(80).render(GATE) == plain
    with mock.patch.dict(os.environ, {"NO_COLOR": "1"}):
        assert "\x1b[" in TextReporter(80, color=True).render(GATE)


def test_no_finite_upper_bound_is_said_at_once() -> None:
    assert first(INFINITE).startswith("L >= 3.798   no finite upper bound: an op is only locally Lipschitz")
    assert first(replace(BOUND, upper=None)).startswith("L >= 3.798   no finite upper bound: every method declined")
    assert first(replace(BOUND, lower=None)).startswith("L <= 4.447   l2 -> l2")
    assert "inf" in TextReporter().render(INFINITE)
    assert "(best)" not in TextReporter().render(INFINITE)


def test_first_lines_of_the_others() -> None:
    assert first(LOCAL) == (
        "Jacobian norm at 101 samples: median 2, max 3 (numeric)   l2 -> l2, raw input units (0..16)"
    )
    assert first(CERTIFY).startswith("clean accuracy 96.0%, certified 90.0% at radius 0.1   l2")
    assert first(REFUSED) == "no bound: the model cannot be audited, for 2 reasons given below"
    assert first(replace(REFUSED, command="check", findings=())).startswith("can be audited")


def test_the_verdict_is_last_and_the_rules_stand_before_it() -> None:
    lines = TextReporter().render(GATE).splitlines()
    assert lines[-1] == "verdict: fail"
    rules = lines[lines.index("Rules") + 1 :]
    assert rules[1].split() == ["global", "4.447", "<=", "5", "pass"]
    assert rules[2].split() == ["layer:/0/Gemm", "7.322", "<=", "7", "fail"]
    assert rules[3].startswith(" certified@0.25         -  >= 0.9  inconclusive  the policy gives no inputs")


def test_a_failed_rule_never_prints_a_value_within_its_limit() -> None:
    rules = (
        replace(GATE.rules[0], measured=5.00001, result="fail"),
        replace(GATE.rules[2], measured=0.89999999, result="fail"),
    )
    shown = TextReporter().render(replace(GATE, rules=rules))
    assert "5.001  <= 5" in shown
    assert "0.8999  >= 0.9" in shown


def test_local_names_the_largest_sample_and_certify_counts_the_wrong_ones() -> None:
    assert " max          3  sample 100" in TextReporter().render(LOCAL)
    shown = TextReporter().render(CERTIFY)
    assert " ".join(shown.split()).count("misclassified 4 radius 0, counted apart") == 1
    assert "certified at 0.25 75.0% 75 of 100" in " ".join(shown.split())


def test_a_sample_is_named_by_its_place_among_those_given() -> None:
    few = replace(DRAWN, drawn=np.arange(101) * 7)
    assert TextReporter().render(few).count("sample 700") == 2
    assert "sample 100" not in TextReporter().render(few)
    assert "sample 700" in HtmlReporter().render(few)
    assert "\n700,3.0,3.25,4.0\n" in CsvReporter().render(few)
    assert json.loads(JsonReporter().render(few))["drawn"] == [7 * place for place in range(101)]


DRAWN = replace(
    REGIONS, samples=Samples("x", np.linspace(1.0, 3.0, 101), steepest=(Steepest(100, 3.0, np.zeros(3), np.ones(3)),))
)


def test_the_remedy_stands_once_a_code() -> None:
    shown = TextReporter().render(REFUSED)
    assert "LIP101 Einsum /e: no rule\nLIP101 NonZero /n: no rule\n" in shown
    assert shown.count("-> Export the model") == 1


def test_names_that_would_look_alike_are_told_apart() -> None:
    layers = tuple(
        Layer(f"/encoder/layer/{middle}/attention/Gemm", "Gemm", (), "1024->1024", up(3.0)) for middle in ("one", "two")
    )
    lines = TextReporter(60).render(replace(BOUND, layers=layers)).splitlines()
    start = lines.index("Per-layer gains (l2 -> l2)")
    assert lines[start + 2].split()[0] != lines[start + 3].split()[0]


def test_a_long_path_keeps_its_end_and_an_infinite_gain_leaves_the_room_of_the_bars() -> None:
    names = [f"/encoder/layers.{n}/attention/MatMul" for n in range(3)]
    layers = tuple(Layer(name, "MatMul+Add+Normalise+Div", (), "128->128 . 128->2048", up(3.0)) for name in names)
    narrow = TextReporter(80).render(replace(BOUND, layers=layers))
    assert all(f"{n}/attention/MatMul " in narrow for n in range(3))
    infinite = (*layers, Layer("/encoder/Exp", "Exp", (), "", up(float("inf"))))
    wide = TextReporter(80).render(replace(BOUND, layers=infinite))
    assert "share" not in wide
    assert "inf  no bound" in wide
    assert all(f"ayers.{n}/attention/MatMul " in wide for n in range(3))


def test_only_gains_above_one_share_and_an_infinite_one_leaves_no_shares() -> None:
    layers = (*BOUND.layers, Layer("/5/Exp", "Exp", (), "", up(float("inf"))))
    shown = TextReporter().render(replace(BOUND, layers=layers))
    assert "█" not in shown
    alone = TextReporter().render(replace(BOUND, layers=(Layer("n", "Gemm", (), "", up(0.5)),)))
    assert "%" not in alone


def test_nothing_is_taken_for_something() -> None:
    none = np.zeros(0)
    assert first(replace(LOCAL, samples=Samples("x", none))).startswith("no samples")
    assert first(replace(CERTIFY, radii=Radii("x", none, none > 0, (0.0, 0.0), "m"))).startswith("no samples")
    assert first(replace(BOUND, upper=method(4.0), lower=attained(0.0))).startswith("L is in [0, 4]")


def test_a_regression_has_a_tolerance_and_no_accuracy() -> None:
    radii = Radii("x", np.full(3, 0.625), np.ones(3, dtype=bool), (0.8, 0.8), "m", tolerance=0.5)
    shown = TextReporter().render(replace(CERTIFY, radii=radii, certified_at=(), findings=()))
    assert shown.startswith("no output moves further than 0.5 within 0.625 of 3 samples")
    assert "accuracy" not in shown
    assert "misclassified" not in shown


def test_verbose_says_more_and_never_less() -> None:
    brief, full = TextReporter().render(BOUND), TextReporter(verbose=True).render(BOUND)
    assert "/2/Gemm + /3/Mul" in TextReporter(120, verbose=True).render(BOUND)
    assert "ab" * 32 in full
    assert len(full) > len(brief)


@pytest.mark.parametrize("name", ALL)
def test_markdown_tables_are_tables(name: str) -> None:
    shown = MarkdownReporter().render(ALL[name])
    assert shown.endswith("\n")
    assert not shown.endswith("\n\n")
    for block in shown.split("\n\n"):
        rows = [line for line in block.splitlines() if line.startswith("|")]
        if rows:
            assert set(rows[1]) <= set("|-: ")
            assert len({row.count("|") for row in rows}) == 1


def test_markdown_first_and_last() -> None:
    shown = MarkdownReporter().render(GATE)
    assert shown.startswith(r"**L is in \[3.798, 4.447\]")
    assert shown.endswith("Verdict: **fail**\n")


def test_the_registry_knows_every_format() -> None:
    for name, reporter in reporters().items():
        assert reporter.name == name
        assert reporter.__doc__
        assert reporter().render(LOCAL).endswith("\n")


def test_an_attack_is_an_upper_end() -> None:
    shown = TextReporter(100).render(ATTACKED)
    assert "at most 92.0% by attack" in shown.splitlines()[0]
    assert "86 changed" in shown
    assert "80.0%" in shown
    assert "attack" not in TextReporter(100).render(replace(ATTACKED, radii=replace(CERTIFIED, attack=None)))
