"""A node against the standard's own signature of its op, so that no rule has to doubt what it is called with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import cast

import onnx
from onnx import defs

from lipaudit.errors import Unsupported
from lipaudit.ops.registry import Constant, Data, Value


def conform(node: onnx.NodeProto, schema: defs.OpSchema) -> None:
    """Raises Unsupported for attributes that are doubled, missing or of another type, and for too many or too few
    arguments. Unknown attributes are left to the op's rule, which names what it knows."""
    doubled = [name for name, count in Counter(a.name for a in node.attribute).items() if count > 1]
    if doubled:
        raise Unsupported(f"attribute {doubled[0]!r} is given twice")
    known = schema.attributes
    for attribute in node.attribute:
        if attribute.name in known and cast("int", known[attribute.name].type) != attribute.type:
            raise Unsupported(f"attribute {attribute.name!r} is not of the type that {schema.name} has it in")
    given = {attribute.name for attribute in node.attribute}
    missing = sorted(name for name, entry in known.items() if entry.required and name not in given)
    if missing:
        raise Unsupported(f"attribute {missing[0]!r} is missing")
    _count(node.input, schema.inputs, schema.min_input, schema.max_input, "argument", schema.name)
    _count(node.output, schema.outputs, schema.min_output, schema.max_output, "output", schema.name)


def conform_types(args: Sequence[Value | None], schema: defs.OpSchema) -> None:
    """Raises Unsupported for a constant of whole numbers or booleans where the op wants the type of real data."""
    formal = schema.inputs
    kinds = [formal[min(place, len(formal) - 1)].type_str for place in range(len(args))]
    real = {kind for kind, arg in zip(kinds, args, strict=True) if isinstance(arg, Data)}
    for place, (kind, arg) in enumerate(zip(kinds, args, strict=True), start=1):
        if isinstance(arg, Constant) and not arg.real and kind in real:
            raise Unsupported(f"argument {place} is not of the type of the data beside it")


def _count(
    names: Sequence[str], formal: Sequence[defs.OpSchema.FormalParameter], least: int, most: int, what: str, op: str
) -> None:
    if not least <= len(names) <= most:
        raise Unsupported(f"it has {len(names)} {what}(s), and {op} has {least} to {most}")
    for place, name in enumerate(names):
        parameter = formal[min(place, len(formal) - 1)]
        if not name and parameter.option != defs.OpSchema.FormalParameterOption.Optional:
            raise Unsupported(f"{what} {place + 1} is left out, and {op} needs it")
