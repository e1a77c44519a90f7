"""Findings: coded messages that say what is wrong, with what, and what to do next. The codes are in codes.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from lipaudit.report.codes import CODES as CODES
from lipaudit.report.codes import Code, Severity


@final
@dataclass(frozen=True, slots=True)
class Finding:
    """A code, what it is about (a node, a rule, a file) and the particulars. op: of the node, where there is one.

    level: the severity here, where a policy has changed the code's own.
    """

    code: str
    subject: str
    message: str
    op: str | None = None
    level: Severity | None = None

    @property
    def kind(self) -> Code:
        return CODES[self.code]

    @property
    def severity(self) -> Severity:
        """How serious it is: what the policy made of the code, or the code's own."""
        return self.level or self.kind.severity
