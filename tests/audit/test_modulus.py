"""The affine modulus of models that jump, against exhaustive sampling; radii of a quantised network."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto

import lipaudit.engines.affine_modulus as engine_module
from lipaudit.audit import Domain, Settings, bound, certify, check, local
from lipaudit.cli import main
from lipaudit.errors import UsageError
from lipaudit.loading import RefusedModel, load_model
from lipaudit.numerics.norms import Norm
from lipaudit.report.report import AuditReport
from tests.cases.models import model, node, random_array, saved, weights
from tests.conftest import ROOT, SHARED

SAMPLES = ROOT / "sample_models"
UNIT = Domain(-2.0, 2.0, "-2,2")


def jumping(*nodes: onnx.NodeProto, **arrays: object) -> onnx.ModelProto:
    return model([*nodes], weights(**arrays), inputs=[("x", (1, 2))])


W, V = random_array(2, 3, seed=1), random_array(3, 2, seed=2)
LINE = node("MatMul", ["x", "w"], ["h"])
MODELS = {
    "Round": jumping(LINE, node("Round", ["h"], ["r"]), node("MatMul", ["r", "v"]), w=W, v=V),
    "two roundings": jumping(
        LINE, node("Floor", ["h"], ["r"]), node("MatMul", ["r", "v"], ["m"]), node("Ceil", ["m"]), w=W, v=V
    ),
    "a sum of two paths": jumping(
        LINE, node("Round", ["h"], ["r"]), node("Tanh", ["h"], ["t"]), node("Add", ["r", "t"]), w=W
    ),
    "Sign": jumping(LINE, node("Sign", ["h"], ["s"]), node("MatMul", ["s", "v"]), w=W, v=V),
    "Where": jumping(
        LINE,
        node("Greater", ["h", "zero"], ["c"]),
        node("Mul", ["h", "half"], ["a"]),
        node("Sub", ["h", "one"], ["b"]),
        node("Where", ["c", "a", "b"]),
        w=W, zero=0.0, half=0.5, one=1.0,
    ),
    "ArgMax": jumping(LINE, node("ArgMax", ["h"], ["i"], axis=1), node("Cast", ["i"], to=TensorProto.FLOAT), w=W),
    "a table": jumping(
        LINE, node("ArgMax", ["h"], ["i"], axis=1, keepdims=0), node("Gather", ["table", "i"]),
        w=W, table=random_array(3, 2),
    ),
    "truth values": jumping(
        LINE,
        node("Less", ["h", "zero"], ["a"]),
        node("LessOrEqual", ["h", "one"], ["b"]),
        node("And", ["a", "b"], ["c"]),
        node("Not", ["c"], ["d"]),
        node("Xor", ["a", "d"], ["e"]),
        node("Or", ["e", "c"], ["f"]),
        node("Cast", ["f"], ["g"], to=TensorProto.FLOAT),
        node("Mul", ["g", "h"]),
        w=W, zero=0.0, one=1.0,
    ),
    "ThresholdedRelu": jumping(LINE, node("ThresholdedRelu", ["h"], alpha=0.7), w=W),
}  # fmt: skip


def pairs(norm: Norm, seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Far apart, close, and a grid of the square with its neighbours."""
    generator = torch.Generator().manual_seed(seed)
    x, y = (torch.rand(3000, 1, 2, generator=generator, dtype=torch.float64) * 4.0 - 2.0 for _ in range(2))
    yield x, y
    yield x, x + (y - x) * 1e-4
    side = torch.linspace(-2.0, 2.0, 41, dtype=torch.float64)
    grid = torch.cartesian_prod(side, side).reshape(-1, 1, 2)
    yield grid[:-1], grid[1:]


def holds(made: onnx.ModelProto, folder: Path, norm: Norm, *, everywhere: bool = False) -> AuditReport:
    path = saved(made, folder)
    report = bound(path, Settings(norm=norm, domain=None if everywhere else UNIT, modulus=True))
    assert report.modulus is not None
    f = load_model(path, jumps=True).graph.forward
    for x, y in pairs(norm, 0):
        moved, far = norm.of(f(x) - f(y)), norm.of(x - y)
        assert bool((moved <= (report.modulus.slope.value * far + report.modulus.jump.value) * (1 + 1e-12)).all())
    return report


@pytest.mark.parametrize("norm", Norm)
@pytest.mark.parametrize("name", MODELS)
def test_the_modulus_holds(name: str, norm: Norm, tmp_path: Path) -> None:
    report = holds(MODELS[name], tmp_path, norm)
    assert report.modulus is not None
    assert report.modulus.slope.finite
    assert 0.0 < report.modulus.jump.value < np.inf
    assert report.modulus.nodes
    assert not [finding for finding in report.findings if finding.severity == "error"]


@pytest.mark.parametrize("name", sorted(set(MODELS) - {"Where", "truth values"}))
def test_it_is_finite_everywhere(name: str, tmp_path: Path) -> None:
    report = holds(MODELS[name], tmp_path, Norm.L2, everywhere=True)
    assert report.modulus is not None
    assert report.modulus.jump.finite


def test_what_needs_a_domain_says_so(tmp_path: Path) -> None:
    report = bound(saved(MODELS["Where"], tmp_path), Settings(modulus=True))
    assert report.modulus is not None
    assert not report.modulus.jump.finite
    assert ("LIP110", "Where") in {(finding.code, finding.op) for finding in report.findings}


def test_a_jump_that_the_domain_leaves_out(tmp_path: Path) -> None:
    """Over [0.6, 0.9] nothing is rounded both ways: slope 0 and no jump."""
    made = jumping(node("Round", ["x"]))
    report = bound(saved(made, tmp_path), Settings(modulus=True, domain=Domain(0.6, 0.9, "0.6,0.9")))
    assert report.modulus is not None
    assert (report.modulus.slope.value, report.modulus.jump.value, report.modulus.nodes) == (0.0, 0.0, ())


def test_a_model_without_jumps_has_its_constant(tmp_path: Path) -> None:
    made = jumping(LINE, node("Relu", ["h"]), w=W)
    modulus = bound(saved(made, tmp_path), Settings(modulus=True)).modulus
    plain = bound(saved(made, tmp_path), Settings(methods=("product",))).upper
    assert modulus is not None
    assert plain is not None
    assert plain.bound is not None
    assert (modulus.slope.value, modulus.jump.value) == (plain.bound.value, 0.0)


def test_without_the_option_the_refusal_stays(tmp_path: Path) -> None:
    path = saved(MODELS["Round"], tmp_path)
    with pytest.raises(RefusedModel, match="jumps"):
        check(path, Settings())
    with pytest.raises(UsageError, match="Jacobian says nothing"):
        local(path, np.zeros((1, 1, 2)), Settings(modulus=True))


def test_planted_compositions_are_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The jump of an argument that is forgotten, and the smaller slope of one way with the smaller jump of another."""
    exact = engine_module._sum
    monkeypatch.setattr(engine_module, "_sum", lambda gains, args: (exact(gains, args)[0], 0.0))
    with pytest.raises(AssertionError):
        holds(MODELS["two roundings"], tmp_path, Norm.L2)


def test_whole_numbers_are_not_divided_as_real_ones(tmp_path: Path) -> None:
    """ONNX's Div of whole numbers truncates, which is another function."""
    made = jumping(
        node("Cast", ["x"], ["i"], to=TensorProto.INT64), node("Div", ["i", "two"], ["d"]),
        node("Cast", ["d"], to=TensorProto.FLOAT), two=2,
    )  # fmt: skip
    with pytest.raises(RefusedModel, match="whole numbers"):
        load_model(saved(made, tmp_path), jumps=True)


# ------------------------------------------------------------------------------------------- a quantised network


@pytest.fixture(scope="module")
def quantised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """digits_mlp by onnxruntime's own static quantisation, QuantizeLinear and DequantizeLinear around every op."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    source, path = SAMPLES / "digits_mlp.onnx", tmp_path_factory.mktemp("qdq") / "digits_int8.onnx"
    name = onnx.load(source).graph.input[0].name
    with np.load(SAMPLES / "digits_mlp.npz") as data:
        rows = iter([{name: row[None].astype(np.float32)} for row in data["x"][:100]])

    class Rows(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> object:
            return next(rows, None)

    logging.disable(logging.WARNING)
    kinds = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
    quantize_static(source, path, Rows(), quant_format=QuantFormat.QDQ, **kinds)
    logging.disable(logging.NOTSET)
    return path


SETTINGS = Settings(modulus=True, domain=Domain(0.0, 16.0, "0,16"))


def test_radii_of_a_quantised_network(quantised: Path) -> None:
    """No point that was tried inside a radius changes class, in our graph and in onnxruntime."""
    with np.load(SAMPLES / "digits_mlp.npz") as data:
        x, y = data["x"][:60].astype(np.float64), data["y"][:60]
    report = certify(quantised, x, y, SETTINGS)
    assert report.radii is not None
    radii = report.radii.values
    assert report.radii.clean_accuracy > 0.9
    assert (radii > 0.1).mean() > 0.4
    loaded, generator = load_model(quantised, jumps=True), np.random.default_rng(0)
    for _ in range(20):
        step = generator.normal(size=x.shape)
        step *= (0.999 * radii / np.linalg.norm(step.reshape(len(x), -1), axis=1)).reshape(-1, *[1] * (x.ndim - 1))
        moved = np.clip(x + step, 0.0, 16.0).reshape(-1, *loaded.graph.input_shape)
        kept = report.radii.correct & (radii > 0)
        assert (loaded.evaluate(moved).numpy().reshape(len(x), -1).argmax(1) == y)[kept].all()
        assert (loaded.run_reference(moved.astype(np.float32).astype(np.float64)).argmax(1) == y)[kept].all()


def test_a_regression_keeps_its_tolerance(quantised: Path) -> None:
    x = np.zeros((2, 64))
    report = certify(quantised, x, None, SETTINGS, tolerance=10.0)
    assert report.radii is not None
    assert report.modulus is not None
    expected = (10.0 - report.modulus.jump.value) / report.modulus.slope.value
    assert report.radii.values == pytest.approx(np.full(2, expected), rel=1e-12)
    assert (report.radii.values <= expected).all()
    small = certify(quantised, x, None, SETTINGS, tolerance=report.modulus.jump.value / 2).radii
    assert small is not None
    assert (small.values == 0.0).all()


def test_the_command_line(quantised: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--modulus", "--preprocess", "none", "--domain", "0,16", "--no-progress", "-q"]
    assert main(["bound", str(quantised), *options, "--output-format", "json"]) == 0
    modulus = json.loads(capsys.readouterr().out)["modulus"]
    assert modulus["slope"]["kind"] == modulus["jump"]["kind"] == "certified"
    assert len(modulus["nodes"]) == 4
    assert main(["bound", str(quantised), *options]) == 0
    said = capsys.readouterr().out
    assert said.startswith("|f(x) - f(y)| <= ")
    assert "QuantizeLinear" in said
    assert main(["bound", str(quantised), *options[1:]]) == 3
    assert "--modulus" in capsys.readouterr().out


@pytest.mark.parametrize(
    "options", [["bound", "--certificate", "p.json"], ["bound", "--method", "product"], ["certify", "--attack", "3s"]]
)
def test_options_that_would_do_nothing(options: list[str], quantised: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command, *rest = options
    assert main([command, str(quantised), "--modulus", *rest]) == 2
    assert f"{rest[0]} does not go with --modulus" in capsys.readouterr().err


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"{SHARED} is not here: its models are not part of the repository")
def test_third_party_models_that_jump() -> None:
    """Trees and a count of pixels have (0, how far their output ranges); a cut at a place of the input has no rule."""
    trees = bound(SHARED / "models" / "ezkl_xgboost_reg.onnx", Settings(modulus=True)).modulus
    pixels = bound(SHARED / "models" / "carvana_unet_simp.onnx", Settings(modulus=True)).modulus
    assert trees is not None
    assert pixels is not None
    assert (trees.slope.value, trees.jump.finite) == (0.0, True)
    assert pixels.slope.value == 0.0
    assert pixels.jump.value == pytest.approx(31.0 * 47.0, rel=1e-9)
    with pytest.raises(RefusedModel, match=r"Slice .*depends on the input"):
        bound(SHARED / "models" / "cctsdb_patch3.onnx", Settings(modulus=True))
