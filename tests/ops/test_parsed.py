# ruff: noqa: E501 - a table
"""What parsers build, from ONNX text to certified gains: linear ops are exact, recurrent ones finite and never below."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import onnx.parser
import pytest
import torch

from lipaudit.engines.engine import run
from lipaudit.engines.layer_product import LayerProduct
from lipaudit.errors import LipauditError
from lipaudit.graph.graph import Graph
from lipaudit.graph.problem import Problem
from lipaudit.graph.simplify import simplify
from lipaudit.loading.open import read_graph
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from tests.laws.op_laws import norm_of


class Text(NamedTuple):
    name: str
    shape: str
    body: str
    opset: int = 20

    def __str__(self) -> str:
        return self.name


def graph_of(text: Text) -> Graph:
    head = f'<ir_version: 8, opset_import: ["" : {text.opset}]> g (float[{text.shape}] x) => (float[] y) {{\n'
    model = onnx.parser.parse_model(head + text.body + "\n}")
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    return read_graph(model.SerializeToString(), Path("text.onnx")).graph


def jacobian(graph: Graph, x: torch.Tensor) -> torch.Tensor:
    leaf = x.unsqueeze(0).clone().requires_grad_(True)
    out = graph.forward(leaf).reshape(-1)
    return torch.stack([torch.autograd.grad(entry, leaf, retain_graph=True)[0].reshape(-1) for entry in out])


def gain(graph: Graph, norm: Norm, region: Box | None = None) -> float:
    outcome = run(LayerProduct(), Problem.over(simplify(graph), norm, region))
    assert outcome.bound is not None, outcome.reason
    return outcome.bound.value


def points(graph: Graph, count: int, size: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(count, *graph.input_shape, generator=generator, dtype=torch.float64) * size


def ints(name: str, *values: int) -> str:
    return f"{name} = Constant <value_ints: ints = {list(values)}> ()\n"


def floats(name: str, *values: float) -> str:
    return f"{name} = Constant <value_floats: floats = {list(values)}> ()\n"


LINEAR = [
    Text("cumsum", "2, 5", "a = Constant <value_int: int = 1> ()\n y = CumSum (x, a)"),
    Text("cumsum from behind", "2, 5", "a = Constant <value_int: int = 0> ()\n y = CumSum <reverse: int = 1, exclusive: int = 1> (x, a)"),
    Text("trilu", "3, 4", "y = Trilu <upper: int = 0> (x)"),
    Text("gather twice", "4, 2", ints("i", 0, 0, 3) + "y = Gather (x, i)"),
    Text("gather elements", "1, 4", "i = Constant <value = int64[1, 3] {0, 0, -1}> ()\n y = GatherElements <axis: int = 1> (x, i)"),
    Text("gather nd", "3, 2", "i = Constant <value = int64[2, 1] {1, 1}> ()\n y = GatherND (x, i)"),
    Text("scatter added", "4", "i = Constant <value = int64[2, 1] {1, 1}> ()\n" + ints("k", 2, 0) + "u = Gather (x, k)\n y = ScatterND <reduction: string = \"add\"> (x, i, u)"),
    Text("scatter replaced", "4", "i = Constant <value = int64[1, 1] {1}> ()\n" + ints("k", 2) + "u = Gather (x, k)\n y = ScatterND (x, i, u)"),
    Text("scatter of constants", "4", "i = Constant <value = int64[1, 1] {1}> ()\n" + floats("u", 7.0) + "y = ScatterND (x, i, u)"),
    Text("where", "4", "m = Constant <value = bool[4] {1, 0, 1, 0}> ()\n n = Neg (x)\n w = Add (n, n)\n y = Where (m, x, w)"),
    Text("reverse sequence", "3, 2", ints("l", 2, 3) + "y = ReverseSequence <time_axis: int = 0, batch_axis: int = 1> (x, l)"),
    Text("resize nearest", "1, 1, 3, 2", floats("s", 1.0, 1.0, 2.0, 1.5) + "y = Resize <mode: string = \"nearest\"> (x, , s)"),
    Text("resize linear", "1, 1, 4, 3", floats("s", 1.0, 1.0, 1.5, 2.0) + "y = Resize <mode: string = \"linear\"> (x, , s)"),
    Text("resize cubic", "1, 1, 4, 5", ints("s", 1, 1, 6, 7) + "y = Resize <mode: string = \"cubic\", exclude_outside: int = 1> (x, , , s)"),
    Text("resize antialias", "1, 1, 6, 6", ints("s", 1, 1, 3, 4) + "y = Resize <mode: string = \"linear\", antialias: int = 1> (x, , , s)"),
    Text("einsum", "2, 3", "w = Constant <value = float[3, 2] {1, 2, 3, -4, 5, -6}> ()\n y = Einsum <equation: string = \"ij,jk->ki\"> (x, w)"),
    Text("einsum weighted", "2, 3", "w = Constant <value = float[2, 3] {1, 2, 3, -4, 5, -6}> ()\n y = Einsum <equation: string = \"ij,ij->i\"> (x, w)"),
    Text("einsum trace", "3, 3", "y = Einsum <equation: string = \"ii\"> (x)"),
    Text("col2im", "1, 4, 4", ints("i", 3, 3) + ints("b", 2, 2) + "y = Col2Im (x, i, b)"),
    Text("gemm with the weight in front", "3, 2", "w = Constant <value = float[2, 3] {1, 2, 3, -4, 5, -6}> ()\n y = Gemm <alpha: float = 0.5> (w, x)"),
    Text("pad and crop", "1, 1, 5", ints("p", 0, 0, -1, 0, 0, 2) + "y = Pad <mode: string = \"edge\"> (x, p)"),
    Text("transposed convolution of a shape", "1, 1, 3", "w = Constant <value = float[1, 1, 2] {1, -2}> ()\n y = ConvTranspose <auto_pad: string = \"SAME_UPPER\", strides: ints = [2]> (x, w)"),
    Text("mean of no axes", "2, 3", "y = ReduceMean <noop_with_empty_axes: int = 1> (x)"),
]  # fmt: skip


@pytest.mark.parametrize("text", LINEAR, ids=str)
def test_linear_ops_have_exact_gains(text: Text) -> None:
    graph = graph_of(text)
    matrix = jacobian(graph, points(graph, 1)[0])
    for norm in Norm:
        met = norm_of(matrix, norm)
        assert met * (1 - 1e-12) <= gain(graph, norm) <= met * (1 + 1e-6)


def cells(op: str, gates: int, attributes: str = "", more: str = "", directions: int = 1, hidden: int = 3) -> str:
    """A recurrent layer of an input of 2, with weights from a fixed sequence."""
    made = []
    for name, shape in (
        ("w", (directions, gates * hidden, 2)),
        ("r", (directions, gates * hidden, hidden)),
        ("b", (directions, 2 * gates * hidden)),
    ):
        values = [round(math.sin(1.7 * i + len(name) + sum(shape)), 3) for i in range(math.prod(shape))]
        made.append(f"{name} = Constant <value = float{list(shape)} {{{', '.join(map(str, values))}}}> ()\n")
    return "".join(made) + f"y, yh = {op} <hidden_size: int = {hidden}{attributes}> (x, w, r, b{more})"


RECURRENT = [
    Text("rnn", "4, 1, 2", cells("RNN", 1)),
    Text("gru", "4, 1, 2", cells("GRU", 3)),
    Text("gru, linear before reset", "3, 2, 2", cells("GRU", 3, ", linear_before_reset: int = 1, layout: int = 1")),
    Text("gru both ways", "3, 1, 2", cells("GRU", 3, ', direction: string = "bidirectional"', directions=2)),
    Text("lstm", "4, 1, 2", cells("LSTM", 4)),
    Text("lstm backwards", "3, 2, 2", cells("LSTM", 4, ', direction: string = "reverse"')),
    Text("lstm, coupled gates", "3, 1, 2", cells("LSTM", 4, ", input_forget: int = 1")),
    Text("lstm with a first state", "3, 1, 2", "h = Constant <value = float[1, 1, 3] {0.3, -2, 5}> ()\n" + cells("LSTM", 4, "", ", , h, h")),
    Text("gru with a first state", "3, 1, 2", "h = Constant <value = float[1, 1, 3] {0.3, -2, 5}> ()\n" + cells("GRU", 3, ", linear_before_reset: int = 1", ", , h")),
]  # fmt: skip


@pytest.mark.parametrize("text", RECURRENT, ids=str)
def test_recurrent_layers_have_a_finite_gain_that_no_slope_exceeds(text: Text) -> None:
    graph = graph_of(text)
    for norm in Norm:
        everywhere = gain(graph, norm)
        assert math.isfinite(everywhere)
        for x in points(graph, 6, 0.7):
            met = norm_of(jacobian(graph, x), norm)
            region = Box((x - 1e-2).unsqueeze(0), (x + 1e-2).unsqueeze(0))
            assert met <= gain(graph, norm, region) * (1 + 1e-9)
            assert met <= everywhere * (1 + 1e-9)


@pytest.mark.parametrize("text", RECURRENT, ids=str)
def test_recurrent_ranges_enclose_and_stay_bounded(text: Text) -> None:
    graph = graph_of(text)
    everything = Problem.over(graph, Norm.L2).boxes[graph.output]
    assert everything.finite or "first state" in text.name
    x = points(graph, 50, 3.0)
    region = Box(x.amin(0, keepdim=True), x.amax(0, keepdim=True))
    assert Problem.over(graph, Norm.L2, region).boxes[graph.output].contains(graph.forward(x))


REFUSED = [
    Text("an lstm that is clipped", "2, 1, 2", cells("LSTM", 4, ", clip: float = 3.0")),
    Text("an odd activation", "2, 1, 2", cells("RNN", 1, ', activations: strings = ["Affine"]')),
    Text("two indices for one entry", "4", "i = Constant <value = int64[2, 1] {1, 1}> ()\n" + floats("u", 1.0, 2.0) + "y = ScatterND (x, i, u)"),
    Text("top k out of order", "4", ints("k", 2) + "y, i = TopK <sorted: int = 0> (x, k)"),
    Text("three operands", "2, 2", 'y = Einsum <equation: string = "ij,jk,kl->il"> (x, x, x)'),
    Text("hard shrink", "2", "y = Shrink <lambd: float = 0.5> (x)"),
    Text("both vary", "2", "y = Pow (x, x)"),
]  # fmt: skip


@pytest.mark.parametrize("text", REFUSED, ids=str)
def test_what_is_not_known_is_refused_by_name(text: Text) -> None:
    with pytest.raises(LipauditError):
        graph_of(text)
