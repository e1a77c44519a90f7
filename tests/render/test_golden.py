"""Each format of the fixed reports is the golden file, byte by byte: no change of what is printed goes unseen."""

from __future__ import annotations

import difflib

import pytest

from tests.render.golden import FOLDER, golden

CONTENT = golden()


def test_no_golden_file_is_left_over() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(CONTENT)


@pytest.mark.parametrize("name", CONTENT)
def test_golden(name: str) -> None:
    kept = (FOLDER / name).read_bytes().decode("utf-8")
    if kept != CONTENT[name]:
        changed = difflib.unified_diff(kept.splitlines(), CONTENT[name].splitlines(), "kept", "now", lineterm="", n=1)
        pytest.fail("\n".join(["`make golden` writes it again, if this is meant:", *list(changed)[:40]]))
