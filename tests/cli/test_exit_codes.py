"""The exit codes of the contract, for every command: 0 audited, 1 failed, 2 usage, 3 no verdict, 4 our fault."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lipaudit.cli import INTERRUPTED, main
from tests.cases.models import model, node, saved, weights

ROOT = Path(__file__).resolve().parents[2]
POLICY = "model = 'fine.onnx'\npreprocess = 'none'\nnorm = 'linf'\n"
INPUTS = "--norm linf --inputs x.npy"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models, data and policies of every kind."""
    where: Path = tmp_path_factory.mktemp("codes")
    saved(model([node("Mul", ["x", "w"])], weights(w=np.array([3.0, 2.0]))), where, "fine.onnx")
    saved(model([node("Sign", ["x"])]), where, "jumps.onnx")
    saved(model([node("Exp", ["x"])]), where, "exp.onnx")
    (where / "broken.onnx").write_bytes(b"no model")
    np.save(where / "x.npy", np.ones((2, 1, 2)))
    np.save(where / "y.npy", np.zeros(2, dtype=np.int64))
    (where / "pass.toml").write_text(POLICY + "[limits]\nupper = 4.0\n")
    (where / "fail.toml").write_text(POLICY + "[limits]\nupper = 2.0\n")
    (where / "units.toml").write_text(POLICY.replace("preprocess = 'none'\n", "") + "[limits]\nupper = 4.0\n")
    (where / "jumps.toml").write_text(POLICY.replace("fine", "jumps") + "[limits]\nupper = 4.0\n")
    (where / "typo.toml").write_text(POLICY + "[limits]\nuper = 4.0\n")
    return where


TABLE = [
    ("--version", 0),
    ("--help", 0),
    ("", 2),
    ("bond fine.onnx", 2),
    ("bound fine.onnx --norm linf", 0),
    ("bound exp.onnx --norm linf", 3),
    ("bound jumps.onnx", 3),
    ("bound broken.onnx", 2),
    ("bound none.onnx", 2),
    ("bound fine.onnx --norm l7", 2),
    ("bound fine.onnx --no-such-option", 2),
    ("bound", 2),
    (f"local fine.onnx {INPUTS}", 0),
    (f"local jumps.onnx {INPUTS}", 3),
    ("local fine.onnx", 2),
    (f"certify fine.onnx {INPUTS} --labels y.npy", 0),
    (f"certify exp.onnx {INPUTS} --labels y.npy", 3),
    (f"certify jumps.onnx {INPUTS} --labels y.npy", 3),
    (f"certify fine.onnx {INPUTS}", 2),
    ("gate --config pass.toml", 0),
    ("gate --config fail.toml", 1),
    ("gate --config units.toml", 3),
    ("gate --config jumps.toml", 3),
    ("gate --config typo.toml", 2),
    ("gate", 2),
    ("check fine.onnx", 0),
    ("check exp.onnx", 0),
    ("check jumps.onnx", 3),
    ("check broken.onnx", 2),
    ("baseline diff --config pass.toml --file none.toml", 2),
    ("baseline write --config pass.toml --file new.toml", 0),
    ("baseline diff --config pass.toml --file new.toml", 0),
    ("baseline write --config jumps.toml --file other.toml", 3),
    ("baseline write --config pass.toml --file pass.toml", 2),
    ("baseline", 2),
    ("annotate fine.onnx --norm linf -o noted.onnx", 0),
    ("annotate jumps.onnx -o noted.onnx", 3),
    ("annotate fine.onnx -o fine.onnx", 2),
    ("init fine.onnx --file start.toml", 0),
    ("init jumps.onnx --file none.toml", 3),
    ("init fine.onnx --file pass.toml", 2),
    ("bound fine.onnx --certificate c.json", 0),
    ("verify c.json fine.onnx", 0),
    ("verify c.json exp.onnx", 3),
    ("verify none.json fine.onnx", 2),
    ("verify x.npy fine.onnx", 2),
    ("verify c.json", 2),
    ("bound exp.onnx --norm linf --certificate d.json", 3),
    ("explain", 0),
    ("explain LIP101", 0),
    ("explain LIP999", 2),
    ("schema report", 0),
    ("schema config", 0),
    ("schema", 2),
    ("schema reports", 2),
]


@pytest.mark.parametrize(("line", "code"), TABLE, ids=[line or "nothing" for line, _ in TABLE])
def test_exit_code(line: str, code: int, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(folder)
    assert main(line.split()) == code, capsys.readouterr()
    out, err = capsys.readouterr()
    if code == 2:
        assert out == ""
        assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (RuntimeError("planted"), 4, "internal error, please report: RuntimeError: planted"),
        (KeyboardInterrupt(), INTERRUPTED, "interrupted"),
        (MemoryError(), 3, "out of memory: nothing was decided"),
    ],
)
@pytest.mark.parametrize("line", ["bound fine.onnx", "check fine.onnx", f"local fine.onnx {INPUTS}"])
def test_faults(
    line: str, error: BaseException, code: int, said: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise error

    monkeypatch.chdir(folder)
    monkeypatch.setattr(f"lipaudit.audit.{line.split()[0]}", broken)
    assert main(line.split()) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err


def test_every_command_is_in_the_table() -> None:
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    assert all(any(line.startswith(" ".join(words)) for line, _ in TABLE) for words in hooks.commands())
