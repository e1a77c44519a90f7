"""The numbers of a report as one flat dictionary, for experiment trackers: MLflow, Weights & Biases, a spreadsheet."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from lipaudit.report.report import AuditReport

_VERDICTS = {"pass": 1.0, "fail": 0.0}


def metrics(report: AuditReport, prefix: str = "lipaudit/") -> dict[str, float]:
    """Name to finite float64: what trackers take. What was not computed or is not finite is left out.

    The names say what kind of number each is: `upper` and `certified_...` are proven, `lower` is attained, `local_...`
    is numeric. verdict_pass is 1 for a gate that passed, 0 for one that failed, and missing where it was inconclusive.
    """
    upper = None if report.upper is None or report.command == "certify" else report.upper.bound  # there: of the logits
    found: dict[str, float | None] = {
        "upper": None if upper is None else upper.value,
        "lower": None if report.lower is None else report.lower.bound.value,
        "ratio": report.ratio,
        "max_layer_gain": max((layer.gain.value for layer in report.layers), default=None),
        "verdict_pass": _VERDICTS.get(report.verdict or ""),
        "seconds": report.run.seconds,
    }
    samples, regions, radii = report.samples, report.regions, report.radii
    if samples is not None and len(samples.values):
        finite = bool(np.all(np.isfinite(samples.values)))
        found |= {
            f"local_{name}": samples.quantile(share) if finite else None
            for name, share in (("median", 0.5), ("p95", 0.95), ("max", 1.0))
        }
    if regions is not None and len(regions.values):
        found["certified_local_upper_max"] = float(np.max(regions.values))
    if radii is not None and len(radii.values):
        right = radii.values[radii.correct]
        found["clean_accuracy"] = radii.clean_accuracy if radii.tolerance is None else None
        found["certified_radius_median"] = float(np.median(right)) if len(right) else None
        found |= {f"certified_accuracy_{radius:g}": radii.accuracy_at(radius) for radius in report.certified_at}
        if radii.attack is not None and radii.tolerance is None:
            attack = radii.attack
            found |= {f"attacked_accuracy_{radius:g}": attack.accuracy_at(radius) for radius in report.certified_at}
    return {f"{prefix}{name}": float(v) for name, v in found.items() if v is not None and math.isfinite(v)}
