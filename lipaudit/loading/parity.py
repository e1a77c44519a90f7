"""Our graph against onnxruntime at a few points: the audited function must be the one that is deployed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from lipaudit.loading.model import Loaded, ModelFacts, Refusal, RefusedModel
from lipaudit.loading.reference import RUNTIME, RuntimeFailed
from lipaudit.numerics.box import Box
from lipaudit.report.report import Parity

POINTS = 4
"""At most: a graph of millions of entries has fewer."""

RELATIVE = {"float64": 1e-9, "float32": 1e-4, "float16": 3e-2, "bfloat16": 3e-1}
"""What onnxruntime's own arithmetic may differ by, of the largest output."""


def check_parity(loaded: Loaded, box: Box | None, *, jumps: bool = False) -> Loaded:
    """The same model with its parity noted. Raises RefusedModel where the difference is beyond tolerance.

    jumps: the model is not continuous, so that float32 may land on the other side of a jump: at least half of the
    points have to agree, and only those are counted.
    """
    points = _points(loaded, box)
    ours = loaded.evaluate(points).reshape(len(points), -1).numpy()
    try:
        theirs = loaded.run_reference(points)
    except RuntimeFailed as error:
        reason = f"onnxruntime could not run it, so the audited function cannot be confirmed: {error}"
        raise RefusedModel(loaded.facts.path, (Refusal("model", "", reason, "LIP103"),), loaded.facts) from None
    # a point outside the function's domain (the log of -1) says nothing, if both say so
    defined = ~(np.isnan(ours) & np.isnan(theirs)).any(1) if ours.shape == theirs.shape else np.zeros(len(points), bool)
    if ours.shape == theirs.shape and not defined.any():
        reason = "it is not defined at any point tried; give the inputs that are possible with --domain"
        raise RefusedModel(loaded.facts.path, (Refusal("model", "", reason, "LIP103"),), loaded.facts)
    dtypes = [facts.dtype for facts in loaded.facts.varying + loaded.facts.outputs]
    relative = max(RELATIVE.get(dtype, RELATIVE["float32"]) for dtype in dtypes)
    peak = float(np.abs(theirs[defined]).max(initial=0.0)) if defined.any() else 0.0
    # small outputs may be differences of large numbers, whose rounding they carry; but a factor has to show at any size
    tolerance = relative * max(peak, min(0.01, 500.0 * peak))
    with np.errstate(invalid="ignore"):  # two infinities differ by NaN, which passes nothing below
        difference = float(np.abs(ours - theirs)[defined].max(initial=0.0)) if defined.any() else float("inf")
    if jumps and ours.shape == theirs.shape:
        with np.errstate(invalid="ignore"):
            agree = defined & (np.abs(ours - theirs).max(1) <= tolerance)
        if 2 * agree.sum() >= defined.sum():
            defined = agree
            difference = float(np.abs(ours - theirs)[defined].max(initial=0.0))
    parity = Parity(int(defined.sum()), difference, tolerance)
    facts = replace(loaded.facts, parity=parity)
    if not difference <= tolerance:  # NaN fails too
        reason = f"our graph and onnxruntime differ by {difference:.3g}, more than {tolerance:.3g}"
        raise RefusedModel(facts.path, (Refusal("model", "", reason, "LIP103"),), facts)
    return Loaded(facts, loaded.graph, loaded.content)


def _points(loaded: Loaded, box: Box | None) -> np.ndarray:
    """A few points of the domain (a normal sample without one), exactly representable in the model's own type."""
    generator = torch.Generator().manual_seed(0)
    shape = (min(POINTS, loaded.graph.batch), *loaded.graph.input_shape)
    if box is None or not box.finite:
        drawn = torch.randn(shape, generator=generator, dtype=torch.float64)
    else:
        drawn = box.lower + torch.rand(shape, generator=generator, dtype=torch.float64) * (box.upper - box.lower)
    return as_model_type(loaded.facts, drawn.numpy())


def as_model_type(facts: ModelFacts, points: np.ndarray) -> np.ndarray:
    """The points rounded to the narrowest type of the model's inputs, as float64."""
    narrow = {"float16": np.float16, "float32": np.float32, "float64": np.float64}
    kinds = {narrow.get(i.dtype, np.float32) for i in facts.varying if i.dtype.startswith("float")}
    kind = min(kinds or {np.float32}, key=lambda k: np.dtype(k).itemsize)
    return points.astype(kind).astype(np.float64)


def reference_outputs(content: bytes, facts: ModelFacts, points: np.ndarray) -> np.ndarray:
    """onnxruntime's outputs at points [B, *input_shape], one run each, flattened and joined: float64 [B, out_size].

    Raises RuntimeFailed.
    """
    # an input of another type is read by nothing here or held, and no input of the excerpt
    inputs = [(tensor.name, tensor.shape, tensor.dtype) for tensor in facts.varying]
    return RUNTIME.run(content, inputs, [tensor.name for tensor in facts.outputs], points)
