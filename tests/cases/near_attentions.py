"""Graphs that look like attention and are none that is bounded as a whole, and some that are in an unusual way."""

from __future__ import annotations

import torch

from lipaudit.graph.graph import Graph
from lipaudit.linear.conv import Conv
from lipaudit.linear.dense import Dense
from lipaudit.linear.fuse import compose
from lipaudit.linear.map import LinearMap
from lipaudit.linear.pointwise import Diagonal
from lipaudit.linear.selection import Selection
from lipaudit.numerics.box import Box
from lipaudit.ops import activations
from lipaudit.ops.affine import Affine
from lipaudit.ops.bilinear import MatMulData, Multiply
from lipaudit.ops.elementwise import Elementwise
from lipaudit.ops.smooth import Softmax
from tests.cases.graphs import Sketch

N, D = 3, 2
SHAPE, LEAD, SCORES = (N, D), (1, N, D), (1, N, N)

OTHERWISE = ("mask", "scale", "scales", "axis", "sources", "mixed")
"""One thing that is not as in attention: a mask or a scale that depends on the input, a scale for every key, a softmax
over the queries, values of other tokens than the keys, queries of two tokens."""


def otherwise(which: str) -> tuple[Graph, Box]:
    """Self-attention with one thing changed; '' for none, 'uneven' for a scale of its own before each token."""
    sketch = Sketch(SHAPE, 3)
    turned = torch.arange(N * D).reshape(N, D).T.unsqueeze(0).contiguous()
    weights: list[LinearMap] = [Dense(sketch.normal(D, D), (N,), 1, SHAPE, SHAPE) for _ in range(3)]
    if which == "uneven":
        uneven = Diagonal(torch.tensor([[0.01], [5.0], [5.0]]).double(), SHAPE)
        weights = [compose(uneven, weight) for weight in weights]
    tokens = 0
    if which == "sources":
        tokens = sketch.add(Elementwise(activations.tanh(), SHAPE), 0)
    mixing = Dense(torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0], [1.0, 0.0, 1.0]]).double(), (), D, SHAPE, SHAPE)
    ask = (mixing, weights[0]) if which == "mixed" else (weights[0],)
    q = sketch.affine(compose(*ask, Selection.reshape(SHAPE, LEAD)), 0)
    k = sketch.affine(compose(weights[1], Selection.of(SHAPE, turned)), 0)
    v = sketch.affine(compose(weights[2], Selection.reshape(SHAPE, LEAD)), tokens)
    scores = sketch.add(MatMulData(LEAD, (1, D, N)), q, k)
    if which in ("mask", "scale"):
        own = sketch.affine(Selection.of(SHAPE, torch.tensor([0, 1, 2]).expand(SCORES).contiguous()), 0)
        whole = Selection.reshape(SCORES, SCORES)
        scores = (
            sketch.add(Multiply(SCORES), scores, own)
            if which == "scale"
            else sketch.add(Affine((whole, Diagonal(torch.tensor(9.0).double(), SCORES))), scores, own)
        )
    if which == "scales":
        scores = sketch.affine(Diagonal(torch.tensor([0.1, 5.0, 1.0]).double(), SCORES), scores)
    shares = sketch.add(Softmax(SCORES, 1 if which == "axis" else 2), scores)
    sketch.add(MatMulData(SCORES, LEAD), shares, v)
    ends = torch.full((1, N, D), 2.0, dtype=torch.float64)
    return sketch.graph(), Box(-ends, ends)


def one_key_head() -> tuple[Graph, Box]:
    """Two heads of queries that share the keys and values of one: multi-query attention."""
    sketch, heads = Sketch(SHAPE, 5), 2
    order = torch.arange(N * heads * D).reshape(N, heads, D).permute(1, 0, 2).contiguous()
    q = sketch.affine(
        compose(
            Dense(sketch.normal(heads * D, D), (N,), 1, SHAPE, (N, heads * D)), Selection.of((N, heads * D), order)
        ),
        0,
    )
    places = torch.arange(N * D).reshape(N, D)
    weights = [Dense(sketch.normal(D, D), (N,), 1, SHAPE, SHAPE) for _ in range(2)]
    k = sketch.affine(compose(weights[0], Selection.of(SHAPE, places.T.expand(heads, D, N).contiguous())), 0)
    v = sketch.affine(compose(weights[1], Selection.of(SHAPE, places.expand(heads, N, D).contiguous())), 0)
    scores = sketch.add(MatMulData((heads, N, D), (heads, D, N)), q, k)
    shares = sketch.add(Softmax((heads, N, N), 2), scores)
    sketch.add(MatMulData((heads, N, N), (heads, N, D)), shares, v)
    ends = torch.ones(1, N, D, dtype=torch.float64)
    return sketch.graph(), Box(-ends, ends)


def blended() -> tuple[Graph, Box]:
    """Values are differences of tokens: nothing here is an attention whose tokens are its own."""
    n, d = 3, 2
    sketch = Sketch((n, d), 0)
    shape, lead = (n, d), (1, n, d)
    reshaped = Selection.reshape(shape, lead)
    row = torch.tensor([5.0, -5.0, 0.0], dtype=torch.float64)  # nothing where all tokens are moved alike
    sums = Dense(row.expand(n, n).clone(), (), d, shape, shape)
    q = sketch.affine(compose(Diagonal(torch.tensor(0.1, dtype=torch.float64), shape), reshaped), 0)
    turned = Selection.of(shape, torch.arange(n * d).reshape(n, d).T.unsqueeze(0).contiguous())
    k = sketch.affine(compose(Diagonal(torch.tensor(0.1, dtype=torch.float64), shape), turned), 0)
    v = sketch.affine(compose(sums, reshaped), 0)
    scores = sketch.add(MatMulData(lead, (1, d, n)), q, k)
    shares = sketch.add(Softmax((1, n, n), 2), scores)
    sketch.add(MatMulData((1, n, n), lead), shares, v)
    ends = torch.ones(1, n, d, dtype=torch.float64)
    return sketch.graph(), Box(-ends, ends)


def patches() -> tuple[Graph, Box]:
    """Tokens are patches of an image, through one convolution of a large gain."""
    n, d = 4, 2
    sketch = Sketch((1, 1, 4, 4), 0)
    kernel = sketch.normal(d, 1, 2, 2) * 6.0
    conv = Conv(kernel, (1, 1, 4, 4), (2, 2), (1, 1), ((0, 0), (0, 0)), 1)
    tokens = Selection.of((1, d, 2, 2), torch.arange(n * d).reshape(d, n).T.contiguous())
    first = sketch.affine(compose(conv, tokens), 0)
    shape, lead = (n, d), (1, n, d)
    turned = torch.arange(n * d).reshape(n, d).T.unsqueeze(0).contiguous()
    weights = [Dense(sketch.normal(d, d), (n,), 1, shape, shape) for _ in range(3)]
    q = sketch.affine(compose(weights[0], Selection.reshape(shape, lead)), first)
    k = sketch.affine(compose(weights[1], Selection.of(shape, turned)), first)
    v = sketch.affine(compose(weights[2], Selection.reshape(shape, lead)), first)
    scores = sketch.add(MatMulData(lead, (1, d, n)), q, k)
    shares = sketch.add(Softmax((1, n, n), 2), scores)
    sketch.add(MatMulData((1, n, n), lead), shares, v)
    ends = torch.full((1, 1, 1, 4, 4), 0.01, dtype=torch.float64)
    return sketch.graph(), Box(-ends, ends)
