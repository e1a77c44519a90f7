"""Renderers: an AuditReport to a string. No printing, no paths, no exit codes; renderers do not know each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lipaudit.render.base import Reporter


def reporters() -> dict[str, type[Reporter]]:
    """The report formats by the name a user gives; each can be built without arguments.

    They are imported on demand: what only needs `render.safe` (an error message, say) stays quick.
    """
    from lipaudit.render.json import JsonReporter
    from lipaudit.render.markdown import MarkdownReporter
    from lipaudit.render.text import TextReporter

    every: tuple[type[Reporter], ...] = (TextReporter, JsonReporter, MarkdownReporter)
    return {reporter.name: reporter for reporter in every}
