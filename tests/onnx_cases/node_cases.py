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
import torch
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
    about = {case.name: case.model.graph.node[0].op_type for case in loaded if "_expanded" not in case.name}
    cases: dict[str, list[NodeCase]] = defaultdict(list)
    for case in loaded:
        op = about.get(case.name.split("_expanded")[0], case.model.graph.node[0].op_type)
        for values, answers in case.data_sets:
            names = [info.name for info in case.model.graph.input]
            results = [info.name for info in case.model.graph.output]
            found = NodeCase(
                case.name,
                op,
                case.model,
                dict(zip(names, values, strict=False)),
                dict(zip(results, answers, strict=False)),
                case.rtol,
            )
            cases[op].append(found)
    return dict(cases)


def answers(case: NodeCase) -> Iterator[Answer]:
    """The case read with all its real inputs varying, then with the first alone, then with each other one alone."""
    real = case.real_inputs
    tried = dict.fromkeys([tuple(real), *((name,) for name in real)])
    for varying in tried:
        if varying:
            yield answer(case, varying)


def answer(case: NodeCase, varying: tuple[str, ...]) -> Answer:
    """Inputs that do not vary become initializers. Only LipauditError may be raised, and it is a refusal."""
    wanted = [n for n, x in case.outputs.items() if isinstance(x, np.ndarray)]
    try:
        loaded = read_graph(_fixed(case, varying).SerializeToString(), Path(f"{case.name}.onnx"))
    except RefusedModel as error:
        return Answer(varying, None, "; ".join(f"{r.op}: {r.reason}" for r in error.refusals))
    except LipauditError as error:
        return Answer(varying, None, str(error))
    kept = [facts.name for facts in loaded.facts.outputs if facts.name in wanted]
    return Answer(varying, _difference(case, loaded, varying, kept))


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


def _difference(case: NodeCase, loaded: Loaded, varying: tuple[str, ...], outputs: list[str]) -> float:
    """The largest |ours - theirs| over (1e-6 + rtol |theirs|), times rtol: at most 1 when it agrees."""
    arrays = [np.asarray(case.inputs[facts.name], dtype=np.float64).reshape(-1) for facts in loaded.facts.inputs]
    point = np.concatenate(arrays).reshape(1, *loaded.graph.input_shape)
    ours = loaded.evaluate(point)[0].reshape(-1).numpy()
    expected = [np.asarray(case.outputs[name], dtype=np.float64) for name in outputs]
    shapes = [tuple(facts.shape) for facts in loaded.facts.outputs if facts.name in outputs]
    if shapes != [e.shape for e in expected]:
        return float("inf")
    theirs = np.concatenate([e.reshape(-1) for e in expected])
    narrow = any(np.asarray(case.outputs[name]).dtype == np.float16 for name in outputs)
    narrow = narrow or any(np.asarray(x).dtype == np.float16 for x in case.inputs.values())
    rtol = max(case.rtol, 1e-2 if narrow else 1e-3)
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    with np.errstate(all="ignore"):
        gaps = np.abs(ours - theirs) / (1e-6 + (1e-3 if narrow else 0.0) + rtol * np.abs(theirs))
    return float(np.where(same, 0.0, gaps).max(initial=0.0))
