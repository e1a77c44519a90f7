"""The samples as CSV (RFC 4180): a header, then one row a sample, each number exactly the float64 that was computed."""

from __future__ import annotations

import csv
import io
from typing import ClassVar, final

from lipaudit.render.base import Reporter
from lipaudit.render.columns import Value, header, rows
from lipaudit.render.safe import safe
from lipaudit.report.report import AuditReport

_FORMULA = tuple("=+-@|%\uff1d\uff0b\uff0d\uff20")
"""A spreadsheet takes a cell that begins so for a formula or a command."""


@final
class CsvReporter(Reporter):
    """index,norm of `local`, lower,upper with a radius; index,label,radius,correct of `certify`; a gate has both.

    Also model, where a gate judged several.

    Empty where nothing is known. A radius is a certified one as it stands: no digit is rounded.
    """

    name: ClassVar[str] = "csv"
    media_type: ClassVar[str] = "text/csv; charset=utf-8; header=present"

    def render(self, report: AuditReport) -> str:
        stream = io.StringIO(newline="")
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header(report))
        writer.writerows([_cell(value) for value in row.values()] for row in rows(report))
        return stream.getvalue()


def _cell(value: Value) -> str:
    if isinstance(value, str):
        text = safe(value, 400)
        return f"'{text}" if text.lstrip().startswith(_FORMULA) else text
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, bool) else repr(value)
