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
    """Matrices (m, n), each awkward in another way."""
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


PLANTED: dict[str, MatrixNorm] = {
    "power iteration": power_iteration,
    "svd, not rounded up": plain_svd,
    "float32": lambda a: plain_svd(a.float()),
    "gram without error": lambda a: float(torch.linalg.eigvalsh(a @ a.mT)[-1].relu().sqrt()),
    "epsilon": lambda a: ours(a / (a.abs().max() + 1e-12)) * float(a.abs().max()),
}


def test_never_below_the_exact_norm() -> None:
    assert violations(ours, CASES) == 0


@pytest.mark.parametrize("planted", PLANTED)
def test_the_law_rejects_a_planted_bug(planted: str) -> None:
    ordinary = [matrix for matrix in CASES if 1e-9 < float(matrix.norm()) < 1e9]
    assert violations(PLANTED[planted], ordinary) > 0


@settings(max_examples=80, deadline=None, derandomize=True)
@given(m=st.integers(1, 12), n=st.integers(1, 12), seed=st.integers(0, 10**6), data=st.data())
def test_drawn_matrices(m: int, n: int, seed: int, data: st.DataObject) -> None:
    matrices = [x * 2.0 ** data.draw(st.integers(-900, 600)) for x in kinds(m, n, seed).values()]
    assert violations(ours, matrices) == 0


@settings(max_examples=60, deadline=None, derandomize=True)
@given(m=st.integers(1, 4), n=st.integers(1, 4), data=st.data())
def test_drawn_entries(m: int, n: int, data: st.DataObject) -> None:
    entry = st.floats(allow_nan=False, allow_infinity=False)
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
    values = torch.linspace(0.0, 1.0 - (gap or 0.0), 512, dtype=torch.float64)
    values[0] = 1.0
    matrix = random(512, 512, seed=0) if gap is None else values.diag() - values / 256.0
    truth = plain_svd(matrix)
    assert truth * (1.0 - 1e-13) <= ours(matrix) <= truth * (1.0 + 1e-10)


def test_edges() -> None:
    for shape in [(0, 0), (0, 3), (3, 0), (1, 0), (3, 4), (1, 4)]:
        assert ours(torch.zeros(shape, dtype=torch.float64)) == 0.0
        assert stacked_l2(torch.zeros(2, *shape, dtype=torch.complex128)).value == 0.0
    for bad in (math.inf, -math.inf, math.nan):
        for shape in [(1, 1), (1, 3), (2, 3)]:
            assert ours(torch.full(shape, bad, dtype=torch.float64)) == math.inf
    assert ours(torch.full((3, 3), 1.7e308, dtype=torch.float64)) == math.inf  # it is 5.1e308
    for wrong in (torch.ones(2, 2), torch.ones(2, dtype=torch.float64), torch.ones(1, 2, 3)):
        for function in (dense_l2, stacked_l2):
            with pytest.raises(ValueError, match="not a"):
                function(wrong)


@pytest.mark.parametrize("embed", [False, True])
@pytest.mark.parametrize(("b", "m", "n"), [(7, 1, 5), (9, 3, 3), (40, 5, 2), (3, 140, 150)])
def test_stack_is_the_largest(b: int, m: int, n: int, embed: bool) -> None:
    stack = matrices = random(b, m, n, seed=1)
    if embed:  # [[A, -B], [B, A]] has the norm of A + iB: an exact oracle for complex stacks
        stack = torch.complex(matrices, random(b, m, n, seed=2))
        rows = torch.cat([stack.real, -stack.imag], 2), torch.cat([stack.imag, stack.real], 2)
        matrices = torch.cat(rows, 1)
    value = stacked_l2(stack).value
    assert value == pytest.approx(max(ours(matrix) for matrix in matrices), rel=1e-11)
    assert violations(lambda _: value, matrices if m <= 5 else ()) == 0


@pytest.mark.parametrize("factor", [0.0, 1e-3, 0.9, 1.0 + 1e-12, 1.1, 1e3, math.nan, math.inf])
def test_guess_and_factor_are_not_believed(factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shift below the norm whose factorisation claims success: then the residual has to tell."""
    guess, cholesky = module._guess, torch.linalg.cholesky_ex
    with monkeypatch.context() as patch:
        patch.setattr(module, "_guess", lambda g: factor * guess(g))
        assert violations(ours, CASES[:100]) == 0

    def lying(a: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        shift = torch.eye(a.shape[-1], dtype=a.dtype) * a.abs().amax((-1, -2), keepdim=True)
        return factor * cholesky(a + a.shape[-1] * shift).L, torch.zeros(len(a))

    for under in (0.0, 0.5, 1.0 - 1e-12):
        monkeypatch.setattr(module, "_guess", lambda g, under=under: under * guess(g))
        monkeypatch.setattr(torch.linalg, "cholesky_ex", lying)
        assert violations(ours, CASES[:100]) == 0


@pytest.mark.parametrize("size", [270, 300])
def test_a_crowded_spectrum_is_tight(size: int) -> None:
    """Orthogonal, and the identity but for a few directions: Lanczos is done after a few steps, and must notice."""
    q = torch.linalg.qr(torch.randn(size, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)).Q
    few = torch.cat([torch.linspace(0.1, 0.9, 8, dtype=torch.float64), torch.ones(size - 8, dtype=torch.float64)])
    for matrix in (q, q @ torch.diag(few) @ q.mT):
        truth = float(torch.linalg.svdvals(matrix)[0])
        assert truth * (1.0 - 1e-13) <= dense_l2(matrix).value <= truth * (1.0 + 1e-9)
