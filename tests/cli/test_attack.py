"""`certify` with its attack, end to end: the bracket of every radius, and the counterexamples that are kept."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lipaudit.cli import main

SAMPLES = Path(__file__).resolve().parents[2] / "sample_models"
Captured = pytest.CaptureFixture[str]
CERTIFY = (
    "certify",
    "digits_mlp.onnx",
    "--preprocess",
    "none",
    "--inputs",
    "digits_mlp.npz",
    "--labels",
    "digits_mlp.npz",
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(SAMPLES / "digits_mlp.onnx", tmp_path)
    with np.load(SAMPLES / "digits_mlp.npz") as data:
        np.savez(tmp_path / "digits_mlp.npz", x=data["x"][:12], y=data["y"][:12])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys: Captured, code: int, *args: str) -> tuple[str, str]:
    assert main(list(args)) == code
    captured = capsys.readouterr()
    return captured.out, captured.err


def shown(capsys: Captured, *args: str) -> dict[str, Any]:
    content = json.loads(run(capsys, 0, *CERTIFY, "--output-format", "json", *args)[0])
    assert isinstance(content, dict)
    return content


def test_every_radius_is_bracketed_and_the_counterexamples_are_kept(capsys: Captured, folder: Path) -> None:
    files = ("--save-worst", "worst.npz", "-o", "csv:c.csv")
    radii = shown(capsys, "--domain", "0,16", "--radius", "2", *files)["radii"]
    attack = radii["attack"]
    assert attack["tried"] == attack["count"] == radii["count"]
    for low, high in zip(radii["per_sample"], attack["per_sample"], strict=True):
        assert low <= high
    assert attack["accuracy"][0]["accuracy_at_most"] >= 0.5
    with np.load(folder / "worst.npz") as kept, np.load(folder / "digits_mlp.npz") as data:
        assert len(kept["index"]) == attack["count"]
        assert (np.diff(kept["distance"]) >= 0).all()
        assert (kept["x"] >= 0).all()
        assert (kept["x"] <= 16).all()
        assert (kept["answer"] != kept["label"]).all()
        step = kept["x"].reshape(len(kept["x"]), -1) - data["x"].reshape(12, -1)[kept["index"]]
        assert np.allclose(np.linalg.norm(step, axis=1), kept["distance"])
        assert (kept["certified"] <= kept["distance"]).all()
    header = (folder / "c.csv").read_text().splitlines()[0]
    assert header == "index,label,radius,correct,attacked,answer"


def test_no_attack_where_nobody_wants_one(capsys: Captured, folder: Path) -> None:
    assert shown(capsys, "--attack", "none")["radii"]["attack"] is None
    assert folder.is_dir()


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--attack", "soon"), "no duration"),
        (("--attack", "none", "--save-worst", "w.npz"), "there is none"),
        (("--save-worst", "w.csv"), "no .npz"),
        (("--save-worst", "digits_mlp.npz"), "will not overwrite"),
        (("--save-worst", "w.npz", "-o", "npz:w.npz"), "where a report goes"),
    ],
)
def test_what_cannot_be_attacked_or_kept(capsys: Captured, folder: Path, args: tuple[str, ...], says: str) -> None:
    assert says in run(capsys, 2, *CERTIFY, *args)[1]
    assert not (folder / "w.npz").exists()


def test_a_regression_is_bracketed_too(capsys: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with np.load(SAMPLES / "diabetes_tanh.npz") as data:
        np.save("x.npy", data["x"][:10])
    files = ("--inputs", "x.npy", "--method", "local", "--save-worst", "w.npz", "--output-format", "json")
    code = ("certify", str(SAMPLES / "diabetes_tanh.onnx"), "--tolerance", "0.2", *files)
    radii = json.loads(run(capsys, 0, *code)[0])["radii"]
    assert radii["attack"]["count"] == radii["count"] == 10
    columns = (radii["whole_domain"]["per_sample"], radii["per_sample"], radii["attack"]["per_sample"])
    for known, low, high in zip(*columns, strict=True):
        assert known <= low <= high
    assert radii["median"] > 1.2 * radii["whole_domain"]["median"]
    with np.load("w.npz") as kept:
        assert (kept["answer"] == 0).all()
