"""Mutators that know the schema of an ONNX file: each turns a model into one that is a little, or very, wrong.

`mutate` is deterministic in its generator. What comes out is bytes, since some of it no protobuf object could hold.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import onnx
from google.protobuf.message import DecodeError, EncodeError
from onnx import AttributeProto, TensorProto, helper, numpy_helper

_T = TypeVar("_T")
Mutator = Callable[[onnx.ModelProto, random.Random], None]
"""Changes a model in place. Raises Inapplicable where there is nothing of its kind to change."""


class Inapplicable(Exception):
    """The model has no node, tensor or attribute that this mutator could change."""


MUTATORS: dict[str, Mutator] = {}


def mutator(fn: Mutator) -> Mutator:
    """Lists the decorated function by its name."""
    MUTATORS[fn.__name__] = fn
    return fn


def mutate(content: bytes, rng: random.Random) -> tuple[bytes, tuple[str, ...]]:
    """A mutant of a file that parses, and the names of what was done to it, in order."""
    model = onnx.ModelProto()
    model.ParseFromString(content)
    done: list[str] = []
    if rng.random() < 0.95:
        names = sorted(MUTATORS)
        wanted = rng.choice((1, 1, 1, 1, 2, 2, 3, 5))
        for _ in range(20):
            name = rng.choice(names)
            try:
                MUTATORS[name](model, rng)
            except (Inapplicable, DecodeError, EncodeError):
                continue
            done.append(name)
            if len(done) == wanted:
                break
    result = model.SerializeToString()
    if not done or rng.random() < 0.05:
        name = rng.choice(sorted(BYTES))
        result = BYTES[name](result, rng)
        done.append(name)
    return result, tuple(done)


def _one(items: Sequence[_T], rng: random.Random) -> _T:
    if not len(items):
        raise Inapplicable
    return items[rng.randrange(len(items))]


_INTS = (
    *(0, 1, -1, 2, -2, 3, 5, 7, 16, 64, 255, 1000, 65_536, 2**20, 10**7, 2**31 - 1, 2**31, 2**33, 2**40, 2**53 + 1),
    *(2**62, 2**63 - 1, -3, -4, -100, -(2**31), -(2**40), -(2**63)),
)
_FLOATS = (
    *(0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 1e-3, -1e-3, 50.0, -50.0, 1e-8, 1e-30, 1e-45, 1.2e-38, 1e8, -1e8, 1e30),
    *(3.4e38, -3.4e38, math.inf, -math.inf, math.nan),
)
_WORDS = ("", " ", "x", "SAME_UPPER", "VALID", "reflect", "wrap", "edge", "linear", "nearest", "cubic", "tanh", "none")
_NAMES = ("", " ", "a\nb", "\x1b[2J", "::error::x", "[bold]", "\u202e", "x" * 5000, "../../etc/passwd", "0", "ü", "\0")
_TYPES = (*range(26), 99, -1)
_UNARY = (
    "Relu Sigmoid Tanh Exp Log Sqrt Abs Neg Softmax LogSoftmax Elu Selu Celu Gelu Mish HardSwish HardSigmoid LeakyRelu "
    "Softplus Softsign Erf Sin Cos Tan Reciprocal Flatten Transpose Squeeze GlobalMaxPool GlobalAveragePool Identity "
    "Floor Sign Dropout LayerNormalization MeanVarianceNormalization LpNormalization ReduceMax ReduceSum ReduceMean "
    "ReduceL2 ReduceLogSumExp Size Shape Clip Cast Not ArgMax Hardmax NonZero Concat Sum Max Min Swish Shrink Sinh "
    "Acosh Asin Atanh CumSum Round Ceil Unsqueeze"
).split()
_BINARY = "Add Sub Mul Div MatMul Pow Max Min Concat Sum Mean Gemm PRelu Equal Where Gather Tile Expand Reshape".split()


# --- tensors ----------------------------------------------------------------------------------------------------------


def _tensors(model: onnx.ModelProto) -> list[TensorProto]:
    held = [a.t for node in model.graph.node for a in node.attribute if a.type == AttributeProto.TENSOR]
    return [*model.graph.initializer, *held]


def _scramble(values: list[int], rng: random.Random) -> list[int]:
    """A list of sizes or places, changed in one way."""
    new = list(values)
    match rng.randrange(6):
        case 0 if new:
            new[rng.randrange(len(new))] = rng.choice(_INTS)
        case 1:
            new.insert(rng.randrange(len(new) + 1), rng.choice((0, 1, 1, 2, -1, 2**31)))
        case 2 if new:
            del new[rng.randrange(len(new))]
        case 3:
            rng.shuffle(new)
        case 4 if new:
            place = rng.randrange(len(new))
            new[place] = max(min(new[place] + rng.choice((-1, 1)), 2**63 - 1), -(2**63))
        case _:
            new = [rng.choice(_INTS) for _ in range(rng.randrange(6))]
    return new


@mutator
def tensor_dims(model: onnx.ModelProto, rng: random.Random) -> None:
    tensor = _one(_tensors(model), rng)
    tensor.dims[:] = _scramble(list(tensor.dims), rng)


@mutator
def tensor_reshaped(model: onnx.ModelProto, rng: random.Random) -> None:
    """Other dims of the same number of entries."""
    tensor = _one(_tensors(model), rng)
    total = math.prod(tensor.dims)
    tensor.dims[:] = rng.choice(([total], [1, total], [total, 1], [1, 1, total], list(reversed(tensor.dims))))


@mutator
def tensor_resized(model: onnx.ModelProto, rng: random.Random) -> None:
    """A tensor of another shape, with data that fit it: empty, scalar, one row more or less."""
    tensor = _one(_tensors(model), rng)
    array = _array(tensor)
    shape = [min(abs(n), 64) for n in _scramble(list(array.shape), rng)]
    if math.prod(shape) > 10**5:
        raise Inapplicable
    new = numpy_helper.from_array(np.resize(array, shape) if array.size else np.zeros(shape, array.dtype), tensor.name)
    tensor.CopyFrom(new)


def _array(tensor: TensorProto) -> np.ndarray:
    try:
        return numpy_helper.to_array(tensor)
    except Exception:
        raise Inapplicable from None


@mutator
def tensor_dtype(model: onnx.ModelProto, rng: random.Random) -> None:
    _one(_tensors(model), rng).data_type = rng.choice(_TYPES)


@mutator
def tensor_cast(model: onnx.ModelProto, rng: random.Random) -> None:
    """The same values in another type."""
    tensor = _one(_tensors(model), rng)
    array = _array(tensor)
    kinds = (np.float16, np.float32, np.float64, np.int8, np.uint8, np.int32, np.int64, np.bool_, np.complex64)
    kind = rng.choice(kinds)
    with np.errstate(all="ignore"):
        tensor.CopyFrom(numpy_helper.from_array(array.astype(kind), tensor.name))


@mutator
def tensor_strings(model: onnx.ModelProto, rng: random.Random) -> None:
    tensor = _one(_tensors(model), rng)
    count = min(math.prod(max(n, 0) for n in tensor.dims), 100)
    words = TensorProto(name=tensor.name, data_type=TensorProto.STRING, dims=[count])
    words.string_data.extend([b"\xff\xfe"] * count)
    tensor.CopyFrom(words)


@mutator
def tensor_data_length(model: onnx.ModelProto, rng: random.Random) -> None:
    tensor = _one(_tensors(model), rng)
    raw = tensor.raw_data
    tensor.raw_data = rng.choice((raw[:-1], raw[: len(raw) // 2], raw + b"\0", raw + raw, b"", b"\0" * 8))


@mutator
def tensor_two_data(model: onnx.ModelProto, rng: random.Random) -> None:
    """Raw data and a list of numbers at once."""
    tensor = _one(_tensors(model), rng)
    match rng.randrange(3):
        case 0:
            tensor.float_data.extend([1.0, 2.0])
        case 1:
            tensor.int64_data.extend([1, 2])
        case _:
            tensor.int32_data.extend([1, -5])


@mutator
def tensor_typed_data(model: onnx.ModelProto, rng: random.Random) -> None:
    """The raw data as a list of numbers, as old exporters wrote them."""
    tensor = _one(_tensors(model), rng)
    flat = _array(tensor).reshape(-1)
    if flat.size > 5000 or tensor.data_type not in (TensorProto.FLOAT, TensorProto.INT64, TensorProto.DOUBLE):
        raise Inapplicable
    tensor.ClearField("raw_data")
    field = {1: tensor.float_data, 7: tensor.int64_data, 11: tensor.double_data}[tensor.data_type]
    field[:] = flat.tolist()
    if rng.random() < 0.3:
        del field[rng.randrange(len(field)) if len(field) else 0 :]


@mutator
def tensor_values(model: onnx.ModelProto, rng: random.Random) -> None:
    tensor = _one(_tensors(model), rng)
    array = _array(tensor).copy()
    if not array.size or array.dtype.kind not in "fiub":
        raise Inapplicable
    flat = array.reshape(-1)
    for _ in range(rng.choice((1, 1, 3))):
        place = rng.randrange(flat.size)
        if array.dtype.kind == "f":
            with np.errstate(all="ignore"):
                flat[place] = np.array(rng.choice(_FLOATS)).astype(array.dtype)
        else:
            flat[place] = np.array(rng.choice(_INTS), dtype=np.int64).astype(array.dtype)
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


@mutator
def tensor_scaled(model: onnx.ModelProto, rng: random.Random) -> None:
    """All values by one factor, up to what overflows and underflows."""
    tensor = _one(_tensors(model), rng)
    array = _array(tensor)
    if array.dtype.kind != "f":
        raise Inapplicable
    with np.errstate(all="ignore"):
        scaled = (array * array.dtype.type(rng.choice((0.0, -1.0, 1e-40, 1e-20, 1e20, 1e36)))).astype(array.dtype)
    tensor.CopyFrom(numpy_helper.from_array(scaled, tensor.name))


@mutator
def tensor_external(model: onnx.ModelProto, rng: random.Random) -> None:
    tensor = _one(_tensors(model), rng)
    tensor.data_location = TensorProto.EXTERNAL
    if rng.random() < 0.7:
        tensor.ClearField("raw_data")
    for key, value in (
        ("location", rng.choice(("../../etc/passwd", "/etc/passwd", "w.bin", "", "*/_ORT_MEM_ADDR_/*", "/dev/zero"))),
        ("offset", rng.choice(("0", "-1", str(2**62), "x"))),
        ("length", rng.choice(("4", "-1", str(10**15), "x"))),
    ):
        tensor.external_data.add(key=key, value=value)


@mutator
def tensor_segment(model: onnx.ModelProto, rng: random.Random) -> None:
    tensor = _one(_tensors(model), rng)
    tensor.segment.begin, tensor.segment.end = rng.choice(_INTS), rng.choice(_INTS)


@mutator
def tensor_duplicate(model: onnx.ModelProto, rng: random.Random) -> None:
    tensor = _one(model.graph.initializer, rng)
    copy = model.graph.initializer.add()
    copy.CopyFrom(tensor)
    if rng.random() < 0.5:
        copy.name += "_copy"
    if copy.raw_data and rng.random() < 0.5:
        copy.raw_data = copy.raw_data[::-1]


@mutator
def tensor_sparse(model: onnx.ModelProto, rng: random.Random) -> None:
    """A sparse initializer, under a name of its own or under that of a dense one."""
    tensor = _one(model.graph.initializer, rng)
    sparse = model.graph.sparse_initializer.add()
    sparse.values.CopyFrom(helper.make_tensor(tensor.name, TensorProto.FLOAT, [1], [7.0]))
    sparse.indices.CopyFrom(helper.make_tensor("", TensorProto.INT64, [1], [rng.choice((0, 1, -1, 2**40))]))
    sparse.dims.extend(tensor.dims)
    if rng.random() < 0.6:
        model.graph.initializer.remove(tensor)


@mutator
def initializer_to_input(model: onnx.ModelProto, rng: random.Random) -> None:
    tensor = _one(model.graph.initializer, rng)
    model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    model.graph.initializer.remove(tensor)


@mutator
def initializer_listed(model: onnx.ModelProto, rng: random.Random) -> None:
    """A default value of an input, as every file of IR 3 has them."""
    tensor = _one(model.graph.initializer, rng)
    model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))


@mutator
def initializer_to_constant(model: onnx.ModelProto, rng: random.Random) -> None:
    tensor = _one(model.graph.initializer, rng)
    node = helper.make_node("Constant", [], [tensor.name], value=tensor)
    model.graph.node.insert(0, node)
    if rng.random() < 0.8:
        model.graph.initializer.remove(tensor)


@mutator
def input_to_initializer(model: onnx.ModelProto, rng: random.Random) -> None:
    info = _one(model.graph.input, rng)
    shape = [dim.dim_value or 1 for dim in info.type.tensor_type.shape.dim]
    if math.prod(shape) > 10**5 or min(shape, default=1) < 0:
        raise Inapplicable
    model.graph.initializer.append(numpy_helper.from_array(np.ones(shape, np.float32), info.name))


# --- nodes ------------------------------------------------------------------------------------------------------------


def _values(model: onnx.ModelProto) -> list[str]:
    graph = model.graph
    names = [info.name for info in graph.input] + [tensor.name for tensor in graph.initializer]
    return names + [name for node in graph.node for name in node.output if name]


def _with_inputs(model: onnx.ModelProto, rng: random.Random) -> onnx.NodeProto:
    node: onnx.NodeProto = _one([node for node in model.graph.node if node.input], rng)
    return node


@mutator
def node_delete(model: onnx.ModelProto, rng: random.Random) -> None:
    model.graph.node.remove(_one(model.graph.node, rng))


@mutator
def node_bypass(model: onnx.ModelProto, rng: random.Random) -> None:
    """Whoever read the node's output reads its input."""
    node = _with_inputs(model, rng)
    if not node.output:
        raise Inapplicable
    old, new = node.output[0], node.input[0]
    model.graph.node.remove(node)
    for other in model.graph.node:
        other.input[:] = [new if name == old else name for name in other.input]


@mutator
def node_duplicate(model: onnx.ModelProto, rng: random.Random) -> None:
    node = _one(model.graph.node, rng)
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    if rng.random() < 0.5:
        copy.output[:] = [f"{name}_again" for name in copy.output]
    model.graph.node.insert(rng.randrange(len(model.graph.node) + 1), copy)


@mutator
def node_order(model: onnx.ModelProto, rng: random.Random) -> None:
    nodes = list(model.graph.node)
    rng.shuffle(nodes)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


@mutator
def node_rewire(model: onnx.ModelProto, rng: random.Random) -> None:
    node = _with_inputs(model, rng)
    node.input[rng.randrange(len(node.input))] = _one([*_values(model), "", "nowhere"], rng)


@mutator
def node_cycle(model: onnx.ModelProto, rng: random.Random) -> None:
    node = _with_inputs(model, rng)
    later = [name for other in model.graph.node for name in other.output if name]
    node.input[rng.randrange(len(node.input))] = rng.choice([*node.output, *later[-2:], ""])


@mutator
def node_inputs(model: onnx.ModelProto, rng: random.Random) -> None:
    """Inputs swapped, dropped, left empty, repeated or added."""
    node = _with_inputs(model, rng)
    names = list(node.input)
    match rng.randrange(6):
        case 0:
            rng.shuffle(names)
        case 1:
            del names[rng.randrange(len(names))]
        case 2:
            names[rng.randrange(len(names))] = ""
        case 3:
            names.append(_one(_values(model), rng))
        case 4:
            names = names[:1] * rng.choice((2, 3, 40))
        case _:
            names = []
    node.input[:] = names


@mutator
def node_outputs(model: onnx.ModelProto, rng: random.Random) -> None:
    node = _one(model.graph.node, rng)
    names = list(node.output)
    match rng.randrange(5):
        case 0:
            names.append("another")
        case 1 if names:
            names[rng.randrange(len(names))] = ""
        case 2 if names:
            names[0] = _one(_values(model), rng)
        case 3:
            names = names * 2
        case _:
            names = []
    node.output[:] = names


@mutator
def node_op(model: onnx.ModelProto, rng: random.Random) -> None:
    node = _one(model.graph.node, rng)
    ops = _UNARY if len(node.input) < 2 else _BINARY
    node.op_type = rng.choice((*ops, rng.choice(model.graph.node).op_type, "NoSuchOp", "", "If", "Loop", "x" * 300))


@mutator
def node_domain(model: onnx.ModelProto, rng: random.Random) -> None:
    domain = rng.choice(("ai.onnx", "ai.onnx.ml", "com.microsoft", "nobody", "ai.onnx.training", "\x1b[31m"))
    _one(model.graph.node, rng).domain = domain
    if rng.random() < 0.5:
        model.opset_import.add(domain=domain, version=rng.choice((1, 2, 3, 17)))


@mutator
def node_insert(model: onnx.ModelProto, rng: random.Random) -> None:
    """Another op on one edge."""
    node = _with_inputs(model, rng)
    place = rng.randrange(len(node.input))
    old = node.input[place]
    new = helper.make_node(rng.choice(_UNARY), [old], [f"{old}_{rng.randrange(10**6)}"])
    node.input[place] = new.output[0]
    model.graph.node.insert(0, new)


@mutator
def node_append(model: onnx.ModelProto, rng: random.Random) -> None:
    """Another op on the output, with a value of the graph or the output itself as its second argument."""
    out = _one(model.graph.output, rng)
    args = [out.name]
    op = rng.choice(_UNARY)
    if rng.random() < 0.6:
        op = rng.choice(_BINARY)
        args.append(rng.choice((out.name, _one(_values(model), rng))))
    node = helper.make_node(op, args, [f"{out.name}_{rng.randrange(10**6)}"])
    model.graph.node.append(node)
    out.CopyFrom(onnx.ValueInfoProto(name=node.output[0]))


@mutator
def node_names(model: onnx.ModelProto, rng: random.Random) -> None:
    """A value renamed everywhere, a node renamed, or one of many uses only."""
    if not model.graph.node:
        raise Inapplicable
    new = rng.choice(_NAMES)
    match rng.randrange(3):
        case 0:
            rng.choice(model.graph.node).name = new
        case 1:
            old = _one(_values(model), rng)
            for node in model.graph.node:
                node.input[:] = [new if name == old else name for name in node.input]
                node.output[:] = [new if name == old else name for name in node.output]
            for named in (*model.graph.input, *model.graph.output, *model.graph.initializer):
                if named.name == old:
                    named.name = new
        case _:
            node = rng.choice(model.graph.node)
            if node.output:
                node.output[rng.randrange(len(node.output))] = new


@mutator
def doubling(model: onnx.ModelProto, rng: random.Random) -> None:
    """Concat(x, x) or Mul, MatMul of itself, many times over: exponential in size, in paths or in value."""
    out = _one(model.graph.output, rng)
    op = rng.choice(("Concat", "Add", "Mul", "Sub", "Max"))
    last = out.name
    for step in range(rng.choice((3, 12, 34, 70))):
        new = f"double_{step}_{rng.randrange(10**6)}"
        node = helper.make_node(op, [last, last], [new])
        if op == "Concat":
            node.attribute.append(helper.make_attribute("axis", 0))
        model.graph.node.append(node)
        last = new
    out.CopyFrom(onnx.ValueInfoProto(name=last))


_BOMBS = ("ConstantOfShape", "Expand", "Tile", "Range", "Pad", "Resize", "OneHot", "MatMul", "Loop", "EyeLike")


@mutator
def bomb(model: onnx.ModelProto, rng: random.Random) -> None:
    """A node that asks for terabytes, or for an eternity; on the way to the output, or beside it."""
    tag = rng.randrange(10**6)
    edge = _one(model.graph.output, rng)
    op = rng.choice(_BOMBS)
    size = rng.choice((2**16, 2**20, 2**24, 2**28, 2**31, 2**34, 2**40, 2**62))
    source = edge.name if rng.random() < 0.6 else f"one_{tag}"
    out, big = f"bomb_{tag}", f"big_{tag}"
    axes = rng.choice((1, 1, 2, 4))
    store = model.graph.initializer
    store.append(helper.make_tensor(f"one_{tag}", TensorProto.FLOAT, [1] * axes, [1.0]))
    store.append(helper.make_tensor(big, TensorProto.INT64, [axes], [size] * axes))
    store.append(helper.make_tensor(f"zero_{tag}", TensorProto.INT64, [], [0]))
    store.append(helper.make_tensor(f"step_{tag}", TensorProto.INT64, [], [1]))
    store.append(helper.make_tensor(f"limit_{tag}", TensorProto.INT64, [], [size]))
    store.append(helper.make_tensor(f"pads_{tag}", TensorProto.INT64, [2 * axes], [size] * (2 * axes)))
    store.append(helper.make_tensor(f"scales_{tag}", TensorProto.FLOAT, [axes], [float(size)] * axes))
    match op:
        case "ConstantOfShape":
            nodes = [helper.make_node(op, [big], [out])]
        case "Expand" | "Tile":
            nodes = [helper.make_node(op, [source, big], [out])]
        case "Range":
            nodes = [helper.make_node(op, [f"zero_{tag}", f"limit_{tag}", f"step_{tag}"], [out])]
        case "Pad":
            mode = rng.choice(("constant", "edge", "reflect", "wrap"))
            nodes = [helper.make_node(op, [source, f"pads_{tag}"], [out], mode=mode)]
        case "Resize":
            nodes = [helper.make_node(op, [source, "", f"scales_{tag}"], [out])]
        case "OneHot":
            nodes = [helper.make_node(op, [f"zero_{tag}", f"limit_{tag}", f"one_{tag}"], [out])]
        case "Loop":
            nodes = [_endless(source, out, tag, size)]
        case _:
            wide = f"wide_{tag}"
            nodes = [helper.make_node("ConstantOfShape", [big], [wide])]
            nodes.append(helper.make_node(op, [wide, wide] if op == "MatMul" else [wide], [out]))
    model.graph.node.extend(nodes)
    if rng.random() < 0.7:
        if source == edge.name or rng.random() < 0.3:
            new = out
        else:
            new = f"sum_{tag}"
            model.graph.node.append(helper.make_node("Add", [edge.name, out], [new]))
        edge.CopyFrom(onnx.ValueInfoProto(name=new))


def _endless(source: str, out: str, tag: int, trips: int) -> onnx.NodeProto:
    body = helper.make_graph(
        [helper.make_node("Identity", ["c_in"], ["c_out"]), helper.make_node("Identity", ["v_in"], ["v_out"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v_in", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("c_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v_out", TensorProto.FLOAT, None),
        ],
    )
    loop: onnx.NodeProto = helper.make_node("Loop", [f"limit_{tag}", "", source], [out], body=body)
    return loop


# --- attributes -------------------------------------------------------------------------------------------------------


def _attribute(model: onnx.ModelProto, rng: random.Random) -> tuple[onnx.NodeProto, AttributeProto]:
    node = _one([node for node in model.graph.node if node.attribute], rng)
    return node, rng.choice(node.attribute)


@mutator
def attribute_value(model: onnx.ModelProto, rng: random.Random) -> None:
    _, attribute = _attribute(model, rng)
    match attribute.type:
        case AttributeProto.INT:
            attribute.i = rng.choice(_INTS)
        case AttributeProto.FLOAT:
            attribute.f = rng.choice(_FLOATS)
        case AttributeProto.INTS:
            attribute.ints[:] = _scramble(list(attribute.ints), rng)
        case AttributeProto.FLOATS:
            attribute.floats[:] = [rng.choice(_FLOATS) for _ in range(rng.randrange(len(attribute.floats) + 2))]
        case AttributeProto.STRING:
            attribute.s = rng.choice((*(word.encode() for word in _WORDS), b"\xff\xfe", b"x" * 5000))
        case AttributeProto.STRINGS:
            attribute.strings[:] = [rng.choice(_WORDS).encode() for _ in range(rng.randrange(4))]
        case _:
            raise Inapplicable


@mutator
def attribute_remove(model: onnx.ModelProto, rng: random.Random) -> None:
    node, attribute = _attribute(model, rng)
    node.attribute.remove(attribute)


_ATTRIBUTES = (
    "axis axes alpha beta epsilon mode auto_pad group strides pads dilations kernel_shape transA transB perm to "
    "keepdims "
    "training_mode ceil_mode count_include_pad storage_order axis_w broadcast is_test spatial consumed_inputs value "
    "value_float value_ints num_outputs output_padding output_shape blocksize equation largest direction hidden_size "
    "activations clip layout momentum ratio min max bias size lambd p exclusive reverse allowzero stash_type noop_with_"
    "empty_axes coordinate_transformation_mode nearest_mode scales starts ends split shape dtype saturate"
).split()


@mutator
def attribute_add(model: onnx.ModelProto, rng: random.Random) -> None:
    node = _one(model.graph.node, rng)
    schema = None
    if rng.random() < 0.7:
        try:
            schema = onnx.defs.get_schema(node.op_type)
        except onnx.defs.SchemaError:
            schema = None
    names = sorted(schema.attributes) if schema is not None and schema.attributes else _ATTRIBUTES
    node.attribute.append(_made(rng.choice(names), rng))


def _made(name: str, rng: random.Random) -> AttributeProto:
    match rng.randrange(6):
        case 0:
            return helper.make_attribute(name, rng.choice((0, 1, 2, -1, rng.choice(_INTS))))
        case 1:
            return helper.make_attribute(name, rng.choice(_FLOATS))
        case 2:
            ints = [rng.choice((0, 1, 2, 3, rng.choice(_INTS))) for _ in range(rng.randrange(5))]
            return helper.make_attribute(name, ints, attr_type=AttributeProto.INTS)
        case 3:
            return helper.make_attribute(name, rng.choice(_WORDS))
        case 4:
            tensor = helper.make_tensor("t", TensorProto.FLOAT, [2], [1.0, rng.choice(_FLOATS)])
            return helper.make_attribute(name, tensor)
        case _:
            floats = [rng.choice(_FLOATS) for _ in range(rng.randrange(4))]
            return helper.make_attribute(name, floats, attr_type=AttributeProto.FLOATS)


@mutator
def attribute_retype(model: onnx.ModelProto, rng: random.Random) -> None:
    """The declared type changed with the value left, or a value of another type under the same name."""
    _, attribute = _attribute(model, rng)
    if rng.random() < 0.4:
        attribute.type = rng.choice(
            (
                AttributeProto.UNDEFINED,
                AttributeProto.FLOAT,
                AttributeProto.INT,
                AttributeProto.STRING,
                AttributeProto.TENSOR,
                AttributeProto.GRAPH,
                AttributeProto.INTS,
                AttributeProto.FLOATS,
                AttributeProto.TYPE_PROTO,
                AttributeProto.SPARSE_TENSOR,
            )
        )
    else:
        new = _made(attribute.name, rng)
        attribute.CopyFrom(new)


@mutator
def attribute_duplicate(model: onnx.ModelProto, rng: random.Random) -> None:
    node, attribute = _attribute(model, rng)
    node.attribute.append(_made(attribute.name, rng) if rng.random() < 0.5 else attribute)


@mutator
def attribute_rename(model: onnx.ModelProto, rng: random.Random) -> None:
    _, attribute = _attribute(model, rng)
    attribute.name = rng.choice((*_NAMES, *_ATTRIBUTES, "self", "node", "class"))


@mutator
def attribute_reference(model: onnx.ModelProto, rng: random.Random) -> None:
    _attribute(model, rng)[1].ref_attr_name = "outer"


@mutator
def attribute_subgraph(model: onnx.ModelProto, rng: random.Random) -> None:
    """A graph where none belongs, nested a few levels."""
    graph = onnx.GraphProto()
    graph.CopyFrom(model.graph)
    if len(graph.SerializeToString()) > 20_000:
        graph = onnx.GraphProto(name="empty")
    for _ in range(rng.choice((0, 0, 3, 12))):
        wrapped = onnx.GraphProto(name="nest")
        wrapped.node.append(helper.make_node("If", ["c"], ["y"], then_branch=graph, else_branch=onnx.GraphProto()))
        graph = wrapped
    node = _one(model.graph.node, rng)
    node.attribute.append(helper.make_attribute(rng.choice(("body", "then_branch", "axis")), graph))


# --- the model, its inputs and outputs --------------------------------------------------------------------------------


@mutator
def opset(model: onnx.ModelProto, rng: random.Random) -> None:
    entry = _one(model.opset_import, rng)
    entry.version = rng.choice((*range(29), 99, 2**31, -1, 2**63 - 1))


@mutator
def opset_imports(model: onnx.ModelProto, rng: random.Random) -> None:
    """A second import of the default domain, an alias of it, one of another domain, or none at all."""
    match rng.randrange(4):
        case 0:
            model.opset_import.add(domain="", version=rng.randrange(1, 26))
        case 1:
            model.opset_import.add(domain="ai.onnx", version=rng.randrange(1, 26))
        case 2:
            model.opset_import.add(domain=rng.choice(("ai.onnx.ml", "nobody", "com.microsoft")), version=1)
        case _:
            del model.opset_import[:]


@mutator
def ir_version(model: onnx.ModelProto, rng: random.Random) -> None:
    model.ir_version = rng.choice((0, 1, 3, 4, 8, 10, 99, -1, 2**40))


def _dims(info: onnx.ValueInfoProto, rng: random.Random) -> None:
    shape = info.type.tensor_type.shape
    match rng.randrange(7):
        case 0 if shape.dim:
            rng.choice(shape.dim).dim_value = rng.choice(_INTS)
        case 1 if shape.dim:
            rng.choice(shape.dim).dim_param = rng.choice(("N", "", "batch", "\n", "-1"))
        case 2:
            shape.dim.add(dim_value=rng.choice((1, 1, 2, 3, 0)))
        case 3 if shape.dim:
            del shape.dim[rng.randrange(len(shape.dim))]
        case 4:
            info.type.tensor_type.ClearField("shape")
        case 5:
            dims = [dim.dim_value for dim in shape.dim]
            rng.shuffle(dims)
            for dim, n in zip(shape.dim, dims, strict=True):
                dim.dim_value = n
        case _:
            for dim in shape.dim:
                dim.ClearField("value")


@mutator
def input_dims(model: onnx.ModelProto, rng: random.Random) -> None:
    _dims(_one(model.graph.input, rng), rng)


@mutator
def input_type(model: onnx.ModelProto, rng: random.Random) -> None:
    info = _one(model.graph.input, rng)
    match rng.randrange(4):
        case 0:
            info.type.CopyFrom(onnx.TypeProto())
        case 1:
            inner = helper.make_tensor_type_proto(TensorProto.FLOAT, [1])
            info.type.CopyFrom(helper.make_sequence_type_proto(inner))
        case _:
            info.type.tensor_type.elem_type = rng.choice(_TYPES)


@mutator
def whole_type(model: onnx.ModelProto, rng: random.Random) -> None:
    """Inputs, outputs and float weights all of another real type: a model that may well run."""
    kind, dtype = rng.choice(
        ((TensorProto.DOUBLE, np.float64), (TensorProto.FLOAT16, np.float16), (TensorProto.FLOAT, np.float32))
    )
    for info in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        if info.type.HasField("tensor_type"):
            info.type.tensor_type.elem_type = kind
    for tensor in _tensors(model):
        if tensor.data_type in (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16):
            with np.errstate(all="ignore"):
                tensor.CopyFrom(numpy_helper.from_array(_array(tensor).astype(dtype), tensor.name))


@mutator
def input_list(model: onnx.ModelProto, rng: random.Random) -> None:
    match rng.randrange(4):
        case 0:
            model.graph.input.remove(_one(model.graph.input, rng))
        case 1:
            model.graph.input.append(_one(model.graph.input, rng))
        case 2:
            model.graph.input.append(helper.make_tensor_value_info("idle", rng.choice((1, 7, 8, 9)), [2**31, 2]))
        case _:
            info = _one(model.graph.input, rng)
            info.name = rng.choice(_NAMES)


@mutator
def output_list(model: onnx.ModelProto, rng: random.Random) -> None:
    match rng.randrange(6):
        case 0:
            model.graph.output.remove(_one(model.graph.output, rng))
        case 1:
            model.graph.output.append(_one(model.graph.output, rng))
        case 2 | 3:
            name = _one(_values(model), rng)
            new = model.graph.output.add(name=name)
            if rng.random() < 0.5:
                new.type.CopyFrom(helper.make_tensor_type_proto(TensorProto.FLOAT, None))
        case 4:
            info = _one(model.graph.output, rng)
            info.CopyFrom(onnx.ValueInfoProto(name=_one(_values(model), rng)))
        case _:
            _one(model.graph.output, rng).name = rng.choice((*_NAMES, "nowhere"))


@mutator
def output_dims(model: onnx.ModelProto, rng: random.Random) -> None:
    _dims(_one(model.graph.output, rng), rng)


@mutator
def output_type(model: onnx.ModelProto, rng: random.Random) -> None:
    _one(model.graph.output, rng).type.tensor_type.elem_type = rng.choice(_TYPES)


@mutator
def value_info(model: onnx.ModelProto, rng: random.Random) -> None:
    """A lie about a shape or a type inside."""
    shape = rng.choice((None, [1], [2**40], [-1, 3], []))
    kind = rng.choice((1, 7, 11, 10, 8))
    model.graph.value_info.append(helper.make_tensor_value_info(_one(_values(model), rng), kind, shape))


@mutator
def function(model: onnx.ModelProto, rng: random.Random) -> None:
    """A function of the file's own: idle, in the place of a standard op, or each calling the one before it twice."""
    if rng.random() < 0.5:
        node = _one(model.graph.node, rng)
        body = [helper.make_node("Identity", ["x"], ["y"])]
        op = rng.choice((node.op_type, "Own"))
        domain = rng.choice(("", "own", "ai.onnx"))
        made = helper.make_function(domain, op, ["x"], ["y"], body, [helper.make_opsetid("", 17)])
        model.functions.append(made)
        if rng.random() < 0.5:
            node.op_type, node.domain = op, domain
        model.opset_import.add(domain="own", version=1)
        return
    for depth in range(rng.choice((2, 6, 26))):
        called = ("Identity", "") if depth == 0 else (f"f{depth - 1}", "own")
        body = [
            helper.make_node(called[0], ["x"], ["t"], domain=called[1]),
            helper.make_node(called[0], ["t"], ["y"], domain=called[1]),
        ]
        imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
        model.functions.append(helper.make_function("own", f"f{depth}", ["x"], ["y"], body, imports))
    model.opset_import.add(domain="own", version=1)


@mutator
def metadata(model: onnx.ModelProto, rng: random.Random) -> None:
    for key in ("ort_config", "session.load_model_format", "\x1b[2J"):
        model.metadata_props.add(key=key, value='{"session_options": {"intra_op_num_threads": 64}}')
    model.producer_name = rng.choice(_NAMES)
    model.doc_string = "\0" * 1000
    model.training_info.add()
    model.graph.quantization_annotation.add(tensor_name="x")


# --- bytes ------------------------------------------------------------------------------------------------------------


def _flip(content: bytes, rng: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8, 40))):
        if data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def _head(content: bytes, rng: random.Random) -> bytes:
    """Flips among the last or first bytes, where structure is rather than weights."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 2, 4))):
        if data:
            near = rng.randrange(min(len(data), 200))
            data[near if rng.random() < 0.5 else -1 - near] = rng.randrange(256)
    return bytes(data)


def _cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def _insert(content: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(content) + 1)
    return content[:place] + bytes(rng.randrange(256) for _ in range(rng.choice((1, 2, 16)))) + content[place:]


def _splice(content: bytes, rng: random.Random) -> bytes:
    a, b = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    return content[:b] + content[a:] if rng.random() < 0.5 else content[:a] + content[b:]


def _not_utf8(content: bytes, rng: random.Random) -> bytes:
    """One letter of some text becomes a byte that no UTF-8 has."""
    letters = [place for place, byte in enumerate(content[:20_000] + b"") if chr(byte).isalpha() and byte < 128]
    if not letters:
        return content
    place = rng.choice(letters)
    return content[:place] + b"\xff" + content[place + 1 :]


def _twice(content: bytes, rng: random.Random) -> bytes:
    """A protobuf message after another is their merger."""
    return content + content


BYTES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "bytes_cut": _cut,
    "bytes_flip": _flip,
    "bytes_head": _head,
    "bytes_insert": _insert,
    "bytes_not_utf8": _not_utf8,
    "bytes_splice": _splice,
    "bytes_twice": _twice,
}
