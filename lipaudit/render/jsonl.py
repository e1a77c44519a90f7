"""The samples as JSON Lines: one object a sample, on a line of its own."""

from __future__ import annotations

import json
import math
from typing import ClassVar, final

from lipaudit.render.base import Reporter
from lipaudit.render.columns import Value, rows
from lipaudit.report.report import AuditReport


@final
class JsonlReporter(Reporter):
    """The columns of the CSV as keys. ASCII only; a number that is not finite is null, and no key is ever missing.

    Nothing at all, not even a line break, where there are no samples.
    """

    name: ClassVar[str] = "jsonl"
    media_type: ClassVar[str] = "application/jsonl"

    def render(self, report: AuditReport) -> str:
        lines = (
            json.dumps({name: _finite(value) for name, value in row.items()}, allow_nan=False) for row in rows(report)
        )
        return "".join(line.replace("\x7f", "\\u007f") + "\n" for line in lines)


def _finite(value: Value) -> Value:
    return None if isinstance(value, float) and not math.isfinite(value) else value
