"""The audits of the sample models: what they promise, and invariances that no sound audit may break."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from lipaudit.audit import Domain, Preprocess, Settings, bound, bounding, certify, check, local
from lipaudit.audit.subject import subject
from lipaudit.errors import InvalidInput, UsageError
from lipaudit.loading import RefusedModel
from lipaudit.numerics.norms import Norm

SAMPLES = Path(__file__).parents[2] / "sample_models"
CONVOLUTIONAL = ("digits_cnn", "digits_resnet")
ALL = sorted(path.stem for path in SAMPLES.glob("*.onnx"))


def data(name: str) -> tuple[np.ndarray, np.ndarray]:
    with np.load(SAMPLES / f"{name}.npz") as file:
        return file["x"], file["y"]


@pytest.mark.parametrize("norm", Norm)
@pytest.mark.parametrize("name", ALL)
def test_the_bracket_holds_and_no_sample_is_above_it(name: str, norm: Norm, monkeypatch: pytest.MonkeyPatch) -> None:
    if name in CONVOLUTIONAL and norm is not Norm.L2:  # the search from below takes most of the time
        monkeypatch.setattr(bounding, "attained", partial(bounding.attained, seconds=1.0))
    report = bound(SAMPLES / f"{name}.onnx", Settings(norm=norm, budget=2.0))
    assert report.upper is not None
    assert report.upper.bound is not None
    assert report.upper.bound.finite
    assert report.lower is not None
    assert report.lower.bound.value <= report.upper.bound.value
    assert not report.findings
    samples = local(SAMPLES / f"{name}.onnx", data(name)[0][:64], Settings(norm=norm)).samples
    assert samples is not None
    assert samples.values.max() <= report.upper.bound.value * (1 + 1e-12)


def test_the_one_lipschitz_sample_is_shown_to_be_so() -> None:
    report = bound(SAMPLES / "digits_lipschitz.onnx", Settings())
    assert report.upper is not None
    assert report.upper.bound is not None
    assert report.upper.bound.value <= 1.05
    assert report.ratio is not None
    assert report.ratio <= 1.1


def one_layer(folder: Path, weight: np.ndarray, name: str = "layer.onnx") -> Path:
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w"], ["y"], name="fc", transB=1)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", weight.shape[1]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", weight.shape[0]])],
        [numpy_helper.from_array(weight.astype(np.float32), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, folder / name)
    return folder / name


@pytest.mark.parametrize("norm", Norm)
def test_one_linear_layer_is_bracketed_to_six_digits(norm: Norm, tmp_path: Path) -> None:
    weight = np.random.default_rng(0).normal(size=(20, 30))
    report = bound(one_layer(tmp_path, weight), Settings(norm=norm))
    assert report.ratio is not None
    assert 1.0 <= report.ratio <= 1.0 + 1e-6


@pytest.mark.parametrize("name", ["digits_mlp", "digits_cnn"])
def test_no_point_inside_a_certified_radius_changes_class(name: str) -> None:
    x, y = data(name)
    target = subject(SAMPLES / f"{name}.onnx", Settings())
    radii = certify(SAMPLES / f"{name}.onnx", x[:40], y[:40], Settings(budget=2.0)).radii
    assert radii is not None
    points = torch.as_tensor(x[:40], dtype=torch.float64).reshape(40, *target.graph.input_shape)
    generator = torch.Generator().manual_seed(0)
    flat = points.reshape(40, -1)
    for _ in range(50):
        move = torch.randn(flat.shape, generator=generator, dtype=torch.float64)
        step = move / move.norm(dim=1, keepdim=True) * torch.as_tensor(radii.values)[:, None]
        changed = target.graph.forward((flat + step).reshape(points.shape)).reshape(40, -1).argmax(1)
        assert (changed.numpy() == y[:40])[radii.values > 0].all()


def test_declared_preprocessing_only_changes_units() -> None:
    x, y = data("digits_gelu")
    path = SAMPLES / "digits_gelu.onnx"
    plain = certify(path, x[:30], y[:30], Settings()).radii
    raw = certify(path, x[:30] * 16, y[:30], Settings(preprocess=Preprocess((0.0,), (16.0,), "scale=16"))).radii
    assert plain is not None
    assert raw is not None
    # the preprocessing is merged into the first layer, so rounding differs, and with it where the engine stops
    np.testing.assert_allclose(raw.values, plain.values * 16, rtol=1e-3)


def test_a_domain_never_makes_the_bound_larger() -> None:
    path = SAMPLES / "digits_gelu.onnx"
    everywhere = bound(path, Settings()).upper
    inside = bound(path, Settings(domain=Domain(0.0, 1.0, "0,1"))).upper
    assert everywhere is not None
    assert inside is not None
    assert everywhere.bound is not None
    assert inside.bound is not None
    assert inside.bound.value <= everywhere.bound.value


def test_local_agrees_with_torch() -> None:
    x, _ = data("digits_resnet")
    report = local(SAMPLES / "digits_resnet.onnx", x[:8], Settings(), directions=True)
    target = subject(SAMPLES / "digits_resnet.onnx", Settings())
    assert report.samples is not None
    assert report.samples.directions is not None
    for row, point in enumerate(torch.as_tensor(x[:8], dtype=torch.float64)):
        jacobian = torch.autograd.functional.jacobian(  # type: ignore[no-untyped-call]
            target.graph.forward, point.reshape(1, *target.graph.input_shape)
        ).reshape(10, -1)
        assert report.samples.values[row] == pytest.approx(float(torch.linalg.matrix_norm(jacobian, 2)), rel=1e-9)
        direction = torch.as_tensor(report.samples.directions[row]).reshape(-1)
        assert float((jacobian @ direction).norm()) == pytest.approx(report.samples.values[row], rel=1e-6)


def test_a_regression_has_one_radius_for_all() -> None:
    x, _ = data("diabetes_tanh")
    path = SAMPLES / "diabetes_tanh.onnx"
    report = certify(path, x, None, Settings(), tolerance=0.5)
    upper = bound(path, Settings()).upper
    assert report.radii is not None
    assert upper is not None
    assert upper.bound is not None
    assert set(report.radii.values) == {report.radii.values[0]}
    assert report.radii.values[0] == pytest.approx(0.5 / upper.bound.value)
    assert report.radii.values[0] * upper.bound.value <= 0.5


def test_what_does_not_fit_is_said() -> None:
    path, (x, y) = SAMPLES / "digits_mlp.onnx", data("digits_mlp")
    with pytest.raises(InvalidInput, match="63"):
        local(path, x[:, :63], Settings())
    with pytest.raises(InvalidInput, match="empty"):
        local(path, x[:0], Settings())
    with pytest.raises(InvalidInput, match="nan at index"):
        local(path, np.where(x[:2] > 3, np.nan, x[:2]), Settings())
    with pytest.raises(InvalidInput, match="one label for each of 450"):
        certify(path, x, y[:-1], Settings())
    with pytest.raises(InvalidInput, match="10 at index"):
        certify(path, x, np.where(y == 9, 10, y), Settings())
    with pytest.raises(UsageError, match="one output"):
        certify(SAMPLES / "diabetes_tanh.onnx", *data("diabetes_tanh"), Settings())
    with pytest.raises(UsageError, match="known: auto, product"):
        bound(path, Settings(methods=("magic",)))


def test_check_names_what_is_audited() -> None:
    report = check(SAMPLES / "digits_cnn.onnx", Settings())
    assert report.model.inputs[0].shape == (1, 1, 8, 8)
    assert report.upper is None
    assert any("is a batch: proven" in said for said in report.assumptions)


def test_a_jump_is_refused_by_name(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Floor", ["x"], ["a"], name="down"),
        helper.make_node("Sign", ["x"], ["b"], name="which"),
        helper.make_node("Add", ["a", "b"], ["y"], name="sum"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "m.onnx")
    with pytest.raises(RefusedModel) as caught:
        bound(tmp_path / "m.onnx", Settings())
    assert {(r.op, r.node) for r in caught.value.refusals} == {("Floor", "down"), ("Sign", "which")}
