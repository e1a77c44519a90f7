"""The levels of rules: off (not judged), warn (a failure is told and does not decide), error (it fails the gate).

A level never turns what was not proven into a pass: an inconclusive rule is inconclusive at warn, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from lipaudit.gate.fields import Fields

Setting = Literal["off", "warn", "error"]

SETTINGS: dict[str, Setting] = {"off": "off", "warn": "warn", "error": "error"}

RULES = {
    "upper": "LIP001",
    "ratio": "LIP002",
    "layer": "LIP003",
    "local": "LIP004",
    "certified": "LIP005",
    "clean_accuracy": "LIP006",
    "improvement": "LIP011",
}
"""The rules that have a level, by the name of their limit."""

DEFAULTS: dict[str, Setting] = {"LIP011": "warn"}


def parse_levels(content: Mapping[str, object], where: str) -> dict[str, Setting]:
    """Code to level, from a table by names or codes. Raises UsageError."""
    fields = Fields(content, where, (*RULES, *RULES.values()))
    found = {}
    for key in content:
        level = fields.choice(key, tuple(SETTINGS))
        code = RULES.get(key, key)
        if code in found:
            raise fields.wrong(key, f"given once, by its name or as {code}")
        if level is not None:
            found[code] = SETTINGS[level]
    return found


def level_of(code: str, levels: Mapping[str, Setting]) -> Setting:
    """The level of a rule: as the policy says, or its default."""
    return levels.get(code, DEFAULTS.get(code, "error"))
