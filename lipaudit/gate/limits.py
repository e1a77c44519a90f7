"""The limits of a policy: what each rule requires, as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from lipaudit.errors import UsageError
from lipaudit.gate.fields import Fields

QUANTILES = {"median": 0.5, "p95": 0.95, "max": 1.0}
_KEYS = ("upper", "ratio", "layer", "layers", "local", "certified")


@final
@dataclass(frozen=True, slots=True)
class Limits:
    """What is required; None and empty: nothing. layers: (node or pattern, limit), in the order of the file.

    certified: (radius, accuracy) pairs. local: limits of numeric quantiles, by name.
    """

    upper: float | None = None
    ratio: float | None = None
    layer: float | None = None
    layers: tuple[tuple[str, float], ...] = ()
    local: tuple[tuple[str, float], ...] = ()
    certified: tuple[tuple[float, float], ...] = ()
    clean_accuracy: float | None = None

    @property
    def empty(self) -> bool:
        return self == Limits()

    @property
    def of_bound(self) -> bool:
        """Whether a rule needs the bracket or the layers."""
        return bool(self.layers) or any(x is not None for x in (self.upper, self.ratio, self.layer))

    @property
    def of_certify(self) -> bool:
        """Whether a rule needs certified radii."""
        return bool(self.certified) or self.clean_accuracy is not None


def parse_limits(content: Mapping[str, object], where: str) -> Limits:
    """The [limits] table. Raises UsageError for an unknown key, a wrong value, or a table that asks for nothing."""
    fields = Fields(content, where, _KEYS)
    for key in ("layers", "local", "certified"):
        if fields.has(key) and not fields.raw(key):
            raise fields.wrong(key, "a table with a limit in it")
    layers = fields.table("layers")
    per_layer = Fields(layers, f"{where}, layers", layers)
    local = Fields(fields.table("local"), f"{where}, local", QUANTILES)
    certified, clean = [], []
    for table in fields.tables("certified"):
        entry = Fields(table, f"{where}, certified", ("radius", "accuracy", "clean_accuracy"))
        radius, accuracy = entry.number("radius"), entry.number("accuracy", 0.0, 1.0)
        if (radius is None) != (accuracy is None):
            raise UsageError(f"{where}, certified: radius and accuracy belong together")
        if radius is not None and accuracy is not None:
            certified.append((radius, accuracy))
        if (share := entry.number("clean_accuracy", 0.0, 1.0)) is not None:
            clean.append(share)
    return Limits(
        upper=fields.number("upper"),
        ratio=fields.number("ratio", 1.0),
        layer=fields.number("layer"),
        layers=tuple((name, limit) for name in layers if (limit := per_layer.number(name)) is not None),
        local=tuple((name, limit) for name in QUANTILES if (limit := local.number(name)) is not None),
        certified=tuple(certified),
        clean_accuracy=max(clean, default=None),
    )
