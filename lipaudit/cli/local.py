"""`lipaudit local`: how sensitive the model is at given inputs."""

from __future__ import annotations

import math
from typing import Annotated

import typer

from lipaudit.cli.auditing import audited
from lipaudit.cli.config import resolve, sources
from lipaudit.cli.options import (
    Audit,
    Effort,
    InputsOption,
    LimitOption,
    Machine,
    ModelArgument,
    Output,
    expanded,
)
from lipaudit.cli.output import DATA, publish, targets
from lipaudit.cli.progress import progress
from lipaudit.cli.settings import build
from lipaudit.errors import UsageError


@expanded
def local(
    audit: Audit,
    machine: Machine,
    effort: Effort,
    output: Output,
    model: ModelArgument = None,
    inputs: InputsOption = None,
    radius: Annotated[
        float | None,
        typer.Option("--radius", metavar="R", help="Bracket the Lipschitz constant in the ball of this radius too."),
    ] = None,
    limit: LimitOption = None,
    directions: Annotated[
        bool, typer.Option("--directions", help="Keep each sample's most amplified direction (for -o npz:PATH).")
    ] = False,
) -> int:
    """Measure the sensitivity at given inputs.

    The Jacobian's operator norm at each: min, p5, median, p95 and max. Numeric, not a bound. With --radius also the
    Lipschitz constant over each ball |x' - x| <= R, cut by the domain: a certified upper bound, and what a pair of
    points of the ball attains.
    """
    path, policy = resolve(model, machine, output)
    spec = inputs or policy.inputs
    if spec is None:
        raise UsageError("local needs --inputs (x.npy or val.npz:x)")
    if directions and not any(given.startswith("npz:") for given in output.files or ()):
        raise UsageError("--directions are kept in an npz file: add -o npz:PATH")
    if radius is not None and not 0.0 < radius < math.inf:
        raise UsageError(f"--radius {radius} is not a positive number")
    wanted = targets(output, sources(policy, audit, machine, spec), data=DATA)
    settings = build(audit, machine, policy, effort=effort)

    from lipaudit import audit as rooms
    from lipaudit.loading.arrays import read_array

    points = read_array(spec, "x", "inputs")
    with progress(output) as tell:
        report = audited(
            "local",
            settings,
            lambda: rooms.local(
                path, points, settings, source=spec, directions=directions, radius=radius, limit=limit, progress=tell
            ),
        )
    return publish(report, output, wanted)
