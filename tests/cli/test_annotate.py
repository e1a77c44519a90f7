"""An annotated model is the same function with notes: onnx accepts it, onnxruntime answers alike."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from lipaudit.cli import main
from tests.cases.models import model, node, saved

SAMPLES = Path(__file__).resolve().parents[2] / "sample_models"
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(SAMPLES / "digits_mlp.onnx", tmp_path / "model.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def answers(path: Path, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    [found] = session.run(None, {session.get_inputs()[0].name: x})
    return np.asarray(found)


def metadata(entries: object) -> dict[str, str]:
    return {entry.key: entry.value for entry in entries}  # type: ignore[attr-defined]


def test_the_same_function_with_notes(folder: Path) -> None:
    before = (folder / "model.onnx").read_bytes()
    assert main(["annotate", "model.onnx", "-o", "out.onnx", "--domain", "0,16"]) == 0
    assert (folder / "model.onnx").read_bytes() == before
    made = onnx.load(folder / "out.onnx")
    onnx.checker.check_model(made, full_check=True)
    x = np.random.default_rng(0).uniform(0.0, 16.0, (7, 64)).astype(np.float32)
    assert np.array_equal(answers(folder / "out.onnx", x), answers(folder / "model.onnx", x))
    notes = metadata(made.metadata_props)
    assert notes["lipaudit.lipschitz_upper"].endswith("(certified)")
    assert notes["lipaudit.region"] == "inputs in [0, 16]"
    gains = {entry.name: metadata(entry.metadata_props).get("lipaudit.gain") for entry in made.graph.node}
    assert gains["node_relu"] == "<= 1 (certified)"
    assert all(gains.values())
    for part in (made, *made.graph.node):
        del part.metadata_props[:]
    plain = onnx.load(folder / "model.onnx")
    for part in (plain, *plain.graph.node):
        del part.metadata_props[:]
    assert made == plain


def test_an_old_file_has_its_notes_in_the_descriptions(folder: Path) -> None:
    made = model([node("Relu", ["x"])])
    made.graph.node[0].doc_string = "mine"
    saved(made, folder, "old.onnx")
    assert main(["annotate", "old.onnx", "-o", "new.onnx"]) == 0
    assert main(["annotate", "new.onnx", "-o", "newer.onnx", "--norm", "linf"]) == 0
    for name, norm in (("new.onnx", "l2"), ("newer.onnx", "linf")):
        made = onnx.load(folder / name)
        [relu] = made.graph.node
        lines = relu.doc_string.splitlines()
        assert lines == ["mine", "lipaudit.gain: <= 1 (certified)", f"lipaudit.norms: {norm} -> {norm}"]
        assert not relu.metadata_props
        keys = [entry.key for entry in made.metadata_props]
        assert len(keys) == len(set(keys))
        assert metadata(made.metadata_props)["lipaudit.norms"] == f"{norm} -> {norm}"


@pytest.mark.parametrize("name", ["model.onnx", "./model.onnx", "link.onnx", "out.txt", "none/out.onnx"])
def test_never_over_the_model(folder: Path, name: str) -> None:
    (folder / "link.onnx").symlink_to(folder / "model.onnx")
    before = (folder / "model.onnx").read_bytes()
    assert main(["annotate", "model.onnx", "-o", name]) == 2
    assert (folder / "model.onnx").read_bytes() == before


def test_what_has_no_bound_says_so(capsys: Captured, folder: Path) -> None:
    saved(model([node("Exp", ["x"])]), folder, "exp.onnx")
    assert main(["annotate", "exp.onnx", "-o", "out.onnx"]) == 3
    assert "lipaudit.gain: no finite bound" in onnx.load(folder / "out.onnx").graph.node[0].doc_string
    saved(model([node("Sign", ["x"])]), folder, "sign.onnx")
    assert main(["annotate", "sign.onnx", "-o", "none.onnx"]) == 3
    assert not (folder / "none.onnx").exists()
