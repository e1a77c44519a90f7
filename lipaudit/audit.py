"""The audit: composes loading, engines, probes and reports. What the command line calls, and what a library user does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

import numpy as np

from lipaudit.numerics.norms import Norm
from lipaudit.report.report import AuditReport

Progress = Callable[[str, int, int], None]
"""Called with (what is being done, how much is done, of how much)."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Domain:
    """The box of inputs that are possible, in raw units: numbers, or arrays of the shape of one input.

    source: as the user wrote it ('0,1', 'box.npz'), for the report.
    """

    lower: float | np.ndarray
    upper: float | np.ndarray
    source: str


@final
@dataclass(frozen=True, slots=True)
class Preprocess:
    """Raw input x to model input (x - mean) / std, by channel (axis 1 of the input) or one number for all.

    source: as the user declared it, for the report. Declared "none" is mean 0, std 1.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str


@final
@dataclass(frozen=True, slots=True)
class Settings:
    """How to audit. methods: names of engines, () for all that apply. budget: seconds for the upper bounds."""

    norm: Norm = Norm.L2
    domain: Domain | None = None
    preprocess: Preprocess | None = None
    methods: tuple[str, ...] = ()
    budget: float = 60.0
    seed: int = 0
    device: str = "cpu"
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    output: str | None = None


def bound(model: str | Path, settings: Settings, progress: Progress | None = None) -> AuditReport:
    """Per-layer gains, certified upper bounds of the global constant, and a lower bound attained at a witness."""
    raise NotImplementedError


def local(
    model: str | Path,
    inputs: np.ndarray,
    settings: Settings,
    *,
    source: str = "",
    directions: bool = False,
    progress: Progress | None = None,
) -> AuditReport:
    """The Jacobian's operator norm at every input [N, *input_shape]."""
    raise NotImplementedError


def certify(
    model: str | Path,
    inputs: np.ndarray,
    labels: np.ndarray,
    settings: Settings,
    *,
    source: str = "",
    radii: tuple[float, ...] = (),
    tolerance: float | None = None,
    progress: Progress | None = None,
) -> AuditReport:
    """Radii within which no prediction changes. labels: whole numbers [N]; with a tolerance, targets are not needed."""
    raise NotImplementedError


def check(model: str | Path, settings: Settings) -> AuditReport:
    """Whether and as what the model can be audited; computes no bound."""
    raise NotImplementedError
