"""Findings: coded messages that say what is wrong, with what, and what to do next. Codes are never reused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

Severity = Literal["error", "warning", "note"]


@final
@dataclass(frozen=True, slots=True)
class Code:
    """One kind of finding: its severity, what it means, and the remedy."""

    code: str
    title: str
    severity: Severity
    meaning: str
    remedy: str


@final
@dataclass(frozen=True, slots=True)
class Finding:
    """A code, what it is about (a node, a rule, a file) and the particulars. op: of the node, where there is one."""

    code: str
    subject: str
    message: str
    op: str | None = None

    @property
    def kind(self) -> Code:
        return CODES[self.code]


_ALL = (
    Code(
        "LIP101",
        "unsupported op",
        "error",
        "A node between the input and the audited output has no proven rule in this form, so nothing was bounded.",
        "Export the model without the op, audit another output with --output, or ask for the op.",
    ),
    Code(
        "LIP102",
        "unsupported model",
        "error",
        "The file's opset, functions or structure are outside what is read.",
        "Export again with a current torch.onnx.export, opset 17 to 24, without custom functions.",
    ),
    Code(
        "LIP103",
        "parity with onnxruntime",
        "error",
        "The audited graph and onnxruntime do not agree on the model's output, or onnxruntime cannot run it.",
        "Check that the file runs in onnxruntime; if it does, please report the difference.",
    ),
    Code(
        "LIP104",
        "nothing to audit",
        "error",
        "The audited output does not depend on a real-valued input.",
        "Choose the output with --output; a function of whole numbers has no Lipschitz constant.",
    ),
    Code(
        "LIP105",
        "discontinuous op",
        "error",
        "A node jumps, so two inputs as close as one likes can have answers far apart: there is no finite constant.",
        "Audit an output before the node (--output), such as the scores instead of the class.",
    ),
    Code(
        "LIP110",
        "no finite bound",
        "warning",
        "An op is only locally Lipschitz and its input is not bounded, so the global constant is infinite.",
        "Give the input domain with --domain LO,HI.",
    ),
    Code(
        "LIP201",
        "over a limit",
        "error",
        "A measured value is above (or an accuracy below) what the policy allows.",
        "Train for a smaller constant, or change the limit on purpose.",
    ),
    Code(
        "LIP202",
        "not proven",
        "error",
        "A rule needs a number that could not be certified, so the gate cannot pass.",
        "See the reason; a --domain or data for the rule may be missing.",
    ),
    Code(
        "LIP203",
        "undeclared preprocessing",
        "error",
        "The policy does not say how raw inputs become model inputs, so radii and limits have no unit.",
        'Write preprocess = "none" (or a scale and shift) in the configuration.',
    ),
    Code(
        "LIP301",
        "misclassified samples",
        "note",
        "Some samples are not classified as labelled; they have radius 0 and are counted apart.",
        "Nothing to do; certified accuracy counts them as not certified.",
    ),
    Code(
        "LIP901",
        "contradicted engine",
        "error",
        "An upper bound lies below a value that is attained: a fault of lipaudit.",
        "Please report the model; do not use this audit.",
    ),
)

CODES = {entry.code: entry for entry in _ALL}
