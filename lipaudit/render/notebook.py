"""The report in a notebook's cell: headline and tables as a small piece of HTML, without a script or a style sheet."""

from __future__ import annotations

from html import escape

from lipaudit.render import words
from lipaudit.render.safe import safe
from lipaudit.render.sections import Cell, Table, tables
from lipaudit.report.report import AuditReport

_COLOURS = {"good": "#1a7f37", "bad": "#cf222e", "warn": "#9a6700", "dim": "#6e7781"}
_LONGEST = 400


def notebook(report: AuditReport) -> str:
    """HTML to stand inside another page. Whatever a model's file says is text."""
    blocks = [f"<p><b>{_text(line)}</b></p>" for line in words.headlines(report)]
    for part in report.parts:
        blocks += [f"<p>{_text(line)}</p>" for line in (part.model.path, *words.headlines(part))]
    blocks += [_table(table) for table in tables(report, verbose=False)]
    if remarks := words.remarks(report):
        lines = (f"<li><b>{r.code}</b> {_text(r.subject)}: {_text(r.message)}</li>" for r in remarks)
        blocks.append(f"<ul>{''.join(lines)}</ul>")
    if report.verdict is not None:
        blocks.append(f"<p>verdict: <b>{report.verdict}</b></p>")
    return f"<div>{''.join(blocks)}</div>"


def _table(table: Table) -> str:
    head = "".join(_cell("th", Cell(name), n in table.right) for n, name in enumerate(table.columns))
    rows = (
        "<tr>" + "".join(_cell("td", cell, n in table.right) for n, cell in enumerate(row)) + "</tr>"
        for row in table.rows
    )
    caption = f"<p>{_text(table.title)}</p>" if table.title else ""
    header = f"<tr>{head}</tr>" if any(table.columns) else ""
    return f"{caption}<table>{header}{''.join(rows)}</table>"


def _cell(tag: str, cell: Cell, right: bool) -> str:
    colour = _COLOURS.get(cell.style)
    style = f"text-align:{'right' if right else 'left'}" + (f";color:{colour}" if colour else "")
    text = f"<b>{_text(cell.text)}</b>" if cell.style in ("strong", "bad") else _text(cell.text)
    return f'<{tag} style="{style}">{text}</{tag}>'


def _text(text: str) -> str:
    return escape(safe(text, _LONGEST), quote=True)
