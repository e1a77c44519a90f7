"""`lipaudit gate`: judge models by the policy of the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lipaudit.cli.config import about, find_policy, sources
from lipaudit.cli.options import Audit, Machine, Output, expanded
from lipaudit.cli.output import publish, targets
from lipaudit.cli.progress import progress
from lipaudit.errors import UsageError
from lipaudit.gate.policy import ModelPolicy
from lipaudit.render import PER_SAMPLE


@expanded
def gate(
    machine: Machine,
    output: Output,
    models: Annotated[
        list[Path] | None,
        typer.Argument(metavar="MODEL", help="ONNX files to judge instead of those the configuration names."),
    ] = None,
) -> int:
    """Judge models by the policy of the configuration.

    It is read from lipaudit.toml or [tool.lipaudit] of pyproject.toml here, or from --config.
    """
    chosen = _chosen(models or [], machine)
    read = [path for entry in chosen for path in sources(entry, Audit(), machine, entry.inputs, entry.labels)]
    wanted = targets(output, read, data=PER_SAMPLE)

    from lipaudit.cli.judging import gate_report, grouped
    from lipaudit.cli.settings import build

    reports = []
    for entry in chosen:
        settings = build(Audit(), machine, entry)
        with progress(output) as tell:
            reports.append(gate_report(entry, settings, tell))
    return publish(grouped(reports), output, wanted)


def _chosen(models: list[Path], machine: Machine) -> list[ModelPolicy]:
    """The policies to judge by, each with its model and at least one limit. Raises UsageError otherwise."""
    policy = find_policy(machine.config)
    if policy is None:
        raise UsageError("gate needs a policy: lipaudit.toml, [tool.lipaudit] of pyproject.toml, or --config FILE")
    entries = [about(policy, model, always=True) for model in models] if models else list(policy.models)
    if not entries:
        raise UsageError(f"{policy.source} names no model; give one, or write model = ...")
    for entry in entries:
        if entry.limits.empty:
            raise UsageError(f"{policy.source} sets no [limits] for {entry.model}, so there is nothing to judge")
    return entries
