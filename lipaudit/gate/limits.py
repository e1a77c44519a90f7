"""The limits of a policy: what each rule requires, as numbers or relative to what a baseline records."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from lipaudit.errors import UsageError
from lipaudit.gate.fields import Fields

QUANTILES = {"median": 0.5, "p95": 0.95, "max": 1.0}
_KEYS = ("upper", "ratio", "layer", "layers", "local", "certified")
_RELATIVE = '"baseline" or {baseline = 1.05}'


@final
@dataclass(frozen=True, slots=True)
class Relative:
    """A limit of `factor` times the value that the baseline records for the same rule."""

    factor: float


Limit = float | Relative


@final
@dataclass(frozen=True, slots=True)
class Limits:
    """What is required; None and empty: nothing. layers: (node or pattern, limit or None: off), in the file's order.

    certified: (radius, accuracy) pairs. local: limits of numeric quantiles, by name.
    """

    upper: Limit | None = None
    ratio: Limit | None = None
    layer: Limit | None = None
    layers: tuple[tuple[str, Limit | None], ...] = ()
    local: tuple[tuple[str, Limit], ...] = ()
    certified: tuple[tuple[float, Limit], ...] = ()
    clean_accuracy: Limit | None = None

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

    @property
    def relative(self) -> bool:
        """Whether a limit needs a baseline."""
        several = (*self.layers, *self.local, *self.certified)
        single = (self.upper, self.ratio, self.layer, self.clean_accuracy)
        return any(isinstance(x, Relative) for x in (*single, *(limit for _, limit in several)))


def parse_limits(content: Mapping[str, object], where: str) -> Limits:
    """The [limits] table. Raises UsageError for an unknown key, a wrong value, or a table that asks for nothing."""
    fields = Fields(content, where, _KEYS)
    for key in ("layers", "local", "certified"):
        if fields.has(key) and not fields.raw(key):
            raise fields.wrong(key, "a table with a limit in it")
    layers = fields.table("layers")
    per_layer = Fields(layers, f"{where}, layers", layers)
    local = Fields(fields.table("local"), f"{where}, local", QUANTILES)
    certified: list[tuple[float, Limit]] = []
    clean: list[Limit] = []
    for table in fields.tables("certified"):
        place = f"{where}, certified"
        entry = Fields(table, place, ("radius", "accuracy", "clean_accuracy"))
        radius, accuracy = entry.number("radius"), _limit(entry, "accuracy", place, 0.0, 1.0)
        if (radius is None) != (accuracy is None):
            raise UsageError(f"{place}: radius and accuracy belong together")
        if radius is not None and accuracy is not None:
            certified.append((radius, accuracy))
        if (share := _limit(entry, "clean_accuracy", place, 0.0, 1.0)) is not None:
            clean.append(share)
    if len(clean) > 1:
        raise UsageError(f"{where}, certified: clean_accuracy is given {len(clean)} times")
    return Limits(
        upper=_limit(fields, "upper", where),
        ratio=_limit(fields, "ratio", where, 1.0),
        layer=_limit(fields, "layer", where),
        layers=tuple((name, _layer_limit(per_layer, name, f"{where}, layers")) for name in layers),
        local=tuple((name, at) for name in QUANTILES if (at := _limit(local, name, f"{where}, local")) is not None),
        certified=tuple(certified),
        clean_accuracy=clean[0] if clean else None,
    )


def _limit(fields: Fields, key: str, where: str, low: float = 0.0, high: float = math.inf) -> Limit | None:
    """A number in [low, high], or a factor of the baseline's value."""
    value = fields.raw(key)
    if value == "baseline":
        return Relative(1.0)
    if isinstance(value, dict):
        factor = Fields(value, f"{where}, {key}", ("baseline",)).number("baseline")
        if factor is None or factor <= 0.0:
            raise fields.wrong(key, f"a number, {_RELATIVE} with a positive factor")
        return Relative(factor)
    if isinstance(value, str):
        raise fields.wrong(key, f"{fields.span(low, high)}, or {_RELATIVE}")
    return fields.number(key, low, high)


def _layer_limit(fields: Fields, name: str, where: str) -> Limit | None:
    return None if fields.raw(name) == "off" else _limit(fields, name, where)
