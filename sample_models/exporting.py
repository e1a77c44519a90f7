"""Export by torch's two ONNX exporters, clean the file, and check it against the torch model."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnxruntime as ort  # type: ignore[import-untyped, unused-ignore]
import torch
from google.protobuf.descriptor import (  # type: ignore[import-untyped, unused-ignore]
    FieldDescriptor,
)
from google.protobuf.message import (  # type: ignore[import-untyped, unused-ignore]
    Message,
)
from numpy.typing import NDArray
from torch import Tensor, nn

Exporter = Literal["dynamo", "torchscript"]

TOLERANCE = 1e-4
NOTES = ("doc_string", "metadata_props")
PATH_MARKS = (b"/work", b"/root", b"/home", b"/Users", b"site-packages")


def export(model: nn.Module, example: Tensor, path: Path, exporter: Exporter) -> onnx.ModelProto:
    """Write a self-contained ONNX file with a free batch axis, and return what it holds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # both exporters warn about themselves, not the model
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        if exporter == "dynamo":
            _export_dynamo(model, example, path)
        else:
            _export_torchscript(model, example, path)
    proto = onnx.load(path)
    strip_notes(proto)
    onnx.checker.check_model(proto, full_check=True)
    data = proto.SerializeToString(deterministic=True)
    leaks = [mark for mark in PATH_MARKS if mark in data]
    if leaks:
        raise RuntimeError(f"{path.name} still names files of this machine: {leaks}")
    path.write_bytes(data)
    return proto


def strip_notes(message: Message) -> None:
    """Clear every doc string and metadata entry, at any depth.

    The dynamo exporter stores a stack trace with absolute paths on each node.
    """
    for field, value in message.ListFields():
        if field.name in NOTES:
            message.ClearField(field.name)
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            for child in value if field.is_repeated else [value]:
                strip_notes(child)


def checked_outputs(path: Path, model: nn.Module, x: Tensor) -> NDArray[np.float32]:
    """Run the file on all of `x` and refuse it unless torch says the same."""
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    (outputs,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    found: NDArray[np.float32] = np.asarray(outputs)
    with torch.no_grad():
        gap = float(np.abs(found - model(x).numpy()).max())
    if gap >= TOLERANCE:
        raise RuntimeError(f"{path.name} differs from the torch model by {gap:.1e}")
    return found


def _export_dynamo(model: nn.Module, example: Tensor, path: Path) -> None:
    """Use today's default exporter, as most people will; it folds BatchNorm into the conv."""
    torch.onnx.export(
        model,
        (example,),
        path,
        dynamo=True,
        verbose=False,
        external_data=False,
        input_names=["input"],
        output_names=["output"],
        dynamic_shapes=({0: "batch"},),
    )


def _export_torchscript(model: nn.Module, example: Tensor, path: Path) -> None:
    """Use the older exporter, with the folding off so that BatchNorm stays a node of its own."""
    torch.onnx.export(
        model,
        (example,),
        str(path),
        dynamo=False,
        do_constant_folding=False,
        input_names=["input"],
        output_names=["output"],
        dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}},
    )
