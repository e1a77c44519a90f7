"""The text of a starting configuration: what is known of the model filled in, what a team decides as comments."""

from __future__ import annotations

from pathlib import Path

from lipaudit.cli.options import Audit
from lipaudit.cli.settings import parse_domain, parse_fix, parse_preprocess, parse_shape
from lipaudit.gate.baseline import relative_name
from lipaudit.gate.policy import BASELINE
from lipaudit.gate.toml import toml_key, toml_text
from lipaudit.render import numbers
from lipaudit.render.safe import safe
from lipaudit.render.words import plain, tensor
from lipaudit.report.report import AuditReport

_PREPROCESS = """\
# preprocess = "none"
# preprocess = {scale = 255}
# preprocess = {mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225]}"""

_LIMITS = f"""\
# What `lipaudit baseline write` records, and limits may be relative to. Commit it.
baseline = "{BASELINE}"

[limits]
upper = "baseline"       # the certified constant: no larger than recorded; or a number, or {{baseline = 1.05}}
# ratio = 2.0            # upper over lower: how loose the bracket may be
# layer = 8.0            # the gain of any layer
# [limits.layers]        # of one by its name, a pattern, or its op
# "op:Gemm" = 5.0"""

_REST = """\
# [limits.local]         # Jacobian norms at the inputs: numeric, not proven
# p95 = 3.0

# [limits.certified]     # needs inputs and labels (or a tolerance)
# radius = 0.1           # in raw input units
# accuracy = 0.8
# clean_accuracy = 0.95

# [rules]                # levels: off, warn, error
# ratio = "warn"

# [[waivers]]            # a failure excused for a while; reason and last day are required
# rule = "layer:NAME"
# reason = "..."
# expires = 2027-01-31
"""


def configuration(report: AuditReport, audit: Audit, model: Path, file: Path) -> str:
    """The TOML text. report: of `check`, for the facts. Names from the model stand in strings or behind `safe`."""
    blocks = [
        _facts(report),
        f"model = {toml_text(relative_name(model, file))}",
        "# How raw inputs become the model's. Nothing passes the gate before this is declared.\n" + _preprocess(audit),
        f'norm = "{audit.norm or "l2"}"              # how changes are measured: l2, l1 or linf, or a pair: linf:l2',
        _domain(report, audit, file),
        _choices(audit, file),
        '# Samples, for sensitivity and certified accuracy.\n# inputs = "val.npz:x"\n# labels = "val.npz:y"',
        _LIMITS,
        _REST,
    ]
    return "\n\n".join(filter(None, blocks))


def _facts(report: AuditReport) -> str:
    model = report.model
    lines = [
        "The policy of `lipaudit gate`. Words and codes: `lipaudit explain`; keys: `lipaudit schema config`.",
        "",
        *(f"input   {safe(tensor(entry))}" for entry in model.inputs),
        *(f"output  {safe(tensor(entry))}" for entry in model.outputs),
    ]
    if model.parity is not None:
        difference = numbers.upper(model.parity.max_abs_difference, 2)
        lines.append(f"opset   {model.opset}, within {difference} of onnxruntime at {model.parity.points} points")
    return "\n".join(f"# {line}".rstrip() for line in lines)


def _preprocess(audit: Audit) -> str:
    if audit.preprocess is None:
        return _PREPROCESS
    given = parse_preprocess(audit.preprocess)
    if given.source == "none":
        return 'preprocess = "none"'
    if audit.preprocess.strip().startswith("scale"):
        return f"preprocess = {{scale = {_list(given.std)}}}"
    return f"preprocess = {{mean = {_list(given.mean)}, std = {_list(given.std)}}}"


def _list(values: tuple[float, ...]) -> str:
    return f"[{', '.join(map(plain, values))}]"


def _domain(report: AuditReport, audit: Audit, file: Path) -> str:
    lines = ["# The raw inputs that are possible. Bounds are of these, and radii hold inside."]
    nodes = [f"{f.op or ''} {f.subject}".strip() for f in report.findings if f.code == "LIP110"]
    if nodes and audit.domain is None:
        others = f" and {len(nodes) - 1} more" if len(nodes) > 1 else ""
        lines.append(f"# It is needed here: without it {safe(nodes[0])}{others} has no finite gain.")
    if audit.domain is None:
        return "\n".join([*lines, "# domain = [0, 1]"])
    given = parse_domain(audit.domain)
    value = toml_text(relative_name(given, file)) if isinstance(given, Path) else _list(given)
    return "\n".join([*lines, f"domain = {value}"])


def _choices(audit: Audit, file: Path) -> str:
    """The output, the inputs and the shapes, where they were chosen."""
    lines = [] if audit.output is None else [f"output = {toml_text(audit.output)}"]
    lines += [f"input = [{', '.join(map(toml_text, audit.input))}]"] if audit.input else []
    held = [parse_fix(text) for text in audit.fix or ()]
    if held:
        values = (
            (toml_key(name), plain(v) if isinstance(v, float) else toml_text(relative_name(v, file)))
            for name, v in held
        )
        lines.append(f"fix = {{{', '.join(f'{name} = {value}' for name, value in values)}}}")
    shapes = [parse_shape(text) for text in audit.shape or ()]
    if shapes:
        inside = ", ".join(f"{toml_key(name)} = {list(sizes)}" for name, sizes in shapes)
        lines.append(f"shape = {{{inside}}}")
    lines += [] if audit.seed is None else [f"seed = {audit.seed}"]
    return "\n".join(lines)
