"""Models that cannot be audited: every reason, by name, and never a guess."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from lipaudit.errors import InvalidInput, LipauditError, Unsupported, UsageError
from lipaudit.loading import Loaded, RefusedModel, load_model
from lipaudit.loading.open import OPSETS
from lipaudit.ops.registry import Data, RawNode, parse
from tests.cases.models import model, node, random_array, saved, weights


def load(made: onnx.ModelProto, folder: Path, **options: Any) -> Loaded:
    return load_model(saved(made, folder), **options)


def refusal(made: onnx.ModelProto, folder: Path, **options: Any) -> str:
    with pytest.raises(RefusedModel) as caught:
        load(made, folder, **options)
    assert caught.value.exit_code == 3
    return str(caught.value)


def invalid(made: onnx.ModelProto, folder: Path) -> str:
    with pytest.raises(InvalidInput) as caught:
        load(made, folder)
    return str(caught.value)


# ------------------------------------------------------------------------------------------- the file


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_not_finite(value: float, tmp_path: Path) -> None:
    w = np.eye(2, dtype=np.float32)
    w[1, 0] = value
    said = invalid(model([node("Gemm", ["x", "w"])], weights(w=w)), tmp_path)
    assert "'w'" in said
    assert "[1, 0]" in said


def test_a_constant_node_that_is_not_finite(tmp_path: Path) -> None:
    made = model([node("Constant", [], ["c"], value_float=math.inf), node("Mul", ["x", "c"])])
    invalid(made, tmp_path)


def test_a_constant_that_becomes_infinite_when_folded(tmp_path: Path) -> None:
    made = model([node("Div", ["a", "b"], ["c"]), node("Mul", ["x", "c"])], weights(a=[1.0, 1.0], b=[0.0, 1.0]))
    with pytest.raises(LipauditError):
        load(made, tmp_path)
    made = model([node("Div", ["a", "b"], ["c"]), node("Pow", ["x", "c"])], weights(a=[1.0], b=[0.0]))
    with pytest.raises(LipauditError):
        load(made, tmp_path)


@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("LeakyRelu", {"alpha": math.nan}),
        ("Elu", {"alpha": math.inf}),
        ("Gemm", {"alpha": math.nan}),
        ("HardSigmoid", {"alpha": math.inf}),
    ],
)
def test_attributes_that_are_not_finite(op: str, attributes: dict[str, Any], tmp_path: Path) -> None:
    inputs = ["x", "w"] if op == "Gemm" else ["x"]
    said = refusal(model([node(op, inputs, **attributes)], weights(w=np.eye(2)) if op == "Gemm" else ()), tmp_path)
    assert "alpha" in said


def test_two_initializers_of_one_name(tmp_path: Path) -> None:
    made = model([node("Add", ["x", "w"])], [*weights(w=[1.0, 2.0]), *weights(w=[3.0, 4.0])])
    assert "twice" in invalid(made, tmp_path)


def test_an_initializer_that_a_node_makes_too(tmp_path: Path) -> None:
    made = model([node("Neg", ["x"], ["w"]), node("Add", ["x", "w"])], weights(w=[1.0, 2.0]))
    assert "twice" in invalid(made, tmp_path)


def test_two_nodes_that_make_one_value(tmp_path: Path) -> None:
    made = model([node("Neg", ["x"]), node("Relu", ["x"])])
    assert "twice" in invalid(made, tmp_path)


def test_a_node_that_makes_the_input(tmp_path: Path) -> None:
    made = model([node("Neg", ["x"], ["x"]), node("Relu", ["x"])])
    with pytest.raises(LipauditError):
        load(made, tmp_path)


def test_two_inputs_of_one_name(tmp_path: Path) -> None:
    made = model([node("Relu", ["x"])], inputs=[("x", (1, 2)), ("x", (1, 2))])
    with pytest.raises(LipauditError):
        load(made, tmp_path)


def test_sparse_weights(tmp_path: Path) -> None:
    """A runtime may take the sparse tensor where a dense one of the same name is there as well."""
    made = model([node("Add", ["x", "w"])], weights(w=[1.0, 2.0]))
    values = numpy_helper.from_array(np.array([9.0], dtype=np.float32), "w")
    places = numpy_helper.from_array(np.array([1], dtype=np.int64), "places")
    made.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [2]))
    with pytest.raises(LipauditError, match="sparse"):
        load(made, tmp_path)


@pytest.mark.parametrize(
    "pair", [(("", 17), ("", 11)), (("", 17), ("ai.onnx", 11)), (("ai.onnx", 13), ("ai.onnx", 13))]
)
def test_two_opsets_of_the_default_domain(pair: tuple[tuple[str, int], ...], tmp_path: Path) -> None:
    made = model([node("Relu", ["x"])])
    del made.opset_import[:]
    made.opset_import.extend(helper.make_opsetid(*entry) for entry in pair)
    assert "twice" in refusal(made, tmp_path)


def test_no_opset_at_all(tmp_path: Path) -> None:
    made = model([node("Relu", ["x"])])
    del made.opset_import[:]
    assert "no opset" in refusal(made, tmp_path)


@pytest.mark.parametrize("opset", [OPSETS.start - 1, OPSETS.stop, 99])
def test_opsets_that_are_not_listed(opset: int, tmp_path: Path) -> None:
    assert f"opset {opset} is not supported" in refusal(model([node("Relu", ["x"])], opset=opset), tmp_path)


def test_functions_of_its_own(tmp_path: Path) -> None:
    made = model([node("Relu", ["x"])])
    body = helper.make_function(
        "f", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    made.functions.append(body)
    assert "functions" in refusal(made, tmp_path)


def test_external_data(tmp_path: Path) -> None:
    made = model([node("Add", ["x", "w"])], weights(w=[1.0, 2.0]))
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "../secret"), ("offset", "0"), ("length", "8")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    (tmp_path.parent / "secret").write_bytes(b"12345678")
    assert "another file" in refusal(made, tmp_path)


def test_a_tensor_whose_data_does_not_fill_its_shape(tmp_path: Path) -> None:
    made = model([node("Add", ["x", "w"])], weights(w=[1.0, 2.0]))
    made.graph.initializer[0].dims[0] = 3
    with pytest.raises(LipauditError):
        load(made, tmp_path)


@pytest.mark.parametrize("dims", [[-2], [2**40], [2**31, 2**31]])
def test_a_tensor_of_an_impossible_shape(dims: list[int], tmp_path: Path) -> None:
    made = model([node("Add", ["x", "w"])], weights(w=[1.0, 2.0]))
    del made.graph.initializer[0].dims[:]
    made.graph.initializer[0].dims.extend(dims)
    with pytest.raises(LipauditError):
        load(made, tmp_path)


# ------------------------------------------------------------------------------------------- nodes


def test_all_refusals_at_once(tmp_path: Path) -> None:
    nodes = [
        node("Ceil", ["x"], ["a"]),
        node("Frobnicate", ["x"], ["b"]),
        node("Relu", ["x"], ["c"], domain="com.example"),
        node("LeakyRelu", ["x"], ["d"], slope=3.0),
        node("Relu", ["a"], ["e"]),
        node("Sum", ["a", "b", "c", "d", "e"]),
    ]
    with pytest.raises(RefusedModel) as caught:
        load(model(nodes), tmp_path)
    found = {r.op: r for r in caught.value.refusals}
    assert set(found) == {"Ceil", "Frobnicate", "Relu", "LeakyRelu"}
    assert len(caught.value.refusals) == 4  # what depends on a refused value is not reported again
    assert found["Ceil"].node == "ceil_a"
    assert "jumps" in found["Ceil"].reason
    assert "no op of this name" in found["Frobnicate"].reason
    assert "com.example" in found["Relu"].reason
    assert "'slope'" in found["LeakyRelu"].reason


def test_what_the_output_does_not_need_is_not_refused(tmp_path: Path) -> None:
    nodes = [node("Ceil", ["x"], ["z"]), node("Relu", ["x"])]
    assert load(model(nodes), tmp_path).graph.output_shape == (1, 2)
    assert load(model(nodes, outputs=["y", "z"]), tmp_path, output="y").graph.output_shape == (1, 2)
    refusal(model(nodes, outputs=["y", "z"]), tmp_path)


def _raw(op: str, version: int) -> RawNode:
    def emit(*_: object) -> Data:
        raise AssertionError("nothing is to be emitted")

    return RawNode(op, "n", version, (Data(0, (1, 2)),), 1, 1, emit)  # type: ignore[arg-type]


def test_a_revision_that_nobody_has_read() -> None:
    with pytest.raises(Unsupported, match=r"LeakyRelu-99 is not supported \(known revisions: 1, 6, 16\)"):
        parse(_raw("LeakyRelu", 99), {})


def test_an_op_that_nobody_has_listed() -> None:
    with pytest.raises(Unsupported, match="no rule"):
        parse(_raw("Frobnicate", 1), {})


def test_a_missing_attribute() -> None:
    with pytest.raises(Unsupported, match="'kernel_shape' is missing"):
        parse(_raw("MaxPool", 12), {})


def test_a_stray_attribute() -> None:
    with pytest.raises(Unsupported, match="'colour' is not known"):
        parse(_raw("Relu", 14), {"colour": 3})


def test_a_cycle(tmp_path: Path) -> None:
    made = model([node("Add", ["x", "b"], ["a"]), node("Relu", ["a"], ["b"]), node("Neg", ["b"])])
    assert "cycle" in invalid(made, tmp_path)
    made = model([node("Add", ["x", "y"])])
    assert "cycle" in invalid(made, tmp_path)


def test_nodes_in_any_order(tmp_path: Path) -> None:
    nodes = [node("Neg", ["b"]), node("Relu", ["a"], ["b"]), node("Add", ["x", "x"], ["a"])]
    graph = load(model(nodes), tmp_path).graph
    assert [n.kind for n in graph.nodes] == ["Add", "Relu", "Neg"]


def test_a_diamond_is_no_cycle(tmp_path: Path) -> None:
    nodes = [
        node("Relu", ["x"], ["a"]),
        node("Neg", ["a"], ["b"]),
        node("Add", ["a", "b"], ["c"]),
        node("Mul", ["c", "b"]),
    ]
    assert len(load(model(nodes), tmp_path).graph.nodes) == 4


def test_a_value_that_nothing_defines(tmp_path: Path) -> None:
    assert "nothing defines" in invalid(model([node("Add", ["x", "ghost"])]), tmp_path)


def test_a_deep_chain(tmp_path: Path) -> None:
    count = 3000
    nodes = [
        node("Identity", ["x" if i == 0 else f"v{i}"], [f"v{i + 1}" if i < count - 1 else "y"]) for i in range(count)
    ]
    assert load(model([*nodes[:-1], node("Relu", [nodes[-1].input[0]])]), tmp_path).graph.output_shape == (1, 2)


def test_too_many_nodes(tmp_path: Path) -> None:
    nodes = [helper.make_node("Identity", ["x"], [f"v{i}"]) for i in range(50_001)]
    assert "more than the 50000" in invalid(model([*nodes, node("Relu", ["x"])]), tmp_path)


@pytest.mark.parametrize("mode", [1, 0])
def test_batch_normalisation_in_training_mode(mode: int, tmp_path: Path) -> None:
    arrays = weights(scale=[1.0, 1.0], bias=[0.0, 0.0], mean=[0.0, 0.0], variance=[1.0, 1.0])
    outputs = ["y", "m", "v"] if mode else ["y"]
    made = model(
        [node("BatchNormalization", ["x", "scale", "bias", "mean", "variance"], outputs, training_mode=mode)],
        arrays,
        inputs=[("x", (1, 2, 3))],
    )
    if mode:
        assert "training mode" in refusal(made, tmp_path)
    else:
        load(made, tmp_path)


@pytest.mark.parametrize("variance", [-1.0, -1e-5])
def test_batch_normalisation_by_no_variance(variance: float, tmp_path: Path) -> None:
    arrays = weights(scale=[1.0, 1.0], bias=[0.0, 0.0], mean=[0.0, 0.0], variance=[1.0, variance])
    made = model(
        [node("BatchNormalization", ["x", "scale", "bias", "mean", "variance"], epsilon=1e-5)],
        arrays,
        inputs=[("x", (1, 2, 3))],
    )
    refusal(made, tmp_path)


@pytest.mark.parametrize("training", [True, False])
def test_dropout_in_training_mode(training: bool, tmp_path: Path) -> None:
    arrays = [*weights(ratio=0.5), numpy_helper.from_array(np.array(training), "mode")]
    made = model([node("Dropout", ["x", "ratio", "mode"], ["d"]), node("Relu", ["d"])], arrays)
    if training:
        assert "training mode" in refusal(made, tmp_path)
    else:
        load(made, tmp_path)


@pytest.mark.parametrize("op", ["Floor", "Sign", "Round", "Hardmax"])
def test_jumps(op: str, tmp_path: Path) -> None:
    assert "no finite Lipschitz constant" in refusal(model([node(op, ["x"])]), tmp_path)


def test_a_cast_to_integers(tmp_path: Path) -> None:
    made = model([node("Cast", ["x"], ["i"], to=TensorProto.INT64), node("Cast", ["i"], to=TensorProto.FLOAT)])
    assert "jumps" in refusal(made, tmp_path)


def test_clip_whose_limits_are_the_wrong_way_round(tmp_path: Path) -> None:
    refusal(model([node("Clip", ["x", "low", "high"])], weights(low=1.0, high=0.0)), tmp_path)


def test_division_by_a_constant_zero(tmp_path: Path) -> None:
    refusal(model([node("Div", ["x", "c"])], weights(c=[1.0, 0.0])), tmp_path)


# ------------------------------------------------------------------------------------------- lying attributes


@pytest.mark.parametrize(
    ("op", "arrays", "attributes"),
    [
        ("Conv", {"w": (2, 2, 2, 2)}, {"kernel_shape": [3, 3]}),
        ("Conv", {"w": (2, 2, 2, 2)}, {"group": 2}),
        ("Conv", {"w": (2, 2, 2, 2)}, {"group": 0}),
        ("Conv", {"w": (2, 2, 2, 2)}, {"strides": [0, 1]}),
        ("Conv", {"w": (2, 2, 2, 2)}, {"strides": [1]}),
        ("Conv", {"w": (2, 2, 2, 2)}, {"dilations": [-1, 1]}),
        ("Conv", {"w": (2, 2, 2, 2)}, {"pads": [-1, 0, 0, 0]}),
        ("Conv", {"w": (2, 2, 2, 2)}, {"pads": [1]}),
        ("Conv", {"w": (2, 2, 2, 2)}, {"auto_pad": "SOMEHOW"}),
        ("Conv", {"w": (2, 3, 2, 2)}, {}),
        ("Conv", {"w": (2, 2, 9, 9)}, {}),
        ("Conv", {"w": (2, 2)}, {}),
        ("ConvTranspose", {"w": (2, 2, 2, 2)}, {"output_padding": [5, 5]}),
        ("MaxPool", {}, {"kernel_shape": [0, 1]}),
        ("MaxPool", {}, {"kernel_shape": [9, 9]}),
        ("MaxPool", {}, {"kernel_shape": [2]}),
        ("MaxPool", {}, {"kernel_shape": [2, 2], "strides": [0, 1]}),
        ("AveragePool", {}, {"kernel_shape": [1, 1], "pads": [3, 3, 3, 3]}),
        ("Transpose", {}, {"perm": [0, 0, 1, 2]}),
        ("Transpose", {}, {"perm": [0, 1]}),
        ("Concat", {}, {"axis": 9}),
        ("Softmax", {}, {"axis": 9}),
        ("Flatten", {}, {"axis": 9}),
        ("Gather", {"i": np.array([7])}, {"axis": 1}),
        ("Reshape", {"s": np.array([-1, -1])}, {}),
        ("Reshape", {"s": np.array([5, 5])}, {}),
        ("Reshape", {"s": np.array([-3, 3])}, {}),
        ("Unsqueeze", {"a": np.array([9])}, {}),
        ("Squeeze", {"a": np.array([1])}, {}),
        ("Pad", {"p": np.array([1, 1])}, {}),
        ("DepthToSpace", {}, {"blocksize": 3}),
        ("SpaceToDepth", {}, {"blocksize": 0}),
    ],
    ids=lambda v: v if isinstance(v, str) else None,
)
def test_attributes_that_lie(op: str, arrays: dict[str, Any], attributes: dict[str, Any], tmp_path: Path) -> None:
    """Whatever a parser makes of it, it is refused in words, or it is what onnxruntime computes."""
    given = {name: random_array(*v) if isinstance(v, tuple) else v for name, v in arrays.items()}
    made = model([node(op, ["x", *given], **attributes)], weights(**given), inputs=[("x", (1, 2, 4, 4))])
    with pytest.raises(LipauditError) as caught:
        load(made, tmp_path)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code in (2, 3)


def test_wrong_numbers_of_arguments(tmp_path: Path) -> None:
    for op, inputs in (
        ("Add", ["x"]),
        ("Relu", []),
        ("Gemm", ["x"]),
        ("Conv", ["x"]),
        ("Clip", []),
        ("BatchNormalization", ["x"]),
    ):
        with pytest.raises(LipauditError):
            load(model([node(op, inputs)]), tmp_path)


# ------------------------------------------------------------------------------------------- bombs


def _shape_of(*dims: int) -> list[onnx.TensorProto]:
    return weights(s=list(dims))


@pytest.mark.parametrize(
    "nodes",
    [
        lambda: [node("ConstantOfShape", ["s"], ["c"]), node("ReduceSum", ["c"], ["t"]), node("Add", ["x", "t"])],
        lambda: [node("Expand", ["x", "s"])],
        lambda: [node("Expand", ["one", "s"], ["c"]), node("ReduceSum", ["c"], ["t"]), node("Add", ["x", "t"])],
        lambda: [node("Tile", ["x", "s"])],
        lambda: [node("Tile", ["one", "s"], ["c"]), node("ReduceSum", ["c"], ["t"]), node("Add", ["x", "t"])],
        lambda: [
            node("Range", ["zero", "much", "step"], ["c"]),
            node("ReduceSum", ["c"], ["t"]),
            node("Add", ["x", "t"]),
        ],
        lambda: [node("Pad", ["x", "s4"])],
        lambda: [node("Reshape", ["x", "s"])],
        lambda: [node("Add", ["x", "tall"], ["a"]), node("Add", ["a", "wide"])],
    ],
    ids=[
        "constant-of-shape",
        "expand-data",
        "expand",
        "tile-data",
        "tile",
        "range",
        "pad-data",
        "reshape",
        "broadcast",
    ],
)
def test_bombs_are_refused_at_once(nodes: Any, tmp_path: Path) -> None:
    """A few bytes that ask for terabytes."""
    arrays = weights(
        s=[2**20, 2**22],
        s4=[0, 2**40, 0, 0],
        one=[[1.0]],
        zero=0.0,
        much=1e12,
        step=0.5,
        tall=np.zeros((100_000, 1)),
        wide=np.zeros((1, 100_000)),
    )
    if nodes()[-1].op_type == "Add" and nodes()[0].op_type == "Add":
        made = model(nodes(), arrays, inputs=[("x", (1, 1))])
    else:
        made = model(nodes(), arrays)
    start = time.monotonic()
    with pytest.raises(LipauditError):
        load(made, tmp_path)
    assert time.monotonic() - start < 10.0


def test_a_doubling_chain_is_refused(tmp_path: Path) -> None:
    nodes = [node("Concat", [f"v{i}" if i else "x"] * 2, [f"v{i + 1}"], axis=1) for i in range(34)]
    start = time.monotonic()
    with pytest.raises(LipauditError):
        load(model([*nodes, node("ReduceSum", ["v34"])]), tmp_path)
    assert time.monotonic() - start < 30.0


# ------------------------------------------------------------------------------------------- options


def test_an_output_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="outputs: y"):
        load(model([node("Relu", ["x"])]), tmp_path, output="z")


def test_a_shape_for_an_input_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no input of the model \(x\)"):
        load(model([node("Relu", ["x"])]), tmp_path, shapes={"z": (1, 2)})


@pytest.mark.parametrize("shape", [(2,), (1, 3), (1, 2, 1), ()])
def test_a_shape_that_does_not_fit(shape: tuple[int, ...], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not fit"):
        load(model([node("Relu", ["x"])]), tmp_path, shapes={"x": shape})


def test_an_output_that_the_rule_does_not_give(tmp_path: Path) -> None:
    """The mask of a Dropout in inference: used by the model, or audited itself."""
    drop = node("Dropout", ["x"], ["d", "mask"])
    cast = node("Cast", ["mask"], ["m"], to=TensorProto.FLOAT)
    used = model([drop, cast, node("Mul", ["d", "m"])])
    assert "its output 'mask' is used, for which there is no rule" in refusal(used, tmp_path)
    assert "'mask'" in refusal(model([drop], outputs=("mask",)), tmp_path)


# ------------------------------------------------------------------------------------------- masks

NONE = float("-inf")


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize("how", ["Add", "Where", "both"])
def test_a_causal_mask_before_a_softmax(how: str, opset: int, tmp_path: Path) -> None:
    """Entries that are -inf have no share: row 0 keeps one entry and is constant, with gain 0."""
    keep = np.tril(np.ones((1, 3, 3), dtype=bool))
    add = [node("Add", ["x", "mask"], ["m"])]
    where = [node("Where", ["keep", "x", "none"], ["m"])]
    nodes = {"Add": add, "Where": where, "both": [node("Not", ["keep"], ["gone"]), *_folded(), *add]}[how]
    arrays = [*weights(none=NONE, zero=0.0), numpy_helper.from_array(keep, "keep")]
    arrays += weights(mask=np.where(keep, 0.5, NONE)) if how == "Add" else []
    last = node("Softmax", ["m"], axis=2) if opset < 13 else node("Softmax", ["m"])
    made = model([*nodes, last], arrays, inputs=[("x", (1, 3, 3))], opset=opset)
    loaded = load_model(saved(made, tmp_path))
    assert loaded.graph.forward(torch.zeros(1, 1, 3, 3, dtype=torch.float64))[0, 0, 0].tolist() == [1.0, 0.0, 0.0]


def _folded() -> list[onnx.NodeProto]:
    return [node("Where", ["gone", "none", "zero"], ["mask"])]


@pytest.mark.parametrize("op", ["Relu", "Exp", "LogSoftmax"])
def test_a_mask_before_anything_else(op: str, tmp_path: Path) -> None:
    made = model([node("Where", ["keep", "x", "none"], ["m"]), node(op, ["m"])], _masking([[True, False]]))
    with pytest.raises(LipauditError, match="-inf"):
        load_model(saved(made, tmp_path))


def test_a_row_that_is_masked_as_a_whole(tmp_path: Path) -> None:
    made = model([node("Where", ["keep", "x", "none"], ["m"]), node("Softmax", ["m"])], _masking([[False, False]]))
    assert "masked as a whole" in refusal(made, tmp_path)


def _masking(keep: list[list[bool]]) -> list[onnx.TensorProto]:
    return [*weights(none=NONE), numpy_helper.from_array(np.array(keep), "keep")]
