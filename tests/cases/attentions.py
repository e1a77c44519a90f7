"""Multi-head attention with tokens in a known set: as a graph, and written out in a few lines of torch."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from lipaudit.graph.graph import Graph
from lipaudit.linear.dense import Dense
from lipaudit.linear.fuse import compose
from lipaudit.linear.pointwise import Diagonal
from lipaudit.linear.selection import Selection
from lipaudit.numerics.box import Box
from lipaudit.ops.affine import Affine
from lipaudit.ops.bilinear import MatMulData
from lipaudit.ops.scaled import RootMeanSquare
from lipaudit.ops.smooth import Normalise, Softmax
from tests.cases.graphs import Sketch


@dataclass(frozen=True, eq=False)
class AttentionCase:
    """q, k, v: [heads, rows, size]; c_*: [heads, tokens, rows]; bias: [heads, queries, keys]; keep like it.

    tokens: 'box' (|entries| <= reach), 'layer' or 'rms' (behind a normalisation). cross: queries have tokens of their
    own. before: a matrix that the tokens went through, or None. telling: tokens (queries', keys') to try.
    """

    name: str
    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    c_q: torch.Tensor
    c_k: torch.Tensor
    c_v: torch.Tensor
    tau: float = 1.0
    bias: torch.Tensor | None = None
    keep: torch.Tensor | None = None
    tokens: str = "box"
    reach: float = 1.0
    cross: bool = False
    telling: tuple[tuple[torch.Tensor, torch.Tensor], ...] = field(default=())

    @property
    def heads(self) -> int:
        return self.q.shape[0]

    @property
    def size(self) -> int:
        return self.q.shape[2]

    @property
    def queries(self) -> int:
        return self.c_q.shape[1]

    @property
    def keys(self) -> int:
        return self.c_k.shape[1]

    def value(self, asking: torch.Tensor, asked: torch.Tensor) -> torch.Tensor:
        """O [heads, queries, rows] of tokens [queries, size] and [keys, size]: the definition."""
        parts = ((self.q, asking, self.c_q), (self.k, asked, self.c_k), (self.v, asked, self.c_v))
        q, k, v = [x @ g.mT + c for g, x, c in parts]
        logits = self.tau * (q @ k.mT)
        logits = logits if self.bias is None else logits + self.bias
        logits = logits if self.keep is None else logits.masked_fill(~self.keep, -torch.inf)
        return torch.softmax(logits, -1) @ v

    def drawn(self, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens of the set, mostly at its edge."""
        asked = self.inside(torch.randn(self.keys, self.size, generator=generator, dtype=torch.float64) * 30.0)
        if not self.cross:
            return asked, asked
        return self.inside(torch.randn(self.queries, self.size, generator=generator, dtype=torch.float64) * 30.0), asked

    def inside(self, x: torch.Tensor) -> torch.Tensor:
        """The nearest tokens of the set, about."""
        if self.tokens == "box":
            return x.clamp(-self.reach, self.reach)
        x = x - x.mean(-1, keepdim=True) if self.tokens == "layer" else x
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        shrunk: torch.Tensor = x * (self.size**0.5 / length).clamp(max=1.0)
        return shrunk

    def build(self) -> tuple[Graph, Box | None]:
        """The graph from all tokens side by side, and its region."""
        count = self.keys + (self.queries if self.cross else 0)
        sketch = Sketch((count, self.size), 0)
        asked = sketch.pick(0, torch.arange(self.keys * self.size).reshape(self.keys, self.size))
        asking = asked
        if self.cross:
            places = torch.arange(self.keys * self.size, count * self.size).reshape(self.queries, self.size)
            asking = sketch.pick(0, places)
        if self.tokens != "box":
            norm = Normalise if self.tokens == "layer" else RootMeanSquare
            same = asking == asked
            asked = sketch.add(norm(self.keys, self.size, 1e-5), asked)
            asking = asked if same else sketch.add(norm(self.queries, self.size, 1e-5), asking)
        q = self._part(sketch, asking, self.q, self.c_q)
        k = self._part(sketch, asked, self.k, self.c_k, turned=True)
        v = self._part(sketch, asked, self.v, self.c_v)
        lead = (1, self.heads)
        scores = sketch.add(
            MatMulData((*lead, self.queries, self.q.shape[1]), (*lead, self.k.shape[1], self.keys)), q, k
        )
        shape = (*lead, self.queries, self.keys)
        scale = Diagonal(torch.tensor(self.tau, dtype=torch.float64), shape)
        bias = None if self.bias is None else self.bias.reshape(shape)
        logits = sketch.add(Affine((scale,), bias), scores)
        shares = sketch.add(Softmax(shape, 3, None if self.keep is None else self.keep.reshape(shape)), logits)
        sketch.add(MatMulData(shape, (*lead, self.keys, self.v.shape[1])), shares, v)
        everywhere = torch.full((1, count, self.size), self.reach, dtype=torch.float64)
        return sketch.graph(), Box(-everywhere, everywhere) if self.tokens == "box" else None

    def _part(self, sketch: Sketch, tokens: int, g: torch.Tensor, c: torch.Tensor, turned: bool = False) -> int:
        heads, rows, size = g.shape
        count = c.shape[1]
        dense = Dense(g.reshape(-1, size), (count,), 1, (count, size), (count, heads * rows))
        order = torch.arange(count * heads * rows).reshape(count, heads, rows).permute(1, 0, 2)
        c = c.transpose(1, 2) if turned else c
        order = (order.transpose(1, 2) if turned else order).unsqueeze(0).contiguous()
        part = compose(dense, Selection.of((count, heads * rows), order))
        return sketch.affine(part, tokens, c.unsqueeze(0).contiguous())


def _zeros(*shape: int) -> torch.Tensor:
    return torch.zeros(shape, dtype=torch.float64)


def _row(*entries: float) -> torch.Tensor:
    return torch.tensor([[entries]], dtype=torch.float64)


def telling_cases() -> list[AttentionCase]:
    """Cases in which one term of the bound is met, or nearly."""
    two = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64) * 2.0**0.5
    still = _zeros(9, 2)
    return [
        # every query alike, two keys of one logit: sqrt(9) rho tau / sqrt 2
        AttentionCase(
            "key", _row(0.0, 0.0), _row(0.0, 1.0), _row(1.0, 0.0), _zeros(1, 9, 1) + 5.0, _zeros(1, 2, 1),
            _zeros(1, 2, 1), tau=4.0, tokens="rms", cross=True, telling=((still, two),),
        ),
        # a covariance of rho^2: values and keys along one direction
        AttentionCase(
            "query", _row(0.0, 1.0), _row(3.0, 0.0), _row(3.0, 0.0), _zeros(1, 9, 1), _zeros(1, 2, 1),
            _zeros(1, 2, 1), tau=2.0, tokens="rms", cross=True, telling=((still, two),),
        ),
        # all queries see one key: sqrt(9)
        AttentionCase(
            "masked", _row(0.01, 0.0), _row(0.01, 0.0), _row(1.0, 1.0), _zeros(1, 9, 1), _zeros(1, 4, 1),
            _zeros(1, 4, 1), keep=torch.tensor([True, False, False, False]).expand(1, 9, 4), tokens="rms", cross=True,
            telling=((still, _zeros(4, 2)),),
        ),
        AttentionCase(
            "biased", _row(0.01, 0.0), _row(0.01, 0.0), _row(1.0, 1.0), _zeros(1, 9, 1), _zeros(1, 4, 1),
            _zeros(1, 4, 1), bias=torch.tensor([40.0, 0.0, 0.0, 0.0], dtype=torch.float64).expand(1, 9, 4).clone(),
            tokens="rms", cross=True, telling=((still, _zeros(4, 2)),),
        ),
        # three heads of the same values
        AttentionCase(
            "heads", *(_row(0.0, 0.0).expand(3, 1, 2),) * 2, _row(1.0, 1.0).expand(3, 1, 2), _zeros(3, 1, 1),
            _zeros(3, 1, 1), _zeros(3, 1, 1), tokens="rms", cross=True, telling=((still[:1], still[:1]),),
        ),
        # the tokens hardly move, their offsets differ
        AttentionCase(
            "offsets", _row(0.0, 1.0), _row(1.0, 0.0), _row(1.0, 0.0), _zeros(1, 4, 1),
            torch.tensor([[[3.0], [-3.0]]], dtype=torch.float64), torch.tensor([[[3.0], [-3.0]]], dtype=torch.float64),
            reach=1e-3, cross=True, telling=((_zeros(4, 2), _zeros(2, 2)),),
        ),
        # logits that differ by offsets of the keys alone: one key has most of the attention
        AttentionCase(
            "apart", _row(0.0, 0.0), _row(0.0, 0.0), _row(1.0, 1.0), _zeros(1, 9, 1) + 2.0,
            torch.tensor([[[1.5], [0.0], [0.0], [0.0]]], dtype=torch.float64), _zeros(1, 4, 1), tokens="rms",
            cross=True, telling=((still, _zeros(4, 2)),),
        ),
        # and by the tokens: rho |G_k'q|
        AttentionCase(
            "drawn", _row(0.0, 0.0), _row(4.0, 0.0), _row(0.0, 1.0), _zeros(1, 9, 1) + 2.0, _zeros(1, 2, 1),
            _zeros(1, 2, 1), tokens="rms", cross=True, telling=((still, two),),
        ),
        # a key that has little of the attention: a variance of 4 rho^2 p (1 - p)
        AttentionCase(
            "damped", _row(0.0, 1e-3), _row(3.0, 0.0), _row(3.0, 0.0), _zeros(1, 1, 1), _zeros(1, 2, 1),
            _zeros(1, 2, 1), bias=torch.tensor([[[3.0, 0.0]]], dtype=torch.float64), tokens="rms", cross=True,
            telling=((still[:1], two),),
        ),
        # an RMS norm's tokens may be constant, which a layer norm's may not
        AttentionCase(
            "constant", _row(0.0, 0.0), _row(0.0, 0.0), _row(1.0, 1.0), _zeros(1, 1, 1), _zeros(1, 1, 1),
            _zeros(1, 1, 1), tokens="rms", telling=((still[:1], still[:1]),),
        ),
    ]  # fmt: skip


def random_case(seed: int) -> AttentionCase:
    """Sizes, scales, masks, biases and sets of tokens drawn."""
    generator = torch.Generator().manual_seed(seed)

    def whole(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    def normal(*shape: int, scale: float = 1.0) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64) * scale

    heads, rows, size, keys = whole(1, 3), whole(1, 3), whole(2, 4), whole(1, 5)
    cross = bool(whole(0, 1))
    queries = whole(1, 5) if cross else keys
    strength = (0.05, 0.5, 2.0)[whole(0, 2)]
    vary = float(whole(0, 1))
    bias = normal(heads, queries, keys, scale=3.0) if whole(0, 2) == 0 else None
    keep = None
    if whole(0, 2) == 0:
        keep = torch.rand(heads, queries, keys, generator=generator) < 0.6
        keep[..., 0] = True
    return AttentionCase(
        f"random {seed}",
        normal(heads, rows, size, scale=strength),
        normal(heads, rows, size, scale=strength),
        normal(heads, rows, size),
        normal(heads, 1, rows) + vary * normal(heads, queries, rows),
        normal(heads, 1, rows) + vary * normal(heads, keys, rows),
        normal(heads, 1, rows) + vary * normal(heads, keys, rows),
        tau=(0.5, 1.0, 3.0)[whole(0, 2)],
        bias=bias,
        keep=keep,
        tokens=("box", "layer", "rms")[whole(0, 2)],
        reach=(0.01, 1.0, 3.0)[whole(0, 2)],
        cross=cross,
    )
