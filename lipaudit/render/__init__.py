"""Renderers: an AuditReport to a string. No printing, no paths, no exit codes; renderers do not know each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from lipaudit.render.base import Reporter

FORMATS = {
    "text": ("lipaudit.render.text", "TextReporter"),
    "json": ("lipaudit.render.json", "JsonReporter"),
    "markdown": ("lipaudit.render.markdown", "MarkdownReporter"),
    "html": ("lipaudit.render.html", "HtmlReporter"),
    "junit": ("lipaudit.render.junit", "JunitReporter"),
    "sarif": ("lipaudit.render.sarif", "SarifReporter"),
    "github": ("lipaudit.render.github", "GithubReporter"),
    "cyclonedx": ("lipaudit.render.cyclonedx", "CyclonedxReporter"),
    "csv": ("lipaudit.render.csv", "CsvReporter"),
    "jsonl": ("lipaudit.render.jsonl", "JsonlReporter"),
}
"""The formats by the name a user gives, and where each lives: they are imported one by one, on demand."""

PER_SAMPLE = ("csv", "jsonl")
"""The formats of one row a sample: nothing to say about a report without samples."""


def reporter(name: str) -> type[Reporter]:
    """The format of this name, which can be built without arguments. Raises UsageError where an extra is missing."""
    from importlib import import_module

    module, attribute = FORMATS[name]
    return cast("type[Reporter]", getattr(import_module(module), attribute))


def reporters() -> dict[str, type[Reporter]]:
    """Every format by its name."""
    return {name: reporter(name) for name in FORMATS}
