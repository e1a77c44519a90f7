"""The text report: for a terminal, a pipe and a log alike. The bracket first, the verdict last."""

from __future__ import annotations

import io
import textwrap
from typing import ClassVar, final

from rich.console import Console
from rich.text import Text

from lipaudit.render import layouts, words
from lipaudit.render.base import Reporter
from lipaudit.render.layouts import Layout
from lipaudit.render.safe import safe
from lipaudit.render.sections import Table, tables
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
"""No message is longer, whatever a file says."""


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
        bars = any(row[-1].share is not None for row in table.rows)
        layout = layouts.fit(table, self._width, self._bar_width() + layouts.PERCENT if bars else 0)
        lines = [Text(safe(table.title), "bold")] if table.title else []
        if any(table.columns):
            lines.append(_row(layout.header, ["dim"] * len(layout.header), layout))
        for cells, texts in zip(table.rows, layout.rows, strict=True):
            styles = [_STYLES[cell.style] for cell in cells]
            share = cells[-1].share
            if share is not None:
                bar = _bar(share, layout.widths[-1] - layouts.PERCENT)
                lines.append(_row([*texts[:-1], bar], [*styles[:-1], _STYLES["bar"]], layout))
                lines[-1].append(texts[-1].rjust(layouts.PERCENT))
                continue
            first, *more = textwrap.wrap(texts[-1], layout.widths[-1]) or [""]
            lines.append(_row([*texts[:-1], first], styles, layout))
            indent = " " * (1 + sum(layout.widths[:-1]) + len(layouts.GAP) * (len(texts) - 1))
            lines += [Text(indent).append(text, styles[-1]) for text in more]
        return lines

    def _bar_width(self) -> int:
        return 20 if self._width >= 100 else 15

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


def _bar(share: float, width: int) -> str:
    halves = round(share * width * 2)
    blocks = "█" * (halves // 2) + "▌" * (halves % 2) or "▏"
    return blocks.ljust(width)


def _row(texts: list[str], styles: list[str], layout: Layout) -> Text:
    """One line: a space, then the cells, each padded to its column but for the last."""
    line = Text(" ")
    last = len(texts) - 1
    for number, (text, style, width) in enumerate(zip(texts, styles, layout.widths, strict=True)):
        padding = " " * max(0, width - layouts.cells(text)) if number < last else ""
        if number in layout.right:
            line.append(padding)
        line.append(text, style)
        if number not in layout.right:
            line.append(padding)
        if number < last:
            line.append(layouts.GAP)
    return line
