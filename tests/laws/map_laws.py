"""What every linear map and every operator norm owes, as functions that raise AssertionError."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import torch

from lipaudit.linear.map import LinearMap
from lipaudit.linear.norms.operator import OperatorNorms
from lipaudit.numerics.norms import Norm
from tests.cases.maps import exact, exact_sum, randn

U = Fraction(1, 2**53)
NormOf = Callable[[LinearMap, Norm], float]


def certified(part: LinearMap, norm: Norm) -> float:
    return OperatorNorms().of(part, norm).value


def gamma_exact(n: int) -> Fraction:
    return n * U / (1 - n * U)


def fractions(x: torch.Tensor) -> np.ndarray:
    return np.array([Fraction(v) for v in x.reshape(-1).tolist()], dtype=object)


def matrix_is_exact_within_roundings(part: LinearMap) -> None:
    """as_matrix, from unit vectors, is the matrix spelt out entry by entry."""
    truth, majorant = exact(part), exact(part.majorant())
    said = np.vectorize(Fraction, otypes=[object])(part.as_matrix().numpy()) if truth.size else truth
    assert said.shape == truth.shape == (part.out_size, part.in_size)
    assert (abs(said - truth) <= gamma_exact(part.roundings) * majorant).all()


def majorant_dominates(part: LinearMap) -> None:
    """|A| <= majorant entrywise, and the majorant has no negative entry."""
    assert (abs(exact(part)) <= exact(part.majorant())).all()


def application_is_within_roundings(part: LinearMap, seed: int = 0) -> None:
    """|fl(A x) - A x| <= gamma(roundings) majorant |x|, and for the adjoint, in rationals."""
    truth, majorant, allowed = exact(part), exact(part.majorant()), gamma_exact(part.roundings)
    x, y = randn(1, *part.in_shape, seed=seed), randn(1, *part.out_shape, seed=seed + 1)
    for said, matrix, above, argument in (
        (part.apply(x), truth, majorant, fractions(x)),
        (part.adjoint(y), truth.T, majorant.T, fractions(y)),
    ):
        assert (abs(fractions(said) - matrix @ argument) <= allowed * (above @ abs(argument))).all()


def adjoint_is_adjoint(part: LinearMap, seed: int = 0) -> None:
    """<A x, y> = <x, A' y> for every row of a batch, up to rounding."""
    x, y = randn(3, *part.in_shape, seed=seed), randn(3, *part.out_shape, seed=seed + 1)
    left = (part.apply(x).reshape(3, -1) * y.reshape(3, -1)).sum(1)
    right = (x.reshape(3, -1) * part.adjoint(y).reshape(3, -1)).sum(1)
    size = (part.majorant().apply(x.abs()).reshape(3, -1) * y.abs().reshape(3, -1)).sum(1)
    assert bool(((left - right).abs() <= 1e-13 * size + 1e-300).all())


def rows_are_independent(part: LinearMap) -> None:
    """A batch is mapped row by row."""
    x = randn(3, *part.in_shape, seed=7)
    together = part.apply(x)
    assert together.shape == (3, *part.out_shape)
    apart = torch.cat([part.apply(x[i : i + 1]) for i in range(3)])
    assert torch.allclose(together, apart, rtol=1e-13, atol=1e-13)


def true_l2(matrix: np.ndarray) -> tuple[float, int]:
    """(s, e): the spectral norm is s 2^e, up to 1e-13 of it."""
    if not matrix.size:
        return 0.0, 0
    peak = abs(matrix).max()
    if peak == 0:
        return 0.0, 0
    exponent = _log2(peak)
    unit = np.vectorize(float, otypes=[float])(matrix / Fraction(2) ** exponent)
    return float(np.linalg.svd(unit, compute_uv=False)[0]), exponent


def _log2(x: Fraction) -> int:
    return x.numerator.bit_length() - x.denominator.bit_length()


def truth_below(matrix: np.ndarray, norm: Norm) -> Fraction:
    """A rational at most the operator norm, within 1e-12 of it; the norm itself in l1 and linf."""
    if norm is Norm.L2:
        value, exponent = true_l2(matrix)
        return Fraction(value) * (1 - Fraction(1, 10**13)) * Fraction(2) ** exponent
    return exact_sum(matrix, 0 if norm is Norm.L1 else 1)


def norm_is_above(part: LinearMap, norm: Norm, norm_of: NormOf = certified, weight_roundings: int = 0) -> None:
    """The certified norm is not below the true one, nor that of weights all `weight_roundings` roundings larger."""
    said = norm_of(part, norm)
    truth = truth_below(exact(part), norm) * (1 + weight_roundings * U)
    assert said == math.inf or Fraction(said) >= truth, f"{norm.value}: {said!r} < {float(truth)!r}"


def norm_is_tight(part: LinearMap, norm: Norm, norm_of: NormOf = certified, within: float = 1e-7) -> None:
    """The certified norm is the true one, up to a relative `within`."""
    said, truth = norm_of(part, norm), truth_below(exact(part), norm)
    assert said < math.inf
    size = exact_sum(exact(part.majorant()), 0) + exact_sum(exact(part.majorant()), 1)  # where almost all cancels
    assert Fraction(said) <= truth * (1 + Fraction(within)) + size / 10**13, (
        f"{norm.value}: {said!r} > {float(truth)!r}"
    )
