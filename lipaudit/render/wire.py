"""The parts of the JSON report: each value of a report as plain, finite, serialisable data."""

from __future__ import annotations

import math

import numpy as np

from lipaudit.numerics.bound import LowerBound, UpperBound
from lipaudit.render.words import quantiles
from lipaudit.report.report import AffineModulus, Attack, Model, Problem, Radii, Regions, Samples, Tensor

Json = dict[str, object]


def number(value: float) -> float | None:
    """The value, or None where JSON has no word for it."""
    return float(value) if math.isfinite(value) else None


def numbers(values: np.ndarray) -> list[float | None]:
    """An array as a flat list of such numbers."""
    return [number(value) for value in np.asarray(values, dtype=np.float64).reshape(-1).tolist()]


def bound_json(bound: UpperBound | LowerBound) -> Json:
    """BOUND: `value` reads back to the very float64, which is a bound already; `hex` says so without a parser."""
    value, finite = float(bound.value), math.isfinite(bound.value)
    return {
        "value": value if finite else None,
        "log10": math.log10(value) if finite and value > 0.0 else None,
        "hex": value.hex() if finite else None,
        "finite": finite,
        "kind": "certified" if isinstance(bound, UpperBound) else "attained",
        "evidence": bound.evidence,
    }


def _tensor(tensor: Tensor) -> Json:
    content: Json = {"name": tensor.name, "shape": list(tensor.shape), "dtype": tensor.dtype}
    return content if tensor.held is None else {**content, "fixed": tensor.held}


def model_json(model: Model) -> Json:
    """Which file; null where a refused file was not read far enough to tell."""
    parity, batch = model.parity, model.batch
    known: Json = {} if batch is None else {"batch": {"proven": batch.proven, "statement": batch.statement}}
    return {
        "path": model.path,
        "sha256": model.sha256 or None,
        "opset": model.opset or None,
        "inputs": [_tensor(tensor) for tensor in model.inputs],
        "outputs": [_tensor(tensor) for tensor in model.outputs],
        "parity": None
        if parity is None
        else {
            "points": parity.points,
            "max_abs_difference": number(parity.max_abs_difference),
            "tolerance": number(parity.tolerance),
        },
        **known,
    }


def problem_json(problem: Problem) -> Json:
    """What the numbers speak of; region null: all inputs."""
    region = problem.region
    return {
        "norm_in": problem.norm_in,
        "norm_out": problem.norm_out,
        "region": None
        if region is None
        else {
            "kind": region.kind,
            "low": number(region.low),
            "high": number(region.high),
            "source": region.source,
        },
        "units": problem.units,
        "function": problem.function,
    }


def modulus_json(modulus: AffineModulus) -> Json:
    """|f(x) - f(y)| <= slope |x - y| + jump, and the nodes that jump."""
    return {
        "slope": bound_json(modulus.slope),
        "jump": bound_json(modulus.jump),
        "nodes": [{"node": n.node, "op": n.op, "jump": bound_json(n.height)} for n in modulus.nodes],
        "seconds": number(modulus.seconds),
    }


def samples_json(samples: Samples) -> Json:
    """The distribution and every sample; null where there is none."""
    norm: Json = dict.fromkeys(("min", "p5", "median", "p95", "max", "argmax"))
    if len(samples.values):
        norm = {name: number(value) for name, value in quantiles(samples).items()}
        norm["argmax"] = samples.argmax
    return {
        "count": len(samples.values),
        "norm": norm,
        "kind": "numeric",
        "source": samples.source,
        "method": samples.method,
        "seconds": number(samples.seconds),
        "per_sample": numbers(samples.values),
    }


def regions_json(regions: Regions) -> Json:
    """Certified and attained bounds over the balls, the distribution and every sample's; null where there is none."""
    # the upper median is one of them: nothing is rounded, and never inf - inf
    places, values, lower = {"min": 0, "median": len(regions.values) // 2, "max": -1}, regions.values, regions.lower
    ends = {
        end: {name: number(float(np.sort(own)[at])) if len(own) else None for name, at in places.items()}
        for end, own in (("upper", values), ("lower", lower))
    }
    return {
        "radius": regions.radius,
        "count": len(values),
        **ends,
        "kind": "certified",
        "source": regions.source,
        "methods": regions.counts(),
        "seconds": number(regions.seconds),
        "per_sample": numbers(values),
        "lower_per_sample": numbers(lower),
        "exact": regions.exact,
    }


def whole_json(radii: Radii, whole: np.ndarray) -> Json:
    """What constants over the whole domain alone would have given, over the correctly classified."""
    right = whole[radii.correct]
    return {"median": number(float(np.median(right))) if len(right) else None, "per_sample": numbers(whole)}


def radii_json(radii: Radii, wanted: tuple[float, ...]) -> Json:
    """The keys that certify adds; the radii's statistics are over the correctly classified."""
    right = radii.values[radii.correct]
    low, high = radii.lipschitz
    summary: Json = {
        "count": len(right),
        "misclassified": len(radii.values) - len(right),
        "median": number(float(np.median(right))) if len(right) else None,
        "min": number(float(right.min())) if len(right) else None,
        "max": number(float(right.max())) if len(right) else None,
        "per_sample": numbers(radii.values),
        **({} if radii.whole is None else {"whole_domain": whole_json(radii, radii.whole)}),
        "correct": np.asarray(radii.correct, dtype=bool).tolist(),
        "kind": "certified",
        "source": radii.source,
        "method": radii.method,
        "lipschitz": {"min": number(low), "max": number(high)},
        "tolerance": radii.tolerance,
        "seconds": number(radii.seconds),
        "attack": None if radii.attack is None else attack_json(radii.attack, radii, wanted),
    }
    some = len(radii.values) > 0
    return {
        "clean_accuracy": radii.clean_accuracy if some and radii.tolerance is None else None,
        "certified": [{"radius": radius, "accuracy": radii.accuracy_at(radius) if some else None} for radius in wanted],
        "radii": summary,
    }


def attack_json(attack: Attack, radii: Radii, wanted: tuple[float, ...]) -> Json:
    """The other end of the brackets; statistics are over the samples with a counterexample that were right before."""
    found = attack.found & np.asarray(radii.correct, dtype=bool)
    reached = attack.values[found]
    share = radii.values[found] / reached  # a sample that is right is not changed at distance 0
    return {
        "count": int(found.sum()),
        "tried": int(attack.tried.sum()),
        "unconfirmed": attack.unconfirmed,
        "median": number(float(np.median(reached))) if len(reached) else None,
        "min": number(float(reached.min())) if len(reached) else None,
        "max": number(float(reached.max())) if len(reached) else None,
        "certified_over_attacked": number(float(np.median(share))) if len(reached) else None,
        "accuracy": [
            {"radius": radius, "accuracy_at_most": attack.accuracy_at(radius) if len(attack.values) else None}
            for radius in wanted
        ],
        "per_sample": numbers(attack.values),
        "answers": [int(answer) if answer >= 0 else None for answer in attack.answers.tolist()],
        "kind": "attained",
        "method": attack.method,
        "seconds": number(attack.seconds),
    }
