"""How a value enters the page: every string through `safe`, then escaped. There is no way around it in a template."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from lipaudit.render.safe import safe

RESULTS = {"pass": "good", "fail": "bad", "inconclusive": "warn"}
MARKS = {"pass": "\N{CHECK MARK}", "fail": "\N{MULTIPLICATION X}", "inconclusive": "?"}
EXTRAS = ("op", "weight", "kind", "method")
"""The columns of the layers that a narrow page leaves out."""


def rendered(template: str, longest: int, **values: object) -> str:
    """The template filled in, no text longer than that. An unknown name is an error, not an empty place."""
    return _compiled(template, longest).render(values)


@cache
def _compiled(template: str, longest: int) -> Template:
    def shown(value: object) -> object:
        if isinstance(value, Markup):  # what our own figures made, which no name enters
            return value
        return safe(value, longest) if isinstance(value, str) else value

    environment = Environment(
        autoescape=True,
        finalize=shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["pretty"] = _pretty
    environment.globals |= {"results": RESULTS, "marks": MARKS, "extras": EXTRAS}
    del environment.filters["safe"]  # what would print a string as markup
    return environment.from_string(template)


def _pretty(text: str) -> str:
    """Signs in place of their ASCII spelling."""
    return text.replace("<=", "≤").replace(">=", "≥").replace("->", "→")
