"""A loaded model's bound against onnxruntime's own slopes: functions that raise AssertionError."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from lipaudit.graph.problem import Problem
from lipaudit.graph.simplify import simplify
from lipaudit.loading import Loaded, RefusedModel, load_model
from lipaudit.numerics.norms import Norm
from tests.cases.models import black_box_jacobian, saved
from tests.laws.engine_laws import BoundOf, layer_product


def loads(made: onnx.ModelProto, folder: Path) -> Loaded:
    """The model is read, and its graph agrees with onnxruntime."""
    try:
        return load_model(saved(made, folder))
    except RefusedModel as error:
        raise AssertionError(str(error)) from None


def norm_of(matrix: np.ndarray, norm: Norm) -> float:
    order = {Norm.L1: 1, Norm.L2: 2, Norm.LINF: np.inf}[norm]
    return float(np.linalg.norm(matrix, order))


FLOAT32 = 2e-5
"""What a float32 run may differ by, relatively."""


def bound_is_above_black_box(
    made: onnx.ModelProto, folder: Path, bound_of: BoundOf = layer_product, *, tight: bool = False
) -> None:
    """||J|| <= bound for an affine model, J by unit vectors through onnxruntime; and no more than that where tight."""
    graph = loads(made, folder).graph
    matrix = black_box_jacobian(made)
    for form in (graph, simplify(graph)):
        for norm in Norm:
            bound, met = bound_of(Problem.over(form, norm)), norm_of(matrix, norm)
            assert met <= bound * (1 + FLOAT32) + 1e-5, f"{norm.value}: {met!r} is met, {bound!r} is the bound"
            if tight and form is not graph:
                assert bound <= met * (1 + FLOAT32) + 1e-5, f"{norm.value}: {bound!r} for {met!r}"
