"""What every auditing command does with the audit's answer: a refused model is a report too."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lipaudit.audit import Settings
    from lipaudit.report.report import AuditReport, Command


def audited(command: Command, settings: Settings, run: Callable[[], AuditReport]) -> AuditReport:
    """The report of the audit, or the one that says why this model has none."""
    from lipaudit.audit import refused_report
    from lipaudit.loading import RefusedModel

    try:
        return run()
    except RefusedModel as error:
        return refused_report(error, command, settings)
