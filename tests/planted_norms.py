"""Unsound rules of operator norms, planted one at a time; see `planted`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import lipaudit.engines.changeover as changeover_module
import lipaudit.linear.norms.block_cholesky as cholesky_module
import lipaudit.linear.norms.composite as composite_module
import lipaudit.linear.norms.conv_gram as gram_module
import lipaudit.linear.norms.conv_tight as conv_tight
import lipaudit.linear.norms.dual as dual_module
import lipaudit.linear.norms.lower as lower_module
import lipaudit.linear.norms.mixed as mixed_module
import lipaudit.linear.norms.semi_circulant as semi_module
from lipaudit.linear.conv import Conv
from lipaudit.linear.norms.conv_l2 import conv_l2
from lipaudit.linear.norms.limits import Limits
from lipaudit.linear.norms.operator import OperatorNorms
from lipaudit.linear.norms.sparse import sparse_gram
from lipaudit.linear.norms.sums import unit_scaled
from lipaudit.numerics.bound import UpperBound
from lipaudit.numerics.norms import Norm, NormPair
from tests.cases.graphs import family
from tests.cases.maps import all_maps, randn
from tests.laws import mixed_laws
from tests.linear.test_conv_l2 import Case, cosine, geometries, uniform
from tests.linear.test_tight import as_map, composites
from tests.planted import Law, Plant

INF_TWO, INF_ONE = NormPair(Norm.LINF, Norm.L2), NormPair(Norm.LINF, Norm.L1)


def pair_law(name: str, *pairs: NormPair) -> Law:
    """The certified norms of a map between different norms are above what is attained."""
    case = next(c for c in all_maps() if c.name == name)

    def law(_: Path) -> None:
        for pair in pairs or mixed_laws.PAIRS:
            mixed_laws.norm_is_above(case.build(), pair)

    return law


def pair_graph_law(name: str) -> Law:
    """No Jacobian exceeds the bound of a graph between different norms."""

    def law(_: Path) -> None:
        for seed in range(2):
            for pair in mixed_laws.PAIRS:
                mixed_laws.bound_is_above(family(name).build(seed), pair, seed)

    return law


def dual_law(_: Path) -> None:
    """The dual bounds are above the best corner, of random and of sign matrices."""
    for seed in range(6):
        for a in (randn(4, 9, seed=seed), randn(8, 8, seed=seed).sign()):
            assert dual_module.inf_to_two(a) >= mixed_laws.attained(a, INF_TWO)[0] * (1 - 1e-13)
            assert dual_module.inf_to_one(a) >= mixed_laws.attained(a, INF_ONE)[0] * (1 - 1e-13)


def swap(module: Any, name: str, wrong: Callable[..., Any]) -> Callable[[pytest.MonkeyPatch], None]:
    """The patch that puts `wrong` in the place of an attribute."""
    return lambda patch: patch.setattr(module, name, wrong)


def _no_dual(self: OperatorNorms, part: Any, pair: NormPair) -> tuple[UpperBound, float | None]:
    from lipaudit.linear.map import Adjoint

    return (self.of(part.of, pair), None) if isinstance(part, Adjoint) else _TRUE_COMPUTE(self, part, pair)


_TRUE_COMPUTE = OperatorNorms._compute


def _conversion_missing(self: Norm, other: Norm, size: int) -> float:
    return 1.0


def _conversion_swapped(self: Norm, other: Norm, size: int) -> float:
    return _TRUE_CONVERSION(other, self, size)


_TRUE_CONVERSION = Norm.conversion_up


def _signs_only(part: Any, pair: NormPair) -> UpperBound:
    """A x for the all-ones x: a corner, not the best one."""
    image = part.apply(torch.ones(1, *part.in_shape, dtype=torch.float64))
    return UpperBound(pair.target.bounds_of(image)[1], "planted")


def _early(excess: Callable[..., float]) -> Callable[[pytest.MonkeyPatch], None]:
    """Multipliers after one sweep, as an iteration's budget may leave them, with a wrong excess."""

    def apply(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(dual_module, "_SWEEPS", 1)
        patch.setattr(dual_module, "_excess", excess)

    return apply


def _free_steps(problem: Any, node: Any, args: Any) -> Any:
    """Every node is taken from any norm to any other at its gain in the first."""
    through = {norm: changeover_module._through(problem, node, args, NormPair(norm, norm)) for norm in Norm}
    best = min(through, key=through.__getitem__)
    return {norm: changeover_module._Reach(through[best], best) for norm in Norm}


def conv_law(_: Path) -> None:
    """The bound of every convolution is above its dense singular value; borders, strides, dilations, groups, scales."""
    for case in CONVOLUTIONS:
        said, truth = conv_tight.conv_norm(as_map(case), Limits(precision=1e-6))[0].value, case.truth()
        assert said >= truth * (1.0 - 1e-13)


def _single(cases: list[Case]) -> Iterator[tuple[Conv, float]]:
    """The first group of each, with its true norm."""
    for case in cases:
        part = as_map(case._replace(kernel=case.kernel[: len(case.kernel) // case.groups], groups=1))
        truth = float(torch.linalg.svdvals(part.as_matrix())[0])
        if truth > 0.0:
            yield part, truth


def method_law(module: Any, name: str, axes_least: int = 1) -> Law:
    """One method alone is above, or proves nothing, whether it is told the truth or less."""

    def law(_: Path) -> None:
        for part, truth in _single(CONVOLUTIONS):
            kernel, axes = conv_tight.live(part)
            if len(axes) >= axes_least:
                for told in (truth, 0.99 * truth, 0.9 * truth, 0.6 * truth):
                    below = lower_module.Lower(told, told)
                    said = getattr(module, name)(kernel, axes, below, Limits(precision=1e-6)).value
                    assert said >= truth * (1.0 - 1e-13)

    return law


BAND, SEMI = method_law(conv_tight, "band"), method_law(semi_module, "semi_circulant", 2)


def sparse_law(_: Path) -> None:
    """Merged maps in sparse form are above their dense singular value."""
    for case in composites():
        part = case.build()
        truth = float(torch.linalg.svdvals(part.as_matrix())[0])
        for told in (truth, 0.9 * truth, 0.6 * truth):
            found = composite_module._banded(part, told, 1e3, Limits())
            assert found is not None
            assert found.value >= truth * (1.0 - 1e-13)


def groups_law(_: Path) -> None:
    """Groups of any sizes, with a border that the embedding is not exact for."""
    for scales in ((0.2, 0.5), (1.0, 2.0, 0.5), (0.9, 0.9)):
        kernel = torch.cat([randn(1, 1, 3, 3, seed=3) * s / 4.0 for s in scales])
        case = Case(kernel, (4, 4), (1, 1), (1, 1), ((1, 1), (1, 1)), len(scales))
        assert conv_tight.conv_norm(as_map(case), Limits(precision=1e-7))[0].value >= case.truth() * (1.0 - 1e-13)


CONVOLUTIONS = [
    *geometries(80, seed=23),
    uniform(cosine((3, 3), 2.0)[None, None], 3, pad=1),
    uniform(cosine((5, 5), 1.3)[None, None], 4, s=2, pad=2),
    *(case._replace(kernel=randn(*case.kernel.shape) * 1e-20) for case in geometries(10, seed=5)),
]


def _unverified(patch: pytest.MonkeyPatch) -> None:
    """The factor is believed: no residual, and a diagonal that is raised until there is a factor."""
    real = torch.linalg.cholesky_ex

    def always(matrix: torch.Tensor) -> Any:
        for shift in (0.0, 1e-3, 1e-2, 0.1, 1.0, 10.0, 1e3):
            raised = matrix.clone()
            raised.diagonal().add_(shift * matrix.abs().max())
            found = real(raised)
            if int(found.info) == 0:
                break
        return found

    patch.setattr(torch.linalg, "cholesky_ex", always)
    patch.setattr(cholesky_module, "_proven", lambda gram, t, sums: t)


def _one_delta_fewer(axis: Any, outputs: bool) -> Any:
    found = _TRUE_COUPLINGS(axis, outputs)
    most = max(abs(c.delta) for c in found)
    return [c for c in found if abs(c.delta) < most] or found


def _axis(**changes: Callable[[Any], int]) -> Callable[[Any, bool], Any]:
    """Couplings of an axis that is taken for another."""

    def wrong(axis: Any, outputs: bool) -> Any:
        return _TRUE_COUPLINGS(axis._replace(**{name: change(axis) for name, change in changes.items()}), outputs)

    return wrong


def _own_period(axis: Any) -> Any:
    return _TRUE_WRAPPED(axis)._replace(period=max(1, -(-axis.size // axis.stride)))


def _apart(part: Conv) -> list[float]:
    """The groups' norms."""
    channels = part.kernel.shape[1]
    ones = [
        Conv(k, (1, channels, *part.source[2:]), part.stride, part.dilation, part.pads)
        for k in part.kernel.chunk(part.groups)
    ]
    return [conv_tight._circulant(one).value for one in ones]


def _of_groups(rule: Callable[[list[float]], float]) -> Callable[..., tuple[UpperBound, float]]:
    return lambda part, best, lower, limits: (UpperBound(rule(_apart(part)), "planted"), lower.value)


def _with_epsilon(x: torch.Tensor) -> tuple[torch.Tensor, int]:
    scaled, exponent = _TRUE_SCALED(x)
    peak = float(x.abs().max())
    return scaled * (peak / (peak + 1e-12)), exponent


def _ritz_value(kernel: Any, axes: Any, lower: Any, limits: Any) -> UpperBound:
    return UpperBound(lower.value * (1.0 - 1e-9), "planted")


def _cut(matrix: Any, rows: Any, columns: Any) -> Any:
    gram = _TRUE_GRAM(matrix, rows, columns)
    return dataclasses.replace(gram, reach=0, block=max(1, gram.block // 4))


def _stride_one(kernel: Any, size: Any, stride: Any, dilation: Any, pads: Any, groups: int) -> UpperBound:
    """Divided by the stride, as if every input were read equally often."""
    bound = conv_l2(kernel, size, (1,) * len(size), dilation, pads, groups)
    return UpperBound(bound.value / math.sqrt(math.prod(stride)), "planted")


_TRUE_COUPLINGS = gram_module._couplings
_TRUE_WRAPPED = semi_module._wrapped
_TRUE_SCALED = unit_scaled
_TRUE_GRAM = sparse_gram
_TRUE_AT = semi_module._at


def catalogue() -> list[Plant]:
    """Every planted mistake of this area."""
    return [
        Plant("conv: a Ritz value as the bound", swap(conv_tight, "band", _ritz_value), BAND),
        Plant("conv: an epsilon in the normaliser", swap(conv_tight, "unit_scaled", _with_epsilon), BAND),
        Plant("conv: product over groups", swap(conv_tight, "_groups", _of_groups(math.prod)), groups_law),
        Plant("conv: the smallest group", swap(conv_tight, "_groups", _of_groups(min)), groups_law),
        Plant("gram: stride ignored", swap(gram_module, "_couplings", _axis(stride=lambda a: 1)), BAND),
        Plant("gram: dilation ignored", swap(gram_module, "_couplings", _axis(dilation=lambda a: 1)), BAND),
        Plant("gram: padding ignored", swap(gram_module, "_couplings", _axis(before=lambda a: 0)), BAND),
        Plant("gram: the farthest couplings forgotten", swap(gram_module, "_couplings", _one_delta_fewer), BAND),
        Plant("cholesky: the factor believed", _unverified, BAND),
        Plant("semi: the image's own period", swap(semi_module, "_wrapped", _own_period), SEMI),
        Plant("semi: frequency 0 alone", swap(semi_module, "_at", lambda k, w, turn: _TRUE_AT(k, w, 0)), SEMI),
        Plant("sparse: a band cut off", swap(composite_module, "sparse_gram", _cut), sparse_law),
        Plant("pipeline: the embedding of a stride of one", swap(conv_tight, "conv_l2", _stride_one), conv_law),
        Plant(
            "mixed: an adjoint keeps its pair", swap(OperatorNorms, "_compute", _no_dual), pair_law("conv-transpose")
        ),
        Plant(
            "mixed: norms change for nothing", swap(Norm, "conversion_up", _conversion_missing), pair_graph_law("mlp")
        ),
        Plant(
            "mixed: equivalence the wrong way round",
            swap(Norm, "conversion_up", _conversion_swapped),
            pair_graph_law("mlp"),
        ),
        Plant(
            "mixed: ones for the best corner",
            swap(mixed_module, "_one_signed", _signs_only),
            pair_law("dense-wide", INF_TWO, INF_ONE),
        ),
        Plant("dual: multipliers believed", _early(lambda c, d, error: 0.0), dual_law),
        Plant(
            "dual: excess not times the side", _early(lambda c, d, error: _TRUE_EXCESS(c, d, error) / len(d)), dual_law
        ),
        Plant(
            "changeover: any node changes the norm",
            swap(changeover_module, "_steps", _free_steps),
            pair_graph_law("one-layer"),
        ),
    ]


_TRUE_EXCESS = dual_module._excess
