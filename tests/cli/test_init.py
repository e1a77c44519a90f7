"""A starting configuration is one: it parses as it stands and uncommented, and never replaces a file."""

from __future__ import annotations

import re
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from lipaudit.cli import main
from lipaudit.gate.limits import Relative
from lipaudit.gate.policy import ModelPolicy, parse_policy
from tests.cases.models import model, node, saved

SAMPLES = Path(__file__).resolve().parents[2] / "sample_models"
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(SAMPLES / "digits_mlp.onnx", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(path: Path) -> ModelPolicy:
    [policy] = parse_policy(tomllib.loads(path.read_text()), path.parent, str(path)).models
    return policy


def test_it_parses_as_it_stands(capsys: Captured, folder: Path) -> None:
    assert main(["init", "digits_mlp.onnx"]) == 0
    policy = read(folder / "lipaudit.toml")
    assert policy.model == folder / "digits_mlp.onnx"
    assert policy.preprocess is None
    assert policy.domain is None
    assert policy.limits.upper == Relative(1.0)
    out = capsys.readouterr().out
    assert out.splitlines()[:3] == ["wrote lipaudit.toml", "next:", "  1. declare the preprocessing in lipaudit.toml"]


def test_every_comment_that_is_a_key_is_one(folder: Path) -> None:
    assert main(["init", "digits_mlp.onnx"]) == 0
    text = (folder / "lipaudit.toml").read_text()
    text = text.replace('# preprocess = "none"\n# preprocess = {scale = 255}\n', "")
    whole = re.sub(r'^# (?=(?:\[+[a-z.]+\]|[a-z_0-9]+ = |"op))', "", text, flags=re.MULTILINE)
    (folder / "all.toml").write_text(whole)
    policy = read(folder / "all.toml")
    assert policy.waivers
    assert policy.levels == {"LIP002": "warn"}
    assert policy.limits.certified
    assert policy.limits.local
    assert policy.limits.layers == (("op:Gemm", 5.0),)
    assert len([line for line in whole.splitlines() if " = " in line and line.startswith("# ")]) == 0


def test_what_the_options_say_is_filled_in(folder: Path) -> None:
    np.savez(folder / "box.npz", lower=np.zeros(64), upper=np.ones(64))
    (folder / "ci").mkdir()
    options = ["--preprocess", "mean=0.5;std=0.25", "--domain", "box.npz", "--norm", "linf", "--seed", "3"]
    assert (
        main(
            ["init", "digits_mlp.onnx", "--file", "ci/gate.toml", *options, "--shape", "input=1,64", "--input", "input"]
        )
        == 0
    )
    policy = read(folder / "ci" / "gate.toml")
    assert policy.norm == "linf"
    assert policy.seed == 3
    assert policy.varying == ("input",)
    assert policy.shapes == {"input": (1, 64)}
    assert isinstance(policy.domain, Path)
    assert policy.domain.samefile(folder / "box.npz")
    assert policy.preprocess is not None
    assert (policy.preprocess.mean, policy.preprocess.std) == ((0.5,), (0.25,))


@pytest.mark.parametrize("name", ["lipaudit.toml", "digits_mlp.onnx", "link.toml"])
def test_never_over_a_file(capsys: Captured, folder: Path, name: str) -> None:
    (folder / "lipaudit.toml").write_text("mine")
    (folder / "link.toml").symlink_to(folder / "nowhere.toml")
    before = (folder / "digits_mlp.onnx").read_bytes()
    assert main(["init", "digits_mlp.onnx", "--file", name]) == 2
    assert f"{name} exists" in capsys.readouterr().err
    assert (folder / "lipaudit.toml").read_text() == "mine"
    assert (folder / "digits_mlp.onnx").read_bytes() == before
    assert not (folder / "nowhere.toml").exists()


@pytest.mark.parametrize("name", ['x"]\n[limits]\nupper = 1e9 #', "x\\", "\x1b[31m", "x\u202e", "'''"])
def test_names_from_the_model_write_no_policy(folder: Path, name: str) -> None:
    made = model([node("Exp", [name])], inputs=[(name, (1, 2))], dtype=TensorProto.FLOAT)
    made.graph.node[0].name = name
    path = saved(made, folder, "m.onnx")
    code = main(["init", str(path), "--output", "y"])
    if code == 0:
        policy = read(folder / "lipaudit.toml")
        assert policy.output == "y"
        assert policy.limits.upper == Relative(1.0)
        assert all(char.isprintable() or char == "\n" for char in (folder / "lipaudit.toml").read_text())
    else:
        assert not (folder / "lipaudit.toml").exists()


def test_a_model_without_an_audit_gets_none(capsys: Captured, folder: Path) -> None:
    saved(model([node("Sign", ["x"])]), folder, "jumps.onnx")
    assert main(["init", "jumps.onnx"]) == 3
    assert "Sign" in capsys.readouterr().err
    assert not (folder / "lipaudit.toml").exists()
