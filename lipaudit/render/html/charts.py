"""The two charts: how sensitive the model is at the samples, and how much accuracy is certified at which radius."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes

from lipaudit.render import numbers, words
from lipaudit.render.html import ticks
from lipaudit.render.html.svg import ATTAINED, CERTIFIED, INK, MUTED, NUMERIC, Drawing, drawing
from lipaudit.report.report import AuditReport, Radii

_BINS = 40
_STEPS = 160
_FAR = 8.0
"""From which ratio on the axis is logarithmic."""

_WITHOUT = "by global constants alone"

_SMALL, _LARGE = 1e-60, 1e60
"""What an axis can show; a sample beyond is counted in the caption."""


def sensitivity(name: str, report: AuditReport) -> Drawing | None:
    """The histogram of the samples' Jacobian norms, of what is certified around them, and both ends of the bracket.

    None without a norm that can be drawn.
    """
    values = _drawable(np.zeros(0) if report.samples is None else report.samples.values)
    around = _drawable(np.zeros(0) if report.regions is None else report.regions.values)
    if not len(values):
        return None
    lines = _bracket_lines(report)
    ends = [float(v) for part in (values, around) if len(part) for v in (part.min(), part.max())]
    ends += [value for value, _, _ in lines]
    log = max(ends) > _FAR * min(ends)
    low, high = (min(ends) / 1.1, max(ends) * 1.1) if log else (0.0, max(ends) * 1.04)
    edges = (np.geomspace if log else np.linspace)(low, high, _BINS + 1).tolist()
    within = "" if report.regions is None else f"certified within {words.plain(report.regions.radius)}"

    def draw(axes: Axes, wide: bool) -> None:
        axes.set_xscale("log" if log else "linear")
        axes.set_xlim(low, high)
        if log:
            axes.set_xticks(*zip(*ticks.logarithmic(low, high), strict=True))
            axes.set_xticks([], minor=True)
        axes.hist(values, bins=edges, color=NUMERIC, alpha=0.75, label="measured at the samples")
        if len(around):
            axes.hist(around, bins=edges, color=CERTIFIED, histtype="step", linewidth=1.8, label=within)
        for value, color, label in lines:
            axes.axvline(value, color=color, linewidth=2.5, linestyle="-" if color == CERTIFIED else "--", label=label)
        axes.set_xlabel(f"norm of the Jacobian ({words.norms(report.problem)}{', log scale' if log else ''})")
        axes.set_ylabel("samples")
        axes.grid(visible=False, axis="x")
        _legend(axes, wide)

    drawn = "; ".join([*([within] if len(around) else []), *(label for _, _, label in lines)])
    total = 0 if report.samples is None else len(report.samples.values)
    some = f"{total}" if len(values) == total else f"{len(values)} of {total}"
    caption = f"Histogram of the Jacobian norms at {some} samples" + (f". Also: {drawn}." if drawn else ".")
    return drawing(name, caption, draw)


def _bracket_lines(report: AuditReport) -> list[tuple[float, str, str]]:
    found = []
    if report.lower is not None and _SMALL < report.lower.bound.value < _LARGE:
        value = report.lower.bound.value
        found.append((value, ATTAINED, f"attained globally {numbers.lower(value)}"))
    if report.upper is not None and report.upper.bound is not None and report.upper.bound.finite:
        value = report.upper.bound.value
        if _SMALL < value < _LARGE:
            found.append((value, CERTIFIED, f"certified globally {numbers.upper(value)}"))
    return found


def accuracy(name: str, report: AuditReport, radii: Radii) -> Drawing | None:
    """Certified accuracy over the radius, and what an attack leaves of it; None without a radius that can be drawn.

    The certified curve is never above the truth and the attacked one never below it, also between its points.
    """
    if radii.tolerance is not None or not len(radii.values):
        return None
    attack = radii.attack
    reach = [float(values.max()) for values in (_drawable(radii.values), _drawable(_attacked(radii))) if len(values)]
    if not reach:
        return None
    high = max(reach) * 1.05
    grid = np.linspace(0.0, high, _STEPS + 1)
    certified = np.array([radii.accuracy_at(float(radius)) for radius in grid])
    alone = None if radii.whole is None else replace(radii, values=radii.whole)
    globally = None if alone is None else np.array([alone.accuracy_at(float(radius)) for radius in grid])
    withstood = None if attack is None else np.array([attack.accuracy_at(float(radius)) for radius in grid])

    units = "raw input units" if report.problem.units.startswith("raw") else "model input units"

    def draw(axes: Axes, wide: bool) -> None:
        axes.set_xlim(0.0, high)
        if withstood is not None:
            axes.step(grid, withstood, where="post", color=ATTAINED, linewidth=2, label="at most, by attack")
            axes.fill_between(grid, withstood, step="post", color=MUTED, alpha=0.12, linewidth=0)
        if globally is not None:
            axes.step(grid, globally, where="pre", color=CERTIFIED, linewidth=1.4, linestyle="--", label=_WITHOUT)
        axes.fill_between(grid, certified, step="pre", color=CERTIFIED, alpha=0.25, linewidth=0)
        axes.step(grid, certified, where="pre", color=CERTIFIED, linewidth=2.5, label="at least, certified")
        axes.axhline(radii.clean_accuracy, color=INK, linewidth=1.2, linestyle=":", label="clean accuracy")
        axes.set_ylim(0.0, 1.02)
        axes.set_yticks([0.0, 0.25, 0.5, 0.75, 1.0], ["0%", "25%", "50%", "75%", "100%"])
        axes.set_xlabel(f"radius ({report.problem.norm_in}, {units})")
        axes.set_ylabel("accuracy")
        _legend(axes, wide)

    against = ", and at most, by an attack" if attack is not None else ""
    return drawing(name, f"Accuracy that is certified within each radius{against}.", draw)


def _drawable(values: np.ndarray) -> np.ndarray:
    return np.asarray(values[(values > _SMALL) & (values < _LARGE)])


def _attacked(radii: Radii) -> np.ndarray:
    return np.zeros(0) if radii.attack is None else radii.attack.values


def _legend(axes: Axes, wide: bool) -> None:
    """Above the axes, where it covers nothing: in one line if there is room."""
    count = len(axes.get_legend_handles_labels()[1])
    axes.legend(
        loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=count if wide else 1, borderaxespad=0.2, handlelength=1.4
    )
