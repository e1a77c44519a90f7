"""Outward-rounded arithmetic on float64 scalars and tensors.

IEEE-754 round-to-nearest is within half a unit in the last place, so `nextafter` of the rounded result
is a bound of the exact one; no rounding mode is ever switched (threaded BLAS ignores it). Long sums and
products carry the a-priori factor gamma_n of Higham, *Accuracy and Stability of Numerical Algorithms*
(2nd ed. 2002), §3.1, which holds for every order of summation and with fused multiply-add.
"""

from __future__ import annotations

import math

import torch

U = 2.0**-53
"""Unit roundoff of float64."""

TINY = 2.0**-1022
"""Smallest normal float64: below it the relative error bounds fail and an absolute term is due."""

MAX = 1.7976931348623157e308

# Summation length beyond which `n * U` is no longer small; no array here comes near it.
_LONGEST = 2**50


def up(x: float) -> float:
    """The next float64 above x (inf stays inf)."""
    return math.nextafter(x, math.inf)


def down(x: float) -> float:
    """The next float64 below x; a finite x never becomes +inf, and +inf stays +inf."""
    return x if x == math.inf else math.nextafter(x, -math.inf)


def gamma(n: int) -> float:
    """An upper bound of gamma_n = n u / (1 - n u), the relative error of n nested roundings.

    Raises ValueError when n is so large that the bound would be meaningless.
    """
    if not 0 <= n < _LONGEST:
        raise ValueError(f"gamma_n is only useful for 0 <= n < 2^50, not {n}")
    return up(up(n * U) / down(1.0 - up(n * U))) if n else 0.0


def add_up(*terms: float) -> float:
    """An upper bound of the exact sum of the terms (correctly rounded sum, then one step up)."""
    if math.inf in terms:
        return math.inf
    if sum(term != 0.0 for term in terms) <= 1:
        return math.fsum(terms)
    try:
        return up(math.fsum(terms))
    except OverflowError:
        return math.inf


def mul_up(*factors: float) -> float:
    """An upper bound of the exact product of non-negative factors, with 0 * inf = 0.

    0 * inf = 0 is the product of gains: a map that is constant stays so whatever follows it.
    """
    if any(f == 0.0 for f in factors):
        return 0.0
    product = 1.0
    for factor in factors:
        product = factor if product == 1.0 else product if factor == 1.0 else up(product * factor)
    return product


def mul_down(*factors: float) -> float:
    """A lower bound of the exact product of non-negative finite factors."""
    product = 1.0
    for factor in factors:
        exact = factor if product == 1.0 else product if factor == 1.0 else None
        product = max(0.0, down(min(product * factor, MAX))) if exact is None else exact
    return product


def div_up(a: float, b: float) -> float:
    """An upper bound of a / b for a >= 0, b > 0; infinite when b is 0."""
    if b == 0.0:
        return math.inf if a > 0.0 else 0.0
    return up(a / b)


def div_down(a: float, b: float) -> float:
    """A lower bound of a / b for finite a >= 0 and b > 0; 0 when b is infinite."""
    if b == 0.0:
        raise ZeroDivisionError("a lower bound of a / 0 is not a number")
    return max(0.0, down(min(a / b, MAX)))


def sqrt_up(x: float) -> float:
    """An upper bound of the square root of x >= 0."""
    return 0.0 if x == 0.0 else up(math.sqrt(x))


def sqrt_down(x: float) -> float:
    """A lower bound of the square root of x >= 0."""
    return max(0.0, down(math.sqrt(x)))


def hypot_up(*terms: float) -> float:
    """An upper bound of the Euclidean norm of the terms. `math.hypot` is within one unit in the last place."""
    if sum(term != 0.0 for term in terms) <= 1:
        return math.fsum(terms)
    return up(up(math.hypot(*terms)))


def tensor_up(x: torch.Tensor) -> torch.Tensor:
    """Each entry's next float64 above."""
    return torch.nextafter(x, torch.full_like(x, math.inf))


def tensor_down(x: torch.Tensor) -> torch.Tensor:
    """Each entry's next float64 below."""
    return torch.nextafter(x, torch.full_like(x, -math.inf))


def sum_up(x: torch.Tensor) -> float:
    """An upper bound of the exact sum of a tensor of non-negative float64."""
    if x.numel() == 0:
        return 0.0
    total = float(x.sum())
    return mul_up(total, up(1.0 + gamma(x.numel() + 1))) if total else 0.0


def difference_up(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The least float64 at least a - b: the rounding error of a difference is itself a float64 (Knuth's TwoSum)."""
    s = a - b
    t = s - a
    lost = (a - (s - t)) - (b + t)
    return torch.where(lost > 0, torch.nextafter(s, torch.full_like(s, math.inf)), s)
