"""Radii raised by branch and bound: exact where the answer is known, never below what is known, the same each time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from lipaudit.audit import Domain, Settings, certify
from lipaudit.audit.raising import Sample, further, raised, splits
from lipaudit.audit.stages import Grown
from lipaudit.audit.tolerance import local_tolerance_radii
from lipaudit.graph.graph import Graph, Node
from lipaudit.linear.dense import Dense
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm, NormPair
from lipaudit.ops import activations
from lipaudit.ops.affine import Affine
from lipaudit.ops.elementwise import Elementwise
from lipaudit.ranges.ball import Ball
from lipaudit.ranges.rows import Weights
from tests.cases.graphs import Sketch
from tests.engines.test_entrywise import mlp
from tests.laws.region_laws import classes_hold, grown_radii

MODEL = Path(__file__).resolve().parents[2] / "sample_models" / "digits_mlp"
SETTINGS = Settings(domain=Domain(0.0, 16.0, "0,16"), budget=120.0)
POINT = (0.125, 0.0625)


def network(first: list[list[float]], last: list[list[float]], offset: list[float], smooth: bool = False) -> Graph:
    """x -> last relu(first x) + offset."""
    a, b = (torch.tensor(x, dtype=torch.float64) for x in (first, last))
    function = activations.tanh() if smooth else activations.relu()
    nodes = (
        Node("in", "Gemm", Affine((Dense.plain(a),)), (0,)),
        Node("bend", "Relu", Elementwise(function, (len(first),)), (1,)),
        Node("out", "Gemm", Affine((Dense.plain(b),), torch.tensor(offset, dtype=torch.float64)), (2,)),
    )
    return Graph((2,), nodes, 3)


def diamond(smooth: bool = False) -> Graph:
    """Logits 1 - |x_0| - |x_1| and 0: the class changes where |x_0| + |x_1| = 1."""
    first = [[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]
    return network(first, [[-1.0] * 4, [0.0] * 4], [1.0, 0.0], smooth)


def sample(graph: Graph, norm: Norm, domain: Box | None = None) -> Sample:
    point = torch.tensor([POINT], dtype=torch.float64)
    seeds, values = torch.tensor([[[1.0, -1.0]]], dtype=torch.float64), graph.forward(point)[0]
    return Sample(graph, norm, domain, point, seeds, (values[:1] - values[1:]) * (1.0 - 1e-15), Weights())


def exact(norm: Norm) -> tuple[Fraction, float]:
    """What the distance to the diamond's side is a multiple of, and that distance."""
    slack = 1 - sum(map(Fraction, POINT), Fraction(0))
    return slack, float(slack) * {Norm.L1: 1.0, Norm.L2: math.sqrt(0.5), Norm.LINF: 0.5}[norm]


@pytest.mark.parametrize("norm", Norm)
def test_the_exact_radius_is_approached_and_never_passed(norm: Norm) -> None:
    slack, distance = exact(norm)
    found = raised(sample(diamond(), norm), 0.5 * distance, 8e8)
    r = Fraction(found)
    assert r <= slack if norm is Norm.L1 else r * r * 2 <= slack * slack if norm is Norm.L2 else r * 2 <= slack
    assert found > 0.98 * distance


@pytest.mark.parametrize("norm", Norm)
def test_a_regression_of_one_output_comes_close_to_its_exact_radius(norm: Norm) -> None:
    graph = network([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], [[1.0] * 4], [0.0])
    point, everyone = torch.tensor([POINT], dtype=torch.float64), torch.ones(1, dtype=torch.bool)
    tolerance, known = float(exact(norm)[0]), torch.tensor([0.4], dtype=torch.float64)
    found = local_tolerance_radii(
        graph, NormPair.of(norm), None, point, tolerance, math.inf, known, everyone, math.inf, 1.0
    )
    # from the point to |x_0| + |x_1| = 1, which is `tolerance` more
    assert 0.98 * exact(norm)[1] < float(found.values[0]) <= exact(norm)[1] * (1.0 + 1e-15)


def test_the_same_every_time() -> None:
    graph, _ = mlp(2, 10, 8, 2)
    one = sample(graph, Norm.L2)
    if float(one.margins) < 0:
        one = replace(one, seeds=-one.seeds, margins=-one.margins * (1.0 - 1e-14))
    found = [raised(one, 0.01, 4e8) for _ in range(2)]
    assert found[0] == found[1] > 0.01


def test_without_a_change_of_class_it_ends() -> None:
    nowhere = network([[1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [0.0, 0.0]], [1.0, 0.0])
    found = raised(sample(nowhere, Norm.L2), 0.5, 1e15)
    assert 0.5 < found < math.inf
    domain = Box(torch.full((1, 2), -1.0, dtype=torch.float64), torch.ones(1, 2, dtype=torch.float64))
    inside = raised(sample(nowhere, Norm.LINF, domain), 0.5, 1e15)
    assert 1.125 <= inside < 1.125 * 1.3 * 1.001


def test_what_cannot_be_split_is_left_as_it_is() -> None:
    smooth = diamond(smooth=True)
    assert splits(diamond())
    assert not splits(smooth)
    known, everyone = Grown(torch.tensor([0.125], dtype=torch.float64), 0), torch.ones(1, dtype=torch.bool)

    def never(_: torch.Tensor) -> Sample:
        raise AssertionError("nothing can be split")

    assert further(known, everyone, smooth, never, math.inf, 1.0, None) is known
    nothing = Grown(torch.tensor([0.0, math.inf], dtype=torch.float64), 0)
    assert further(nothing, everyone.expand(2), diamond(), never, math.inf, 1.0, None).raised == 0


def test_a_neuron_without_sides_beside_others_is_not_split() -> None:
    for seed in range(3):
        s = Sketch((2,), seed)
        first = s.dense(0, 3)
        both = s.concat(s.function(first, activations.relu()), s.function(first, activations.sigmoid()))
        graph = s.graph(s.dense(s.function(s.dense(both, 2), activations.relu()), 2))
        one = sample(graph, Norm.LINF)
        one = replace(one, margins=torch.full_like(one.margins, 0.5))
        assert raised(one, 1e-3, 2e9) > 1e-3


def test_no_work_and_a_deadline_that_has_passed_leave_what_was_known() -> None:
    one = sample(diamond(), Norm.L2)
    assert raised(one, 0.125, 0.0) == 0.125
    assert raised(one, 0.125, 2e9, deadline=0.0) == 0.125


@pytest.mark.parametrize("norm", Norm)
def test_nothing_inside_changes_class_in_a_domain(norm: Norm) -> None:
    graph, _ = mlp(6, 14, 10, 3)
    points = torch.rand(2, 6, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    labels = graph.forward(points).argmax(1)
    domain = Box(torch.zeros(1, 6, dtype=torch.float64), torch.ones(1, 6, dtype=torch.float64))
    before, after = (grown_radii(graph, norm, points, labels, domain, seconds) for seconds in (0.0, 1.2))
    assert bool((after >= before).all())
    assert bool((after > before).any())
    classes_hold(graph, Ball(points, after, norm, domain), labels, 0, 200)


def digits(progress: Callable[[str, int, int], None] | None = None) -> tuple[np.ndarray, str, list[str]]:
    with np.load(f"{MODEL}.npz") as file:
        x, y = file["x"][:3], file["y"][:3]
    report = certify(f"{MODEL}.onnx", x, y, SETTINGS, local=True, progress=progress, interruptible=True)
    assert report.radii is not None
    return report.radii.values, report.radii.method, [f.message for f in report.findings if f.code == "LIP401"]


def test_the_digits_are_raised_and_kept_when_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lipaudit.audit.raising.SHARE", 0.01)
    monkeypatch.setattr("lipaudit.audit.squaring.SHARE", 0.0)
    values, method, _ = digits()
    assert "branch and bound" in method

    def after_one_tree(what: str, done: int, total: int) -> None:
        if what == "radii" and total > 2 and done > total / 2:
            raise KeyboardInterrupt

    cut, _, said = digits(after_one_tree)
    assert said == ["not done: the rest of the branch and bound"]
    monkeypatch.setattr("lipaudit.audit.raising.SHARE", 0.0)
    balls, method, _ = digits()
    assert "branch and bound" not in method
    assert (balls <= cut).all()
    assert (cut <= values).all()
    assert balls.sum() < cut.sum()
