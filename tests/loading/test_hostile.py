"""Files made to harm whoever reads them: each is refused in one line, with a documented exit code, in seconds.

The attacks are those of the advisories against onnx and onnxruntime, and of other tools' bug reports.
"""

from __future__ import annotations

import io
import os
import random
import resource
import signal
import struct
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lipaudit.cli import main
from lipaudit.errors import InvalidInput, LipauditError
from lipaudit.loading import Loaded, RefusedModel, load_model
from lipaudit.loading.arrays import read_array, read_box
from lipaudit.loading.reference import Runtime, RuntimeFailed
from tests.cases.models import model, node, saved, weights

SECONDS = 5.0
"""Of this process: other processes may be busy."""

GREW = 2 * 2**30
"""Bytes that a refusal may take; what is asked for is terabytes."""


@contextmanager
def quickly() -> Iterator[None]:
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.process_time()
    yield
    assert time.process_time() - started < SECONDS
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before.ru_maxrss) * 1024 < GREW


def refused(path: Path, code: int) -> str:
    """The message of a file that is refused with that exit code."""
    with quickly(), pytest.raises(LipauditError) as caught:
        load_model(path)
    assert caught.value.exit_code == code, str(caught.value)
    assert type(caught.value) in (InvalidInput, RefusedModel)
    message = str(caught.value)
    assert message
    assert "\n" not in message
    assert "allocate" not in message
    return message


def made_refused(made: onnx.ModelProto, folder: Path, code: int) -> str:
    return refused(saved(made, folder), code)


def outcome(attempt: Callable[[], object]) -> int:
    """The exit code of what may well succeed."""
    try:
        attempt()
    except LipauditError as error:
        return error.exit_code
    return 0


def relu() -> onnx.ModelProto:
    return model([node("Relu", ["x"])])


def int64(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def float32(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


# --- two runtimes, two functions --------------------------------------------------------------------------------------


@pytest.mark.parametrize("domain", ["", "ai.onnx"])
def test_two_imports_of_the_default_opset(domain: str, tmp_path: Path) -> None:
    made = model([node("Softmax", ["x"])])
    made.opset_import.add(domain=domain, version=11)
    assert "twice" in made_refused(made, tmp_path, 3)


def test_one_name_for_two_values(tmp_path: Path) -> None:
    add = node("Add", ["x", "w"])
    twice = model([add], weights(w=[1.0]) + weights(w=[5.0]))
    assert "'w' twice" in made_refused(twice, tmp_path, 2)
    constant = helper.make_node("Constant", [], ["w"], value_float=5.0)
    assert "'w' twice" in made_refused(model([constant, add], weights(w=[1.0])), tmp_path, 2)
    assert "'y' twice" in made_refused(model([node("Relu", ["x"]), node("Abs", ["x"])]), tmp_path, 2)
    assert "'x' twice" in made_refused(model([node("Relu", ["x"], ["x"]), node("Relu", ["x"])]), tmp_path, 2)
    assert "'x' twice" in made_refused(model([node("Relu", ["x"])], inputs=[("x", (1, 2)), ("x", (1, 2))]), tmp_path, 2)


def test_a_sparse_tensor_beside_a_dense_one(tmp_path: Path) -> None:
    made = model([node("Add", ["x", "w"])], weights(w=[1.0]))
    sparse = made.graph.sparse_initializer.add(dims=[1])
    sparse.values.CopyFrom(numpy_helper.from_array(float32(7.0), "w"))
    sparse.indices.CopyFrom(numpy_helper.from_array(int64(0), ""))
    assert "sparse" in made_refused(made, tmp_path, 3)


def test_an_attribute_given_twice(tmp_path: Path) -> None:
    leaky = node("LeakyRelu", ["x"], alpha=0.1)
    leaky.attribute.append(helper.make_attribute("alpha", 50.0))
    assert "'alpha' is given twice" in made_refused(model([leaky]), tmp_path, 3)


def test_an_attribute_of_another_type(tmp_path: Path) -> None:
    leaky = node("LeakyRelu", ["x"])
    leaky.attribute.append(helper.make_attribute("alpha", 1))
    assert "'alpha' is not of the type" in made_refused(model([leaky]), tmp_path, 3)


def test_too_many_and_too_few_arguments(tmp_path: Path) -> None:
    assert "3 argument(s)" in made_refused(model([node("Add", ["x", "x", "x"])]), tmp_path, 3)
    assert "argument 2 is left out" in made_refused(model([node("Add", ["x", ""])]), tmp_path, 3)
    assert "0 argument(s)" in made_refused(model([node("Relu", [])]), tmp_path, 3)


def test_weights_of_whole_numbers_where_real_ones_belong(tmp_path: Path) -> None:
    made = model([node("Gemm", ["x", "w"])], [numpy_helper.from_array(np.ones((2, 2), np.int64), "w")])
    assert "not of the type" in made_refused(made, tmp_path, 3)


def test_an_initializer_that_is_listed_as_an_input_is_a_weight(tmp_path: Path) -> None:
    """Every file of the third format has them so."""
    made = model([node("Mul", ["x", "w"])], weights(w=[2.0]))
    made.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [1]))
    assert [tensor.name for tensor in load_model(saved(made, tmp_path)).facts.inputs] == ["x"]


# --- bombs ------------------------------------------------------------------------------------------------------------

HUGE = 2**40


def _bombs() -> dict[str, onnx.ModelProto]:
    def one(op: str, *args: str, shape: tuple[int, ...] = (1, 2), opset: int = 17, **given: Any) -> onnx.ModelProto:
        arrays = {name: value for name, value in given.items() if isinstance(value, np.ndarray)}
        attributes = {name: value for name, value in given.items() if name not in arrays}
        stored = [numpy_helper.from_array(value, name) for name, value in arrays.items()]
        return model([node(op, ["x", *args], **attributes)], stored, inputs=[("x", shape)], opset=opset)

    def constant(op: str, args: list[str], **arrays: np.ndarray) -> onnx.ModelProto:
        stored = [numpy_helper.from_array(value, name) for name, value in arrays.items()]
        return model([node(op, args, ["c"]), node("ReduceSum", ["c"], ["s"]), node("Add", ["x", "s"])], stored)

    image = (1, 1, 4, 4)
    kernel = np.ones((1, 1, 3, 3), np.float32)
    wide = np.ones((1, 2**17), np.float32)
    return {
        "ConstantOfShape": constant("ConstantOfShape", ["n"], n=int64(HUGE)),
        "ConstantOfShape of several axes": constant("ConstantOfShape", ["n"], n=int64(*[2**16] * 4)),
        "Expand of a constant": constant("Expand", ["w", "n"], w=np.ones(1, np.float32), n=int64(HUGE)),
        "Tile of a constant": constant("Tile", ["w", "n"], w=np.ones(1, np.float32), n=int64(HUGE)),
        "Range": constant("Range", ["a", "n", "d"], a=np.int64(0), n=np.int64(HUGE), d=np.int64(1)),  # type: ignore[arg-type]
        "Pad of a constant": constant("Pad", ["w", "n"], w=np.ones(1, np.float32), n=int64(HUGE, 0)),
        "outer sum of constants": constant("Add", ["a", "b"], a=wide, b=wide.T),
        "outer product of constants": constant("MatMul", ["a", "b"], a=wide.T, b=wide),
        "Expand": one("Expand", "n", n=int64(HUGE, 2)),
        "Tile": one("Tile", "n", n=int64(HUGE, 1)),
        "Tile by two factors that overflow": one("Tile", "n", n=int64(2**32, 2**32)),
        "Pad": one("Pad", "n", n=int64(0, 0, 0, HUGE)),
        "Pad by reflection": one("Pad", "n", n=int64(0, 0, 0, HUGE), mode="reflect"),
        "Gather": one("Gather", "n", n=np.zeros((2**12, 2**12), np.int64), axis=0, shape=(1, 2**12)),
        "Resize": one("Resize", "", "", "n", n=int64(1, 1, HUGE, 4), shape=image),
        "Resize by scales": one("Resize", "", "n", n=float32(1, 1, 1e30, 1), shape=image),
        "Resize, cubic": one("Resize", "", "", "n", n=int64(1, 1, 2**25, 4), shape=image, mode="cubic"),
        "Upsample": one("Upsample", "n", n=float32(1, 1, 1e12, 1), shape=image, opset=9),
        "Conv with padding": one("Conv", "w", w=kernel, shape=image, pads=[HUGE, 0, 0, 0]),
        "Conv with equal padding": one("Conv", "w", w=kernel, shape=image, pads=[HUGE] * 4),
        "ConvTranspose by strides": one("ConvTranspose", "w", w=kernel, shape=image, strides=[HUGE, 1]),
        "ConvTranspose to a shape": one("ConvTranspose", "w", w=kernel, shape=image, output_shape=[HUGE, 4]),
        "AveragePool": one("AveragePool", shape=image, kernel_shape=[HUGE, 1], pads=[HUGE, 0, HUGE, 0]),
        "MaxPool": one("MaxPool", shape=image, kernel_shape=[2**20, 1], pads=[2**20 - 1, 0, 2**20 - 1, 0]),
        "CumSum": one("CumSum", "n", n=np.array(1, np.int64), shape=(1, 2**20)),
        "outer sum": model([node("Transpose", ["x"], ["t"]), node("Add", ["x", "t"])], inputs=[("x", (1, 2**17))]),
        "outer product": model(
            [node("Transpose", ["x"], ["t"]), node("MatMul", ["t", "x"])], inputs=[("x", (1, 2**17))]
        ),
        "an input": model([node("Relu", ["x"])], inputs=[("x", (HUGE, HUGE))]),
        "two inputs": model([node("Add", ["x", "z"])], inputs=[("x", (1, 2**26)), ("z", (1, 2**26))]),
    }


BOMBS = _bombs()


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_before_it_goes_off(name: str, tmp_path: Path) -> None:
    made_refused(BOMBS[name], tmp_path, 3)


@pytest.mark.parametrize("op", ["Concat", "Mul", "Add", "MatMul"])
def test_doubling(op: str, tmp_path: Path) -> None:
    """1.4 kB: exponential in size, in value, or in the number of paths from the input to the output."""
    nodes, last = [], "x"
    for step in range(60):
        nodes.append(node(op, [last, last], [f"d{step}"], **({"axis": 0} if op == "Concat" else {})))
        last = f"d{step}"
    made = model(nodes, inputs=[("x", (2, 2))], outputs=[last])
    if op == "Add":  # 2^60 x, after all
        with quickly():
            assert load_model(saved(made, tmp_path)).graph.output_shape == (2, 2)
        assert main(["bound", str(tmp_path / "model.onnx"), "-q"]) == 0
    else:
        made_refused(made, tmp_path, 3)


def endless() -> onnx.NodeProto:
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["d"]), helper.make_node("Identity", ["v"], ["w"])],
        "body",
        [info("i", TensorProto.INT64, []), info("c", TensorProto.BOOL, []), info("v", TensorProto.FLOAT, None)],
        [info("d", TensorProto.BOOL, []), info("w", TensorProto.FLOAT, None)],
    )
    return helper.make_node("Loop", ["trips", "", "x"], ["loop"], body=body)


TRIPS = numpy_helper.from_array(np.array(2**62, dtype=np.int64), "trips")


def test_an_endless_loop_on_the_way(tmp_path: Path) -> None:
    made = model([endless(), node("Relu", ["loop"])], [TRIPS])
    assert "more than 10000 rounds" in made_refused(made, tmp_path, 3)


def test_what_lies_beside_the_network_is_not_run(tmp_path: Path) -> None:
    """A loop of 2^62 rounds, 8 terabytes of zeros and an unknown op, none of which the output needs."""
    stored = [TRIPS, numpy_helper.from_array(int64(HUGE), "n")]
    beside = [endless(), node("ConstantOfShape", ["n"], ["zeros"]), node("NoSuchOp", ["x"], ["u"])]
    made = model([*beside, node("Relu", ["x"])], stored, inputs=[("x", (1, 2)), ("idle", (1, 3))])
    made.graph.input.append(helper.make_tensor_value_info("tokens", TensorProto.INT64, [2**31, 2]))
    with quickly():
        loaded = load_model(saved(made, tmp_path))
    assert loaded.facts.parity is not None
    assert loaded.facts.parity.points == 4


def test_functions_that_call_each_other_twice(tmp_path: Path) -> None:
    """1.6 kB; inlined they are 2^26 nodes, and onnxruntime tries to."""
    made = model([helper.make_node("f25", ["x"], ["y"], domain="own")])
    for depth in range(26):
        op, domain = (f"f{depth - 1}", "own") if depth else ("Relu", "")
        calls = [helper.make_node(op, [a], [b], domain=domain) for a, b in (("x", "t"), ("t", "y"))]
        imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
        made.functions.append(helper.make_function("own", f"f{depth}", ["x"], ["y"], calls, imports))
    made.opset_import.add(domain="own", version=1)
    assert "functions of its own" in made_refused(made, tmp_path, 3)


def test_a_function_in_the_place_of_a_standard_op(tmp_path: Path) -> None:
    made = relu()
    body = [helper.make_node("Mul", ["x", "x"], ["y"])]
    made.functions.append(helper.make_function("", "Relu", ["x"], ["y"], body, [helper.make_opsetid("", 17)]))
    made_refused(made, tmp_path, 3)


def chain(length: int) -> onnx.ModelProto:
    made = model([], outputs=[f"v{length}"])
    for step in range(1, length + 1):
        made.graph.node.add(op_type="Relu", input=[f"v{step - 1}" if step > 1 else "x"], output=[f"v{step}"])
    return made


def test_a_chain_of_too_many_nodes(tmp_path: Path) -> None:
    assert "60000 nodes" in made_refused(chain(60_000), tmp_path, 2)


def test_a_chain_deeper_than_any_stack(tmp_path: Path) -> None:
    with quickly():
        assert load_model(saved(chain(3000), tmp_path)).graph.output_shape == (1, 2)


def test_deep_nesting(tmp_path: Path) -> None:
    for depth in (20, 40, 2000):
        graph = onnx.GraphProto(name="g")
        content = graph.SerializeToString()
        for _ in range(depth):  # a graph in an attribute in a node in a graph, by hand: protobuf objects end earlier
            attribute = b"\x0a\x01b" + b"\xa0\x01\x05" + b"\x32" + varint(len(content)) + content
            inside = b"\x22\x02If" + b"\x2a" + varint(len(attribute)) + attribute
            content = b"\x0a" + varint(len(inside)) + inside
        made = relu().SerializeToString() + b"\x3a" + varint(len(content)) + content
        path = tmp_path / "model.onnx"
        path.write_bytes(made)
        with quickly():
            assert outcome(lambda: load_model(path)) in (0, 2, 3)  # noqa: B023 - the nest is no part of the network


def varint(n: int) -> bytes:
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


# --- names and numbers that are none ----------------------------------------------------------------------------------


@pytest.mark.parametrize("old", [b"relu_y", b"Relu", b"alpha", b"www", b"batch"])
def test_names_that_are_no_text(old: bytes, tmp_path: Path) -> None:
    named = helper.make_node("Relu", ["t"], ["y"], name="relu_y")
    made = model(
        [named, node("LeakyRelu", ["s"], ["t"], alpha=0.5), node("Add", ["x", "www"], ["s"])],
        weights(www=[1.0]),
        inputs=[("x", ("batch", 2))],
    )
    content = made.SerializeToString()
    assert old in content
    (tmp_path / "model.onnx").write_bytes(content.replace(old, old[:-1] + b"\xff"))
    assert "UTF-8" in refused(tmp_path / "model.onnx", 2)


def test_a_name_of_a_hundred_thousand_letters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = model([helper.make_node("NoSuchOp", ["x"], ["y"], name="x" * 50_000 + "\x1b[2J\n::error::" + "x" * 50_000)])
    path = saved(made, tmp_path)
    for form in ("text", "json", "markdown"):
        with quickly():
            assert main(["check", str(path), "--output-format", form, "-q"]) == 3
        shown = "".join(capsys.readouterr())
        assert "\x1b[2J" not in shown
        assert "\n::error::" not in shown


def tensor(**fields: Any) -> TensorProto:
    return TensorProto(**{"name": "w", "data_type": TensorProto.FLOAT, "dims": [2], **fields})


TENSORS: dict[str, tuple[TensorProto, int]] = {
    "dims of an exabyte": (tensor(dims=[2**31, 2**29], raw_data=b"\0" * 8), 3),
    "dims that overflow": (tensor(dims=[2**62, 2**62, 2**62], raw_data=b"\0" * 8), 3),
    "more dims than data": (tensor(dims=[3], raw_data=b"\0" * 8), 2),
    "less dims than data": (tensor(dims=[1], raw_data=b"\0" * 8), 2),
    "a negative dim": (tensor(dims=[-2], raw_data=b"\0" * 8), 2),
    "two negative dims": (tensor(dims=[-1, -2], raw_data=b"\0" * 8), 2),
    "no data": (tensor(), 2),
    "half a number": (tensor(raw_data=b"\0" * 7), 2),
    "an unknown type": (tensor(data_type=99, raw_data=b"\0" * 8), 2),
    "no type": (tensor(data_type=0, raw_data=b"\0" * 8), 2),
    "text": (tensor(data_type=TensorProto.STRING, string_data=[b"a", b"b"]), 3),
    "complex": (tensor(data_type=TensorProto.COMPLEX64, raw_data=b"\0" * 16), 3),
    "NaN": (tensor(raw_data=struct.pack("<ff", 1.0, float("nan"))), 2),
    "infinity": (tensor(raw_data=struct.pack("<ff", 1.0, float("-inf"))), 2),
    "a half that overflowed": (tensor(data_type=TensorProto.FLOAT16, raw_data=b"\x00\x7c\x00\x00"), 2),
    "a segment": (tensor(raw_data=b"\0" * 8, segment=TensorProto.Segment(begin=0, end=2**62)), 2),
}


@pytest.mark.parametrize("name", TENSORS)
def test_a_damaged_weight(name: str, tmp_path: Path) -> None:
    stored, code = TENSORS[name]
    assert "'w'" in made_refused(model([node("Add", ["x", "w"])], [stored]), tmp_path, code)


@pytest.mark.parametrize(
    "location", ["../secret", "/etc/hostname", "secret", "*/_ORT_MEM_ADDR_/*", "", "\x00", "/dev/zero"]
)
def test_data_in_another_file_is_never_opened(location: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"\0" * 8)
    folder = tmp_path / "models"
    folder.mkdir()
    os.link(tmp_path / "secret", folder / "secret")
    outside = tensor(data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("length", str(10**15)), ("__class__", "x")):
        outside.external_data.add(key=key, value=value)
    path = saved(model([node("Add", ["x", "w"])], [outside]), folder)
    refused(path, 3)  # what has to be imported is
    opened: list[str] = []
    _WATCHERS.append(opened)
    try:
        assert "another file" in refused(path, 3)
    finally:
        _WATCHERS.remove(opened)
    assert opened == [str(path)]


_WATCHERS: list[list[str]] = []


def _watch(event: str, args: tuple[Any, ...]) -> None:
    if event == "open" and _WATCHERS and isinstance(args[0], str | Path) and "/.venv/" not in str(args[0]):
        for opened in _WATCHERS:
            opened.append(str(args[0]))


sys.addaudithook(_watch)


def test_data_in_another_file_beside_the_network(tmp_path: Path) -> None:
    """It is no part of what onnxruntime is given either."""
    outside = tensor(data_location=TensorProto.EXTERNAL)
    outside.external_data.add(key="location", value="/etc/hostname")
    assert load_model(saved(model([node("Relu", ["x"])], [outside]), tmp_path).resolve()).facts.parity is not None


def test_cycles(tmp_path: Path) -> None:
    assert "cycle" in made_refused(model([node("Add", ["x", "y"])]), tmp_path, 2)
    loop = [node("Add", ["x", "b"], ["a"]), node("Relu", ["a"], ["b"]), node("Relu", ["b"])]
    assert "cycle" in made_refused(model(loop), tmp_path, 2)


def test_an_output_without_entries(tmp_path: Path) -> None:
    made = model([node("Slice", ["x", "zero", "zero"])], weights(zero=[0]))
    assert "empty" in made_refused(made, tmp_path, 3)


# --- what is no file --------------------------------------------------------------------------------------------------


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    assert "not a regular file" in refused(tmp_path / "pipe.onnx", 2)
    (tmp_path / "folder.onnx").mkdir()
    assert "folder" in refused(tmp_path / "folder.onnx", 2)
    assert "not a regular file" in refused(Path("/dev/zero"), 2)
    assert "does not exist" in refused(tmp_path / "none.onnx", 2)
    refused(Path("a\0b"), 2)
    refused(tmp_path / ("x" * 5000), 2)
    (tmp_path / "loop.onnx").symlink_to(tmp_path / "loop.onnx")
    refused(tmp_path / "loop.onnx", 2)
    os.mkfifo(tmp_path / "pipe.npy")
    with quickly(), pytest.raises(InvalidInput, match="not a regular file"):
        read_array(str(tmp_path / "pipe.npy"))


# --- onnxruntime, in its own process ----------------------------------------------------------------------------------

INPUTS = [("x", (1, 2), "float32")]


def test_a_crash_of_onnxruntime_is_an_answer() -> None:
    runtime, content, point = Runtime(), relu().SerializeToString(), np.ones((1, 2))
    try:
        assert runtime.run(content, INPUTS, ["y"], point).tolist() == [[1.0, 1.0]]
        assert runtime._process is not None
        runtime._process.kill()
        runtime._process.wait()
        assert runtime.run(content, INPUTS, ["y"], point).tolist() == [[1.0, 1.0]]  # a new one
        runtime._process.send_signal(signal.SIGSTOP)
        threading.Timer(0.5, runtime._process.send_signal, [signal.SIGABRT]).start()  # with a question on its way
        threading.Timer(0.6, runtime._process.send_signal, [signal.SIGCONT]).start()
        with pytest.raises(RuntimeFailed, match="process ended with -6"):
            runtime.run(content, INPUTS, ["y"], point)
        assert runtime.run(content, INPUTS, ["y"], point).tolist() == [[1.0, 1.0]]
    finally:
        runtime.end()


def test_a_hang_of_onnxruntime_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lipaudit.loading.reference.DEADLINE", 3.0)
    runtime = Runtime()
    made = model([endless(), node("Relu", ["loop"])], [TRIPS])
    try:
        with pytest.raises(RuntimeFailed, match="does not answer"):
            runtime.run(made.SerializeToString(), INPUTS, ["y"], np.ones((1, 2)))
    finally:
        runtime.end()


def test_what_onnxruntime_prints_is_not_our_report(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def load() -> Loaded:
        return load_model(saved(model([node("Relu", ["x"])], dtype=TensorProto.BFLOAT16), tmp_path))

    assert outcome(load) in (0, 3)
    assert capfd.readouterr() == ("", "")


# --- arrays -----------------------------------------------------------------------------------------------------------


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def header(text: bytes, version: int = 1, length: int | None = None) -> bytes:
    form = "<H" if version == 1 else "<I"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack(form, len(text) if length is None else length) + text


def described(shape: str, descr: str = "'<f8'") -> bytes:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n".encode()


ARRAYS = {
    "terabytes in 128 bytes": header(described("(1000000000000,)")),
    "a product that overflows": header(described("(4294967296, 4294967296, 4294967296)")),
    "a product that overflows to its length": header(described("(4611686018427387904, 4)")) + b"\0" * 0,
    "a negative size": header(described("(-1,)")) + b"\0" * 8,
    "two negative sizes": header(described("(-1, -1)")) + b"\0" * 8,
    "objects": npy(np.array([{}], dtype=object)),
    "objects under another name": header(described("(1,)", "'|O8'")) + b"cos\nsystem\n(S'true'\ntR.",
    "a structure": header(described("(1,)", "[('a', '<f8')]")) + b"\0" * 8,
    "text": npy(np.array(["x"])),
    "dates": npy(np.array(["2026-01-01"], dtype="datetime64[D]")),
    "complex numbers": npy(np.array([1j])),
    "a call": header(b"__import__('os').system('true')\n"),
    "a power": header(described("(9**9**9,)")),
    "a deep nest": header(b"(" * 9000 + b")" * 9000, 2),
    "a header of 4 GB": header(b"{", 2, 2**32 - 1),
    "a header of 100 kB": header(described("(1,)") + b" " * 100_000, 2) + b"\0" * 8,
    "another version": header(described("(1,)"), 3) + b"\0" * 8,
    "bytes at the end": npy(np.ones(2)) + b"x",
    "a byte too few": npy(np.ones(2))[:-1],
    "an itemsize of nothing": header(described("(5,)", "'|S0'")),
    "a size that is no number": header(described("(1.5,)")) + b"\0" * 8,
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_that_lies(name: str, packed: bool, tmp_path: Path) -> None:
    path = tmp_path / ("x.npz" if packed else "x.npy")
    path.write_bytes(archive({"x.npy": ARRAYS[name]}) if packed else ARRAYS[name])
    array_refused(path)


def test_a_size_that_is_true(tmp_path: Path) -> None:
    """numpy takes True for a whole number, and so it is 1."""
    (tmp_path / "x.npy").write_bytes(header(described("(True,)")) + b"\0" * 8)
    assert read_array(str(tmp_path / "x.npy")).shape == (1,)


def array_refused(path: Path) -> None:
    for read in (lambda: read_array(str(path)), lambda: read_box(path)):
        with quickly(), pytest.raises(InvalidInput) as caught:
            read()
        assert "\n" not in str(caught.value)


def archive(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as made:
        for name, content in members.items():
            made.writestr(name, content)
    return stream.getvalue()


def _bomb(size: int) -> bytes:
    """An honest .npy of zeros, packed a thousand to one."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as made, made.open("x.npy", "w") as member:
        member.write(header(described(f"({size // 8},)")))
        for _ in range(size // 2**20):
            member.write(b"\0" * 2**20)
    return stream.getvalue()


def _patched(content: bytes, old: bytes, new: bytes) -> bytes:
    assert old in content
    return content.replace(old, new)


def _archives() -> dict[str, Callable[[], bytes]]:
    good = {"x.npy": npy(np.ones(100))}
    size = struct.pack("<I", len(good["x.npy"]))
    return {
        "a bomb": lambda: _bomb(2**28),
        "a size that lies": lambda: _patched(archive(good), size, struct.pack("<I", 2**31)),
        "a size that lies, the other way": lambda: _patched(archive(good), size, struct.pack("<I", 10)),
        "two arrays of one name": lambda: _patched(archive({**good, "z.npy": npy(np.ones(1))}), b"z.npy", b"x.npy"),
        "one name with and without its ending": lambda: archive({"x": npy(np.ones(1)), **good}),
        "a thousand arrays": lambda: archive({f"x{n}.npy": b"" for n in range(1000)}),
        "a way of packing that numpy never uses": lambda: archive(good, zipfile.ZIP_LZMA),
        "a name of two lines": lambda: archive({"a\nb.npy": npy(np.ones(1))}),
        "half of it": lambda: archive(good)[:60],
        "a directory that lies elsewhere": lambda: archive(good)[:-8] + b"\xff\xff\xff\x7f\0\0\0\0",
        "an archive in an archive": lambda: archive({"x.npy": archive(good)}),
        "damaged data": lambda: archive(good)[:40] + b"\xff" * 10 + archive(good)[50:],
    }


ARCHIVES = _archives()


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_that_lies(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(ARCHIVES[name]())
    array_refused(path)


def test_a_member_that_would_climb_out_of_its_folder_is_only_a_name(tmp_path: Path) -> None:
    path = tmp_path / "inner" / "x.npz"
    path.parent.mkdir()
    path.write_bytes(archive({"../evil.npy": npy(np.ones(2))}))
    assert read_array(str(path)).tolist() == [1.0, 1.0]
    assert [file.name for file in tmp_path.rglob("*")] == ["inner", "x.npz"]


def test_damaged_bytes_of_arrays_are_one_line(tmp_path: Path) -> None:
    rng, said = random.Random(0), set()
    seeds = {
        "x.npy": npy(np.arange(6.0).reshape(2, 3)),
        "s.npz": archive({"lower.npy": npy(np.zeros(3)), "upper.npy": npy(np.ones(3))}, zipfile.ZIP_STORED),
        "d.npz": archive({"lower.npy": npy(np.random.default_rng(0).normal(size=30))}),
    }
    for _ in range(600):
        name, content = rng.choice(sorted(seeds.items()))
        data = bytearray(content)
        for _ in range(rng.choice((1, 2, 8))):
            place = rng.randrange(len(data))
            place = place if rng.random() < 0.6 else len(data) - 1 - place % 200
            data[max(place, 0)] = rng.randrange(256)
        path = tmp_path / name
        path.write_bytes(bytes(data))
        for read in (lambda: read_array(str(path)), lambda: read_box(path)):  # noqa: B023
            try:
                read()
            except InvalidInput as error:
                said.add(str(error))
    assert said
    assert not [line for line in said if "\n" in line]
