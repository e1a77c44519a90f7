"""Layout: how wide each column of a text table is, and how a name is shortened to fit its column."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import final

from lipaudit.render.safe import safe
from lipaudit.render.sections import Table

GAP = "  "
PERCENT = 5
"""The columns of " 100%" behind a bar."""

_LONGEST = 2000
_NARROWEST = 9
_FIRST = 12
"""How much longer the first column's names may stay: they say which row it is."""

_SHORT_BAR = 8
_COMPACT = {"share of log-product": "log share"}
"""Shorter column names for where the names of nodes need the room."""


@final
@dataclass(frozen=True, slots=True)
class Layout:
    """Texts that are ready to be padded to their column's width; the last column is wrapped to its own."""

    header: list[str]
    rows: list[list[str]]
    widths: list[int]
    right: frozenset[int]


def fit(table: Table, width: int, bar: int) -> Layout:
    """The table laid out in so many columns. bar: the room for a bar with its percentage, 0 without bars.

    Where it does not fit, first the bars give way, then the longest names, down to a few characters.
    """
    header = [safe(name) for name in table.columns]
    rows = [[safe(cell.text, _LONGEST) for cell in row] for row in table.rows]
    widths = [max(map(cells, column)) for column in zip(header, *rows, strict=True)]
    room = width - 1 - len(GAP) * (len(widths) - 1)
    last = max(cells(header[-1]), bar) if bar else min(widths[-1], max(24, width // 3))
    if bar and sum(widths[:-1]) + last > room:
        header[-1] = _COMPACT.get(header[-1], header[-1])
        last = max(cells(header[-1]), _SHORT_BAR + PERCENT)
    named = [n for n in range(len(widths) - 1) if any(row[n].style == "name" for row in table.rows)]
    while named and sum(widths[:-1]) + last > room:
        spare = [n for n in named if widths[n] > _NARROWEST]
        if not spare:
            break
        widths[max(spare, key=lambda n: widths[n] - (_FIRST if n == 0 else 0))] -= 1
    widths[-1] = last if bar else max(_NARROWEST, room - sum(widths[:-1]))
    for n in named:
        for row, text in zip(rows, _shortened([row[n] for row in rows], widths[n]), strict=True):
            row[n] = text
    return Layout(header, rows, widths, table.right)


def _shortened(names: list[str], width: int) -> list[str]:
    """Each name in so many columns: its end, where that says which it is; else without its middle.

    Those that would look the same even so are told apart by a digest.
    """
    ends = [_end(name, width) for name in names]
    if len(set(ends)) == len(set(names)):
        return ends
    short = [_elided(name, width) for name in names]
    meant = {text: {name for name, other in zip(names, short, strict=True) if other == text} for text in short}
    return [text if len(meant[text]) == 1 else safe(name, width) for name, text in zip(names, short, strict=True)]


def _end(name: str, width: int) -> str:
    """The end of a path, whose last parts tell most; without the middle what is none."""
    if cells(name) <= width or "/" not in name:
        return _elided(name, width)
    return f"…{name[1 - width :]}"


def _elided(name: str, width: int) -> str:
    if cells(name) <= width:
        return name
    head = (width - 1) * 2 // 5
    tail = width - 1 - head
    return f"{name[:head]}…{name[-tail:]}"


def cells(text: str) -> int:
    """The columns a text takes: two for a wide character, none for a mark above one."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return len(text) + wide - sum(unicodedata.combining(char) != 0 for char in text)
