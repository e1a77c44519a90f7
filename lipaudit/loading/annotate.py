"""Notes in an ONNX file: facts in its metadata and at its nodes, where a viewer shows them; the function stays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx

from lipaudit.errors import InvalidInput
from lipaudit.loading.reading import parse_model, read_bytes, sha256

PREFIX = "lipaudit."
NODE_METADATA = 10
"""The IR version from which a node has metadata of its own."""


def annotated(path: Path, digest: str, facts: Mapping[str, str], nodes: Mapping[str, Mapping[str, str]]) -> bytes:
    """The model's file with `facts` in its metadata and those of `nodes` (by name) at the nodes; older ones replaced.

    A node of a file before IR version 10 has no metadata: there its notes are appended to its description.
    digest: the sha256 of the bytes that the facts are of. Raises InvalidInput where the file is not those any more, or
    where onnx's checker accepts the model and not the annotated one.
    """
    content = read_bytes(path)
    if sha256(content) != digest:
        raise InvalidInput(f"{path} has changed while it was audited")
    model = parse_model(content, path)
    valid = _valid(model)
    _replace(model.metadata_props, facts)
    for node in model.graph.node:
        notes = nodes.get(node.name)
        if not node.name or notes is None:
            continue
        if model.ir_version >= NODE_METADATA:
            _replace(node.metadata_props, notes)
        else:
            kept = [line for line in node.doc_string.splitlines() if not line.startswith(PREFIX)]
            node.doc_string = "\n".join([*kept, *(f"{PREFIX}{key}: {value}" for key, value in notes.items())])
    if valid and not _valid(model):
        raise InvalidInput(f"{path}: onnx's checker does not accept the annotated model")
    written: bytes = model.SerializeToString()
    return written


def _valid(model: onnx.ModelProto) -> bool:
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError):
        return False
    return True


def _replace(entries: object, notes: Mapping[str, str]) -> None:
    """Metadata entries, a repeated field, with our older ones gone and these at the end."""
    kept = [(entry.key, entry.value) for entry in entries if not entry.key.startswith(PREFIX)]  # type: ignore[attr-defined]
    del entries[:]  # type: ignore[attr-defined]
    for key, value in [*kept, *((f"{PREFIX}{key}", value) for key, value in notes.items())]:
        entry = entries.add()  # type: ignore[attr-defined]
        entry.key, entry.value = key, value
