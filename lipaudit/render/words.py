"""The sentences that every format for people shares: the headline, what is certified, the findings in order."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from typing import final

import numpy as np

from lipaudit.numerics.bound import UpperBound
from lipaudit.render import numbers
from lipaudit.render.safe import safe
from lipaudit.report.report import AffineModulus, AuditReport, Problem, Radii, Regions, Samples, Tensor

_ORDER = {"error": 0, "warning": 1, "note": 2}


def norms(problem: Problem) -> str:
    """The norms before and after."""
    return f"{problem.norm_in} -> {problem.norm_out}"


def setting(problem: Problem) -> str:
    """The norms, the units and the region of a number: without them it means nothing."""
    units = problem.units if "unit" in problem.units else f"{problem.units} input units"
    return f"{norms(problem)}, {safe(units, 60)}{_interval(problem)}"


def _interval(problem: Problem) -> str:
    if problem.region is None:
        return ""
    low, high = numbers.lower(problem.region.low), numbers.upper(problem.region.high)
    return f" ({low}..{high})"


def region(problem: Problem) -> str:
    """Which inputs a bound speaks of."""
    if problem.region is None:
        return "all inputs"
    box = problem.region
    interval = f"[{numbers.lower(box.low)}, {numbers.upper(box.high)}]"
    if box.source.endswith(".npz"):
        return f"the box of {safe(box.source, 60)}, inside {interval}"
    return f"inputs in {interval}"


def headlines(report: AuditReport) -> list[str]:
    """The first lines, what was asked for in one line each: the bracket before all else."""
    if report.parts:
        judged = f" judged by {len(report.rules)} rules" if report.command == "gate" else ""
        return [f"{len(report.parts)} models{judged}"]
    asked = report.command not in ("local", "certify") or (report.samples is None and report.radii is None)
    lines = [_bracket(report)] if asked and (report.upper is not None or report.lower is not None) else []
    if report.modulus is not None:
        lines.append(_modulus(report, report.modulus))
    about = "" if lines else f"   {setting(report.problem)}"
    if report.radii is not None:
        lines.append(_certified(report.radii, report.certified_at) + about)
    if report.samples is not None:
        lines.append(_sampled(report.samples) + about)
    if report.regions is not None:
        lines.append(_regional(report.regions))
    return lines or [_nothing(report)]


def _modulus(report: AuditReport, modulus: AffineModulus) -> str:
    about = setting(report.problem)
    if not (modulus.slope.finite and modulus.jump.finite):
        return f"no finite modulus: {_why_unbounded(report)}   {about}"
    slope, jump = numbers.upper(modulus.slope.value), numbers.upper(modulus.jump.value)
    return f"|f(x) - f(y)| <= {slope} |x - y| + {jump}   {about}"


def _nothing(report: AuditReport) -> str:
    if refused(report):
        count = sum(finding.severity == "error" for finding in report.findings)
        return f"no bound: the model cannot be audited, for {count} reason{'s' * (count != 1)} given below"
    can = "can be audited" if report.command == "check" else "no bound was computed"
    return f"{can}   {setting(report.problem)}"


def refused(report: AuditReport) -> bool:
    """Whether an error kept the audit from any number."""
    numbered = (report.upper, report.lower, report.samples, report.regions, report.radii, report.modulus)
    return all(part is None for part in numbered) and any(f.severity == "error" for f in report.findings)


def _bracket(report: AuditReport) -> str:
    upper = None if report.upper is None else report.upper.bound
    digits = bracket_digits(report)
    low = None if report.lower is None else numbers.lower(report.lower.bound.value, digits)
    about = setting(report.problem)
    if upper is None or not upper.finite:
        start = "L is unknown" if low is None else f"L >= {low}"
        return f"{start}   no finite upper bound: {_why_unbounded(report)}   {about}"
    if low is None:
        return f"L <= {numbers.upper(upper.value)}   {about}   no lower bound"
    ratio = ""
    if report.ratio is not None:
        close = report.ratio - 1.0
        exact = ", exact to 9 digits" if close <= 1e-9 else ", exact to 6 digits" if close <= 1e-6 else ""
        ratio = f"   ratio {numbers.upper(report.ratio, numbers.digits_between(1.0, report.ratio, 3))}{exact}"
    return f"L is in [{low}, {numbers.upper(upper.value, digits)}]   {about}{ratio}"


def bracket_digits(report: AuditReport) -> int:
    """How many digits the two ends of the bracket are printed with."""
    if report.upper is None or report.upper.bound is None or report.lower is None:
        return numbers.DIGITS
    return numbers.digits_between(report.lower.bound.value, report.upper.bound.value)


def _why_unbounded(report: AuditReport) -> str:
    if any(finding.code == "LIP110" for finding in report.findings):
        return "an op is only locally Lipschitz, see LIP110"
    if report.upper is not None:
        return "no method bounds this model globally"
    return "every method declined" if report.methods else "none was computed"


def quantiles(samples: Samples) -> dict[str, float]:
    """min, p5, median, p95 and max of at least one sample; NaN where a sample is not finite."""
    shares = {"min": 0.0, "p5": 0.05, "median": 0.5, "p95": 0.95, "max": 1.0}
    if not np.all(np.isfinite(samples.values)):
        return dict.fromkeys(shares, float("nan"))
    return {name: samples.quantile(share) for name, share in shares.items()}


def _sampled(samples: Samples) -> str:
    if not len(samples.values):
        return "no samples"
    found = quantiles(samples)
    median, high = numbers.nearest(found["median"]), numbers.nearest(found["max"])
    return f"Jacobian norm at {len(samples.values)} samples: median {median}, max {high} (numeric)"


def _regional(regions: Regions) -> str:
    if not len(regions.values):
        return "no samples"
    ends = brackets(regions)
    found = ", ".join(f"{name} in [{low}, {high}]" for name, (low, high) in ends.items() if name != "min")
    exact = ", exact to 6 digits" if regions.exact == len(regions.values) else ""
    return f"L within {plain(regions.radius)} of {len(regions.values)} samples: {found}{exact}"


def brackets(regions: Regions) -> dict[str, tuple[str, str]]:
    """What is attained and what is certified of the smallest, the median and the largest constant of some balls.

    Of each end the same place in the order: whatever the constants are between their ends, theirs lies between.
    """
    low, high = np.sort(regions.lower), np.sort(regions.values)
    found = {}
    for name, place in {"min": 0, "median": len(high) // 2, "max": -1}.items():
        ends = float(low[place]), float(high[place])
        digits = numbers.digits_between(*ends)
        found[name] = (numbers.lower(ends[0], digits), numbers.upper(ends[1], digits))
    return found


def _certified(radii: Radii, wanted: tuple[float, ...]) -> str:
    if not len(radii.values):
        return "no samples"
    if radii.tolerance is not None:
        least = numbers.lower(float(radii.values.min()))
        slack, count = plain(radii.tolerance), len(radii.values)
        return f"no output moves further than {slack} within {least} of {count} samples"
    said = [f"clean accuracy {numbers.percent_down(radii.clean_accuracy)}"]
    if wanted:
        share = numbers.percent_down(radii.accuracy_at(wanted[0]))
        said.append(f"certified {share} at radius {plain(wanted[0])}{withstood(radii, wanted[0])}")
    return ", ".join(said)


def withstood(radii: Radii, radius: float) -> str:
    """What the attack leaves of the accuracy, rounded up: the true robust accuracy is at most that."""
    if radii.attack is None or not len(radii.values):
        return ""
    return f", at most {numbers.percent_up(radii.attack.accuracy_at(radius))} by attack"


def plain(value: float) -> str:
    """A number that somebody wrote, as they wrote it: nothing is rounded."""
    text = repr(float(value))
    return text.removesuffix(".0")


def tensor(value: Tensor) -> str:
    """Name, shape and type, and the value of an input that does not vary."""
    return f"{value.name} {list(value.shape)} {value.dtype}" + ("" if value.held is None else f" = {value.held}")


@final
@dataclass(frozen=True, slots=True)
class Remark:
    """A finding in words. remedy: empty where the next remark has the same one."""

    code: str
    severity: str
    subject: str
    message: str
    remedy: str


def remarks(report: AuditReport) -> list[Remark]:
    """The findings, errors first, then by code in the order found; the remedy once a code."""
    ordered = sorted(report.findings, key=lambda finding: (_ORDER[finding.severity], finding.code))
    found = []
    for finding, following in zip_longest(ordered, ordered[1:]):
        last = following is None or following.code != finding.code
        named = " ".join(part for part in (finding.op, finding.subject) if part)
        remedy = finding.kind.remedy if last else ""
        found.append(Remark(finding.code, finding.severity, named, finding.message, remedy))
    return found


def slack(bound: UpperBound) -> str:
    """How near the bound is to the best that its method could have said, where that is known."""
    if bound.slack is None:
        return ""
    return f", within {numbers.percent_up(bound.slack, 3)} of its optimum"
