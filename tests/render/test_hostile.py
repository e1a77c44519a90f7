"""No name from a file breaks, forges or floods an output: the corpus in every format, by bytes and by parsers."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from urllib.parse import unquote
from xml.etree import ElementTree

import html5lib
import pytest
from markdown_it import MarkdownIt

from lipaudit.render.base import Reporter
from lipaudit.render.csv import CsvReporter
from lipaudit.render.cyclonedx import CyclonedxReporter
from lipaudit.render.github import GithubReporter
from lipaudit.render.html import HtmlReporter
from lipaudit.render.json import JsonReporter
from lipaudit.render.jsonl import JsonlReporter
from lipaudit.render.junit import JunitReporter
from lipaudit.render.markdown import MarkdownReporter
from lipaudit.render.sarif import SarifReporter
from lipaudit.render.text import TextReporter
from tests.render.hostile import HOSTILE, grouped, hostile, sampled

CASES = pytest.mark.parametrize("start", range(0, len(HOSTILE), 12))
PLAIN = "name"
_BAD = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
_MOST = 600_000


def visible(shown: str) -> str:
    """The output, found to be visible lines of a size that a log can bear."""
    assert len(shown) < _MOST
    assert not any(unicodedata.category(char) in _BAD for char in set(shown) - {"\n"})
    shown.encode("utf-8")
    return shown


def test_the_corpus_is_large() -> None:
    assert len(set(HOSTILE)) == len(HOSTILE) >= 190


@CASES
def test_text(start: int) -> None:
    for text in HOSTILE[start : start + 12]:
        for report, width in ((hostile(text), 60), (grouped(text), 100)):
            lines = visible(TextReporter(width).render(report)).splitlines()
            assert lines[-1] == "verdict: fail"
            assert sum(line.startswith("verdict:") for line in lines) == 1
            assert not any(line.startswith(("::", "##", "[", "section_")) for line in lines)
        colored = TextReporter(100, color=True).render(report)
        bare = visible(re.sub(r"\x1b\[[0-9;]*m", "", colored))
        assert [line.rstrip() for line in bare.splitlines()] == lines


@cache
def plain(reporter: type[Reporter], several: bool) -> str:
    """The report of harmless names: whatever the names, it is of the same shape."""
    return reporter().render((grouped if several else hostile)(PLAIN))


def blocks(shown: str) -> list[str]:
    """The blocks of a markdown report as a parser sees them, with what is inside them but for words and code."""
    parser = MarkdownIt("gfm-like", {"html": True, "linkify": False})
    found = []
    for token in parser.parse(shown):
        inner = [child.type for child in token.children or () if child.type not in ("text", "code_inline", "softbreak")]
        found.append(" ".join([token.type, token.tag, *inner]))
    return found


@CASES
def test_markdown(start: int) -> None:
    for text in HOSTILE[start : start + 12]:
        shown = visible(MarkdownReporter().render(hostile(text)))
        if text:
            assert blocks(shown) == blocks(plain(MarkdownReporter, False))
        outside = re.sub(r"`[^`\n]*`", "CODE", shown)
        assert "`" not in outside
        assert not re.search(r"<[a-zA-Z!/?]|(?<!\\)\]\(|@\w|#\d|www\.|://|~~", outside)
        assert shown.endswith("\n\nVerdict: **fail**\n")


@CASES
def test_json(start: int) -> None:
    for text in HOSTILE[start : start + 12]:
        for report in (sampled(text), grouped(text)):
            shown = JsonReporter().render(report)
            assert all(char == "\n" or " " <= char <= "~" for char in shown)
            content = json.loads(shown)
        part = content["models"][0]
        assert part["layers"][0]["node"] == part["model"]["path"] == part["findings"][0]["message"] == text


@CASES
def test_cyclonedx(start: int) -> None:
    for text in HOSTILE[start : start + 12]:
        shown = CyclonedxReporter().render(grouped(text))
        assert all(char == "\n" or " " <= char <= "~" for char in shown)
        assert len(shown) < _MOST
        for value in strings(json.loads(shown)):
            visible(value)


def strings(value: object) -> Iterator[str]:
    """Every string in a JSON value, keys too."""
    if isinstance(value, str):
        yield value
    for inner in value if isinstance(value, list) else ():
        yield from strings(inner)
    for key, inner in value.items() if isinstance(value, dict) else ():
        yield key
        yield from strings(inner)


@CASES
def test_csv_and_json_lines(start: int) -> None:
    for text in HOSTILE[start : start + 12]:
        rows = list(csv.reader(io.StringIO(visible(CsvReporter().render(grouped(text))), newline="")))
        assert len(rows) == 102
        assert {len(row) for row in rows} == {len(rows[0])}
        for row in rows[1:]:
            assert not re.match(r"\s*[=+\-@|%\uff1d\t\r]", row[0])
            assert all(re.fullmatch(r"|-?[0-9][0-9.e+-]*|inf", cell) for cell in row[1:])
        lines = JsonlReporter().render(grouped(text)).split("\n")
        assert lines.pop() == ""
        assert len(lines) == 101
        assert all(" " <= char <= "~" for line in lines for char in line)
        assert {json.loads(line)["model"] for line in lines} == {text}


def shape(element: ElementTree.Element) -> list[object]:
    return [element.tag, sorted(element.attrib), [shape(child) for child in element]]


@CASES
def test_junit(start: int) -> None:
    for text in HOSTILE[start : start + 12]:
        shown = visible(JunitReporter().render(grouped(text)))
        assert shown.isascii()
        root = ElementTree.fromstring(shown)
        if text:
            assert shape(root) == shape(ElementTree.fromstring(plain(JunitReporter, True)))
        for element in root.iter():
            for value in (element.text or "", *element.attrib.values()):
                visible(value)


@CASES
def test_sarif(start: int) -> None:
    for text in HOSTILE[start : start + 12]:
        shown = visible(SarifReporter().render(grouped(text)))
        assert shown.isascii()
        [run] = json.loads(shown)["runs"]
        for result in run["results"]:
            uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
            assert re.fullmatch(r"(file://)?[A-Za-z0-9_.~/%-]+", uri)
            assert uri == "." or unquote(uri.removeprefix("file://"), errors="surrogatepass") == text
            visible(result["message"]["text"])
        assert len(run["results"]) == len(json.loads(plain(SarifReporter, True))["runs"][0]["results"])


@CASES
def test_github(start: int) -> None:
    for text in HOSTILE[start : start + 12]:
        lines = visible(GithubReporter().render(grouped(text))).splitlines()
        assert len(lines) == len(plain(GithubReporter, True).splitlines())
        for line in lines:
            command = re.fullmatch(
                r"::(error|warning|notice) ((?:file|title)=[^:,]*(?:,(?:file|title)=[^:,]*)*)::(.*)", line
            )
            assert command is not None
            properties = [part.partition("=")[0] for part in command[2].split(",")]
            assert properties in (["file", "title"], ["title"])
            for part in (command[2], command[3]):
                assert not re.search(r"%(?!25|3A|2C)", part)


class Tags(HTMLParser):
    """The tags of a page with the names of their attributes, in their order."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[object] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, [name for name, _ in attrs]))

    def handle_endtag(self, tag: str) -> None:
        self.found.append(tag)

    def handle_comment(self, data: str) -> None:
        self.found.append(data)


@pytest.fixture(scope="module")
def tags() -> list[object]:
    return Tags(plain(HtmlReporter, False)).found


@CASES
def test_html(start: int, tags: list[object]) -> None:
    for text in HOSTILE[start : start + 12]:
        page = visible(HtmlReporter().render(hostile(text)))
        assert page.isascii()
        if text:
            assert Tags(page).found == tags


@pytest.mark.parametrize("text", HOSTILE[::12], ids=range(0, len(HOSTILE), 12))
def test_html_for_a_strict_parser(text: str) -> None:
    root = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(HtmlReporter().render(hostile(text)))
    assert not list(root.iter("script"))


@pytest.mark.parametrize("text", HOSTILE[3::60])
def test_html_with_figures(text: str) -> None:
    page = visible(HtmlReporter().render(grouped(text)))
    if text:
        assert Tags(page).found == Tags(plain(HtmlReporter, True)).found
