"""Which inputs vary, which are held at a value, and in what shapes: the source of the graph that is built."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import onnx
import torch
from onnx import helper

from lipaudit.errors import UsageError, one_word
from lipaudit.linear.map import Shape
from lipaudit.linear.selection import Selection
from lipaudit.loading.building import Builder, dtype_name
from lipaudit.loading.constants import from_array
from lipaudit.loading.model import REALS, Refusal, RefusedModel, TensorFacts
from lipaudit.ops.affine import Affine
from lipaudit.ops.registry import MAX_ENTRIES, Data


@final
@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """The value of an input that does not vary: a number, or an array of its shape. source: as the user wrote it."""

    value: float | np.ndarray
    source: str


@final
@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """What the user says of the inputs. shapes: of those whose axes are open; varying: () for all that are not held."""

    shapes: Mapping[str, Shape]
    varying: tuple[str, ...] = ()
    held: Mapping[str, Held] | None = None

    def checked(self, known: Sequence[str]) -> Choice:
        """Itself. Raises UsageError for names that the model does not have, and for an input both varying and held."""
        held = self.held or {}
        for option, names in (("--shape", self.shapes), ("--input", self.varying), ("--fix", held)):
            if unknown := sorted(set(names) - set(known)):
                raise UsageError(f"{option} names {unknown[0]!r}, which is no input of the model ({', '.join(known)})")
        if both := sorted(set(self.varying) & set(held)):
            raise UsageError(f"input {both[0]!r} cannot both vary (--input) and have a value (--fix)")
        return self


def read_inputs(builder: Builder, choice: Choice) -> tuple[tuple[TensorFacts, ...], dict[str, np.ndarray]]:
    """The facts of every input, and the arrays that some are held at, in the inputs' own types."""
    initialisers = {tensor.name for tensor in builder.proto.initializer}
    found = [info for info in builder.proto.input if info.name not in initialisers]
    choice.checked([info.name for info in found])
    facts, arrays = [], {}
    for info in found:
        held = (choice.held or {}).get(info.name)
        given = choice.shapes.get(info.name)
        if held is not None and isinstance(held.value, np.ndarray) and given is None:
            given = tuple(held.value.shape)
        fact = _facts(info, given, builder, held)
        facts.append(fact)
        if held is not None:
            arrays[info.name] = _array(info, fact, held)
            builder.assumptions.append(f"input {info.name!r} is held at {held.source} (--fix)")
    return tuple(facts), arrays


def _facts(info: onnx.ValueInfoProto, given: Shape | None, builder: Builder, held: Held | None) -> TensorFacts:
    tensor = info.type.tensor_type
    dtype, source = dtype_name(tensor.elem_type), None if held is None else held.source
    declared = tuple(
        dim.dim_value if dim.HasField("dim_value") else (dim.dim_param or None) for dim in tensor.shape.dim
    )
    if not tensor.HasField("shape") and (dtype in REALS or held is not None):
        if given is None:
            raise UsageError(f"input {info.name!r} has no shape in the file; say which one to audit with --shape")
        return TensorFacts(info.name, given, dtype, (None,) * len(given), source)
    if given is not None:
        fits = len(given) == len(declared) and all(
            not isinstance(d, int) or d <= 0 or d == g for d, g in zip(declared, given, strict=False)
        )
        if not fits:
            said = f"--shape {list(given)}" if held is None else f"--fix {held.source} of shape {list(given)}"
            raise UsageError(f"{said} does not fit input {info.name!r} of shape {list(declared)}")
    elif open_axes := [str(d or "?") for d in declared[1:] if not isinstance(d, int) or d <= 0]:
        axes = f"axis {open_axes[0]} is" if len(open_axes) == 1 else f"axes {', '.join(open_axes)} are"
        builder.assumptions.append(f"of input {info.name!r} the open {axes} 1, unless --shape says otherwise")
        builder.opened.append((info.name, axes))
    shape = given or tuple(d if isinstance(d, int) and d > 0 else 1 for d in declared)
    if dtype in REALS and math.prod(shape) > MAX_ENTRIES:
        raise RefusedModel(str(builder.path), (Refusal("input", info.name, f"its shape {list(shape)} is too large"),))
    return TensorFacts(info.name, shape, dtype, declared, source)


def _array(info: onnx.ValueInfoProto, facts: TensorFacts, held: Held) -> np.ndarray:
    kind = helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type)
    if not (np.issubdtype(kind, np.number) or kind == np.bool_ or facts.dtype in REALS):
        raise UsageError(f"--fix {one_word(facts.name)}: an input of type {facts.dtype} cannot be held")
    plain = np.asarray(held.value)
    if plain.dtype.kind not in "biuf":
        raise UsageError(f"--fix {one_word(facts.name)}={held.source} holds values of type {plain.dtype}, not numbers")
    if not np.all(np.isfinite(plain)):
        raise UsageError(f"--fix {one_word(facts.name)}={held.source} holds a number that is not finite")
    if facts.dtype not in REALS and not np.array_equal(plain, plain.astype(kind)):
        raise UsageError(f"--fix {one_word(facts.name)}={held.source} is not of type {facts.dtype}")
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(np.broadcast_to(plain.astype(kind), facts.shape))
    if not np.all(np.isfinite(array.astype(np.float64))):
        raise UsageError(f"--fix {one_word(facts.name)}={held.source} is too large for type {facts.dtype}")
    return array


def bind_inputs(
    builder: Builder, inputs: tuple[TensorFacts, ...], choice: Choice, arrays: Mapping[str, np.ndarray]
) -> tuple[Shape, tuple[TensorFacts, ...]]:
    """Gives every input its value. (shape of the graph's one input, the inputs that it is cut into)

    Several varying inputs are cut out of one flat vector.
    """
    for name, array in arrays.items():
        builder.bind(name, from_array(array))
    wanted = set(choice.varying) or {facts.name for facts in inputs if facts.name not in arrays}
    for facts in inputs:
        if facts.name not in wanted and facts.name not in arrays:
            builder.leave_unset(facts.name)
        elif facts.name in wanted and facts.dtype not in REALS:
            builder.refuse_input(facts.name, facts.dtype)
    real = tuple(facts for facts in inputs if facts.name in wanted and facts.dtype in REALS)
    if not real:
        raise RefusedModel(str(builder.path), tuple(builder.input_refusals) or (_NO_INPUT,))
    if len(real) == 1:
        builder.bind(real[0].name, Data(0, real[0].shape))
        return real[0].shape, real
    total = sum(math.prod(facts.shape) for facts in real)
    if total > MAX_ENTRIES:
        reason = f"its inputs have {total} entries together, which is too many"
        raise RefusedModel(str(builder.path), (Refusal("model", "", reason),))
    start = 0
    for facts in real:
        size = math.prod(facts.shape)
        pick = torch.arange(start, start + size).reshape(facts.shape)
        cut = Affine((Selection.of((total,), pick),))
        builder.bind(facts.name, builder.emit_named(facts.name, "Input", cut, Data(0, (total,))))
        start += size
    return (total,), real


_NO_INPUT = Refusal("model", "", "it has no input that varies", "LIP104")
