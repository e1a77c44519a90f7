"""What is read: shapes, several inputs and outputs, constants; and what is compared with onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

import lipaudit.loading.parity as parity_module
from lipaudit.errors import LipauditError, UsageError
from lipaudit.graph.problem import Problem
from lipaudit.graph.simplify import simplify
from lipaudit.loading import Held, Loaded, RefusedModel, load_model
from lipaudit.loading.reference import RuntimeFailed
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from tests.cases.models import model, node, opened, random_array, saved, weights
from tests.laws.engine_laws import layer_product


def load(made: onnx.ModelProto, folder: Path, **options: Any) -> Loaded:
    return load_model(saved(made, folder), **options)


# ------------------------------------------------------------------------------------------- shapes


def test_open_axes_are_one_and_said(tmp_path: Path) -> None:
    made = model([node("Relu", ["x"])], inputs=[("x", ("batch", 2, None))])
    loaded = load(made, tmp_path)
    assert loaded.graph.input_shape == (1, 2, 1)
    assert loaded.facts.inputs[0].declared == ("batch", 2, None)
    assert any("open axis ? is 1" in said for said in loaded.facts.assumptions)
    assert loaded.facts.batch is not None
    assert "axis 0 (batch)" in loaded.facts.batch.statement


def test_what_does_not_fit_with_open_axes_at_one(tmp_path: Path) -> None:
    made = model([node("Conv", ["x", "w"])], weights(w=random_array(1, 1, 3)), inputs=[("x", (1, 1, "time"))])
    with pytest.raises(RefusedModel, match="give the sizes with --shape x="):
        load(made, tmp_path)
    assert load(made, tmp_path, shapes={"x": (1, 1, 5)}).graph.output_shape == (1, 1, 3)


def test_a_shape_may_be_given_where_it_is_open(tmp_path: Path) -> None:
    made = model([node("Relu", ["x"])], inputs=[("x", ("batch", 2))])
    loaded = load(made, tmp_path, shapes={"x": (3, 2)})
    assert loaded.graph.input_shape == (3, 2)
    assert loaded.facts.assumptions == ()


def test_an_input_of_unknown_rank_needs_a_shape(tmp_path: Path) -> None:
    """Nothing may be assumed: as a number, a Relu is another function than of a vector."""
    made = model([node("Relu", ["x"])], inputs=[("x", None)])
    with pytest.raises(LipauditError, match="shape"):
        load(made, tmp_path)
    assert load(made, tmp_path, shapes={"x": (1, 3)}).graph.input_shape == (1, 3)


def test_a_fixed_batch_is_audited_whole(tmp_path: Path) -> None:
    made = model([node("ReduceSum", ["x"], keepdims=0)], inputs=[("x", (4, 2))])
    graph = simplify(load(made, tmp_path).graph)
    assert graph.input_shape == (4, 2)
    assert layer_product(Problem.over(graph, Norm.L2)) == pytest.approx(np.sqrt(8.0), rel=1e-9)


# ------------------------------------------------------------------------------------------- inputs and outputs


def test_weights_listed_as_inputs_are_weights(tmp_path: Path) -> None:
    made = model([node("Add", ["x", "w"])], weights(w=[1.0, 2.0]), inputs=[("x", (1, 2)), ("w", (2,))])
    loaded = load(made, tmp_path)
    assert [facts.name for facts in loaded.facts.inputs] == ["x"]
    assert loaded.graph.input_shape == (1, 2)


def test_several_inputs_are_one_vector(tmp_path: Path) -> None:
    made = model([node("Sub", ["a", "b"])], inputs=[("a", (1, 2)), ("b", (1, 2))])
    loaded = load(made, tmp_path)
    assert loaded.graph.input_shape == (4,)
    assert [f.name for f in loaded.facts.inputs] == ["a", "b"]
    x = torch.tensor([[1.0, 2.0, 10.0, 20.0]], dtype=torch.float64)
    assert torch.equal(loaded.graph.forward(x), torch.tensor([[[-9.0, -18.0]]], dtype=torch.float64))
    bounds = [layer_product(Problem.over(simplify(loaded.graph), norm)) for norm in (Norm.L1, Norm.L2, Norm.LINF)]
    assert bounds == pytest.approx([1.0, np.sqrt(2.0), 2.0], rel=1e-9)


def test_several_outputs_are_one_vector(tmp_path: Path) -> None:
    nodes = [node("Relu", ["x"], ["a"]), node("ReduceSum", ["x"], ["b"], keepdims=0)]
    loaded = load(model(nodes, outputs=["a", "b"]), tmp_path)
    assert loaded.graph.output_shape == (3,)
    x = torch.tensor([[[1.0, -2.0]]], dtype=torch.float64)
    assert loaded.graph.forward(x).tolist() == [[1.0, 0.0, -1.0]]
    assert load(model(nodes, outputs=["a", "b"]), tmp_path, output="b").graph.output_shape == ()


def test_an_output_that_is_constant_is_left_out(tmp_path: Path) -> None:
    nodes = [node("Relu", ["x"], ["a"]), node("Neg", ["w"], ["b"])]
    loaded = load(model(nodes, weights(w=[1.0]), outputs=["a", "b"]), tmp_path)
    assert [f.name for f in loaded.facts.outputs] == ["a"]


def test_an_output_that_depends_on_nothing(tmp_path: Path) -> None:
    with pytest.raises(RefusedModel, match="does not depend"):
        load(model([node("Neg", ["w"])], weights(w=[1.0])), tmp_path)


def test_the_input_itself_as_an_output(tmp_path: Path) -> None:
    loaded = load(model([node("Identity", ["x"])]), tmp_path)
    assert layer_product(Problem.over(loaded.graph, Norm.L2)) == 1.0


def test_an_integer_input_that_matters_is_refused(tmp_path: Path) -> None:
    made = model(
        [node("Gather", ["w", "i"], ["g"], axis=0), node("Add", ["x", "g"])], weights(w=[[1.0, 2.0], [3.0, 4.0]])
    )
    made.graph.input.append(helper.make_tensor_value_info("i", TensorProto.INT64, (1,)))
    with pytest.raises(RefusedModel, match="whole numbers"):
        load(made, tmp_path)


def test_an_integer_input_that_is_the_only_one_is_refused(tmp_path: Path) -> None:
    made = model([node("Cast", ["i"], to=TensorProto.FLOAT)], inputs=[])
    made.graph.input.append(helper.make_tensor_value_info("i", TensorProto.INT64, (1,)))
    with pytest.raises(RefusedModel, match="whole numbers"):
        load(made, tmp_path)


@pytest.mark.parametrize("first", [True, False])
def test_an_integer_input_that_does_not_matter(first: bool, tmp_path: Path) -> None:
    made = model([node("Relu", ["x"])])
    info = helper.make_tensor_value_info("i", TensorProto.INT64, (3,))
    inputs = [info, *made.graph.input] if first else [*made.graph.input, info]
    del made.graph.input[:]
    made.graph.input.extend(inputs)
    loaded = load(made, tmp_path)
    assert loaded.graph.input_shape == (1, 2)
    x = torch.tensor([[1.0, -2.0]], dtype=torch.float64)
    assert loaded.graph.forward(x).reshape(-1).tolist() == [1.0, 0.0]


TWO = [("x", (1, 2)), ("z", (1, 2))]


def test_the_input_that_varies(tmp_path: Path) -> None:
    """x w + z at z = (3, 3): a function of x alone, at onnxruntime's values too."""
    made = model([node("Mul", ["x", "w"], ["m"]), node("Add", ["m", "z"])], weights(w=[2.0, 1.0]), inputs=TWO)
    loaded = load(made, tmp_path, varying=("x",), held={"z": Held(3.0, "3")})
    assert loaded.graph.input_shape == (1, 2)
    assert loaded.graph.forward(torch.ones(1, 1, 2, dtype=torch.float64)).tolist() == [[[5.0, 4.0]]]
    assert [(facts.name, facts.held) for facts in loaded.facts.inputs] == [("x", None), ("z", "3")]
    assert [facts.name for facts in loaded.facts.varying] == ["x"]
    assert layer_product(Problem.over(simplify(loaded.graph), Norm.L2)) == pytest.approx(2.0, rel=1e-9)
    assert any("'z' is held at 3" in said for said in loaded.facts.assumptions)


def test_a_product_of_two_inputs_is_linear_in_the_one_that_varies(tmp_path: Path) -> None:
    """Jointly it has no constant; with one held at an array it is that array's largest entry."""
    made = model([node("Mul", ["x", "z"])], inputs=TWO)
    loaded = load(made, tmp_path, held={"z": Held(np.array([[4.0, -7.0]]), "z.npy")})
    assert layer_product(Problem.over(simplify(loaded.graph), Norm.L2)) == pytest.approx(7.0, rel=1e-9)


def test_an_input_without_a_value(tmp_path: Path) -> None:
    made = model([node("Mul", ["x", "z"])], inputs=TWO)
    with pytest.raises(UsageError, match="'z', which neither varies nor has a value"):
        load(made, tmp_path, varying=("x",))
    made = model([node("Relu", ["x"])], inputs=TWO)
    assert load(made, tmp_path, varying=("x",)).graph.input_shape == (1, 2)


def test_a_whole_number_may_be_held(tmp_path: Path) -> None:
    """A sampling rate, say, that an If reads."""
    made = model([node("Gather", ["x", "i"], axis=1)])
    made.graph.input.append(helper.make_tensor_value_info("i", TensorProto.INT64, [1]))
    with pytest.raises(RefusedModel, match="--fix i=VALUE"):
        load(made, tmp_path)
    loaded = load(made, tmp_path, held={"i": Held(1.0, "1")})
    assert loaded.graph.forward(torch.tensor([[[3.0, 5.0]]], dtype=torch.float64)).tolist() == [[[5.0]]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"varying": ("q",)}, "--input names 'q'"),
        ({"held": {"q": Held(0.0, "0")}}, "--fix names 'q'"),
        ({"varying": ("x",), "held": {"x": Held(0.0, "0")}}, "cannot both vary"),
        ({"held": {"z": Held(np.zeros((1, 3)), "z.npy")}}, r"z.npy of shape \[1, 3\] does not fit"),
        ({"held": {"z": Held(1e39, "1e39")}}, "too large"),
        ({"held": {"z": Held(float("nan"), "nan")}}, "not finite"),
        ({"held": {"z": Held(np.array([["a", "b"]]), "z.npy")}}, "not numbers"),
        ({"held": {"i": Held(0.5, "0.5")}}, "not of type int64"),
    ],
)
def test_values_that_do_not_fit(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    made = model([node("Add", ["x", "z"])], inputs=TWO)
    made.graph.input.append(helper.make_tensor_value_info("i", TensorProto.INT64, [1]))
    with pytest.raises(UsageError, match=message):
        load(made, tmp_path, **options)


def test_all_inputs_held_is_nothing_to_audit(tmp_path: Path) -> None:
    made = model([node("Relu", ["x"])])
    with pytest.raises(RefusedModel, match="no input that varies"):
        load(made, tmp_path, held={"x": Held(0.0, "0")})


def test_a_model_without_inputs(tmp_path: Path) -> None:
    with pytest.raises(RefusedModel):
        load(model([node("Neg", ["w"])], weights(w=[1.0]), inputs=[]), tmp_path)


# ------------------------------------------------------------------------------------------- constants


def test_constant_nodes(tmp_path: Path) -> None:
    tensor = weights(t=[[1.0, 2.0], [3.0, 4.0]])[0]
    nodes = [
        node("Constant", [], ["w"], value=tensor),
        node("Constant", [], ["f"], value_float=0.5),
        node("Constant", [], ["s"], value_ints=[1, -1]),
        node("MatMul", ["x", "w"], ["h"]),
        node("Mul", ["h", "f"], ["g"]),
        node("Reshape", ["g", "s"]),
    ]
    graph = load(model(nodes), tmp_path).graph
    x = torch.tensor([[[1.0, 1.0]]], dtype=torch.float64)
    assert graph.forward(x).reshape(-1).tolist() == [2.0, 3.0]


def test_shape_arithmetic_is_folded(tmp_path: Path) -> None:
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "zero"], ["batch"], axis=0),
        node("Unsqueeze", ["batch", "zeros"], ["first"]),
        node("Concat", ["first", "minus"], ["target"], axis=0),
        node("Reshape", ["x", "target"]),
    ]
    arrays = weights(zero=0, zeros=[0], minus=[-1])
    graph = load(model(nodes, arrays, inputs=[("x", (2, 3, 2))]), tmp_path).graph
    assert graph.output_shape == (2, 6)


def test_folded_real_arithmetic_is_said(tmp_path: Path) -> None:
    nodes = [node("Exp", ["a"], ["e"]), node("Mul", ["x", "e"])]
    loaded = load(model(nodes, weights(a=[0.1, 0.2])), tmp_path)
    assert any("folded" in said and "exp_e" in said for said in loaded.facts.assumptions)
    plain = load(
        model([node("Reshape", ["a", "s"], ["e"]), node("Mul", ["x", "e"])], weights(a=[0.1, 0.2], s=[1, 2])), tmp_path
    )
    assert plain.facts.assumptions == ()


def test_weights_of_other_types(tmp_path: Path) -> None:
    """float16 and bfloat16 weights are real numbers, exactly."""
    half = np.array([0.1, 0.2], dtype=np.float16)
    nodes = [node("Cast", ["h"], ["w"], to=TensorProto.FLOAT), node("Mul", ["x", "w"])]
    made = model(nodes, [onnx.numpy_helper.from_array(half, "h")])
    bound = layer_product(Problem.over(simplify(load(made, tmp_path).graph), Norm.L2))
    assert bound == pytest.approx(float(half[1]), rel=1e-12)
    assert bound >= float(half[1])


def test_defaults_are_float32(tmp_path: Path) -> None:
    """0.01 is not 0.01: the slope below zero is the float32 number."""
    loaded = load(model([node("LeakyRelu", ["x"])]), tmp_path)
    minus = torch.tensor([[[-1.0, -2.0]]], dtype=torch.float64)
    assert float(-loaded.graph.forward(minus).reshape(-1)[0]) == float(np.float32(0.01))


# ------------------------------------------------------------------------------------------- parity


def test_parity_is_noted(tmp_path: Path) -> None:
    parity = load(model([node("Gemm", ["x", "w"])], weights(w=random_array(2, 3))), tmp_path).facts.parity
    assert parity is not None
    assert parity.points > 0
    assert 0.0 <= parity.max_abs_difference <= parity.tolerance


@pytest.mark.parametrize("wrong", ["value", "shape", "nan"])
def test_a_difference_from_onnxruntime_is_refused(wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = parity_module.reference_outputs

    def other(*args: Any) -> np.ndarray:
        answer = real(*args)
        if wrong == "shape":
            return answer[:, :1]
        return answer + 0.01 if wrong == "value" else np.where(answer > 0, np.nan, answer)

    monkeypatch.setattr(parity_module, "reference_outputs", other)
    with pytest.raises(RefusedModel) as caught:
        load(model([node("Relu", ["x"])]), tmp_path)
    assert caught.value.refusals[0].code == "LIP103"


def test_a_model_that_onnxruntime_cannot_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> np.ndarray:
        raise RuntimeFailed("no kernel for it")

    monkeypatch.setattr(parity_module, "reference_outputs", fails)
    with pytest.raises(RefusedModel, match="no kernel"):
        load(model([node("Relu", ["x"])]), tmp_path)


def test_small_outputs_are_compared_on_their_own_scale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose outputs are all near 1e-7 is not confirmed by a tolerance of 1e-6."""
    real = parity_module.reference_outputs
    monkeypatch.setattr(parity_module, "reference_outputs", lambda *args: real(*args) * 2.0)
    with pytest.raises(RefusedModel):
        load(model([node("Mul", ["x", "c"])], weights(c=1e-7)), tmp_path)


def test_a_name_with_line_breaks_leaves_the_message_on_one_line(tmp_path: Path) -> None:
    made = model([node("Cast", ["n\nm"], ["a"], to=1), node("Mul", ["x", "a"])], inputs=[("x", (1, 2))])
    made.graph.input.append(helper.make_tensor_value_info("n\nm", TensorProto.INT64, (1, 2)))
    with pytest.raises(RefusedModel) as refused:
        load(made, tmp_path)
    assert "--fix 'n\\nm'=VALUE" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_points_come_from_the_domain(tmp_path: Path) -> None:
    """The log of a normal sample is undefined half of the time; of the domain, it never is."""
    box = Box(torch.full((1, 2), 1.0, dtype=torch.float64), torch.full((1, 2), 2.0, dtype=torch.float64))
    loaded = load(model([node("Log", ["x"])]), tmp_path, box=box)
    assert loaded.facts.parity is not None
    assert loaded.facts.parity.points == parity_module.POINTS


def test_a_function_that_is_defined_nowhere(tmp_path: Path) -> None:
    made = model([node("Abs", ["x"], ["a"]), node("Sub", ["a", "c"], ["b"]), node("Log", ["b"])], weights(c=100.0))
    with pytest.raises(RefusedModel, match="not defined"):
        load(made, tmp_path)


@pytest.mark.parametrize("seed", range(12))
def test_random_models_agree_with_onnxruntime_beyond_the_points_of_loading(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    act = str(
        rng.choice(["Relu", "Tanh", "Elu", "Selu", "Softplus", "HardSigmoid", "LeakyRelu", "Erf", "HardSwish", "Mish"])
    )
    nodes = [
        node("Gemm", ["x", "w1", "b1"], ["a"], transB=1, alpha=float(rng.normal())),
        node(act, ["a"], ["b"]),
        node("Add", ["b", "a"], ["c"]),
        node("Gemm", ["c", "w2"], beta=0.5),
    ]
    arrays = weights(w1=random_array(4, 3, seed=seed), b1=random_array(4, seed=seed), w2=random_array(4, 2, seed=seed))
    made = model(nodes, arrays, inputs=[("x", (1, 3))], opset=18)
    loaded = load(made, tmp_path)
    session = opened(made)
    for scale in (0.1, 1.0, 30.0):
        x = (rng.normal(size=(1, 3)) * scale).astype(np.float32)
        theirs = session.run(None, {"x": x})[0]
        ours = loaded.graph.forward(torch.from_numpy(x.astype(np.float64)).unsqueeze(0))[0].numpy()
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-4 * scale)
