"""The commands from end to end, on the sample models: report, files and exit code."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from lipaudit.cli import main
from lipaudit.ranges.joined import Late

SAMPLES = Path(__file__).resolve().parents[2] / "sample_models"
POLICY = """
model = "digits_mlp.onnx"
preprocess = "none"
domain = [0, 16]
inputs = "digits_mlp.npz:x"
labels = "digits_mlp.npz:y"
budget = "20s"
"""
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An own folder with one sample model, its first twenty samples, and no terminal around."""
    shutil.copy(SAMPLES / "digits_mlp.onnx", tmp_path)
    with np.load(SAMPLES / "digits_mlp.npz") as data:
        np.savez(tmp_path / "digits_mlp.npz", x=data["x"][:20], y=data["y"][:20])
    monkeypatch.chdir(tmp_path)
    for name in ("COLUMNS", "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def refused(path: Path) -> None:
    """A model with two nodes that jump."""
    nodes = [
        helper.make_node("Sign", ["x"], ["a"], "first"),
        helper.make_node("Floor", ["x"], ["b"], "second"),
        helper.make_node("Add", ["a", "b"], ["y"], "third"),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "jumps", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())


def answer(capsys: Captured, code: int, *arguments: str) -> tuple[str, str]:
    assert main(arguments) == code, capsys.readouterr().err
    out, err = capsys.readouterr()
    return out, err


def data(capsys: Captured, code: int, *arguments: str) -> dict[str, Any]:
    content = json.loads(answer(capsys, code, *arguments, "--output-format", "json")[0])
    assert isinstance(content, dict)
    return content


def test_bound(capsys: Captured, folder: Path) -> None:
    files = ("-o", "json:r.json", "-o", "markdown:r.md", "-o", "text:r.txt")
    out, err = answer(capsys, 0, "bound", "digits_mlp.onnx", "--preprocess", "none", "--domain", "0,16", *files)
    first = re.fullmatch(
        r"L is in \[(\S+), (\S+)\]   l2 -> l2, raw input units \(0\.\.16\)   ratio (\S+)", out.splitlines()[0]
    )
    assert first is not None
    report = json.loads((folder / "r.json").read_text())
    low, high = report["lower"]["value"], report["upper"]["value"]
    assert float(first[1]) <= low <= high <= float(first[2])
    assert report["command"] == "bound"
    assert report["upper"]["kind"] == "certified"
    assert report["problem"]["region"]["high"] == 16.0
    assert report["layers"]
    assert report["tool"]["version"]
    assert (folder / "r.md").read_text().startswith("**L is in")
    assert (folder / "r.txt").read_text().splitlines()[0] == out.splitlines()[0]
    assert err == ""


def test_local_takes_its_model_from_the_configuration(capsys: Captured, folder: Path) -> None:
    (folder / "lipaudit.toml").write_text(POLICY)
    files = ("-o", "csv:l.csv", "-o", "npz:l.npz", "--directions")
    out, err = answer(capsys, 0, "local", "--inputs", "digits_mlp.npz:x", *files)
    assert out.startswith("Jacobian norm at 20 samples: median ")
    assert "raw input units (0..16)" in out.splitlines()[0]
    assert err == "lipaudit: note: model and settings from lipaudit.toml\n"
    assert len((folder / "l.csv").read_text().splitlines()) == 21
    with np.load(folder / "l.npz") as arrays:
        assert arrays["norm"].shape == (20,)
        assert len(arrays["direction"]) == 20
    shown = data(capsys, 0, "local", "-q")
    assert shown["samples"]["count"] == 20
    assert shown["samples"]["norm"]["max"] == max(shown["samples"]["per_sample"])


def test_local_certifies_balls(capsys: Captured, folder: Path) -> None:
    asked = ("local", "digits_mlp.onnx", "--inputs", "digits_mlp.npz:x", "--radius", "0.5", "--limit", "8", "-q")
    more = ("--norm", "linf", "--budget", "20s", "--domain", "0,16")
    out = answer(capsys, 0, *asked, *more, "-o", "csv:l.csv", "-o", "json:l.json")[0]
    assert re.search(r"L within 0.5 of 8 samples: median in \[\S+, \S+\], max in \[\S+, \S+\]", out)
    assert "8 of the 20 samples were audited" in out
    report = json.loads((folder / "l.json").read_text())
    regions, norms = report["regions"], report["samples"]["per_sample"]
    assert regions["kind"] == "certified"
    assert len(regions["per_sample"]) == 8
    assert all(upper >= norm * (1 - 1e-12) for upper, norm in zip(regions["per_sample"], norms, strict=True))
    assert regions["upper"]["max"] == max(regions["per_sample"])
    attained = regions["lower_per_sample"]
    assert all(0.0 < low <= up for low, up in zip(attained, regions["per_sample"], strict=True))
    assert all(low >= norm * (1 - 1e-6) for low, norm in zip(attained, norms, strict=True))  # the centre is tried
    assert report["lower"]["value"] >= max(attained)
    lines = (folder / "l.csv").read_text().splitlines()
    assert lines[0] == "index,norm,lower,upper"
    places = [int(line.split(",")[0]) for line in lines[1:]]
    assert places == sorted(set(places))
    assert max(places) > 7  # drawn, not the first ones


def test_local_says_which_balls_the_budget_did_not_reach(
    capsys: Captured, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(*_: object) -> None:
        raise Late

    monkeypatch.setattr("lipaudit.audit.regions.near", late)
    out = answer(capsys, 0, "local", "digits_mlp.onnx", "--inputs", "digits_mlp.npz:x", "--radius", "0.5", "-q")[0]
    assert "by 20 the bound over the whole domain: the budget did not reach the ball" in " ".join(out.split())


def test_a_model_that_the_configuration_does_not_name_is_its_own(capsys: Captured, folder: Path) -> None:
    (folder / "lipaudit.toml").write_text(POLICY)
    shutil.copy(folder / "digits_mlp.onnx", folder / "other.onnx")
    shown = data(capsys, 0, "check", "other.onnx")
    assert shown["problem"]["region"] is None
    assert data(capsys, 0, "check", "./digits_mlp.onnx")["problem"]["region"]["high"] == 16.0
    assert data(capsys, 0, "check", "other.onnx", "--config", "lipaudit.toml")["problem"]["region"]["high"] == 16.0
    assert data(capsys, 0, "check", "./digits_mlp.onnx", "--domain", "0,1")["problem"]["region"]["high"] == 1.0


def test_certify(capsys: Captured, folder: Path) -> None:
    shared = ("digits_mlp.onnx", "--preprocess", "none", "--inputs", "digits_mlp.npz", "--labels", "digits_mlp.npz")
    shown = data(capsys, 0, "certify", *shared, "--radius", "0.5", "--radius", "1", "-o", "csv:c.csv")
    assert [entry["radius"] for entry in shown["certified"]] == [0.5, 1.0]
    radii = shown["radii"]
    right = [r for r, c in zip(radii["per_sample"], radii["correct"], strict=True) if c]
    assert shown["certified"][1]["accuracy"] == sum(r >= 1.0 for r in right) / 20
    assert shown["clean_accuracy"] == len(right) / 20 == radii["count"] / 20
    assert (folder / "c.csv").read_text().startswith("index,label,radius,correct,attacked,answer\n0,")
    out, _ = answer(capsys, 0, "certify", *shared)
    assert out.startswith("clean accuracy ")
    assert out.count(" certified at ") >= 3


def test_certify_a_regression(capsys: Captured, folder: Path) -> None:
    shutil.copy(SAMPLES / "diabetes_tanh.onnx", folder)
    np.save(folder / "x.npy", np.zeros((3, 10)))
    shown = data(capsys, 0, "certify", "diabetes_tanh.onnx", "--inputs", "x.npy", "--tolerance", "0.5")
    assert shown["clean_accuracy"] is None
    assert len(set(shown["radii"]["per_sample"])) == 1
    assert shown["radii"]["tolerance"] == 0.5


LIMITS = {
    "pass": "[limits]\nupper = 10\nlayer = 20\n[limits.local]\np95 = 10\n[limits.certified]\nclean_accuracy = 0.5\n",
    "fail": "[limits]\nupper = 0.001\n[limits.local]\np95 = 10\n",
    "inconclusive": '[limits]\nupper = 10\n[limits.layers]\n"/no/such/*" = 1\n',
}


@pytest.mark.parametrize(("verdict", "code"), [("pass", 0), ("fail", 1), ("inconclusive", 3)])
def test_gate(capsys: Captured, folder: Path, verdict: str, code: int) -> None:
    (folder / "pyproject.toml").write_text(
        (POLICY + LIMITS[verdict])
        .replace("[limits", "[tool.lipaudit.limits")
        .replace("\nmodel", "[tool.lipaudit]\nmodel", 1)
    )
    out, _ = answer(capsys, code, "gate", "-o", "json:gate.json")
    assert out.splitlines()[-1] == f"verdict: {verdict}"
    report = json.loads((folder / "gate.json").read_text())
    assert report["verdict"] == verdict
    assert report["command"] == "gate"
    ids = [rule["id"] for rule in report["rules"]]
    assert ids[0] == "global"
    assert len(ids) == len(set(ids))
    errors = {finding["code"] for finding in report["findings"] if finding["severity"] == "error"}
    assert errors == {"pass": set(), "fail": {"LIP001"}, "inconclusive": {"LIP202"}}[verdict]


def test_gate_without_declared_preprocessing_is_no_verdict(capsys: Captured, folder: Path) -> None:
    text = POLICY.replace('preprocess = "none"\n', "") + "[limits.certified]\nclean_accuracy = 0.1\n"
    (folder / "p.toml").write_text(text)
    shown = data(capsys, 3, "gate", "--config", "p.toml")
    assert shown["verdict"] == "inconclusive"
    assert "LIP203" in {finding["code"] for finding in shown["findings"]}


def test_gate_needs_limits_and_a_model(capsys: Captured, folder: Path) -> None:
    (folder / "lipaudit.toml").write_text(POLICY)
    assert "sets no [limits]" in answer(capsys, 2, "gate")[1]
    (folder / "lipaudit.toml").write_text("preprocess = 'none'\n[limits]\nupper = 3\n")
    assert "names no model" in answer(capsys, 2, "gate")[1]
    (folder / "lipaudit.toml").write_text("[limits\n")
    assert "is no TOML" in answer(capsys, 2, "gate")[1]
    (folder / "lipaudit.toml").write_text(POLICY.replace("mlp.npz:x", "none.npz") + "[limits.local]\nmax = 3\n")
    assert "digits_none.npz does not exist" in answer(capsys, 2, "gate")[1]


def test_gate_over_several_models(capsys: Captured, folder: Path) -> None:
    refused(folder / "jumps.onnx")
    (folder / "lipaudit.toml").write_text(
        POLICY.replace('model = "digits_mlp.onnx"\n', "")
        + "[limits.certified]\nclean_accuracy = 0.5\n"
        + '[[models]]\nmodel = "digits_mlp.onnx"\n[[models]]\nmodel = "jumps.onnx"\n'
    )
    shown = data(capsys, 3, "gate")
    assert [rule["result"] for rule in shown["rules"]] == ["pass", "inconclusive"]
    assert [part["verdict"] for part in shown["models"]] == ["pass", "inconclusive"]
    out, _ = answer(capsys, 3, "gate")
    assert out.startswith("2 models judged by 2 rules\n")
    assert out.endswith("verdict: inconclusive\n")
    assert data(capsys, 0, "gate", "digits_mlp.onnx")["verdict"] == "pass"


@pytest.mark.parametrize("command", ["bound", "check"])
def test_a_refused_model_is_a_report(capsys: Captured, folder: Path, command: str) -> None:
    refused(folder / "jumps.onnx")
    shown = data(capsys, 3, command, "jumps.onnx", "-o", "text:r.txt")
    assert shown["verdict"] is None
    assert shown["command"] == command
    assert {(f["op"], f["subject"]) for f in shown["findings"]} == {("Sign", "first"), ("Floor", "second")}
    assert (folder / "r.txt").read_text().startswith("no bound: the model cannot be audited, for 2 reasons")


def test_a_refused_model_with_data_outputs_writes_none(capsys: Captured, folder: Path) -> None:
    refused(folder / "jumps.onnx")
    np.save(folder / "x.npy", np.zeros((2, 3)))
    answer(capsys, 3, "local", "jumps.onnx", "--inputs", "x.npy", "-o", "csv:l.csv")
    assert not (folder / "l.csv").exists()


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((0, 64)), "is empty: shape [0, 64]"),
        (np.full((2, 64), np.nan), "has nan at index [0, 0]"),
        (np.zeros((2, 63)), "63"),
        (np.array(["a"]), "not real numbers"),
    ],
)
def test_inputs_that_are_none(capsys: Captured, folder: Path, array: np.ndarray, said: str) -> None:
    np.save(folder / "x.npy", array)
    out, err = answer(capsys, 2, "local", "digits_mlp.onnx", "--inputs", "x.npy", "-o", "json:r.json")
    assert out == ""
    assert said in err
    assert not (folder / "r.json").exists()


def test_nothing_that_was_read_is_overwritten(capsys: Captured, folder: Path) -> None:
    before = (folder / "digits_mlp.onnx").read_bytes()
    (folder / "link.json").symlink_to(folder / "digits_mlp.onnx")
    for target in ("digits_mlp.onnx", "link.json", "digits_mlp.npz"):
        arguments = ("local", "digits_mlp.onnx", "--inputs", "digits_mlp.npz:x", "-o", f"json:{target}")
        assert "will not overwrite" in answer(capsys, 2, *arguments)[1]
    (folder / "lipaudit.toml").write_text(POLICY + LIMITS["fail"])
    for target in ("digits_mlp.npz", "lipaudit.toml", "./digits_mlp.onnx"):
        assert "will not overwrite" in answer(capsys, 2, "gate", "-o", f"json:{target}")[1]
    np.savez(folder / "box.npz", lower=np.zeros(64), upper=np.ones(64))
    arguments = ("check", "digits_mlp.onnx", "--domain", "box.npz", "-o", "json:box.npz")
    assert "will not overwrite box.npz" in answer(capsys, 2, *arguments)[1]
    assert (folder / "digits_mlp.onnx").read_bytes() == before


def test_a_box_of_arrays(capsys: Captured, folder: Path) -> None:
    np.savez(folder / "box.npz", lower=np.zeros(64), upper=np.linspace(1.0, 16.0, 64))
    shown = data(capsys, 0, "check", "digits_mlp.onnx", "--domain", "box.npz", "--preprocess", "scale=2")
    assert shown["problem"]["region"] == {"kind": "box", "low": 0.0, "high": 16.0, "source": "box.npz"}
    assert "scale=2" in shown["problem"]["units"]
    np.savez(folder / "box.npz", lower=np.zeros(63), upper=np.ones(63))
    assert "[63]" in answer(capsys, 2, "check", "digits_mlp.onnx", "--domain", "box.npz")[1]


@pytest.mark.usefixtures("folder")
def test_the_sample_policy_of_the_demo_passes(capsys: Captured) -> None:
    out, _ = answer(capsys, 0, "gate", "--config", str(SAMPLES / "demo.toml"))
    assert out.endswith("verdict: pass\n")


def test_different_norms_of_inputs_and_outputs(capsys: Captured, folder: Path) -> None:
    """A pair is in the title, in every layer and in the JSON; what cannot be had in it is said."""
    common = ("digits_mlp.onnx", "--preprocess", "none", "--norm")
    shown = data(capsys, 0, "bound", *common, "linf:l2", "--domain", "0,16", "--method", "changeover")
    assert (shown["problem"]["norm_in"], shown["problem"]["norm_out"]) == ("linf", "l2")
    assert shown["layers"][0]["norms"] == "linf -> l2"
    assert shown["lower"]["value"] <= shown["upper"]["value"]
    _, err = answer(capsys, 2, "local", *common, "linf:l2", "--inputs", "digits_mlp.npz:x")
    assert "NP-hard" in err
    _, err = answer(
        capsys, 2, "certify", *common, "linf:l2", "--inputs", "digits_mlp.npz:x", "--labels", "digits_mlp.npz:y"
    )
    assert "the inputs' norm alone" in err
    found = data(capsys, 0, "local", *common, "l1:l2", "--inputs", "digits_mlp.npz:x")
    assert 0.0 < found["samples"]["norm"]["max"] <= found["lower"]["value"] * 1.01


def test_precision_is_asked_for_and_shown(capsys: Captured, folder: Path) -> None:
    """Every linear layer says how it was proven, how far it may be from the truth, and in what time."""
    shutil.copy(SAMPLES / "digits_cnn.onnx", folder)
    common = ("digits_cnn.onnx", "--preprocess", "none", "--method", "product", "--precision")
    for precision in ("1e-3", "1e-6"):
        shown = data(capsys, 0, "bound", *common, precision, "--memory", "500MB")
        linear = [layer for layer in shown["layers"] if layer["seconds"] is not None]
        assert len(linear) >= 3
        assert all(layer["gap"] <= float(precision) for layer in linear)
        assert all(layer["lower"]["value"] <= layer["gain"]["value"] for layer in linear)
    out, _ = answer(capsys, 0, "bound", *common, "1e-3", "-v")
    assert "Norms of linear layers" in out
    assert "Cholesky residual" in out
