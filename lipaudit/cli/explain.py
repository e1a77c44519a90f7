"""`lipaudit explain`: what a code or a word of a report means."""

from __future__ import annotations

import textwrap
from difflib import get_close_matches
from typing import Annotated

import typer

from lipaudit.cli import stdout
from lipaudit.cli.glossary import GLOSSARY
from lipaudit.errors import UsageError
from lipaudit.report.finding import CODES

_WIDTH = 80


def explain(
    word: Annotated[str | None, typer.Argument(metavar="LIPnnn|TERM", help="A code or a word.")] = None,
) -> int:
    """Explain a code or a word of a report.

    Without one, list them.
    """
    stdout.write(f"{_everything() if word is None else _one(word)}\n")
    return 0


def _one(word: str) -> str:
    code, term = CODES.get(word.upper()), GLOSSARY.get(word.lower())
    if code is not None:
        said = f"{code.code} {code.title} ({code.severity})"
        what = [_wrapped(f"What: {code.meaning}"), _wrapped(f"Why: {code.why}"), _wrapped(f"What to do: {code.remedy}")]
        example = textwrap.indent(code.example, "    ")
        return "\n\n".join([said, *what, f"Example:\n\n{example}"])
    if term is not None:
        return f"{word.lower()}\n\n{_wrapped(term)}"
    close = get_close_matches(word.lower(), [*map(str.lower, CODES), *GLOSSARY], n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise UsageError(f"no code or word {word!r}{hint} (lipaudit explain lists them all)")


def _everything() -> str:
    codes = [f"  {code.code}  {code.title}" for code in CODES.values()]
    terms = textwrap.fill(", ".join(GLOSSARY), _WIDTH, initial_indent="  ", subsequent_indent="  ")
    return "\n".join(["Codes", *codes, "", "Words", terms])


def _wrapped(text: str) -> str:
    return textwrap.fill(text, _WIDTH)
