"""What became of the numbers that a baseline records: the same, better, worse, or gone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

Trend = Literal["same", "better", "worse", "changed", "new", "gone"]


@final
@dataclass(frozen=True, slots=True)
class Change:
    """One number then and now. id: as the gate's rules are named.

    recorded: rounded outward, as it stands in the file; None where it is new. measured: unrounded; None where it is
    gone. A lower bound is neither better nor worse when it moves, it has "changed".
    """

    id: str
    recorded: float | None
    measured: float | None
    trend: Trend


@final
@dataclass(frozen=True, slots=True)
class Comparison:
    """A report held against its record in a baseline file.

    model, sha256: what the record is of; same_model: whether that is the very file audited now.
    differences: settings that differ so that the numbers cannot be compared; a limit relative to them is not judged.
    """

    source: str
    model: str
    sha256: str
    recorded: str
    same_model: bool
    differences: tuple[str, ...]
    changes: tuple[Change, ...]
