"""Engines against slopes that are met: thousands of tiny graphs, and models whose matrix onnxruntime tells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from tests.cases.graphs import FAMILIES, Family
from tests.cases.models import ModelCase, linear_cases
from tests.laws import engine_laws, model_laws

BLOCK = 25
BLOCKS = 4  # 14 families x 4 x 25 = 1400 graphs, in three norms, as built and simplified


@pytest.mark.parametrize("block", range(BLOCKS))
@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_no_slope_exceeds_the_bound(family: Family, block: int) -> None:
    ratios = []
    for seed in range(block * BLOCK, (block + 1) * BLOCK):
        ratios.append(engine_laws.bound_is_above(family.build(seed), seed)[Norm.L2])
    if family.tight:  # else the oracle is too weak to tell anything
        assert np.median(ratios) > 0.999
    elif family.bounded:
        assert np.median(ratios) > 0.1


def random_box(shape: tuple[int, ...], seed: int) -> Box:
    """A box around a random point: wide, narrow, or degenerate in some axes."""
    generator = torch.Generator().manual_seed(seed)
    centre = torch.randn(1, *shape, generator=generator, dtype=torch.float64)
    width = (1e-3, 0.1, 1.0, 4.0)[seed % 4] * torch.rand(1, *shape, generator=generator, dtype=torch.float64)
    width = torch.where(torch.rand(1, *shape, generator=generator) < 0.15, 0.0, width)
    return Box(centre - width, centre + width)


@pytest.mark.parametrize("block", range(2))
@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_no_slope_in_a_box_exceeds_its_bound(family: Family, block: int) -> None:
    for seed in range(block * 12, (block + 1) * 12):
        graph = family.build(seed)
        engine_laws.bound_is_above(graph, seed, box=random_box(graph.input_shape, seed))


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_a_smaller_box_has_no_larger_bound(family: Family) -> None:
    from lipaudit.graph.problem import Problem

    for seed in range(10):
        graph = family.build(seed)
        outer = random_box(graph.input_shape, seed)
        middle, half = (outer.lower + outer.upper) / 2, (outer.upper - outer.lower) / 4
        inner = Box(middle - half, middle + half)
        for norm in Norm:
            bounds = [engine_laws.layer_product(Problem.over(graph, norm, box)) for box in (inner, outer, None)]
            assert bounds[0] <= bounds[1] * (1 + 1e-9) <= bounds[2] * (1 + 1e-8)


@pytest.mark.parametrize("case", linear_cases(), ids=str)
def test_affine_models_against_onnxruntime(case: ModelCase, tmp_path: Path) -> None:
    model_laws.bound_is_above_black_box(case.build(), tmp_path, tight=case.tight)
