"""The markdown report, for a pull request or a job summary. A file's text stands in code spans, where nothing acts."""

from __future__ import annotations

import re
from typing import ClassVar, final

from lipaudit.render import words
from lipaudit.render.base import Reporter
from lipaudit.render.safe import safe
from lipaudit.render.sections import Cell, Table, tables
from lipaudit.report.report import AuditReport

_HARMLESS = re.compile(r"(?:[A-Za-z0-9 ,.;:'\"()/=%+>\[\]_*-]|<=)*")
_ESCAPED = re.compile(r"[\[\]_*]")
_MARKER = re.compile(r"\s*([-+*=_>]|[0-9]+[.)])")
_LINK = re.compile(r"://|www\.", re.IGNORECASE)


@final
class MarkdownReporter(Reporter):
    """GitHub's markdown without raw HTML, mentions, links or images."""

    name: ClassVar[str] = "markdown"
    media_type: ClassVar[str] = "text/markdown; charset=utf-8"

    def __init__(self, verbose: bool = False) -> None:
        self._verbose = verbose

    def render(self, report: AuditReport) -> str:
        blocks = [f"**{_prose(line)}**" for line in words.headlines(report)]
        for part in report.parts:
            blocks.append(f"### {_code(part.model.path)}")
            blocks += [_prose(line) for line in words.headlines(part)]
            blocks += [_table(table) for table in tables(part, self._verbose) if table.title != "Rules"]
        blocks += [_table(table) for table in tables(report, self._verbose)]
        if remarks := [_remark(remark) for remark in words.remarks(report)]:
            blocks.append("#### Findings\n\n" + "\n".join(remarks))
        if report.assumptions:
            blocks.append("#### Assumptions\n\n" + "\n".join(f"- {_block(text)}" for text in report.assumptions))
        if report.verdict is not None:
            blocks.append(f"Verdict: **{report.verdict}**")
        return "\n\n".join(blocks) + "\n"


def _table(table: Table) -> str:
    columns = [_prose(name) for name in table.columns]
    rule = ["---:" if number in table.right else "---" for number in range(len(columns))]
    lines = [_line(columns), _line(rule), *(_line([_cell(cell) for cell in row]) for row in table.rows)]
    title = f"#### {_prose(table.title)}\n\n" if table.title else ""
    return title + "\n".join(lines)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: Cell) -> str:
    if cell.style == "name" and cell.text:
        return _code(cell.text)
    text = _prose(cell.text)
    return f"**{text}**" if cell.style in ("strong", "bad") and text else text


def _remark(remark: words.Remark) -> str:
    subject = f" {_code(remark.subject)}" if remark.subject else ""
    remedy = f"  \n  {_prose(remark.remedy)}" if remark.remedy else ""
    return f"- **{remark.code}**{subject}: {_prose(remark.message)}{remedy}"


def _code(text: str) -> str:
    """The text as a code span. Pipes and backticks, which would end a cell or the span, are written as escapes."""
    return f"`{safe(text, 400).replace('|', chr(92) + 'x7c').replace('`', chr(92) + 'x60') or ' '}`"


def _block(text: str) -> str:
    """Words at the beginning of a block, where a sign or a number would begin a list of its own."""
    return _code(text) if _MARKER.match(text) else _prose(text)


def _prose(text: str) -> str:
    """Plain words with their punctuation escaped; what could be a mention, a link or HTML as a code span."""
    if _HARMLESS.fullmatch(text) and not _LINK.search(text):
        return _ESCAPED.sub(r"\\\g<0>", text)
    return _code(text)
