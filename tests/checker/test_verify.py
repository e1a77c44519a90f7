"""Certificates: what an audit writes verifies; what was tampered with is rejected, or still true."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lipaudit.checker import Rejected, verify
from lipaudit.cli import main
from tests.cases.models import model, node, saved, weights
from tests.checker.networks import residual, steepest

SAMPLES = Path(__file__).resolve().parents[2] / "sample_models"
Captured = pytest.CaptureFixture[str]
Document = dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A residual model with its certificate."""
    where: Path = tmp_path_factory.mktemp("certified")
    saved(residual("Relu", 5)[0], where, "model.onnx")
    assert main(["bound", str(where / "model.onnx"), "--certificate", str(where / "c.json"), "--budget", "5s"]) == 0
    return where


@pytest.fixture
def document(folder: Path) -> Document:
    content = json.loads((folder / "c.json").read_text())
    assert isinstance(content, dict)
    return content


def value_of(document: Document, folder: Path) -> float:
    return verify(json.dumps(document).encode(), (folder / "model.onnx").read_bytes()).value


def test_a_certificate_verifies(capsys: Captured, folder: Path) -> None:
    capsys.readouterr()
    assert main(["verify", str(folder / "c.json"), str(folder / "model.onnx")]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("VERIFIED: L <= ")
    assert err == ""
    found = verify((folder / "c.json").read_bytes(), (folder / "model.onnx").read_bytes())
    attained = steepest(residual("Relu", 5)[1], 3, 0, 20000)
    assert attained <= found.value <= 2.0 * attained


@pytest.mark.parametrize("name", ["digits_mlp", "diabetes_tanh"])
def test_the_sample_models(capsys: Captured, tmp_path: Path, name: str) -> None:
    shutil.copy(SAMPLES / f"{name}.onnx", tmp_path)
    path, where = tmp_path / f"{name}.onnx", tmp_path / "c.json"
    options = ["--preprocess", "scale=2", "--certificate", str(where), "--output-format", "json", "--budget", "10s"]
    assert main(["bound", str(path), *options]) == 0
    report = json.loads(capsys.readouterr().out)
    found = verify(where.read_bytes(), path.read_bytes())
    assert report["lower"]["value"] <= found.value <= report["upper"]["value"] * 1.01


def test_another_file_is_another_function(capsys: Captured, folder: Path, tmp_path: Path) -> None:
    saved(residual("Relu", 6)[0], tmp_path, "other.onnx")
    assert main(["verify", str(folder / "c.json"), str(tmp_path / "other.onnx")]) == 3
    assert capsys.readouterr().out == "REJECTED: the certificate is of another file\n"


def test_a_smaller_claim_is_rejected(document: Document, folder: Path) -> None:
    value = value_of(document, folder)
    document["claim"]["value"] = float(np.nextafter(value, 0.0)).hex()
    with pytest.raises(Rejected, match="the multipliers prove"):
        value_of(document, folder)
    document["claim"]["value"] = (2.0 * value).hex()
    assert value_of(document, folder) == 2.0 * value


WRONG: dict[str, tuple[tuple[str, ...], object]] = {
    "schema": (("schema",), "lipaudit-certificate/2"),
    "hash": (("model", "sha256"), "0" * 64),
    "size": (("model", "bytes"), 1),
    "norm": (("claim", "norm"), "linf"),
    "kind": (("claim", "kind"), "local_lipschitz"),
    "domain": (("claim", "domain"), [0, 1]),
    "arithmetic": (("claim", "arithmetic"), "float32"),
    "input": (("claim", "input"), "z"),
    "output": (("claim", "output"), "z"),
    "inner output": (("claim", "output"), "q"),
    "shape": (("claim", "shape"), [1, 4]),
    "rank": (("claim", "shape"), [3]),
    "negative shape": (("claim", "shape"), [-1, 3]),
    "preprocess": (("claim", "preprocess"), {"mean": ["0x0p+0"], "std": ["0x0p+0"]}),
    "three channels": (("claim", "preprocess"), {"mean": ["0x0p+0"], "std": ["0x1p+0"] * 4}),
    "value": (("claim", "value"), "nan"),
    "decimal": (("claim", "value"), "3.5"),
    "infinite": (("claim", "value"), "inf"),
    "number": (("claim", "value"), 3),
    "negative": (("claim", "value"), "-0x1p+0"),
    "square": (("proof", "square"), "0x0p+0"),
    "multipliers": (("proof", "multipliers"), []),
    "coupled": (("proof", "multipliers"), [[["0x1p+0"]], [["0x1p+0"]]]),
    "further": (("extra",), 1),
}


@pytest.mark.parametrize("name", WRONG)
def test_every_field_counts(name: str, document: Document, folder: Path) -> None:
    path, value = WRONG[name]
    changed = copy.deepcopy(document)
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(Rejected):
        value_of(changed, folder)


def test_tampered_numbers_prove_nothing_false(document: Document, folder: Path) -> None:
    attained = steepest(residual("Relu", 5)[1], 3, 1, 20000)
    rng = np.random.default_rng(0)
    accepted = 0
    for _ in range(60):
        changed = copy.deepcopy(document)
        rates = changed["proof"]["multipliers"]
        layer = rates[rng.integers(len(rates))]
        place = int(rng.integers(len(layer)))
        layer[place] = (float.fromhex(layer[place]) * 10.0 ** rng.uniform(-2.0, 2.0)).hex()
        for part, key, low, high in (("proof", "square", -0.1, 1.0), ("claim", "value", -0.1, 0.7)):
            changed[part][key] = (float.fromhex(changed[part][key]) * 10.0 ** rng.uniform(low, high)).hex()
        try:
            value = value_of(changed, folder)
        except Rejected:
            continue
        assert value >= attained
        accepted += 1
    assert accepted > 0


def test_a_key_given_twice_and_what_is_no_json(capsys: Captured, folder: Path, tmp_path: Path) -> None:
    text = (folder / "c.json").read_text()
    twice = tmp_path / "twice.json"
    twice.write_text(text.replace('"schema"', '"schema": "x", "schema"', 1))
    assert main(["verify", str(twice), str(folder / "model.onnx")]) == 3
    assert "a key is given twice" in capsys.readouterr().out
    for content in (b"", b"[", b"\xff", b"3"):
        twice.write_bytes(content)
        code = main(["verify", str(twice), str(folder / "model.onnx")])
        assert code == (3 if content == b"3" else 2)
    assert main(["verify", str(tmp_path / "none.json"), str(folder / "model.onnx")]) == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [(["--domain", "0,1"], "over all inputs"), (["--norm", "linf"], "the l2 constant"), ([], "known by its gain only")],
)
def test_what_has_no_certificate_says_why(capsys: Captured, tmp_path: Path, options: list[str], said: str) -> None:
    path = saved(model([node("Softmax", ["x"], axis=1)]), tmp_path)
    where = tmp_path / "c.json"
    assert main(["bound", str(path), "--certificate", str(where), *options]) == 3
    assert said in capsys.readouterr().err
    assert not where.exists()


def test_a_certificate_never_takes_the_models_place(tmp_path: Path) -> None:
    path = saved(model([node("Mul", ["x", "w"])], weights(w=np.array([2.0]))), tmp_path)
    before = path.read_bytes()
    assert main(["bound", str(path), "--certificate", str(path)]) == 2
    assert path.read_bytes() == before
