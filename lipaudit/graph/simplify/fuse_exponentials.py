"""Functions that were taken apart into Exp and Log, each of them unbounded, become the bounded ones they are."""

from __future__ import annotations

import torch

from lipaudit.graph.graph import Graph, Node
from lipaudit.graph.simplify.pattern import exponent, function_of, maker, names_between
from lipaudit.graph.simplify.rebuild import Chain, replace_nodes
from lipaudit.linear.pointwise import Diagonal
from lipaudit.ops import activations
from lipaudit.ops.affine import Affine
from lipaudit.ops.elementwise import Elementwise
from lipaudit.ops.op import Op
from lipaudit.ops.smooth import LogSoftmax, Softmax


def fuse_exponentials(graph: Graph) -> Graph:
    """log(1 + e^x) = softplus(x), 1 / (1 + e^x) = sigmoid(-x), log sigmoid(x) = -softplus(-x), log softmax."""
    return replace_nodes(graph, lambda value, node: _match(graph, value, node))


def _match(graph: Graph, value: int, node: Node) -> Chain | None:
    if not isinstance(node.op, Elementwise) or node.op.function.name not in ("Log", "Reciprocal", "Pow(-1)"):
        return None
    (inner,) = node.inputs
    log, shape = node.op.function.name == "Log", node.op.shape
    if (source := exponent(graph, inner)) is not None:
        plain: tuple[Op, ...] = (Elementwise(activations.softplus(), shape),)
        ops = plain if log else (_minus(node), Elementwise(activations.sigmoid(), shape))
        return _chain(graph, value, source, "Softplus" if log else "Sigmoid", *ops)
    if not log:
        return None
    if (found := function_of(graph, inner, "Sigmoid")) is not None:
        ops = (_minus(node), Elementwise(activations.softplus(), shape), _minus(node))
        return _chain(graph, value, found[1], "LogSigmoid", *ops)
    below = maker(graph, inner)
    if below is not None and isinstance(below.op, Softmax) and below.op.keep is None:
        return _chain(graph, value, below.inputs[0], "LogSoftmax", LogSoftmax(below.op.shape, below.op.axis))
    return None


def _chain(graph: Graph, value: int, source: int, kind: str, *ops: Op) -> Chain:
    return Chain(source, ops, kind, names_between(graph, value, source))


def _minus(node: Node) -> Affine:
    return Affine((Diagonal(torch.tensor(-1.0, dtype=torch.float64), node.op.out_shape),))
