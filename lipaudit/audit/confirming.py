"""Candidates of an attack held against the model's file in onnxruntime and against enclosures: only then they count."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import numpy as np
import torch

from lipaudit.audit.subject import Subject, by_channel
from lipaudit.graph.graph import Graph
from lipaudit.loading.parity import as_model_type
from lipaudit.loading.reference import RuntimeFailed
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.numerics.rounding import tensor_down, up
from lipaudit.probes.aims import Aim, OtherClass, TooFar
from lipaudit.probes.seeds import inside
from lipaudit.probes.witness import values_at

BEYOND = (0.0, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
"""How much further than the candidate is tried, relative to its distance: rounding to the model's type may undo it."""

_CHUNK = 64


class Change(ABC):
    """What counts as a changed output of some samples: for the search, in real arithmetic, and in onnxruntime."""

    @abstractmethod
    def aim(self, rows: torch.Tensor) -> Aim:
        """The same for the search, which proves nothing."""

    @abstractmethod
    def proven(self, enclosed: Box, rows: np.ndarray) -> np.ndarray:
        """[B] bool: whether every output in the boxes [B, K] counts as changed, for the samples of these rows."""

    @abstractmethod
    def given(self, outputs: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """[B]: how onnxruntime's outputs [B, K] have changed, a number from 0; -1 where they have not."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Misclassified(Change):
    """Another output is strictly larger than the label's; how: the class. labels: int64 [N]."""

    labels: torch.Tensor

    def aim(self, rows: torch.Tensor) -> Aim:
        return OtherClass(self.labels[rows])

    def proven(self, enclosed: Box, rows: np.ndarray) -> np.ndarray:
        above = enclosed.upper.gather(1, self.labels[rows][:, None])
        return np.asarray((enclosed.lower > above).any(1).numpy(), dtype=bool)

    def given(self, outputs: np.ndarray, rows: np.ndarray) -> np.ndarray:
        own = np.take_along_axis(outputs, self.labels[rows][:, None].numpy(), 1)[:, 0]
        best = outputs.argmax(1)
        other = outputs[np.arange(len(rows)), best] > own  # false for NaN
        return np.where(other, best, -1)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Moved(Change):
    """The output is strictly further than the tolerance from what it was; how: the entry that moved most.

    values, around, runs: [N, K], the outputs at the samples in float64, enclosed, and in onnxruntime.
    """

    values: torch.Tensor
    around: Box
    runs: np.ndarray
    tolerance: float
    norm: Norm

    @staticmethod
    def of(target: Subject, points: torch.Tensor, tolerance: float) -> Moved:
        """Of the samples [N, *input_shape]; where onnxruntime has no outputs, nothing is confirmed."""
        around = values_at(target.graph, points)
        low, high = around.lower.flatten(1), around.upper.flatten(1)
        try:
            runs = target.loaded.run_reference(representable(target, points)[1])
        except RuntimeFailed:
            runs = np.full(tuple(low.shape), np.nan)
        return Moved((low + high) / 2, Box(low, high), runs, tolerance, target.settings.pair.target)

    def aim(self, rows: torch.Tensor) -> Aim:
        return TooFar(self.values[rows], self.tolerance, self.norm)

    def proven(self, enclosed: Box, rows: np.ndarray) -> np.ndarray:
        low, high = self.around.lower[rows], self.around.upper[rows]
        gap = torch.maximum(tensor_down(enclosed.lower - high), tensor_down(low - enclosed.upper))
        gap = torch.nan_to_num(gap, nan=0.0, posinf=0.0, neginf=0.0).clamp(min=0.0)
        return np.array([self.norm.bounds_of(row)[0] > self.tolerance for row in gap], dtype=bool)

    def given(self, outputs: np.ndarray, rows: np.ndarray) -> np.ndarray:
        moved = torch.as_tensor(outputs - self.runs[rows])
        far = (self.norm.of(moved) > self.tolerance).numpy()  # false for NaN
        return np.where(far, moved.abs().argmax(1).numpy(), -1)


class Confirm:
    """Holds candidates against the model's file and against interval arithmetic."""

    def __init__(self, target: Subject, norm: Norm, exact: Graph, x: torch.Tensor, change: Change, late: float) -> None:
        self.target, self.norm, self.exact = target, norm, exact
        self.x, self.change, self.deadline = x, change, late

    def __call__(self, candidates: torch.Tensor, of: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(distances [M], inf where not confirmed; how the output changes, -1; the points, NaN).

        candidates: [M, *input_shape]; of: [M], which of the samples each belongs to.
        """
        reach, answers = np.full(len(of), np.inf), np.full(len(of), -1)
        points = np.full(tuple(candidates.shape), np.nan)
        for share in BEYOND:
            left = np.flatnonzero(answers < 0)
            for places in np.array_split(left, max(1, -(-len(left) // _CHUNK))):
                if not len(places) or time.monotonic() > self.deadline:
                    continue
                start = self.x[of[places]]
                raw, inner = representable(self.target, start + (1.0 + share) * (candidates[places] - start))
                given = self._given(raw, inner, of[places])
                for number, place in enumerate(places):
                    if given[number] >= 0:
                        step = raw[number] - start[number]
                        # the difference is rounded once an entry
                        reach[place] = up(self.norm.bounds_of(step)[1] * up(1.0 + 2.0**-51))
                        answers[place], points[place] = given[number], raw[number].numpy()
        return reach, answers, points

    def _given(self, raw: torch.Tensor, inner: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """How the output changes in onnxruntime, -1 where it does not or real arithmetic may not."""
        values = values_at(self.exact, raw)
        proven = self.change.proven(Box(values.lower.flatten(1), values.upper.flatten(1)), rows)
        if not proven.any():
            return np.full(len(rows), -1)
        try:
            outputs = self.target.loaded.run_reference(inner)
        except RuntimeFailed:
            return np.full(len(rows), -1)
        return np.where(proven, self.change.given(outputs, rows), -1)


def representable(target: Subject, raw: torch.Tensor) -> tuple[torch.Tensor, np.ndarray]:
    """(raw inputs near the given ones and inside the domain, the model's inputs for them in its own type)."""
    facts, pre = target.loaded.facts, target.settings.preprocess
    if pre is None or pre.trivial:
        rounded = inside(torch.as_tensor(as_model_type(facts, raw.numpy())), target.region)
        return rounded, rounded.numpy()
    shape = target.graph.input_shape
    mean, std = (by_channel(values, shape, pre) for values in (pre.mean, pre.std))
    inner = torch.as_tensor(as_model_type(facts, ((raw - mean) / std).numpy()))
    back = inside(inner * std + mean, target.region)
    return back, ((back - mean) / std).numpy()
