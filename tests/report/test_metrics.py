"""Flat metrics, and what a notebook shows: finite, named by kind, and nothing a model's file says acts."""

from __future__ import annotations

import math
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from tests.render.reports import ALL, BOUND, CERTIFY, GATE, INFINITE, LOCAL


@pytest.mark.parametrize("name", ALL)
def test_metrics_are_finite_floats_under_flat_names(name: str) -> None:
    found = ALL[name].metrics()
    assert all(type(value) is float and math.isfinite(value) for value in found.values())
    assert all(key.startswith("lipaudit/") and key.isprintable() and " " not in key for key in found)


def test_metrics_by_name() -> None:
    assert BOUND.metrics("")["upper"] == 4.4466
    assert BOUND.metrics("")["lower"] == 3.7989
    assert BOUND.metrics("")["max_layer_gain"] == 7.32119
    assert "upper" not in INFINITE.metrics("")
    assert LOCAL.metrics("")["local_median"] == 2.0
    assert CERTIFY.metrics("")["clean_accuracy"] == 0.96
    assert CERTIFY.metrics("")["certified_accuracy_0.25"] == CERTIFY.radii.accuracy_at(0.25)  # type: ignore[union-attr]
    assert GATE.metrics("")["verdict_pass"] == 0.0
    assert replace(GATE, verdict="pass").metrics("")["verdict_pass"] == 1.0
    assert "verdict_pass" not in replace(GATE, verdict="inconclusive").metrics("")


class Tags(HTMLParser):
    """Every tag and attribute, and the text between them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("name", ALL)
def test_a_notebook_shows_tables_and_nothing_else(name: str) -> None:
    shown = Tags(ALL[name]._repr_html_())
    assert shown.tags <= {"div", "p", "b", "table", "tr", "th", "td", "ul", "li"}
    assert shown.attributes <= {"style"}
    assert shown.open == []


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", '"><img src=x>', "a\u202eb", "\x1b[31m", "&lt;b&gt;"])
def test_a_hostile_name_is_text(name: str) -> None:
    layers = (replace(BOUND.layers[0], node=name, op=name),)
    html = replace(BOUND, layers=layers, model=replace(BOUND.model, path=name))._repr_html_()
    assert Tags(html).tags <= {"div", "p", "b", "table", "tr", "th", "td", "ul", "li"}
    assert all(char.isprintable() for char in html)
