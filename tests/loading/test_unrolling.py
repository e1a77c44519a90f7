"""If, Loop and Scan run in place: scopes, carried values, stacked results, axes and directions, against onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, defs, helper, numpy_helper

import lipaudit.loading.unrolling as unrolling_module
from lipaudit.errors import InvalidInput
from lipaudit.loading import Loaded, RefusedModel, load_model
from lipaudit.ops.control import CONTROL
from tests.cases.models import model, node, saved, weights

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
info = helper.make_tensor_value_info


def body(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[tuple[str, int]] = (),
    outputs: Sequence[tuple[str, int]] = (("r", FLOAT),),
    stored: Sequence[onnx.TensorProto] = (),
) -> onnx.GraphProto:
    ins, outs = ([_named(name, kind) for name, kind in names] for names in (inputs, outputs))
    return helper.make_graph(list(nodes), "body", ins, outs, initializer=list(stored))


def _named(name: str, kind: int) -> onnx.ValueInfoProto:
    """Counts and conditions are numbers, which onnxruntime has to be told; the rest it finds out."""
    return info(name, kind, [] if kind in (INT64, BOOL) else None)


def truth(name: str, value: bool) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(value), name)


def agrees(made: onnx.ModelProto, folder: Path, x: np.ndarray | None = None) -> Loaded:
    """Loaded (which compares four points with onnxruntime), and compared at x too."""
    loaded = load_model(saved(made, folder))
    assert loaded.facts.parity is not None
    assert loaded.facts.parity.points
    if x is not None:
        points = x.reshape(1, *loaded.graph.input_shape)
        ours, theirs = loaded.evaluate(points).numpy().reshape(-1), loaded.run_reference(points).reshape(-1)
        assert np.allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    return loaded


def refused(made: onnx.ModelProto, folder: Path) -> str:
    with pytest.raises(RefusedModel) as caught:
        load_model(saved(made, folder))
    return str(caught.value)


@pytest.mark.parametrize("op", CONTROL)
def test_every_revision_that_onnx_knows_is_listed(op: str) -> None:
    known = {s.since_version for s in defs.get_all_schemas_with_history() if s.name == op and s.domain == ""}
    assert set(CONTROL[op]) == known


# ------------------------------------------------------------------------------------------- If


@pytest.mark.parametrize("condition", [True, False])
def test_the_branch_that_is_taken(condition: bool, tmp_path: Path) -> None:
    """Weights of the branch and of the graph around it; the other branch may jump as it likes."""
    taken = body([node("MatMul", ["h", "inner"], ["m"]), node("Add", ["m", "outer"], ["r"])], stored=weights(inner=W))
    other = body([node("Floor", ["h"], ["r"])])
    then, otherwise = (taken, other) if condition else (other, taken)
    made = model(
        [
            node("Relu", ["x"], ["h"]),
            node("If", ["c"], ["i"], then_branch=then, else_branch=otherwise),
            node("Tanh", ["i"]),
        ],
        [*weights(outer=[1.0, -1.0]), truth("c", condition)],
    )
    loaded = agrees(made, tmp_path)
    assert [n.kind for n in loaded.graph.nodes] == ["Relu", "MatMul", "Add", "Tanh"]


W = [[1.0, 2.0], [-1.0, 0.5]]


def test_branches_within_branches_see_every_outer_value(tmp_path: Path) -> None:
    """The condition is folded from a shape, and the inner If reads x, a value of its own branch, and a weight."""
    deep = body([node("Mul", ["t", "scale"], ["u"]), node("Add", ["u", "x"], ["r2"])], outputs=[("r2", FLOAT)])
    wrong = body([node("Neg", ["t"], ["r2"])], outputs=[("r2", FLOAT)])
    middle = body(
        [node("Tanh", ["x"], ["t"]), node("If", ["is_two"], ["r"], then_branch=deep, else_branch=wrong)],
    )
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "one"], ["width"]),
        node("Equal", ["width", "two"], ["is_two"]),
        node("If", ["is_two"], then_branch=middle, else_branch=body([node("Neg", ["x"], ["r"])])),
    ]
    agrees(model(nodes, weights(one=1, two=2, scale=[3.0])), tmp_path)


def test_a_graph_inside_a_node_reads_a_value_that_nothing_else_needs(tmp_path: Path) -> None:
    """The value is made later in the file than the If, too: names are looked up when they are asked for."""
    branch = body([node("Add", ["side", "x"], ["r"])])
    nodes = [node("Sigmoid", ["x"], ["side"]), node("If", ["c"], then_branch=branch, else_branch=branch)]
    agrees(model(nodes, [truth("c", True)]), tmp_path)


def test_a_branch_that_reads_its_own_result(tmp_path: Path) -> None:
    branch = body([node("Neg", ["y"], ["r"])])
    made = model([node("If", ["c"], then_branch=branch, else_branch=branch)], [truth("c", True)])
    with pytest.raises(InvalidInput, match="cycle"):
        load_model(saved(made, tmp_path))


def test_a_condition_of_the_input_is_refused_by_name(tmp_path: Path) -> None:
    branch = body([node("Neg", ["x"], ["r"])])
    made = model([node("If", ["x"], then_branch=branch, else_branch=branch)])
    assert "If 'if_y': which branch it takes depends on the input" in refused(made, tmp_path)


def test_what_is_refused_within_a_branch_is_named(tmp_path: Path) -> None:
    branch = body([node("Floor", ["x"], ["r"])])
    made = model([node("If", ["c"], then_branch=branch, else_branch=branch)], [truth("c", True)])
    assert "Floor 'floor_r'" in refused(made, tmp_path)


# ------------------------------------------------------------------------------------------- Loop

LOOP_IN = [("i", INT64), ("go", BOOL), ("a", FLOAT), ("b", FLOAT)]


def loop(outputs: Sequence[str], *, trips: str = "trips", go: str = "", **kinds: Any) -> onnx.NodeProto:
    """a, b -> tanh(a) + b, a W; keeps a * (round + 1)."""
    nodes = [
        node("Tanh", ["a"], ["t"]),
        node("Add", ["t", "b"], ["a2"]),
        node("MatMul", ["a", "w"], ["b2"]),
        node("Cast", ["i"], ["real"], to=FLOAT),
        node("Add", ["real", "one"], ["next"]),
        node("Mul", ["a", "next"], ["kept"]),
        node("Less", ["next", "limit"], ["go2"]),
    ]
    outs = [("go2", BOOL), ("a2", FLOAT), ("b2", FLOAT), ("kept", FLOAT)]
    graph = body(nodes, LOOP_IN, outs, weights(one=1.0, limit=kinds.get("limit", 100.0)))
    return node("Loop", [trips, go, "x", "h"], outputs, body=graph)


@pytest.mark.parametrize(
    ("trips", "go", "limit", "rounds"), [(3, "", 9.0, 3), (9, "yes", 2.0, 2), (2, "yes", 9.0, 2), (None, "yes", 3.0, 3)]
)
def test_a_loop_carries_two_values_and_keeps_a_third(
    trips: int | None, go: str, limit: float, rounds: int, tmp_path: Path
) -> None:
    """Ended by the count, or by a condition folded in every round."""
    stored = [*weights(w=W), truth("yes", True)] + ([] if trips is None else weights(trips=trips))
    nodes = [
        node("Relu", ["x"], ["h"]),
        loop(["p", "q", "k"], trips="" if trips is None else "trips", go=go, limit=limit),
        node("ReduceSum", ["k", "axis"], ["s"], keepdims=0),
        node("Sum", ["p", "q", "s"]),
    ]
    loaded = agrees(model(nodes, [*stored, *weights(axis=[0])]), tmp_path)
    assert sum(n.kind == "Tanh" for n in loaded.graph.nodes) == rounds
    assert any(n.name.endswith(f"[{rounds - 1}]") for n in loaded.graph.nodes)


def test_a_loop_of_no_rounds_gives_what_it_was_given(tmp_path: Path) -> None:
    nodes = [node("Relu", ["x"], ["h"]), loop(["p", "q", "idle"]), node("Sub", ["p", "q"])]
    agrees(model(nodes, weights(w=W, trips=0)), tmp_path)


def test_the_kept_values_of_no_rounds_are_empty(tmp_path: Path) -> None:
    nodes = [node("Relu", ["x"], ["h"]), loop(["p", "q", "y"])]
    assert "no round" in refused(model(nodes, weights(w=W, trips=0)), tmp_path)


def test_a_loop_without_a_condition_that_its_body_ends(tmp_path: Path) -> None:
    """The standard says that it goes on, onnxruntime that it does not."""
    nodes = [node("Relu", ["x"], ["h"]), loop(["p", "q", "idle"], limit=1.0), node("Sub", ["p", "q"])]
    assert "runtimes read differently" in refused(model(nodes, weights(w=W, trips=3)), tmp_path)


def test_a_loop_whose_count_depends_on_the_input(tmp_path: Path) -> None:
    nodes = [node("Relu", ["x"], ["h"]), loop(["p", "q", "idle"], trips="x"), node("Sub", ["p", "q"])]
    assert "how often it runs depends on the input" in refused(model(nodes, weights(w=W)), tmp_path)


def test_loops_within_loops_have_rounds_of_their_own(tmp_path: Path) -> None:
    """The inner loop reads the outer round's number and value."""
    ins = [("j", INT64), ("g", BOOL), ("v", FLOAT)]
    inner = body(
        [
            node("Mul", ["v", "a"], ["v2"]),
            node("Cast", ["i"], ["real"], to=FLOAT),
            node("Add", ["v2", "real"], ["v3"]),
            node("Identity", ["g"], ["g2"]),
        ],
        ins,
        [("g2", BOOL), ("v3", FLOAT)],
    )
    outer = body(
        [
            node("Tanh", ["a"], ["t"]),
            node("Loop", ["two", "", "t"], ["n"], body=inner),
            node("Identity", ["go"], ["go2"]),
        ],
        LOOP_IN[:3],
        [("go2", BOOL), ("n", FLOAT)],
    )
    made = model([node("Loop", ["three", "", "x"], body=outer)], weights(two=2, three=3))
    loaded = agrees(made, tmp_path)
    assert {n.name for n in loaded.graph.nodes if n.kind == "Mul"} == {
        f"mul_v2[{i}][{j}]" for i in range(3) for j in range(2)
    }


def test_loops_have_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A condition that stays true, and rounds within rounds."""
    forever = body([node("Neg", ["a"], ["r"])], LOOP_IN[:3], [("go", BOOL), ("r", FLOAT)])
    monkeypatch.setattr(unrolling_module, "MAX_ROUNDS", 50)
    made = model([node("Loop", ["", "c", "x"], body=forever)], [truth("c", True)])
    assert "more than 50 rounds" in refused(made, tmp_path)


# ------------------------------------------------------------------------------------------- Scan


def scan(outputs: Sequence[str], scanned: Sequence[str], **attributes: Any) -> onnx.NodeProto:
    """s, (u, v) -> 0.5 s + u v, and s - u."""
    nodes = [node("Mul", ["s", "half"], ["m"]), node("Mul", ["u", "v"], ["p"]), node("Add", ["m", "p"], ["s2"])]
    graph = body(
        [*nodes, node("Sub", ["s", "u"], ["kept"])],
        [("s", FLOAT), ("u", FLOAT), ("v", FLOAT)],
        [("s2", FLOAT), ("kept", FLOAT)],
        weights(half=0.5),
    )
    return node("Scan", ["first", *scanned], outputs, body=graph, num_scan_inputs=2, **attributes)


@pytest.mark.parametrize("backward", [[0, 0], [1, 0], [1, 1]])
@pytest.mark.parametrize("out_axis", [0, 1, -1])
def test_a_scan_along_its_axes_and_in_both_directions(backward: list[int], out_axis: int, tmp_path: Path) -> None:
    options = {"scan_input_axes": [1, -2], "scan_input_directions": backward}
    options |= {"scan_output_axes": [out_axis], "scan_output_directions": [backward[0]]}
    nodes = [
        node("Transpose", ["x"], ["z"], perm=[1, 0]),
        scan(["last", "kept"], ["x", "z"], **options),
        node("Flatten", ["kept"], ["f"], axis=0),
        node("Unsqueeze", ["last", "zero"], ["l"]),
        node("Concat", ["f", "l"], axis=1),
    ]
    made = model(nodes, weights(first=[0.0, 1.0], zero=[0]), inputs=[("x", (2, 3))])
    agrees(made, tmp_path)


def test_scanned_constants_and_an_unused_result(tmp_path: Path) -> None:
    """Slices of a weight, the state of the graph around, and a result that nothing reads."""
    nodes = [scan(["last", "idle"], ["x", "w"]), node("Relu", ["last"])]
    agrees(
        model(nodes, weights(first=[1.0, 2.0], w=[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), inputs=[("x", (3, 2))]),
        tmp_path,
    )


def test_a_scan_of_unequal_lengths(tmp_path: Path) -> None:
    nodes = [scan(["last", "idle"], ["x", "w"]), node("Relu", ["last"])]
    made = model(nodes, weights(first=[1.0, 2.0], w=W), inputs=[("x", (3, 2))])
    assert "differ in length" in refused(made, tmp_path)
