"""Radii from growing balls: exact where the answer is known, never below the global ones, no change of class inside."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from lipaudit.audit import Domain, Settings, certify
from lipaudit.graph.graph import Graph, Node
from lipaudit.graph.simplify import simplify
from lipaudit.linear.dense import Dense
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.ops.affine import Affine
from lipaudit.ranges.ball import Ball
from tests.cases.graphs import family
from tests.engines.test_entrywise import mlp
from tests.laws.region_laws import classes_hold, grown_radii

SAMPLES = Path(__file__).parents[2] / "sample_models"


def linear(seed: int, classes: int = 4, size: int = 5) -> tuple[Graph, torch.Tensor]:
    rng = np.random.default_rng(seed)
    weight = torch.tensor(rng.normal(size=(classes, size)))
    return Graph((size,), (Node("fc", "Gemm", Affine((Dense.plain(weight),)), (0,)),), 1), weight


def never_above_the_exact_radius(norm: Norm, seeds: range) -> None:
    """Of a linear classifier the radius is min_j m_j / |w_y - w_j|_dual: in rational arithmetic, squared for l2."""
    for seed in seeds:
        graph, weight = linear(seed)
        points = torch.randn(6, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        labels = graph.forward(points).argmax(1)
        found = grown_radii(graph, norm, points, labels, None)
        rows = [[Fraction(v) for v in row] for row in weight.tolist()]
        for x, y, radius in zip(points.tolist(), labels.tolist(), found.tolist(), strict=True):
            for j in range(4):
                if j == y:
                    continue
                gap = [a - b for a, b in zip(rows[y], rows[j], strict=True)]
                margin = sum((g * Fraction(v) for g, v in zip(gap, x, strict=True)), Fraction(0))
                r = Fraction(radius)
                if norm is Norm.L2:
                    assert r * r * sum(g * g for g in gap) <= margin * margin
                else:
                    dual = sum(map(abs, gap)) if norm is Norm.LINF else max(map(abs, gap))
                    assert r * dual <= margin


@pytest.mark.parametrize("norm", Norm)
def test_a_linear_classifier_never_above_the_exact_radius_and_close_to_it(norm: Norm) -> None:
    never_above_the_exact_radius(norm, range(12))
    graph, weight = linear(0)
    points = torch.randn(6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values = graph.forward(points)
    labels = values.argmax(1)
    gaps = (weight[labels].unsqueeze(1) - weight).flatten(0, 1)
    ratio = (values.gather(1, labels[:, None]) - values) / norm.dual.of(gaps).reshape(6, 4).clamp_min(1e-300)
    exact = ratio.scatter(1, labels[:, None], torch.inf).amin(1)
    assert torch.allclose(grown_radii(graph, norm, points, labels, None), exact, rtol=2e-2, atol=0)


def a_tie_has_no_radius() -> None:
    graph, _ = linear(1, 2)
    weight = torch.tensor([[1.0, 2.0], [2.0, 1.0]], dtype=torch.float64)
    graph = Graph((2,), (Node("fc", "Gemm", Affine((Dense.plain(weight),)), (0,)),), 1)
    points = torch.tensor([[1.0, 1.0], [3.0, 1.0]], dtype=torch.float64)
    found = grown_radii(graph, Norm.L2, points, torch.tensor([0, 1]), None)
    assert float(found[0]) == 0.0
    assert float(found[1]) > 0.0


def test_a_tie_has_no_radius() -> None:
    a_tie_has_no_radius()


@pytest.mark.parametrize("norm", Norm)
@pytest.mark.parametrize("name", ["mlp", "images", "branches", "heads"])
def test_nothing_inside_changes_class(name: str, norm: Norm) -> None:
    tried = 0
    for seed in range(3):
        graph = simplify(family(name).build(seed))
        if int(torch.Size(graph.output_shape).numel()) < 2:
            continue
        points = torch.randn(4, *graph.input_shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        labels = graph.forward(points).flatten(1).argmax(1)
        radii = grown_radii(graph, norm, points, labels, None)
        tried += classes_hold(graph, Ball(points, radii.clamp(max=1e6), norm), labels, seed)
    assert tried > 0


@pytest.mark.parametrize("norm", Norm)
def test_nothing_inside_changes_class_in_a_domain(norm: Norm) -> None:
    graph, _ = mlp(6, 14, 10, 3)
    domain = Box(torch.zeros(1, 6, dtype=torch.float64), torch.ones(1, 6, dtype=torch.float64))
    points = torch.rand(8, 6, generator=torch.Generator().manual_seed(5), dtype=torch.float64).round(decimals=1)
    labels = graph.forward(points).argmax(1)
    cut, free = (grown_radii(graph, norm, points, labels, d).clamp(max=1e6) for d in (domain, None))
    classes_hold(graph, Ball(points, cut, norm, domain), labels, 0, 200)
    classes_hold(graph, Ball(points, free, norm), labels, 0, 200)
    assert bool((cut > 0).all())


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_local_radii_of_the_digits(norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lipaudit.audit.raising.SHARE", 0.0)  # of the balls alone
    with np.load(SAMPLES / "digits_mlp.npz") as file:
        x, y = file["x"], file["y"]
    settings = Settings(norm=Norm(norm), domain=Domain(0.0, 16.0, "0,16"), budget=10.0)
    report = certify(SAMPLES / "digits_mlp.onnx", x, y, settings, local=True, limit=12)
    assert report.radii is not None
    assert report.radii.whole is not None
    assert report.drawn is not None
    assert len(report.radii.values) == len(report.drawn) == 12
    right = report.radii.correct
    assert (report.radii.values >= report.radii.whole).all()
    assert (report.radii.values[~right] == 0).all()
    assert np.median(report.radii.values[right]) > 1.3 * np.median(report.radii.whole[right])
    assert report.radii.labels is not None
    assert (report.radii.labels == np.asarray(y).reshape(-1)[report.drawn]).all()
