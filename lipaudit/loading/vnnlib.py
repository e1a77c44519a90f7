"""The input box of a VNN-LIB property: bounds X_i by constants; what it says of outputs is not needed here."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from pathlib import Path

import numpy as np

from lipaudit.errors import InvalidInput
from lipaudit.loading.reading import read_bytes
from lipaudit.numerics.rounding import down, up

MAX_BYTES = 2**28

Expression = str | list["Expression"]
Ends = dict[int, tuple[float, float]]

_TOKEN = re.compile(r"\(|\)|[^\s()]+")
_INPUT = re.compile(r"X_(\d+)$")
_EVERYTHING = (-math.inf, math.inf)


def read_vnnlib_box(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(lower, upper), flat, of the box around all inputs that the property allows.

    `and` intersects and `or` takes the hull, so a union of boxes becomes the smallest box around it. A decimal that is
    no float64 is rounded outward. Raises InvalidInput where an input is left unbounded or the file is not understood.
    """
    what = f"domain {path}"
    text = re.sub(r";[^\n]*", "", read_bytes(path, "domain", MAX_BYTES).decode("utf-8", "replace"))
    declared: set[int] = set()
    box: Ends = {}
    for statement in _parse(text, what):
        match statement:
            case ["declare-const" | "declare-fun", str(name), *_]:
                if found := _INPUT.match(name):
                    declared.add(int(found[1]))
            case ["assert", condition]:
                box = _both(box, _ends(condition, what))
            case _:
                continue
    size = len(declared)
    if not size or declared != set(range(size)):
        raise InvalidInput(f"{what} declares no inputs X_0, X_1, ...")
    ends = [box.get(i, _EVERYTHING) for i in range(size)]
    loose = next((i for i, (low, high) in enumerate(ends) if not (math.isfinite(low) and math.isfinite(high))), None)
    if loose is not None:
        raise InvalidInput(f"{what} leaves X_{loose} without a lower or an upper bound")
    lower, upper = np.array(ends, dtype=np.float64).T
    if bool((lower > upper).any()):
        raise InvalidInput(f"{what} allows no input: X_{int(np.argmax(lower > upper))} has its bounds crossed")
    return lower, upper


def _parse(text: str, what: str) -> list[Expression]:
    """The nested lists of an S-expression file."""
    stack: list[list[Expression]] = [[]]
    for token in _TOKEN.findall(text):
        if token == "(":
            stack.append([])
        elif token == ")":
            if len(stack) == 1:
                raise InvalidInput(f"{what} closes a parenthesis that was not opened")
            done = stack.pop()
            stack[-1].append(done)
        else:
            stack[-1].append(token)
    if len(stack) != 1:
        raise InvalidInput(f"{what} leaves a parenthesis open")
    return stack[0]


def _ends(condition: Expression, what: str) -> Ends:
    """Bounds of the inputs under a condition; nothing is known of those that are not named."""
    match condition:
        case ["and", *parts]:
            box: Ends = {}
            for part in parts:
                box = _both(box, _ends(part, what))
            return box
        case ["or", *parts]:
            boxes = [_ends(part, what) for part in parts]
            shared = set.intersection(*(set(b) for b in boxes)) if boxes else set()
            return {i: (min(b[i][0] for b in boxes), max(b[i][1] for b in boxes)) for i in shared}
        case ["<=", left, right] | [">=", right, left]:
            return _compare(left, right, what)
        case ["<", left, right] | [">", right, left]:
            return _compare(left, right, what)
        case _:
            raise InvalidInput(f"{what} holds a condition that is not understood: {str(condition)[:60]}")


def _compare(left: Expression, right: Expression, what: str) -> Ends:
    """left <= right, where one side is an input and the other a number; conditions on outputs say nothing here."""
    sides = [_INPUT.match(side) if isinstance(side, str) else None for side in (left, right)]
    if sides[0] and sides[1]:
        raise InvalidInput(f"{what} compares two inputs, which is no box")
    if sides[0]:
        return {int(sides[0][1]): (-math.inf, _number(right, what)[1])}
    if sides[1]:
        return {int(sides[1][1]): (_number(left, what)[0], math.inf)}
    if any("X_" in str(side) for side in (left, right)):
        raise InvalidInput(f"{what} bounds an expression of inputs, which is no box")
    return {}


def _number(text: Expression, what: str) -> tuple[float, float]:
    """float64 numbers around the decimal: itself twice where it is exact."""
    match text:
        case ["-", inner]:
            low, high = _number(inner, what)
            return -high, -low
        case str():
            try:
                value = float(text)
            except ValueError:
                raise InvalidInput(f"{what} has {text[:40]!r} where a number belongs") from None
            if not math.isfinite(value):
                raise InvalidInput(f"{what} has {text[:40]!r} where a finite number belongs")
            exact = _is_exact(text, value)
            return (value, value) if exact else (down(value), up(value))
        case _:
            raise InvalidInput(f"{what} has an expression where a number belongs")


def _is_exact(text: str, value: float) -> bool:
    """Whether the decimal is that float64. A long one is not asked: its exact value could take for ever."""
    plain = re.fullmatch(r"[+-]?[0-9.]{1,40}([eE][+-]?[0-9]{1,3})?", text)
    return plain is not None and Fraction(text) == Fraction(value)


def _both(a: Ends, b: Ends) -> Ends:
    """The intersection of two boxes."""
    met = dict(a)
    for i, (low, high) in b.items():
        own = met.get(i, _EVERYTHING)
        met[i] = (max(own[0], low), min(own[1], high))
    return met
