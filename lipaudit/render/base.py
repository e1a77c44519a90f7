"""Reporter: what every format has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from lipaudit.report.report import AuditReport


class Reporter(ABC):
    """A format. How it looks (width, colour) is an argument of the constructor, never of the surroundings."""

    name: ClassVar[str]
    media_type: ClassVar[str]

    @abstractmethod
    def render(self, report: AuditReport) -> str:
        """The whole report, ending in a line break."""
