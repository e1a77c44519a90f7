"""How a value enters the page: every string through `safe`, then escaped. There is no way around it in a template."""

from __future__ import annotations

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from lipaudit.render.safe import safe

_LONGEST = 2000
RESULTS = {"pass": "good", "fail": "bad", "inconclusive": "warn"}
MARKS = {"pass": "\N{CHECK MARK}", "fail": "\N{MULTIPLICATION X}", "inconclusive": "?"}
EXTRAS = ("op", "weight", "kind", "method")
"""The columns of the layers that a narrow page leaves out."""


def _shown(value: object) -> object:
    """The value as the template prints it. Markup is what our own figures made, which no name enters."""
    if isinstance(value, Markup):
        return value
    return safe(value, _LONGEST) if isinstance(value, str) else value


def rendered(template: str, **values: object) -> str:
    """The template with the values filled in. A name that is not there is an error, not an empty place."""
    environment = Environment(
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["pretty"] = lambda text: text.replace("<=", "≤").replace(">=", "≥").replace("->", "→")
    environment.globals |= {"results": RESULTS, "marks": MARKS, "extras": EXTRAS}
    del environment.filters["safe"]  # what would print a string as markup
    return environment.from_string(template).render(values)
