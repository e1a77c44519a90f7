"""Certified ellipsoids on a lattice: from any multipliers, a proven bound of the program, or a refusal.

What is kept. Let D be the values alive as signals on the lattice (see `fourier_build` for what they are outside their
windows), for the difference of two inputs x, in the pair's own linear form D = J x. Y is the block-circulant matrix
with the symbols Y^(w): Hermitian matrices of float64, exactly, for half of the frequencies, their conjugates for the
other half. With F the unitary transform over cells,

    (*)   J J' <= Y,  that is  F J J' F^* <= diag(Y^(w))   for every J that the slopes and gains allow.

At the start D is x and zeros, and Y = I. At the end |d|^2 <= max_w lambda_max(Y^(w)) |x|^2 for the output's window d.

Linear step, D+ = T D, the same in every cell: T Y T' is block-circulant, with the symbols T^(w) Y^(w) T^(w)^*, or
their means over the w with f w = w' where the lattice gets f times coarser: D+[m] = sum_t K_t D[f m + s_t] gives
(D+)^(w') = f^-1 sum_w T^(w) D^(w), and a sum of Y^(w) over orthogonal w for its ellipsoid; f = all cells for a vector.
T^ is computed within q M, M the sum of |K_t|: the twiddles are within 32 u an axis, the sums add gamma, the kernel its
own roundings. So each product is off by at most g e_i e_j at (i, j), e = M sqrt(diag Y^(w)) since Y^(w) >= 0 has
|Y^_ij| <= sqrt(Y^_ii Y^_jj). A Hermitian E with |E_ij| <= g e_i e_j has E <= g (sum_j e_j) diag(e) by diagonal
dominance, which is added, averaged like the products.

Slope step, D+ = (R D, S D_v), S diagonal with entries within delta of c, other ones in every cell. With
Theta > Y_vv one positive diagonal for all cells (one number a channel), the S-procedure of `ellipsoid_verify` on the
whole torus gives

    J+ J+' <= B^* G^-1 B + diag(Y_rr, (delta^2 - c^2) Theta),   G = Theta - Y_vv > 0,  B = [Y_vr, c Theta]

in which every matrix is block-circulant: frequency by frequency. Theta must be diagonal (the S-procedure adds up
entries) and the same in all cells (else it mixes frequencies): there is no way to pass another one here. Its proof
uses |S_ii - c_i| <= delta_i alone, so that any S in the range may be meant outside the window, 0 among them where 0 is
in the range.

Gain step, |w_c| <= g |v_c| for groups c of channels, over all cells: the same proof with C = 0 and Theta one number
theta_c on all of group c, as theta_c |q_c|^2 + theta_c^-1 |v_c|^2 >= 2 |q_c| |v_c|; so

    J+ J+' <= diag(Y_rr + Y_rv G^-1 Y_vr, g^2 Theta),

w being uncorrelated with what is kept. With nothing kept a new lattice may be laid, and for one group the infimum is
theta = max_w lambda_max(Y_vv^(w)).

Max pooling is one behind a linear step: w = p'v for some p >= 0 with sum 1, over the k entries v of a window (those in
the padding 0, p being 0 there), is mean(v) + (p - 1/k)'v, where |p - 1/k|^2 <= 1 - 1/k and only v's part across the
mean counts: |w - mean(v)| <= sqrt(1 - 1/k) |v - mean(v)|. Outside the window p = 1/k may be meant.

G^-1 is never trusted. G is rounded down on its diagonal, which only raises G^-1. For *any* T, |T G T^* - I|_F <= e < 1
gives G > 0 and G^-1 <= T^*T / (1 - e); Cholesky only guesses T. T B is computed as X with column errors off_j:
(T B)^*(T B) <= (1 + t) X^*X + (1 + 1/t) (sum off) diag(off).

Sources: Fazlyab et al. 2019 (arXiv:1906.04893) for the relaxation with diagonal multipliers; what is circulant and how
it is eliminated is derived above.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

import torch

from lipaudit.engines.fourier_program import Bend, Gain, Linear, Program
from lipaudit.engines.fourier_rounding import (
    FLOOR,
    HUGE,
    Rejected,
    diagonals,
    dominating,
    eliminated,
    inflated,
    product,
    roots,
)
from lipaudit.engines.fourier_symbols import aliases, folded, half, symbol
from lipaudit.linear.map import Shape
from lipaudit.linear.norms.dense_l2 import stacked_l2
from lipaudit.linear.norms.sums import unscaled
from lipaudit.numerics.rounding import U, add_up, gamma, mul_up, sqrt_up, tensor_up

Multipliers = Mapping[int, torch.Tensor]
"""Theta for each slope step and (a number a group) gain step, by the step's place; guesses of any origin."""


def verified(program: Program, multipliers: Multipliers) -> float:
    """An upper bound of the program's Lipschitz constant in l2; inf where the multipliers prove none."""
    cover = output_cover(program, multipliers)
    return math.inf if cover is None else constant(program, cover)


def constant(program: Program, cover: torch.Tensor) -> float:
    """sqrt(lambda_max) of the output's cover, rounded up, in the output's own units."""
    return unscaled(sqrt_up(stacked_l2(cover).value), program.exponent)


def output_cover(program: Program, multipliers: Multipliers, deadline: float = math.inf) -> torch.Tensor | None:
    """The symbols [F, n, n] of a Y with J J' <= 4^exponent Y for the output.

    None where the multipliers prove none, or not by the deadline (time.monotonic() seconds).
    """
    try:
        return _run(program, multipliers, deadline)
    except Rejected:
        return None


def _run(program: Program, multipliers: Multipliers, deadline: float) -> torch.Tensor:
    lattices = program.lattices()
    y = _identity(lattices[0], program.channels)
    for place, step in enumerate(program.steps):
        if time.monotonic() > deadline:
            raise Rejected
        match step:
            case Linear():
                y = _linear(y, step, lattices[place])
            case Bend():
                y = _bend(y, step, _positive(multipliers, place, len(step.source)))
            case Gain():
                y = _gain(y, step, lattices[place + 1], multipliers, place)
        if not bool((diagonals(y) < HUGE).all()):  # NaN and inf fail too
            raise Rejected
    return y[:, program.output][:, :, program.output]


def _identity(cells: Shape, side: int) -> torch.Tensor:
    dtype = torch.complex128 if cells else torch.float64
    return torch.eye(side, dtype=dtype).repeat(len(half(cells)), 1, 1)


def _positive(multipliers: Multipliers, place: int, count: int) -> torch.Tensor:
    theta = multipliers.get(place)
    if theta is None or theta.dtype != torch.float64 or not bool(((theta > 0) & (theta < HUGE)).all()):
        raise Rejected
    if theta.shape != (count,):
        raise Rejected
    return theta


def _linear(y: torch.Tensor, step: Linear, cells: Shape) -> torch.Tensor:
    """T Y T', its symbols averaged where the lattice gets coarser, plus what all roundings can be."""
    t, n, count = symbol(step, cells), y.shape[1], math.prod(cells)
    twiddle = add_up(32.0 * len(cells) * U, mul_up(1.5, gamma(step.terms + 4)))
    q = mul_up(max(add_up(step.eta, twiddle), sqrt_up(step.loss)), 1.0 + 2.0**-20)
    if not q < 2.0**-34 or not float(step.majorant.max() if step.majorant.numel() else 0.0) < 2.0**60:
        raise Rejected
    root = roots(y)
    # |T - T^| z <= q (M z + sqrt(loss) sum z) for z >= 0, and |T^| <= (1 + q) M up to the same loss
    reach = root @ step.majorant.mT + math.sqrt(step.loss) * root.sum(1, keepdim=True)
    g = add_up(mul_up(4.0, gamma(2 * n + 12)), mul_up(4.0, q))
    left = product(t, y)
    if step.factor is None:
        terms = 2 * len(half(cells)) * n
        own = dominating(add_up(g, mul_up(2.0, gamma(terms + 8))), reach)
        weight = half(cells).weight / count
        extra = tensor_up((weight @ own) * (1.0 + gamma(len(weight) + 4)))[None]
        return inflated(_averaged(left, t, weight), extra)
    many = math.prod(step.factor)
    own = dominating(add_up(g, mul_up(2.0, gamma(many + 4))), reach)
    made = folded(left, t, cells, step.factor, product)
    place, _ = aliases(cells, step.factor) if many > 1 else (torch.arange(len(own))[:, None], None)
    extra = (own[place].sum(1) / many) * (1.0 + gamma(many + 4))
    return inflated(made, tensor_up(extra))


def _averaged(left: torch.Tensor, right: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """sum_w weight Re(left right^*) over the half, as one real product of [n, 2 F c] and its like: [1, n, n]."""
    if not left.is_complex():
        return left @ right.mT
    ends = (left * weight[:, None, None], right)
    wide, other = (torch.cat([x.real, x.imag], 2).permute(1, 0, 2).flatten(1) for x in ends)
    return (wide @ other.mT)[None]


def _bend(y: torch.Tensor, step: Bend, theta: torch.Tensor) -> torch.Tensor:
    c, d = step.centre, step.radius
    square = torch.where(d == c.abs(), torch.zeros_like(d), (d * d - c * c) + 4.0 * U * (d * d + c * c))
    return eliminated(y, step.source, theta, step.rest, theta * c, square * theta, (d * d + c * c) * theta)


def _gain(y: torch.Tensor, step: Gain, cells: Shape, multipliers: Multipliers, place: int) -> torch.Tensor:
    none, above = torch.empty(0, dtype=torch.float64), _identity(cells, 0)
    if step.closed:
        theta = torch.tensor([stacked_l2(y[:, step.source][:, :, step.source]).value], dtype=torch.float64)
    else:
        theta = _positive(multipliers, place, step.groups)
        kept = eliminated(y, step.source, theta[step.group], step.rest, none, none, none)
        above = kept if step.cells is None else above
    k = len(step.rest)
    result = torch.zeros(len(above), k + len(step.spread), k + len(step.spread), dtype=above.dtype)
    result[:, :k, :k] = above
    square = mul_up(step.factor, step.factor)
    result.diagonal(dim1=1, dim2=2)[:, k:] = tensor_up(tensor_up(square * theta[step.spread]) + FLOOR)
    return result
