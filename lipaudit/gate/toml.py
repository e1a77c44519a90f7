"""TOML texts: names come from model files, and none of them may end a string or begin a line."""

from __future__ import annotations

import re

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def toml_key(name: str) -> str:
    """A key: bare where it may be."""
    return name if _BARE.fullmatch(name) else toml_text(name)


def toml_text(text: str) -> str:
    """A TOML basic string. Names come from model files: whatever is not plain is escaped."""
    return '"' + "".join(_escaped(char) for char in text) + '"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    if char.isprintable():
        return char
    code = ord(char)
    if 0xD800 <= code < 0xE000:
        return "\\uFFFD"  # TOML has no surrogates
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
