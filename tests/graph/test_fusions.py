# ruff: noqa: E501 - a table
"""Rewrites of taken-apart graphs: the same function as before, with the constant of the whole; near misses stay."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import onnx.parser
import pytest
import torch

from lipaudit.engines.engine import run
from lipaudit.engines.layer_product import LayerProduct
from lipaudit.graph.graph import Graph
from lipaudit.graph.problem import Problem
from lipaudit.graph.simplify import REWRITES, simplify
from lipaudit.loading.open import read_graph
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from tests.laws.op_laws import norm_of

SHAPE = (2, 8)


class Taken(NamedTuple):
    """body: ONNX nodes from x to y, in onnx.parser's text. gain: the l2 constant of the whole over all inputs."""

    name: str
    body: str
    kind: str
    gain: float

    def __str__(self) -> str:
        return self.name


def c(name: str, value: float) -> str:
    return f"{name} = Constant <value_float: float = {value!r}> ()\n"


def axis(name: str, value: int = -1) -> str:
    return f"{name} = Constant <value_ints: ints = [{value}]> ()\n"


GELU, GELU_TANH, SILU, MISH = 1.1289041451851548, 1.1289930686587718, 1.0998393201288670, 1.0884981612517279
ROOT = 1.4142135381698608
LAYER_NORM = (
    axis("last")
    + c("two", 2.0)
    + c("eps", 1e-5)
    + """m = ReduceMean (x, last)
    d = Sub (x, m)
    p = Pow (d, two)
    v = ReduceMean (p, last)
    e = Add (v, eps)
    s = Sqrt (e)
    """
)
CLAMPED = axis("last") + c("eps", 1e-3) + "n = ReduceL2 (x, last)\n k = Clip (n, eps)\n"

FORMS = [
    Taken("silu", "s = Sigmoid (x)\n y = Mul (s, x)", "Swish", SILU),
    Taken("quick gelu", c("k", 1.702) + "a = Mul (x, k)\n s = Sigmoid (a)\n y = Mul (x, s)", "Swish", SILU),
    Taken("silu of a quotient", c("k", 3.0) + "a = Div (x, k)\n s = Sigmoid (a)\n y = Mul (x, s)", "Swish", SILU),
    Taken("silu by exp", c("o", 1.0) + "n = Neg (x)\n e = Exp (n)\n f = Add (e, o)\n y = Div (x, f)", "Swish", SILU),
    Taken("silu by reciprocal", c("o", 1.0) + "n = Neg (x)\n e = Exp (n)\n f = Add (o, e)\n r = Reciprocal (f)\n y = Mul (x, r)", "Swish", SILU),
    Taken("gelu", c("r", ROOT) + c("o", 1.0) + c("h", 0.5) + "a = Div (x, r)\n e = Erf (a)\n f = Add (e, o)\n g = Mul (x, f)\n y = Mul (g, h)", "Gelu", GELU),
    Taken("gelu, half first", c("r", 0.70710678) + c("o", 1.0) + c("h", 0.5) + "a = Mul (x, r)\n e = Erf (a)\n f = Add (o, e)\n g = Mul (x, h)\n y = Mul (f, g)", "Gelu", GELU),
    Taken("gelu, half inside", c("r", ROOT) + c("h", 0.5) + "a = Div (x, r)\n e = Erf (a)\n i = Mul (e, h)\n f = Add (i, h)\n y = Mul (x, f)", "Gelu", GELU),
    Taken("gelu, halved by division", c("r", ROOT) + c("o", 1.0) + c("t", 2.0) + "a = Div (x, r)\n e = Erf (a)\n f = Add (e, o)\n i = Div (f, t)\n y = Mul (i, x)", "Gelu", GELU),
    Taken(
        "gelu by tanh",
        c("k", 0.044715) + c("t", 3.0) + c("q", 0.7978845608) + c("o", 1.0) + c("h", 0.5)
        + "p = Pow (x, t)\n b = Mul (p, k)\n a = Add (x, b)\n u = Mul (a, q)\n th = Tanh (u)\n f = Add (th, o)\n g = Mul (x, f)\n y = Mul (h, g)",
        "Gelu(tanh)", GELU_TANH,
    ),
    Taken(
        "gelu by tanh, factored",
        c("k", 0.044715) + c("q", 0.7978845608) + c("o", 1.0) + c("h", 0.5)
        + "s = Mul (x, x)\n b = Mul (s, k)\n w = Add (b, o)\n a = Mul (x, w)\n u = Mul (q, a)\n th = Tanh (u)\n f = Add (th, o)\n g = Mul (h, x)\n y = Mul (g, f)",
        "Gelu(tanh)", GELU_TANH,
    ),
    Taken("silu by tanh", c("o", 1.0) + c("h", 0.5) + "u = Mul (x, h)\n t = Tanh (u)\n f = Add (t, o)\n g = Mul (x, f)\n y = Mul (g, h)", "Swish", SILU),
    Taken("mish", "s = Softplus (x)\n t = Tanh (s)\n y = Mul (x, t)", "Mish", MISH),
    Taken("mish by log and exp", c("o", 1.0) + "e = Exp (x)\n f = Add (e, o)\n s = Log (f)\n t = Tanh (s)\n y = Mul (x, t)", "Mish", MISH),
    Taken("softplus", c("o", 1.0) + "e = Exp (x)\n f = Add (o, e)\n y = Log (f)", "Softplus", 1.0),
    Taken("log sigmoid", "s = Sigmoid (x)\n y = Log (s)", "LogSigmoid", 1.0),
    Taken("log softmax", "s = Softmax (x)\n y = Log (s)", "LogSoftmax", math.sqrt(8.0)),
    Taken("hard swish", "s = HardSigmoid <alpha: float = 0.16666667, beta: float = 0.5> (x)\n y = Mul (x, s)", "HardGate", 1.5),
    Taken("hard swish by clip", c("t", 3.0) + c("z", 0.0) + c("s", 6.0) + "a = Add (x, t)\n b = Clip (a, z, s)\n g = Mul (x, b)\n y = Div (g, s)", "HardGate", 1.5),
    Taken("softsign", "a = Abs (x)\n" + c("o", 1.0) + "d = Add (a, o)\n y = Div (x, d)", "Softsign", 1.0),
    Taken("softsign, stretched", "a = Abs (x)\n" + c("o", 2.0) + c("k", 3.0) + "m = Mul (a, k)\n d = Add (m, o)\n y = Div (x, d)", "Softsign", 0.5),
    Taken("hard swish, divided first", c("t", 3.0) + c("z", 0.0) + c("s", 6.0) + "a = Add (x, t)\n b = Clip (a, z, s)\n d = Div (b, s)\n y = Mul (d, x)", "HardGate", 1.5),
    Taken("leaky relu", c("k", 0.1) + "a = Mul (x, k)\n y = Max (x, a)", "LeakyRelu", 1.0),
    Taken("steep leaky relu", c("k", -2.5) + "a = Mul (x, k)\n y = Min (a, x)", "LeakyRelu", 2.5),
    Taken("square", "y = Mul (x, x)", "Mul", math.inf),
    Taken("length", axis("last") + c("t", 2.0) + "p = Pow (x, t)\n q = ReduceSum <keepdims: int = 0> (p, last)\n y = Sqrt (q)", "ReduceL2", 1.0),
    Taken("modulus", "a, b = Split <num_outputs: int = 2, axis: int = 1> (x)\n p = Mul (a, a)\n q = Mul (b, b)\n r = Add (p, q)\n y = Sqrt (r)", "ReduceL2", 1.0),
    Taken("layer norm", LAYER_NORM + "y = Div (d, s)", "Normalise", 1 / math.sqrt(9.999999747378752e-06)),
    Taken("layer norm by reciprocal", LAYER_NORM + "r = Reciprocal (s)\n y = Mul (r, d)", "Normalise", 1 / math.sqrt(9.999999747378752e-06)),
    Taken("layer norm by power", LAYER_NORM + c("i", -0.5) + "r = Pow (e, i)\n y = Mul (d, r)", "Normalise", 1 / math.sqrt(9.999999747378752e-06)),
    Taken("rms norm", axis("last") + c("eps", 1e-4) + "p = Mul (x, x)\n v = ReduceMean (p, last)\n e = Add (eps, v)\n s = Sqrt (e)\n y = Div (x, s)", "RootMeanSquare", 1 / math.sqrt(9.999999747378752e-05)),
    Taken("norm over the first axis", axis("first", 0) + c("eps", 1e-4) + "p = Mul (x, x)\n v = ReduceMean (p, first)\n e = Add (eps, v)\n s = Sqrt (e)\n y = Div (x, s)", "RootMeanSquare", 1 / math.sqrt(9.999999747378752e-05)),
    Taken("unit vector, clamped", CLAMPED + "y = Div (x, k)", "UnitVector", 1 / 0.0010000000474974513),
    Taken("unit vector, shifted", CLAMPED + "w = Add (n, eps)\n y = Div (x, w)", "UnitVector", 1 / 0.0010000000474974513),
    Taken("unit vector", CLAMPED + "y = Div (x, n)", "UnitVector", math.inf),
    Taken("unit vector by its parts", axis("last") + c("t", 2.0) + c("eps", 0.5) + "p = Pow (x, t)\n q = ReduceSum (p, last)\n n = Sqrt (q)\n k = Max (n, eps)\n y = Div (x, k)", "UnitVector", 2.0),
]  # fmt: skip

NEAR_MISSES = [
    Taken("nearly a square", axis("last") + c("t", 2.0000002) + "a = Abs (x)\n p = Pow (a, t)\n q = ReduceSum (p, last)\n y = Sqrt (q)", "ReduceL2", 0.0),
    Taken("gate of another", c("o", 1.0) + "w = Add (x, o)\n s = Sigmoid (w)\n y = Mul (x, s)", "Swish", 0.0),
    Taken("one and a bit", c("r", ROOT) + c("o", 1.0000001) + "a = Div (x, r)\n e = Erf (a)\n f = Add (e, o)\n y = Mul (x, f)", "Gelu", 0.0),
    Taken("softplus of two", c("o", 2.0) + "e = Exp (x)\n f = Add (e, o)\n y = Log (f)", "Softplus", 0.0),
    Taken("a weight near 1/8", axis("last") + c("w", 0.1249) + c("eps", 1e-4) + "p = Mul (x, x)\n q = ReduceSum (p, last)\n v = Mul (q, w)\n e = Add (eps, v)\n s = Sqrt (e)\n y = Div (x, s)", "RootMeanSquare", 0.0),
    Taken("divided by another's norm", axis("last") + c("t", 2.0) + c("eps", 1e-4) + "z = Sin (x)\n p = Mul (z, z)\n v = ReduceMean (p, last)\n e = Add (eps, v)\n s = Sqrt (e)\n y = Div (x, s)", "RootMeanSquare", 0.0),
    Taken("negative coefficient", c("k", -0.044715) + c("t", 3.0) + c("q", 0.79788) + c("o", 1.0) + "p = Pow (x, t)\n b = Mul (p, k)\n a = Add (x, b)\n u = Mul (a, q)\n th = Tanh (u)\n f = Add (th, o)\n y = Mul (x, f)", "Gelu(tanh)", 0.0),
    Taken("far coefficient", c("k", 0.05) + c("t", 3.0) + c("q", 0.79788) + c("o", 1.0) + "p = Pow (x, t)\n b = Mul (p, k)\n a = Add (x, b)\n u = Mul (a, q)\n th = Tanh (u)\n f = Add (th, o)\n y = Mul (x, f)", "Gelu(tanh)", 0.0),
    Taken("max with an offset", c("k", 0.1) + "a = Mul (x, k)\n b = Add (a, k)\n y = Max (x, b)", "LeakyRelu", 0.0),
    Taken("falling clip", c("k", -1.0) + c("z", 0.0) + c("s", 6.0) + "a = Mul (x, k)\n b = Clip (a, z, s)\n y = Mul (x, b)", "HardGate", 0.0),
]  # fmt: skip


def graph_of(form: Taken) -> Graph:
    head = '<ir_version: 8, opset_import: ["" : 20]> g (float[2, 8] x) => (float[] y) {\n'
    model = onnx.parser.parse_model(head + form.body + "\n}")
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    return read_graph(model.SerializeToString(), Path("form.onnx")).graph


def points(count: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    drawn = torch.randn(count, *SHAPE, generator=generator, dtype=torch.float64)
    return drawn * torch.logspace(-3, 0.7, count, dtype=torch.float64).reshape(-1, 1, 1)


def gain(graph: Graph, norm: Norm, region: Box | None = None) -> float:
    outcome = run(LayerProduct(), Problem.over(graph, norm, region))
    assert outcome.bound is not None, outcome.reason
    return outcome.bound.value


@pytest.mark.parametrize("form", [*FORMS, *NEAR_MISSES], ids=str)
def test_every_rewrite_keeps_the_function(form: Taken) -> None:
    graph = graph_of(form)
    x = points()
    before = graph.forward(x)
    for rewrite in REWRITES:
        graph = rewrite(graph)
        assert torch.allclose(graph.forward(x), before, rtol=1e-11, atol=1e-13), rewrite.__name__


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_taken_apart_has_the_constant_of_the_whole(form: Taken) -> None:
    found = simplify(graph_of(form))
    assert form.kind in {node.kind for node in found.nodes}
    value = gain(found, Norm.L2)
    assert value == form.gain or form.gain <= value * (1 + 1e-12) <= form.gain * (1 + 1e-6)


@pytest.mark.parametrize("form", NEAR_MISSES, ids=str)
def test_near_miss_is_left_alone(form: Taken) -> None:
    assert form.kind not in {node.kind for node in simplify(graph_of(form)).nodes}


def _jacobian(graph: Graph, x: torch.Tensor) -> torch.Tensor:
    leaf = x.unsqueeze(0).clone().requires_grad_(True)
    out = graph.forward(leaf).reshape(-1)
    return torch.stack([torch.autograd.grad(entry, leaf, retain_graph=True)[0].reshape(-1) for entry in out])


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_no_slope_is_above_the_constant(form: Taken) -> None:
    graph = graph_of(form)
    small = simplify(graph)
    for norm in Norm:
        everywhere = gain(small, norm)
        for x in points(8):
            region = Box((x - 1e-3).unsqueeze(0), (x + 1e-3).unsqueeze(0))
            met = norm_of(_jacobian(graph, x), norm)
            assert met <= gain(small, norm, region) * (1 + 1e-9)
            assert met <= everywhere * (1 + 1e-9)


def test_every_node_that_was_fused_is_named() -> None:
    (fused,) = (node for node in simplify(graph_of(FORMS[0])).nodes if node.kind == "Swish")
    assert len(fused.origin) == 2
