"""Fields: a TOML table read key by key, so that a misspelt limit is an error and not a limit that is never checked."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import TypeGuard, final

from lipaudit.errors import UsageError

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|)")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([MG]i?B)")
_SIZES = {"MB": 1e6, "GB": 1e9, "MiB": 2.0**20, "GiB": 2.0**30}
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def duration(text: str) -> float:
    """Seconds, from '90', '60s', '2m' or '1h'. Raises UsageError."""
    match = _DURATION.fullmatch(text.strip())
    seconds = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if not 0.0 < seconds < math.inf:
        raise UsageError(f"{text!r} is no duration; write 90, 60s or 2m")
    return seconds


def size(text: str) -> float:
    """Bytes, from '500MB', '4GB' or '2GiB'. Raises UsageError."""
    match = _SIZE.fullmatch(text.strip())
    found = float(match[1]) * _SIZES[match[2]] if match else 0.0
    if not 0.0 < found < math.inf:
        raise UsageError(f"{text!r} is no size of memory; write 500MB, 4GB or 2GiB")
    return found


def is_precision(value: float) -> bool:
    """Whether a relative gap can be asked for: rounding alone leaves some 1e-11."""
    return 1e-9 <= value <= 1.0


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint for a word that is not known: '; did you mean ...?', or what there is."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f" (known: {', '.join(known)})"


@final
class Fields:
    """One table. Every reader gives None where it is missing; a key that nobody knows is refused at once."""

    def __init__(self, content: Mapping[str, object], where: str, known: Iterable[str]) -> None:
        self._content, self._where = content, where
        known = tuple(known)
        for key in content:
            if key not in known:
                raise UsageError(f"{where}: unknown key {key!r}{nearest(key, known)}")

    def has(self, key: str) -> bool:
        """Whether the key is there, whatever it holds."""
        return key in self._content

    def raw(self, key: str) -> object:
        """The value as it stands in the file."""
        return self._content.get(key)

    def wrong(self, key: str, wanted: str) -> UsageError:
        """The error that says what the key should have held."""
        return UsageError(f"{self._where}: {key} must be {wanted}, not {self._content.get(key)!r}")

    def text(self, key: str) -> str | None:
        value = self._content.get(key)
        if value is not None and not (isinstance(value, str) and value):
            raise self.wrong(key, "a text")
        return value

    def choice(self, key: str, choices: tuple[str, ...]) -> str | None:
        value = self.text(key)
        if value is not None and value not in choices:
            raise self.wrong(key, f"one of {', '.join(choices)}")
        return value

    def whole(self, key: str) -> int | None:
        value = self._content.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise self.wrong(key, "a whole number from 0")
        return value

    def number(self, key: str, low: float = 0.0, high: float = math.inf) -> float | None:
        """A finite number in [low, high]; NaN, infinity and true are not numbers here."""
        value = self._content.get(key)
        if value is None:
            return None
        if not is_number(value) or not low <= float(value) <= high:
            raise self.wrong(key, self.span(low, high))
        return float(value)

    @staticmethod
    def span(low: float, high: float) -> str:
        """The words for a number in [low, high]."""
        return f"a finite number of at least {low:g}" if high == math.inf else f"a number from {low:g} to {high:g}"

    def day(self, key: str) -> date | None:
        """A TOML date, without a time."""
        value = self._content.get(key)
        if value is not None and (not isinstance(value, date) or isinstance(value, datetime)):
            raise self.wrong(key, "a date such as 2027-01-31, without quotes")
        return value

    def table(self, key: str) -> Mapping[str, object]:
        """A table, empty where the key is missing."""
        value = self._content.get(key, {})
        if not isinstance(value, dict):
            raise self.wrong(key, "a table")
        return value

    def tables(self, key: str) -> tuple[Mapping[str, object], ...]:
        """A table, or a list of tables."""
        value = self._content.get(key, [])
        several = value if isinstance(value, list) else [value]
        if not all(isinstance(entry, dict) for entry in several):
            raise self.wrong(key, "a table or a list of tables")
        return tuple(several)

    def numbers(self, key: str) -> tuple[float, ...]:
        """One number, or a list of them."""
        value = self._content.get(key)
        several = value if isinstance(value, list) else [value]
        found = tuple(float(entry) for entry in several if is_number(entry))
        if not found or len(found) != len(several):
            raise self.wrong(key, "a number or a list of numbers")
        return found


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a TOML value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
