"""The configuration: which file it is, and what it says about the model at hand."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

from lipaudit.cli.options import Audit, Machine, Output
from lipaudit.cli.output import note
from lipaudit.errors import InvalidInput, UsageError
from lipaudit.gate.policy import ModelPolicy, Policy, parse_policy

_NAMES = ("lipaudit.toml", "pyproject.toml")
_LARGEST = 2**20


def find_policy(config: Path | None) -> Policy | None:
    """The policy in `config`, or in lipaudit.toml or [tool.lipaudit] of pyproject.toml here; None without one.

    Raises InvalidInput for a file that is no TOML, UsageError for a given file without a configuration.
    """
    for path in (Path(name) for name in _NAMES) if config is None else (config,):
        if config is None and not path.is_file():
            continue
        content = _read(path)
        if path.name == "pyproject.toml":
            tool = content.get("tool", {})
            table = tool.get("lipaudit") if isinstance(tool, dict) else None
            if isinstance(table, dict):
                return parse_policy(table, path.parent, f"{path} [tool.lipaudit]")
            if config is not None:
                raise UsageError(f"{path} has no [tool.lipaudit]")
        else:
            return parse_policy(content, path.parent, str(path))
    return None


def resolve(model: Path | None, machine: Machine, output: Output) -> tuple[Path, ModelPolicy]:
    """The model to audit, and what the configuration says about it; a note on stderr where it says something.

    A configuration speaks where it was given with --config, where it names this very model, and where no model was
    given. Raises UsageError where that leaves no model, or several.
    """
    policy = find_policy(machine.config)
    if model is not None:
        entry = about(policy, model, always=machine.config is not None)
        if policy is not None and entry != ModelPolicy(model=model):
            note(f"settings from {policy.source}", output)
        return model, entry
    if policy is None:
        raise UsageError("give a MODEL, or name one in lipaudit.toml or [tool.lipaudit] of pyproject.toml")
    if len(policy.models) != 1:
        raise UsageError(f"{policy.source} names {len(policy.models)} models; give the MODEL to audit")
    [entry] = policy.models
    assert entry.model is not None
    note(f"model and settings from {policy.source}", output)
    return entry.model, entry


def sources(policy: ModelPolicy, audit: Audit, machine: Machine, *specs: str | None) -> list[Path]:
    """Every file that an audit reads, so that no report takes its place. specs: further ones, as 'val.npz:x'."""
    files = [policy.model, machine.config, *(Path(name) for name in _NAMES)]
    files += [Path(audit.domain)] if audit.domain is not None else []
    files += [policy.domain] if isinstance(policy.domain, Path) else []
    files += [value for value in policy.fixed.values() if isinstance(value, Path)]
    files += [Path(text.partition("=")[2]) for text in audit.fix or ()]
    for spec in specs:
        files += [] if spec is None else [Path(spec), Path(spec.rpartition(":")[0])]
    return [path for path in files if path is not None]


def about(policy: Policy | None, model: Path, *, always: bool) -> ModelPolicy:
    """The policy's entry for the model. Without one its top level where `always`, and nothing otherwise."""
    if policy is None:
        return ModelPolicy(model=model)
    for entry in policy.models:
        if entry.model is not None and _same(entry.model, model):
            return replace(entry, model=model)
    return replace(policy.base, model=model) if always else ModelPolicy(model=model)


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return one == other


def _read(path: Path) -> dict[str, object]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InvalidInput(f"configuration {path} does not exist") from None
    if len(content) > _LARGEST:
        raise InvalidInput(f"configuration {path} has {len(content)} bytes, more than the {_LARGEST} that are read")
    try:
        return tomllib.loads(content.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidInput(f"configuration {path} is no TOML: {error}") from None
