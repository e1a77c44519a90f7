"""Whether an open leading axis is a batch: the file is read again with two rows, and they are proven never to meet.

What is proven is that no entry of one row's output depends on any entry of another row's input. Shapes may steer a
graph, so it is proven for the two rows that were read; what is audited is the function of a single row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from lipaudit.errors import LipauditError
from lipaudit.graph.graph import Graph, Node, evaluate
from lipaudit.graph.reach import touched
from lipaudit.linear.map import Shape
from lipaudit.loading.model import TensorFacts
from lipaudit.report.report import Batch

ROWS = 2
AGREE = 1e-9
"""How far, of the largest output, a row of two may be from the same row alone: float64 in another order."""

Built = tuple[Graph, tuple[TensorFacts, ...], tuple[TensorFacts, ...]]
"""A graph with its varying inputs and its outputs."""


def batch_of(one: Built, read: Callable[[dict[str, Shape]], Built]) -> Batch | None:
    """What is known of the leading axis; None where no varying input leaves it open.

    one: the model as it is audited. read: the model with other shapes for some inputs; it may refuse.
    """
    _, inputs, outputs = one
    open_axes = {facts.name: _open(facts) for facts in inputs}
    if not any(open_axes.values()) or any(facts.shape[0] != 1 for facts in inputs if open_axes[facts.name]):
        return None
    symbols = {axis for axis in open_axes.values() if axis is not None and axis != "?"}
    rows = {facts.name: _row_axis(facts, symbols) for facts in inputs}
    first = next(facts for facts in inputs if open_axes[facts.name])
    axis = f"axis 0 ({open_axes[first.name]}) of input {first.name!r}"
    shapes = {facts.name: _with_rows(facts.shape, rows[facts.name]) for facts in inputs}
    try:
        two = read(shapes)
    except LipauditError as error:
        why = str(error).partition(" cannot be audited: ")[2] or str(error)
        said = f"{axis} is open, but the model cannot be read with {ROWS} rows: it is audited as one input of shape "
        return Batch(False, said + f"{list(first.shape)} ({why[:160]})")
    mixed = f"it is audited as one input of shape {list(first.shape)}, and with more rows it is another function"
    met = _meeting(two, [rows[facts.name] for facts in two[1]], outputs)
    if met is not None:
        return Batch(False, f"the model mixes {axis} ({met}): {mixed}", mixed=True)
    if not _same(one, two, [rows[facts.name] for facts in two[1]]):
        return Batch(False, f"a row of {axis} is treated otherwise among {ROWS} than alone: {mixed}", mixed=True)
    said = (
        f"{axis} is a batch: proven, as no op lets one of {ROWS} rows reach the other's output; one sample is audited"
    )
    return Batch(True, said)


def _open(facts: TensorFacts) -> str | None:
    """The name of the leading axis where the file leaves its size open ('?' without a name)."""
    if not facts.declared or (isinstance(facts.declared[0], int) and facts.declared[0] > 0):
        return None
    return str(facts.declared[0]) if isinstance(facts.declared[0], str) else "?"


def _row_axis(facts: TensorFacts, symbols: set[str]) -> int | None:
    """Where an input has its rows: in an open leading axis, or in one that has its name."""
    if _open(facts) is not None:
        return 0
    return next((axis for axis, size in enumerate(facts.declared) if isinstance(size, str) and size in symbols), None)


def _with_rows(shape: Shape, axis: int | None) -> Shape:
    return tuple(size * ROWS if place == axis else size for place, size in enumerate(shape))


def _row(facts: TensorFacts, axis: int | None, row: int) -> torch.Tensor:
    """bool [*shape]: the entries of one row, none of an input that all rows share."""
    marks = torch.zeros(facts.shape, dtype=torch.bool)
    if axis is not None:
        marks.narrow(axis, row * facts.shape[axis] // ROWS, facts.shape[axis] // ROWS).fill_(True)
    return marks


def _meeting(two: Built, axes: Sequence[int | None], alone: Sequence[TensorFacts]) -> str | None:
    """Where the rows meet, None where it is proven that they do not."""
    graph, inputs, outputs = two
    marks = [
        torch.cat([_row(facts, axis, row).reshape(-1) for facts, axis in zip(inputs, axes, strict=True)])
        for row in range(ROWS)
    ]
    first: list[str] = []

    def rule(node: Node, args: tuple[torch.Tensor, ...]) -> torch.Tensor:
        found = touched(node.op, *args)
        if not first and bool(found.all(0).any()):
            first.append(f"first at {node.kind} {node.name!r}")
        return found

    reach = evaluate(graph, torch.stack(marks).reshape(ROWS, *graph.input_shape), rule).reshape(ROWS, -1)
    start = 0
    for facts, single in zip(outputs, alone, strict=True):
        size = math.prod(facts.shape)
        found = reach[:, start : start + size].reshape(ROWS, *facts.shape)
        start += size
        if not bool(found.any()):
            continue
        axis = _grown(single.shape, facts.shape)
        if axis is None:
            return first[0] if first else f"output {facts.name!r} has no axis of its own for them"
        half = facts.shape[axis] // ROWS
        apart = not any(bool(found[1 - row].narrow(axis, row * half, half).any()) for row in range(ROWS))
        if not apart:
            return first[0] if first else f"they change places on the way to output {facts.name!r}"
    return None


def _grown(single: Shape, double: Shape) -> int | None:
    """The only axis that two rows make longer, and twice as long."""
    if len(single) != len(double):
        return None
    longer = [axis for axis, (one, two) in enumerate(zip(single, double, strict=True)) if one != two]
    return longer[0] if len(longer) == 1 and double[longer[0]] == ROWS * single[longer[0]] else None


def _same(one: Built, two: Built, axes: Sequence[int | None]) -> bool:
    """Whether rows of two give at a point what they give alone."""
    generator = torch.Generator().manual_seed(0)
    pieces = [torch.randn(facts.shape, generator=generator, dtype=torch.float64) for facts in two[1]]
    with torch.no_grad():
        together = two[0].forward(torch.cat([p.reshape(-1) for p in pieces]).reshape(1, *two[0].input_shape))[0]
    for row in range(ROWS):
        own = [
            p if axis is None else p.narrow(axis, row * p.shape[axis] // ROWS, p.shape[axis] // ROWS)
            for p, axis in zip(pieces, axes, strict=True)
        ]
        with torch.no_grad():
            flat = torch.cat([p.reshape(-1) for p in own])
            alone = one[0].forward(flat.reshape(1, *one[0].input_shape))[0]
        if not _agree(alone.reshape(-1), _rows_of(together.reshape(-1), one[2], two[2], row)):
            return False
    return True


def _rows_of(values: torch.Tensor, alone: Sequence[TensorFacts], both: Sequence[TensorFacts], row: int) -> torch.Tensor:
    found, start = [], 0
    for single, double in zip(alone, both, strict=True):
        part = values[start : start + math.prod(double.shape)].reshape(double.shape)
        start += part.numel()
        axis = _grown(single.shape, double.shape)
        if axis is not None:
            part = part.narrow(axis, row * single.shape[axis], single.shape[axis])
        found.append(part.reshape(-1))
    return torch.cat(found)


def _agree(one: torch.Tensor, other: torch.Tensor) -> bool:
    same = (one == other) | (torch.isnan(one) & torch.isnan(other))  # undefined there, and both say so
    finite = torch.where(torch.isfinite(one), one, 0.0)
    return bool((same | ((one - other).abs() <= AGREE * finite.abs().max())).all())
