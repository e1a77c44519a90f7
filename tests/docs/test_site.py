"""The site builds without a broken link, and what README and pages say to type is what the commands take."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from lipaudit.cli.glossary import GLOSSARY
from lipaudit.report.codes import CODES

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_TYPED = re.compile(r"(?:^|`|\$ |run: )(lipaudit(?: [^`\n#]*)?)", re.MULTILINE)


def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HOOKS = hooks()
COMMANDS: list[tuple[str, ...]] = HOOKS.commands()
GROUPS = {words[0] for words in COMMANDS if len(words) > 1}


def test_the_site_builds(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rules = (tmp_path / "site" / "rules.html").read_text(encoding="utf-8")
    assert all(f'id="{code}"' in rules for code in CODES)
    words = (tmp_path / "site" / "words.html").read_text(encoding="utf-8")
    assert all(f"<strong>{word}</strong>" in words for word in GLOSSARY)
    assert not (tmp_path / "site" / "hooks.py").exists()


def test_every_command_has_its_help() -> None:
    assert ("baseline", "write") in COMMANDS
    assert {"bound", "local", "certify", "gate", "check"} <= {words[0] for words in COMMANDS}
    page = HOOKS.pages()["commands.md"]
    for words in COMMANDS:
        assert f"## lipaudit {' '.join(words)}\n" in page
        assert f"Usage: lipaudit {' '.join(words)} " in page


def typed() -> list[tuple[str, str]]:
    """Every command line that a page shows, with the page's name."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        shown = [*re.findall(r"```.*?\n(.*?)```", text, re.DOTALL), *re.findall(r"(?:^    .*\n)+", text, re.MULTILINE)]
        shown += re.findall(r"`lipaudit[^`\n]*`", text)
        for part in shown:
            for line in part.splitlines():
                found += [(page.name, match.strip()) for match in _TYPED.findall(line.strip())]
    return sorted(set(found))


@pytest.mark.parametrize(("page", "line"), typed())
def test_what_a_page_says_to_type(page: str, line: str) -> None:
    words = re.split(r"[ \[\]]+", line.split(" && ")[0].split("   ")[0])[1:]
    if not words or words[0] in ("--help", "--version", "COMMAND", "--install-completion", "--show-completion"):
        return
    if words[0] not in {name for name, *_ in COMMANDS}:
        assert " " not in line or not re.fullmatch(r"[a-z]+", words[0]), f"{page}: no command {words[0]}"
        return
    parts = words[1].split("|") if words[0] in GROUPS and len(words) > 1 else [""]
    for part in parts:
        command = tuple(filter(None, (words[0], part)))
        help_text = HOOKS.help_of(*command)
        assert command in COMMANDS or command[0] in GROUPS, f"{page}: no command {command}"
        for option in (word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)):
            assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", help_text), f"{page}: {line}: {option}"


def test_every_command_is_in_the_readme() -> None:
    text = PAGES[0].read_text(encoding="utf-8")
    listed = re.findall(r"^    lipaudit ([a-z]+)", text, re.MULTILINE)
    assert {words[0] for words in COMMANDS} == set(listed)
