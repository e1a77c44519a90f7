"""Fresh exports of common architectures: each has a finite bound, or a true reason why a domain has to make it one."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import lipaudit.audit.bounding as bounding_module
from lipaudit.audit import Domain, Settings, bound, check, local
from lipaudit.errors import LipauditError
from lipaudit.report.report import AuditReport
from tests.cases.architectures import ARCHITECTURES, Architecture

SCRIPTED = {
    "script11": ("convnext", "group_norm", "gru", "mixer", "mobilenet_v3", "upsample"),
    "script17": ("bert", "causal_attention", "convnext", "lstm", "mixer", "multihead", "resnet", "softplus3d", "vit"),
}
"""What the older exporter is asked for too: where it takes apart what the newer one does not, and as the opset goes."""

ATTENTIONS = {"bert": 2, "causal_attention": 1, "multihead": 1, "pre_ln_encoder": 2, "vit": 2, "vit_post_ln": 2}
"""How many attentions are bounded as a whole, from either exporter."""

BOX = Domain(-1.0, 1.0, "-1,1")


def exports() -> list[tuple[str, str]]:
    scripted = [(name, how) for how, names in SCRIPTED.items() for name in names]
    return [*((name, "dynamo") for name in ARCHITECTURES), *scripted]


def export(architecture: Architecture, how: str, path: Path) -> torch.nn.Module:
    torch.manual_seed(0)
    module, batch = architecture.build().eval(), (2, *architecture.shape[1:])
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        logging.getLogger("onnxscript").setLevel(logging.ERROR)
        if how == "dynamo":
            torch.onnx.export(
                module,
                (torch.randn(batch),),
                path,
                dynamo=True,
                verbose=False,
                external_data=False,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                input_names=["x"],
                output_names=["y"],
            )
        else:
            torch.onnx.export(
                module,
                (torch.randn(architecture.shape),),
                path,
                dynamo=False,
                opset_version=int(how.removeprefix("script")),
                dynamic_axes={"x": {0: "batch"}},
                input_names=["x"],
                output_names=["y"],
            )
    return module


def value(report: AuditReport) -> float:
    assert report.upper is not None
    assert report.upper.bound is not None
    return report.upper.bound.value


@pytest.mark.parametrize(("name", "how"), exports(), ids=lambda part: str(part))
def test_an_export_is_audited(name: str, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """check finds it auditable; bound is finite, at once or with a domain; no slope at an input is above it."""
    monkeypatch.setattr(bounding_module, "attained", lambda *_: None)  # the slopes at inputs are enough here
    architecture, path = ARCHITECTURES[name], tmp_path / f"{name}.onnx"
    module = export(architecture, how, path)
    x = np.random.default_rng(0).uniform(-1.0, 1.0, (3, *architecture.shape)).astype(np.float32)
    if name == "softplus3d" and how == "dynamo":  # x > 20 ? x : softplus(x) jumps by 2e-9
        with pytest.raises(LipauditError, match=r"Greater .* jumps"):
            check(path, Settings())
        return
    report = check(path, Settings())
    needs = any(finding.code == "LIP110" for finding in report.findings)
    assert needs == architecture.needs_domain
    settings = Settings(domain=BOX if needs else None, methods=("product",))
    report = bound(path, settings)
    assert sum(layer.op == "Attention" for layer in report.layers) == ATTENTIONS.get(name, 0)
    slopes = local(path, x, settings)
    assert slopes.samples is not None
    assert slopes.samples.values.max() <= value(report) < np.inf
    steep = any(isinstance(part, torch.nn.LayerNorm | torch.nn.RMSNorm) for part in module.modules())
    assert any(finding.code == "LIP112" for finding in report.findings) or not steep or needs


def test_an_unbounded_attention_says_so(tmp_path: Path) -> None:
    export(ARCHITECTURES["multihead"], "dynamo", tmp_path / "m.onnx")
    findings = check(tmp_path / "m.onnx", Settings()).findings
    assert {(finding.code, finding.op) for finding in findings} == {("LIP110", "MatMul")}
