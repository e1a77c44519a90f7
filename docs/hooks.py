"""Pages of the site that are written from the code: the commands, the codes, the words. Run by mkdocs."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout
from typing import Any

from lipaudit.cli import main
from lipaudit.cli.glossary import GLOSSARY
from lipaudit.report.codes import CODES

_FAMILIES = {
    "LIP0": "Rules of the gate",
    "LIP1": "The model",
    "LIP2": "What the gate lacks",
    "LIP3": "The data",
    "LIP4": "The run",
    "LIP9": "Faults of lipaudit",
}
_LISTED = re.compile(r"^  ([a-z]+) ", re.MULTILINE)


def on_files(files: Any, config: Any) -> Any:
    """Adds the generated pages to those in the folder."""
    from mkdocs.structure.files import File

    for name, content in pages().items():
        files.append(File.generated(config, name, content=content))
    return files


def pages() -> dict[str, str]:
    """Every generated page by its name."""
    return {"commands.md": _commands(), "rules.md": _rules(), "words.md": _words()}


def commands() -> list[tuple[str, ...]]:
    """Every command as its words, subcommands after their group."""
    found: list[tuple[str, ...]] = []
    for name in _listed():
        inner = _listed(name)
        found += [(name, sub) for sub in inner] if inner else [(name,)]
    return found


def help_of(*words: str) -> str:
    """What --help prints."""
    stream = io.StringIO()
    with redirect_stdout(stream):
        main([*words, "--help"])
    return stream.getvalue()


def _listed(*words: str) -> list[str]:
    _, heading, after = help_of(*words).partition("\nCommands:\n")
    return _LISTED.findall(after.partition("\n\n")[0]) if heading else []


def _commands() -> str:
    blocks = ["# Commands", "What each prints with `--help`.", f"```text\n{help_of().rstrip()}\n```"]
    for words in commands():
        blocks += [f"## lipaudit {' '.join(words)}", f"```text\n{help_of(*words).rstrip()}\n```"]
    return "\n\n".join(blocks) + "\n"


def _rules() -> str:
    blocks = ["# Rules and codes", "What `lipaudit explain` says of each. Codes are never reused."]
    for start, title in _FAMILIES.items():
        blocks.append(f"## {title}")
        listed = [code for code in CODES.values() if code.code.startswith(start)]
        for code in listed:
            blocks += [
                f"### {code.code}: {code.title} {{: #{code.code} }}",
                f"*{code.severity}* - {code.meaning}",
                f"**Why.** {code.why}",
                f"**What to do.** {code.remedy}",
                f"```text\n{code.example}\n```",
            ]
    return "\n\n".join(blocks) + "\n"


def _words() -> str:
    rows = [f"**{word}**: {meaning}" for word, meaning in GLOSSARY.items()]
    return "\n\n".join(["# Words", *rows]) + "\n"
