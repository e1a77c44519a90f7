"""Laws of the certified dense spectral norm, checked in exact rational arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from fractions import Fraction

import pytest
import torch
from flint import fmpq
from hypothesis import given, settings
from hypothesis import strategies as st

import lipaudit.linear.norms.dense_l2 as module
from lipaudit.linear.norms.dense_l2 import dense_l2, stacked_l2
from lipaudit.numerics.rounding import TINY

MatrixNorm = Callable[[torch.Tensor], float]


def is_psd(a: list[list[fmpq]]) -> bool:
    """Whether a symmetric rational matrix is positive semidefinite, by LDL^T; overwrites it."""
    n = len(a)
    for k in range(n):
        if a[k][k] < 0 or (a[k][k] == 0 and any(a[i][k] != 0 for i in range(k + 1, n))):
            return False
        for i in range(k + 1, n):
            ratio = a[i][k] / a[k][k] if a[i][k] != 0 else fmpq(0)
            for j in range(i, n) if ratio != 0 else ():
                a[j][i] = a[i][j] = a[i][j] - ratio * a[k][j]
    return True


def is_upper_bound(value: float, matrix: torch.Tensor) -> bool:
    """Whether value >= ||W||_2, decided without a rounding: value^2 I - W W^T >= 0."""
    if not 0.0 <= value < math.inf:
        return value == math.inf
    small = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mT
    rows = [[fmpq(*Fraction(x).as_integer_ratio()) for x in row] for row in small.tolist()]
    gap = [[-sum((a * b for a, b in zip(x, y, strict=True)), fmpq(0)) for y in rows] for x in rows]
    for i, row in enumerate(gap):
        row[i] += fmpq(*Fraction(value).as_integer_ratio()) ** 2
    return is_psd(gap)


def violations(norm_fn: MatrixNorm, cases: Iterable[torch.Tensor]) -> int:
    """How many of the cases have a norm above what the function says."""
    return sum(not is_upper_bound(norm_fn(case), case) for case in cases)


def ours(matrix: torch.Tensor) -> float:
    return dense_l2(matrix).value


def random(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def kinds(m: int, n: int, seed: int) -> dict[str, torch.Tensor]:
    """Matrices (m, n) whose spectra and entries are each awkward in another way."""
    gauss, k = random(m, n, seed=seed), torch.arange(min(m, n), dtype=torch.float64)
    left, right = (torch.linalg.qr(random(s, s, seed=seed + s))[0] for s in (m, n))
    left, right = left[:, : len(k)], right[: len(k)]
    return {
        "gauss": gauss,
        "integer": (gauss * 3.0).round(),
        "sign": gauss.sign(),
        "ones": torch.ones(m, n, dtype=torch.float64),
        "rank one": gauss[:, :1] @ gauss[:1],
        "flat": left @ right,
        "repeated": left @ (1.0 + (k / 3.0).floor()).diag() @ right,
        "clustered": left @ (1.0 - k * 2.0**-50).diag() @ right,
        "graded": left @ (2.0 ** (-40.0 * k)).diag() @ right,
        "sparse": gauss * (gauss.abs() > 1.5),
        "mixed scales": gauss * (2.0 ** (90.0 * random(m, n, seed=seed + 3)).clamp(-300, 300)),
        "zero": torch.zeros(m, n, dtype=torch.float64),
    }


CASES = [
    matrix * 2.0**exponent
    for seed, (m, n) in enumerate([(1, 1), (2, 2), (3, 7), (8, 8), (11, 5)])
    for exponent in (0, -900, 600)
    for matrix in kinds(m, n, 10 * seed).values()
] + list(kinds(16, 16, 99).values())


def power_iteration(matrix: torch.Tensor) -> float:
    v = torch.ones(matrix.shape[1], dtype=torch.float64)
    for _ in range(10):
        v = matrix.mT @ (matrix @ (v / v.norm().clamp_min(TINY)))
    return float((matrix @ (v / v.norm().clamp_min(TINY))).norm())


def plain_svd(matrix: torch.Tensor) -> float:
    return float(torch.linalg.svdvals(matrix)[0])


def float32_svd(matrix: torch.Tensor) -> float:
    return (
        float(torch.linalg.svdvals(matrix.float())[0])
        if bool(matrix.float().any())
        else ours(matrix)
    )


def plain_gram(matrix: torch.Tensor) -> float:
    return float(torch.linalg.eigvalsh(matrix @ matrix.mT)[-1].clamp_min(0.0).sqrt())


def epsilon_normaliser(matrix: torch.Tensor) -> float:
    peak = float(matrix.abs().max())
    return ours(matrix / (peak + 1e-12)) * peak


PLANTED = [power_iteration, plain_svd, plain_gram, epsilon_normaliser, float32_svd]


def test_never_below_the_exact_norm() -> None:
    assert violations(ours, CASES) == 0


@pytest.mark.parametrize("planted", PLANTED)
def test_the_law_rejects_a_planted_bug(planted: MatrixNorm) -> None:
    assert violations(planted, [m for m in CASES if 1e-9 < float(m.norm()) < 1e9]) > 0


@settings(max_examples=80, deadline=None, derandomize=True)
@given(m=st.integers(1, 12), n=st.integers(1, 12), seed=st.integers(0, 10**6), data=st.data())
def test_drawn_matrices(m: int, n: int, seed: int, data: st.DataObject) -> None:
    matrix = data.draw(st.sampled_from(list(kinds(m, n, seed).values())))
    assert violations(ours, [matrix * 2.0 ** data.draw(st.integers(-900, 600))]) == 0


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_drawn_entries(data: st.DataObject) -> None:
    """Any floats at all, subnormal ones among them."""
    entry = st.floats(allow_nan=False, allow_infinity=False)
    m, n = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    entries = data.draw(st.lists(entry, min_size=m * n, max_size=m * n))
    assert violations(ours, [torch.tensor(entries, dtype=torch.float64).reshape(m, n)]) == 0


@pytest.mark.parametrize("exponent", [0, -900, 900])
@pytest.mark.parametrize(("m", "n"), [(2, 2), (16, 16), (40, 7), (33, 300), (300, 310)])
def test_is_tight(m: int, n: int, exponent: int) -> None:
    for name, matrix in kinds(m, n, 1).items():
        truth = plain_svd(matrix)
        if name != "mixed scales":
            value = ours(matrix * 2.0**exponent) / 2.0**exponent
            assert truth * (1.0 - 1e-13) <= value <= truth * (1.0 + 1e-9)


@pytest.mark.parametrize("gap", [None, 0.0, 1e-13, 1e-9, 1e-3])
def test_width_at_512(gap: float | None) -> None:
    """A Gaussian matrix, then reflections of diagonals of norm 1 with that gap below it."""
    n = 512
    values = torch.linspace(0.0, 1.0 - (gap or 0.0), n, dtype=torch.float64)
    values[0] = 1.0
    matrix = random(n, n, seed=0) if gap is None else values.diag() - (2.0 / n) * values
    truth = plain_svd(matrix)
    assert truth * (1.0 - 1e-13) <= ours(matrix) <= truth * (1.0 + 1e-10)


def test_edges() -> None:
    for shape in [(0, 0), (0, 3), (3, 0), (1, 0), (3, 4), (1, 4)]:
        assert ours(torch.zeros(shape, dtype=torch.float64)) == 0.0
        assert stacked_l2(torch.zeros(2, *shape, dtype=torch.complex128)).value == 0.0
    for bad in (math.inf, -math.inf, math.nan):
        assert ours(torch.tensor([[1.0, bad], [0.0, 1.0]], dtype=torch.float64)) == math.inf
        assert ours(torch.tensor([[1.0, bad]], dtype=torch.float64)) == math.inf
    huge = torch.full((3, 3), 1.7e308, dtype=torch.float64)
    assert ours(huge) == math.inf  # the truth, 5.1e308, is not a float64
    for wrong in (torch.ones(2, 2), torch.ones(2, dtype=torch.float64), torch.ones(1, 2, 3)):
        with pytest.raises(ValueError, match="not a"):
            dense_l2(wrong)
        with pytest.raises(ValueError, match="not a"):
            stacked_l2(wrong)


@pytest.mark.parametrize("flush", [False, True])
@pytest.mark.parametrize("entry", [5e-324, 1e-310, TINY])
def test_subnormal_entries(entry: float, flush: bool) -> None:
    matrices = [torch.full(shape, entry, dtype=torch.float64) for shape in [(1, 1), (1, 4), (3, 3)]]
    torch.set_flush_denormal(flush)
    values = [ours(matrix) for matrix in matrices]
    torch.set_flush_denormal(False)
    assert all(is_upper_bound(v, m) for v, m in zip(values, matrices, strict=True))
    assert max(values) <= 12.0 * TINY


@pytest.mark.parametrize("embed", [False, True])
@pytest.mark.parametrize(("b", "m", "n"), [(7, 1, 5), (9, 3, 3), (40, 5, 2), (30, 40, 50)])
def test_stack_is_the_largest(b: int, m: int, n: int, embed: bool) -> None:
    """The embedding [[A, -B], [B, A]] of A + iB has its norm: an exact oracle for complex ones."""
    stack = matrices = random(b, m, n, seed=1)
    if embed:
        stack = torch.complex(matrices, random(b, m, n, seed=2))
        rows = torch.cat([stack.real, -stack.imag], 2), torch.cat([stack.imag, stack.real], 2)
        matrices = torch.cat(rows, 1)
    value = stacked_l2(stack).value
    assert value == pytest.approx(max(ours(matrix) for matrix in matrices), rel=1e-11)
    assert violations(lambda _: value, matrices if m <= 5 else ()) == 0


@pytest.mark.parametrize("factor", [0.0, 1e-3, 0.9, 1.0, 1.1, 1e3, math.nan, math.inf])
def test_a_wrong_guess_is_not_believed(factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    guess = module._guess
    monkeypatch.setattr(module, "_guess", lambda g: factor * guess(g))
    assert violations(ours, CASES[:100]) == 0


@pytest.mark.parametrize("noise", [1e-12, 1e-3, 1.0, math.inf])
def test_a_wrong_factor_is_not_believed(noise: float, monkeypatch: pytest.MonkeyPatch) -> None:
    cholesky = torch.linalg.cholesky_ex

    def wrong(a: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return cholesky(a).L * (1.0 + noise), torch.zeros(len(a))

    monkeypatch.setattr(torch.linalg, "cholesky_ex", wrong)
    assert violations(ours, CASES[:100]) == 0
