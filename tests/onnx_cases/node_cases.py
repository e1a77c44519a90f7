"""ONNX's own node cases: models of one op (or of its expansion) with inputs and outputs that the standard fixes."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from lipaudit.errors import LipauditError
from lipaudit.loading.model import Loaded, RefusedModel
from lipaudit.loading.open import read_graph

REALS = {np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64)}


@dataclass(frozen=True)
class NodeCase:
    """One case: its model, its inputs and outputs by name, and the op it is about."""

    name: str
    op: str
    model: onnx.ModelProto
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    rtol: float

    def __str__(self) -> str:
        return self.name

    @property
    def real_inputs(self) -> list[str]:
        return [n for n, x in self.inputs.items() if isinstance(x, np.ndarray) and x.dtype in REALS and x.size]


@dataclass(frozen=True)
class Answer:
    """What came of reading a case with some inputs left to vary: the worst difference, or why it was refused."""

    varying: tuple[str, ...]
    difference: float | None
    reason: str = ""


@cache
def node_cases() -> dict[str, list[NodeCase]]:
    """The cases by op."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.loader import load_model_tests

        loaded = load_model_tests(kind="node")
    about = {case.name: _nodes(case.model)[0].op_type for case in loaded if "_expanded" not in case.name}
    cases: dict[str, list[NodeCase]] = defaultdict(list)
    for case in loaded:
        model = case.model
        assert model is not None
        name = str(case.name)
        op = about.get(name.split("_expanded")[0], _nodes(model)[0].op_type)
        for values, answers in case.data_sets or []:
            inputs = {info.name: _array(value) for info, value in zip(model.graph.input, values, strict=False)}
            outputs = {info.name: _array(value) for info, value in zip(model.graph.output, answers, strict=False)}
            cases[op].append(NodeCase(name, op, model, inputs, outputs, case.rtol))
    return dict(cases)


def _nodes(model: onnx.ModelProto | None) -> list[onnx.NodeProto]:
    assert model is not None
    return list(model.graph.node)


def _array(value: Any) -> Any:
    """A numpy scalar as an array of rank 0; sequences and other things as they are."""
    return np.asarray(value) if isinstance(value, np.generic) else value


def answers(case: NodeCase, *, jumps: bool = False) -> Iterator[Answer]:
    """Each output of the case, read with all its real inputs varying, and then with each one alone."""
    real = case.real_inputs
    outputs = [name for name, value in case.outputs.items() if isinstance(value, np.ndarray)]
    for varying in dict.fromkeys([tuple(real), *((name,) for name in real)]):
        for output in outputs if varying else ():
            yield answer(case, varying, output, jumps=jumps)


def answer(case: NodeCase, varying: tuple[str, ...], output: str, *, jumps: bool = False) -> Answer:
    """Inputs that do not vary become initializers. Only LipauditError may be raised, and it is a refusal."""
    content = _fixed(case, varying).SerializeToString()
    try:
        loaded = read_graph(content, Path(f"{case.name}.onnx"), output=output, jumps=jumps)
    except RefusedModel as error:
        return Answer(varying, None, "; ".join(f"{r.op}: {r.reason}" for r in error.refusals))
    except LipauditError as error:
        return Answer(varying, None, str(error))
    return Answer(varying, _difference(case, loaded, output))


def _fixed(case: NodeCase, varying: tuple[str, ...]) -> onnx.ModelProto:
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    kept = [info for info in case.model.graph.input if info.name in varying]
    del model.graph.input[:]
    for info in kept:
        shaped = model.graph.input.add()
        shaped.CopyFrom(info)
        del shaped.type.tensor_type.shape.dim[:]
        for size in case.inputs[info.name].shape:
            shaped.type.tensor_type.shape.dim.add().dim_value = size
    for name, value in case.inputs.items():
        if name and name not in varying and isinstance(value, np.ndarray):
            model.graph.initializer.append(numpy_helper.from_array(value, name))
    return model


def _difference(case: NodeCase, loaded: Loaded, output: str) -> float:
    """The largest |ours - theirs| in units of what may differ: 1e-6 + rtol |theirs|. At most 1 when it agrees."""
    arrays = [np.asarray(case.inputs[facts.name], dtype=np.float64).reshape(-1) for facts in loaded.facts.inputs]
    point = np.concatenate(arrays).reshape(1, *loaded.graph.input_shape)
    ours, theirs = loaded.evaluate(point)[0].numpy(), np.asarray(case.outputs[output], dtype=np.float64)
    if ours.shape != theirs.shape:
        return float("inf")
    arrays = [x for x in (*case.inputs.values(), case.outputs[output]) if isinstance(x, np.ndarray)]
    narrow = any(x.dtype == np.float16 for x in arrays)
    rtol, atol = (1e-2, 1e-3) if narrow else (max(case.rtol, 1e-3), 1e-6)
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    with np.errstate(all="ignore"):
        gaps = np.abs(ours - theirs) / (atol + rtol * np.abs(theirs))
    return float(np.where(same, 0.0, gaps).max(initial=0.0))
