"""`lipaudit explain`: what a code or a word of a report means."""

from __future__ import annotations

import textwrap
from typing import Annotated

import typer

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
    typer.echo(_everything() if word is None else _one(word))
    return 0


def _one(word: str) -> str:
    code, term = CODES.get(word.upper()), GLOSSARY.get(word.lower())
    if code is not None:
        said = f"{code.code} {code.title} ({code.severity})"
        return f"{said}\n\n{_wrapped(code.meaning)}\n\nWhat to do: {code.remedy}"
    if term is not None:
        return f"{word.lower()}\n\n{_wrapped(term)}"
    from lipaudit.gate.fields import nearest

    raise UsageError(f"nothing is called {word!r}{nearest(word.lower(), [*(c.lower() for c in CODES), *GLOSSARY])}")


def _everything() -> str:
    codes = [f"  {code.code}  {code.title}" for code in CODES.values()]
    terms = textwrap.fill(", ".join(GLOSSARY), _WIDTH, initial_indent="  ", subsequent_indent="  ")
    return "\n".join(["Codes", *codes, "", "Words", terms])


def _wrapped(text: str) -> str:
    return textwrap.fill(text, _WIDTH)
