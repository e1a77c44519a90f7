"""The error bounds of sums and inner products, against exact rational arithmetic."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

from lipaudit.linear.norms import sums
from lipaudit.linear.norms.conv_l2 import conv_l2
from lipaudit.linear.norms.dense_l2 import dense_l2
from lipaudit.numerics.rounding import TINY


def random(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> torch.Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def exact(x: torch.Tensor) -> list[list[tuple[Fraction, Fraction]]]:
    """Real and imaginary parts of a matrix."""
    rows = x.tolist()
    return [[(Fraction(complex(z).real), Fraction(complex(z).imag)) for z in row] for row in rows]


def exact_square(x: torch.Tensor) -> Fraction:
    return sum((a * a + b * b for row in exact(x) for a, b in row), Fraction(0))


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize(("m", "n"), [(1, 1), (2, 3), (4, 40), (3, 300), (2, 700)])
def test_gram_is_within_its_error(m: int, n: int, dtype: torch.dtype) -> None:
    x = random((1, m, n), dtype, seed=m + n)
    rows, computed = exact(x[0]), exact(sums.gram(x)[0])
    error = Fraction(0)
    for p, computed_row in zip(rows, computed, strict=True):
        for q, (real, imaginary) in zip(rows, computed_row, strict=True):
            pairs = [(*z, *w) for z, w in zip(p, q, strict=True)]
            error += (real - sum(a * c + b * d for a, b, c, d in pairs)) ** 2
            error += (imaginary - sum(b * c - a * d for a, b, c, d in pairs)) ** 2
    bound = Fraction(sums.gram_error(x))
    assert error <= bound**2
    assert bound <= Fraction(1e-13) * exact_square(x[0])


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("m", [5, 128, 300])
def test_gram_of_triangular_factors_skips_only_zeros(m: int, dtype: torch.dtype) -> None:
    x = random((2, m, m), dtype, seed=m).tril()
    torch.testing.assert_close(sums.gram(x, lower=True), x @ x.mH, rtol=0.0, atol=1e-12 * m)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize(("m", "n"), [(1, 1), (3, 7), (20, 10)])
def test_squares_and_schur_are_upper_bounds(m: int, n: int, dtype: torch.dtype) -> None:
    for seed in range(20):
        x = random((1, m, n), dtype, seed)
        modulus = [[abs(a) + abs(b) for a, b in row] for row in exact(x[0])]
        schur = max(map(sum, modulus)) * max(map(sum, zip(*modulus, strict=True)))
        for value, truth in (
            (sums.squares_up(x), exact_square(x[0])),
            (sums.schur_square_up(x), schur),
        ):
            assert truth <= Fraction(value) <= truth * (1 + Fraction(1e-13))


@pytest.mark.parametrize("exponent", [-1074, -1022, -1021, -500, 0, 500, 1023])
def test_scaling_is_undone(exponent: int) -> None:
    x = torch.tensor([1.0, -0.75, 2.0**-60], dtype=torch.float64) * 2.0**exponent
    if sums.subnormal(x):
        assert exponent < -1022
        assert float(x.norm()) <= sums.flushed(x)
        return
    y, power = sums.unit_scaled(x)
    assert 0.5 <= float(y.abs().max()) < 1.0
    assert [Fraction(z) * Fraction(2) ** power for z in y.tolist()] == [*map(Fraction, x.tolist())]
    assert Fraction(sums.unscaled(0.5, power)) >= Fraction(1, 2) * Fraction(2) ** power


def test_flushed_counts_subnormals_alone() -> None:
    x = torch.tensor([0.0, -0.0, 2.0**-1022, 1.0, -1e308], dtype=torch.float64)
    assert sums.flushed(x) == 0.0
    assert sums.flushed(torch.complex(x, x - x)) == 0.0
    x[1] = -5e-324
    assert sums.flushed(x) >= 2.0**-1022
    assert sums.flushed(torch.complex(x[:0], x[:0])) == 0.0


@pytest.mark.parametrize("flush", [False, True])
@pytest.mark.parametrize("entry", [5e-324, 1e-310, TINY, 3.0 * TINY])
@pytest.mark.parametrize("first", [0.0, TINY])
def test_flushed_entries_are_not_forgotten(first: float, entry: float, flush: bool) -> None:
    """A row, that row twice and a 1 x 1 convolution: norms known as a sum of squares."""
    row = torch.full((1, 5), entry, dtype=torch.float64)
    row[0, 0] = max(first, entry)
    square = exact_square(row)
    torch.set_flush_denormal(flush)
    single, double = dense_l2(row).value, dense_l2(row.expand(2, 5)).value
    kernel = conv_l2(row[..., None], (4,), (1,), (1,), ((1, 1),), 1).value
    torch.set_flush_denormal(False)
    assert square <= Fraction(min(single, kernel)) ** 2
    assert 2 * square <= Fraction(double) ** 2
    assert max(single, double, kernel) <= 30.0 * TINY
