"""`certify --attack` and `--save-worst`: how long counterexamples are looked for, and where they are kept."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from lipaudit.cli.files import check_target, write_whole
from lipaudit.errors import UsageError
from lipaudit.gate.fields import duration

if TYPE_CHECKING:
    from lipaudit.report.report import AuditReport

SECONDS = 10.0
"""Of the attack, where nobody says how long."""


def effort(given: str | None) -> float:
    """Seconds for the attack; 0 for none. Raises UsageError."""
    if given == "none":
        return 0.0
    return SECONDS if given is None else duration(given)


def check_worst(path: Path | None, seconds: float, protected: Iterable[Path]) -> None:
    """Raises UsageError where counterexamples are to be kept that nobody looks for, or in a place that is taken."""
    if path is None:
        return
    if seconds == 0.0:
        raise UsageError("--save-worst keeps what an attack finds, and there is none")
    if path.suffix.lower() != ".npz":
        raise UsageError(f"--save-worst {path} is no .npz file")
    protected = list(protected)
    check_target(path, protected)
    if path in protected:
        raise UsageError(f"--save-worst {path} is where a report goes")


def save_worst(path: Path | None, report: AuditReport) -> None:
    """The counterexamples, nearest first: index, label, changed input, its class and distance, certified radius."""
    if path is None or report.radii is None or report.radii.attack is None:
        return
    import numpy as np

    radii, attack = report.radii, report.radii.attack
    rows = np.flatnonzero(attack.found & np.asarray(radii.correct, dtype=bool))
    rows = rows[np.argsort(attack.values[rows], kind="stable")]
    labels = np.full(len(radii.values), -1) if radii.labels is None else radii.labels
    stream = io.BytesIO()
    np.savez_compressed(
        stream,
        index=rows if report.drawn is None else report.drawn[rows],
        label=labels[rows],
        answer=attack.answers[rows],
        distance=attack.values[rows],
        certified=radii.values[rows],
        x=attack.points[rows],
    )
    write_whole(path, stream.getvalue())
