"""The HTML report: one file that a reviewer opens, reads, prints and signs. It runs no script and loads nothing."""

from __future__ import annotations

from importlib.resources import files
from typing import ClassVar, final

from markupsafe import Markup

from lipaudit.render.base import Reporter
from lipaudit.render.html.page import ROOMS, page
from lipaudit.render.html.template import rendered
from lipaudit.report.report import AuditReport

__all__ = ["HtmlReporter"]

LARGEST = 1_000_000


@final
class HtmlReporter(Reporter):
    """HTML in ASCII, below 1 MB whatever the report holds, and the same bytes for the same report.

    A content security policy forbids the page everything but its own style and its own images. Needs the extra `html`.
    """

    name: ClassVar[str] = "html"
    media_type: ClassVar[str] = "text/html; charset=utf-8"

    def render(self, report: AuditReport) -> str:
        here = files(__package__)
        style = here.joinpath("style.css").read_text(encoding="utf-8")
        template = here.joinpath("report.html.j2").read_text(encoding="utf-8")
        text = ""
        for room in ROOMS:
            filled = rendered(template, room.longest, page=page(report, room), style=Markup(style))
            text = filled.encode("ascii", "xmlcharrefreplace").decode("ascii").lstrip()
            if len(text) < LARGEST:
                break
        return text
