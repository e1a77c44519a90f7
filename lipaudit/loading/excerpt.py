"""What onnxruntime is given of a file: the nodes that the audited outputs need, and nothing beside them.

A file may hold an endless loop or a terabyte of zeros next to its network. Nothing of that is read here, and so nothing
of it is run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from lipaudit.loading.scopes import names_used

_DEFAULT = ("", "ai.onnx")
_LISTED_FROM = 4
"""The file format from which initializers need not be inputs too."""


def excerpt(
    model: onnx.ModelProto,
    content: bytes,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[str],
    outputs: Sequence[str],
    held: Mapping[str, np.ndarray],
) -> bytes:
    """A file of these nodes alone, arguments first: `content` itself where they are all there is.

    held: inputs that do not vary, which become stored tensors.
    """
    graph = model.graph
    read = {name for node in nodes for name in names_used(node)} | set(outputs)
    stored = [tensor for tensor in graph.initializer if tensor.name in read]
    names = {tensor.name for tensor in graph.initializer}
    given = {info.name for info in graph.input} - names
    if len(nodes) == len(graph.node) and len(stored) == len(graph.initializer) and given <= set(inputs) and not held:
        return content
    copy = onnx.ModelProto(ir_version=max(model.ir_version, _LISTED_FROM))
    copy.opset_import.extend(entry for entry in model.opset_import if entry.domain in _DEFAULT)
    copy.graph.name = graph.name or "excerpt"
    copy.graph.node.extend(nodes)
    copy.graph.initializer.extend(stored)
    copy.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in held.items())
    copy.graph.input.extend(info for info in graph.input if info.name in inputs)
    copy.graph.output.extend(info for info in graph.output if info.name in outputs)
    serialised: bytes = copy.SerializeToString()
    return serialised
