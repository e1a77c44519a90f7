"""Our graph against onnxruntime at a few points: the audited function must be the one that is deployed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from lipaudit.loading.model import Loaded, ModelFacts, Parity, Refusal, RefusedModel
from lipaudit.numerics.box import Box

POINTS = 4
RELATIVE = {"float64": 1e-9, "float32": 1e-4, "float16": 3e-2, "bfloat16": 3e-1}
"""What onnxruntime's own arithmetic may differ by, of the largest output."""


def check_parity(loaded: Loaded, box: Box | None) -> Loaded:
    """The same model with its parity noted. Raises RefusedModel where the difference is beyond tolerance."""
    points = _points(loaded, box)
    ours = loaded.evaluate(points).reshape(len(points), -1).numpy()
    try:
        theirs = loaded.run_reference(points)
    except _RuntimeFailed as error:
        reason = f"onnxruntime could not run it, so the audited function cannot be confirmed: {error}"
        raise RefusedModel(loaded.facts.path, (Refusal("model", "", reason, "LIP103"),), loaded.facts) from None
    # a point outside the function's domain (the log of -1) says nothing, if both say so
    defined = ~(np.isnan(ours) & np.isnan(theirs)).any(1) if ours.shape == theirs.shape else np.zeros(len(points), bool)
    if ours.shape == theirs.shape and not defined.any():
        reason = "it is not defined at any point tried; give the inputs that are possible with --domain"
        raise RefusedModel(loaded.facts.path, (Refusal("model", "", reason, "LIP103"),), loaded.facts)
    dtypes = [facts.dtype for facts in loaded.facts.inputs + loaded.facts.outputs]
    relative = max(RELATIVE.get(dtype, RELATIVE["float32"]) for dtype in dtypes)
    scale = max(0.01, float(np.abs(theirs[defined]).max(initial=0.0)) if defined.any() else 0.0)
    tolerance = relative * scale
    difference = float(np.abs(ours - theirs)[defined].max(initial=0.0)) if defined.any() else float("inf")
    parity = Parity(int(defined.sum()), difference, tolerance)
    facts = replace(loaded.facts, parity=parity)
    if not difference <= tolerance:  # NaN fails too
        reason = f"our graph and onnxruntime differ by {difference:.3g}, more than {tolerance:.3g}"
        raise RefusedModel(facts.path, (Refusal("model", "", reason, "LIP103"),), facts)
    return Loaded(facts, loaded.graph, loaded.content)


def _points(loaded: Loaded, box: Box | None) -> np.ndarray:
    """A few points of the domain (a normal sample without one), exactly representable in the model's own type."""
    generator = torch.Generator().manual_seed(0)
    shape = (POINTS, *loaded.graph.input_shape)
    if box is None or not box.finite:
        drawn = torch.randn(shape, generator=generator, dtype=torch.float64)
    else:
        drawn = box.lower + torch.rand(shape, generator=generator, dtype=torch.float64) * (box.upper - box.lower)
    return as_model_type(loaded.facts, drawn.numpy())


def as_model_type(facts: ModelFacts, points: np.ndarray) -> np.ndarray:
    """The points rounded to the narrowest type of the model's inputs, as float64."""
    narrow = {"float16": np.float16, "float32": np.float32, "float64": np.float64}
    kinds = {narrow.get(i.dtype, np.float32) for i in facts.inputs if i.dtype.startswith("float")}
    kind = min(kinds or {np.float32}, key=lambda k: np.dtype(k).itemsize)
    return points.astype(kind).astype(np.float64)


class _RuntimeFailed(Exception):
    """onnxruntime said no; the message is its first line."""


def reference_outputs(content: bytes, facts: ModelFacts, points: np.ndarray) -> np.ndarray:
    """onnxruntime's outputs at points [B, *input_shape], one run each, flattened and joined: float64 [B, out_size]."""
    session = _session(content)
    names = [facts_.name for facts_ in facts.outputs]
    rows = []
    for point in points:
        feeds, start = {}, 0
        flat = point.reshape(-1)
        for tensor in facts.inputs:
            size = int(np.prod(tensor.shape))
            part = flat[start : start + size].reshape(tensor.shape)
            feeds[tensor.name] = part.astype(_NUMPY.get(tensor.dtype, np.float32))
            start += size
        try:
            answers = session.run(names, feeds)
        except Exception as error:  # noqa: BLE001 - onnxruntime raises types of its own that it does not export
            raise _RuntimeFailed(_first_line(error)) from None
        rows.append(np.concatenate([np.asarray(a, dtype=np.float64).reshape(-1) for a in answers]))
    return np.stack(rows)


_NUMPY = {"float16": np.float16, "float32": np.float32, "float64": np.float64}


def _session(content: bytes) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - as above
        raise _RuntimeFailed(_first_line(error)) from None


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0][:200] if lines else type(error).__name__
