"""The baseline file: read, held against audits, and written again."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from lipaudit.audit import Fixed, Settings
from lipaudit.errors import InvalidInput
from lipaudit.gate.baseline import Baseline, Entry, baseline_toml, parse_baseline, relative_name, updated
from lipaudit.gate.policy import ModelPolicy
from lipaudit.gate.ratchet import Record, new_entry, settings_of
from lipaudit.loading.arrays import read_array
from lipaudit.report.report import AuditReport

_LARGEST = 2**24


def read_baseline(path: Path) -> Baseline | None:
    """The records in the file, None where there is none yet. Raises InvalidInput for what is no baseline."""
    if not path.exists():
        return None
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"baseline {path}: {error.strerror or error}") from None
    if len(content) > _LARGEST:
        raise InvalidInput(f"baseline {path} has {len(content)} bytes, more than the {_LARGEST} that are read")
    try:
        return parse_baseline(tomllib.loads(content.decode("utf-8")), str(path))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidInput(f"baseline {path} is no TOML: {error}") from None


def entry_of(policy: ModelPolicy, path: Path, baseline: Baseline | None) -> Entry | None:
    """The model's record, where there is one."""
    if baseline is None or policy.model is None:
        return None
    return baseline.of(relative_name(policy.model, path))


def record_of(
    policy: ModelPolicy, entry: Entry | None, source: Path, settings: Settings, reports: Sequence[AuditReport]
) -> Record | None:
    """The record with the settings of these audits beside it."""
    return None if entry is None else Record(entry, str(source), _settings(policy, settings, reports))


def entry_from(policy: ModelPolicy, path: Path, settings: Settings, reports: Sequence[AuditReport]) -> Entry:
    """A new record of these audits."""
    assert policy.model is not None
    version = reports[0].run.versions.get("lipaudit", "")
    name, today = relative_name(policy.model, path), datetime.now(UTC).date()
    return new_entry(name, reports, _settings(policy, settings, reports), version, today)


def baseline_bytes(old: Baseline | None, entries: Sequence[Entry], path: Path) -> bytes:
    """The file with these records in the place of older ones."""
    return baseline_toml(updated(old, entries, str(path))).encode("utf-8")


def _settings(policy: ModelPolicy, settings: Settings, reports: Sequence[AuditReport]) -> dict[str, str]:
    """What the numbers depend on, in words. Data is told apart by what is in it, not by the date of its file."""
    extra = {
        "budget": f"{settings.budget:g} s",
        "precision": f"{settings.precision:g}",
        "method": ", ".join(settings.methods) or "auto",
        "inputs": policy.inputs,
        "labels": policy.labels,
        "input": ", ".join(settings.inputs) or None,
        "fix": ", ".join(f"{name}={_held(held)}" for name, held in sorted(settings.fixed.items())) or None,
        "tolerance": None if policy.tolerance is None else repr(policy.tolerance),
    }
    digests = {}
    if settings.domain is not None and not isinstance(settings.domain.lower, float | int):
        digests["domain"] = _digest(np.asarray(settings.domain.lower), np.asarray(settings.domain.upper))
    if policy.inputs is not None:
        digests["inputs"] = _digest(read_array(policy.inputs, "x", "inputs"))
    if policy.labels is not None and policy.tolerance is None:
        digests["labels"] = _digest(read_array(policy.labels, "y", "labels"))
    named = {key: value for key, value in extra.items() if value is not None}
    return settings_of(reports[0], digests, named)


def _held(fixed: Fixed) -> str:
    """A number as it is, an array by what is in it."""
    return repr(fixed.value) if isinstance(fixed.value, float | int) else f"sha256 {_digest(fixed.value)}"


def _digest(*arrays: np.ndarray) -> str:
    """sha256 of the shapes and the values as float64."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(repr(array.shape).encode("ascii"))
        found.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
    return found.hexdigest()
