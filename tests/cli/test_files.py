"""Output files appear whole or not at all, and nothing that was read is ever overwritten."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from lipaudit.cli.files import check_target, write_whole
from lipaudit.errors import UsageError


def test_whole_and_with_the_usual_rights(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write_whole(path, b"one")
    write_whole(path, b"two")
    assert path.read_bytes() == b"two"
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask
    assert [entry.name for entry in tmp_path.iterdir()] == ["r.json"]


@pytest.mark.parametrize("name", ["os.open", "os.fdopen", "os.fsync", "pathlib.Path.replace"])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(b"old")

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(name, fail)
    with pytest.raises(UsageError, match=r"cannot write .*: No space left on device"):
        write_whole(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["r.json"]


def test_a_link_keeps_its_place(tmp_path: Path) -> None:
    target, link = tmp_path / "real", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    write_whole(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_inputs_are_protected_under_every_name(tmp_path: Path) -> None:
    model, link, hard = tmp_path / "m.onnx", tmp_path / "link", tmp_path / "hard"
    model.write_bytes(b"model")
    link.symlink_to(model)
    hard.hardlink_to(model)
    for path in (model, link, hard, tmp_path / "." / "m.onnx"):
        with pytest.raises(UsageError, match="will not overwrite"):
            check_target(path, [tmp_path / "other", model])
    check_target(tmp_path / "new.json", [model])
    with pytest.raises(UsageError, match="no regular file"):
        check_target(tmp_path, [])
