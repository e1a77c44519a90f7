"""A model in memory is audited as its file is; a torch module is exported first, and left as it was."""

from __future__ import annotations

import importlib.util
from importlib.machinery import ModuleSpec
from pathlib import Path

import onnx
import pytest
import torch

import lipaudit
from lipaudit.errors import InvalidInput, UsageError
from lipaudit.loading.sources import as_content

MODEL = Path(__file__).resolve().parents[2] / "sample_models" / "diabetes_tanh.onnx"


def network() -> torch.nn.Sequential:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.ReLU(), torch.nn.Dropout(0.5), torch.nn.Linear(6, 2))


def test_no_package_has_the_name_of_a_public_function() -> None:
    """Once imported, it would take its place: lipaudit.check(..) would call a module."""
    assert [name for name in lipaudit.__all__ if importlib.util.find_spec(f"lipaudit.{name}")] == []


def test_a_proto_is_audited_as_its_file_is() -> None:
    given, read = lipaudit.check(onnx.load(MODEL)), lipaudit.check(MODEL)
    assert given.model.inputs == read.model.inputs
    assert given.problem == read.problem
    assert given.model.parity is not None


def test_a_module_is_exported_in_evaluation_mode_and_left_as_it_was() -> None:
    module = network().train()
    module.get_submodule("1").eval()
    before = [part.training for part in module.modules()]
    report = lipaudit.bound(module, lipaudit.Settings(methods=("product",), example=torch.zeros(1, 4)))
    assert [part.training for part in module.modules()] == before
    assert report.model.path == "Sequential (torch module)"
    assert report.upper is not None
    assert report.upper.bound is not None
    weights = [module.get_parameter(name).detach().double() for name in ("0.weight", "3.weight")]
    product = float(torch.linalg.matrix_norm(weights[0], 2) * torch.linalg.matrix_norm(weights[1], 2))
    assert product * (1 - 1e-9) <= report.upper.bound.value <= product * (1 + 1e-6)


def test_what_cannot_be_audited_is_said() -> None:
    with pytest.raises(UsageError, match="give inputs to export it with"):
        lipaudit.bound(network())
    with pytest.raises(UsageError, match="not dict"):
        lipaudit.check({})  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match=r"torch\.onnx cannot export Sequential"):
        as_content(network(), torch.zeros(1, 5))


def test_onnxscript_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.util.find_spec

    def gone(name: str) -> ModuleSpec | None:
        return None if name == "onnxscript" else there(name)

    monkeypatch.setattr("lipaudit.loading.sources.find_spec", gone)
    with pytest.raises(UsageError, match=r"pip install 'lipaudit\[torch\]'"):
        lipaudit.check(network(), lipaudit.Settings(example=torch.zeros(1, 4)))
