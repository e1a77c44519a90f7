"""Mistakes that bounds over regions and radii invite, each planted in the code; a law of the tests must see it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import lipaudit.audit.growing as growing
import lipaudit.audit.squaring as squaring_module
import lipaudit.ranges.ball as ball_module
import lipaudit.ranges.cover as cover_module
import lipaudit.ranges.curved as curved_module
import lipaudit.ranges.hinges as hinges_module
import lipaudit.ranges.lines as lines_module
import lipaudit.ranges.local as local_module
import lipaudit.ranges.near as near_module
import lipaudit.ranges.quadratic as quadratic_module
import lipaudit.ranges.reduced as reduced_module
import lipaudit.ranges.shells as shells_module
from lipaudit.graph.simplify import simplify
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.ranges.ball import Ball
from lipaudit.ranges.constants import Slopes
from lipaudit.ranges.entries import shares
from lipaudit.ranges.local import Neurons
from lipaudit.ranges.near import near
from lipaudit.ranges.reduced import Reduced
from lipaudit.ranges.rows import Weights
from tests.audit.test_growing import a_tie_has_no_radius, never_above_the_exact_radius
from tests.audit.test_squaring import raised_holds
from tests.cases.graphs import family
from tests.engines.test_entrywise import mlp
from tests.laws.hinge_laws import BEFORE, pooled, same_function
from tests.laws.lines_laws import problem_holds
from tests.laws.quadratic_laws import any_multipliers_hold, drawn_holds, indefinite_proves_nothing, suprema_hold
from tests.laws.reduced_laws import rows_hold, rows_hold_exactly
from tests.laws.region_laws import ball_around, classes_hold, grown_radii, ranges_hold, slopes_hold, units, widths_hold
from tests.planted import Law, Plant


def _ball(norm: Norm, radius: float, rows: int = 6) -> Ball:
    centre = torch.randn(rows, 8, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    return Ball(centre, torch.full((rows,), radius, dtype=torch.float64), norm)


def ranges_law(norm: Norm) -> Law:
    """Ranges enclose the values of an MLP over balls, and of images with pooling."""

    def law(_: Path) -> None:
        graph, _weights = mlp(8, 16, 12, 4)
        for radius in (0.02, 0.3, 1.5):
            ranges_hold(near(graph, _ball(norm, radius), Weights()), 0, 300)
        for seed in range(4):
            pooled = simplify(family("images").build(seed))
            ranges_hold(near(pooled, ball_around(pooled, norm, seed), Weights()), seed)

    return law


def slopes_law(norm: Norm) -> Law:
    """No slope met over a ball exceeds its constant."""

    def law(_: Path) -> None:
        graph, _weights = mlp(8, 16, 12, 4)
        for radius in (0.02, 0.3, 1.5):
            region = _ball(norm, radius)
            bounds = Slopes.of(near(graph, region, Weights()), units(graph, len(region))).norms(norm)
            slopes_hold(graph, region, bounds, 0, 200)

    return law


def classes_law(norm: Norm) -> Law:
    """No point found inside a radius has another class."""

    def law(_: Path) -> None:
        for seed in range(3):
            graph, _weights = mlp(8, 16, 4, seed=seed)
            points = _ball(norm, 1.0).centre
            labels = graph.forward(points).argmax(1)
            radii = grown_radii(graph, norm, points, labels, None).clamp(max=1e6)
            classes_hold(graph, Ball(points, radii, norm), labels, 0, 60)

    return law


def exact_law(norm: Norm) -> Law:
    return lambda _: never_above_the_exact_radius(norm, range(12))


def tie_law(_: Path) -> None:
    a_tie_has_no_radius()


def width_law(_: Path) -> None:
    for norm in Norm:
        widths_hold(_ball(norm, 0.7), 0)


Patch = Callable[[pytest.MonkeyPatch], None]


def _smaller_box(patch: pytest.MonkeyPatch) -> None:
    right = Ball.box
    patch.setattr(Ball, "box", lambda self: right(self.sized(self.radius / 2)))


def _fixed_pattern(patch: pytest.MonkeyPatch) -> None:
    """The slopes at the middle of the range are taken for all that are met."""
    right = local_module.between

    def wrong(op: Any, box: Box) -> Any:
        model = right(op, box)
        return replace(model, around=torch.zeros_like(model.around)) if isinstance(model, Neurons) else model

    patch.setattr(near_module, "between", wrong)
    patch.setattr(curved_module, "between", wrong)


def _half_spread(patch: pytest.MonkeyPatch) -> None:
    right = local_module.between

    def wrong(op: Any, box: Box) -> Any:
        model = right(op, box)
        return replace(model, around=model.around / 2) if isinstance(model, Neurons) else model

    patch.setattr(near_module, "between", wrong)
    patch.setattr(curved_module, "between", wrong)


def _no_remainder(patch: pytest.MonkeyPatch) -> None:
    """The relaxation's lines without the room between them."""
    right = local_module.from_centre

    def wrong(op: Any, box: Box, centre: Box) -> Any:
        model = right(op, box, centre)
        if not isinstance(model, Neurons):
            return model
        return replace(model, least=torch.zeros_like(model.least), most=torch.zeros_like(model.most))

    patch.setattr(curved_module, "from_centre", wrong)


def _to_nearest(patch: pytest.MonkeyPatch) -> None:
    """Radii are rounded to the nearest float32."""
    right = shells_module._further
    patch.setattr(shells_module, "_further", lambda r, left, c: right(r, left, c).float().double())


def _wrong_dual(patch: pytest.MonkeyPatch) -> None:
    right = ball_module._dual
    patch.setattr(ball_module, "_dual", lambda rows, norm: right(rows, norm.dual))


def _one_sided_pair(patch: pytest.MonkeyPatch) -> None:
    """The constant of f_y alone divides the margin f_y - f_j: the sqrt(2) of a pair is missing."""
    right = growing._Batch.of

    def wrong(*args: Any) -> Any:
        batch = right(*args)
        return replace(batch, seeds=batch.seeds.clamp(min=0.0))

    patch.setattr(growing._Batch, "of", staticmethod(wrong))


def _ties_count(patch: pytest.MonkeyPatch) -> None:
    right = growing._Batch.of

    def wrong(*args: Any) -> Any:
        batch = right(*args)
        return replace(batch, margins=torch.where(batch.margins > -1e-9, batch.margins.clamp(min=1e-9), batch.margins))

    patch.setattr(growing._Batch, "of", staticmethod(wrong))
    patch.setattr(growing._Batch, "first", lambda self: torch.full((len(self.margins),), 1e-3, dtype=torch.float64))


def _no_deviation(patch: pytest.MonkeyPatch) -> None:
    """D_rv spread Theta spread D_rv' is left out of the ellipsoid."""
    right = cover_module._taken
    patch.setattr(cover_module, "_taken", lambda y, t, inner, error, spread: right(y, t, inner * 0.0, error, spread))


def _whole_shell(patch: pytest.MonkeyPatch) -> None:
    """A failed ball's edge is taken for its radius."""
    right = shells_module._further
    patch.setattr(shells_module, "_further", lambda r, left, c: right(r, left, c) * 1.5)


def pooled_law(_: Path) -> None:
    """No slope of a max pooling met over a ball exceeds its constant."""
    for seed in range(6):
        graph = simplify(family("one-pool").build(seed))
        region = ball_around(graph, Norm.L2, seed)
        bounds = Slopes.of(near(graph, region, Weights()), units(graph, len(region))).norms(Norm.L2)
        slopes_hold(graph, region, bounds, seed, 200)


def _winner_fixed(patch: pytest.MonkeyPatch) -> None:
    right = shares

    def wrong(op: Any, box: Box) -> Any:
        high = right(op, box)[1]
        first = high.argmax(-1, keepdim=True)
        one = torch.zeros_like(high).scatter(-1, first, 1.0)
        return one, one

    patch.setattr(local_module, "shares", wrong)


def reduced_law(_: Path) -> None:
    """The reduced problem is the network, within its slack."""
    rows_hold_exactly(Norm.L2)
    graph, _weights = mlp(8, 16, 12, 4)
    rows_hold(near(graph, _ball(Norm.L2, 0.7), Weights()), 0)


def _no_slack(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reduced_module, "_slack", lambda block, *_: torch.zeros_like(block.error))


def _no_knot(patch: pytest.MonkeyPatch) -> None:
    """A bent neuron's line is held against the ends of its range alone."""
    right = Reduced._bent
    wrong = lambda self, slope, within: right(replace(self, knot=self.range.lower), slope, within)  # noqa: E731
    patch.setattr(Reduced, "_bent", wrong)


def _column_shifted(patch: pytest.MonkeyPatch) -> None:
    """What a row reads of the neurons is given to their neighbours."""
    right = reduced_module._inner
    patch.setattr(reduced_module, "_inner", lambda block, sizes: right(block, sizes).roll(1, 2))


def lines_law(slack: float, *, cut: bool = False) -> Law:
    """Bounds by lines hold for a problem of bent neurons, with errors of a size that matters."""

    def law(_: Path) -> None:
        try:
            problem_holds(mlp(2, 4, 3, 2)[0], Norm.L2, 1.0, slack, 1, cut=cut)
        except ValueError as error:  # a box without points
            raise AssertionError("two ranges of one value contradict each other") from error

    return law


def unread_law(_: Path) -> None:
    """Multipliers of rows that the functionals do not read prove no more than there is."""
    centre = _ball(Norm.L2, 0.7).centre[:3, :4]
    graph, _weights = mlp(4, 8, 2)
    region = Ball(centre, torch.full((3,), 0.7, dtype=torch.float64), Norm.L2)
    problem, asked = near(graph, region, Weights()).reduced(units(graph, 3))
    rows = problem.rows[:, :2]  # F = C_j d, which is not read through the neuron itself
    alone = replace(asked, rows=rows, inner=asked.inner[:, :2] * 0.0, slack=asked.slack[:, :2] * 0.0)
    mu = -torch.eye(problem.slope.shape[1], dtype=torch.float64)[:2].expand(3, -1, -1)
    least = -torch.linalg.vector_norm(rows, dim=2) * 0.7
    assert bool((lines_module.certified(problem, alone, mu) <= least + 1e-9).all())


def _lines_swapped(patch: pytest.MonkeyPatch) -> None:
    """The upper line's intercept where the lower one's is due."""
    right = lines_module._least
    patch.setattr(lines_module, "_least", lambda lam, low, high: right(lam, high, low))


def _no_intercept(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Reduced, "remainders", lambda self, slope, signs=None: (slope * 0.0, slope * 0.0))


def _no_slack_in_lines(patch: pytest.MonkeyPatch) -> None:
    right = lines_module.certified

    def wrong(problem: Any, asked: Any, mu: torch.Tensor, signs: torch.Tensor | None = None) -> torch.Tensor:
        return right(replace(problem, slack=problem.slack * 0.0), asked, mu, signs)

    patch.setattr(lines_module, "certified", wrong)


def _other_side(patch: pytest.MonkeyPatch) -> None:
    """A neuron held to one side of its knot is taken to be on the other."""
    right = Reduced.cut
    patch.setattr(Reduced, "cut", lambda self, signs: right(self, -signs))


def _free_multipliers(patch: pytest.MonkeyPatch) -> None:
    """A multiplier that no neuron's line accounts for costs nothing."""
    patch.setattr(Reduced, "reach", property(lambda self: torch.zeros_like(self.slope)))


def hinges_law(_: Path) -> None:
    """Maxima written as hinges are the same function."""
    for seed in range(12):
        same_function(pooled(seed, BEFORE[3 + seed % 2]), seed)
        same_function(pooled(seed, BEFORE[1]), seed)


def _least_for_largest(patch: pytest.MonkeyPatch) -> None:
    right = hinges_module._larger

    def wrong(nodes: Any, node: Any, pairs: Any, sign: float, value: int, shapes: Any) -> int:
        return right(nodes, node, pairs, -sign, value, shapes)

    patch.setattr(hinges_module, "_larger", wrong)


def _falling_moved(patch: pytest.MonkeyPatch) -> None:
    """Any function is moved behind the maximum that reads it, a falling one too."""
    patch.setattr(hinges_module, "_before", lambda graph, node: getattr(_read(graph, node), "function", None))


def _read(graph: Any, node: Any) -> Any:
    return graph.nodes[node.inputs[0] - 1].op if node.inputs[0] else None


def drawn_law(slack: float, *, bent: bool = True, radius: float = 2.0) -> Law:
    """Quadratic certificates hold for regions drawn at random, with the best multipliers."""

    def law(_: Path) -> None:
        drawn_holds(range(4), slack=slack, bent=bent, radius=radius)

    return law


def suprema_law(_: Path) -> None:
    suprema_hold(range(6))


def indefinite_law(_: Path) -> None:
    indefinite_proves_nothing(range(3))


def multipliers_law(_: Path) -> None:
    any_multipliers_hold(range(4))


def _radius_for_its_square(patch: pytest.MonkeyPatch) -> None:
    right = quadratic_module.certified

    def wrong(region: Any, functional: Any, phi: Any) -> float:
        found: float = right(region, functional, phi) - phi.mu * (region.radius**2 - region.radius)
        return found

    patch.setattr(quadratic_module, "certified", wrong)


def _no_suprema(patch: pytest.MonkeyPatch) -> None:
    """Multipliers are taken to have the signs that they should."""
    patch.setattr(quadratic_module, "suprema", lambda region, phi: 0.0)


def _half_line_forgotten(patch: pytest.MonkeyPatch) -> None:
    """The supremum over the right half-line alone."""
    right = quadratic_module._highest

    def wrong(square: torch.Tensor, line: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
        return torch.where(high <= 0, -torch.inf, right(square, line, low, high))

    patch.setattr(quadratic_module, "_highest", wrong)


def _no_slack_in_suprema(patch: pytest.MonkeyPatch) -> None:
    right = quadratic_module.suprema
    patch.setattr(
        quadratic_module, "suprema", lambda region, phi: right(replace(region, slack=region.slack * 0.0), phi)
    )


def _indefinite_taken(patch: pytest.MonkeyPatch) -> None:
    """Whether the Hessian has a Cholesky factor is not asked."""
    right = quadratic_module._point

    def wrong(region: Any, functional: Any, phi: Any) -> Any:
        point = right(region, functional, phi)
        nowhere = torch.zeros_like(functional.rows), torch.zeros_like(functional.inner)
        return nowhere if point is None else point

    patch.setattr(quadratic_module, "_point", wrong)
    patch.setattr(quadratic_module, "_curvature", lambda *_: 0.0)


def raised_law(_: Path) -> None:
    """No class changes inside a radius raised by quadratic certificates."""
    raised_holds(range(2))


def _unshown_taken(patch: pytest.MonkeyPatch) -> None:
    """Where the search says nothing, the functional is taken to be positive."""
    patch.setattr(squaring_module, "shown", lambda *_: 0.0)


def catalogue() -> list[Plant]:
    """Every mistake with the law that must see it."""
    return [
        Plant("ball larger than the ranges' box", _smaller_box, ranges_law(Norm.LINF)),
        Plant("pattern assumed fixed", _fixed_pattern, slopes_law(Norm.L2)),
        Plant("pattern assumed fixed, linf", _fixed_pattern, slopes_law(Norm.LINF)),
        Plant("half of the slopes' spread", _half_spread, slopes_law(Norm.L1)),
        Plant("no room between the lines", _no_remainder, ranges_law(Norm.LINF)),
        Plant("midpoint rounding", _to_nearest, exact_law(Norm.LINF)),
        Plant("wrong dual norm", _wrong_dual, width_law),
        Plant("sqrt(2) of a pair missing", _one_sided_pair, classes_law(Norm.L2)),
        Plant("tie counted as correct", _ties_count, tie_law),
        Plant("deviations left out of the ellipsoid", _no_deviation, slopes_law(Norm.L2)),
        Plant("radius stretched past the last ball", _whole_shell, exact_law(Norm.L2)),
        Plant("winner of a window assumed fixed", _winner_fixed, pooled_law),
        Plant("slack of the reduced rows dropped", _no_slack, reduced_law),
        Plant("knot of a bent neuron forgotten", _no_knot, reduced_law),
        Plant("lower and upper lines swapped", _lines_swapped, lines_law(0.0)),
        Plant("intercepts of lines forgotten", _no_intercept, lines_law(0.0)),
        Plant("slack of the rows dropped by lines", _no_slack_in_lines, lines_law(0.3)),
        Plant("held to the other side of the knot", _other_side, lines_law(0.0, cut=True)),
        Plant("multipliers of neurons that are not read", _free_multipliers, unread_law),
        Plant("columns of the reduced rows shifted", _column_shifted, reduced_law),
        Plant("the least entry taken for the largest", _least_for_largest, hinges_law),
        Plant("functionals that are not shown taken for shown", _unshown_taken, raised_law),
        Plant("a falling function moved behind a maximum", _falling_moved, hinges_law),
        Plant("radius in place of its square", _radius_for_its_square, drawn_law(0.0)),
        Plant("signs of multipliers believed", _no_suprema, multipliers_law),
        Plant("one half-line forgotten", _half_line_forgotten, suprema_law),
        Plant("slack of the rows dropped by quadratic forms", _no_slack_in_suprema, drawn_law(1.0, radius=0.3)),
        Plant("indefinite form taken for a convex one", _indefinite_taken, indefinite_law),
    ]
