"""The three terms of the gain of multi-head attention, for tokens in balls.

O_hi = sum_j p_hij v_hj with p_hi = softmax_j(tau q_hi'k_hj + b_hij), where q = G_q w + c_q, k = G_k w + c_k and
v = G_v w + c_v of tokens |w_j| <= rho. Then

    dO_hi = sum_j p_hij dv_hj  +  tau Cov_p(v, k) dq_hi  +  tau sum_j p_hij (v_hj - mean_p v) (q_hi'dk_hj),

and each of the three is bounded for all queries i and heads h together, |.| the Frobenius norm of all tokens:

value   |P_h|_2 <= pi_h = sqrt(max_j sum_i pbar_hij) (Schur: rows sum to 1), so |(pi_h G_v,h)_h|_2 |dw|, heads stacked.
query   for each query by itself: |(kappa_h G_q,h)_h|_2 |dw|, kappa_h >= tau |Cov_p(v, k)|_2. A covariance S of tokens
        has S >= 0 and tr S <= rho^2, so |G_v S G_k'| <= rho^2 max_{|c| = 1} |G_v c||G_k c|, and that maximum is at most
        |(s G_v ; G_k / s)|_2^2 / 2 for every s. Offsets that differ between tokens add their own deviation.
key     row i is z -> a'V J z, J = diag p - p p', z_j = q'dk_j, |z| <= |G_k'q| |dw|. With y = V'a of a range r,
        |J y|_2^2 = sum p_j^2 (y_j - mean)^2 is convex in y, so at most r^2 ((1 - P)^2 P^2 + P^2 (1 - P)^2) <= r^2 / 8
        for the share P of the keys at the upper end; and at most max p Var_p(y). With r = 2 radius_h,
        tau radius_h m_hi |q_hi'G_k,h dw|, m_hi^2 = min(1/2, pbar_hi min(1, 4 rest_hi)). Over i and h together either
        sup |G_k'q| for each head, or the heads' sup|q| G_k,h stacked.

pbar_hij bounds p_hij: two logits of one query differ by at most 2 tau (rho sup|G_k'q| + sup|q| dev c_k) and by their
biases, for what does not depend on j cancels; and the range of the softmax over the region bounds it too. rest_hi is
the sum of all pbar_hij but the largest: Var_p(y) <= E (y - y_largest)^2 <= rest (2 radius)^2.

Sources: dot-product attention has no constant on all of R^n (Kim, Papamakarios, Mnih 2021, arXiv:2006.04710), and one
that grows as sqrt(n) rho^2 on balls (Castin, Ablin, Peyre 2024, arXiv:2312.14820); r^2 / 8 is the softmax's constant
from linf to l2 (Nair 2025, arXiv:2510.23012); bounds from max p, as here: Yudin et al. 2025. Heads stacked, offsets,
masks and biases: the steps above.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import final

import torch

from lipaudit.engines.attention_parts import Ball, by_head, matrices, offsets, range_radius, row_lengths, shares
from lipaudit.graph.attention import Attention, Part
from lipaudit.graph.problem import Problem
from lipaudit.linear.norms.dense_l2 import dense_l2
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.numerics.rounding import U, add_up, gamma, hypot_up, mul_up, sqrt_up, sum_up, tensor_up, up


@final
@dataclass(frozen=True, slots=True)
class _Norms:
    """What does not depend on the region, for each head: norms of G and their errors, |G_k'G_q|, |Cov| / rho^2."""

    query: tuple[float, ...]
    key: tuple[float, ...]
    value: tuple[float, ...]
    query_error: tuple[float, ...]
    key_error: tuple[float, ...]
    value_error: tuple[float, ...]
    mixed: tuple[float, ...]
    joint: tuple[float, ...]


@lru_cache(maxsize=64)
def _norms(attention: Attention, query_free: bool, key_free: bool) -> _Norms:
    (q, q_error), (k, k_error), (v, v_error) = (
        matrices(part, free)
        for part, free in ((attention.query, query_free), (attention.key, key_free), (attention.value, key_free))
    )
    q_sizes, k_sizes, v_sizes = (tuple(dense_l2(matrix).value for matrix in stack) for stack in (q, k, v))
    mixed, joint = [], []
    for h in range(attention.heads):
        product = k[h].mT @ q[h]
        lost = (k[h].abs().mT @ q[h].abs()) * (gamma(k.shape[1] + 1) * 2.0)
        mixed.append(add_up(dense_l2(product).value, Norm.L2.bounds_of(lost)[1], 1e-300))
        joint.append(_joint(v[h], k[h], v_sizes[h], k_sizes[h]))
    return _Norms(q_sizes, k_sizes, v_sizes, q_error, k_error, v_error, tuple(mixed), tuple(joint))


def _joint(v: torch.Tensor, k: torch.Tensor, v_norm: float, k_norm: float) -> float:
    """max_{|c| = 1} |V c||K c| at most: |V||K|, and |(sV ; K/s)|^2 / 2 for a few s."""
    best = mul_up(v_norm, k_norm)
    if not 1e-100 < best < 1e100 or not 1e-100 < k_norm / v_norm < 1e100:
        return best
    balance = math.sqrt(k_norm / v_norm)
    for factor in (0.7, 0.85, 1.0, 1.2, 1.4):
        s = balance * factor
        stacked = torch.cat([v * s, k / s])
        # each entry is rounded once; 1/s is not: the division is of s itself
        norm = add_up(dense_l2(stacked).value, mul_up(2.0 * U, Norm.L2.bounds_of(stacked)[1]), 1e-250)
        best = min(best, mul_up(0.5, norm, norm))
    return best


def _deviation(c: Box) -> list[float]:
    """For each head: a number that |c_j - a| does not exceed for one a and all tokens j."""
    middle = (c.lower.amin(1, keepdim=True) + c.upper.amax(1, keepdim=True)) / 2.0
    away = tensor_up(torch.maximum((c.upper - middle).abs(), (c.lower - middle).abs()))
    heads, count, _ = away.shape
    lengths = row_lengths(away)
    return [max(lengths[h * count : (h + 1) * count]) for h in range(heads)]


def gains(problem: Problem, attention: Attention, asking: Ball, asked: Ball) -> tuple[float, float]:
    """(gain in the queries' tokens, gain in the keys' and values'), in l2, over tokens in these balls."""
    heads, scale = range(attention.heads), attention.scale
    known = _norms(attention, asking.free, asked.free)
    of_query, of_key, of_value = (
        offsets(problem, attention, part, ball)
        for part, ball in ((attention.query, asking), (attention.key, asked), (attention.value, asked))
    )
    keys_apart = _apart(of_key, known.key_error, asked)
    values_apart = _apart(of_value, known.value_error, asked)
    lengths = _query_lengths(problem, attention, known, of_query, asking)
    steep = _key_slopes(attention, known, of_query, asking, lengths, asked.free)
    most = shares(problem, attention, _spread(attention, asked, steep, lengths, keys_apart))
    varying = _varying(most)

    value = _stack(attention.value, asked.free, [_columns(most[h]) for h in heads], known.value_error)

    radii = _radii(problem, attention, attention.value, known.value, asked, values_apart)
    others = _radii(problem, attention, attention.key, known.key, asked, keys_apart)
    kappa = []
    for h in heads:
        fine = _covariance(asked.radius, known, h, keys_apart[h], values_apart[h])
        kappa.append(mul_up(scale[h], min(fine, mul_up(radii[h], others[h])), float(varying[h].max())))
    query = _stack(attention.query, asking.free, kappa, known.query_error)

    rows = [mul_up(scale[h], radii[h], _damping(most[h], varying[h])) for h in heads]
    slopes = [add_up(max(steep[h]), mul_up(known.key_error[h], lengths[h])) for h in heads]
    by_head = hypot_up(*(mul_up(rows[h], slopes[h]) for h in heads))
    stacked = _stack(attention.key, asked.free, [mul_up(rows[h], lengths[h]) for h in heads], known.key_error)
    return query, add_up(value, min(by_head, stacked))


def _apart(c: Box, errors: tuple[float, ...], ball: Ball) -> list[float]:
    """For each head: how far a token's offset may be from one for all, its matrix's own error included."""
    return [add_up(d, mul_up(e, ball.radius)) for d, e in zip(_deviation(c), errors, strict=True)]


def _spread(
    attention: Attention, asked: Ball, steep: list[list[float]], lengths: list[float], apart: list[float]
) -> torch.Tensor:
    """[heads, queries]: the most that two logits of a query differ by, biases apart."""
    found = []
    for tau, slopes, length, own in zip(attention.scale, steep, lengths, apart, strict=True):
        reach = (add_up(mul_up(asked.radius, slope), mul_up(length, own)) for slope in slopes)
        found.append([mul_up(2.0, tau, each) for each in reach])
    return torch.tensor(found, dtype=torch.float64)


def _varying(most: torch.Tensor) -> torch.Tensor:
    """[heads, queries]: min(1, 4 rest), what a variance may be in units of the squared radius."""
    rest = most.scatter(-1, most.argmax(-1, keepdim=True), 0.0)
    four = tensor_up(rest.sum(-1) * (4.0 * up(1.0 + gamma(most.shape[-1] + 4))))
    return torch.minimum(four, torch.ones_like(four))


def _columns(most: torch.Tensor) -> float:
    """sqrt(max_j sum_i pbar_ij) of one head."""
    return sqrt_up(max(sum_up(column) for column in most.T))


def _covariance(rho: float, known: _Norms, h: int, keys_apart: float, values_apart: float) -> float:
    """|Cov_p(v, k)|_2 of one head, from the trace of the tokens' own covariance and the deviations of offsets."""
    return add_up(
        mul_up(rho, rho, known.joint[h]),
        mul_up(rho, known.value[h], keys_apart),
        mul_up(rho, known.key[h], values_apart),
        mul_up(values_apart, keys_apart),
    )


def _damping(most: torch.Tensor, varying: torch.Tensor) -> float:
    """sqrt(sum_i m_i^2) of one head."""
    each = torch.minimum(torch.full_like(varying, 0.5), tensor_up(most.amax(-1) * varying))
    return sqrt_up(sum_up(each))


def _stack(part: Part, free: bool, weights: list[float], errors: tuple[float, ...]) -> float:
    """|(weights_h (G_h + D_h))_h|_2 for |D_h| <= errors_h."""
    g, _ = matrices(part, free)
    rows = torch.cat([matrix * w for matrix, w in zip(g, weights, strict=True)])
    lost = hypot_up(*(mul_up(w, e) for w, e in zip(weights, errors, strict=True)))
    return add_up(dense_l2(rows).value, mul_up(2.0 * U, Norm.L2.bounds_of(rows)[1]), lost, 1e-250)


def _query_lengths(problem: Problem, attention: Attention, known: _Norms, c: Box, ball: Ball) -> list[float]:
    """sup |q_hi| for each head."""
    count, own = attention.queries, row_lengths(c.magnitude)
    box = problem.boxes[attention.query.value]
    sizes = by_head(attention, attention.query, box.magnitude).amax(0)
    ranges = row_lengths(sizes) if box.finite else [math.inf] * len(own)
    found = []
    for h in range(attention.heads):
        moved = mul_up(ball.radius, add_up(known.query[h], known.query_error[h]))
        rows = slice(h * count, (h + 1) * count)
        found.append(min(add_up(moved, max(own[rows])), max(ranges[rows])))
    return found


def _key_slopes(
    attention: Attention, known: _Norms, c: Box, ball: Ball, lengths: list[float], free: bool
) -> list[list[float]]:
    """sup |G_k'q_hi| for each head and query."""
    g, _ = matrices(attention.key, free)
    middle, spread = c.centre_radius()
    moved = middle @ g
    lost = (middle.abs() * (gamma(g.shape[1] + 2) * 2.0) + spread * (1.0 + 2.0**-40)) @ g.abs()
    rows = row_lengths(tensor_up(moved.abs() + lost * (1.0 + 2.0**-40)))
    found = []
    for h in range(attention.heads):
        more = add_up(mul_up(ball.radius, known.mixed[h]), mul_up(known.key[h], known.query_error[h], ball.radius))
        plain = mul_up(known.key[h], lengths[h])
        own = rows[h * attention.queries : (h + 1) * attention.queries]
        found.append([min(add_up(more, row), plain) for row in own])
    return found


def _radii(
    problem: Problem, attention: Attention, part: Part, norms: tuple[float, ...], ball: Ball, apart: list[float]
) -> list[float]:
    """For each head: a radius of a ball that holds the part of every token."""
    ranges = range_radius(problem, attention, part)
    found = (add_up(mul_up(ball.radius, n), d) for n, d in zip(norms, apart, strict=True))
    return [min(a, b) for a, b in zip(found, ranges, strict=True)]
