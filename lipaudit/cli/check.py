"""`lipaudit check`: whether and as what a model can be audited."""

from __future__ import annotations

from lipaudit.cli.auditing import audited
from lipaudit.cli.config import resolve, sources
from lipaudit.cli.options import Audit, Machine, ModelArgument, Output, expanded
from lipaudit.cli.output import publish, targets
from lipaudit.cli.settings import build


@expanded
def check(audit: Audit, machine: Machine, output: Output, model: ModelArgument = None) -> int:
    """Say whether a model can be audited, and as what.

    Ops, shapes and preprocessing; computes no bound.
    """
    path, policy = resolve(model, machine, output)
    wanted = targets(output, sources(policy, audit, machine))
    settings = build(audit, machine, policy)

    from lipaudit import audit as rooms

    return publish(audited("check", settings, lambda: rooms.check(path, settings)), output, wanted)
