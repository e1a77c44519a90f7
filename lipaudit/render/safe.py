"""One gate for text from outside: names in a model file are a stranger's, and a terminal obeys control characters."""

from __future__ import annotations

import hashlib
import unicodedata

_FORBIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Control (C0, C1, DEL), format (bidi, zero-width), surrogates, private, unassigned, line and paragraph breaks."""

_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u3164\uffa0\u2800") | frozenset(
    chr(code) for code in range(0xFE00, 0xFE10)
)
"""Fillers and variation selectors: letters and marks by category, nothing on the screen."""


def safe(text: str, limit: int = 120) -> str:
    r"""The text in one line of visible characters, at most `limit` of them.

    What steers a terminal, turns the writing direction or cannot be seen becomes \xNN, \uNNNN or \UNNNNNNNN.
    Where a text is too long its middle gives way to 8 digits of its hash (4 where there is hardly any room), so
    that two different names stay different.
    """
    shown = "".join(map(_visible, text))
    if len(shown) <= limit:
        return shown
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[: 8 if limit >= 24 else 4]
    rest = max(2, limit - len(digest) - 2)
    tail = rest // 2
    return f"{shown[: rest - tail]}…{digest}…{shown[-tail:]}"


def _visible(char: str) -> str:
    if " " <= char <= "~":
        return char
    if unicodedata.category(char) not in _FORBIDDEN and char not in _INVISIBLE:
        return char
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
