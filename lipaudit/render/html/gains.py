"""Where the bound comes from: each layer's gain as a bar whose length is its logarithm, so that lengths add up."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

from lipaudit.render.sections import Cell, Table
from lipaudit.report.report import AuditReport, Layer

_SHOWN = 40
"""How many layers are shown at once: more unfold."""


@final
@dataclass(frozen=True, slots=True)
class Bar:
    """From where to where, in percent of the column; zero: where a gain of 1 lies. up: whether the layer amplifies."""

    left: float
    width: float
    up: bool


@final
@dataclass(frozen=True, slots=True)
class Row:
    """The cells of the layer's row, and its bar: None for an infinite gain, or one of 0."""

    cells: tuple[Cell, ...]
    share: str
    bar: Bar | None


@final
@dataclass(frozen=True, slots=True)
class Gains:
    """The table. first, rest: rows shown at once, and those that unfold; left_out: how many are in neither."""

    title: str
    columns: tuple[str, ...]
    right: frozenset[int]
    zero: float
    first: tuple[Row, ...]
    rest: tuple[Row, ...]
    left_out: int


def gains(report: AuditReport, table: Table, most: int) -> Gains:
    """The layers of a report in their order, at most so many of them: then those with the largest gains.

    table: of the layers, a row each.
    """
    chosen = _largest(report.layers, min(most, len(report.layers)))
    prominent = set(_largest(report.layers, min(_SHOWN, len(chosen))))
    logs = [_log(report.layers[index]) for index in chosen]
    known = [log for log in logs if log is not None]
    below, above = max(0.0, -min(known, default=0.0)), max(0.0, max(known, default=0.0))
    span = (below + above) or 1.0
    rows = {index: _row(table, index, log, below, span) for index, log in zip(chosen, logs, strict=True)}
    last = _columns(table)
    return Gains(
        table.title,
        table.columns[:last],
        table.right,
        100.0 * below / span,
        tuple(row for index, row in rows.items() if index in prominent),
        tuple(row for index, row in rows.items() if index not in prominent),
        len(report.layers) - len(rows),
    )


def _largest(layers: tuple[Layer, ...], count: int) -> list[int]:
    """The indices of the layers that move the product most, in the order of the network."""
    order = sorted(range(len(layers)), key=lambda index: -_weight(layers[index]))
    if count >= len(layers):
        return list(range(len(layers)))
    return sorted(order[:count])


def _log(layer: Layer) -> float | None:
    return math.log10(layer.gain.value) if layer.gain.finite and layer.gain.value > 0.0 else None


def _weight(layer: Layer) -> float:
    log = _log(layer)
    return math.inf if log is None else abs(log)


def _columns(table: Table) -> int:
    """How many columns there are beside the share, which has none where a gain is infinite."""
    return len(table.columns) - table.columns[-1].startswith("share")


def _row(table: Table, index: int, log: float | None, below: float, span: float) -> Row:
    last = _columns(table)
    cells, share = table.rows[index][:last], "".join(cell.text for cell in table.rows[index][last:])
    if log is None:
        return Row(cells, share, None)
    left = below + min(log, 0.0)
    return Row(cells, share, Bar(100.0 * left / span, 100.0 * abs(log) / span, log > 0.0))
