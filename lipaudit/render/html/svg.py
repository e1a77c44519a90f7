"""A matplotlib figure as SVG inside a page: themed by the page's style, and the same bytes for the same figure."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK, MUTED, LINE = "#010101", "#020202", "#030303"
CERTIFIED, ATTAINED, NUMERIC = "#040404", "#050505", "#060606"
"""Colours that stand for a variable of the page's style, which knows whether it is dark."""

_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    LINE: "--line",
    CERTIFIED: "--certified",
    ATTAINED: "--attained",
    NUMERIC: "--numeric",
}
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: it can be read aloud, searched and copied
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that every machine lays out the same
    "font.size": 12,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "grid.color": LINE,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "ytick.major.size": 0,
    "legend.frameon": False,
}
_WIDTHS = {"wide": 760, "narrow": 380}
_HEIGHT = 290


@final
@dataclass(frozen=True, slots=True)
class Drawing:
    """The same figure for a wide and for a narrow page. caption: what it shows, also for who cannot see it."""

    caption: str
    wide: Markup
    narrow: Markup


def drawing(name: str, caption: str, draw: Callable[[Axes, bool], None]) -> Drawing:
    """Both figures. name: unique in the page; draw: puts the content on the axes, told whether they are wide."""
    made = {size: _drawn(f"{name}-{size}", caption, width, draw, size == "wide") for size, width in _WIDTHS.items()}
    return Drawing(caption, made["wide"], made["narrow"])


def _drawn(name: str, caption: str, width: int, draw: Callable[[Axes, bool], None], wide: bool) -> Markup:
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update({**_SETTINGS, "svg.hashsalt": name})
        figure = Figure(figsize=(width / 72, _HEIGHT / 72), dpi=72, layout="constrained")
        FigureCanvasSVG(figure)
        figure.patch.set_alpha(0.0)
        axes = figure.add_subplot()
        axes.patch.set_alpha(0.0)
        draw(axes, wide)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _inlined(stream.getvalue(), name, caption)


def _inlined(text: str, name: str, caption: str) -> Markup:
    """The SVG element alone: no ids but those it refers to, made unique, and the colours of the page."""
    text = re.sub(r"<metadata>.*?</metadata>|<style .*?</style>|<!--.*?-->", "", text[text.index("<svg") :], flags=re.S)
    head = rf'<svg viewBox="\1" role="img" aria-label="{escape(caption)}">'
    text = re.sub(r'<svg [^>]*viewBox="([^"]*)"[^>]*>', head, text, count=1)
    used = set(re.findall(r'(?:url\(|href=")#([^")]+)', text))
    text = re.sub(r' id="([^"]+)"', lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", text)
    text = re.sub(r'url\(#|(?:xlink:)?href="#', lambda found: f"{found[0].removeprefix('xlink:')}{name}-", text)
    text = re.sub(r"font: ([0-9.]+px) [^;\"]*", r"font-size: \1", text)
    for color, variable in _VARIABLES.items():
        text = text.replace(color, f"var({variable})")
    return Markup(re.sub(r">\s+<", "><", text).strip())
