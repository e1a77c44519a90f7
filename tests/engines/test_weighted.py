"""Weighted ellipsoids against every pattern of slopes, in every pair of norms, and mistakes that this must see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from lipaudit.engines import ellipsoid_weights, weighted
from lipaudit.engines.converted import Converted
from lipaudit.engines.ellipsoid import Ellipsoid
from lipaudit.engines.ellipsoid_build import program
from lipaudit.engines.ellipsoid_closed import best_closed
from lipaudit.engines.ellipsoid_program import Linear, Program
from lipaudit.engines.ellipsoid_verify import output_cover
from lipaudit.engines.engine import Declined
from lipaudit.engines.weighted import Weighted, Weights
from lipaudit.graph.problem import Problem
from lipaudit.numerics.norms import Norm, NormPair
from tests.engines.exhaustive import corners, small
from tests.engines.test_ellipsoid import problem_of


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small networks need no long search."""
    monkeypatch.setattr(weighted, "EVALUATIONS", 20)


PAIRS = [NormPair(source, target) for source in Norm for target in Norm if not source is target is Norm.L2]


def operator_norms(matrices: torch.Tensor, pair: NormPair) -> float:
    """The largest ||J||_{p->q}, by every corner of the cube where the norm is met there."""
    if pair.source is Norm.L1:
        return float(torch.linalg.vector_norm(matrices, _order(pair.target), dim=1).max())
    if pair.target is Norm.LINF:
        return float(torch.linalg.vector_norm(matrices, _order(pair.source.dual), dim=2).max())
    if pair.source is Norm.LINF:
        images = matrices @ _signs(matrices.shape[2]).mT
        return float(torch.linalg.vector_norm(images, _order(pair.target), dim=1).max())
    images = matrices.mT @ _signs(matrices.shape[1]).mT  # l2 -> l1: the norm of J'e for signs e
    return float(torch.linalg.vector_norm(images, 2, dim=1).max())


def _order(norm: Norm) -> float:
    return {Norm.L1: 1.0, Norm.L2: 2.0, Norm.LINF: float("inf")}[norm]


def _signs(size: int) -> torch.Tensor:
    return ((torch.arange(2**size)[:, None] >> torch.arange(size)) & 1).to(torch.float64) * 2.0 - 1.0


def ratio(seed: int, pair: NormPair) -> float:
    """truth / bound of one network; 0 where the engine declines, as it may for a transpose with branches."""
    graph = small(seed)
    problem = problem_of(graph, seed) if seed % 4 == 0 else Problem.over(graph, Norm.L2)
    problem = problem.within(pair)
    try:
        bound = Weighted().bound(problem).value
    except Declined:
        assert pair in weighted.TURNED
        assert seed % 3 > 0
        return 0.0
    truth = operator_norms(corners(graph, problem), pair)
    assert truth <= bound * (1 + 1e-12), f"{pair}, seed {seed}: {truth!r} is allowed, {bound!r} is the bound"
    return truth / bound if bound > 0.0 else 1.0


def pair_ratio(seed: int) -> float:
    """The same of the differences of two outputs, in linf; the least."""
    graph = small(seed)
    problem = (problem_of(graph, seed) if seed % 4 == 0 else Problem.over(graph, Norm.L2)).within(Norm.LINF)
    pairs, all_j = Weighted().pairwise(problem), corners(graph, problem)
    worst = 1.0
    for a in range(len(pairs)):
        for b in range(a):
            truth = float((all_j[:, a] - all_j[:, b]).abs().sum(1).max())
            assert truth <= float(pairs[a, b]) * (1 + 1e-12), f"seed {seed}: {truth!r} is allowed, {pairs[a, b]!r} said"
            worst = min(worst, truth / float(pairs[a, b]) if pairs[a, b] > 0 else 1.0)
    return worst


def several(seed: int) -> bool:
    return torch.Size(small(seed).output_shape).numel() > 1


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_no_pattern_exceeds_the_bound(pair: NormPair) -> None:
    found = torch.tensor([r for seed in range(16) if (r := ratio(seed, pair)) > 0.0])
    assert float(found.median()) > (0.6 if pair == NormPair(Norm.L1, Norm.LINF) else 0.85)


def test_no_pattern_exceeds_the_bound_of_a_pair() -> None:
    found = torch.tensor([pair_ratio(seed) for seed in range(24) if several(seed)])
    assert float(found.median()) > 0.85


@pytest.mark.parametrize("seed", range(12))
def test_never_looser_than_the_l2_bound_carried_over(seed: int) -> None:
    graph = small(seed)
    problem = Problem.over(graph, Norm.LINF)
    carried = Converted((Ellipsoid(),)).bound(problem).value
    assert Weighted().bound(problem).value <= carried * (1 + 1e-3)


@pytest.mark.parametrize("seed", range(20))
def test_any_weights_prove(seed: int) -> None:
    """Weights and multipliers of any origin bound what they say: nothing of the search is believed."""
    graph = small(seed)
    problem = Problem.over(graph, Norm.LINF)
    steps = ellipsoid_weights.begins_linear(program(problem.within(Norm.L2)))
    generator = torch.Generator().manual_seed(seed)
    scales = torch.randn(steps.sizes[0], generator=generator, dtype=torch.float64).mul(3.0).exp()
    guesses = best_closed(ellipsoid_weights.weighted(steps, scales)) or [(0.0, {})]
    total, cover = weighted.proven(steps, Weights(scales, guesses[0][1]))
    if cover is None:
        return
    truth = corners(graph, problem).abs().sum(2).amax(0).square()
    said = total * cover.diagonal() * 4.0**steps.exponent
    assert bool((truth <= said * (1 + 1e-12)).all())


@pytest.mark.parametrize("seed", range(0, 30, 3))
def test_the_transpose_is_one(seed: int) -> None:
    """Without slopes between, the transposed program's cover is J'J."""
    from tests.engines.test_ellipsoid import Net

    net = Net(seed, 3)
    net.linear(2, net.linear(4, net.linear(5, 0)))
    graph = net.graph()
    problem = Problem.over(graph, Norm.L2)
    turned = ellipsoid_weights.transposed(program(problem))
    assert turned is not None
    cover = output_cover(turned, {})
    assert cover is not None
    (j,) = corners(graph, problem)
    assert torch.allclose(cover * 4.0**turned.exponent, j.mT @ j, rtol=1e-9, atol=1e-12)


# ------------------------------------------------------------------------------------------------ mistakes


def caught() -> bool:
    """Whether a law fails on three of 12 networks at least, in linf, l1 and for pairs."""
    failures = 0
    for seed in range(12):
        for law in LAWS:
            try:
                law(seed)
            except AssertionError:
                failures += 1
            if failures == 3:
                return True
    return False


LAWS: tuple[Callable[[int], float], ...] = (
    lambda seed: ratio(seed, NormPair.of(Norm.LINF)),
    lambda seed: ratio(3 * seed, NormPair.of(Norm.L1)),  # chains
    lambda seed: pair_ratio(seed) if several(seed) else 1.0,
)


def _no_sum(scales: torch.Tensor) -> float:
    return 1.0


def _unscaled_cover(steps: Program, chosen: Weights) -> tuple[float, torch.Tensor | None]:
    """The cover of the network without weights."""
    guesses = best_closed(steps)
    cover = output_cover(steps, guesses[0][1] if guesses else {})
    least = (chosen.scales / chosen.scales.max()).square()
    return ellipsoid_weights.weight_sum(chosen.scales) * float(least.min()), cover


def _unverified(steps: Program, chosen: Weights) -> tuple[float, torch.Tensor | None]:
    """Weights that the cover was not made with: larger by a fifth than what the sum says."""
    real = ellipsoid_weights.weighted(steps, chosen.scales * 0.8)
    scales = {place: theta * 0.64 * 1.001 for place, theta in chosen.multipliers.items()}
    return ellipsoid_weights.weight_sum(chosen.scales), output_cover(real, scales)


def _untransposed(program: Program) -> Program | None:
    """The program itself, for the transposed one."""
    return program


def _slopes_only(program: Program) -> Program | None:
    """The transpose with its linear steps' columns halved."""
    turned = ellipsoid_weights.transposed(program)
    if turned is None:
        return None
    first = turned.steps[0]
    if isinstance(first, Linear):
        first = replace(first, matrix=first.matrix / 2, majorant=first.majorant / 2)
    return replace(turned, steps=(first, *turned.steps[1:]))


@pytest.mark.parametrize(
    ("name", "planted"),
    [
        ("weight_sum", _no_sum),
        ("proven", _unscaled_cover),
        ("proven", _unverified),
        ("transposed", _untransposed),
        ("transposed", _slopes_only),
    ],
)
def test_a_planted_mistake_is_seen(name: str, planted: Callable[..., object], monkeypatch: pytest.MonkeyPatch) -> None:
    """The sum of the weights forgotten; the diagonal of a cover that was not weighted; weights
    that were not verified; the wrong dual: ||J||_inf for ||J||_1, by the transpose left out or half of it."""
    monkeypatch.setattr(weighted, name, planted)
    assert caught()


def test_a_difference_taken_for_a_sum_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: Y_aa + Y_bb - 2 |Y_ab| for Y_aa + Y_bb - 2 Y_ab."""
    original = weighted.proven

    def wrong(steps: Program, chosen: Weights) -> tuple[float, torch.Tensor | None]:
        total, cover = original(steps, chosen)
        return total, None if cover is None else cover.abs()

    monkeypatch.setattr(weighted, "proven", wrong)
    assert caught()
