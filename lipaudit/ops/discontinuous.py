"""Ops that jump: they have no Lipschitz constant, which is said by name."""

from __future__ import annotations

DISCONTINUOUS = {
    "ArgMax": "its output is an index, which jumps",
    "ArgMin": "its output is an index, which jumps",
    "Ceil": "it jumps at every whole number",
    "Floor": "it jumps at every whole number",
    "Round": "it jumps half-way between whole numbers",
    "Sign": "it jumps at 0",
    "Equal": "its output is true or false, which jumps",
    "Greater": "its output is true or false, which jumps",
    "GreaterOrEqual": "its output is true or false, which jumps",
    "IsInf": "its output is true or false, which jumps",
    "IsNaN": "its output is true or false, which jumps",
    "Less": "its output is true or false, which jumps",
    "LessOrEqual": "its output is true or false, which jumps",
    "Hardmax": "it jumps where two entries are equal",
    "QuantizeLinear": "it rounds to whole numbers, which jumps",
    "DynamicQuantizeLinear": "it rounds to whole numbers, which jumps",
    "OneHot": "its input is an index, which jumps",
    "NonZero": "its output is an index, which jumps",
    "Mod": "it jumps at every multiple of its divisor",
    "NonMaxSuppression": "its output is an index, which jumps",
    "Unique": "how many entries differ jumps",
    "RandomNormalLike": "its output is random",
    "RandomUniformLike": "its output is random",
    "Bernoulli": "its output is random",
    "Multinomial": "its output is random",
}
"""Why there is no finite constant across the op, unless its input is constant."""


def reason(op: str) -> str | None:
    """The reason for an op that jumps, None for any other."""
    why = DISCONTINUOUS.get(op)
    return None if why is None else f"{why}: there is no finite Lipschitz constant"
