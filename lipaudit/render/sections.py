"""The tables of a report, as text cells without a layout: what the text and the markdown format both show."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, final

import numpy as np

from lipaudit.render import numbers, words
from lipaudit.render.safe import safe
from lipaudit.report.baseline import Comparison
from lipaudit.report.report import AffineModulus, Attack, AuditReport, Layer, Method, Radii, Regions
from lipaudit.report.rule import RuleResult

Style = Literal["plain", "name", "good", "bad", "warn", "dim", "strong"]


@final
@dataclass(frozen=True, slots=True)
class Cell:
    """A text; style "name" marks one that came from a file. share: a part of one, for a bar."""

    text: str
    style: Style = "plain"
    share: float | None = None


@final
@dataclass(frozen=True, slots=True)
class Table:
    """Rows under column names ("" throughout: no header). right: numbers of the columns aligned right."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    right: frozenset[int] = frozenset()


TABLES = ("facts", "layers", "proofs", "bounds", "modulus", "samples", "regions", "radii", "baseline", "rules")
"""The names of the tables that a report may have, in reading order."""


def tables(report: AuditReport, verbose: bool) -> list[Table]:
    """Every table that the report has content for, in reading order."""
    return list(named_tables(report, verbose).values())


def named_tables(report: AuditReport, verbose: bool) -> dict[str, Table]:
    """The same by name (TABLES)."""
    found: dict[str, Table] = {} if report.parts else {"facts": facts(report, verbose)}
    if report.layers:
        found["layers"] = _layers(report, verbose)
        if verbose:
            found["proofs"] = proofs(report)
    if report.methods or report.upper is not None or report.lower is not None:
        found["bounds"] = _bounds(report)
    if report.modulus is not None:
        found["modulus"] = _modulus(report, report.modulus)
    if report.samples is not None:
        found["samples"] = _samples(report)
    if report.regions is not None:
        found["regions"] = _regions(report, report.regions)
    if report.radii is not None:
        found["radii"] = _radii(report, report.radii)
    if report.baseline is not None:
        found["baseline"] = _baseline(report.baseline)
    if report.rules:
        found["rules"] = _rules(report)
    return {name: table for name, table in found.items() if table.rows}


def facts(report: AuditReport, verbose: bool) -> Table:
    """What was audited, and where the numbers come from."""
    model, problem = report.model, report.problem
    rows = [("model", Cell(model.path, "name"))]
    if model.sha256:
        rows.append(("sha256", Cell(model.sha256 if verbose else model.sha256[:16], "name")))
    if model.inputs:
        sizes = ", ".join(map(words.tensor, model.inputs)) + " -> " + ", ".join(map(words.tensor, model.outputs))
        rows.append(("tensors", Cell(sizes, "name")))
    if not words.refused(report):
        rows.append(("region", Cell(words.region(problem), "name")))
    if model.parity is not None:
        difference = numbers.upper(model.parity.max_abs_difference, 2)
        rows.append(("parity", Cell(f"within {difference} of onnxruntime at {model.parity.points} points")))
    if verbose:
        versions = ", ".join(f"{name} {version}" for name, version in report.run.versions.items())
        rows.append(("run", Cell(f"{numbers.seconds(report.run.seconds)}, seed {report.run.seed}; {versions}", "name")))
    return Table("", ("", ""), tuple((Cell(key, "dim"), value) for key, value in rows))


def _layers(report: AuditReport, verbose: bool) -> Table:
    shares, mixed = _shares(report.layers), any(layer.norms for layer in report.layers)
    rows = []
    for layer, share in zip(report.layers, shares, strict=True):
        node = " + ".join(layer.nodes) if verbose and layer.nodes else layer.node
        gain = Cell(numbers.upper(layer.gain.value, 5), "plain" if layer.gain.finite else "warn")
        bar = Cell("" if share is None else numbers.percent(share), share=share)
        norms = [Cell(layer.norms)] if mixed else []
        name = (Cell(node, "name"), Cell(layer.op, "name"), Cell(layer.weight, "name"))
        rows.append((*name, *norms, gain, _CERTIFIED if layer.gain.finite else _UNBOUNDED, bar))
    columns = ("node", "op", "weight", *(["norms"] if mixed else []), "gain <=", "kind", "share of log-product")
    if all(share is None for share in shares):  # beside an infinite gain nothing has a share
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    return Table(f"Per-layer gains ({words.norms(report.problem)})", columns, tuple(rows), frozenset({3 + mixed}))


def proofs(report: AuditReport) -> Table:
    """How the norm of each linear layer was proven: what it may be above the truth at most, the time, the method."""
    rows = []
    for layer in report.layers:
        if layer.seconds is not None:
            gap = "" if layer.gap is None else numbers.upper(layer.gap, 2)
            rows.append((Cell(layer.node, "name"), Cell(gap), _time(layer.seconds), Cell(layer.gain.evidence)))
    return Table("Norms of linear layers", ("node", "gap <=", "time", "proven by"), tuple(rows), frozenset({1, 2}))


_CERTIFIED, _ATTAINED, _UNBOUNDED = Cell("certified", "good"), Cell("attained", "good"), Cell("no bound", "warn")


def _shares(layers: tuple[Layer, ...]) -> list[float | None]:
    """The share of each gain above 1 in the logarithm of their product; none where one gain is infinite."""
    logs = [math.log(layer.gain.value) if layer.gain.value > 1.0 else 0.0 for layer in layers]
    total = sum(logs)
    if not 0.0 < total < math.inf:
        return [None] * len(logs)
    return [log / total if log > 0.0 else None for log in logs]


def _bounds(report: AuditReport) -> Table:
    methods = list(report.methods)
    best, digits = report.upper, words.bracket_digits(report)
    if best is not None and all(method.name != best.name for method in methods):
        methods.append(best)
    rows = [_method_row(method, best is not None and method.name == best.name, digits) for method in methods]
    if report.lower is not None:
        low = report.lower
        value = numbers.lower(low.bound.value, digits)
        rows.append((Cell("lower"), Cell(value, "strong"), _ATTAINED, _time(low.seconds), Cell(low.label, "name")))
    columns = ("bound", "value", "kind", "time", "method")
    return Table("Global Lipschitz constant", columns, tuple(rows), frozenset({1, 3}))


def _method_row(method: Method, best: bool, digits: int) -> tuple[Cell, ...]:
    time = _time(method.seconds)
    if method.bound is None:
        label = f"{method.label}: {method.reason or 'no reason given'}"
        return Cell("upper", "dim"), Cell("-", "dim"), Cell("declined", "warn"), time, Cell(label, "name")
    name = Cell("upper (best)" if best and method.bound.finite else "upper")
    value = Cell(numbers.upper(method.bound.value, digits), "strong" if best and method.bound.finite else "plain")
    return (
        name,
        value,
        _CERTIFIED if method.bound.finite else _UNBOUNDED,
        time,
        Cell(method.label + words.slack(method.bound), "name"),
    )


def _time(seconds: float) -> Cell:
    return Cell(numbers.seconds(seconds), "dim")


def _modulus(report: AuditReport, modulus: AffineModulus) -> Table:
    """The two parts, and every node that jumps with the jump of its own output."""
    rows = [
        (Cell(name), Cell(""), Cell(numbers.upper(part.value), "strong" if part.finite else "warn"), _CERTIFIED)
        for name, part in (("slope", modulus.slope), ("jump", modulus.jump))
    ]
    for node in modulus.nodes:
        height = Cell(numbers.upper(node.height.value, 5), "plain" if node.height.finite else "warn")
        rows.append((Cell(node.node, "name"), Cell(node.op, "name"), height, _CERTIFIED))
    title = f"Affine modulus ({words.norms(report.problem)}), and the jumps of single nodes in their own output"
    return Table(title, ("of", "op", "at most", "kind"), tuple(rows), frozenset({2}))


def _samples(report: AuditReport) -> Table:
    samples = report.samples
    assert samples is not None
    title = f"Jacobian norms ({words.norms(report.problem)}), numeric: float64 values without a proof"
    if not len(samples.values):
        return Table(title, ("", ""), ((Cell("samples"), Cell("0", "warn")),))
    rows = [(Cell("samples"), Cell(str(len(samples.values))), Cell(samples.source, "name"))]
    for name, value in words.quantiles(samples).items():
        note = f"sample {report.index(samples.argmax)}" if name == "max" else ""
        rows.append((Cell(name), Cell(numbers.nearest(value), "strong"), Cell(note)))
    return Table(title, ("", "", ""), tuple(rows), frozenset({1}))


def _regions(report: AuditReport, regions: Regions) -> Table:
    title = f"Constants within {words.plain(regions.radius)} of each input ({words.norms(report.problem)})"
    none, total = Cell(""), len(regions.values)
    rows = [(Cell("samples"), none, Cell(str(total)), Cell(regions.source, "name"))]
    for name, (low, high) in words.brackets(regions).items() if total else ():
        note = f"sample {report.index(regions.argmax)}" if name == "max" else ""
        rows.append((Cell(name), Cell(low, "strong"), Cell(high, "strong"), Cell(note)))
    ratios = np.sort(regions.ratios)
    for name, place in (("median", total // 2), ("max", -1)) if regions.exact < total else ():
        ratio = Cell(numbers.upper(float(ratios[place])))
        rows.append((Cell(f"ratio {name}"), none, ratio, Cell("certified / attained, of one ball")))
    if regions.exact:
        rows.append((Cell("exact"), none, Cell(str(regions.exact)), Cell("attained = certified to 6 digits")))
    for label, count in regions.counts().items():
        rows.append((Cell("by"), none, Cell(str(count)), Cell(label, "name")))
    return Table(title, ("", "attained", "certified", ""), tuple(rows), frozenset({1, 2}))


def _radii(report: AuditReport, radii: Radii) -> Table:
    total, right = len(radii.values), radii.values[radii.correct]
    title = f"Certified radii ({report.problem.norm_in}), rounded down"
    rows = [(Cell("samples"), Cell(str(total)), Cell(radii.source, "name"))]
    if total and radii.tolerance is None:
        clean = numbers.percent_down(radii.clean_accuracy)
        rows.append((Cell("clean accuracy"), Cell(clean), Cell(f"{len(right)} of {total}")))
    if total and radii.tolerance is not None:
        rows.append((Cell("tolerance"), Cell(words.plain(radii.tolerance)), Cell("no output moves further")))
    for radius in report.certified_at if total else ():
        count = int(np.sum(radii.correct & (radii.values >= radius)))
        share = numbers.percent_down(radii.accuracy_at(radius))
        said = f"{count} of {total}" + words.withstood(radii, radius)
        rows.append((Cell(f"certified at {words.plain(radius)}"), Cell(share, "strong"), Cell(said)))
    if len(right):
        among = "" if radii.tolerance is not None else "of the correctly classified"
        for name, value in (("min", right.min()), ("median", np.median(right)), ("max", right.max())):
            rows.append((Cell(f"radius {name}"), Cell(numbers.lower(float(value))), Cell(among)))
    if radii.whole is not None and len(right):
        value = numbers.lower(float(np.median(radii.whole[radii.correct])))
        rows.append((Cell("global median"), Cell(value), Cell("from constants over the whole domain alone")))
    if total and radii.tolerance is None:
        rows.append((Cell("misclassified"), Cell(str(total - len(right))), Cell("radius 0, counted apart")))
    rows.append((Cell("method"), Cell(""), Cell(radii.method, "name")))
    if radii.attack is not None:
        rows += _attack(radii, radii.attack)
    return Table(title, ("", "", ""), tuple(rows), frozenset({1}))


def _attack(radii: Radii, attack: Attack) -> list[tuple[Cell, Cell, Cell]]:
    """The other ends of the brackets: the nearest counterexamples, rounded up."""
    right = np.asarray(radii.correct, dtype=bool)
    found = attack.found & right
    tried = int((attack.tried & right).sum())
    late = f", {int(right.sum()) - tried} not tried in time" if tried < int(right.sum()) else ""
    rows = [(Cell("attacked"), Cell(str(tried)), Cell(f"{int(found.sum())} changed, in onnxruntime too{late}"))]
    if found.any():
        reached = attack.values[found]
        share = numbers.percent_down(float(np.median(radii.values[found] / reached)))
        rows.append((Cell("attacked min"), Cell(numbers.upper(float(reached.min()))), Cell("nearest counterexample")))
        rows.append((Cell("attacked median"), Cell(numbers.upper(float(np.median(reached)))), Cell("of those changed")))
        rows.append((Cell("certified share"), Cell(share), Cell("median of certified / attacked radius")))
    rows.append((Cell("attack"), Cell(""), Cell(attack.method, "name")))
    return rows


_RESULTS: dict[str, Style] = {"pass": "good", "fail": "bad", "inconclusive": "warn"}


def _rules(report: AuditReport) -> Table:
    rows = []
    for rule in report.rules:
        subject = (Cell(rule.subject, "name"),) if report.parts else ()
        limit, measured = comparison(rule)
        last = (Cell(limit), _result(rule), Cell(rule_note(rule), "name"))
        rows.append((Cell(rule.id, "name"), *subject, measured, *last))
    columns = ("rule", *(("model",) if report.parts else ()), "measured", "limit", "result", "why")
    first = 2 if report.parts else 1
    return Table("Rules", columns, tuple(rows), frozenset({first}))


def comparison(rule: RuleResult) -> tuple[str, Cell]:
    """The sign and limit of a rule, and its measured value rounded against it: what is printed agrees with the result.

    The limit is "?" where it is relative to a baseline that does not hold it.
    """
    sign = f"{rule.sign} {'?' if rule.limit is None else words.plain(rule.limit)}"
    if rule.measured is None:
        return sign, Cell("-", "dim")
    return sign, Cell(_against(rule.id, rule.sign == ">=", rule.measured))


def _against(name: str, down: bool, value: float, digits: int = numbers.DIGITS) -> str:
    """The number of a rule, rounded against it. name: of the rule, which says whether it is a share of the samples."""
    if name == "clean" or name.startswith("certified@"):
        return numbers.share_down(value, digits)
    return (numbers.lower if down else numbers.upper)(value, digits)


def _result(rule: RuleResult) -> Cell:
    """The result; a failure that does not decide says so."""
    if rule.result != "fail" or rule.decides:
        return Cell(rule.result, _RESULTS[rule.result])
    return Cell("waived" if rule.waiver is not None else "warn", "warn")


def rule_note(rule: RuleResult) -> str:
    """What a reader should know of the rule beside its numbers."""
    said = [rule.detail] if rule.detail else []
    if rule.recorded is not None and rule.code != "LIP011":
        said.append(f"recorded: {words.plain(rule.recorded)}")
    if rule.result == "fail" and rule.level == "warn":
        said.append("told only, at the level warn")
    if rule.waiver is not None:
        said.append(f"waived until {rule.waiver.expires}: {rule.waiver.reason}")
    return "; ".join(said)


_TRENDS: dict[str, Style] = {"better": "good", "worse": "bad", "gone": "warn"}


def _baseline(comparison: Comparison) -> Table:
    """Then and now. Layers that are the same are not listed."""
    rows = []
    for change in comparison.changes:
        if change.trend == "same" and change.id.startswith("layer:"):
            continue
        then = Cell("-", "dim") if change.recorded is None else Cell(words.plain(change.recorded))
        now = (
            Cell("-", "dim")
            if change.measured is None
            else Cell(_against(change.id, change.id == "lower", change.measured, 6))
        )
        trend = Cell(change.trend, _TRENDS.get(change.trend, "plain"))
        rows.append((Cell(change.id, "name"), then, now, trend))
    which = "the same file" if comparison.same_model else "another file"
    title = f"Against {safe(comparison.source, 60)}, recorded {comparison.recorded} of {which}"
    return Table(title, ("number", "recorded", "now", "change"), tuple(rows), frozenset({1, 2}))
