"""If, Loop and Scan whose condition or number of rounds is known when the file is read: their graphs, run in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, final

import onnx
import torch

from lipaudit.errors import Unsupported
from lipaudit.loading.scopes import REFUSED, Refused
from lipaudit.ops.control import CONTROL
from lipaudit.ops.registry import Constant, RawNode, Value, parse

MAX_ROUNDS = 10_000
"""Of one loop."""


class Run(Protocol):
    """Runs a graph of the node: values for its inputs, in order, and a label for its nodes; gives its outputs."""

    def __call__(
        self, graph: onnx.GraphProto, args: Sequence[Value | Refused], label: str
    ) -> list[Value | Refused]: ...


@final
@dataclass(frozen=True, slots=True)
class Control:
    """A control-flow node. raw: the node with its arguments; concat: the revision of Concat in the file's opset."""

    raw: RawNode
    attributes: Mapping[str, Any]
    run: Run
    concat: int

    def results(self) -> Sequence[Value | Refused]:
        """The node's outputs. Raises Unsupported where what is to run depends on the input."""
        if self.raw.version not in (known := CONTROL[self.raw.op]):
            listed = ", ".join(map(str, known))
            raise Unsupported(f"{self.raw.op}-{self.raw.version} is not supported (known revisions: {listed})")
        match self.raw.op:
            case "If":
                return self._branch()
            case "Loop":
                return self._loop()
            case _:
                return self._scan() if self.raw.version > 8 else self._scan_batches()

    def _graph(self, name: str) -> onnx.GraphProto:
        graph = self.attributes.get(name)
        if not isinstance(graph, onnx.GraphProto):
            raise Unsupported(f"attribute {name!r} is missing")
        return graph

    def _branch(self) -> list[Value | Refused]:
        taken = "then_branch" if _truth(self.raw.arg(0), "which branch it takes") else "else_branch"
        return self._run(taken, [], "")

    def _run(self, name: str, args: Sequence[Value | Refused], label: str) -> list[Value | Refused]:
        graph = self._graph(name)
        if len(graph.input) != len(args):
            raise Unsupported(f"its {name} has {len(graph.input)} inputs, and is given {len(args)}")
        return self.run(graph, args, label)

    # ------------------------------------------------------------------------------------------- loops

    def _loop(self) -> list[Value | Refused]:
        """M rounds at most, while the condition holds: (round, condition, carried) -> (condition, carried, kept).

        Without a condition, the standard has the body's count for nothing, and onnxruntime obeys it: refused if false.
        """
        given = self.raw.args
        rounds = self._rounds(self.raw.arg(0))
        going = self.raw.arg(1)
        if rounds is not None and going is None:
            _capped(rounds)
        carried: list[Value | Refused] = [_there(value) for value in given[2:]]
        kept: list[list[Value | Refused]] = [[] for _ in range(len(self._graph("body").output) - 1 - len(carried))]
        if len(self._graph("body").output) < 1 + len(carried):
            raise Unsupported("its body gives fewer values than the loop carries")
        step = 0
        while (rounds is None or step < rounds) and (going is None or _truth(going, "how often it runs")):
            _capped(step + 1)
            flag = Constant(torch.tensor(True)) if going is None else going
            outputs = self._run("body", [Constant(torch.tensor(step)), flag, *carried], f"[{step}]")
            following = outputs[0]
            if isinstance(following, Refused):
                return [REFUSED] * (len(carried) + len(kept))
            step += 1
            going = following
            if self.raw.arg(1) is None and step != rounds and not _truth(going, "how often it runs"):
                raise Unsupported("its body ends it and it has no condition, which runtimes read differently")
            carried = outputs[1 : 1 + len(carried)]
            for row, value in zip(kept, outputs[1 + len(carried) :], strict=True):
                row.append(value)
        return self._outputs(carried, [(row, 0) for row in kept])

    def _rounds(self, value: Value | None) -> int | None:
        if value is None:
            return None
        if not isinstance(value, Constant) or value.value.numel() != 1:
            raise Unsupported("how often it runs depends on the input")
        return int(value.value)

    # ------------------------------------------------------------------------------------------- scans

    def _scan(self) -> list[Value | Refused]:
        """(states, slices of the scanned) -> (states, slices of the results), one round a slice."""
        scans = int(self.attributes.get("num_scan_inputs", 0))
        args = [_there(value) for value in self.raw.args]
        if not 0 < scans <= len(args):
            raise Unsupported(f"num_scan_inputs is {scans}, of {len(args)} inputs")
        states, scanned = args[: len(args) - scans], args[len(args) - scans :]
        kept = len(self._graph("body").output) - len(states)
        axes = self._listed("scan_input_axes", scans)
        places = [_axis(axis, len(value.shape)) for axis, value in zip(axes, scanned, strict=True)]
        backward = self._listed("scan_input_directions", scans)
        lengths = {value.shape[axis] for value, axis in zip(scanned, places, strict=True)}
        if len(lengths) != 1:
            raise Unsupported("the values it scans differ in length")
        (length,) = lengths
        last, rows = self._rounds_of(states, list(zip(scanned, places, backward, strict=True)), length, kept)
        axes, backward = self._listed("scan_output_axes", kept), self._listed("scan_output_directions", kept)
        turned = [row[::-1] if back else row for row, back in zip(rows, backward, strict=True)]
        return self._outputs(last, list(zip(turned, axes, strict=True)))

    def _rounds_of(
        self,
        states: Sequence[Value | Refused],
        scanned: Sequence[tuple[Value, int, int]],
        length: int,
        kept: int,
        label: str = "",
    ) -> tuple[list[Value | Refused], list[list[Value | Refused]]]:
        """The last states, and for each result what every round gave. scanned: (value, axis, whether backward)."""
        if kept < 0:
            raise Unsupported("its body gives fewer values than the scan carries")
        rows: list[list[Value | Refused]] = [[] for _ in range(kept)]
        carried = list(states)
        for step in range(length):
            _capped(step + 1)
            slices = [self._slice(v, axis, length - 1 - step if back else step) for v, axis, back in scanned]
            outputs = self._run("body", [*carried, *slices], f"{label}[{step}]")
            carried = outputs[: len(carried)]
            for row, value in zip(rows, outputs[len(carried) :], strict=True):
                row.append(value)
        return carried, rows

    def _scan_batches(self) -> list[Value | Refused]:
        """Revision 8: every value has a batch axis in front, and the scanned ones their rounds in axis 1."""
        if self.raw.arg(0) is not None:
            raise Unsupported("its sequence lengths are not supported")
        scans = int(self.attributes.get("num_scan_inputs", 0))
        args = [_there(value) for value in self.raw.args[1:]]
        if not 0 < scans <= len(args) or any(len(value.shape) < 1 for value in args):
            raise Unsupported(f"num_scan_inputs is {scans}, of {len(args)} inputs")
        backward = self._listed("directions", scans)
        states, scanned = args[: len(args) - scans], args[len(args) - scans :]
        kept = len(self._graph("body").output) - len(states)
        sizes = {value.shape[0] for value in args}
        lengths = {value.shape[1] for value in scanned if len(value.shape) > 1}
        if len(sizes) != 1 or len(lengths) != 1:
            raise Unsupported("the values it scans differ in length")
        (size,), (length,) = sizes, lengths
        batches = []
        for row in range(size):
            first = [self._slice(value, 0, row) for value in states]
            inner = [(self._slice(value, 0, row), 0, back) for value, back in zip(scanned, backward, strict=True)]
            last, rows = self._rounds_of(first, inner, length, kept, f"[{row}]")
            batches.append(self._outputs(last, [(found, 0) for found in rows]))
        return [self._stacked(list(column), 0) for column in zip(*batches, strict=True)]

    def _listed(self, name: str, count: int) -> list[int]:
        values = list(self.attributes.get(name, [0] * count))
        if len(values) != count:
            raise Unsupported(f"{name} has {len(values)} numbers for {count} values")
        return values

    # ------------------------------------------------------------------------------------------- slices

    def _slice(self, value: Value, axis: int, place: int) -> Value:
        if isinstance(value, Constant):
            return Constant(value.value.select(axis, place))
        return self.raw.pick(value, lambda places: places.select(axis, place))

    def _outputs(
        self, states: Sequence[Value | Refused], rows: Sequence[tuple[Sequence[Value | Refused], int]]
    ) -> list[Value | Refused]:
        """The states, and every row stacked along its axis, as far as something uses them."""
        used = max(0, self.raw.needed - len(states))
        return [*states, *(self._stacked(row, axis) for row, axis in rows[:used])]

    def _stacked(self, row: Sequence[Value | Refused], axis: int) -> Value | Refused:
        """The values of all rounds along a new axis."""
        values = [value for value in row if not isinstance(value, Refused)]
        if len(values) < len(row):
            return REFUSED
        if not values:
            raise Unsupported("it runs for no round, so that one of its results is empty")
        if len({value.shape for value in values}) > 1:
            raise Unsupported("its rounds give results of different shapes")
        at = _axis(axis, len(values[0].shape) + 1)
        if all(isinstance(value, Constant) for value in values):
            return Constant(torch.stack([value.value for value in values if isinstance(value, Constant)], at))
        wide = [self._widened(value, at) for value in values]
        raw = self.raw
        joined = RawNode("Concat", raw.name, self.concat, tuple(wide), 1, 1, raw.emit)
        return parse(joined, {"axis": at})[0]

    def _widened(self, value: Value, axis: int) -> Value:
        shape = (*value.shape[:axis], 1, *value.shape[axis:])
        if isinstance(value, Constant):
            return Constant(value.value.reshape(shape))
        return self.raw.reshape(value, shape)


def _there(value: Value | None) -> Value:
    if value is None:
        raise Unsupported("one of the values it carries is left out")
    return value


def _truth(value: Value | Refused | None, what: str) -> bool:
    if not isinstance(value, Constant) or value.value.numel() != 1:
        raise Unsupported(f"{what} depends on the input")
    return bool(value.value)


def _axis(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise Unsupported(f"axis {axis} is not one of {rank}")
    return axis % rank


def _capped(rounds: int) -> None:
    if rounds > MAX_ROUNDS:
        raise Unsupported(f"it runs for more than {MAX_ROUNDS} rounds")
