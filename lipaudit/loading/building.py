"""Builder: walks an ONNX graph in dependency order, folding what is constant and collecting what is refused."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import defs, helper

from lipaudit.errors import Discontinuous, InvalidInput, LipauditError, Unsupported, UsageError, one_word
from lipaudit.graph.graph import Node
from lipaudit.loading.conformity import conform, conform_types
from lipaudit.loading.constants import constant, evaluate, non_finite
from lipaudit.loading.kinds import Kind, as_numbers, kinds_of, stored_type, with_output_type
from lipaudit.loading.masks import Mask, carried, is_mask, unmasked
from lipaudit.loading.model import Refusal
from lipaudit.loading.scopes import REFUSED, Names, Refused, Scope, all_graphs
from lipaudit.loading.unrolling import Control, Run
from lipaudit.ops.control import CONTROL
from lipaudit.ops.discontinuous import reason as jump
from lipaudit.ops.op import Op
from lipaudit.ops.registry import Constant, Data, RawNode, Value, jump_registry, parse, room

MAX_NODES = 50_000
MAX_STEPS = 100_000
"""Nodes of the file that are looked at, each as often as it is run."""
MAX_TOTAL = 2**30
"""Of all values of a graph together."""


class Builder:
    """Builds the nodes of one graph. Its lists grow while `run` works: nodes, refusals, assumptions.

    opened: inputs with axes other than the first that the file leaves open, and which these are.
    """

    def __init__(
        self, proto: onnx.GraphProto, opset: int, path: Path, names: dict[int, Names] | None = None, jumps: bool = False
    ) -> None:
        self.proto, self.opset, self.path, self.jumps = proto, opset, path, jumps
        self._kinds: dict[int, Kind] = {}
        self.nodes: list[Node] = []
        self.refusals: list[Refusal] = []
        self.input_refusals: list[Refusal] = []
        self.assumptions: list[str] = []
        self.opened: list[tuple[str, str]] = []
        self._integer_inputs: dict[str, str] = {}
        self._unset: set[str] = set()
        self._folded: list[str] = []
        self._masks: dict[int, Mask] = {}
        self._entries = self._steps = 0
        if len(proto.node) > MAX_NODES:
            raise InvalidInput(f"model {path} has {len(proto.node)} nodes, more than the {MAX_NODES} that are read")
        self._names = {id(proto): Names(proto, path)} if names is None else names
        self._scope = Scope(self._names[id(proto)])

    def again(self, *, jumps: bool | None = None) -> Builder:
        """A builder of the same graph with nothing bound, which shares the constants that were read."""
        return Builder(self.proto, self.opset, self.path, self._names, self.jumps if jumps is None else jumps)

    def bind(self, name: str, value: Value) -> None:
        self._scope.values[name] = value

    def refuse_input(self, name: str, dtype: str) -> None:
        """An input of whole numbers has no Jacobian: refused where the output depends on it."""
        why = f"input {name!r} is of type {dtype}: a function of whole numbers has no Lipschitz constant; hold it with "
        why += f"--fix {one_word(name)}=VALUE"
        self.input_refusals.append(Refusal("input", name, why, "LIP104"))
        self._integer_inputs[name] = why

    def leave_unset(self, name: str) -> None:
        """An input that neither varies nor has a value: an error where the output depends on it."""
        self._unset.add(name)

    def emit_named(self, name: str, kind: str, op: Op, *args: Data) -> Data:
        """Adds a node and gives its value."""
        if (given := tuple(arg.shape for arg in args)) != op.in_shapes:
            raise ValueError(f"it takes {op.in_shapes}, not {given}")
        mask = carried(op, args, self._masks)
        room(*op.out_shape)
        if 0 in op.out_shape:
            raise Unsupported(f"its result of shape {list(op.out_shape)} is empty")
        if len(self.nodes) >= MAX_NODES:
            raise Unsupported(f"it is unrolled into more than {MAX_NODES} steps")
        self._entries += math.prod(op.out_shape)
        if self._entries > MAX_TOTAL:
            raise Unsupported("the values up to this one have too many entries in all")
        self.nodes.append(Node(name, kind, op, tuple(arg.number for arg in args), (name,)))
        if mask is not None:
            self._masks[len(self.nodes)] = mask
        return Data(len(self.nodes), op.out_shape)

    def run(self, wanted: Sequence[str]) -> list[Value | None]:
        """The values of the wanted names; None where a refusal stands in self.refusals."""
        self._scope.used.update(wanted)
        found = self._values(self._scope, wanted)
        for value in found:
            if isinstance(value, Data) and value.number in self._masks:
                raise self._masks[value.number].refusal
        if self._folded:
            count, first = len(self._folded), self._folded[0]
            self.assumptions.append(f"{count} constant arithmetic node(s), from {first}, were folded in float64")
        return [None if isinstance(value, Refused) else value for value in found]

    def needed(self, wanted: Sequence[str]) -> list[onnx.NodeProto]:
        """The nodes of the file that the wanted values need, with what the graphs inside them read."""
        return self._scope.names.order(wanted, inner=True)

    def _values(self, scope: Scope, wanted: Sequence[str]) -> list[Value | Refused]:
        for node in scope.names.order(wanted, done=scope.done, running=scope.running):
            if id(node) not in scope.done:  # a graph inside an earlier one may have asked for it
                self._step(node, scope)
        return [self._lookup(name, scope) for name in wanted]

    def _lookup(self, name: str, scope: Scope) -> Value | Refused:
        if name in scope.values:
            return scope.values[name]
        if name in scope.names.stored:
            if name not in scope.names.loaded:
                scope.names.loaded[name] = self._load(scope.names.stored[name])
            return scope.names.loaded[name]
        if (maker := scope.names.producer.get(name)) is not None:
            if id(maker) not in scope.done:
                return self._values(scope, [name])[0]
            # the node was read, and its rule gives fewer outputs than the node names
            reason = f"its output {name!r} is used, for which there is no rule"
            self.refusals.append(Refusal(maker.op_type, maker.name or name, reason))
            scope.values[name] = REFUSED
            return REFUSED
        if scope.outer is not None:
            return self._lookup(name, scope.outer)
        if name in self._unset:
            said = f"the audited output depends on input {name!r}, which neither varies nor has a value"
            word = one_word(name)
            raise UsageError(f"{said}; give it one with --fix {word}=NUMBER or --fix {word}=FILE.npy")
        if name not in self._integer_inputs:
            raise InvalidInput(f"model {self.path} uses the value {name!r}, which nothing defines")
        self.refusals.append(Refusal("input", name, self._integer_inputs[name], "LIP104"))
        scope.values[name] = REFUSED
        return REFUSED

    def _load(self, tensor: onnx.TensorProto) -> Constant | Refused:
        try:
            value = constant(tensor, self.path)
        except Unsupported as error:
            self.refusals.append(Refusal("initializer", tensor.name, str(error)))
            return REFUSED
        if not is_mask(value):
            self._check_finite(value, tensor.name)
        return value

    def _check_finite(self, value: Constant, name: str) -> None:
        if (index := non_finite(value)) is not None:
            at = float(value.value[index])
            raise InvalidInput(f"model {self.path}: weight {name!r} holds {at} at index {list(index)}")

    def _step(self, proto: onnx.NodeProto, scope: Scope) -> None:
        name = (proto.name or next((n for n in proto.output if n), proto.op_type)) + scope.label
        args = [self._lookup(n, scope) if n else None for n in proto.input]
        refused = any(isinstance(arg, Refused) for arg in args)
        scope.running.add(id(proto))
        if not refused:
            try:
                self._steps += 1
                if self._steps > MAX_STEPS:
                    raise Unsupported(f"it is unrolled into more than {MAX_STEPS} steps")
                results = self._outcome(proto, name, [a for a in args if not isinstance(a, Refused)], scope)
                for target, value in zip(proto.output, results, strict=False):
                    if target:
                        scope.values[target] = value
            except Unsupported as error:
                code = "LIP105" if isinstance(error, Discontinuous) else "LIP101"
                self.refusals.append(Refusal(proto.op_type, name, str(error), code))
                refused = True
            except (ValueError, LookupError, ArithmeticError, RuntimeError, TypeError, StopIteration) as error:
                # a shape or an attribute that torch or a family rejects: the file is odd, not our arithmetic
                detail = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
                self.refusals.append(Refusal(proto.op_type, name, f"it does not fit its inputs ({detail})"))
                refused = True
        if refused:
            for target in filter(None, proto.output):
                scope.values.setdefault(target, REFUSED)
        scope.running.discard(id(proto))
        scope.done.add(id(proto))

    def _outcome(
        self, proto: onnx.NodeProto, name: str, args: list[Value | None], scope: Scope
    ) -> Sequence[Value | Refused]:
        if proto.domain not in ("", "ai.onnx"):
            raise Unsupported(f"it belongs to the domain {proto.domain!r}, of which no rule is known")
        schema = self._schema(proto.op_type)
        conform(proto, schema)
        if proto.op_type in CONTROL:
            raw = self._raw(proto, name, args, scope, int(schema.since_version))
            return Control(raw, _graph_attributes(proto), self._runner(scope), self._revision("Concat")).results()
        if proto.op_type == "Constant":
            return [self._constant_node(proto, name)]
        if proto.op_type in ("Shape", "Size", "EyeLike") and isinstance(args[0], Data):
            return evaluate(proto, [_placeholder(args[0])], self.opset, 1)
        if proto.op_type == "CastLike" and isinstance(args[0], Constant):
            return [self._cast_like(args[0], args[1])]
        if all(arg is None or isinstance(arg, Constant) for arg in args):
            return self._fold(proto, name, [a if isinstance(a, Constant) else None for a in args])
        if (why := jump(proto.op_type)) is not None and not (self.jumps and proto.op_type in jump_registry()):
            raise Discontinuous(why)
        numbers = as_numbers(proto.op_type, args, self._kinds, schema)
        conform_types(numbers, schema)
        hidden = unmasked(proto.op_type, numbers)
        given = numbers if hidden is None else hidden[0]
        for arg, label in zip(given, proto.input, strict=True):
            if isinstance(arg, Constant):
                self._check_finite(arg, label)
        raw = self._raw(proto, name, given, scope, int(schema.since_version))
        attributes = {a.name: _attribute(a) for a in proto.attribute}
        if self.jumps and len(proto.input) > 2:
            zero = stored_type(proto.input[2], scope.names.stored, scope.names.producer)
            attributes = with_output_type(proto.op_type, attributes, zero, bool(proto.input[2]))
        results = parse(raw, attributes, jumps=self.jumps)
        for place, result in enumerate(results if self.jumps else ()):
            if (kind := kinds_of(proto, schema, args, self._kinds, place)) != "real":
                self._kinds[result.number] = kind
        if hidden is not None:
            self._masks[results[0].number] = Mask(hidden[1], self._mask_refusal(args, proto, scope))
        return results

    def _mask_refusal(self, args: Sequence[Value | None], proto: onnx.NodeProto, scope: Scope) -> LipauditError:
        """What to say where something else than a softmax reads what this node masks."""
        label = next(n for n, arg in zip(proto.input, args, strict=True) if is_mask(arg))
        if label not in scope.names.stored:
            return Unsupported(f"value {label!r} holds -inf, which only a softmax behind it may read")
        value = scope.names.loaded[label]
        assert isinstance(value, Constant)
        index = list(non_finite(value) or ())
        return InvalidInput(f"model {self.path}: weight {label!r} holds -inf at index {index}")

    def _raw(
        self, proto: onnx.NodeProto, name: str, args: Sequence[Value | None], scope: Scope, version: int
    ) -> RawNode:
        named = max((place + 1 for place, n in enumerate(proto.output) if n), default=0)
        needed = max((place + 1 for place, n in enumerate(proto.output) if n in scope.used), default=0)

        def emit(op: Op, *data: Data) -> Data:
            return self.emit_named(name, proto.op_type, op, *data)

        return RawNode(
            proto.op_type,
            name,
            version,
            tuple(args),
            named,
            needed,
            emit,
            {n: mask.keep for n, mask in self._masks.items()},
        )

    def _runner(self, scope: Scope) -> Run:
        """Runs a graph inside a node, in a scope of its own within the node's."""

        def run(graph: onnx.GraphProto, args: Sequence[Value | Refused], label: str) -> list[Value | Refused]:
            if id(graph) not in self._names:
                self._names[id(graph)] = Names(graph, self.path)
            wanted = [info.name for info in graph.output]
            given = {info.name: value for info, value in zip(graph.input, args, strict=True)}
            return self._values(Scope(self._names[id(graph)], scope, given, scope.label + label, wanted), wanted)

        return run

    def _revision(self, op: str) -> int:
        return int(self._schema(op).since_version)

    def _schema(self, op: str) -> defs.OpSchema:
        try:
            return defs.get_schema(op, self.opset, "")
        except defs.SchemaError:
            raise Unsupported(f"opset {self.opset} has no op of this name") from None

    def _constant_node(self, proto: onnx.NodeProto, name: str) -> Constant:
        (attribute,) = proto.attribute
        if attribute.name == "value":
            value = constant(attribute.t, self.path)
        else:
            kinds = {"value_float": float, "value_floats": float, "value_int": int, "value_ints": int}
            if attribute.name not in kinds:
                raise Unsupported(f"a constant given as {attribute.name!r} is not supported")
            import numpy as np

            from lipaudit.loading.constants import from_array

            kind = np.float32 if kinds[attribute.name] is float else np.int64
            value = from_array(np.asarray(_attribute(attribute), dtype=kind))
        if not is_mask(value):
            self._check_finite(value, name)
        return value

    def _cast_like(self, value: Constant, like: Value | None) -> Constant:
        """A constant in the real type of another value. Its width is not known here, so nothing may be rounded."""
        if isinstance(like, Constant) and not like.real:
            raise Unsupported("a cast to the type of an integer or boolean constant is not folded")
        real = value.value.double()
        narrow = {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
        types = {info.type.tensor_type.elem_type for info in self.proto.input}
        for graph in all_graphs(self.proto):
            types |= {tensor.data_type for tensor in graph.initializer}
            types |= {a.i for node in graph.node if node.op_type == "Cast" for a in node.attribute if a.name == "to"}
        if not bool((real == (real.half() if types & narrow else real.float()).double()).all()):
            raise Unsupported("it may round a constant to a type that is not known here")
        return Constant(real)

    def _fold(self, proto: onnx.NodeProto, name: str, args: list[Constant | None]) -> list[Constant]:
        results = evaluate(proto, args, self.opset, len(proto.output))
        if any(non_finite(result) is not None and not is_mask(result) for result in results):
            raise Unsupported("the constants it computes with give a number that is not finite")
        if proto.op_type not in _EXACT and any(r.real for r in results):
            self._folded.append(name)
        return results


def _placeholder(data: Data) -> Constant:
    return Constant(torch.zeros(1, dtype=torch.float64).expand(data.shape))


def _graph_attributes(proto: onnx.NodeProto) -> Mapping[str, Any]:
    """The attributes of a control-flow node, its graphs as they stand in the file (and not copies of them)."""
    plain = {a.name: _attribute(a) for a in proto.attribute if a.type != onnx.AttributeProto.GRAPH}
    return plain | {a.name: a.g for a in proto.attribute if a.type == onnx.AttributeProto.GRAPH}


def _attribute(attribute: onnx.AttributeProto) -> Any:
    """The value as a Python number, list or string. Raises Unsupported for tensors and graphs."""
    if attribute.ref_attr_name:
        raise Unsupported(f"attribute {attribute.name!r} refers to a function's")
    value = helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, int | float):
        return value
    if attribute.type in (onnx.AttributeProto.INTS, onnx.AttributeProto.FLOATS):
        return list(value)
    if attribute.type == onnx.AttributeProto.STRINGS:
        return [item.decode("utf-8", "replace") for item in value]
    raise Unsupported(f"attribute {attribute.name!r} is of a type that is not supported")


def dtype_name(elem_type: int) -> str:
    """'float32' for the protobuf's number."""
    known = {1: "float32", 10: "float16", 11: "float64", 16: "bfloat16"}
    if elem_type in known:
        return known[elem_type]
    try:
        return str(onnx.TensorProto.DataType.Name(elem_type)).lower()
    except ValueError:
        return f"type {elem_type}"


_EXACT = frozenset(
    "Abs Cast Clip Concat Constant ConstantOfShape Expand EyeLike Flatten Gather GatherElements GatherND Identity Max "
    "Min Neg Pad Range Relu Reshape ScatterElements ScatterND Shape Sign Size Slice Split Squeeze Tile Transpose Trilu "
    "Unsqueeze Where".split()
)
"""Folded without any rounding."""
