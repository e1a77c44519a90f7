"""Unsound rules of operator norms, planted one at a time; see `planted`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import lipaudit.engines.changeover as changeover_module
import lipaudit.linear.norms.dual as dual_module
import lipaudit.linear.norms.mixed as mixed_module
from lipaudit.linear.norms.operator import OperatorNorms
from lipaudit.numerics.bound import UpperBound
from lipaudit.numerics.norms import Norm, NormPair
from tests.cases.graphs import family
from tests.cases.maps import all_maps, randn
from tests.laws import mixed_laws
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
        for seed in range(4):
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


def catalogue() -> list[Plant]:
    """Every planted mistake of this area."""
    return [
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
