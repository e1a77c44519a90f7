"""verify: a certificate and a model to what is proven of it, or to why nothing is."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from lipaudit.checker.forms import Rejected
from lipaudit.checker.model import read
from lipaudit.checker.proof import bound, trace

SCHEMA = "lipaudit-certificate/1"
_KEYS = {
    "": ("schema", "tool", "model", "claim", "proof"),
    "model": ("sha256", "bytes"),
    "claim": ("kind", "norm", "domain", "arithmetic", "input", "output", "shape", "preprocess", "value"),
    "proof": ("square", "multipliers"),
    "preprocess": ("mean", "std"),
}
_FIXED = {"kind": "global_lipschitz", "norm": "l2", "domain": "all", "arithmetic": "real"}


@final
@dataclass(frozen=True, slots=True)
class Verified:
    """What is proven: |f(x) - f(y)| <= value |x - y| in l2, for all inputs of this file's function in real arithmetic.

    proven: what the certificate's multipliers prove, at most `value`, the claim.
    """

    sha256: str
    input: str
    output: str
    value: float
    proven: float


def verify(certificate: bytes, model: bytes) -> Verified:
    """The certificate's claim, if it is proven of this very file. Raises Rejected; ValueError for what is no JSON."""
    content = json.loads(certificate, object_pairs_hook=_object, parse_constant=_no_number, parse_float=_no_number)
    content = _table(content, "")
    if content["schema"] != SCHEMA:
        raise Rejected(f"the schema is {content['schema']!r}, not {SCHEMA}")
    facts, claim = _table(content["model"], "model"), _table(content["claim"], "claim")
    digest = hashlib.sha256(model).hexdigest()
    if facts["sha256"] != digest or facts["bytes"] != len(model):
        raise Rejected("the certificate is of another file")
    for key, only in _FIXED.items():
        if claim[key] != only:
            raise Rejected(f"{key} {claim[key]!r} is not known, only {only!r}")
    value = _number(claim["value"])
    found = prove(content, model)
    if not found <= value:
        raise Rejected(f"the multipliers prove {found!r}, not {value!r}")
    return Verified(digest, str(claim["input"]), str(claim["output"]), value, found)


def prove(content: dict[str, Any], model: bytes) -> float:
    """The bound that a certificate's multipliers prove of the model, whatever it claims. Raises Rejected."""
    claim, proof = _table(content["claim"], "claim"), _table(content["proof"], "proof")
    shape = claim["shape"]
    if not isinstance(shape, list) or not all(type(s) is int and 0 < s < 2**31 for s in shape):
        raise Rejected("the shape must be a list of whole numbers")
    network = read(model, tuple(shape), str(claim["output"]))
    if claim["input"] != network.source:
        raise Rejected(f"the model's input is {network.source!r}, not {claim['input']!r}")
    mean, std = [0.0], [1.0]
    if claim["preprocess"] is not None:
        given = _table(claim["preprocess"], "preprocess")
        mean, std = (_numbers(given[key]).tolist() for key in ("mean", "std"))
    if not isinstance(proof["multipliers"], list):
        raise Rejected("the multipliers must be a list of lists")
    multipliers = [_numbers(entry) for entry in proof["multipliers"]]
    try:
        with np.errstate(all="ignore"):  # what is not finite is looked for, not warned of
            return bound(trace(network, mean, std), multipliers, _number(proof["square"]))
    except (ArithmeticError, IndexError, MemoryError, TypeError, ValueError) as error:  # shapes that do not fit, say
        raise Rejected(f"the model cannot be followed: {error}") from None


def _table(value: object, name: str) -> dict[str, Any]:
    if not isinstance(value, dict) or set(value) != set(_KEYS[name]):
        raise Rejected(f"the certificate's {name or 'content'} must have exactly the keys {', '.join(_KEYS[name])}")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Rejected("a key is given twice")
    return found


def _no_number(text: str) -> float:
    raise Rejected(f"numbers are hexadecimal texts, not {text}")


def _number(value: object) -> float:
    """A finite number of at least 0 as float.hex() writes it: no decimal is rounded on the way."""
    try:
        found = float.fromhex(value) if isinstance(value, str) and value.startswith(("0x", "-0x")) else math.nan
    except (ValueError, OverflowError):
        found = math.nan
    if not 0.0 <= found < math.inf:
        raise Rejected(f"{value!r} is no finite hexadecimal number of at least 0")
    return found


def _numbers(value: object) -> np.ndarray:
    if not isinstance(value, list):
        raise Rejected("a list of hexadecimal numbers is missing")
    return np.array([_number(entry) for entry in value], dtype=np.float64)
