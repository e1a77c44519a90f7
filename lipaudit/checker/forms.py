"""Forms: a tensor of differences as a linear function of the difference of two inputs and of each activation's slack.

For two inputs x, y every tensor's difference is sum_k A_k q_k with q_0 the input's difference and q_k the slack of the
k-th activation (see `proof.py`). A Form holds each A_k as an array [*shape, size of q_k] with a majorant M_k:

    |A_k - true| <= gamma_r M_k  and  |true| <= M_k (1 + gamma_r)    entrywise, gamma_r = r u / (1 - r u), u = 2^-53.

A linear step with weights W of n terms takes A to fl(W A), M to fl(|W| M) and r to r + 2 n + 3: gamma_n(1 + gamma_r) +
gamma_r <= gamma_(n + r) for the product (Higham 2002, lemma 3.3), the rest for the rounding of M itself. Nothing
underflows unseen: nonzero weights and majorants outside [1e-140, 1e140] are rejected, and one more in r covers products
that are small because they cancelled before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

import numpy as np

SMALLEST, LARGEST = 1e-140, 1e140
MOST = 2**26
"""Most entries of one array."""


class Rejected(Exception):
    """The certificate proves nothing about this model; the message says why."""


@final
@dataclass(frozen=True, slots=True)
class Form:
    """blocks: k to (A_k, M_k); roundings: r; shape: that of the tensor."""

    shape: tuple[int, ...]
    blocks: Mapping[int, tuple[np.ndarray, np.ndarray]]
    roundings: int

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))


def moved(form: Form, step: Callable[[np.ndarray], np.ndarray]) -> Form:
    """A step that only moves or copies entries: nothing is rounded."""
    blocks = {k: (step(a), step(m)) for k, (a, m) in form.blocks.items()}
    return _of(form.shape, blocks, form.roundings, step)


def weighted(
    form: Form, terms: int, step: Callable[[np.ndarray, bool], np.ndarray], weights: np.ndarray, own: int = 0
) -> Form:
    """A linear step of so many terms an entry. step: (array, whether to take absolute weights).

    own: roundings that the weights themselves have gone through.
    """
    if weights.dtype.kind != "f":
        raise Rejected("the weights of a linear step are no real numbers")
    in_range(weights)
    blocks = {k: (step(a, False), step(m, True)) for k, (a, m) in form.blocks.items()}
    return _of(form.shape, blocks, form.roundings + own + 2 * terms + 3, lambda x: step(x, False))


def added(one: Form, other: Form, sign: float) -> Form:
    """one + sign other, with numpy's broadcasting of both shapes."""
    shape = np.broadcast_shapes(one.shape, other.shape)
    blocks: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for part, factor in ((one, 1.0), (other, sign)):
        for k, (a, m) in part.blocks.items():
            wide = (*shape, a.shape[-1])
            lead = (1,) * (len(shape) - len(part.shape))
            a, m = (np.broadcast_to(x.reshape(*lead, *x.shape), wide) for x in (a, m))
            old = blocks.get(k)
            blocks[k] = (factor * a, m) if old is None else (old[0] + factor * a, old[1] + m)
    return _checked(Form(shape, blocks, max(one.roundings, other.roundings) + 5))


def in_range(values: np.ndarray) -> None:
    """Raises Rejected for a nonzero magnitude at which arithmetic could lose what the proof counts on, and for NaN."""
    size = np.abs(values[values != 0.0])
    if size.size and not (float(size.min()) >= SMALLEST and float(size.max()) <= LARGEST):
        raise Rejected("a number is not finite, or too small or too large for the proof's arithmetic")


def _of(
    shape: tuple[int, ...],
    blocks: dict[int, tuple[np.ndarray, np.ndarray]],
    roundings: int,
    step: Callable[[np.ndarray], np.ndarray],
) -> Form:
    found = next(iter(blocks.values()))[0].shape[:-1] if blocks else step(np.zeros((*shape, 0))).shape[:-1]
    return _checked(Form(found, blocks, roundings))


def _checked(form: Form) -> Form:
    for a, m in form.blocks.values():
        if a.size > MOST:
            raise Rejected(f"an array of {a.size} entries is more than the {MOST} that are checked")
        in_range(m)
        if not np.all(np.isfinite(a)):
            raise Rejected("a number is not finite")
    return form
