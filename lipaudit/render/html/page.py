"""What the page says, in the order in which a reviewer asks: plain values for the template, every number rounded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import numpy as np

from lipaudit.render import numbers, words
from lipaudit.render.html.charts import accuracy, sensitivity
from lipaudit.render.html.gains import Gains, gains
from lipaudit.render.html.pictures import as_picture, direction_image, input_image
from lipaudit.render.html.scale import Scale, scale
from lipaudit.render.html.svg import Drawing
from lipaudit.render.sections import TABLES, Table, facts, named_tables, proofs
from lipaudit.report.report import AuditReport, Nearest, Radii, Steepest


@final
@dataclass(frozen=True, slots=True)
class Room:
    """What a page has room for: layers over all models, rows a table, models, drawn models, characters a text.

    shown: counterexamples of each drawn model.
    """

    layers: int
    rows: int
    models: int
    drawn: int
    longest: int
    shown: int


ROOMS = (
    Room(1000, 400, 200, 6, 1000, 12),
    Room(200, 60, 60, 2, 300, 4),
    Room(40, 20, 20, 1, 120, 1),
    Room(10, 4, 8, 0, 60, 0),
)
"""From the usual page to one that any report fits in: the first that is small enough is taken."""

_ENTRIES = 5
"""How many entries of a direction are told."""


@final
@dataclass(frozen=True, slots=True)
class Claim:
    """A large number and what it means. kind: certified, attained or numeric."""

    value: str
    kind: str
    title: str
    meaning: str


@final
@dataclass(frozen=True, slots=True)
class Worst:
    """A sample that the model amplifies most. Images are data: URLs, or empty where it is no picture."""

    index: int
    norm: str
    point: str
    direction: str
    entries: tuple[tuple[str, str], ...]


@final
@dataclass(frozen=True, slots=True)
class Move:
    """An entry that a counterexample changes. share: of the largest change, in percent."""

    index: str
    before: str
    after: str
    share: float
    up: bool


@final
@dataclass(frozen=True, slots=True)
class Counterexample:
    """A sample and the changed input. low, high: the bracket of its radius. images: three data: URLs, or none.

    images: the sample, the changed input and their difference. moves: the largest changes, where it is no picture.
    """

    index: int
    becomes: str
    low: str
    high: str
    images: tuple[str, ...]
    moves: tuple[Move, ...]


@final
@dataclass(frozen=True, slots=True)
class Part:
    """Everything about one model. tables: by the name of their section."""

    path: str
    verdict: str | None
    headlines: tuple[str, ...]
    claims: tuple[Claim, ...]
    scale: Scale | None
    gains: Gains | None
    tables: dict[str, Table | None]
    histogram: Drawing | None
    curve: Drawing | None
    worst: tuple[Worst, ...]
    nearest: tuple[Counterexample, ...]
    regression: bool


@final
@dataclass(frozen=True, slots=True)
class Page:
    """The whole report. parts: one a model; facts: the provenance of each."""

    title: str
    command: str
    verdict: str | None
    headlines: tuple[str, ...]
    rules: Table | None
    parts: tuple[Part, ...]
    remarks: tuple[words.Remark, ...]
    assumptions: tuple[str, ...]
    left_out: str
    version: str


def page(report: AuditReport, room: Room) -> Page:
    """The page of a report, as far as there is room; of a gate over several models with a part for each."""
    parts = report.parts or (report,)
    shown = parts[: room.models]
    if len(report.rules) > room.rows:  # what fails is not what is left out
        report = replace(report, rules=tuple(sorted(report.rules, key=lambda rule: rule.result == "pass")))
    made = tuple(_part(part, f"m{number}", room, len(shown)) for number, part in enumerate(shown))
    several = f"{len(parts)} models"
    return Page(
        title=several if report.parts else report.model.path,
        command=report.command,
        verdict=report.verdict,
        headlines=_summary(report),
        rules=_cut(named_tables(report, False).get("rules"), room),
        parts=made,
        remarks=tuple(words.remarks(report)[: room.rows]),
        assumptions=report.assumptions[: room.rows],
        left_out=_left_out(report, room),
        version=report.run.versions.get("lipaudit", ""),
    )


def _summary(report: AuditReport) -> tuple[str, ...]:
    """What the large numbers speak of; where there are none, the headlines."""
    if report.parts or not _claims(report):
        return tuple(words.headlines(report))
    problem = report.problem
    before, after = (_NORMS.get(norm, norm) for norm in (problem.norm_in, problem.norm_out))
    distances = before if before == after else f"{before} before and {after} after"
    return (f"Distances: {distances}, {problem.units}. Inputs: {words.region(problem).removeprefix('inputs ')}.",)


_NORMS = {
    "l1": "l1 (sum of absolute differences)",
    "l2": "l2 (Euclidean)",
    "linf": "linf (largest absolute difference)",
}


def _cut(table: Table | None, room: Room) -> Table | None:
    return None if table is None else replace(table, rows=table.rows[: room.rows])


def _left_out(report: AuditReport, room: Room) -> str:
    """What the page had no room for, in words; empty where it shows everything."""
    lengths = {
        "models": (len(report.parts), room.models),
        "rules": (len(report.rules), room.rows),
        "findings": (len(report.findings), room.rows),
        "assumptions": (len(report.assumptions), room.rows),
    }
    return ", ".join(f"{count - most} {name}" for name, (count, most) in lengths.items() if count > most)


def _part(report: AuditReport, name: str, room: Room, count: int) -> Part:
    samples, radii, found = (
        report.samples,
        report.radii,
        named_tables(report, False) | {"facts": facts(report, True), "proofs": proofs(report)},
    )
    drawn = count <= room.drawn
    return Part(
        path=report.model.path,
        verdict=report.verdict,
        headlines=_summary(report),
        claims=tuple(_claims(report)),
        scale=scale(report),
        gains=gains(report, found["layers"], room.layers // count) if "layers" in found else None,
        tables=dict.fromkeys(TABLES) | {name: _cut(table, room) for name, table in found.items()},
        histogram=sensitivity(f"{name}-norms", report) if drawn and samples is not None else None,
        curve=accuracy(f"{name}-accuracy", report, radii) if drawn and radii is not None else None,
        worst=tuple(_worst(report, one) for one in samples.steepest) if drawn and samples is not None else (),
        nearest=_nearest(report, radii, room.shown) if drawn and radii is not None else (),
        regression=radii is not None and radii.tolerance is not None,
    )


def _claims(report: AuditReport) -> list[Claim]:
    found = []
    digits = words.bracket_digits(report)
    upper = None if report.upper is None else report.upper.bound
    where = "" if report.problem.region is None else " of the domain"
    if report.lower is not None:
        value = numbers.lower(report.lower.bound.value, digits)
        meaning = f"Two inputs are kept whose outputs are {value} times as far apart as they are."
        found.append(Claim(f"≥ {value}", "attained", "at least (attained)", meaning))
    if upper is not None and upper.finite:
        value = numbers.upper(upper.value, digits)
        meaning = f"For any two inputs{where}, the outputs are at most {value} times as far apart as the inputs."
        found.append(Claim(f"≤ {value}", "certified", "at most (certified)", meaning))
    elif report.command != "certify" and (report.upper is not None or report.methods):
        meaning = "No finite upper bound was proven, so the model may amplify a change without limit."
        found.append(Claim("no bound", "missing", "upper bound", meaning))
    if report.ratio is not None:
        value = numbers.upper(report.ratio, numbers.digits_between(1.0, report.ratio, 3))
        meaning = "How much is still unknown: the upper end over the lower one. 1 would be the exact constant."
        found.append(Claim(f"\N{MULTIPLICATION SIGN} {value}", "numeric", "width of the bracket", meaning))
    if report.modulus is not None:
        for name, part in (("slope", report.modulus.slope), ("jump", report.modulus.jump)):
            if part.finite:
                meaning = "The model jumps: the outputs are at most slope times the distance plus the jump apart."
                found.append(Claim(f"≤ {numbers.upper(part.value)}", "certified", f"{name} (certified)", meaning))
    return [*found, *_sample_claims(report)]


def _sample_claims(report: AuditReport) -> list[Claim]:
    found = []
    radii, samples = report.radii, report.samples
    if samples is not None and len(samples.values):
        high = numbers.nearest(words.quantiles(samples)["max"])
        meaning = f"The largest norm of the Jacobian at {len(samples.values)} samples: measured, not a bound."
        found.append(Claim(high, "numeric", "largest local sensitivity", meaning))
    if report.regions is not None and len(report.regions.values) and np.all(np.isfinite(report.regions.values)):
        low, high = words.brackets(report.regions)["max"]
        meaning = f"Proven within {words.plain(report.regions.radius)} of each of {len(report.regions.values)} samples."
        meaning += f" A pair of points there attains {low}."
        found.append(Claim(f"≤ {high}", "certified", "near the samples", meaning))
    if radii is None or not len(radii.values):
        return found
    if radii.tolerance is not None:
        least = numbers.lower(float(radii.values.min()))
        meaning = f"No output moves by more than {words.plain(radii.tolerance)} while the input stays this close."
        return [*found, Claim(least, "certified", "certified radius", meaning)]
    clean = numbers.percent_down(radii.clean_accuracy)
    found.append(Claim(clean, "numeric", "clean accuracy", f"Of {len(radii.values)} samples, as they are."))
    for radius in report.certified_at[:1]:
        share = numbers.percent_down(radii.accuracy_at(radius))
        meaning = f"Correct, and proven to stay so within a distance of {words.plain(radius)}"
        meaning += f"{words.withstood(radii, radius)}."
        found.append(Claim(share, "certified", f"certified at {words.plain(radius)}", meaning))
    return found


def _worst(report: AuditReport, steepest: Steepest) -> Worst:
    point, direction = as_picture(steepest.point), as_picture(steepest.direction)
    flat = steepest.direction.reshape(-1)
    order = np.argsort(-np.abs(flat), kind="stable")[:_ENTRIES]
    entries = tuple((str(int(index)), f"{flat[index]:+.3f}") for index in order)
    return Worst(
        index=report.index(steepest.index),
        norm=numbers.nearest(steepest.norm),
        point="" if point is None else input_image(point),
        direction="" if direction is None else direction_image(direction),
        entries=entries,
    )


def _nearest(report: AuditReport, radii: Radii, most: int) -> tuple[Counterexample, ...]:
    """The nearest counterexamples, nearest first."""
    return () if radii.attack is None else tuple(_shown(report, radii, one) for one in radii.attack.nearest[:most])


def _shown(report: AuditReport, radii: Radii, one: Nearest) -> Counterexample:
    assert radii.attack is not None
    answer, reach = int(radii.attack.answers[one.index]), float(radii.attack.values[one.index])
    becomes = f"output {answer}"
    if radii.tolerance is None:
        label = "" if radii.labels is None else f"{int(radii.labels[one.index])} "
        becomes = f"class {label}-> {answer}"
    before, after = as_picture(one.point), as_picture(one.changed)
    images: tuple[str, ...] = ()
    if before is not None and after is not None:
        images = (input_image(before, after), input_image(after, before), direction_image(after - before))
    return Counterexample(
        index=report.index(one.index),
        becomes=becomes,
        low=numbers.lower(float(radii.values[one.index])),
        high=numbers.upper(reach),
        images=images,
        moves=() if images else _moves(one),
    )


def _moves(one: Nearest) -> tuple[Move, ...]:
    before, after = one.point.reshape(-1), one.changed.reshape(-1)
    change = np.abs(after - before)
    order = [int(place) for place in np.argsort(-change, kind="stable")[:_ENTRIES] if change[place] > 0.0]
    return tuple(
        Move(
            str(place),
            f"{before[place]:.4g}",
            f"{after[place]:.4g}",
            float(100.0 * change[place] / change[order[0]]),
            bool(after[place] > before[place]),
        )
        for place in order
    )
