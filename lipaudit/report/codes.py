"""The codes of findings and rules: what each means, why it matters, what to do. Codes are never reused.

LIP0xx: rules of the gate, which a policy may turn off or down. LIP1xx: the model. LIP2xx: what the gate lacks.
LIP3xx: the data. LIP4xx: the run. LIP9xx: faults of lipaudit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

Severity = Literal["error", "warning", "note"]


@final
@dataclass(frozen=True, slots=True)
class Code:
    """One kind of finding: its severity, what it means, the remedy, why it matters, and an example to copy."""

    code: str
    title: str
    severity: Severity
    meaning: str
    remedy: str
    why: str
    example: str


_RULES = (
    Code(
        "LIP001",
        "constant over its limit",
        "error",
        "The certified bound of the Lipschitz constant is above the limit `upper`, or a slope above it is attained.",
        "Train for a smaller constant, declare the domain, or change the limit on purpose.",
        "The constant says how far two close inputs can be driven apart. A limit on it keeps a retrained model as "
        "robust as the one that was accepted.",
        "[limits]\nupper = 5.0",
    ),
    Code(
        "LIP002",
        "bracket too loose",
        "error",
        "The certified upper bound over the attained lower bound is above the limit `ratio`.",
        "Give the domain and inputs, more budget or another method; see the methods' reasons in the report.",
        "A bound that is many times the attained slope says little about the model and much about the method.",
        "[limits]\nratio = 1.5",
    ),
    Code(
        "LIP003",
        "layer gain over its limit",
        "error",
        "One layer by itself amplifies more than `layer` or its own limit in `layers` allows.",
        'Regularise or normalise that layer; a limit of its own, or "off", may be given by name, pattern or op:Gemm.',
        "One layer that amplifies much makes every bound through it loose, and is where an attack gains most.",
        '[limits]\nlayer = 8.0\n[limits.layers]\n"/head/*" = 3.0\n"op:LayerNormalization" = "off"',
    ),
    Code(
        "LIP004",
        "local sensitivity over its limit",
        "error",
        "The median, p95 or maximum of the Jacobian norms at the inputs is above its limit. The value is numeric.",
        "Look at the samples with the largest norms (`lipaudit local -o csv:norms.csv`).",
        "Where data lies the model should not be much steeper than before, whatever the global bound says.",
        "[limits.local]\np95 = 3.0\nmax = 4.0",
    ),
    Code(
        "LIP005",
        "certified accuracy too low",
        "error",
        "Fewer samples than required are correct and proven to stay so within the radius.",
        "Train for larger margins or a smaller constant; `lipaudit certify` shows the radius of every sample.",
        "It is the share of answers that no change of the input within the radius can turn wrong.",
        "[limits.certified]\nradius = 0.25\naccuracy = 0.9",
    ),
    Code(
        "LIP006",
        "clean accuracy too low",
        "error",
        "Fewer samples than required are classified as labelled.",
        "Check that preprocessing and labels are those of training; then the model.",
        "A constant model is perfectly robust and useless: accuracy keeps the other limits honest.",
        "[limits.certified]\nclean_accuracy = 0.95",
    ),
    Code(
        "LIP011",
        "improvement not recorded",
        "warning",
        "A number is better than the baseline says, so that it could get worse again without any rule noticing.",
        "Run `lipaudit baseline write` and commit the file.",
        "A ratchet holds only what it has been told. The rule is a warning unless [rules] makes it an error.",
        '[rules]\nimprovement = "error"',
    ),
    Code(
        "LIP012",
        "baseline does not apply",
        "warning",
        "The baseline has no record of this model, or one made with another norm, domain, preprocessing or data.",
        "Record it with these settings: `lipaudit baseline write`, and commit the file.",
        "Two constants in different norms, units or domains cannot be held against each other. A limit that is "
        "relative to such a record is inconclusive.",
        "lipaudit baseline write && git add lipaudit-baseline.toml",
    ),
    Code(
        "LIP020",
        "waived",
        "note",
        "A rule failed and a waiver of the policy excuses it until its day: the failure is told and does not decide.",
        "Nothing now; the waiver ends on its day. A waiver never excuses what was not proven.",
        "A known failure is better written down, with a reason and an end, than hidden by a loose limit.",
        '[[waivers]]\nrule = "layer:/head/*"\nreason = "retrained in the next release, see #12"\nexpires = 2027-01-31',
    ),
    Code(
        "LIP021",
        "waiver expired",
        "error",
        "The last day of a waiver is over. It excuses nothing any more, and fails until it is gone.",
        "Fix what it excused, or renew it on purpose; remove it where the rule passes again.",
        "An exception without an end is a rule that nobody keeps.",
        '[[waivers]]\nrule = "global"\nreason = "..."\nexpires = 2027-01-31    # the last day on which it counts',
    ),
    Code(
        "LIP022",
        "waiver without a use",
        "warning",
        "A waiver excuses no failure of this run: the rule passes, is not proven, or has another name.",
        "Remove the waiver, or correct its rule and model.",
        "A waiver left behind would excuse the next failure silently.",
        "lipaudit gate --output-format json    # the ids and codes of all rules",
    ),
)

_MODEL = (
    Code(
        "LIP101",
        "unsupported op",
        "error",
        "A node between the input and the audited output has no proven rule in this form, so nothing was bounded.",
        "Export the model without the op, audit another output with --output, or ask for the op.",
        "A guess about one op would make every number of the report worthless.",
        "lipaudit check model.onnx    # every node that stands in the way, at once",
    ),
    Code(
        "LIP102",
        "unsupported model",
        "error",
        "The file's opset, functions or structure are outside what is read.",
        "Export again with a current torch.onnx.export, opset 17 to 24, without custom functions.",
        "What is read in two ways by two runtimes is not one function that could be certified.",
        'torch.onnx.export(model, (x,), "model.onnx", opset_version=20, dynamo=True)',
    ),
    Code(
        "LIP103",
        "parity with onnxruntime",
        "error",
        "The audited graph and onnxruntime do not agree on the model's output, or onnxruntime cannot run it.",
        "Check that the file runs in onnxruntime; if it does, please report the difference.",
        "A proof about a function that is not the deployed one proves nothing.",
        "lipaudit check model.onnx    # prints the difference at a few points",
    ),
    Code(
        "LIP104",
        "nothing to audit",
        "error",
        "The audited output does not depend on a real-valued input.",
        "Choose the output with --output; a function of whole numbers has no Lipschitz constant.",
        "The constant 0 of such an output would pass every gate and mean nothing.",
        "lipaudit bound model.onnx --output logits",
    ),
    Code(
        "LIP105",
        "discontinuous op",
        "error",
        "A node jumps, so two inputs as close as one likes can have answers far apart: there is no finite constant.",
        "Audit an output before the node (--output), such as the scores instead of the class, or ask for a slope and a "
        "jump with --modulus.",
        "The gradient of a step is 0 almost everywhere: a sampled constant would look perfect.",
        "lipaudit bound model.onnx --output scores",
    ),
    Code(
        "LIP110",
        "no finite bound",
        "warning",
        "An op is only locally Lipschitz and its input is not bounded, so the global constant is infinite.",
        "Give the input domain with --domain LO,HI.",
        "Products of two tensors, Exp, Log or Sqrt grow without limit; over a bounded domain they do not.",
        "lipaudit bound model.onnx --domain 0,1",
    ),
    Code(
        "LIP111",
        "no batch axis",
        "warning",
        "The file leaves the leading axis open, but its rows reach one another's outputs: it is no batch.",
        "Give the size that is deployed with --shape NAME=8,..; the bound speaks of all its rows together.",
        "The constant of one row says nothing about rows that change one another's answers.",
        "lipaudit bound model.onnx --shape x=8,16",
    ),
    Code(
        "LIP112",
        "steep normalisation",
        "note",
        "A layer, group or RMS norm divides by a deviation that may vanish here, and its slope is 1/sqrt(eps) there.",
        "Expect a bound far above the slopes at data, which lipaudit local shows.",
        "The bound is true and may even be attained, but by inputs that vary as little as no image or text does.",
        "lipaudit local model.onnx --inputs x.npy",
    ),
)

_GATE = (
    Code(
        "LIP202",
        "not proven",
        "error",
        "A rule needs a number that could not be certified, so the gate cannot pass.",
        "See the reason; a --domain or data for the rule may be missing.",
        'What is not known is not a pass. No level and no waiver changes that; "off" stops judging the rule.',
        '[rules]\nratio = "off"',
    ),
    Code(
        "LIP203",
        "undeclared preprocessing",
        "error",
        "The policy does not say how raw inputs become model inputs, so radii and limits have no unit.",
        'Write preprocess = "none" (or a scale and shift) in the configuration.',
        "A radius of 1 is invisible in pixels of 0 to 255 and the whole picture in pixels of 0 to 1.",
        'preprocess = {mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225]}    # or "none"',
    ),
)

_DATA = (
    Code(
        "LIP301",
        "misclassified samples",
        "note",
        "Some samples are not classified as labelled; they have radius 0 and are counted apart.",
        "Nothing to do; certified accuracy counts them as not certified.",
        "A wrong answer that is stable is no robustness.",
        "lipaudit certify model.onnx --inputs val.npz:x --labels val.npz:y -o csv:radii.csv",
    ),
)

_RUN = (
    Code(
        "LIP401",
        "interrupted",
        "warning",
        "Ctrl-C came before the audit was done: what it proved until then is proven, and the rest is missing.",
        "Run it again, with a smaller --budget where it takes too long.",
        "A bound found so far is as true as the one at the end, only larger. The exit code is 130.",
        "lipaudit bound model.onnx --budget 20s",
    ),
)

_FAULTS = (
    Code(
        "LIP901",
        "contradicted engine",
        "error",
        "An upper bound lies below a value that is attained: a fault of lipaudit.",
        "Please report the model; do not use this audit.",
        "One of two proofs is wrong. No gate passes on either, and the exit code is 4.",
        "lipaudit bound model.onnx --output-format json    # attach this to the report",
    ),
)

CODES = {entry.code: entry for entry in (*_RULES, *_MODEL, *_GATE, *_DATA, *_RUN, *_FAULTS)}
