"""The sample models of ../shared: every one is read and agrees with onnxruntime, or is refused for a true reason."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from lipaudit.errors import LipauditError
from lipaudit.loading import load_model
from lipaudit.numerics.box import Box
from tests.conftest import SHARED

WHY = {
    "models": {
        "carvana_unet_simp": "ArgMax .* jumps",
        "cctsdb_patch3": "Cast .* jumps",
        "ezkl_xgboost_reg": "Less .* jumps",
        "silero_vad_half": "kernel is larger than its padded input",
    },
    "models_ops": {
        "Bernoulli__bernoulli": "random",
        "Ceil__ceil": "jumps",
        "DeformConv__deform_conv": "no rule",
        "Div__mod_broadcast_remainder_fixed": "Floor .* jumps",
        "EyeLike__eye_like": "does not depend on the input",
        "Floor__floor": "jumps",
        "Greater_Where__softplus": "Greater .* jumps",
        "GridSample__grid_sample_nearest": "no rule",
        "Hardmax__hardmax": "jumps",
        "Mod__mod_fmod": "jumps",
        "RandomNormalLike__random_normal_like": "random",
        "RandomUniformLike__random_uniform_like": "random",
        "Resize__resize_with_scales_tensor": "scales depends on the input",
        "Round__round": "jumps",
        "Shape__simplify_cast_shape": "does not depend on the input",
        "Sign__test_sign_model": "jumps",
        "ThresholdedRelu__thresholded_relu": "it jumps by 2",
        "TopK__topk_1d": "indices are used",
    },
    "models_bad": {
        "bn_3d_runtime_error": "does not fit its inputs",
        "custom_domain_brevitas": "domain 'onnx.brevitas'",
        "equal_float_opset10": "onnxruntime could not run it",
        "external_data_missing": "another file",
        "lfs_pointer": "Git LFS pointer",
        "opset6_fixed_batch_789444": "onnxruntime could not run it",
        "opset_missing_extension": "opset|uint8",
    },
}
"""Files that are refused, with the reason; every other one has to load."""

DOMAINS = {
    "Acos__acos": (-1.0, 1.0),
    "Acosh__acosh": (1.0, 4.0),
    "Asin__asin": (-1.0, 1.0),
    "Atanh__atanh": (-0.9, 0.9),
    "Log__log": (0.5, 4.0),
    "ReduceLogSum__reduce_log_sum": (0.5, 4.0),
    "Sqrt__test_operator_sqrt": (0.5, 4.0),
}
"""Where functions are defined that a normal sample leaves."""

ILL_CONDITIONED = {"reach_vdp": 1e-5}
"""Largest relative differences of float32 against float64 that are above 3e-6."""


def _files() -> list[Path]:
    return sorted(path for folder in WHY for path in (SHARED / folder).glob("*.onnx"))


def _box(path: Path) -> Box | None:
    if path.stem not in DOMAINS:
        return None
    shape = _shape(path)
    low, high = (torch.full((1, *shape), end, dtype=torch.float64) for end in DOMAINS[path.stem])
    return Box(low, high)


def _shape(path: Path) -> tuple[int, ...]:
    import onnx

    (only,) = onnx.load(path).graph.input
    return tuple(dim.dim_value or 1 for dim in only.type.tensor_type.shape.dim)


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"{SHARED} is not here: its models are not part of the repository")
@pytest.mark.parametrize("path", _files(), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_sample_model_loads_or_is_refused_for_a_true_reason(path: Path) -> None:
    why = WHY[path.parent.name].get(path.stem)
    if why is not None:
        with pytest.raises(LipauditError) as caught:
            load_model(path)
        assert re.search(why, str(caught.value)), str(caught.value)
        return
    loaded = load_model(path, box=_box(path))
    stored = [path.with_name(f"{path.stem}.{name}.npy") for name in ("inputs", "ort_outputs")]
    if all(file.exists() for file in stored):
        points, theirs = (np.load(file).astype(np.float64) for file in stored)
        ours = loaded.evaluate(points.reshape(-1, *loaded.graph.input_shape)).numpy().reshape(theirs.shape)
        tolerance = ILL_CONDITIONED.get(path.stem, 3e-6)
        assert np.abs(ours - theirs).max() <= tolerance * max(1e-3, np.abs(theirs).max())


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"{SHARED} is not here: its models are not part of the repository")
def test_the_lists_name_files_that_are_there() -> None:
    stems = {path.stem for path in _files()}
    assert {stem for folder in WHY.values() for stem in folder} | set(DOMAINS) | set(ILL_CONDITIONED) <= stems
