"""The golden files: each format of the fixed reports, as it is printed. `make golden` writes them again."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lipaudit.render import PER_SAMPLE, reporters
from lipaudit.render.text import TextReporter
from tests.render.reports import ALL

FOLDER = Path(__file__).parent / "golden"
EXTENSIONS = {"text": "txt", "markdown": "md", "junit": "xml", "cyclonedx": "cdx.json", "github": "github.txt"}
SAMPLED = ("local", "regions", "certify", "attacked", "grown")
UNDRAWN = ("regions", "attacked", "grown")
"""Reports whose page has a figure like that of another one: one of each is enough to keep."""


def golden() -> dict[str, str]:
    """The content of every golden file by its name."""
    found = {}
    for name, reporter in reporters().items():
        for report in SAMPLED if name in PER_SAMPLE else ALL:
            if name == "html" and report in UNDRAWN:
                continue
            found[f"{report}.{EXTENSIONS.get(name, name)}"] = reporter().render(ALL[report])
    return found | {f"{report}.wide.txt": TextReporter(120).render(ALL[report]) for report in ALL}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.iterdir():
        old.unlink()
    for name, content in golden().items():
        (FOLDER / name).write_text(content, encoding="utf-8", newline="")
