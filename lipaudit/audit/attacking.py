"""The attack of `certify`: candidates are given to onnxruntime and to exact arithmetic, and only then count."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

from lipaudit.audit.subject import Subject, by_channel
from lipaudit.graph.graph import Graph
from lipaudit.loading.parity import as_model_type
from lipaudit.loading.reference import RuntimeFailed
from lipaudit.numerics.norms import Norm
from lipaudit.numerics.rounding import up
from lipaudit.probes.attack import nearest_changes
from lipaudit.probes.witness import batches, values_at
from lipaudit.report.report import Attack, Radii

LABEL = "boundary walk with restarts, confirmed by onnxruntime"
SECONDS = 10.0

BEYOND = (0.0, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
"""How much further than the candidate is tried, relative to its distance: rounding to the model's type may undo it."""

_CHUNK = 64


def attacked(
    target: Subject,
    norm: Norm,
    search: Graph,
    exact: Graph,
    points: torch.Tensor,
    radii: Radii,
    seconds: float,
    progress: Callable[[int], None] | None = None,
) -> Attack:
    """Counterexamples of the samples [N, *input_shape] that are right and inside the domain.

    search, exact: the model up to the outputs that are compared, simplified and as the file has it. Two thirds of the
    time are for the search, the rest for its confirmation. What is reported is an input, exactly representable in the
    model's own type where the domain has room for it, to which onnxruntime gives another class, and whose outputs,
    enclosed in intervals, are ordered like that in real arithmetic too.
    """
    started = time.monotonic()
    labels = torch.as_tensor(radii.labels)
    tried = torch.as_tensor(radii.correct & _inside(points, target))
    where = tried.nonzero()[:, 0]
    values = np.where(radii.correct, np.inf, 0.0)
    answers = np.where(radii.correct, -1, _answers(exact, points))
    kept = np.full(tuple(points.shape), np.nan)
    unconfirmed = 0
    if len(where):
        found = nearest_changes(
            search,
            norm,
            points[where],
            labels[where],
            target.region,
            deadline=started + 2.0 * seconds / 3.0,
            seed=target.settings.seed,
            progress=progress,
        )
        tried[where] = found.tried
        some = found.distances.isfinite()
        confirm = _Confirm(target, norm, exact, points[where[some]], labels[where[some]], started + seconds)
        reach, classes, near = confirm(found.points[some])
        rows = where[some].numpy()
        values[rows], answers[rows], kept[rows] = reach, classes, near
        unconfirmed = int(np.isinf(reach).sum())
    return Attack(LABEL, values, answers, kept, tried.numpy(), unconfirmed, time.monotonic() - started)


def contradicted(attack: Attack, radii: Radii) -> np.ndarray:
    """The samples whose counterexample lies inside their certified radius, which no sound radius allows."""
    return np.flatnonzero(attack.found & np.asarray(radii.correct) & (attack.values < radii.values))


def _inside(points: torch.Tensor, target: Subject) -> np.ndarray:
    if target.region is None:
        return np.ones(len(points), dtype=bool)
    within = (points >= target.region.lower) & (points <= target.region.upper)
    return np.asarray(within.reshape(len(points), -1).all(1).numpy(), dtype=bool)


def _answers(logits: Graph, points: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        rows = [logits.forward(points[part]).reshape(-1, _outputs(logits)) for part in batches(logits, len(points))]
    return np.asarray(torch.cat(rows).argmax(1).numpy())


def _outputs(graph: Graph) -> int:
    return int(torch.Size(graph.output_shape).numel())


class _Confirm:
    """Holds candidates against the model's file and against interval arithmetic."""

    def __init__(
        self, target: Subject, norm: Norm, logits: Graph, x: torch.Tensor, labels: torch.Tensor, deadline: float
    ) -> None:
        self.target, self.norm, self.logits = target, norm, logits
        self.x, self.labels, self.deadline = x, labels, deadline

    def __call__(self, candidates: torch.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(distances [M], inf where not confirmed; the classes given, -1; the points, NaN)."""
        count = len(self.x)
        reach, classes = np.full(count, np.inf), np.full(count, -1)
        points = np.full(tuple(self.x.shape), np.nan)
        for share in BEYOND:
            for rows in np.array_split(np.flatnonzero(classes < 0), max(1, -(-int((classes < 0).sum()) // _CHUNK))):
                if not len(rows) or time.monotonic() > self.deadline:
                    continue
                start = self.x[rows]
                raw, inner = representable(self.target, start + (1.0 + share) * (candidates[rows] - start))
                given = self._given(raw, inner, rows)
                for place, row in enumerate(rows):
                    if given[place] >= 0:
                        step = raw[place] - self.x[row]
                        # the difference is rounded once an entry
                        reach[row] = up(self.norm.bounds_of(step)[1] * up(1.0 + 2.0**-51))
                        classes[row], points[row] = given[place], raw[place].numpy()
        return reach, classes, points

    def _given(self, raw: torch.Tensor, inner: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The class that onnxruntime gives instead of the label, -1 where it does not or real arithmetic may not."""
        labels = self.labels[rows][:, None]
        enclosed = values_at(self.logits, raw)
        above = enclosed.upper.reshape(len(rows), -1).gather(1, labels)
        proven = (enclosed.lower.reshape(len(rows), -1) > above).any(1).numpy()
        if not proven.any():
            return np.full(len(rows), -1)
        try:
            outputs = self.target.loaded.run_reference(inner)
        except RuntimeFailed:
            return np.full(len(rows), -1)
        own = np.take_along_axis(outputs, labels.numpy(), 1)[:, 0]
        best = outputs.argmax(1)
        other = outputs[np.arange(len(rows)), best] > own  # false for NaN
        return np.where(proven & other, best, -1)


def representable(target: Subject, raw: torch.Tensor) -> tuple[torch.Tensor, np.ndarray]:
    """(raw inputs near the given ones and inside the domain, the model's inputs for them in its own type)."""
    facts, pre = target.loaded.facts, target.settings.preprocess
    if pre is None or pre.trivial:
        rounded = torch.as_tensor(as_model_type(facts, raw.numpy()))
        rounded = _clipped(rounded, target)
        return rounded, rounded.numpy()
    shape = target.graph.input_shape
    mean, std = (by_channel(values, shape, pre) for values in (pre.mean, pre.std))
    inner = torch.as_tensor(as_model_type(facts, ((raw - mean) / std).numpy()))
    back = _clipped(inner * std + mean, target)
    return back, ((back - mean) / std).numpy()


def _clipped(x: torch.Tensor, target: Subject) -> torch.Tensor:
    region = target.region
    return x if region is None else torch.minimum(torch.maximum(x, region.lower), region.upper)
