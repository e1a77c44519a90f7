"""In every format: no upper bound is printed below itself, no lower bound and no radius above itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from lipaudit.render import numbers, reporters
from lipaudit.render.text import TextReporter
from lipaudit.report.baseline import Change, Comparison
from lipaudit.report.report import Attack, AuditReport, Layer, Radii, Regions
from lipaudit.report.rule import RuleResult
from tests.render.reports import GATE, attained, method, up

UPPER, LOWER = 1, -1
MACHINES = ("json", "jsonl", "csv", "sarif", "cyclonedx")
_NUMBER = re.compile(r"(?<![\w.])[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?(?![\w.]*[a-z])")
MANTISSA = st.floats(1.0, 9.9)


def report(m: list[float]) -> tuple[AuditReport, list[tuple[float, int]]]:
    """A report whose numbers are of different sizes each, and what they are, each with the way it may be rounded."""
    best, loose, low = m[0] * 1e9, 10.0 * m[1] * 1e9, m[2] * 1e5
    gains = [m[3] * 1e12, m[4] * 1e14]
    around = np.sort(np.array([m[5] * 1e16, m[6] * 1e18, m[7] * 1e20]))
    inside = around / np.array([2e3, 3e5, 5e7])
    radii = np.sort(np.array([m[8] * 1e-9, m[9] * 1e-12, m[10] * 1e-15]))
    reached = radii * 31.6
    everyone = np.ones(3, dtype=bool)
    attack = Attack("walk", reached, np.full(3, 7), np.zeros((3, 2)), everyone)
    made = replace(
        GATE,
        layers=tuple(Layer(f"n{n}", "Gemm", (), "", up(gain)) for n, gain in enumerate(gains)),
        methods=(method(loose), method(best, "best", "best")),
        upper=method(best, "best", "best"),
        lower=attained(low),
        regions=Regions("x", 0.5, around, ("m",), np.zeros(3, dtype=np.int64), inside),
        radii=Radii("x", radii, everyone, (3.0, 4.0), "m", attack=attack),
        rules=(
            RuleResult("global", "digits.onnx", best, 1.0, "fail"),
            RuleResult("layer:n0", "digits.onnx", gains[0], 1.0, "fail"),
        ),
        baseline=Comparison(
            "b.toml", "digits.onnx", "cd", "2026-11-01", True, (), (Change("global", None, best, "new"),)
        ),
    )
    said = [(best, UPPER), (loose, UPPER), (low, LOWER), (best / low, UPPER)]
    said += [(gain, UPPER) for gain in gains] + [(float(value), UPPER) for value in around]
    said += [(float(value), LOWER) for value in inside] + [(ratio, UPPER) for ratio in (3e5, 5e7)]
    return made, said + [(float(v), LOWER) for v in radii] + [(float(v), UPPER) for v in reached]


class Words(HTMLParser):
    """The text of a page, without its style and its figures."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.hidden = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.hidden += tag in ("style", "svg")

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag in ("style", "svg")

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.found.append(data)


def shown(made: AuditReport) -> Iterator[tuple[str, str]]:
    for name, reporter in reporters().items():
        text = reporter().render(made)
        yield name, " ".join(Words(text).found) if name == "html" else text
    yield "verbose text", TextReporter(120, verbose=True).render(made)


def wrong(made: AuditReport, said: list[tuple[float, int]]) -> list[str]:
    """Every printed number that is near one of these and on its wrong side."""
    found = []
    for name, text in shown(made):
        printed = [Decimal(token) for token in _NUMBER.findall(text)]
        for value, way in said:
            exact = Decimal(value)
            near = [number for number in printed if abs(number - exact) <= exact / 200]
            if name in MACHINES:  # shortest decimals, that read back to the float
                near = [number for number in near if float(number) != value]
            found += [f"{name}: {number} for {value!r}" for number in near if way * (number - exact) < 0]
    return found


@settings(max_examples=4, phases=[Phase.generate])
@given(st.lists(MANTISSA, min_size=11, max_size=11))
def test_every_number_is_rounded_the_way_its_meaning_asks(mantissas: list[float]) -> None:
    assert wrong(*report(mantissas)) == []


def test_every_format_prints_them() -> None:
    made, said = report([1.23456789] * 11)
    for name, text in shown(made):
        printed = [Decimal(token) for token in _NUMBER.findall(text)]
        near = [value for value, _ in said if any(abs(n - Decimal(value)) <= Decimal(value) / 200 for n in printed)]
        assert near or name == "github", name


@pytest.mark.parametrize("name", ["upper", "lower"])
def test_rounding_to_nearest_would_be_seen(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    mantissa = 1.23449 if name == "upper" else 1.23451
    made, said = report([mantissa] * 11)
    assert wrong(made, said) == []
    monkeypatch.setattr(numbers, name, numbers.nearest)
    formats = {entry.partition(":")[0] for entry in wrong(made, said)}
    assert formats >= {"text", "markdown", "html", "junit", "verbose text"}
