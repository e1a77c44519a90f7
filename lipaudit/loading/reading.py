"""A file's bytes, read once, to a ModelProto, or one clear line why not."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from lipaudit.errors import InvalidInput

MAX_BYTES = 2**31
"""Larger files are not ONNX files: protobuf ends at 2 GiB."""

_LFS = b"version https://git-lfs"


def read_bytes(path: Path, what: str = "model", limit: int = MAX_BYTES) -> bytes:
    """The content of a regular file, read once. Raises InvalidInput for anything else."""
    try:
        # a pipe that nobody writes to must not stop us, so it is opened without waiting for one
        with os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise InvalidInput(f"{what} {path} is not a regular file")
            if status.st_size > limit:
                raise InvalidInput(f"{what} {path} has {status.st_size} bytes, more than the {limit} that are read")
            return stream.read()
    except FileNotFoundError:
        raise InvalidInput(f"{what} {path} does not exist") from None
    except IsADirectoryError:
        raise InvalidInput(f"{what} {path} is a folder, not a file") from None
    except ValueError:  # a NUL in the name
        raise InvalidInput(f"{what} {str(path)!r} is not the name of a file") from None
    except OSError as error:
        raise InvalidInput(f"{what} {path} cannot be read: {error.strerror}") from None


def parse_model(content: bytes, path: Path) -> onnx.ModelProto:
    """The protobuf. Raises InvalidInput with what the file is instead, as far as that can be told."""
    if not content:
        raise InvalidInput(f"model {path} is empty")
    if content.startswith(_LFS):
        raise InvalidInput(f"model {path} is a Git LFS pointer, not the model itself: run `git lfs pull`")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
        understood = bool(model.graph.node or model.graph.output)
    except (DecodeError, UnicodeDecodeError):
        understood = False
    if not understood:
        kind = _guess(content)
        raise InvalidInput(f"model {path} is no ONNX file ({kind}); export one with torch.onnx.export")
    _check_text(model, path)
    return model


def _check_text(model: onnx.ModelProto, path: Path) -> None:
    """Raises InvalidInput for names that are no UTF-8: protobuf lets them pass, as bytes or as an error on access."""
    try:
        if all(isinstance(text, str) for text in _texts(model)):
            return
    except UnicodeDecodeError:
        pass
    raise InvalidInput(f"model {path} has a name that is no UTF-8 text: the file is damaged")


def _texts(model: onnx.ModelProto) -> Iterator[object]:
    """Every name that a reader of the graph may look at."""
    graph = model.graph
    yield graph.name
    yield from (entry.domain for entry in model.opset_import)
    for info in (*graph.input, *graph.output):
        yield info.name
        yield from (dim.dim_param for dim in info.type.tensor_type.shape.dim)
    yield from (tensor.name for tensor in graph.initializer)
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        for attribute in node.attribute:
            yield from (attribute.name, attribute.ref_attr_name, attribute.t.name)


def _guess(content: bytes) -> str:
    known = {b"\x80": "a pickle", b"PK\x03\x04": "a zip archive, perhaps a torch checkpoint", b"\x1f\x8b": "gzip data"}
    for magic, kind in known.items():
        if content.startswith(magic):
            return kind
    try:
        content[:512].decode("utf-8")
    except UnicodeDecodeError:
        return "truncated or of another format"
    return "text"


def sha256(content: bytes) -> str:
    """The digest that names the model in a report."""
    return hashlib.sha256(content).hexdigest()
