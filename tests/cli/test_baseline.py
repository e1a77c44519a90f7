"""The ratchet from end to end: write, gate, diff, a model that became worse, and one that became better."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from lipaudit.cli import main

SAMPLES = Path(__file__).resolve().parents[2] / "sample_models"
POLICY = """
model = "model.onnx"
preprocess = "none"
domain = [0, 16]
inputs = "data.npz:x"
labels = "data.npz:y"
baseline = "accepted.toml"

[limits]
upper = "baseline"

[limits.certified]
radius = 1
accuracy = {baseline = 0.99}
"""
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(SAMPLES / "digits_mlp.onnx", tmp_path / "model.onnx")
    with np.load(SAMPLES / "digits_mlp.npz") as data:
        np.savez(tmp_path / "data.npz", x=data["x"][:20], y=data["y"][:20])
    (tmp_path / "lipaudit.toml").write_text(POLICY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def scaled(path: Path, factor: float) -> None:
    """The model with its last weight so many times as large."""
    model = onnx.load(path)
    tensor = max(model.graph.initializer, key=lambda t: list(t.dims) == [10, 64])
    assert list(tensor.dims) in ([10, 64], [64, 10])
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(factor), tensor.name))
    onnx.save(model, path)


def said(capsys: Captured, code: int, *arguments: str) -> dict[str, Any]:
    assert main([*arguments, "--output-format", "json"]) == code, capsys.readouterr().err
    content = json.loads(capsys.readouterr().out)
    assert isinstance(content, dict)
    return content


def test_a_ratchet_from_end_to_end(capsys: Captured, folder: Path) -> None:
    first = said(capsys, 3, "gate")
    assert {rule["result"] for rule in first["rules"]} == {"inconclusive"}
    assert "LIP012" in {finding["code"] for finding in first["findings"]}

    written = said(capsys, 0, "baseline", "write")
    assert written["command"] == "baseline"
    assert "baseline" not in written
    record = tomllib.loads((folder / "accepted.toml").read_text())["models"][0]
    assert record["model"] == "model.onnx"
    assert record["sha256"] == written["model"]["sha256"]
    assert record["values"]["global"] >= written["upper"]["value"]
    assert record["values"]["lower"] <= written["lower"]["value"]
    assert record["values"]["clean"] <= written["clean_accuracy"]

    same = said(capsys, 0, "gate")
    assert same["verdict"] == "pass"
    assert same["baseline"]["same_model"] is True
    assert {c["trend"] for c in same["baseline"]["changes"]} == {"same"}

    scaled(folder / "model.onnx", 1.5)
    worse = said(capsys, 1, "gate")
    assert {rule["id"]: rule["result"] for rule in worse["rules"]}["global"] == "fail"
    assert worse["baseline"]["same_model"] is False
    shown = {c["id"]: c["trend"] for c in said(capsys, 0, "baseline", "diff")["baseline"]["changes"]}
    assert shown["global"] == "worse"

    scaled(folder / "model.onnx", 0.5)
    better = said(capsys, 0, "gate")
    assert "LIP011" in {finding["code"] for finding in better["findings"]}
    (folder / "lipaudit.toml").write_text(POLICY + "[rules]\nimprovement = 'error'\n")
    assert said(capsys, 1, "gate")["verdict"] == "fail"
    assert said(capsys, 0, "baseline", "write")["baseline"]["changes"]
    assert said(capsys, 0, "gate")["verdict"] == "pass"


def test_other_settings_are_inconclusive(capsys: Captured, folder: Path) -> None:
    said(capsys, 0, "baseline", "write")
    (folder / "lipaudit.toml").write_text(POLICY.replace("[0, 16]", "[0, 20]"))
    shown = said(capsys, 3, "gate")
    assert shown["verdict"] == "inconclusive"
    assert any("region" in text for text in shown["baseline"]["differences"])


def test_a_waiver_and_a_level(capsys: Captured, folder: Path) -> None:
    limits = '[limits]\nupper = 0.5\nratio = 1.0\n[rules]\nratio = "warn"\n'
    start = POLICY.split("[limits]")[0] + limits
    (folder / "lipaudit.toml").write_text(start)
    assert said(capsys, 1, "gate")["verdict"] == "fail"
    excuse = '[[waivers]]\nrule = "global"\nreason = "next release"\nexpires = {}\n'
    (folder / "lipaudit.toml").write_text(start + excuse.format("2999-01-01"))
    shown = said(capsys, 0, "gate")
    assert shown["verdict"] == "pass"
    assert [rule["result"] for rule in shown["rules"]] == ["fail", "fail"]
    assert shown["rules"][0]["waiver"]["reason"] == "next release"
    assert {(f["code"], f["severity"]) for f in shown["findings"]} >= {("LIP020", "note"), ("LIP002", "warning")}
    (folder / "lipaudit.toml").write_text(start + excuse.format("2020-01-01"))
    shown = said(capsys, 1, "gate")
    assert "LIP021" in {finding["code"] for finding in shown["findings"]}
    (folder / "lipaudit.toml").write_text(start.replace("0.5", "50") + excuse.format("2999-01-01"))
    assert "LIP022" in {finding["code"] for finding in said(capsys, 0, "gate")["findings"]}


def test_nothing_but_a_baseline_is_replaced_by_one(capsys: Captured, folder: Path) -> None:
    assert main(["baseline", "diff"]) == 2
    assert "there is no baseline accepted.toml yet" in capsys.readouterr().err
    for name in ("model.onnx", "lipaudit.toml", "data.npz"):
        before = (folder / name).read_bytes()
        assert main(["baseline", "write", "--file", name]) == 2
        assert "will not overwrite" in capsys.readouterr().err
        assert (folder / name).read_bytes() == before
    (folder / "notes.toml").write_text("title = 'mine'\n")
    assert main(["baseline", "write", "--file", "notes.toml"]) == 2
    assert "notes.toml: unknown key 'title'" in capsys.readouterr().err
    assert main(["baseline", "write", "-o", "json:accepted.toml"]) == 2
    assert "cannot be one file" in capsys.readouterr().err
    assert not (folder / "accepted.toml").exists()
