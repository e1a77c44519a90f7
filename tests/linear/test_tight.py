"""Laws of the tight spectral norms: Gram matrices with their borders, semi-circulants, merged maps in sparse form."""

from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest
import torch

from lipaudit.linear.conv import Conv
from lipaudit.linear.fuse import compose
from lipaudit.linear.map import Adjoint, Compose, LinearMap, Sum
from lipaudit.linear.norms import conv_gram as gram_module
from lipaudit.linear.norms.block_cholesky import BandedGram, largest_eigenvalue
from lipaudit.linear.norms.composite import without_moves
from lipaudit.linear.norms.conv_gram import Plan, conv_gram, plan
from lipaudit.linear.norms.conv_tight import band, conv_norm, live
from lipaudit.linear.norms.limits import Limits
from lipaudit.linear.norms.lower import Lower, attained, lower_l2
from lipaudit.linear.norms.operator import OperatorNorms
from lipaudit.linear.norms.semi_circulant import semi_circulant
from lipaudit.linear.norms.sparse import as_sparse, entries, sparse_gram
from lipaudit.linear.pointwise import Diagonal
from lipaudit.linear.selection import Selection
from lipaudit.numerics.norms import Norm, NormPair
from tests.cases.maps import MapCase, all_maps, conv, exact, randn
from tests.laws import map_laws
from tests.linear.test_conv_l2 import Case, geometries

NO_COPY = Limits(entries=0, small_side=0)
CASES = geometries(150, seed=11)


def as_map(case: Case) -> Conv:
    source = (1, case.kernel.shape[1] * case.groups, *case.in_size)
    return Conv(case.kernel, source, case.stride, case.dilation, case.pads, case.groups)


def dense(gram: BandedGram) -> torch.Tensor:
    """The lower triangle of the Gram matrix, from its block columns."""
    side = (gram.blocks + gram.reach) * gram.block
    whole = torch.zeros(side, side, dtype=torch.float64)
    for j in range(gram.blocks):
        rows = slice(j * gram.block, (j + gram.reach + 1) * gram.block)
        whole[rows, j * gram.block : (j + 1) * gram.block] = gram.column(j)
    assert not bool(whole[gram.size :].any())
    return whole[: gram.size, : gram.size].tril()


@pytest.mark.parametrize("block", [1, 6, 128])
def test_gram_of_a_convolution_is_exact(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Either side, every order of the axes, borders, strides, dilations: against the dense matrix."""
    monkeypatch.setattr(gram_module, "_BLOCK", block)
    for case in CASES[:60]:
        if case.groups > 1 or not bool(case.kernel.any()):
            continue
        kernel, axes = live(as_map(case._replace(kernel=case.kernel / case.kernel.abs().max())))
        matrix = case._replace(kernel=case.kernel / case.kernel.abs().max()).matrix().mT
        out_channels, in_channels = kernel.shape[:2]
        for outputs, order in itertools.product((True, False), itertools.permutations(range(len(axes)))):
            gram = conv_gram(kernel, axes, Plan(outputs, order, 0, 0), 1e3)
            side = matrix if outputs else matrix.mT
            channels = out_channels if outputs else in_channels
            sizes = [axis.outputs if outputs else axis.size for axis in axes]
            rows = side.reshape(channels, *sizes, -1).permute(*(1 + i for i in order), 0, -1).flatten(0, len(axes))
            assert torch.allclose(dense(gram), (rows @ rows.mT).tril(), rtol=0.0, atol=1e-10)


def test_shift_below_the_eigenvalue_proves_nothing() -> None:
    for case in CASES[:40]:
        part = as_map(case._replace(groups=1, kernel=case.kernel / case.kernel.abs().max().clamp_min(1e-300)))
        kernel, axes = live(part)
        truth = float(torch.linalg.svdvals(part.as_matrix())[0]) ** 2
        if truth == 0.0:
            continue
        gram = conv_gram(kernel, axes, plan(axes, *kernel.shape[:2]), 1e3)
        assert largest_eigenvalue(gram, truth * (1.0 - 1e-6)) == math.inf
        assert truth * (1 - 1e-12) <= largest_eigenvalue(gram, truth * (1.0 + 1e-6)) <= truth * (1.0 + 1e-6 + 1e-9)


@pytest.mark.parametrize("method", ["band", "semi", "pipeline"])
def test_convolution_is_above_and_tight(method: str) -> None:
    """Every method alone is a bound; with the borders kept it is the norm itself."""
    limits = Limits(precision=1e-6)
    for case in CASES:
        truth = case.truth() if case.matrix().numel() else 0.0
        if method == "pipeline":
            upper, lower = conv_norm(as_map(case), limits)
            assert lower <= truth * (1.0 + 1e-12)
            assert truth * (1.0 - 1e-13) <= upper.value <= truth * (1.0 + 2e-6) + 1e-300
            continue
        one = as_map(case._replace(kernel=case.kernel[: len(case.kernel) // case.groups], groups=1))
        kernel, axes = live(one)
        if kernel.numel() == 0 or not bool(kernel.any()) or (method == "semi" and len(axes) == 1):
            continue
        below, truth = lower_l2(one, 1e-6), float(torch.linalg.svdvals(one.as_matrix())[0])
        said = (band if method == "band" else semi_circulant)(kernel, axes, below, limits).value
        assert said >= truth * (1.0 - 1e-13)
        if method == "band":
            assert said <= truth * (1.0 + 2e-6)


def composites() -> list[MapCase]:
    """Merged runs as networks have them: pooling, residuals, reflection, batch norm, a head."""
    body = conv(2, (1, 2, 4, 4), (3, 3), pads=((1, 1),) * 2)
    pool = conv(2, (1, 2, 4, 4), (2, 2), stride=2, groups=2, kernel=torch.full((2, 1, 2, 2), 0.25, dtype=torch.float64))
    square = conv(2, (1, 2, 4, 4), (3, 3), pads=((1, 1),) * 2)
    index = torch.arange(32).reshape(1, 2, 4, 4)
    reflected = torch.nn.functional.pad(index.double(), (1, 1, 1, 1), mode="reflect").long()
    wrapped = torch.nn.functional.pad(index.double(), (1, 1, 1, 1), mode="circular").long()
    return [
        MapCase("conv-pool", lambda: Compose((body, pool))),
        MapCase("conv-norm-pool", lambda: Compose((body, Diagonal(randn(2, 4, 4), (1, 2, 4, 4), 3), pool))),
        MapCase("residual-conv", lambda: Sum((Selection.reshape((1, 2, 4, 4), (1, 2, 4, 4)), square))),
        MapCase(
            "reflect-conv",
            lambda: Compose((Selection.of((1, 2, 4, 4), reflected), conv(2, (1, 2, 6, 6), (3, 3)))),
        ),
        MapCase(
            "wrap-conv-stride",
            lambda: Compose((Selection.of((1, 2, 4, 4), wrapped), conv(2, (1, 2, 6, 6), (3, 3), stride=2))),
        ),
        MapCase("transposed-after-conv", lambda: Compose((body, Adjoint(conv(2, (1, 1, 6, 6), (3, 3)))))),
    ]


@pytest.mark.parametrize("exponent", [0, -66, 66])
@pytest.mark.parametrize("case", composites() + all_maps(), ids=str)
def test_sparse_form_is_the_matrix(case: MapCase, exponent: int) -> None:
    part = case.build()
    matrix = as_sparse(part)
    assert matrix.nnz <= entries(part)
    assert np.allclose(matrix.toarray(), part.as_matrix().numpy(), rtol=1e-12, atol=1e-12)
    if matrix.nnz == 0:
        return
    gram = sparse_gram(matrix, part.out_shape, part.in_shape)
    values = torch.linalg.eigvalsh(dense(gram) + dense(gram).tril(-1).mT)
    truth = float(torch.linalg.svdvals(part.as_matrix())[0]) ** 2
    assert float(values[-1]) == pytest.approx(truth, rel=1e-10, abs=1e-13)


@pytest.mark.parametrize("case", composites() + all_maps(), ids=str)
def test_merged_map_is_above_and_tight_without_a_dense_copy(case: MapCase) -> None:
    part = case.build()
    norms = OperatorNorms(NO_COPY)
    map_laws.norm_is_above(part, Norm.L2, lambda p, n: norms.of(p, n).value)
    if case in composites():
        truth = float(torch.linalg.svdvals(part.as_matrix())[0])
        assert norms.of(part, Norm.L2).value <= truth * (1.0 + 1e-3)
        for norm in (Norm.L1, Norm.LINF):
            map_laws.norm_is_above(part, norm, lambda p, n: norms.of(p, n).value)
            map_laws.norm_is_tight(part, norm, lambda p, n: norms.of(p, n).value)


@pytest.mark.parametrize("pair", [NormPair(p, q) for p in Norm for q in Norm], ids=str)
@pytest.mark.parametrize("case", all_maps(), ids=str)
def test_accounts_bracket(case: MapCase, pair: NormPair) -> None:
    """What is attained is at most what is proven; both are what `of` says, and of a row of maps likewise."""
    part = case.build()
    norms = OperatorNorms()
    account = norms.account((part,), pair)
    assert account.upper.value == norms.of(part, pair).value
    if account.lower is not None:
        assert account.lower.value <= account.upper.value
        truth = float(np.abs(exact(part).astype(float)).sum())
        assert account.lower.value <= truth * (1.0 + 1e-9)


def test_what_is_attained_is_at_most_the_norm() -> None:
    """Exactly: in rationals, for vectors that an ascent would not have found."""
    for seed in range(20):
        part = conv(2, (1, 2, 5), (3,), pads=((1, 1),))
        below = attained(part, NormPair.of(Norm.L2), randn(*part.in_shape, seed=seed))
        assert 0.0 < below <= float(torch.linalg.svdvals(part.as_matrix())[0])


@pytest.mark.parametrize("limits", [Limits(flops=0.0), Limits(memory=0.0), Limits(deadline=0.0)], ids=["f", "m", "d"])
def test_limits_are_obeyed_and_a_bound_remains(limits: Limits) -> None:
    """Nothing may be spent: the answer is a valid bound all the same, only not a tight one."""
    big = conv(8, (1, 8, 24, 24), (3, 3), pads=((1, 1),) * 2)
    truth = lower_l2(big, 1e-6).value
    for part in (big, Compose((big, Diagonal(randn(8, 24, 24), (1, 8, 24, 24))))):
        said = OperatorNorms(limits).of(part, Norm.L2).value
        assert math.isfinite(said)
        assert said >= (truth if part is big else lower_l2(part, 1e-6).value)


def test_precision_is_reached() -> None:
    """Between the default and a request: the same map, nearer to the truth."""
    part = conv(6, (1, 6, 40, 40), (3, 3), pads=((1, 1),) * 2)
    for precision in (1e-3, 1e-5, 1e-8):
        account = OperatorNorms(Limits(precision=precision, flops=math.inf)).account((part,), Norm.L2)
        assert account.lower is not None
        assert account.upper.value <= account.lower.value * (1.0 + precision)


def test_a_wrong_estimate_costs_tightness_only() -> None:
    part = conv(2, (1, 2, 7, 7), (3, 3), pads=((1, 1),) * 2)
    kernel, axes = live(part)
    truth = float(torch.linalg.svdvals(part.as_matrix())[0])
    for factor in (0.0, 0.5, 0.999, 1.001, 2.0):
        for method in (band, semi_circulant):
            said = method(kernel, axes, Lower(factor * truth, factor * truth), Limits()).value
            assert said >= truth


def test_moves_at_the_ends_are_dropped() -> None:
    body = conv(2, (1, 1, 3, 3), (2, 2))
    flat = compose(body, Selection.reshape((1, 2, 2, 2), (8,)))
    assert without_moves(flat) is body
    turned = Compose((Selection.of((9,), torch.randperm(9).reshape(1, 1, 3, 3)), body))
    assert without_moves(turned) is body
    kept: LinearMap = Compose((Selection.of((9,), torch.zeros(9, dtype=torch.int64).reshape(1, 1, 3, 3)), body))
    assert without_moves(kept) is kept


def test_the_largest_group_counts() -> None:
    """Wherever it is among them, and however near the others are."""
    draw = random.Random(0)
    for _ in range(20):
        scales = [draw.choice([0.5, 1.0, 1.0 + 1e-9, 3.0]) for _ in range(4)]
        kernel = torch.cat([randn(2, 2, 3, 3, seed=7) * s for s in scales])
        part = Conv(kernel, (1, 8, 6, 6), (1, 1), (1, 1), ((1, 1),) * 2, 4)
        truth = float(torch.linalg.svdvals(part.as_matrix())[0])
        upper, _ = conv_norm(part, Limits(precision=1e-6))
        assert truth * (1.0 - 1e-13) <= upper.value <= truth * (1.0 + 1e-6)


@pytest.mark.parametrize("groups", [1, 2])
def test_a_batch_norm_moves_into_a_transposed_convolution(groups: int) -> None:
    """Before it and after it: one piece, and the same matrix."""
    turned = Adjoint(conv(4, (1, 6, 5, 4), (3, 2), stride=2, pads=((1, 0),) * 2, groups=groups))
    before = Diagonal(randn(4, 1, 1, seed=1), turned.in_shape, 2)
    after = Diagonal(randn(6, 1, 1, seed=2), turned.out_shape, 2)
    for maps in ((before, turned), (turned, after), (before, turned, after)):
        merged = compose(*maps)
        assert isinstance(merged, Adjoint)
        assert torch.allclose(merged.as_matrix(), Compose(maps).as_matrix(), rtol=1e-14, atol=1e-14)
    uneven = Diagonal(randn(*turned.out_shape[1:], seed=3), turned.out_shape)
    assert isinstance(compose(turned, uneven), Compose)
