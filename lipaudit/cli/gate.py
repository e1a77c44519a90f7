"""`lipaudit gate`: judge models by the policy of the configuration."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from lipaudit.cli.config import about, find_policy, sources
from lipaudit.cli.options import Audit, Machine, Output, expanded
from lipaudit.cli.output import publish, targets
from lipaudit.cli.progress import progress
from lipaudit.errors import UsageError
from lipaudit.gate.policy import ModelPolicy
from lipaudit.gate.waivers import without_use
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
    chosen = judged(models or [], machine, "gate")
    for entry in chosen:
        if entry.limits.empty:
            raise UsageError(f"the configuration sets no [limits] for {entry.model}, so there is nothing to judge")
    read = [path for entry in chosen for path in sources(entry, Audit(), machine, entry.inputs, entry.labels)]
    read += [entry.baseline for entry in chosen if entry.baseline is not None]
    wanted = targets(output, read, data=PER_SAMPLE)

    from lipaudit.cli.judging import gate_report, grouped
    from lipaudit.cli.settings import build

    reports = []
    for entry in chosen:
        settings = build(Audit(), machine, entry)
        with progress(output) as tell:
            reports.append(gate_report(entry, settings, tell))
    report = grouped(reports)
    unused = without_use((w for entry in chosen for w in entry.waivers), report.rules, datetime.now(UTC).date())
    return publish(replace(report, findings=(*report.findings, *unused)), output, wanted)


def judged(models: list[Path], machine: Machine, command: str) -> list[ModelPolicy]:
    """The policies of the models given, or of those the configuration names. Raises UsageError without any."""
    policy = find_policy(machine.config)
    if policy is None:
        where = "lipaudit.toml, [tool.lipaudit] of pyproject.toml, or --config FILE"
        raise UsageError(f"{command} needs a policy: {where} (lipaudit init MODEL writes one)")
    entries = [about(policy, model, always=True) for model in models] if models else list(policy.models)
    if not entries:
        raise UsageError(f"{policy.source} names no model; give one, or write model = ...")
    return entries
