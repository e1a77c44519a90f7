"""A certificate written out: hexadecimal numbers, and a claim that the independent checker has already proven."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lipaudit.audit import Settings
from lipaudit.audit.certificate import Multipliers, multipliers
from lipaudit.checker import SCHEMA, Rejected, prove
from lipaudit.errors import Unsupported

_SLACKS = (1e-9, 1e-7, 1e-5, 1e-3)
"""How much t may lie above the square of the bound, where the checker's arithmetic needs room."""

_WORSE = 1.01
"""What a certificate may lose against the bound that it is of; a looser one is true, and of no use."""


def certificate(path: Path, settings: Settings) -> tuple[bytes, float]:
    """The file's bytes and the bound it proves. Raises Unsupported where the checker proves none."""
    content = path.read_bytes()
    found = multipliers(path, settings)
    best, reason = None, "the checker proves nothing of it"
    for slack in _SLACKS:
        document = _document(content, found, settings, found.value**2 * (1.0 + slack))
        try:
            value = prove(document, content)
        except Rejected as rejected:
            reason = str(rejected)
            continue
        if best is None or value < best[1]:
            best = document, value
        if value <= found.value * (1.0 + 10.0 * slack):
            break
    if best is not None and not best[1] <= found.value * _WORSE:
        reason = f"the checker's arithmetic proves only {best[1]:.4g} of {found.value:.4g}"
        best = None
    if best is None:
        raise Unsupported(f"there is no certificate of this model: {reason}")
    document, value = best
    document["claim"]["value"] = value.hex()
    return (json.dumps(document, indent=1, ensure_ascii=True) + "\n").encode("ascii"), value


def _document(content: bytes, found: Multipliers, settings: Settings, square: float) -> dict[str, Any]:
    declared = settings.preprocess
    preprocess: Mapping[str, list[str]] | None = None
    if declared is not None and not declared.trivial:
        preprocess = {"mean": [x.hex() for x in declared.mean], "std": [x.hex() for x in declared.std]}
    return {
        "schema": SCHEMA,
        "tool": {"name": "lipaudit", "version": version("lipaudit")},
        "model": {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)},
        "claim": {
            "kind": "global_lipschitz",
            "norm": "l2",
            "domain": "all",
            "arithmetic": "real",
            "input": found.input,
            "output": found.output,
            "shape": list(found.shape),
            "preprocess": preprocess,
            "value": (0.0).hex(),
        },
        "proof": {"square": square.hex(), "multipliers": [[x.hex() for x in r.tolist()] for r in found.rates]},
    }
