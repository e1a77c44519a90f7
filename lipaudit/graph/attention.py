"""Attention found in a graph: softmax(tau q k' + b) v with q, k and v affine in tokens, head by head."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import final

import torch

from lipaudit.graph.graph import Graph, Node
from lipaudit.graph.simplify.pattern import maker, pieces, softmax_rows
from lipaudit.linear.fuse import compose
from lipaudit.linear.map import Compose, LinearMap, Shape
from lipaudit.linear.pointwise import Diagonal
from lipaudit.linear.selection import Selection
from lipaudit.linear.tokenwise import Tokenwise, owners_of, tokenwise
from lipaudit.ops.affine import Affine
from lipaudit.ops.bilinear import MatMulData


@final
@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """Where tokens come from: `before` (None for the identity) of the value `source`, size entries each."""

    source: int
    before: LinearMap | None
    size: int


@final
@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One of q, k, v: its value in the graph, its tokens, and the matrices [heads, rows, size] of a token."""

    value: int
    tokens: Tokens
    each: Tokenwise


@final
@dataclass(frozen=True, slots=True, eq=False)
class Attention:
    """The value `output` [.., heads, queries, columns]: p v, p = softmax over keys of scale (q k') + bias.

    shares: the value of p. scale: a bound of |tau| for each head; the same for all its entries.
    bias: float64 [heads, queries, keys], within `doubt` of what is meant. keep: bool of that shape, or None for all.
    query and key differ in their tokens in cross attention; key and value do not.
    inside: all values that the pattern was made of, output included.
    """

    output: int
    shares: int
    heads: int
    queries: int
    keys: int
    scale: tuple[float, ...]
    bias: torch.Tensor
    doubt: torch.Tensor
    keep: torch.Tensor | None
    query: Part
    key: Part
    value: Part
    inside: tuple[int, ...]

    @property
    def one_source(self) -> bool:
        """Whether queries and keys are made of the same tokens."""
        return self.query.tokens is self.key.tokens


@lru_cache(maxsize=4)
def attentions(graph: Graph) -> list[Attention]:
    """All of them, in the order of the graph. What does not have the form is left out."""
    found = (_at(graph, place, node) for place, node in enumerate(graph.nodes, start=1))
    return [each for each in found if each is not None]


def _at(graph: Graph, output: int, node: Node) -> Attention | None:
    if not isinstance(node.op, MatMulData):
        return None
    shares, v = node.inputs
    below = softmax_rows(graph, shares)
    logits = None if below is None else _logits(graph, below[1])
    if below is None or logits is None:
        return None
    product, factor, offset, doubt = logits
    scores = maker(graph, product)
    assert scores is not None
    q, k = scores.inputs
    *lead, queries, keys = scores.op.out_shape
    heads = math.prod(lead)
    if graph.shape(shares) != scores.op.out_shape:
        return None
    shape = (heads, queries, keys)
    factor = factor.reshape(heads, -1)
    if not heads * queries * keys or not bool((factor == factor[:, :1]).all()):
        return None
    if not all(bool(part.isfinite().all()) for part in (factor, offset, doubt)):
        return None
    parts = _parts(graph, (q, k, v), heads, (queries, keys, keys))
    if parts is None:
        return None
    keep = None if below[0].keep is None else below[0].keep.reshape(shape)
    scale = tuple(factor[:, 0].abs().tolist())
    inside = _between(graph, output, {part.tokens.source for part in parts})
    return Attention(
        output, shares, heads, queries, keys, scale, offset.reshape(shape), doubt.reshape(shape), keep, *parts, inside
    )


def _logits(graph: Graph, value: int) -> tuple[int, torch.Tensor, torch.Tensor, torch.Tensor] | None:
    """(product, factor, offset, doubt) of a value factor * product + offset, entry by entry in the same order."""
    shape = graph.shape(value)
    factor, offset, doubt = torch.ones(shape, dtype=torch.float64), *torch.zeros(2, *shape, dtype=torch.float64)
    node = maker(graph, value)
    if node is not None and isinstance(node.op, Affine):  # linear runs have been merged: at most one
        if len(node.inputs) != 1:
            return None
        for piece in pieces(node.op.linear):
            if isinstance(piece, Diagonal):
                if piece.scale_roundings and piece.scale.numel() > 1:
                    return None  # equal as they are stored, they may stand for numbers that differ
                factor = factor.reshape(piece.shape) * piece.scale * (1.0 + 2.0**-52 * (2 + piece.scale_roundings))
            elif not isinstance(piece, Selection) or piece.index is not None:
                return None
        offset = offset if node.op.offset is None else node.op.offset
        doubt = doubt if node.op.offset_error is None else node.op.offset_error
        (value,) = node.inputs
        node = maker(graph, value)
    if node is None or not isinstance(node.op, MatMulData):
        return None
    return value, factor, offset, doubt


def _parts(
    graph: Graph, values: tuple[int, int, int], heads: int, counts: tuple[int, int, int]
) -> tuple[Part, Part, Part] | None:
    """q, k and v, each linear in tokens of its own or of the others' source."""
    made = [maker(graph, value) for value in values]
    linear: list[tuple[int, LinearMap]] = []
    for place, node in enumerate(made):
        if node is None or not isinstance(node.op, Affine) or len(node.inputs) != 1:
            return None
        part = node.op.linear
        if place == 1:  # k' has its tokens last
            *_, rows, count = part.out_shape
            order = torch.arange(part.out_size).reshape(heads, rows, count).transpose(1, 2)
            part = compose(part, Selection.of(part.out_shape, order.contiguous()))
        linear.append((node.inputs[0], part))
    (source, q), (other, k), (third, v) = linear
    if other != third:
        return None
    if source == other:
        split = _split(graph.shape(source), [q, k, v], counts, heads)
        groups = None if split is None else [(Tokens(source, *split[:2]), split[2])]
    else:
        one, two = (
            _split(graph.shape(source), [q], counts[:1], heads),
            _split(graph.shape(other), [k, v], counts[1:], heads),
        )
        groups = (
            None
            if one is None or two is None
            else [(Tokens(source, *one[:2]), one[2]), (Tokens(other, *two[:2]), two[2])]
        )
    if groups is None:
        return None
    flat = [(tokens, rest) for tokens, rests in groups for rest in rests]
    parts = []
    for value, (tokens, rest), count in zip(values, flat, counts, strict=True):
        each = tokenwise(rest, tokens.size, heads, count)
        if each is None:
            return None
        parts.append(Part(value, tokens, each))
    if not torch.equal(parts[1].each.owner, parts[2].each.owner):
        return None
    return parts[0], parts[1], parts[2]


Split = tuple[LinearMap | None, int, list[LinearMap]]


def _split(shape: Shape, maps: list[LinearMap], counts: tuple[int, ...], heads: int) -> Split | None:
    """(first, size, rests) with every map rest after first, and every rest linear in tokens: the last axis of first.

    first: the shortest run of pieces that all maps begin with for which this is so; None for no pieces at all.
    """
    chains = [pieces(part) for part in maps]
    for taken in range(min(map(len, chains))):
        if taken and not all(chain[taken - 1] is chains[0][taken - 1] for chain in chains):
            return None
        size = (chains[0][taken - 1].out_shape if taken else shape)[-1:]
        rests = [_run(chain[taken:]) for chain in chains]
        if size and all(_by_token(rest, size[0], heads, count) for rest, count in zip(rests, counts, strict=True)):
            return (_run(chains[0][:taken]) if taken else None), size[0], rests
    return None


def _by_token(part: LinearMap, size: int, heads: int, count: int) -> bool:
    """Whether no output token depends on two input tokens."""
    if not size or part.out_size % (heads * count):
        return False
    owners = owners_of(part, torch.arange(part.in_size) // size)
    if owners is None:
        return False
    low, high = (end.reshape(heads, count, -1).transpose(0, 1).reshape(count, -1) for end in owners)
    return bool((low.amin(1) >= high.amax(1)).all())


def _run(chain: tuple[LinearMap, ...]) -> LinearMap:
    return chain[0] if len(chain) == 1 else Compose(chain)


def _between(graph: Graph, output: int, sources: set[int]) -> tuple[int, ...]:
    """The values that lead from the sources to the output, itself included."""
    found: set[int] = set()
    stack = [output]
    while stack:
        at = stack.pop()
        if at in found or at in sources or at == 0:
            continue
        found.add(at)
        stack.extend(graph.nodes[at - 1].inputs)
    return tuple(sorted(found))
