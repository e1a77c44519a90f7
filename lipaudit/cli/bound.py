"""`lipaudit bound`: the bracket of the global Lipschitz constant."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lipaudit.cli.auditing import audited
from lipaudit.cli.config import resolve, sources
from lipaudit.cli.files import check_target, write_whole
from lipaudit.cli.options import (
    Audit,
    Effort,
    InputsOption,
    Machine,
    ModelArgument,
    ModulusOption,
    Output,
    expanded,
    refuse_beside_modulus,
)
from lipaudit.cli.output import note, publish, targets
from lipaudit.cli.progress import progress
from lipaudit.cli.settings import build


@expanded
def bound(
    audit: Audit,
    machine: Machine,
    effort: Effort,
    output: Output,
    model: ModelArgument = None,
    inputs: InputsOption = None,
    method: Annotated[
        str | None, typer.Option("--method", metavar="NAME,...", help="Upper bounds to compute (default: auto).")
    ] = None,
    modulus: ModulusOption = False,
    certificate: Annotated[
        Path | None,
        typer.Option(
            "--certificate", metavar="FILE", help="Also write a proof for `lipaudit verify` (l2, all inputs)."
        ),
    ] = None,
) -> int:
    """Bound the global Lipschitz constant from both sides.

    Per-layer gains, certified upper bounds, and a lower bound that is attained at a witness (written by -o npz:PATH).
    With --inputs the search for it begins there too. A model that jumps has no constant; --modulus bounds it all the
    same, by a slope and a jump. --certificate writes what an independent checker needs to prove the constant again
    (exit code 3 where there is no such proof).
    Ctrl-C prints what is proven so far, and the exit code is 130.
    """
    refuse_beside_modulus(modulus, method=method, certificate=certificate, inputs=inputs)
    path, policy = resolve(model, machine, output)
    spec = inputs or policy.inputs
    read = sources(policy, audit, machine, *([spec] if spec else []))
    wanted = targets(output, read, data=("npz",))
    if certificate is not None:
        check_target(certificate, [path, *read, *(target.path for target in wanted)])
    settings = build(audit, machine, policy, method=method, effort=effort, modulus=modulus)

    from lipaudit import audit as rooms
    from lipaudit.loading.arrays import read_array

    starts = None if spec is None else read_array(spec, "x", "inputs")
    with progress(output) as tell:
        report = audited(
            "bound",
            settings,
            lambda: rooms.bound(path, settings, tell, starts=starts, source=spec or "inputs", interruptible=True),
        )
    code = publish(report, output, wanted)
    if certificate is not None and code == 0:
        from lipaudit.cli.certificates import certificate as proof

        content, value = proof(path, settings)
        write_whole(certificate, content)
        note(f"{certificate} proves L <= {value!r} to lipaudit verify", output)
    return code
