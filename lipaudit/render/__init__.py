"""Renderers: an AuditReport to a string. No printing, no paths, no exit codes; renderers do not know each other."""

from __future__ import annotations

from lipaudit.render.base import Reporter
from lipaudit.render.json import JsonReporter
from lipaudit.render.markdown import MarkdownReporter
from lipaudit.render.text import TextReporter

REPORTERS: dict[str, type[Reporter]] = {
    reporter.name: reporter for reporter in (TextReporter, JsonReporter, MarkdownReporter)
}
"""The report formats by the name a user gives; each can be built without arguments."""

__all__ = ["REPORTERS", "JsonReporter", "MarkdownReporter", "Reporter", "TextReporter"]
