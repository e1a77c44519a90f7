"""RNN, GRU and LSTM, unrolled over their constant sequence length into affine maps, gates and products.

The gates are bounded (a sigmoid in [0, 1], a tanh in [-1, 1]), so every product of two of them has a finite gain over
all inputs: |h| <= 1, and an LSTM's |c_t| <= |c_0| + t.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from lipaudit.errors import Unsupported
from lipaudit.linear.map import LinearMap, Shape
from lipaudit.linear.selection import NOTHING, Selection
from lipaudit.ops import activations
from lipaudit.ops.affine import Affine
from lipaudit.ops.bilinear import Multiply
from lipaudit.ops.elementwise import Elementwise
from lipaudit.ops.onnx.cells import Cell
from lipaudit.ops.registry import Constant, Data, RawNode, Value, onnx_op
from lipaudit.ops.scalar import Scalar

MOST_STEPS = 2048
"""Longer sequences are refused: every step is a dozen nodes."""

_FUNCTIONS: dict[str, Callable[[], Scalar]] = {
    "sigmoid": activations.sigmoid,
    "tanh": activations.tanh,
    "relu": activations.relu,
    "softsign": activations.softsign,
    "softplus": activations.softplus,
}


State = tuple[Value, Value]
Step = Callable[[Cell, Data, State], tuple[Data, State]]


@onnx_op("RNN", versions=(1, 7, 14, 22))
def _rnn(
    node: RawNode,
    *,
    hidden_size: int | None = None,
    activations: list[str] | None = None,
    activation_alpha: list[float] | None = None,
    activation_beta: list[float] | None = None,
    clip: float | None = None,
    direction: str = "forward",
    layout: int = 0,
    output_sequence: int = 0,
) -> tuple[Data, ...]:
    """unrolled: certified norms of W and R, once a step"""

    def step(cell: Cell, x: Data, state: State) -> tuple[Data, State]:
        h = cell.gate(0, cell.functions[0], x, state[0])
        return h, (h, h)

    _plain(activation_alpha, activation_beta, clip)
    return _unrolled(node, step, ("tanh",), activations, direction, layout)[:2]


@onnx_op("GRU", versions=(1, 3, 7, 14, 22))
def _gru(
    node: RawNode,
    *,
    hidden_size: int | None = None,
    activations: list[str] | None = None,
    activation_alpha: list[float] | None = None,
    activation_beta: list[float] | None = None,
    clip: float | None = None,
    direction: str = "forward",
    layout: int = 0,
    linear_before_reset: int = 0,
    output_sequence: int = 0,
) -> tuple[Data, ...]:
    """unrolled: certified norms of W and R, gates and states bounded by 1"""

    def step(cell: Cell, x: Data, state: State) -> tuple[Data, State]:
        sigma, squash = cell.functions
        h = state[0]
        z, r = cell.gate(0, sigma, x, h), cell.gate(1, sigma, x, h)
        n = _candidate(cell, squash, x, h, r, bool(linear_before_reset))
        new = cell.plus(cell.times(cell.complement(z), n), cell.times(z, h))
        return new, (new, new)

    _plain(activation_alpha, activation_beta, clip)
    return _unrolled(node, step, ("sigmoid", "tanh"), activations, direction, layout)[:2]


def _candidate(cell: Cell, squash: Scalar, x: Data, h: Value, r: Data, before: bool) -> Data:
    """g(W x + R (r h) + biases), or with linear_before_reset g(W x + b_W + r (R h + b_R))."""
    w, u = cell.rows(cell.input_weight, 2), cell.rows(cell.hidden_weight, 2)
    b, c = cell.rows(cell.input_bias, 2), cell.rows(cell.hidden_bias, 2)
    same = Selection.reshape(cell.shape, cell.shape)
    if not before:
        pre = cell.sum([(x, cell.dense(w)), (cell.times(r, h), cell.dense(u))], b + c, b.abs() + c.abs())
        return cell.apply(squash, pre)
    inner: list[tuple[Value, LinearMap]] = [(h, cell.dense(u))]
    still = isinstance(h, Constant)
    gated = cell.times(r, cell.constant(x, inner, c) if still else cell.sum(inner, c, torch.zeros_like(c)))
    return cell.apply(squash, cell.sum([(x, cell.dense(w)), (gated, same)], b, torch.zeros_like(b)))


@onnx_op("LSTM", versions=(1, 7, 14, 22))
def _lstm(
    node: RawNode,
    *,
    hidden_size: int | None = None,
    activations: list[str] | None = None,
    activation_alpha: list[float] | None = None,
    activation_beta: list[float] | None = None,
    clip: float | None = None,
    direction: str = "forward",
    input_forget: int = 0,
    layout: int = 0,
    output_sequence: int = 0,
) -> tuple[Data, ...]:
    """unrolled: certified norms of W and R, gates bounded by 1, |c_t| by |c_0| + t"""

    def step(cell: Cell, x: Data, state: State) -> tuple[Data, State]:
        sigma, squash, last = cell.functions
        h, c = state
        i = cell.gate(0, sigma, x, h, c, 0)
        f = cell.complement(i) if input_forget else cell.gate(2, sigma, x, h, c, 2)
        g = cell.gate(3, squash, x, h)
        new = cell.plus(cell.times(f, c), cell.node.emit(Multiply(cell.shape), i, g))
        o = cell.gate(1, sigma, x, h, new, 1)
        out = cell.node.emit(Multiply(cell.shape), o, cell.node.emit(Elementwise(last, cell.shape), new))
        return out, (out, new)

    _plain(activation_alpha, activation_beta, clip)
    return _unrolled(node, step, ("sigmoid", "tanh", "tanh"), activations, direction, layout)


def _plain(alpha: list[float] | None, beta: list[float] | None, clip: float | None) -> None:
    if alpha or beta:
        raise Unsupported("parameters of its activations are not supported")
    if clip:
        raise Unsupported("clipping the inputs of its activations is not supported")


def _unrolled(
    node: RawNode,
    step: Step,
    default: tuple[str, ...],
    named: list[str] | None,
    direction: str,
    layout: int,
) -> tuple[Data, ...]:
    """(Y, Y_h, Y_c) of all directions."""
    if direction not in ("forward", "reverse", "bidirectional", "foward"):  # the first GRU's default is misspelt
        raise Unsupported(f"direction {direction!r} is not known")
    x = node.data()
    if layout:
        x = node.pick(x, lambda places: places.transpose(0, 1))
    length, batch, _ = x.shape
    if not 1 <= length <= MOST_STEPS:
        raise Unsupported(f"its sequence has {length} steps, of which 1 to {MOST_STEPS} are unrolled")
    lengths = node.optional(4, "sequence lengths")
    if lengths is not None and any(int(n) != length for n in lengths):
        raise Unsupported("sequences shorter than the input are not supported")
    count = 2 if direction == "bidirectional" else 1
    functions = _functions(named, default, count)
    inputs = [node.pick(x, lambda places, at=t: places[at]) for t in range(length)]  # type: ignore[misc]
    outputs: list[list[Data]] = []
    finals: list[State] = []
    for place in range(count):
        cell = _cell(node, place, functions[place], batch, len(default))
        backward = direction == "reverse" or place == 1
        state = (_initial(node, 5, place, cell, layout), _initial(node, 6, place, cell, layout))
        steps: list[Data] = []
        for at in reversed(range(length)) if backward else range(length):
            out, state = step(cell, inputs[at], state)
            steps.append(out)
        outputs.append(steps[::-1] if backward else steps)
        finals.append(state)
    hidden = outputs[0][0].shape[1]
    sequence = [outputs[place][at] for at in range(length) for place in range(count)]
    y = _stacked(node, sequence, (length, count, batch, hidden))
    ends = [_stacked(node, [_data(f[which]) for f in finals], (count, batch, hidden)) for which in (0, 1)]
    if layout:
        y = node.pick(y, lambda places: places.permute(2, 0, 1, 3))
        ends = [node.pick(end, lambda places: places.transpose(0, 1)) for end in ends]
    return (y, *ends)


def _data(value: Value) -> Data:
    assert isinstance(value, Data)
    return value


def _functions(named: list[str] | None, default: tuple[str, ...], count: int) -> list[tuple[Scalar, ...]]:
    names = [name.lower() for name in named] if named else list(default) * count
    if len(names) < len(default) * count:
        raise Unsupported(f"it names {len(names)} activations, fewer than {len(default) * count}")
    unknown = [name for name in names if name not in _FUNCTIONS]
    if unknown:
        raise Unsupported(f"activation {unknown[0]!r} is not supported here (known: {', '.join(_FUNCTIONS)})")
    size = len(default)
    return [tuple(_FUNCTIONS[name]() for name in names[place * size : (place + 1) * size]) for place in range(count)]


def _cell(node: RawNode, place: int, functions: tuple[Scalar, ...], batch: int, kinds: int) -> Cell:
    w, r = node.constant(1, "input weight").double()[place], node.constant(2, "recurrent weight").double()[place]
    bias, peep = node.optional(3, "bias"), node.optional(7, "peephole weight") if kinds == 3 else None
    both = torch.zeros(2 * len(w), dtype=torch.float64) if bias is None else bias.double()[place]
    holes = None if peep is None else peep.double()[place]
    return Cell(node, w, r, both[: len(w)], both[len(w) :], holes, functions, batch)


def _initial(node: RawNode, at: int, place: int, cell: Cell, layout: int) -> Value:
    """The first state of one direction, [batch, hidden]; 0 where it is left out."""
    value = node.arg(at)
    if value is None:
        return Constant(torch.zeros(cell.shape, dtype=torch.float64))
    if isinstance(value, Constant):
        return Constant(value.value[:, place] if layout else value.value[place])
    return node.pick(value, lambda places: places[:, place] if layout else places[place])


def _stacked(node: RawNode, parts: list[Data], target: Shape) -> Data:
    """The parts, in order, as one tensor."""
    size = math.prod(parts[0].shape)
    maps = []
    for place, part in enumerate(parts):
        index = torch.full((len(parts), size), NOTHING)
        index[place] = torch.arange(size)
        maps.append(Selection.of(part.shape, index.reshape(target)))
    return node.emit(Affine(tuple(maps)), *parts)
