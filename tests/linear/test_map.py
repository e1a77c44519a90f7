"""Laws of linear maps and of their certified norms, against matrices of rational numbers."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lipaudit.linear.dense import Dense
from lipaudit.linear.fuse import add, compose, is_identity, transpose
from lipaudit.linear.map import Adjoint, Compose, LinearMap, Sum
from lipaudit.linear.norms.operator import OperatorNorms, row_of
from lipaudit.linear.pointwise import Diagonal
from lipaudit.linear.selection import NOTHING, Selection
from lipaudit.numerics.norms import Norm
from tests.cases.maps import MapCase, all_maps, composites, conv, exact, leaves, randn, scaled, select
from tests.laws import map_laws
from tests.laws.map_laws import certified

NORMS = list(Norm)
every_map = pytest.mark.parametrize("case", all_maps(), ids=str)
every_norm = pytest.mark.parametrize("norm", NORMS, ids=lambda n: n.value)


def test_every_kind_of_map_has_a_case() -> None:
    kinds = {cls.__name__ for cls in LinearMap.__subclasses__() if cls.__module__.startswith("lipaudit.")}
    assert kinds <= {type(case.build()).__name__ for case in all_maps()}


@every_map
def test_matrix(case: MapCase) -> None:
    part = case.build()
    map_laws.matrix_is_exact_within_roundings(part)
    map_laws.majorant_dominates(part)
    map_laws.rows_are_independent(part)


@every_map
@given(seed=st.integers(0, 2**31))
def test_application(case: MapCase, seed: int) -> None:
    part = case.build()
    map_laws.adjoint_is_adjoint(part, seed)


@every_map
@pytest.mark.parametrize("seed", range(3))
def test_application_exactly(case: MapCase, seed: int) -> None:
    map_laws.application_is_within_roundings(case.build(), seed)


@every_norm
@every_map
def test_norm_is_above_and_tight(case: MapCase, norm: Norm) -> None:
    part = case.build()
    map_laws.norm_is_above(part, norm)
    map_laws.norm_is_tight(part, norm)


@pytest.mark.parametrize("exponent", [-1060, -660, 660, 1000])
@every_norm
@every_map
def test_norm_at_other_scales(case: MapCase, norm: Norm, exponent: int) -> None:
    """Powers of two are exact, so the law is the same; nothing is lost to an absolute tolerance."""
    part = scaled(case.build(), 2.0**exponent)
    map_laws.norm_is_above(part, norm)
    if isinstance(case.build(), Compose | Sum | Adjoint):
        return
    if abs(exponent) == 660:
        map_laws.norm_is_tight(part, norm)


@every_norm
@pytest.mark.parametrize("exponents", list(itertools.permutations((-900, -200, 1000))), ids=str)
def test_norm_of_a_product_that_underflows_half_way(norm: Norm, exponents: tuple[int, ...]) -> None:
    """Each factor is a plain number; their running product need not be one, and the whole is again."""
    weights = [Dense.plain(randn(3, 3, seed=i, scale=2.0**e)) for i, e in enumerate(exponents)]
    map_laws.norm_is_above(Compose(tuple(weights)), norm)
    map_laws.norm_is_above(compose(*weights), norm)
    scales = [Diagonal(torch.full((3,), 2.0**e, dtype=torch.float64), (3,)) for e in exponents]
    map_laws.norm_is_above(Compose(tuple(scales)), norm)
    fused = compose(*scales)
    assert certified(fused, norm) >= 2.0 ** sum(exponents)


@every_norm
def test_a_product_below_the_smallest_number_is_not_zero(norm: Norm) -> None:
    tiny = Diagonal(torch.full((2,), 1e-200, dtype=torch.float64), (2,))
    dense = Dense.plain(torch.full((2, 2), 1e-200, dtype=torch.float64))
    for part in (
        compose(tiny, tiny),
        Compose((tiny, tiny)),
        compose(dense, tiny),
        Compose((dense, dense)),
        compose(tiny, dense),
    ):
        assert certified(part, norm) > 0.0


@every_norm
@pytest.mark.parametrize(
    ("part", "roundings"),
    [
        (Diagonal(randn(5), (5,), 3), 3),
        (Dense.plain(randn(4, 4), 5), 5),
        (Dense.plain(randn(1, 4), 2), 2),
        (conv(2, (1, 2, 3, 3), (2, 2), roundings=4), 4),
        (Adjoint(Dense.plain(randn(4, 2), 5)), 5),
        (Compose((Dense.plain(randn(3, 4, seed=1), 5), Dense.plain(randn(2, 3, seed=2)))), 5),
        (Sum((Dense.plain(randn(3, 3, seed=1), 5), Dense.plain(randn(3, 3, seed=2), 5))), 5),
    ],
    ids=lambda p: type(p).__name__ if isinstance(p, LinearMap) else str(p),
)
def test_norm_covers_the_intended_weights(norm: Norm, part: LinearMap, roundings: int) -> None:
    """Weights stored k roundings away from those meant: the norm of all of them k u larger is covered."""
    map_laws.norm_is_above(part, norm, weight_roundings=roundings)


# ---------------------------------------------------------------------------------------------- lemmas


@every_norm
def test_block_diagonal_is_the_largest_not_the_product(norm: Norm) -> None:
    a, b = randn(2, 3, seed=4), randn(2, 3, seed=5) * 0.3
    grouped = Dense(torch.stack([a, b]), (2,), 1, (2, 3), (2, 2))
    apart = [certified(Dense.plain(w), norm) for w in (a, b)]
    assert certified(grouped, norm) == pytest.approx(max(apart), rel=1e-9)
    assert certified(grouped, norm) >= max(apart) * (1 - 1e-12)


@every_norm
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_groups_of_a_convolution_are_blocks(norm: Norm, groups: int) -> None:
    whole = conv(4, (1, 4, 3, 3), (2, 2), groups=groups)
    kernels = whole.kernel.chunk(groups)
    parts = [conv(4 // groups, (1, 4 // groups, 3, 3), (2, 2), kernel=k) for k in kernels]
    assert certified(whole, norm) == pytest.approx(max(certified(p, norm) for p in parts), rel=1e-7)


@pytest.mark.parametrize("copies", [1, 2, 3, 4, 7, 9])
def test_copies_of_an_entry(copies: int) -> None:
    part = select((2,), [0] * copies + [1, NOTHING], (copies + 2,))
    assert certified(part, Norm.LINF) == pytest.approx(1.0)
    assert certified(part, Norm.L1) == pytest.approx(copies)
    root = math.isqrt(copies)
    value = certified(part, Norm.L2)
    assert value == root if root * root == copies else 0 <= value - math.sqrt(copies) <= 1e-15 * copies


@every_norm
def test_empty_and_zero_maps_are_constant(norm: Norm) -> None:
    assert certified(select((3,), [], (0,)), norm) == 0.0
    assert certified(select((3,), [NOTHING, NOTHING], (2,)), norm) == 0.0
    assert certified(Dense.plain(torch.zeros(2, 3, dtype=torch.float64)), norm) == 0.0


@every_norm
@every_map
def test_norm_of_a_row_of_maps(case: MapCase, norm: Norm) -> None:
    """of_row bounds [A B] for arguments taken together; a residual connection is one."""
    part = case.build()
    other = Dense(randn(part.out_size, 2, seed=9), (), 1, (2,), part.out_shape)
    third = Sum((part, part))
    parts: tuple[LinearMap, ...] = (part, other, third)
    matrix = np.concatenate([exact(p) for p in parts], axis=1)
    said = OperatorNorms().of_row(parts, norm).value
    truth = map_laws.truth_below(matrix, norm)
    assert said >= truth
    assert said <= 1.0000001 * truth
    spelt = row_of(parts)
    assert (abs(exact(spelt) - matrix) <= 1e-12).all()


@every_norm
def test_norm_of_a_row_without_a_dense_copy(norm: Norm) -> None:
    from lipaudit.linear.norms.limits import Limits

    parts = (Dense.plain(randn(3, 4)), Dense.plain(randn(3, 2, seed=8)), select((2,), [0, 1, 0], (3,)))
    matrix = np.concatenate([exact(p) for p in parts], axis=1)
    assert OperatorNorms(Limits(flops=0, entries=0, small_side=0)).of_row(parts, norm).value >= map_laws.truth_below(
        matrix, norm
    )


@every_norm
@pytest.mark.parametrize("case", all_maps(), ids=str)
def test_norm_without_a_dense_copy(case: MapCase, norm: Norm) -> None:
    """The rules for large composites (products, sums, Schur) hold as well."""
    from lipaudit.linear.norms.limits import Limits

    part = case.build()
    map_laws.norm_is_above(
        part, norm, lambda p, n: OperatorNorms(Limits(flops=0, entries=0, small_side=0)).of(p, n).value
    )


# ---------------------------------------------------------------------------------------------- fusing


def _chainable() -> list[tuple[str, LinearMap, LinearMap]]:
    """Pairs of neighbours of every two kinds of leaf, with a reshape between where their shapes differ."""
    pieces: dict[str, LinearMap] = {
        "diagonal": Diagonal(randn(8), (8,), 1),
        "scalar": Diagonal(torch.tensor(0.3, dtype=torch.float64), (8,)),
        "dense": Dense.plain(randn(8, 8), 2),
        "stack": Dense(randn(2, 4, 4), (2,), 1, (2, 4), (2, 4)),
        "conv": conv(2, (1, 2, 2, 2), (1, 1), roundings=1),
        "padded conv": conv(2, (1, 2, 4), (3,), pads=((1, 1),)),
        "grouped conv": conv(4, (1, 4, 2), (1,), groups=2),
        "channel scale": Diagonal(randn(2, 1, 1), (1, 2, 2, 2), 3),
        "channel scale of 4": Diagonal(randn(1, 4, 1), (1, 4, 2)),
        "pixel scale": Diagonal(randn(2, 2), (1, 2, 2, 2)),
        "reshape": Selection.reshape((8,), (2, 4)),
        "permutation": select((8,), [7, 6, 5, 4, 3, 2, 1, 0], (8,)),
        "repeat": select((8,), [0, 0, 0, 1, 2, NOTHING, 3, 4], (8,)),
        "sum": Adjoint(select((8,), [0, 0, 0, 1, 2, NOTHING, 3, 4], (8,))),
    }
    return [(f"{a}, {b}", pieces[a], pieces[b]) for a, b in itertools.product(pieces, repeat=2)]


@pytest.mark.parametrize(("first", "second"), [c[1:] for c in _chainable()], ids=[c[0] for c in _chainable()])
def test_composing_two_maps_keeps_the_matrix(first: LinearMap, second: LinearMap) -> None:
    """Fused or not, the product is within its own roundings of the exact one; and so is every norm."""
    chain = [first]
    if first.out_shape != second.in_shape:
        chain.append(Selection.reshape(first.out_shape, second.in_shape))
    chain.append(second)
    fused = compose(*chain)
    assert (fused.in_shape, fused.out_shape) == (first.in_shape, second.out_shape)
    truth = exact(second) @ exact(first)
    majorant = exact(second.majorant()) @ exact(first.majorant())
    assert (abs(exact(fused) - truth) <= map_laws.gamma_exact(fused.roundings) * majorant).all()
    for norm in NORMS:
        assert certified(fused, norm) >= map_laws.truth_below(truth, norm)


@every_map
def test_transposing_keeps_the_matrix(case: MapCase) -> None:
    part = case.build()
    assert (exact(transpose(part)) == exact(part).T).all()
    assert (exact(transpose(transpose(part))) == exact(part)).all()
    assert transpose(part).roundings >= 0


@every_map
def test_adding_keeps_the_matrix(case: MapCase) -> None:
    part = case.build()
    identity = Selection.reshape(part.in_shape, part.in_shape)
    assert (exact(add(part)) == exact(part)).all()
    for copies in (2, 3):
        total = add(*[part] * copies)
        allowed = map_laws.gamma_exact(total.roundings) * copies * exact(part.majorant())
        assert (abs(exact(total) - copies * exact(part)) <= allowed).all()
    fused = compose(identity, part)
    assert (abs(exact(fused) - exact(part)) <= map_laws.gamma_exact(fused.roundings) * exact(part.majorant())).all()
    minus = Diagonal(torch.tensor(-1.0, dtype=torch.float64), part.out_shape)
    gone = add(part, compose(part, minus))
    assert (abs(exact(gone)) <= map_laws.gamma_exact(gone.roundings) * 2 * exact(part.majorant())).all()


@pytest.mark.parametrize("case", composites(), ids=str)
def test_fusing_a_composite_keeps_the_matrix(case: MapCase) -> None:
    part = case.build()
    fused = compose(part, Selection.reshape(part.out_shape, part.out_shape))
    assert (abs(exact(fused) - exact(part)) <= map_laws.gamma_exact(fused.roundings) * exact(part.majorant())).all()


def test_selections_that_fill_different_places_add_up_to_one() -> None:
    first, second = select((4,), [0, 1, NOTHING, NOTHING], (4,)), select((4,), [NOTHING, NOTHING, 2, 3], (4,))
    assert is_identity(add(first, second))
    overlapping = add(first, select((4,), [0, NOTHING, 2, 3], (4,)))
    assert not isinstance(overlapping, Selection)
    assert (exact(overlapping) == exact(first) + exact(select((4,), [0, NOTHING, 2, 3], (4,)))).all()


def test_split_and_joined_again_is_itself() -> None:
    w = Dense.plain(randn(4, 3))
    top = compose(w, select((4,), [0, 1], (2,)), select((2,), [0, 1, NOTHING, NOTHING], (4,)))
    bottom = compose(w, select((4,), [2, 3], (2,)), select((2,), [NOTHING, NOTHING, 0, 1], (4,)))
    assert add(top, bottom) is w


@pytest.mark.parametrize("case", leaves(), ids=str)
def test_the_norm_of_the_transpose_is_the_dual_norm(case: MapCase) -> None:
    part = case.build()
    for norm in NORMS:
        one, other = certified(part, norm), certified(transpose(part), norm.dual)
        assert one == pytest.approx(other, rel=1e-7)
