"""The proof that a certificate stands for: from any multipliers and any square t, a bound of the l2 constant, or none.

For two inputs x, y let q_0 = x - y. Every activation has slopes in [c - d, c + d], so the difference w of its outputs
and that of its inputs, v, satisfy w = c v + d u entry by entry with some |u_i| <= |v_i|: u is its slack. So every
difference in the network is linear in q = (q_0, u_1, ..., u_K): v_k = V_k q and, at the output, E q.

Let lambda_k >= 0 be one number for each entry of each activation, and for a number t > 0

    S = t (diag(1 on q_0, lambda_k on u_k) - sum_k V_k' diag(lambda_k) V_k) - E' E.

If S >= -delta I, then |E q|^2 <= t |q_0|^2 + t sum_ki lambda_ki (u_ki^2 - v_ki^2) + delta |q|^2, and the sum is not
positive because every |u_ki| <= |v_ki|. And |q|^2 <= (1 + sum_k p_k^2) |q_0|^2 where |u_k| <= |v_k| <= p_k |q_0| by
adding up bounds of the norms of V_k's blocks. So L^2 <= t + delta (1 + sum_k p_k^2). This is LipSDP-Neuron (Fazlyab
et al. 2019, arXiv:1906.04893): one multiplier an entry. One that couples entries, as in LipSDP-Network, would be
unsound, and there is no way to write one down here.

delta. For any matrix C, S = C C' + R implies S >= -|R|_F; a Cholesky factorisation guesses C and is not trusted. Added
to |R|_F are the rounding errors of R, and of S itself: with the majorants M of V and E (see `forms.py`) every entry of
S is off by at most gamma_N (t (diag(...) + sum_k M_k' diag(lambda_k) M_k) + M_E' M_E).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import final

import numpy as np

from lipaudit.checker.forms import Form, Rejected
from lipaudit.checker.model import Network
from lipaudit.checker.ops import Args, linear, scaled, slopes

_U = 2.0**-53
_TINY = 2.0**-1070
SIDE = 8192
"""Largest side of S."""
_SHIFTS = (0.0, 1e-16, 1e-14, 1e-12, 1e-10)


@final
@dataclass(frozen=True, slots=True)
class Traced:
    """A network as linear forms: the input of each activation, in order, and the output."""

    activations: tuple[Form, ...]
    output: Form


def trace(network: Network, mean: Sequence[float], std: Sequence[float]) -> Traced:
    """Every activation's input and the output, as forms of raw inputs x with (x - mean) / std before the network."""
    size = math.prod(network.shape)
    if size > SIDE:
        raise Rejected(f"{size} inputs are more than the {SIDE} that are checked")
    eye = np.eye(size).reshape(*network.shape, size)
    start = Form(network.shape, {0: (eye, eye)}, 0)
    if list(std) != [1.0]:
        start = scaled(start, _by_channel(std, network.shape), divide=True)
    values: dict[str, Form] = {network.source: start}
    found: list[Form] = []
    for step in network.steps:
        args: Args = [_argument(name, values, network) for name in step.inputs]
        if not any(isinstance(arg, Form) for arg in args):
            raise Rejected(f"{step.op} {step.name!r} computes a constant, which is not done here")
        around = slopes(step)
        if around is None:
            values[step.output] = linear(step, args)
            continue
        [before] = args if len(args) == 1 else [None]
        if not isinstance(before, Form):
            raise Rejected(f"{step.op} {step.name!r} has more inputs than are known")
        found.append(before)
        values[step.output] = _bent(before, around, len(found))
    del mean  # it moves x and y alike
    if network.output not in values:
        raise Rejected(f"the output {network.output!r} was not reached")
    return Traced(tuple(found), values[network.output])


def bound(traced: Traced, multipliers: Sequence[np.ndarray], square: float) -> float:
    """sqrt(t + delta (1 + sum p^2)), rounded up: an upper bound of the constant whatever the arguments are."""
    _check_products()
    sizes = [_inputs(traced.activations[0] if traced.activations else traced.output)]
    sizes += [form.size for form in traced.activations]
    if len(multipliers) != len(traced.activations):
        raise Rejected(f"{len(multipliers)} sets of multipliers for {len(traced.activations)} activations")
    side = sum(sizes)
    if side > SIDE or not 1e-100 < square < 1e100:
        raise Rejected(f"a proof of side {side} with t = {square!r} is out of range")
    diagonal = [np.ones(sizes[0])]
    inner, above = np.zeros((side, side)), np.zeros((side, side))
    largest, rows, roundings = 1.0, 0, traced.output.roundings
    for form, given in zip(traced.activations, multipliers, strict=True):
        if given.shape != (form.size,) or not np.all((given >= 0.0) & (given < 1e100)):
            raise Rejected("multipliers must be as many as the activation has entries, and from 0 to 1e100")
        a, m = _matrix(form, sizes)
        inner += a.T @ (given[:, None] * a)
        above += m.T @ (given[:, None] * m)
        diagonal.append(given)
        largest, rows = max(largest, float(m.max(initial=0.0))), max(rows, form.size)
        roundings = max(roundings, form.roundings)
    out, over = _matrix(traced.output, sizes)
    rows, count = max(rows, len(out)), len(multipliers)
    weights = np.concatenate(diagonal)
    s = square * (np.diag(weights) - inner) - out.T @ out
    s = (s + s.T) / 2.0
    allowance = square * (np.diag(weights) + above) + over.T @ over
    lost = side * (rows + 10) * _TINY * (1.0 + max(largest, float(over.max(initial=0.0)))) * (1.0 + square) * 4.0
    own = _gamma(2 * roundings + 2 * (rows + count + 8)) * _norm(allowance) * (1.0 + 16 * _U) + lost
    delta = _residual(s) + own
    room = 1.0
    for reach in _reaches(traced.activations):
        room = _up(room + _up(reach * reach))
    total = _up(square + _up(_up(delta * (1.0 + 16 * _U)) * room))
    if not math.isfinite(total):
        raise Rejected("the multipliers prove no finite bound")
    return _up(math.sqrt(total))


def _bent(before: Form, around: tuple[float, float], place: int) -> Form:
    """c v + d u for an activation with slopes in [low, high], u its slack: block number `place`."""
    low, high = around
    c = low / 2.0 + high / 2.0
    d = max(high - c, c - low)
    while Fraction(d) < max(Fraction(high) - Fraction(c), Fraction(c) - Fraction(low)):
        d = math.nextafter(d, math.inf)
    blocks = {k: (c * a, abs(c) * m) for k, (a, m) in before.blocks.items()} if c else {}
    eye = d * np.eye(before.size).reshape(*before.shape, before.size)
    return Form(before.shape, {**blocks, place: (eye, eye)}, before.roundings + 3)


def _argument(name: str, values: dict[str, Form], network: Network) -> Form | np.ndarray | None:
    if not name:
        return None
    if name in values:
        return values[name]
    if name not in network.constants:
        raise Rejected(f"{name!r} is neither a constant nor computed by a node that is known")
    return network.constants[name]


def _by_channel(std: Sequence[float], shape: tuple[int, ...]) -> np.ndarray:
    values = np.asarray(std, dtype=np.float64)
    if not np.all((values > 1e-100) & (values < 1e100)):
        raise Rejected("the preprocessing divides by what is not positive")
    if len(values) == 1:
        return values.reshape(())
    if len(shape) < 2 or shape[1] != len(values):
        raise Rejected("the preprocessing does not fit axis 1 of the input")
    return values.reshape(1, -1, *[1] * (len(shape) - 2))


def _inputs(form: Form) -> int:
    return int(form.blocks[0][0].shape[-1])


def _matrix(form: Form, sizes: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """A and M of a form as matrices over all of q."""
    found = np.zeros((form.size, sum(sizes))), np.zeros((form.size, sum(sizes)))
    starts = np.concatenate([[0], np.cumsum(sizes)])
    for k, pair in form.blocks.items():
        for matrix, part in zip(found, pair, strict=True):
            matrix[:, starts[k] : starts[k + 1]] = part.reshape(form.size, sizes[k])
    return found


def _residual(s: np.ndarray) -> float:
    """delta with S >= -delta I for the stored symmetric S, from the first guess of C that there is."""
    scale = float(np.abs(np.diagonal(s)).max(initial=0.0))
    for shift in _SHIFTS:
        try:
            c = np.linalg.cholesky(s + shift * scale * np.eye(len(s)))
        except np.linalg.LinAlgError:
            continue
        rest = s - c @ c.T
        error = _gamma(len(s) + 4) * _norm(np.abs(s) + np.abs(c) @ np.abs(c).T)
        return _norm(rest) + error * (1.0 + _gamma(len(s) + 8)) + len(s) ** 2 * _TINY
    raise Rejected("the multipliers prove nothing: the matrix of the proof is not positive semidefinite")


def _reaches(activations: Sequence[Form]) -> list[float]:
    """p_k with |v_k| <= p_k |q_0|, from bounds of the blocks' norms; |u_k| <= |v_k| is used for those before."""
    reach = [1.0]
    for form in activations:
        wide = 1.0 + _gamma(form.roundings + 4)
        total = 0.0
        for k, (_, m) in form.blocks.items():
            total = _up(total + _up(_up(_spectral(m.reshape(form.size, -1)) * wide) * reach[k]))
        reach.append(total)
    return reach[1:]


def _spectral(m: np.ndarray) -> float:
    """Not below |V|_2 for any V with |V| <= m entrywise: |m|_F, or sqrt(|m|_1 |m|_inf) where that is less."""
    sums = float(m.sum(0).max(initial=0.0)), float(m.sum(1).max(initial=0.0))
    wide = 1.0 + _gamma(sum(m.shape) + 4)
    return min(_norm(m), _up(math.sqrt(_up(_up(sums[0] * wide) * _up(sums[1] * wide)))))


def _norm(x: np.ndarray) -> float:
    """|x|_F, not below it; entries too small to square are counted at 1e-150."""
    peak = float(np.abs(x).max(initial=0.0))
    if not math.isfinite(peak):
        raise Rejected("a number of the proof is not finite")
    if peak == 0.0:
        return 0.0
    root = math.sqrt(float(np.sum((x / peak) ** 2))) * peak
    return _up(root * (1.0 + _gamma(x.size + 8)) + math.sqrt(x.size) * peak * 1e-150)


def _gamma(n: int) -> float:
    """n u / (1 - n u), rounded up."""
    if not n * _U < 0.25:
        raise Rejected("the network is too deep for the proof's arithmetic")
    return _up(_up(n * _U) / (1.0 - n * _U) * (1.0 + 4 * _U))


def _up(x: float) -> float:
    return math.nextafter(x, math.inf)


def _check_products() -> None:
    """Raises Rejected where this machine multiplies matrices wrongly: sums of whole numbers below 2^53 are exact."""
    rng = np.random.default_rng(0)
    for n in (7, 64, 129):
        a, b = rng.integers(-1000, 1000, (2, n, n))
        if not np.array_equal(a.astype(np.float64) @ b.astype(np.float64), (a @ b).astype(np.float64)):
            raise Rejected("this machine's matrix products are wrong")
