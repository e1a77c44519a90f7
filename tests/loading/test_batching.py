"""Whether the open leading axis is a batch: models that mix their rows in every way, and models that do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import TensorProto

import lipaudit.loading.batching as batching_module
from lipaudit.audit import Settings, bound, check
from lipaudit.graph.reach import reached, touched
from lipaudit.linear.selection import Selection
from lipaudit.loading import Held, load_model
from lipaudit.ops.affine import Affine
from lipaudit.report.report import Batch
from tests.cases.models import model, node, random_array, saved, weights
from tests.cases.ops import OpCase, all_op_cases

OPEN = [("x", ("batch", 2, 3))]


def batch(made: onnx.ModelProto, folder: Path, **options: Any) -> Batch | None:
    return load_model(saved(made, folder), **options).facts.batch


def test_rows_that_do_not_meet(tmp_path: Path) -> None:
    """Softmax over other axes, a matrix product with itself, moves of the axis, and a flattened output of all rows."""
    nodes = [
        node("Transpose", ["x"], ["t"], perm=[0, 2, 1]),
        node("MatMul", ["x", "t"], ["m"]),
        node("Softmax", ["m"], ["s"], axis=-1),
        node("ReduceMax", ["s"], ["r"], axes=[2], keepdims=0),
        node("Transpose", ["r"], ["z"], perm=[1, 0]),
        node("Relu", ["z"], ["back"]),
        node("Transpose", ["back"], ["rows"], perm=[1, 0]),
        node("Reshape", ["rows", "all"]),
    ]
    made = model(nodes, weights(all=[-1]), inputs=OPEN)
    found = batch(made, tmp_path)
    assert found is not None
    assert found.proven, found.statement
    assert "axis 0 (batch) of input 'x' is a batch: proven" in found.statement


MIXING = {
    "ReduceSum": [node("ReduceSum", ["x", "zero"], keepdims=1)],
    "ReduceMax over all": [node("ReduceMax", ["x"], keepdims=0)],
    "ReduceMean, subtracted": [node("ReduceMean", ["x"], ["m"], axes=[0]), node("Sub", ["x", "m"])],
    "Softmax over rows": [node("Softmax", ["x"], axis=0)],
    "CumSum": [node("CumSum", ["x", "nought"])],
    "MatMul over rows": [
        node("Transpose", ["x"], ["t"], perm=[1, 2, 0]),
        node("Transpose", ["x"], ["u"], perm=[1, 0, 2]),
        node("MatMul", ["t", "u"]),
    ],
    "reversed": [node("Slice", ["x", "last", "least", "zero", "back"])],
    "only the first row": [node("Gather", ["x", "nought"], axis=0)],
    "Reshape into another axis": [node("Reshape", ["x", "flat"], ["f"]), node("Softmax", ["f"], axis=1)],
    "layer norm of everything": [node("Flatten", ["x"], ["f"], axis=0), node("LpNormalization", ["f"], axis=1)],
}
ARRAYS = weights(zero=[0], nought=0, last=[-1], least=[-(2**62)], back=[-1], flat=[1, -1])


@pytest.mark.parametrize("how", MIXING)
def test_rows_that_meet(how: str, tmp_path: Path) -> None:
    found = batch(model(MIXING[how], ARRAYS, inputs=OPEN), tmp_path)
    assert found is not None
    assert found.mixed
    assert not found.proven
    assert "audited as one input of shape [1, 2, 3]" in found.statement


def test_where_they_meet_is_named_in_a_finding(tmp_path: Path) -> None:
    path = saved(model(MIXING["ReduceMean, subtracted"], ARRAYS, inputs=OPEN), tmp_path)
    for report in (check(path, Settings()), bound(path, Settings(methods=("product",)))):
        (finding,) = [finding for finding in report.findings if finding.code == "LIP111"]
        assert "first at ReduceMean 'reducemean_m'" in finding.message
    assert report.model.batch is not None


def test_a_row_that_is_treated_otherwise_among_two(tmp_path: Path) -> None:
    """Divided by the number of rows: they never meet, and still it is no batch."""
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "nought"], ["rows"], axis=0),
        node("Cast", ["rows"], ["count"], to=TensorProto.FLOAT),
        node("Div", ["x", "count"]),
    ]
    found = batch(model(nodes, ARRAYS, inputs=OPEN), tmp_path)
    assert found is not None
    assert found.mixed
    assert "otherwise among 2 than alone" in found.statement


def test_a_file_for_one_row_only(tmp_path: Path) -> None:
    made = model([node("Reshape", ["x", "six"])], weights(six=[1, 6]), inputs=OPEN)
    found = batch(made, tmp_path)
    assert found is not None
    assert (found.proven, found.mixed) == (False, False)
    assert "cannot be read with 2 rows" in found.statement


@pytest.mark.parametrize("shape", [(1, 2, 3), (4, 2, 3)])
def test_a_fixed_axis_is_no_question(shape: tuple[int, ...], tmp_path: Path) -> None:
    assert batch(model([node("Relu", ["x"])], inputs=[("x", shape)]), tmp_path) is None
    assert batch(model([node("Relu", ["x"])], inputs=OPEN), tmp_path, shapes={"x": (3, 2, 3)}) is None


def test_several_inputs_share_their_rows(tmp_path: Path) -> None:
    """The second has them in its second axis, under the same name; a third is the same for all rows."""
    nodes = [
        node("Transpose", ["z"], ["t"], perm=[1, 0]),
        node("MatMul", ["x", "w"], ["m"]),
        node("Add", ["m", "t"], ["a"]),
        node("Add", ["a", "shared"], ["b"]),
        node("ReduceSum", ["b", "one"], ["s"], keepdims=0),
        node("Identity", ["s"], ["y"]),
        node("Relu", ["a"], ["y2"]),
    ]
    inputs: list[tuple[str, tuple[int | str, ...]]] = [("x", ("n", 3)), ("z", (2, "n")), ("shared", (2,))]
    arrays = weights(w=random_array(3, 2), one=[1])
    found = batch(model(nodes, arrays, inputs=inputs, outputs=("y", "y2")), tmp_path)
    assert found is not None
    assert found.proven, found.statement
    held = {"z": Held(0.5, "0.5")}
    found = batch(model(nodes, arrays, inputs=inputs, outputs=("y", "y2")), tmp_path, held=held)
    assert found is not None
    assert found.proven, found.statement


def test_a_planted_rule_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were Affine said to touch nothing, a mean over the rows would pass for a batch; the values still differ."""
    monkeypatch.setattr(batching_module, "touched", lambda op, *marks: torch.zeros(len(marks[0]), *op.out_shape) > 0)
    found = batch(model([node("ReduceMean", ["x"], ["m"], axes=[0]), node("Sub", ["x", "m"])], inputs=OPEN), tmp_path)
    assert found is not None
    assert not found.proven


@pytest.mark.parametrize("case", all_op_cases(), ids=str)
def test_what_is_not_touched_does_not_change(case: OpCase) -> None:
    """The oracle: entries of one argument are moved far, and only entries that are said to depend on them may move."""
    op = case.build()
    generator = torch.Generator().manual_seed(1)
    args = [torch.rand(1, *shape, generator=generator, dtype=torch.float64) + 0.5 for shape in op.in_shapes]
    before = op.forward(*args)
    for place, shape in enumerate(op.in_shapes):
        for _ in range(6):
            mark = torch.rand(1, *shape, generator=generator) < 0.3
            moved = [a.clone() for a in args]
            moved[place][mark] = moved[place][mark] * 3.0 + 1.0
            marks = [torch.zeros(1, *s, dtype=torch.bool) for s in op.in_shapes]
            marks[place] = mark
            after, said = op.forward(*moved), touched(op, *marks)
            assert said.shape == (1, *op.out_shape)
            assert torch.allclose(after[~said], before[~said], rtol=0.0, atol=0.0, equal_nan=True)


def test_reach_follows_the_graph(tmp_path: Path) -> None:
    """x -> (x_0 + x_1, x_2): the first output entry is reached from the first two input entries."""
    made = model([node("MatMul", ["x", "w"])], weights(w=[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), inputs=[("x", (1, 3))])
    graph = load_model(saved(made, tmp_path)).graph
    marks = torch.eye(3, dtype=torch.bool).reshape(3, 1, 3)
    assert reached(graph, marks).reshape(3, 2).tolist() == [[True, False], [True, False], [False, True]]
    assert touched(Affine((Selection.of((2,), torch.tensor([1, 1])),)), torch.tensor([[True, False]])).tolist() == [
        [False, False]
    ]


def test_a_symbol_without_a_name(tmp_path: Path) -> None:
    made = model([node("Relu", ["x"])], inputs=[("x", (None, 3))])
    found = batch(made, tmp_path)
    assert found is not None
    assert found.proven
    assert "axis 0 (?)" in found.statement
