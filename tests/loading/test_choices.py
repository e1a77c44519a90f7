"""Where with a comparison of the input: continuous where the branches agree at the threshold, refused elsewhere."""

from __future__ import annotations

import importlib
import itertools
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto

from lipaudit.graph.problem import Problem
from lipaudit.graph.simplify import simplify
from lipaudit.loading import Loaded, RefusedModel, load_model
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.ops.elementwise import Elementwise
from lipaudit.ops.piecewise import piecewise_linear
from tests.cases.models import model, node, random_array, saved, weights
from tests.laws.engine_laws import layer_product

ABOVE = node("Greater", ["x", "t"], ["c"])
LOWER = node("Less", ["x", "t"], ["c"])


def choice(*nodes: onnx.NodeProto, **numbers: float) -> onnx.ModelProto:
    return model([*nodes], weights(**numbers), inputs=[("x", (1, 3))])


def where(c: str, a: str, b: str, out: str = "y") -> onnx.NodeProto:
    return node("Where", [c, a, b], [out])


SLOPED = node("Mul", ["x", "a"], ["l"])
EXP = node("Exp", ["x"], ["e"])
CONTINUOUS = {
    "leaky ReLU": (choice(SLOPED, ABOVE, where("c", "x", "l"), a=0.25, t=0.0), 1.0),
    "the other way round": (choice(SLOPED, LOWER, where("c", "l", "x"), a=-2.0, t=0.0), 2.0),
    "not above": (choice(ABOVE, node("Not", ["c"], ["n"]), SLOPED, where("n", "l", "x"), a=0.5, t=0.0), 1.0),
    "a clip": (
        choice(
            LOWER,
            where("c", "t", "x", "m"),
            node("GreaterOrEqual", ["m", "h"], ["d"]),
            where("d", "h", "m"),
            t=-1.0,
            h=2.0,
        ),
        1.0,
    ),
    "soft shrink": (
        choice(
            ABOVE,
            node("Sub", ["x", "t"], ["r"]),
            node("Less", ["x", "n"], ["d"]),
            node("Add", ["x", "t"], ["l"]),
            where("d", "l", "z", "i"),
            where("c", "r", "i"),
            t=0.5,
            n=-0.5,
            z=0.0,
        ),
        1.0,
    ),
    "hard tanh of a multiple": (
        choice(node("Mul", ["x", "k"], ["u"]), node("Greater", ["u", "t"], ["c"]), where("c", "t", "u"), k=4.0, t=1.0),
        4.0,
    ),
    "ELU": (
        choice(
            EXP,
            node("Sub", ["e", "o"], ["s"]),
            node("Mul", ["s", "a"], ["l"]),
            ABOVE,
            where("c", "x", "l"),
            a=0.5,
            o=1.0,
            t=0.0,
        ),
        1.0,
    ),
    "SELU": (
        choice(
            EXP,
            node("Mul", ["e", "a"], ["m"]),
            node("Sub", ["m", "a"], ["s"]),
            node("Mul", ["s", "g"], ["l"]),
            node("Mul", ["x", "g"], ["r"]),
            LOWER,
            where("c", "l", "r"),
            a=1.5,
            g=1.25,
            t=0.0,
        ),
        1.875,
    ),
}

JUMPS = {
    "a step in height": choice(node("Add", ["x", "a"], ["l"]), ABOVE, where("c", "x", "l"), a=1e-6, t=0.0),
    "a threshold beside the kink": choice(SLOPED, ABOVE, where("c", "x", "l"), a=0.5, t=1e-6),
    "softplus beyond 20": choice(node("Softplus", ["x"], ["l"]), ABOVE, where("c", "x", "l"), t=20.0),
    "an ELU that starts at -1": choice(EXP, node("Sub", ["e", "o"], ["l"]), ABOVE, where("c", "x", "l"), o=2.0, t=0.0),
    "the comparison itself": choice(ABOVE, node("Cast", ["c"], to=TensorProto.FLOAT), t=0.0),
    "another value's threshold": choice(
        node("Tanh", ["x"], ["h"]), node("Greater", ["h", "t"], ["c"]), SLOPED, where("c", "x", "l"), t=0.0, a=0.5
    ),
}


def load(made: onnx.ModelProto, folder: Path) -> Loaded:
    return load_model(saved(made, folder))


@pytest.mark.parametrize("name", CONTINUOUS)
def test_a_choice_without_a_jump(name: str, tmp_path: Path) -> None:
    """The same values as the choice (onnxruntime's, at four points), one function, and its true constant."""
    made, constant = CONTINUOUS[name]
    graph = simplify(load(made, tmp_path).graph)
    assert layer_product(Problem.over(graph, Norm.L2)) == pytest.approx(constant, rel=1e-9)
    x = torch.linspace(-3.0, 3.0, 3000, dtype=torch.float64).reshape(1000, 1, 3)
    with_jumps = load_model(saved(made, tmp_path), jumps=True).graph
    assert torch.allclose(graph.forward(x), with_jumps.forward(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", JUMPS)
def test_a_choice_that_jumps_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(RefusedModel) as caught:
        load(JUMPS[name], tmp_path)
    assert {refusal.code for refusal in caught.value.refusals} == {"LIP105"}
    assert "true or false, which jumps" in str(caught.value)


def test_behind_a_layer_and_in_a_branch_of_its_own(tmp_path: Path) -> None:
    made = model(
        [
            node("MatMul", ["x", "w"], ["h"]),
            node("Mul", ["h", "a"], ["l"]),
            node("Greater", ["h", "t"], ["c"]),
            where("c", "h", "l", "r"),
            node("Tanh", ["r"]),
        ],
        weights(w=random_array(3, 4), a=0.1, t=0.0),
        inputs=[("x", (1, 3))],
    )
    kinds = [n.kind for n in simplify(load(made, tmp_path).graph).nodes]
    assert kinds == ["MatMul", "PiecewiseLinear", "Tanh"]


def test_planted_agreement_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the branches not compared at the threshold, a step would pass for a line; its builder doubts that too."""
    module = importlib.import_module("lipaudit.graph.simplify.fuse_choices")  # the package names its function alike
    monkeypatch.setattr(module, "exact", lambda line, x: 0)
    with pytest.raises((RefusedModel, ValueError)):
        load(JUMPS["a step in height"], tmp_path)


# ------------------------------------------------------------------------------------------- lines

FUNCTION = piecewise_linear((-1.0, 0.5, 2.0), ((0.5, 0.0), (-1.0, -1.5), (2.0, -3.0), (0.0, 1.0)))


def test_the_range_and_slope_of_lines() -> None:
    """Over every box between points of a grid: all values and all slopes of a fine sample lie in the ranges."""
    ends = torch.linspace(-3.0, 4.0, 29, dtype=torch.float64).tolist()
    op = Elementwise(FUNCTION, (1,))
    for low, high in itertools.combinations_with_replacement(ends, 2):
        box = Box(torch.tensor([[low]], dtype=torch.float64), torch.tensor([[high]], dtype=torch.float64))
        x = torch.linspace(low, high, 60, dtype=torch.float64).reshape(-1, 1)
        assert op.interval(box).contains(op.forward(x))
        assert FUNCTION.slope_range(box).contains(FUNCTION.derivative(x))
    everywhere = Box.everything((1, 1))
    assert op.gains(Norm.L2, everywhere)[0].value == 2.0
    assert float(FUNCTION.value_range(everywhere).upper) >= 1.0
    assert float(FUNCTION.value_range(everywhere).lower) == float("-inf")


def test_lines_that_do_not_meet() -> None:
    with pytest.raises(ValueError, match="do not meet"):
        piecewise_linear((0.0,), ((1.0, 0.0), (1.0, 1e-9)))
    with pytest.raises(ValueError, match="rise"):
        piecewise_linear((1.0, 1.0), ((0.0, 0.0), (1.0, -1.0), (2.0, -2.0)))
