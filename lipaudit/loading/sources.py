"""What a model may be given as: a file, a ModelProto in memory, or a torch module, which is exported first."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import final

import onnx
import torch

from lipaudit.errors import InvalidInput, UsageError

ModelLike = str | Path | onnx.ModelProto | torch.nn.Module
"""Whatever the library audits."""


@final
@dataclass(frozen=True, slots=True)
class Content:
    """An ONNX file's bytes that are no file. name: stands in the report where a path would."""

    name: str
    content: bytes = field(repr=False)


def as_content(model: ModelLike, example: object = None) -> str | Path | Content:
    """The path as it is; a model in memory as the bytes of its file.

    example: a tensor or a tuple of them, what a torch module is called with when it is exported.
    Raises UsageError for anything else, for a module without an example or without onnxscript; InvalidInput where the
    export fails.
    """
    if isinstance(model, str | Path):
        return model
    if isinstance(model, onnx.ModelProto):
        return Content(model.graph.name or "ModelProto", _serialised(model))
    if isinstance(model, torch.nn.Module):
        if example is None:
            name = type(model).__name__
            raise UsageError(
                f"{name} is a torch module: give inputs to export it with, Settings(example=torch.zeros(...))"
            )
        return Content(f"{type(model).__name__} (torch module)", _serialised(_exported(model, example)))
    raise UsageError(f"a model is a path, an onnx.ModelProto or a torch.nn.Module, not {type(model).__name__}")


def _serialised(model: onnx.ModelProto) -> bytes:
    try:
        content: bytes = model.SerializeToString()
    except ValueError as error:
        raise InvalidInput(f"the model cannot be written as one file: {error}") from None
    return content


def _exported(module: torch.nn.Module, example: object) -> onnx.ModelProto:
    """The module in evaluation mode, as torch.onnx exports it. Its own modes are as before afterwards."""
    if find_spec("onnxscript") is None:
        raise UsageError("to export a torch module onnxscript is needed: pip install 'lipaudit[torch]'")
    modes = [(part, part.training) for part in module.modules()]
    arguments = example if isinstance(example, tuple) else (example,)
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    module.eval()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter, about its own parts
            program = torch.onnx.export(module, arguments, dynamo=True, verbose=False)
    except Exception as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise InvalidInput(f"torch.onnx cannot export {type(module).__name__}: {said[0]}") from error
    finally:
        logger.setLevel(level)
        for part, training in modes:
            part.training = training
    if program is None:
        raise InvalidInput(f"torch.onnx gave no model for {type(module).__name__}")
    proto: onnx.ModelProto = program.model_proto
    return proto
