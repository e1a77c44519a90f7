"""The baseline: the numbers that a team has accepted, in a TOML file that a person reads and a review shows.

Every number stands under the id of the gate's rule on it, rounded outward: a constant up, an accuracy down. So a file
never promises more than was proven, and a value that has not changed is not worse than its own record.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from pathlib import Path
from typing import final

from lipaudit.errors import InvalidInput, UsageError
from lipaudit.gate.fields import Fields, is_number
from lipaudit.gate.toml import toml_key, toml_text

SCHEMA = 1
DIGITS = 6
_MODEL = ("model", "sha256", "recorded", "lipaudit", "settings", "values")
_HEADER = """\
# What `lipaudit baseline write` has recorded; `lipaudit gate` holds the models against it. Commit this file.
# Upper bounds are rounded up, lower bounds and accuracies down. The values' names are those of the gate's rules.
"""


@final
@dataclass(frozen=True, slots=True)
class Entry:
    """The record of one model. settings: what the numbers depend on, as texts; values: rule id to number.

    model: the path relative to the baseline's folder, with forward slashes.
    """

    model: str
    sha256: str
    recorded: date
    version: str
    settings: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, float] = field(default_factory=dict)


@final
@dataclass(frozen=True, slots=True)
class Baseline:
    """The records of a file. source: its path as the configuration has it."""

    source: str
    entries: tuple[Entry, ...]

    def of(self, model: str) -> Entry | None:
        """The record of a model by its path, or the only one there is: a candidate is held against what it replaces."""
        named = [entry for entry in self.entries if entry.model == model]
        if named:
            return named[0]
        return self.entries[0] if len(self.entries) == 1 else None


def relative_name(model: Path, baseline: Path) -> str:
    """The model's path as a baseline file records it."""
    return Path(os.path.relpath(model.resolve(), baseline.resolve().parent)).as_posix()


def at_most(rule: str) -> bool:
    """Whether a smaller value of the rule is the better one; a lower bound is neither."""
    return not (at_least(rule) or rule == "lower")


def at_least(rule: str) -> bool:
    """Whether the rule is one on an accuracy."""
    return rule == "clean" or rule.startswith("certified@")


def outward(rule: str, value: float) -> float:
    """The value as a baseline records it: six digits, rounded so that it promises no more than was found."""
    rounding = ROUND_CEILING if at_most(rule) else ROUND_FLOOR
    # An accuracy is a count over a total: 24/25 is recorded as 0.96, not as the float64 a little below it rounds to.
    exact = Context(prec=DIGITS, rounding=rounding).plus(Decimal(repr(value)) if at_least(rule) else Decimal(value))
    # `value` is a float64, so the float64 nearest to a decimal on its right side is not on the other.
    return float(exact)


def parse_baseline(content: Mapping[str, object], source: str) -> Baseline:
    """The records in a baseline file's table. Raises InvalidInput for a file of another kind or a wrong value."""
    try:
        top = Fields(content, source, ("schema", "models"))
        if top.whole("schema") != SCHEMA:
            raise InvalidInput(f"{source} is no baseline of schema {SCHEMA}; write it again: lipaudit baseline write")
        entries = tuple(_entry(table, f"{source}, models {n}") for n, table in enumerate(top.tables("models"), 1))
    except UsageError as error:
        raise InvalidInput(str(error)) from None
    return Baseline(source, entries)


def _entry(table: Mapping[str, object], where: str) -> Entry:
    fields = Fields(table, where, _MODEL)
    model, digest, day = fields.text("model"), fields.text("sha256"), fields.day("recorded")
    if model is None or digest is None or day is None:
        raise UsageError(f"{where}: model, sha256 and recorded belong to every record")
    values = fields.table("values")
    if not all(is_number(value) and float(value) >= 0.0 for value in values.values()):
        raise fields.wrong("values", "a table of finite numbers of at least 0")
    settings = {key: str(value) for key, value in fields.table("settings").items()}
    numbers = {key: float(value) for key, value in values.items() if is_number(value)}
    return Entry(model, digest, day, fields.text("lipaudit") or "", settings, numbers)


def updated(baseline: Baseline | None, entries: Sequence[Entry], source: str) -> Baseline:
    """The baseline with these entries in the place of older ones of the same models; the others are kept."""
    fresh = {entry.model: entry for entry in entries}
    kept = () if baseline is None else baseline.entries
    merged = {**{entry.model: entry for entry in kept}, **fresh}
    return Baseline(source, tuple(merged[name] for name in sorted(merged)))


def baseline_toml(baseline: Baseline) -> str:
    """The file's text: the same records give the same bytes."""
    blocks = [_HEADER + f"schema = {SCHEMA}\n"]
    for entry in baseline.entries:
        lines = ["[[models]]", f"model = {toml_text(entry.model)}", f"sha256 = {toml_text(entry.sha256)}"]
        lines += [f"recorded = {entry.recorded.isoformat()}", f"lipaudit = {toml_text(entry.version)}"]
        lines += ["", "[models.settings]", *(f"{toml_key(k)} = {toml_text(v)}" for k, v in entry.settings.items())]
        lines += ["", "[models.values]", *(f"{toml_key(k)} = {v!r}" for k, v in entry.values.items())]
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)
