"""The text report: for a terminal, a pipe and a log alike. The bracket first, the verdict last."""

from __future__ import annotations

import io
import textwrap
from typing import ClassVar, final

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from lipaudit.render import words
from lipaudit.render.base import Reporter
from lipaudit.render.safe import safe
from lipaudit.render.sections import Cell, Table, tables
from lipaudit.report.report import AuditReport

_STYLES = {
    "plain": "",
    "name": "",
    "strong": "bold",
    "good": "green",
    "bad": "bold red",
    "warn": "yellow",
    "dim": "dim",
    "title": "bold",
    "bar": "cyan",
}
_VERDICTS = {"pass": "bold green", "fail": "bold red", "inconclusive": "bold yellow"}
_SEVERITIES = {"error": "bold red", "warning": "yellow", "note": "cyan"}
_LONGEST = 2000
"""No cell or message is longer, whatever a file says."""

_NARROWEST = 12
_GAP = "  "


@final
class TextReporter(Reporter):
    """Lines of at most `width` columns where the names allow it; untrusted text never begins a line."""

    name: ClassVar[str] = "text"
    media_type: ClassVar[str] = "text/plain; charset=utf-8"

    def __init__(self, width: int = 80, color: bool = False, verbose: bool = False) -> None:
        self._width, self._color, self._verbose = max(width, 60), color, verbose

    def render(self, report: AuditReport) -> str:
        blocks = [[Text(line, "bold")] for line in words.headlines(report)]
        blocks = [[line for block in blocks for line in block]]
        for part in report.parts:
            blocks.append([Text(line, "bold") for line in words.headlines(part)])
            blocks += [self._table(table) for table in tables(part, self._verbose) if table.title != "Rules"]
        blocks += [self._table(table) for table in tables(report, self._verbose)]
        blocks += [self._findings(report), self._assumptions(report), self._verdict(report)]
        stream = io.StringIO()
        console = Console(
            file=stream,
            width=self._width,
            force_terminal=self._color,
            color_system="standard" if self._color else None,
            no_color=not self._color,
            markup=False,
            highlight=False,
            emoji=False,
            legacy_windows=False,
            _environ={},
        )
        for block in filter(None, blocks):
            if stream.tell():
                console.print()
            for line in block:
                line.rstrip()
                console.print(line, soft_wrap=True)
        return stream.getvalue()

    def _table(self, table: Table) -> list[Text]:
        rows = [[_shown(cell) for cell in row] for row in table.rows]
        header = [safe(name) for name in table.columns]
        widths = self._widths(header, rows, table)
        lines = [Text(f"{safe(table.title)}", "bold")] if table.title else []
        if any(header):
            lines.append(_row(header, ["dim"] * len(header), widths, table.right))
        for cells, texts in zip(table.rows, rows, strict=True):
            fitted = [
                safe(text, width) if cell.style == "name" and number < len(widths) - 1 else text
                for number, (cell, text, width) in enumerate(zip(cells, texts, widths, strict=True))
            ]
            styles = [_STYLES[cell.style] for cell in cells]
            if cells[-1].share is not None:
                bar = self._bar(cells[-1].share)
                line = _row([*fitted[:-1], bar], [*styles[:-1], _STYLES["bar"]], [*widths[:-1], 0], table.right)
                lines.append(line.append(fitted[-1].rjust(4)))
                continue
            first, *more = textwrap.wrap(fitted[-1], max(widths[-1], _NARROWEST)) or [""]
            lines.append(_row([*fitted[:-1], first], styles, widths, table.right))
            indent = " " * (1 + sum(widths[:-1]) + len(_GAP) * (len(widths) - 1))
            lines += [Text(indent).append(text, styles[-1]) for text in more]
        return lines

    def _widths(self, header: list[str], rows: list[list[str]], table: Table) -> list[int]:
        """The width of each column: what it holds, but the longest names give way until the line fits."""
        columns = list(zip(header, *rows, strict=True))
        widths = [max(map(cell_len, column)) for column in columns]
        named = [n for n in range(len(columns) - 1) if any(row[n].style == "name" for row in table.rows)]
        if any(row[-1].share is not None for row in table.rows):
            widths[-1] = max(cell_len(header[-1]), self._bar_width() + 5)
        last = min(widths[-1], max(24, self._width // 3))
        room = self._width - 1 - len(_GAP) * (len(widths) - 1)
        while sum(widths[:-1]) + last > room and named:
            widest = max(named, key=lambda n: widths[n])
            if widths[widest] <= _NARROWEST:
                break
            widths[widest] -= 1
        widths[-1] = max(_NARROWEST, room - sum(widths[:-1]))
        return widths

    def _bar_width(self) -> int:
        return 20 if self._width >= 100 else 15

    def _bar(self, share: float) -> str:
        halves = round(share * self._bar_width() * 2)
        blocks = "█" * (halves // 2) + "▌" * (halves % 2) or "▏"
        return blocks.ljust(self._bar_width())

    def _findings(self, report: AuditReport) -> list[Text]:
        lines = []
        for remark in words.remarks(report):
            subject = f" {safe(remark.subject, 160)}" if remark.subject else ""
            wrapped = self._wrap(f"{remark.code}{subject}: {safe(remark.message, _LONGEST)}", "       ")
            wrapped[0].stylize(_SEVERITIES[remark.severity], 0, len(remark.code))
            lines += wrapped
            if remark.remedy:
                lines += self._wrap(f"       -> {safe(remark.remedy, _LONGEST)}", "          ", "dim")
        return [Text("Findings", "bold"), *lines] if lines else []

    def _assumptions(self, report: AuditReport) -> list[Text]:
        lines = [line for text in report.assumptions for line in self._wrap(f" - {safe(text, _LONGEST)}", "   ")]
        return [Text("Assumptions", "bold"), *lines] if lines else []

    def _verdict(self, report: AuditReport) -> list[Text]:
        if report.verdict is None:
            return []
        return [Text("verdict: ").append(report.verdict, _VERDICTS[report.verdict])]

    def _wrap(self, text: str, indent: str, style: str = "") -> list[Text]:
        lines = textwrap.wrap(text, self._width, subsequent_indent=indent, break_on_hyphens=False)
        return [Text(line, style) for line in lines]


def _shown(cell: Cell) -> str:
    return safe(cell.text, _LONGEST)


def _row(texts: list[str], styles: list[str], widths: list[int], right: frozenset[int]) -> Text:
    """One line: a space, then the cells, each padded to its column but for the last."""
    line = Text(" ")
    for number, (text, style, width) in enumerate(zip(texts, styles, widths, strict=True)):
        padding = " " * max(0, width - cell_len(text))
        if number in right:
            line.append(padding)
        line.append(text, style)
        if number not in right:
            line.append(padding)
        line.append(_GAP if number < len(widths) - 1 else " ")
    return line
