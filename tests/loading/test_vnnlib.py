"""Input boxes of VNN-LIB files."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from lipaudit.errors import InvalidInput
from lipaudit.loading.vnnlib import read_vnnlib_box

DECLARED = "(declare-const X_0 Real)\n(declare-const X_1 Real)\n(declare-const Y_0 Real)\n"


def box(folder: Path, text: str) -> tuple[list[float], list[float]]:
    path = folder / "p.vnnlib"
    path.write_text(DECLARED + text, encoding="utf-8")
    lower, upper = read_vnnlib_box(path)
    return lower.tolist(), upper.tolist()


def test_a_plain_box(tmp_path: Path) -> None:
    text = """; a comment with (parentheses
    (assert (<= X_0 0.5)) (assert (>= X_0 -0.25))
    (assert (and (>= X_1 (- 2)) (<= X_1 4)))
    (assert (>= Y_0 3.99))"""
    assert box(tmp_path, text) == ([-0.25, -2.0], [0.5, 4.0])


def test_a_union_becomes_the_box_around_it(tmp_path: Path) -> None:
    text = """(assert (<= X_1 1)) (assert (>= X_1 0))
    (assert (or (and (<= X_0 1) (>= X_0 0)) (and (<= X_0 5) (>= X_0 4) (>= X_1 0.5))))"""
    assert box(tmp_path, text) == ([0.0, 0.0], [5.0, 1.0])


def test_decimals_are_rounded_outward(tmp_path: Path) -> None:
    lower, upper = box(tmp_path, "(assert (and (>= X_0 0.1) (<= X_0 0.3) (>= X_1 0.5) (<= X_1 0.5)))")
    assert Fraction(lower[0]) < Fraction(1, 10)
    assert Fraction(upper[0]) > Fraction(3, 10)
    assert (lower[1], upper[1]) == (0.5, 0.5)


def test_an_absurd_exponent_is_read_at_once(tmp_path: Path) -> None:
    lower, upper = box(tmp_path, "(assert (and (>= X_0 1e-999999999) (<= X_0 1) (>= X_1 0) (<= X_1 1)))")
    assert lower[0] <= 0.0
    assert upper[0] == 1.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("(assert (<= X_0 1)) (assert (>= X_0 0)) (assert (<= X_1 1))", "leaves X_1 without"),
        ("(assert (<= X_0 X_1))", "compares two inputs"),
        ("(assert (<= (+ X_0 X_1) 1))", "expression of inputs"),
        ("(assert (<= X_0 1)", "parenthesis open"),
        ("(assert (=> X_0 1))", "not understood"),
        ("(assert (<= X_0 nan))", "finite number"),
        ("(assert (and (<= X_0 0) (>= X_0 1) (<= X_1 0) (>= X_1 0)))", "allows no input"),
        ("(assert (or (<= X_0 1) (>= X_0 0)))", "leaves X_0 without"),
    ],
)
def test_what_is_no_box_is_said(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        box(tmp_path, text)
