"""`lipaudit certify`: radii within which no prediction changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lipaudit.cli.auditing import audited
from lipaudit.cli.config import resolve, sources
from lipaudit.cli.counterexamples import check_worst, save_worst
from lipaudit.cli.counterexamples import effort as attack_seconds
from lipaudit.cli.options import (
    Audit,
    Effort,
    InputsOption,
    LimitOption,
    Machine,
    ModelArgument,
    ModulusOption,
    Output,
    expanded,
    refuse_beside_modulus,
)
from lipaudit.cli.output import DATA, publish, targets
from lipaudit.cli.progress import progress
from lipaudit.cli.settings import build
from lipaudit.errors import UsageError

if TYPE_CHECKING:
    from lipaudit.report.report import AuditReport, Radii

SHARES = (0.1, 0.25, 0.5, 0.75, 0.9)
"""Where nobody asks for a radius: quantiles of the radii found, rounded down to a number that reads well."""


@expanded
def certify(
    audit: Audit,
    machine: Machine,
    effort: Effort,
    output: Output,
    model: ModelArgument = None,
    inputs: InputsOption = None,
    labels: Annotated[
        str | None, typer.Option("--labels", metavar="FILE", help="Labels [N]: y.npy, or val.npz:y with its key.")
    ] = None,
    radius: Annotated[
        list[float] | None,
        typer.Option("--radius", metavar="R", min=0.0, help="Report the certified accuracy here (repeatable)."),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option("--tolerance", metavar="T", help="For a regression: how far the output may move; no labels."),
    ] = None,
    method: Annotated[
        Literal["global", "local"],
        typer.Option(
            "--method", help="Constants over the whole domain, or over balls around each sample too (slower)."
        ),
    ] = "global",
    limit: LimitOption = None,
    attack: Annotated[
        str | None,
        typer.Option("--attack", metavar="TIME|none", help="For the search of counterexamples (default: 10s)."),
    ] = None,
    worst: Annotated[
        Path | None, typer.Option("--save-worst", metavar="FILE", help="Keep the counterexamples in an .npz file.")
    ] = None,
    modulus: ModulusOption = False,
) -> int:
    """Certify radii within which no prediction changes.

    Also the accuracy that is certified at the radii asked for, or at a few telling ones. An attack looks for the other
    end of each radius's bracket: the nearest input that onnxruntime classifies otherwise, or whose output moves further
    than the tolerance.
    """
    refuse_beside_modulus(modulus, attack=attack, save_worst=worst)
    path, policy = resolve(model, machine, output)
    spec, answers = inputs or policy.inputs, labels or policy.labels
    slack = policy.tolerance if tolerance is None and labels is None else tolerance
    if spec is None:
        raise UsageError("certify needs --inputs (x.npy or val.npz:x)")
    if answers is None and slack is None:
        raise UsageError("certify needs --labels (or --tolerance for a regression)")
    wanted = targets(output, sources(policy, audit, machine, spec, answers), data=DATA)
    seconds = attack_seconds(attack)
    check_worst(worst, seconds, [*sources(policy, audit, machine, spec, answers), *(t.path for t in wanted)])
    settings = build(audit, machine, policy, effort=effort, modulus=modulus)

    from lipaudit import audit as rooms
    from lipaudit.loading.arrays import read_array

    read = None if slack is not None or answers is None else answers
    points = read_array(spec, "x", "inputs")
    truth = None if read is None else read_array(read, "y", "labels")
    radii = tuple(radius or ())
    with progress(output) as tell:
        report = audited(
            "certify",
            settings,
            lambda: rooms.certify(
                path,
                points,
                truth,
                settings,
                source=spec,
                labels_source=answers or "labels",
                radii=radii,
                tolerance=slack,
                attack=seconds,
                local=method == "local",
                limit=limit,
                progress=tell,
                interruptible=True,
            ),
        )
    save_worst(worst, report)
    return publish(with_radii(report), output, wanted)


def with_radii(report: AuditReport) -> AuditReport:
    """The report with the certified accuracy at a few telling radii, where nobody asked for any."""
    if report.radii is None or report.certified_at or report.radii.tolerance is not None:
        return report
    return replace(report, certified_at=telling_radii(report.radii))


def telling_radii(radii: Radii) -> tuple[float, ...]:
    """Quantiles of the correctly classified samples' radii, rounded down to two digits, without repetition."""
    import numpy as np

    from lipaudit.render import numbers

    found = radii.values[radii.correct & (radii.values > 0.0) & np.isfinite(radii.values)]
    if not len(found):
        return ()
    return tuple(sorted({float(numbers.lower(float(np.quantile(found, share)), 2)) for share in SHARES}))
