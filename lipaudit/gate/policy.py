"""The policy: what a configuration asks of which model. Parsed by one function that knows every key there is.

model = "model.onnx"            norm = "l2" | "linf:l2"  domain = [0, 1] or "box.npz"
preprocess = "none" | {scale = 255} | {mean = [...], std = [...]}
inputs = "val.npz:x"            labels = "val.npz:y"
output = "logits"               input = "x" or a list   [fix] state = 0 or "state.npy"
baseline = "lipaudit-baseline.toml"
[limits]                        upper, ratio, layer: a number, "baseline" or {baseline = 1.05}
[limits.layers]                 "node, pattern or op:Gemm" = 3.0 or "off"
[limits.local]                  median, p95, max
[limits.certified]              radius with accuracy, clean_accuracy (or a list of such tables)
[rules]                         ratio = "off", "warn" or "error"; by name or by code
[[waivers]]                     rule, reason, expires, and a model where it is of one only
[[models]]                      any of these keys again, for one model each
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from lipaudit.errors import UsageError
from lipaudit.gate.fields import Fields, duration, is_number, size
from lipaudit.gate.levels import Setting, parse_levels
from lipaudit.gate.limits import Limits, parse_limits
from lipaudit.gate.waivers import parse_waivers
from lipaudit.report.rule import Waiver

BASELINE = "lipaudit-baseline.toml"
"""The baseline's name where the configuration gives none."""

NORMS = ("l1", "l2", "linf")
_MODEL = ("model", "norm", "domain", "preprocess", "inputs", "labels", "tolerance", "output", "shape", "method")
KEYS = (*_MODEL, "input", "fix", "budget", "precision", "memory", "seed", "baseline", "limits", "rules", "waivers")
"""Every key of the top level and of a [[models]] entry."""


@final
@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Raw input x to model input (x - mean) / std, as declared; "none" is mean 0, std 1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str


@final
@dataclass(frozen=True, slots=True)
class ModelPolicy:
    """How one model is audited and what it must keep. Files are paths already; None: not said."""

    model: Path | None = None
    norm: str | None = None
    domain: tuple[float, float] | Path | None = None
    preprocess: Preprocessing | None = None
    inputs: str | None = None
    labels: str | None = None
    tolerance: float | None = None
    output: str | None = None
    varying: tuple[str, ...] = ()
    fixed: Mapping[str, float | Path] = field(default_factory=dict)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    methods: tuple[str, ...] = ()
    budget: float | None = None
    precision: float | None = None
    memory: float | None = None
    seed: int | None = None
    baseline: Path | None = None
    limits: Limits = field(default_factory=Limits)
    levels: Mapping[str, Setting] = field(default_factory=dict)
    waivers: tuple[Waiver, ...] = ()


@final
@dataclass(frozen=True, slots=True)
class Policy:
    """A configuration. base: its top level; models: those it names, each with the base's keys unless overridden."""

    base: ModelPolicy
    models: tuple[ModelPolicy, ...]
    source: str


def parse_policy(content: Mapping[str, object], folder: Path, source: str) -> Policy:
    """The policy in a TOML table. File names are relative to `folder`. Raises UsageError with the place and the key.

    A [[models]] entry takes every key it does not give from the top level; its `limits` replace the top level's whole.
    """
    top = Fields(content, source, (*KEYS, "models"))
    base = _model({key: value for key, value in content.items() if key != "models"}, folder, source)
    entries = top.tables("models") if top.has("models") else ()
    if entries and base.model is not None:
        raise UsageError(f"{source}: give either model or [[models]], not both")
    models = []
    for number, entry in enumerate(entries):
        merged = {**{key: value for key, value in content.items() if key != "models"}, **entry}
        where = f"{source}, models {number + 1}"
        model = _model(merged, folder, where)
        if model.model is None:
            raise UsageError(f"{where}: a model is missing")
        models.append(model)
    if base.model is not None:
        models.append(base)
    return Policy(base, tuple(models), source)


def _model(content: Mapping[str, object], folder: Path, where: str) -> ModelPolicy:
    fields = Fields(content, where, KEYS)
    model, baseline = fields.text("model"), fields.text("baseline")
    limits = parse_limits(fields.table("limits"), f"{where}, [limits]")
    if limits.relative and baseline is None:
        raise UsageError(f'{where}: a limit is relative to a baseline; say which file: baseline = "{BASELINE}"')
    return ModelPolicy(
        model=None if model is None else folder / model,
        norm=_norms(fields),
        domain=_domain(fields, folder),
        preprocess=_preprocess(fields, where),
        inputs=_file(fields.text("inputs"), folder),
        labels=_file(fields.text("labels"), folder),
        tolerance=fields.number("tolerance"),
        output=fields.text("output"),
        varying=_names(fields, "input", "a name or a list of names"),
        fixed=_fixed(fields, folder, where),
        shapes=_shapes(fields, where),
        methods=_methods(fields),
        budget=_budget(fields),
        precision=fields.number("precision", 1e-9, 1.0),
        memory=_memory(fields),
        seed=fields.whole("seed"),
        baseline=None if baseline is None else folder / baseline,
        limits=limits,
        levels=parse_levels(fields.table("rules"), f"{where}, [rules]"),
        waivers=parse_waivers(fields.tables("waivers"), f"{where}, waivers"),
    )


def is_norms(text: str) -> bool:
    """Whether a text names a norm, or a pair of them: of the inputs and of the outputs."""
    names = text.split(":")
    return len(names) <= 2 and all(name in NORMS for name in names)


def _norms(fields: Fields) -> str | None:
    value = fields.text("norm")
    if value is not None and not is_norms(value):
        raise fields.wrong("norm", 'one of l1, l2, linf, or a pair such as "linf:l2"')
    return value


def _file(spec: str | None, folder: Path) -> str | None:
    return None if spec is None else str(folder / spec)


def _domain(fields: Fields, folder: Path) -> tuple[float, float] | Path | None:
    value = fields.raw("domain")
    if isinstance(value, str) and value:
        return folder / value
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2 or not all(map(is_number, value)) or not value[0] <= value[1]:
        raise fields.wrong("domain", "[low, high] with low <= high, or the name of an .npz or .vnnlib file")
    return float(value[0]), float(value[1])


def _preprocess(fields: Fields, where: str) -> Preprocessing | None:
    value = fields.raw("preprocess")
    if value is None:
        return None
    if value == "none":
        return Preprocessing((0.0,), (1.0,), "none")
    if not isinstance(value, dict):
        raise fields.wrong("preprocess", '"none", {scale = ...} or {mean = [...], std = [...]}')
    inner = Fields(value, f"{where}, preprocess", ("scale", "mean", "std"))
    return preprocessing({key: inner.numbers(key) for key in value}, where)


def preprocessing(given: Mapping[str, tuple[float, ...]], where: str) -> Preprocessing:
    """From `scale` alone, or from `mean` and `std` (either may be left out). Raises UsageError."""
    source = ", ".join(f"{key}={','.join(repr(x).removesuffix('.0') for x in given[key])}" for key in given)
    if not given or ("scale" in given and len(given) > 1):
        raise UsageError(f"{where}: preprocess takes either scale, or mean and std")
    mean, std = given.get("mean", (0.0,)), given.get("scale", given.get("std", (1.0,)))
    if len(mean) != len(std) and 1 not in (len(mean), len(std)):
        raise UsageError(f"{where}: preprocess has {len(mean)} means for {len(std)} standard deviations")
    if not all(1e-300 < x < math.inf for x in std):
        raise UsageError(f"{where}: preprocess divides by {min(std):g}; a scale or std must be positive")
    return Preprocessing(mean, std, source)


def _shapes(fields: Fields, where: str) -> dict[str, tuple[int, ...]]:
    found = {}
    for name, shape in fields.table("shape").items():
        entries = shape if isinstance(shape, list) else []
        sizes = tuple(s for s in entries if isinstance(s, int) and not isinstance(s, bool) and s > 0)
        if not isinstance(shape, list) or len(sizes) != len(entries):
            raise UsageError(f"{where}: shape.{name} must be a list of whole numbers from 1, not {shape!r}")
        found[name] = sizes
    return found


def _methods(fields: Fields) -> tuple[str, ...]:
    return () if fields.raw("method") == "auto" else _names(fields, "method", '"auto", a name or a list of names')


def _names(fields: Fields, key: str, wanted: str) -> tuple[str, ...]:
    value = fields.raw(key)
    names = [value] if isinstance(value, str) else value
    if value is None:
        return ()
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise fields.wrong(key, wanted)
    return tuple(names)


def _fixed(fields: Fields, folder: Path, where: str) -> dict[str, float | Path]:
    found: dict[str, float | Path] = {}
    for name, value in fields.table("fix").items():
        if is_number(value):
            found[name] = float(value)
        elif isinstance(value, str) and value:
            found[name] = folder / value
        else:
            raise UsageError(f"{where}: fix.{name} must be a number or the name of an .npy file, not {value!r}")
    return found


def _budget(fields: Fields) -> float | None:
    value = fields.raw("budget")
    seconds = duration(value) if isinstance(value, str) else fields.number("budget")
    if seconds == 0.0:
        raise fields.wrong("budget", "a positive number of seconds")
    return seconds


def _memory(fields: Fields) -> float | None:
    value = fields.text("memory")
    return None if value is None else size(value)
