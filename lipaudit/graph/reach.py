"""Which entries of a value can depend on which entries of the input: a question that is answered per op family."""

from __future__ import annotations

from functools import singledispatch

import torch

from lipaudit.graph.graph import Graph, Node, evaluate
from lipaudit.linear.map import LinearMap
from lipaudit.ops.affine import Affine
from lipaudit.ops.bilinear import Divide, MatMulData, Multiply
from lipaudit.ops.elementwise import Elementwise
from lipaudit.ops.jumping import Choose, Look, Pick, Step, Winner, Zero
from lipaudit.ops.lengths import WindowLogSumExp, WindowNorm
from lipaudit.ops.maxlike import PointwiseMax, SortPair, WindowMax
from lipaudit.ops.op import Op
from lipaudit.ops.scaled import LocalResponse, RootMeanSquare, UnitVector
from lipaudit.ops.smooth import LogSoftmax, Normalise, Softmax
from lipaudit.ops.sorting import Largest


def reached(graph: Graph, sources: torch.Tensor) -> torch.Tensor:
    """Which entries of the output may depend on the marked entries of the input.

    sources: bool [S, *input_shape], S marks at once; the answer is bool [S, *output_shape]. Sound: an output entry that
    is not marked has the same value whatever the marked input entries are (a value of a node depends on the arguments'
    entries that `touched` names, by the op's definition, and on no other; so by induction along the graph).
    """

    def rule(node: Node, marks: tuple[torch.Tensor, ...]) -> torch.Tensor:
        return touched(node.op, *marks)

    return evaluate(graph, sources, rule)


@singledispatch
def touched(op: Op, *marks: torch.Tensor) -> torch.Tensor:
    """Which entries of the op's result may depend on a marked entry of its arguments: all, where no more is known."""
    met = torch.stack([mark.reshape(len(mark), -1).any(1) for mark in marks]).any(0)
    return met.reshape(-1, *[1] * len(op.out_shape)).expand(-1, *op.out_shape)


@touched.register
def _(op: Affine, *marks: torch.Tensor) -> torch.Tensor:
    found = [_mapped(part, mark) for part, mark in zip(op.maps, marks, strict=True)]
    return torch.stack(found).any(0)


def _mapped(part: LinearMap, mark: torch.Tensor) -> torch.Tensor:
    # a mark is large, so that no chain of small weights makes it 0; an overflow to inf or NaN counts as met
    return part.majorant().apply(mark.double() * 2.0**500) != 0


@touched.register(Elementwise)
@touched.register(Step)
@touched.register(Zero)
def _(_op: Op, *marks: torch.Tensor) -> torch.Tensor:
    return marks[0]


@touched.register
def _(_op: Choose, *marks: torch.Tensor) -> torch.Tensor:
    return marks[0] | marks[1] | marks[2]


@touched.register
def _(_op: Winner, *marks: torch.Tensor) -> torch.Tensor:
    return marks[0].any(-1)


@touched.register
def _(op: Look, *marks: torch.Tensor) -> torch.Tensor:
    rest = len(op.out_shape) - len(op.shape)
    return marks[0].reshape(*marks[0].shape, *[1] * rest).expand(-1, *op.out_shape)


@touched.register
def _(_op: Pick, *marks: torch.Tensor) -> torch.Tensor:
    return marks[0].any(-1, keepdim=True) | marks[1]


@touched.register(Multiply)
@touched.register(Divide)
def _(_op: Op, *marks: torch.Tensor) -> torch.Tensor:
    return marks[0] | marks[1]


@touched.register
def _(op: MatMulData, *marks: torch.Tensor) -> torch.Tensor:
    rows, columns = marks[0].any(-1, keepdim=True), marks[1].any(-2, keepdim=True)
    return (rows | columns).expand(-1, *op.out_shape)


@touched.register
def _(op: Softmax | LogSoftmax, *marks: torch.Tensor) -> torch.Tensor:
    return marks[0].any(op.axis + 1, keepdim=True).expand(marks[0].shape)


@touched.register(Normalise)
@touched.register(RootMeanSquare)
@touched.register(UnitVector)
@touched.register(Largest)
def _(op: Op, *marks: torch.Tensor) -> torch.Tensor:
    return marks[0].any(-1, keepdim=True).expand(-1, *op.out_shape)


@touched.register
def _(op: WindowMax | WindowNorm | WindowLogSumExp, *marks: torch.Tensor) -> torch.Tensor:
    flat = marks[0].reshape(len(marks[0]), -1)
    flat = torch.cat([flat, flat.new_zeros(len(flat), 1)], 1)  # index -1 is this last column, which nothing marks
    return flat[:, op.windows].any(-1).reshape(-1, *op.out_shape)


@touched.register
def _(_op: PointwiseMax, *marks: torch.Tensor) -> torch.Tensor:
    return marks[0].any(1)


@touched.register
def _(_op: SortPair, *marks: torch.Tensor) -> torch.Tensor:
    return marks[0].any(1, keepdim=True).expand(marks[0].shape)


@touched.register
def _(_op: LocalResponse, *marks: torch.Tensor) -> torch.Tensor:
    return marks[0].any(2, keepdim=True).expand(marks[0].shape)
