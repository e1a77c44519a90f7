"""The checker proves nothing false: whatever the multipliers are, what it returns is a bound of every slope."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from lipaudit.checker import forms, ops, proof
from lipaudit.checker.forms import Rejected
from lipaudit.checker.model import Network, Step, read
from lipaudit.checker.proof import bound, trace
from tests.cases.models import model, node, weights
from tests.checker.networks import AFFINE, SLOPED, Affine, residual, steepest


def network(made: object, shape: tuple[int, ...]) -> Network:
    return read(made.SerializeToString(), shape, "y")  # type: ignore[attr-defined]


def jacobian(content: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """The matrix of an affine model, by onnxruntime on unit vectors."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

    def run(x: np.ndarray) -> np.ndarray:
        return np.asarray(session.run(None, {"x": x.reshape(shape).astype(np.float32)})[0], dtype=np.float64).reshape(
            -1
        )

    size = int(np.prod(shape))
    zero = run(np.zeros(size))
    return np.stack([run(row) - zero for row in np.eye(size)], 1)


@pytest.mark.parametrize("case", AFFINE, ids=str)
def test_an_affine_step_is_what_onnxruntime_computes(case: Affine) -> None:
    made = case.build()
    traced = trace(network(made, case.shape), [0.0], [1.0])
    found, above = traced.output.blocks[0]
    wanted = jacobian(made.SerializeToString(), case.shape)
    assert np.allclose(found.reshape(wanted.shape), wanted, rtol=1e-4, atol=1e-5)
    assert np.all(above >= np.abs(found))
    norm = float(np.linalg.norm(found.reshape(wanted.shape), 2))
    proven = bound(traced, [], norm**2 * (1.0 + 1e-9))
    assert norm * (1.0 - 1e-12) <= proven <= norm * (1.0 + 1e-8)
    with suppress(Rejected):
        assert bound(traced, [], norm**2 * 0.5) >= norm * (1.0 - 1e-12)


def test_every_op_of_the_table_has_a_case() -> None:
    tried = {made.graph.node[0].op_type for made in (case.build() for case in AFFINE)}
    assert tried == set(ops._TABLE)


def garbage(rng: np.random.Generator, sizes: list[int]) -> list[np.ndarray]:
    """Multipliers of no merit; smaller for later activations, so that some of them prove something."""
    powers = [-0.5, -1.5]
    return [10.0 ** rng.uniform(p - 2.0, p) * rng.uniform(0.3, 1.0, n) for n, p in zip(sizes, powers, strict=True)]


@pytest.mark.parametrize("op", SLOPED)
def test_no_multipliers_prove_less_than_a_slope(op: str) -> None:
    assert worst(op, seeds=range(3)) > 0


def worst(op: str, seeds: range) -> int:
    """How many of the multipliers tried proved something; each of them at least every slope that is found."""
    proved = 0
    for seed in seeds:
        made, run = residual(op, seed)
        traced = trace(network(made, (1, 3)), [0.0], [1.0])
        attained = steepest(run, 3, seed)
        rng = np.random.default_rng(seed)
        for _ in range(60):
            try:
                value = bound(traced, garbage(rng, [4, 4]), (attained * 10.0 ** rng.uniform(-1.0, 2.0)) ** 2)
            except Rejected:
                continue
            assert value >= attained, f"{op} {seed}: {value} is below the attained {attained}"
            proved += 1
    return proved


def test_preprocessing_is_part_of_the_function() -> None:
    made = model([node("MatMul", ["x", "w"])], weights(w=np.eye(2)), inputs=[("x", (1, 2))], opset=20)
    traced = trace(network(made, (1, 2)), [3.0], [4.0])
    assert 0.25 <= bound(traced, [], 0.0625 * (1.0 + 1e-9)) <= 0.25 * (1.0 + 1e-8)
    channels = trace(network(made, (1, 2)), [0.0, 0.0], [4.0, 0.5])
    assert 2.0 <= bound(channels, [], 4.0 * (1.0 + 1e-9)) <= 2.0 * (1.0 + 1e-8)


def test_what_coupled_multipliers_would_claim_is_not_proven() -> None:
    """relu(x) - relu(x - 1) has the constant 1; LipSDP-Network certifies almost 0 for it."""
    nodes = [
        node("Gemm", ["x", "w", "b"], ["p"]),
        node("Relu", ["p"], ["s"]),
        node("MatMul", ["s", "v"]),
    ]
    arrays = weights(w=np.array([[1.0, 1.0]]), b=np.array([0.0, -1.0]), v=np.array([[1.0], [-1.0]]))
    traced = trace(network(model(nodes, arrays, inputs=[("x", (1, 1))], opset=20), (1, 1)), [0.0], [1.0])
    rng = np.random.default_rng(0)
    for _ in range(300):
        try:
            assert bound(traced, [10.0 ** rng.uniform(-4, 4, 2)], 10.0 ** rng.uniform(-6, 1)) >= 1.0
        except Rejected:
            continue


@pytest.mark.parametrize(
    "wrong", [np.array([-1e-9, 1.0, 1.0, 1.0]), np.full(4, np.nan), np.ones(3), np.full(4, np.inf)]
)
def test_multipliers_that_are_none(wrong: np.ndarray) -> None:
    made, _ = residual("Relu", 0)
    traced = trace(network(made, (1, 3)), [0.0], [1.0])
    with pytest.raises(Rejected):
        bound(traced, [wrong, np.ones(4)], 100.0)
    with pytest.raises(Rejected):
        bound(traced, [np.ones(4)], 100.0)
    with pytest.raises(Rejected):
        bound(traced, [np.ones(4), np.ones(4)], float("nan"))


@pytest.mark.parametrize("scale", [1e-30, 1e30, 1e-200, 1e200])
def test_scales_are_proven_or_rejected(scale: float) -> None:
    made = model([node("MatMul", ["x", "w"])], [], inputs=[("x", (1, 2))], opset=20, dtype=11)
    made.graph.initializer.append(_double("w", np.array([[1.0, 2.0], [3.0, 4.0]]) * scale))
    made.graph.output[0].type.tensor_type.elem_type = 11
    norm = float(np.linalg.norm(np.array([[1.0, 2.0], [3.0, 4.0]]), 2)) * scale
    try:
        proven = bound(trace(network(made, (1, 2)), [0.0], [1.0]), [], norm**2 * (1.0 + 1e-9))
    except (Rejected, OverflowError):
        assert not 1e-40 < scale < 1e40
        return
    assert norm * (1.0 - 1e-12) <= proven <= norm * (1.0 + 1e-8)


def _double(name: str, values: np.ndarray) -> object:
    from onnx import numpy_helper

    return numpy_helper.from_array(values.astype(np.float64), name)


def _planted_slope(step: Step) -> tuple[float, float] | None:
    return (0.0, 0.2) if step.op == "Sigmoid" else ops.slopes(step)


def _planted_sum(one: forms.Form, other: forms.Form, sign: float) -> forms.Form:
    del sign
    return one if one.blocks.keys() >= other.blocks.keys() else other


def _planted_residual(_: np.ndarray) -> float:
    return 0.0


def _sigmoid_alone() -> None:
    made = model([node("Sigmoid", ["x"])], inputs=[("x", (1, 1))], opset=20)
    traced = trace(network(made, (1, 1)), [0.0], [1.0])
    for t in (0.01, 0.041, 0.0626):
        with suppress(Rejected):
            assert bound(traced, [np.full(1, 0.5)], t) >= 0.25


def _two_branches() -> None:
    """x W + x V: the constant is the norm of W + V."""
    w, v = (np.random.default_rng(n).normal(size=(3, 3)).astype(np.float32) for n in (1, 2))
    nodes = [node("MatMul", ["x", "w"], ["p"]), node("MatMul", ["x", "v"], ["q"]), node("Add", ["p", "q"])]
    made = model(nodes, weights(w=w, v=v), inputs=[("x", (1, 3))], opset=20)
    traced, norm = trace(network(made, (1, 3)), [0.0], [1.0]), float(np.linalg.norm(w.astype(float) + v, 2))
    for share in (0.2, 0.5, 0.9, 1.0 + 1e-9):
        with suppress(Rejected):
            assert bound(traced, [], share * norm**2) >= norm * (1.0 - 1e-12)


def _tanh_network() -> None:
    worst("Tanh", range(2))


PLANTED: dict[str, tuple[object, str, Callable[..., object], Callable[[], None]]] = {
    "a slope that is too small": (proof, "slopes", _planted_slope, _sigmoid_alone),
    "a sum that forgets an argument": (ops, "added", _planted_sum, _two_branches),
    "a matrix that need not be semidefinite": (proof, "_residual", _planted_residual, _tanh_network),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_law_catches(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    where, attribute, wrong, law = PLANTED[name]
    law()
    monkeypatch.setattr(where, attribute, wrong)
    with pytest.raises(AssertionError):
        law()


def test_the_checker_is_small() -> None:
    folder = Path(proof.__file__).parent
    lines = [line for path in folder.glob("*.py") for line in path.read_text().splitlines() if line.strip()]
    assert len(lines) <= 800
