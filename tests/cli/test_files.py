"""Output files appear whole or not at all, and nothing that was read is ever overwritten."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from lipaudit.cli.files import check_target, write_whole
from lipaudit.cli.options import Output
from lipaudit.cli.output import publish, targets
from lipaudit.errors import UsageError
from tests.render.reports import BOUND


def test_whole_and_with_the_usual_rights(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write_whole(path, b"one")
    write_whole(path, b"two")
    assert path.read_bytes() == b"two"
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask
    assert [entry.name for entry in tmp_path.iterdir()] == ["r.json"]


def test_a_link_keeps_its_place(tmp_path: Path) -> None:
    target, link = tmp_path / "real", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    write_whole(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_a_link_that_leads_nowhere_or_round_is_an_error(tmp_path: Path) -> None:
    lost, loop = tmp_path / "lost", tmp_path / "loop"
    lost.symlink_to(tmp_path / "no" / "folder")
    loop.symlink_to(loop)
    for link in (lost, loop):
        with pytest.raises(UsageError, match="cannot write"):
            write_whole(link, b"new")
        assert link.is_symlink()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_link_turned_at_an_input_during_the_audit_is_seen(tmp_path: Path) -> None:
    model, link = tmp_path / "m.onnx", tmp_path / "r.json"
    model.write_bytes(b"model")
    wanted = targets(Output(files=[f"json:{link}"]), [model])
    link.symlink_to(model)
    with pytest.raises(UsageError, match="will not overwrite"):
        publish(BOUND, Output(), wanted)
    assert model.read_bytes() == b"model"


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
