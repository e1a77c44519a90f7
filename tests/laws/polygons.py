"""Networks of two inputs, piece by piece: the polygons on which they are affine, and what is least on them, exactly.

An oracle that shares nothing with the ranges: nodes are asked for values alone, and a polygon is a list of corners that
one line after the other cuts.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from lipaudit.graph.graph import Graph
from lipaudit.numerics.norms import Norm
from lipaudit.ops.affine import Affine
from lipaudit.ops.elementwise import Elementwise
from lipaudit.ops.maxlike import PointwiseMax, SortPair, WindowMax
from lipaudit.ops.op import Op

TINY = 1e-13
"""Of a polygon's size squared: a smaller area is that of its neighbours' edge."""


class Piece(NamedTuple):
    """corners [k, 2], in order; there the network is slope [K, 2] x + start [K]."""

    corners: np.ndarray
    slope: np.ndarray
    start: np.ndarray


Form = tuple[np.ndarray, np.ndarray]


def rectangle(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    return np.array([[low[0], low[1]], [high[0], low[1]], [high[0], high[1]], [low[0], high[1]]])


def clipped(corners: np.ndarray, row: np.ndarray, first: float) -> np.ndarray:
    """The part of a polygon where row x + first >= 0."""
    found = list[np.ndarray]()
    value = corners @ row + first
    for i, (here, before) in enumerate(zip(value, np.roll(value, 1), strict=True)):
        if (here < 0) != (before < 0):
            share = before / (before - here)
            found.append(corners[i - 1] + share * (corners[i] - corners[i - 1]))
        if here >= 0:
            found.append(corners[i])
    return np.array(found).reshape(-1, 2)


def area(corners: np.ndarray) -> float:
    x, y = corners[:, 0], corners[:, 1]
    return abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1))) / 2 if len(corners) > 2 else 0.0


def pieces(graph: Graph, corners: np.ndarray) -> list[Piece]:
    """All pieces of a polygon, for nodes that are affine, two half-lines that meet at 0, maxima or sorted pairs."""
    found, least = list[Piece](), TINY * float(np.ptp(corners, axis=0).max()) ** 2
    maps = [matrices(node.op) if isinstance(node.op, Affine) else [] for node in graph.nodes]

    def node(place: int, forms: list[Form], inside: np.ndarray) -> None:
        if place == len(graph.nodes):
            found.append(Piece(inside, *forms[graph.output]))
            return
        op, args = graph.nodes[place].op, [forms[i] for i in graph.nodes[place].inputs]
        if isinstance(op, Affine):
            *parts, offset = maps[place]
            slope = sum((m @ a for m, (a, _) in zip(parts, args, strict=True)), np.zeros((len(offset), 2)))
            start = sum((m @ b for m, (_, b) in zip(parts, args, strict=True)), offset)
            node(place + 1, [*forms, (slope, start)], inside)
            return
        choices = _choices(op, *args[0])

        def entry(number: int, rows: list[Form], left: np.ndarray) -> None:
            if number == len(choices):
                slope, start = np.array([r for r, _ in rows]), np.array([s for _, s in rows])
                if isinstance(op, SortPair):  # pair by pair: the larger ones come first
                    slope, start = np.concatenate([slope[0::2], slope[1::2]]), np.append(start[0::2], start[1::2])
                node(place + 1, [*forms, (slope, start)], left)
                return
            taken = list[list[Form]]()
            for conditions, results in choices[number]:
                cut = left
                for row, first in conditions:
                    cut = clipped(cut, row, float(first)) if len(cut) else cut
                if area(cut) > least and not any(_equal(results, other) for other in taken if len(cut) == len(left)):
                    taken.append(results)
                    entry(number + 1, [*rows, *results], cut)

        entry(0, [], inside)

    node(0, [(np.eye(2), np.zeros(2))], corners)
    return found


def _equal(one: list[Form], other: list[Form]) -> bool:
    return all(np.array_equal(a, c) and b == d for (a, b), (c, d) in zip(one, other, strict=True))


def matrices(op: Op) -> list[np.ndarray]:
    """The op's matrices, one an argument, and its offset: from values alone."""
    sizes = [int(torch.Size(shape).numel()) for shape in op.in_shapes]
    zeros = [torch.zeros(1, *shape, dtype=torch.float64) for shape in op.in_shapes]
    offset = op.forward(*zeros).flatten()
    found = []
    for i, (size, shape) in enumerate(zip(sizes, op.in_shapes, strict=True)):
        args = [z.expand(size, *z.shape[1:]) for z in zeros]
        args[i] = torch.eye(size, dtype=torch.float64).reshape(size, *shape)
        found.append((op.forward(*args).reshape(size, -1) - offset).T.numpy())
    return [*found, offset.numpy()]


Choice = tuple[list[Form], list[Form]]
"""(where, row x + first >= 0 each, what the entries are there)."""


def _choices(op: Op, slope: np.ndarray, start: np.ndarray) -> list[list[Choice]]:
    """By output entry, all that it can be."""
    form = [(slope[i], start[i]) for i in range(len(start))]
    if isinstance(op, Elementwise):
        size = len(start)
        left = -op.forward(-torch.ones(1, size, dtype=torch.float64).reshape(1, *op.shape)).flatten().numpy()
        right = op.forward(torch.ones(1, size, dtype=torch.float64).reshape(1, *op.shape)).flatten().numpy()
        return [
            [([(a, b)], [(r * a, r * b)]), ([(-a, -b)], [(k * a, k * b)])]
            for (a, b), k, r in zip(form, left, right, strict=True)
        ]
    if isinstance(op, SortPair):
        half = len(start) // 2
        pairs = [(form[i], form[i + half]) for i in range(half)]
        return [[([_less(p, q)], [p, q]), ([_less(q, p)], [q, p])] for p, q in pairs]
    assert isinstance(op, PointwiseMax | WindowMax), op
    if isinstance(op, WindowMax):
        windows = [[int(i) for i in row if i >= 0] for row in op.windows]
    else:
        size = len(start) // op.arity
        windows = [list(range(i, len(start), size)) for i in range(size)]
    return [[([_less(form[j], form[i], op.sign) for i in w if i != j], [form[j]]) for j in w] for w in windows]


def _less(p: Form, q: Form, sign: float = 1.0) -> Form:
    """sign (p - q)."""
    return sign * (p[0] - q[0]), sign * (p[1] - q[1])


def least_in_ball(piece: Piece, seed: np.ndarray, centre: np.ndarray, radius: float, norm: Norm) -> float:
    """The least of seed . f over a piece and a ball; inf where they do not meet."""
    corners, row, start = piece.corners, seed @ piece.slope, float(seed @ piece.start)
    if norm is not Norm.L2:
        for side in [(1, 0), (-1, 0), (0, 1), (0, -1)] if norm is Norm.LINF else [(1, 1), (1, -1), (-1, 1), (-1, -1)]:
            own = np.array(side, dtype=float)
            corners = clipped(corners, -own, radius + float(own @ centre)) if len(corners) else corners
        return float((corners @ row).min()) + start if len(corners) else np.inf
    # the corners inside, where edges meet the circle, the steepest point of the disc, and the disc's middle
    meant = [corner for corner in corners if np.linalg.norm(corner - centre) <= radius]
    for a, b in zip(corners, np.roll(corners, 1, axis=0), strict=True):
        d, off = b - a, a - centre
        p, q, r = d @ d, d @ off, off @ off - radius * radius
        if p > 0 and q * q >= p * r:
            meant += [a + t * d for t in ((-q + s * np.sqrt(q * q - p * r)) / p for s in (1, -1)) if 0 <= t <= 1]
    length = float(np.linalg.norm(row))
    inner = [centre, centre - row * (radius / length)] if length else [centre]
    meant += [x for x in inner if _holds(corners, x)]
    return min((float(x @ row) for x in meant), default=np.inf) + start


def _holds(corners: np.ndarray, x: np.ndarray) -> bool:
    edges, off = np.roll(corners, -1, axis=0) - corners, x - corners
    turn = edges[:, 0] * off[:, 1] - edges[:, 1] * off[:, 0]
    return bool((turn >= 0).all() or (turn <= 0).all())


def least_over(
    graph: Graph, corners: np.ndarray, seed: np.ndarray, centre: np.ndarray, radius: float, norm: Norm
) -> float:
    """The least of seed . f over a ball within a polygon."""
    return min(least_in_ball(piece, seed, centre, radius, norm) for piece in pieces(graph, corners))


def distance(corners: np.ndarray, centre: np.ndarray, norm: Norm) -> float:
    """From the centre to a polygon."""
    if not len(corners):
        return np.inf
    if _holds(corners, centre):
        return 0.0
    order = {Norm.L1: 1, Norm.L2: 2, Norm.LINF: np.inf}[norm]
    meant = list(corners)
    for a, b in zip(corners, np.roll(corners, 1, axis=0), strict=True):
        d, off = b - a, a - centre
        at = [(d[0], off[0]), (d[1], off[1]), (d[0] - d[1], off[0] - off[1]), (d[0] + d[1], off[0] + off[1])]
        shares = [-o / e for e, o in at if e] + ([-(d @ off) / (d @ d)] if d @ d > 0 else [])
        meant += [a + t * d for t in shares if 0 <= t <= 1]
    return min(float(np.linalg.norm(x - centre, order)) for x in meant)


def radius_of(graph: Graph, corners: np.ndarray, seeds: np.ndarray, centre: np.ndarray, norm: Norm) -> float:
    """How far it is to the first point of a polygon where some seed . f is not positive; inf where there is none."""
    return min(
        distance(clipped(piece.corners, -(s @ piece.slope), -float(s @ piece.start)), centre, norm)
        for piece in pieces(graph, corners)
        for s in seeds
    )
