"""Certified ellipsoids: from any multipliers, a proven bound of the program, or a refusal.

What is kept. Let d be the values alive, stacked, for the difference of two inputs x. Every step is linear for the
pair at hand, so d = J x, and Y (an exact matrix of float64) satisfies

    (*)   J J' <= Y    for every J that the slopes and gains allow.

Then |d|^2 <= lambda_max(Y) |x|^2, which is read off for the output. At the start d = x and Y = I.

Linear step, d+ = (r, W d_s) with r the values kept: J+ J+' <= T Y T' with T = [select r; W]. The product computed in
float64 is off by at most g e_i e_j at (i, j), with e = (sqrt(diag Y_rr), |W| sqrt(diag Y_ss)), because |Y_ij| <=
sqrt(Y_ii Y_jj) for the positive semidefinite Y, and g holds the rounding of both products and the weights' own error.
A symmetric E with |E_ij| <= g e_i e_j has E <= g (sum_j e_j) diag(e) (diagonal dominance), which is added.

Slope step, w = (C + D S) v with C, D diagonal and |S_ii| <= 1 (v the neurons with D > 0; the others are linear).
For every diagonal Theta with G = Theta - Y_vv > 0:

    (C + D S) J_v and what is kept, J_r:   J+ J+' <= B' G^-1 B + diag(R Y_rr R, (D^2 - C^2) Theta),
    B = [Y_vr R, Theta C],                 R the scales of what is kept.

Proof: write Y = L L', W = V L (the rows v of L), N = I - W' Theta^-1 W > 0; for any p let b = L' A' p, q = U' p with A
the linear part, U the columns of D. With r = b + W' S q:  b' N^-1 b >= 2 b'r - r' N r = r'r - 2 q'S W r +
|Theta^-1/2 W r|^2, and q' Theta q + |Theta^-1/2 W r|^2 >= 2 |q|'|W r| >= 2 q'S W r, entry by entry as Theta and S are
diagonal. So |J+' p|^2 <= |r|^2 <= p' (A L N^-1 L' A' + U Theta U') p; N^-1 = I + W' G^-1 W, and V Y V' = Theta - G
collects the terms to the form above. This is the S-procedure of LipSDP-Neuron (Fazlyab et al. 2019, arXiv:1906.04893)
with T = Theta^-1, eliminated block by block (cf. Xu & Sivaranjani 2024, ECLipsE, arXiv:2404.04375). A Theta that is
not diagonal would need |S W r| to be bounded across entries and is unsound: there is no way to pass one here.

Gain step, |w| <= g |v|: w = g S v with |S| <= 1 a full matrix; the same proof with Theta = theta I, C = 0.

G^-1 is never trusted. G is rounded down on the diagonal, which only raises G^-1. For *any* T, if
|T G T' - I|_F <= e < 1, then T G T' >= (1 - e) I, so T is invertible, G > 0 and G^-1 <= T'T / (1 - e). Cholesky only
guesses T. T B, computed as X with |T B - X| <= F entrywise: (T B)'(T B) <= (1 + t) X'X + (1 + 1/t) F'F for t > 0.

Underflow: every matrix product has entries off by at most (number of terms) TINY more; `FLOOR` covers all of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch

from lipaudit.engines.ellipsoid_program import Gain, Linear, Program, Slope
from lipaudit.engines.ellipsoid_rounding import FLOOR, HUGE, Rejected, eliminated, inflated, roots
from lipaudit.linear.norms.dense_l2 import dense_l2
from lipaudit.linear.norms.sums import unscaled
from lipaudit.numerics.rounding import U, add_up, gamma, mul_up, sqrt_up, up

Multipliers = Mapping[int, torch.Tensor]
"""Theta for each slope step (a vector) and gain step (one number), by the step's place; guesses of any origin."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Cover:
    """J J' <= matrix for the values alive, stacked in this order; the matrix is symmetric."""

    values: tuple[int, ...]
    matrix: torch.Tensor

    def indices(self, values: tuple[int, ...], sizes: tuple[int, ...]) -> torch.Tensor:
        """Where the entries of these values are."""
        starts, place = {}, 0
        for v in self.values:
            starts[v] = place
            place += sizes[v]
        return torch.cat([torch.arange(starts[v], starts[v] + sizes[v]) for v in values] + [torch.arange(0)])


def verified(program: Program, multipliers: Multipliers) -> float:
    """An upper bound of the program's Lipschitz constant in l2; inf where the multipliers prove none."""
    cover = output_cover(program, multipliers)
    return math.inf if cover is None else unscaled(sqrt_up(dense_l2(cover).value), program.exponent)


def output_cover(program: Program, multipliers: Multipliers) -> torch.Tensor | None:
    """Y with J J' <= 4^exponent Y for the program's output; None where the multipliers prove none."""
    try:
        return _run(program, multipliers)
    except Rejected:
        return None


def _run(program: Program, multipliers: Multipliers) -> torch.Tensor:
    state = Cover((0,), torch.empty(0, 0, dtype=torch.float64))
    if not program.starts():
        state = Cover((0,), torch.eye(program.sizes[0], dtype=torch.float64))
    for place, step in enumerate(program.steps):
        match step:
            case Linear():
                state = _first(step) if place == 0 and program.starts() else _linear(state, step, program.sizes)
            case Slope():
                state = _slope(state, step, program.sizes, _positive(multipliers, place))
            case Gain():
                state = _gain(state, step, program.sizes, multipliers, place)
        if not bool((state.matrix.diagonal() < HUGE).all()):  # NaN and inf fail too
            raise Rejected
    at = state.indices((program.output,), program.sizes)
    return state.matrix[at][:, at]


def _positive(multipliers: Multipliers, place: int) -> torch.Tensor:
    theta = multipliers.get(place)
    if theta is None or theta.dtype != torch.float64 or not bool(((theta > 0) & (theta < HUGE)).all()):
        raise Rejected
    return theta.reshape(-1)


def _first(step: Linear) -> Cover:
    """The linear step from Y = I that leaves nothing of the input alive; e = 2-norms of the rows, by Cauchy-Schwarz."""
    n = step.matrix.shape[1]
    e = torch.linalg.vector_norm(step.majorant, dim=1) + math.sqrt(step.loss * n)
    return Cover(step.targets, inflated(step.matrix @ step.matrix.mT, _own_error(step, n), e))


def _linear(state: Cover, step: Linear, sizes: tuple[int, ...]) -> Cover:
    source, kept = state.indices(step.sources, sizes), state.indices(step.kept, sizes)
    rows, root = state.matrix[source], roots(state.matrix)
    corner = (step.matrix @ rows[:, source]) @ step.matrix.mT
    side = step.matrix @ rows[:, kept]
    matrix = torch.cat([torch.cat([state.matrix[kept][:, kept], side.mT], 1), torch.cat([side, corner], 1)])
    reach = step.majorant @ root[source] + math.sqrt(step.loss) * float(root[source].sum())
    e = torch.cat([root[kept], reach])
    return Cover((*step.kept, *step.targets), inflated(matrix, _own_error(step, len(source)), e))


def _own_error(step: Linear, n: int) -> float:
    """g for two products of length n and the weights' own error.

    With q = max(eta, sqrt(loss)), |W - matrix| z <= eta majorant z + loss sum(z) <= q (majorant z + sqrt(loss) sum(z))
    for z >= 0: both products carry it once, each with a factor (1 + q)^2 <= 2 at most.
    """
    q = max(step.eta, sqrt_up(step.loss))
    if not q < 2.0**-34:
        raise Rejected
    return add_up(mul_up(2.0, gamma(n + 6)), mul_up(4.0, q))


def _slope(state: Cover, step: Slope, sizes: tuple[int, ...], theta: torch.Tensor) -> Cover:
    if len(theta) != sizes[step.source]:
        raise Rejected
    source, kept = state.indices((step.source,), sizes), state.indices(step.kept, sizes)
    bent = (step.radius > 0).nonzero()[:, 0]
    straight = (step.radius <= 0).nonzero()[:, 0]
    rest = torch.cat([kept, source[straight]])
    scales = torch.cat([torch.ones(len(kept), dtype=torch.float64), step.centre[straight]])
    c, d, th = step.centre[bent], step.radius[bent], theta[bent]
    square = torch.where(d == c.abs(), torch.zeros_like(d), (d * d - c * c) + 4.0 * U * (d * d + c * c))
    block = square * th
    whole = eliminated(state.matrix, source[bent], th, rest, scales, th * c, block, (d * d + c * c) * th)
    order = torch.empty(len(kept) + len(source), dtype=torch.int64)
    order[: len(kept)] = torch.arange(len(kept))
    order[len(kept) + straight] = torch.arange(len(kept), len(rest))
    order[len(kept) + bent] = torch.arange(len(rest), len(order))
    return Cover((*step.kept, step.target), whole[order][:, order])


def _gain(state: Cover, step: Gain, sizes: tuple[int, ...], multipliers: Multipliers, place: int) -> Cover:
    source, kept = state.indices((step.source,), sizes), state.indices(step.kept, sizes)
    size = sizes[step.target]
    if len(kept):
        theta = float(_positive(multipliers, place)[0])
        none = torch.empty(0, dtype=torch.float64)
        th, ones = torch.full((len(source),), theta, dtype=torch.float64), torch.ones(len(kept), dtype=torch.float64)
        above = eliminated(state.matrix, source, th, kept, ones, none, none, none)
    else:  # the infimum over theta is lambda_max itself
        theta, above = dense_l2(state.matrix[source][:, source]).value, torch.empty(0, 0, dtype=torch.float64)
    result = torch.zeros(len(kept) + size, len(kept) + size, dtype=torch.float64)
    result[: len(kept), : len(kept)] = above
    result.diagonal()[len(kept) :] = up(mul_up(step.factor, step.factor, theta)) + FLOOR
    return Cover((*step.kept, step.target), result)
