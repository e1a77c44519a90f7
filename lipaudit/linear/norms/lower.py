"""How large an operator norm is at least: a vector, its image, and every rounding against us.

|A x|_q / |x|_p for any x is at most ||A||_{p->q}; it is computed with fl(A x), which is off by at most
gamma_n |A||x| entrywise, n the map's roundings. So no iteration has to be believed, and where one stopped too early
the answer is only smaller. Which x is a guess: for l2 the top Ritz vector of Lanczos on A'A or A A', whichever is
smaller, with every vector orthogonalised twice against all before (Golub & Van Loan, 4th ed. 2013, section 10.1).
"""

from __future__ import annotations

import math
import time
from typing import NamedTuple

import torch

from lipaudit.linear.conv import Conv
from lipaudit.linear.dense import Dense
from lipaudit.linear.map import Adjoint, Compose, LinearMap, Sum
from lipaudit.linear.norms.entries import SAFE_FROM_UNDERFLOW, inflated, majorant_sum, underflow_of_copy
from lipaudit.linear.norms.limits import Limits
from lipaudit.numerics.norms import Norm, NormPair
from lipaudit.numerics.rounding import add_up, div_down, down, gamma, mul_up

STEPS = 160
_EVERY = 4


class Lower(NamedTuple):
    """value: at most the norm, proven; estimate: what the iteration took it for."""

    value: float
    estimate: float


def attained(part: LinearMap, pair: NormPair, x: torch.Tensor) -> float:
    """|A x|_q / |x|_p, rounded down, for one x [*in_shape]; 0 where nothing can be proven."""
    batch = x.unsqueeze(0)
    image, size = part.apply(batch), part.majorant().apply(batch.abs())
    length = pair.source.bounds_of(x)[1]
    if not bool(size.isfinite().all()) or not 0.0 < length < math.inf:
        return 0.0
    reached = pair.target.bounds_of(image)[0]
    peak = pair.target.bounds_of(size)[1]
    if not peak > SAFE_FROM_UNDERFLOW:
        return 0.0
    lost = mul_up(gamma(part.roundings + 1), inflated(peak, 2 * part.roundings + 4))
    lost = add_up(lost, mul_up(underflow_of_copy(part), float(x.abs().max())))  # partial products below the range
    return div_down(max(0.0, down(reached - lost)), length)


def affordable(part: LinearMap, limits: Limits) -> bool:
    """Whether a full run of Lanczos fits what one method may take."""
    return limits.affords(2.0 * STEPS * _work(part), 8.0 * STEPS * min(part.in_size, part.out_size))


def _work(part: LinearMap) -> float:
    """About how many operations one application takes."""
    match part:
        case Adjoint():
            return _work(part.of)
        case Compose():
            return sum(_work(piece) for piece in part.maps)
        case Sum():
            return sum(_work(term) for term in part.terms)
        case Conv():
            return 2.0 * part.out_size * math.prod(part.kernel.shape[1:])
        case Dense():
            return 2.0 * part.out_size * part.weight.shape[-1]
        case _:
            return 2.0 * max(part.in_size, part.out_size)


def lower_l2(part: LinearMap, precision: float, deadline: float = math.inf, steps: int = STEPS) -> Lower:
    """||A||_2 is at least `value`; the iteration stops where no more than a hundredth of the precision seems left.

    What is left is guessed as if the gains went on shrinking as they did: g / (1 - g / last g) of the last gain g.
    """
    small = part if part.in_size <= part.out_size else Adjoint(part)
    vector, estimate = _ritz(small, 0.01 * precision, deadline, steps)
    if vector is None:
        return Lower(0.0, 0.0)
    return Lower(attained(small, NormPair.of(Norm.L2), vector), estimate)


def _ritz(part: LinearMap, gain: float, deadline: float, most: int) -> tuple[torch.Tensor | None, float]:
    """(top Ritz vector of A'A, root of its value) in at most `most` steps."""
    n = part.in_size
    scale = majorant_sum(part, Norm.L1)
    if not SAFE_FROM_UNDERFLOW < scale < 1.0 / SAFE_FROM_UNDERFLOW:
        return None, 0.0
    steps = min(most, n)
    basis = torch.zeros(steps, n, dtype=torch.float64)
    v = torch.randn(n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    alphas: list[float] = []
    betas: list[float] = []
    value, gained, weights = 0.0, math.inf, torch.ones(1, dtype=torch.float64)
    for k in range(steps):
        v = v / torch.linalg.vector_norm(v).clamp_min(2.0**-500)
        basis[k] = v
        w = part.adjoint(part.apply(v.reshape(1, *part.in_shape)) / scale).reshape(-1) / scale
        alphas.append(float(v @ w))
        known = basis[: k + 1]
        for _ in range(2):
            w = w - (known @ w) @ known
        betas.append(float(torch.linalg.vector_norm(w)))
        v = w
        last = k + 1 == steps or not betas[-1] > 1e-13 * max(alphas[0], betas[0])
        if last or k % _EVERY == _EVERY - 1 or time.monotonic() > deadline:
            off = torch.tensor(betas[:-1], dtype=torch.float64)
            ritz = torch.diag(torch.tensor(alphas, dtype=torch.float64)) + torch.diag(off, 1) + torch.diag(off, -1)
            values, vectors = torch.linalg.eigh(ritz)
            before, value, weights = value, float(values[-1]), vectors[:, -1]
            last_gain, gained = gained, max(value - before, 0.0)
            left = gained / max(1.0 - gained / last_gain, 0.05) if last_gain > 0.0 else gained
            if last or left <= 2.0 * gain * value or time.monotonic() > deadline:
                break
    vector = weights @ basis[: len(weights)]
    return vector.reshape(part.in_shape), math.sqrt(max(value, 0.0)) * scale
