"""The HTML report: valid, closed to the network, small, the same bytes each time, and true."""

from __future__ import annotations

import base64
import importlib.util
import io
import math
import re
import warnings
from dataclasses import replace
from typing import Any, Literal
from xml.etree import ElementTree

import html5lib
import numpy as np
import pytest
from PIL import Image

from lipaudit.cli.options import Output
from lipaudit.cli.output import targets
from lipaudit.errors import UsageError
from lipaudit.render import numbers
from lipaudit.render.html import HtmlReporter, ticks
from lipaudit.render.html.gains import gains
from lipaudit.render.html.pictures import as_picture, direction_image, input_image
from lipaudit.render.html.scale import scale
from lipaudit.render.sections import named_tables
from lipaudit.report.report import AuditReport, Layer, Nearest, Radii, Samples, Steepest
from tests.render.hostile import hostile
from tests.render.reports import ALL, ATTACKED, BOUND, CERTIFY, GATE, GROUP, INFINITE, LOCAL, attained, method, up

LIMIT = 1_000_000


def parsed(report: AuditReport) -> ElementTree.Element:
    """The page as the standard's own parsing rules read it; any error of the parser is one of the test."""
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    root: ElementTree.Element = parser.parse(HtmlReporter().render(report))
    return root


def text(element: ElementTree.Element) -> str:
    return " ".join("".join(element.itertext()).split())


def image(width: int, channels: int = 1) -> Steepest:
    point = np.linspace(0.0, 1.0, channels * width * width).reshape(1, channels, width, width)
    return Steepest(7, 2.5, point, point - 0.5)


DRAWN = replace(LOCAL, samples=Samples("x", np.linspace(1.0, 3.0, 50), steepest=(image(8), image(9, 3))))
PAGES = {**ALL, "drawn": DRAWN}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_valid_and_reaches_for_nothing(name: str) -> None:
    page = HtmlReporter().render(PAGES[name])
    assert page.isascii()
    assert page == HtmlReporter().render(PAGES[name])
    root = parsed(PAGES[name])
    [policy] = [m.get("content") for m in root.iter("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:;")
    tags = {element.tag for element in root.iter() if isinstance(element.tag, str)}
    assert not tags & {"script", "link", "iframe", "object", "embed", "form", "input", "base", "a", "foreignObject"}
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    for element in root.iter():
        for key, value in element.attrib.items():
            assert not key.lower().startswith("on")
            if key in ("src", "href", "{http://www.w3.org/1999/xlink}href"):
                assert value.startswith(("data:image/png;base64,", "#"))
                assert not value.startswith("#") or value[1:] in ids
    assert not re.search(r"url\((?!#)|@import|https?://(?!www\.w3\.org/)|javascript:", page)


def test_numbers_are_rounded_the_way_their_meaning_asks() -> None:
    shown = text(parsed(replace(BOUND, upper=method(4.44661, "recursion", "r"), lower=attained(3.79899))))
    assert "≤ 4.447" in shown
    assert "≥ 3.798" in shown
    assert "\N{MULTIPLICATION SIGN} 1.18" in shown
    assert "no bound" in text(parsed(INFINITE))
    assert "96.0%" in text(parsed(CERTIFY))
    assert not re.search(r"\b(nan|inf|None)\b", text(parsed(GROUP)))


def test_the_verdict_is_a_word_and_not_only_a_colour() -> None:
    root = parsed(GATE)
    [badge] = [e for e in root.iter("span") if "badge" in (e.get("class") or "")]
    assert "fail" in text(badge)
    assert "inconclusive" in text(root)
    assert "Review" in text(root)


def test_worst_samples_are_drawn_where_they_are_pictures() -> None:
    root = parsed(DRAWN)
    images = [e.get("src") or "" for e in root.iter("img")]
    sizes = []
    for source in images:
        with Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as picture:
            sizes.append((picture.size, picture.mode))
    assert sizes == [((8, 8), "L"), ((8, 8), "RGB"), ((9, 9), "RGB"), ((9, 9), "RGB")]
    assert "sample 7" in text(root)
    vector = replace(image(1), point=np.zeros(10), direction=np.eye(10)[3])
    table = parsed(replace(DRAWN, samples=replace(DRAWN.samples, steepest=(vector,))))  # type: ignore[type-var]
    assert not list(table.iter("img"))
    assert "[3] +1.000" in text(table)


def counterexamples(shape: tuple[int, ...], count: int = 12) -> AuditReport:
    """The attacked report with the nearest `count` counterexamples: noise, as large as a page may have to hold."""
    rng, radii = np.random.default_rng(0), ATTACKED.radii
    assert radii is not None
    assert radii.attack is not None
    rows = np.flatnonzero(radii.attack.found & radii.correct)[:count].tolist()
    nearest = tuple(Nearest(row, rng.normal(size=shape), rng.normal(size=shape)) for row in rows)
    return replace(ATTACKED, radii=replace(radii, attack=replace(radii.attack, nearest=nearest)))


def test_the_nearest_counterexamples_are_drawn_with_their_brackets() -> None:
    drawn = counterexamples((1, 8, 8))
    radii = drawn.radii
    assert radii is not None
    assert radii.attack is not None
    root = parsed(drawn)
    assert len(list(root.iter("img"))) == 3 * 12
    first = radii.attack.nearest[0].index
    low, high = numbers.lower(float(radii.values[first])), numbers.upper(float(radii.attack.values[first]))
    assert f"radius in [{low}, {high}]" in text(root)
    assert "class → 7" in text(root)
    vectors = parsed(counterexamples((1, 10)))
    assert not list(vectors.iter("img"))
    assert len([e for e in vectors.iter("p") if e.get("class") == "move"]) == 5 * 12


def test_large_counterexamples_do_not_make_a_large_page() -> None:
    page = HtmlReporter().render(counterexamples((1, 3, 112, 112)))
    assert len(page) < LIMIT
    sources = re.findall(r'<img src="data:image/png;base64,([^"]*)"', page)
    assert 3 <= len(sources) < 3 * 12
    for source in sources:  # whole, however long
        with Image.open(io.BytesIO(base64.b64decode(source))) as picture:
            assert np.asarray(picture).shape[:2] == (112, 112)


@pytest.mark.parametrize(
    ("shape", "drawn"),
    [
        ((1, 64), (8, 8)),
        ((1, 1, 28, 28), (28, 28)),
        ((1, 3, 32, 30), (32, 30, 3)),
        ((1, 32, 32, 3), (32, 32, 3)),
        ((1, 28, 28, 1), (28, 28)),
        ((224, 224), (112, 112)),
        ((1, 3, 500, 200), (100, 40, 3)),
        ((1, 10), None),
        ((1, 65), None),
        ((1, 25), None),
        ((1, 5, 16, 16), None),
        ((4, 2000), None),
        ((), None),
    ],
)
def test_what_is_a_picture(shape: tuple[int, ...], drawn: tuple[int, ...] | None) -> None:
    picture = as_picture(np.arange(math.prod(shape), dtype=np.float64).reshape(shape))
    assert (None if picture is None else picture.shape) == drawn


def test_pictures_of_nothing_and_of_what_is_no_number() -> None:
    assert input_image(np.zeros((8, 8))).startswith("data:image/png")
    assert direction_image(np.zeros((8, 8, 3))).startswith("data:image/png")
    assert as_picture(np.full((8, 8), np.nan)) is None


def test_no_report_is_too_large_for_a_page() -> None:
    layers = tuple(
        Layer(f"/encoder/layer.{n}/attention/Gemm" * 4, "Gemm", (), "9->9", up(1.0 + n)) for n in range(9000)
    )
    noise = np.random.default_rng(0).normal(size=(1, 3, 224, 224))
    steepest = tuple(Steepest(n, 1.0, noise, noise) for n in range(4))
    samples = Samples("x", np.random.default_rng(0).lognormal(size=200_000), steepest=steepest)
    assert ATTACKED.radii is not None
    large = replace(GATE, layers=layers, samples=samples, radii=ATTACKED.radii)
    assert len(HtmlReporter().render(large)) < LIMIT
    many = replace(GROUP, parts=(large,) * 8)
    assert len(HtmlReporter().render(many)) < LIMIT
    page = HtmlReporter().render(hostile_crowd())
    assert len(page) < LIMIT
    assert re.search(r"not shown: \d+ models, \d+ rules, \d+ findings, \d+ assumptions", page)
    assert ">fail</td>" in page


def hostile_crowd() -> AuditReport:
    """More of everything than any page holds, in names that take eight bytes a character."""
    crowd = hostile("\u5b57" * 3000)
    passed = replace(crowd.rules[0], waiver=None)
    crowd = replace(
        crowd,
        rules=(*[passed] * 4999, replace(crowd.rules[1], waiver=None)),
        findings=crowd.findings * 2000,
        assumptions=crowd.assumptions * 500,
        layers=crowd.layers * 20,
    )
    return replace(crowd, parts=(replace(crowd, rules=(), findings=()),) * 40)


def test_bars_add_up() -> None:
    found = gains(BOUND, named_tables(BOUND, False)["layers"], 100)
    assert [row.bar is not None for row in found.first] == [True] * 4
    bars = [row.bar for row in found.first if row.bar is not None]
    logs = [math.log10(layer.gain.value) for layer in BOUND.layers]
    unit = bars[0].width / abs(logs[0])
    for bar, log in zip(bars, logs, strict=True):
        assert bar.width == pytest.approx(abs(log) * unit)
        assert (bar.left if bar.up or log == 0.0 else bar.left + bar.width) == pytest.approx(found.zero)
    report = replace(BOUND, layers=(*BOUND.layers, Layer("e", "Exp", (), "", up(math.inf))))
    infinite = gains(report, named_tables(report, False)["layers"], 2)
    assert [row.cells[0].text for row in infinite.first] == ["preprocess", "e"]
    assert infinite.left_out == 3


@pytest.mark.parametrize(
    ("low", "high"),
    [(3.7989, 4.4466), (1e-300, 1e300), (0.0, 5.0), (5e-324, 5e-324), (1.0, 1.0), (1.0, 7.999), (1.0, 8.1)],
)
def test_marks_lie_on_the_scale_in_their_order(low: float, high: float) -> None:
    report = replace(BOUND, methods=(method(high),), upper=method(high), lower=attained(low))
    found = scale(report)
    assert found is not None
    places = [mark.at for mark in found.marks]
    assert all(place is not None and 0.0 <= place <= 100.0 for place in places)
    assert places == sorted(places, key=lambda place: -(place or 0.0))
    assert all(0.0 <= at <= 100.0 for at, _ in found.ticks)
    assert low == high or (places[0] or 0.0) > (places[-1] or 0.0) + 5.0
    assert 1 <= len(found.ticks) <= 6 or low == high


def test_curves_promise_no_more_than_the_radii(monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.axes import Axes

    drawn: dict[str, tuple[Any, Any, str]] = {}
    real = Axes.step

    def step(self: Axes, x: Any, y: Any, *arguments: Any, where: Literal["pre", "post"] = "pre", **options: Any) -> Any:
        drawn[options["label"]] = (np.asarray(x), np.asarray(y), where)
        return real(self, x, y, *arguments, where=where, **options)

    monkeypatch.setattr(Axes, "step", step)
    HtmlReporter().render(ATTACKED)
    assert ATTACKED.radii is not None
    assert ATTACKED.radii.attack is not None
    at = np.linspace(0.0, 1.3, 997)
    for label, true, sign in (
        ("at least, certified", ATTACKED.radii.accuracy_at, 1),
        ("at most, by attack", ATTACKED.radii.attack.accuracy_at, -1),
    ):
        x, y, where = drawn[label]
        place = np.searchsorted(x, at, side="left") if where == "pre" else np.searchsorted(x, at, side="right") - 1
        inside = place < len(y)
        shown = y[place[inside]]
        assert all(sign * (true(float(r)) - s) >= 0.0 for r, s in zip(at[inside], shown, strict=True))


def test_odd_data_are_drawn_without_a_word() -> None:
    empty, wild = np.zeros(0), np.array([0.0, math.nan, math.inf, 1e-300, 1e300])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for values in (empty, wild, np.zeros(3), np.full(4, np.nan), np.array([2.0])):
            radii = Radii("x", np.nan_to_num(values, nan=0.0), values >= 0.0, (1.0, 2.0), "m")
            parsed(replace(LOCAL, samples=Samples("x", values), radii=radii))


def test_a_missing_extra_is_named_before_the_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr("lipaudit.cli.output.find_spec", lambda name: None if name == "matplotlib" else real(name))
    for output in (Output(output_format="html"), Output(files=["html:audit.html"])):
        with pytest.raises(UsageError, match=r"the html report needs matplotlib: pip install 'lipaudit\[html\]'"):
            targets(output, [])


@pytest.mark.parametrize(("low", "high"), [(76.81, 968.0), (1.0, 8.1), (1e-59, 1e59), (3.0, 30.0), (0.2, 4e5)])
def test_a_logarithmic_axis_has_a_few_round_numbers(low: float, high: float) -> None:
    found = ticks.logarithmic(low, high)
    assert 2 <= len(found) <= 8
    assert all(low <= value <= high and float(name) == pytest.approx(value) for value, name in found)
    samples = Samples("x", np.array([low, high]))
    page = HtmlReporter().render(replace(LOCAL, samples=samples))
    assert "mathdefault" not in page
    assert all(f">{name}</text>" in page for _, name in found)
