"""Fewer input coordinates with the same l2 Jacobian norm: the input side of a wide first layer, by QR."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch

from lipaudit.graph.graph import Graph, Node
from lipaudit.linear.dense import Dense
from lipaudit.linear.fuse import compose
from lipaudit.linear.selection import Selection
from lipaudit.ops.affine import Affine

_MAX_ENTRIES = 2**24


@final
@dataclass(frozen=True, slots=True, eq=False)
class Reduced:
    """f = graph after the projection x -> basis x, whose rows are orthonormal.

    graph: a function of rank coordinates; basis: float64 [rank, n].
    """

    graph: Graph
    basis: torch.Tensor

    def project(self, x: torch.Tensor) -> torch.Tensor:
        """[B, *input_shape] -> [B, rank]."""
        return x.reshape(len(x), -1) @ self.basis.T

    def lift(self, direction: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        """A direction of the reduced input as one of the input itself, of the same length: [B, *shape]."""
        return (direction @ self.basis).reshape(len(direction), *shape)


def input_reduced(graph: Graph) -> Reduced | None:
    """The reduction of a graph whose first layer W is the only user of its input and has fewer rows than columns.

    W = L Q with Q Q' = I, so f(x) = g(L Q x + b) and J_f = J_g L Q has the singular values of J_g L. None where the
    first layer has no such shape. Values only: the factorisation is float64, to nearest.
    """
    users = [place for place, node in enumerate(graph.nodes) if 0 in node.inputs]
    if len(users) != 1 or graph.output == 0:
        return None
    first = graph.nodes[users[0]]
    op = first.op
    if not isinstance(op, Affine) or len(op.maps) != 1:
        return None
    part = op.linear
    if part.out_size >= part.in_size or part.in_size * part.out_size > _MAX_ENTRIES:
        return None
    q, r = torch.linalg.qr(part.as_matrix().T)
    shrunk = compose(Dense.plain(r.T.contiguous()), Selection.reshape((part.out_size,), part.out_shape))
    replaced = Node(first.name, first.kind, Affine((shrunk,), op.offset, op.offset_error), (0,), first.origin)
    nodes = (*graph.nodes[: users[0]], replaced, *graph.nodes[users[0] + 1 :])
    return Reduced(Graph((r.shape[0],), nodes, graph.output), q.T.contiguous())
