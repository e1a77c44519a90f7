"""`lipaudit schema`: the JSON Schemas of what is written and of what is read."""

from __future__ import annotations

from importlib.resources import files
from typing import Annotated, Literal

import typer

from lipaudit.cli import stdout


def schema(
    name: Annotated[Literal["report", "config"], typer.Argument(metavar="report|config", help="Which schema.")],
) -> int:
    """Print a JSON Schema: of a report or a configuration.

    Editors and scripts check files by it; the configuration's is that of lipaudit.toml, read as JSON.
    """
    stdout.write((files("lipaudit") / "schemas" / f"{name}.json").read_text(encoding="utf-8"))
    return 0
