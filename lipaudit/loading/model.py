"""What loading gives: the graph with the facts of its file, or a list of reasons why there is none."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, final

import numpy as np
import torch

from lipaudit.errors import LipauditError
from lipaudit.graph.graph import Graph
from lipaudit.linear.map import Shape
from lipaudit.report.report import Batch, Parity

REALS = ("float16", "float32", "float64", "bfloat16")
"""The types of inputs that have a Jacobian."""


@final
@dataclass(frozen=True, slots=True)
class TensorFacts:
    """A named input or output of the model. shape: as audited; declared: as the file says (None: not said).

    held: the value that an input has which does not vary, as the user wrote it.
    """

    name: str
    shape: Shape
    dtype: str
    declared: tuple[int | str | None, ...]
    held: str | None = None


@final
@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a reader needs to know which function was audited. inputs: those that vary, and those that are held."""

    path: str
    sha256: str
    opset: int
    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]
    parity: Parity | None
    assumptions: tuple[str, ...] = ()
    batch: Batch | None = None

    @property
    def varying(self) -> tuple[TensorFacts, ...]:
        """The inputs that the graph's one input is cut into, in order."""
        return tuple(facts for facts in self.inputs if facts.held is None)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """A model as a graph of one tensor. Several inputs are one flat vector, in order; so are several outputs.

    content: of a file that onnxruntime is given: the one that was read, or what the audited outputs need of it.
    """

    facts: ModelFacts
    graph: Graph
    content: bytes = field(repr=False)

    def run_reference(self, points: np.ndarray) -> np.ndarray:
        """onnxruntime's answers at points [B, *input_shape], as float64 [B, out_size]."""
        from lipaudit.loading.parity import reference_outputs

        return reference_outputs(self.content, self.facts, points)

    def evaluate(self, points: np.ndarray) -> torch.Tensor:
        """Our graph's answers at the same points, [B, *output_shape]."""
        with torch.no_grad():
            rows, size = torch.as_tensor(points, dtype=torch.float64), self.graph.batch
            return torch.cat([self.graph.forward(rows[at : at + size]) for at in range(0, len(rows), size)])


@final
@dataclass(frozen=True, slots=True)
class Refusal:
    """One reason why a model cannot be audited. code: see `lipaudit explain`."""

    op: str
    node: str
    reason: str
    code: str = "LIP101"


class RefusedModel(LipauditError):
    """A well-formed model that cannot be audited; every refused node at once."""

    exit_code: ClassVar[int] = 3

    def __init__(self, path: str, refusals: tuple[Refusal, ...], facts: ModelFacts | None = None) -> None:
        self.path, self.refusals, self.facts = path, refusals, facts
        lines = "; ".join(f"{r.op} {r.node!r}: {r.reason}" for r in refusals)
        super().__init__(f"{path} cannot be audited: {lines}")
