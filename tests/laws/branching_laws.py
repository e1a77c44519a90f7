"""Laws of bounds on halves of neurons and of the radii that they prove: functions that raise AssertionError.

The oracle of networks with two inputs is every piece that they have (`polygons`).
"""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import torch
from scipy.optimize import Bounds, LinearConstraint, milp

from lipaudit.audit.raising import Sample, raised
from lipaudit.graph.graph import Graph
from lipaudit.graph.simplify import simplify
from lipaudit.linear.conv import Conv
from lipaudit.linear.dense import Dense
from lipaudit.linear.selection import Selection
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.numerics.rounding import tensor_down
from lipaudit.ops import activations
from lipaudit.ops.affine import Affine
from lipaudit.probes.witness import values_at
from lipaudit.ranges.ball import Ball
from lipaudit.ranges.branching import Effort, positive
from lipaudit.ranges.halves import Halved
from lipaudit.ranges.multipliers import begun, climbed
from lipaudit.ranges.near import near
from lipaudit.ranges.reduced import Asked
from lipaudit.ranges.rows import Weights
from tests.cases.graphs import Sketch
from tests.engines.test_entrywise import mlp
from tests.laws.lines_laws import simulated
from tests.laws.polygons import least_over, matrices, radius_of, rectangle
from tests.laws.region_laws import classes_hold, inside_of, units

HINGES = (
    activations.relu(),
    activations.leaky_relu(0.125),
    activations.leaky_relu(-0.5),
    activations.leaky_relu(2.0),
    activations.absolute(),
)
WORK = 1e9
"""Of a search for a radius: up to twenty trees."""

KINDS = ("chain", "residual", "max", "min", "convolution", "sorted", "equal", "dead", "stable", "three")


def drawn(seed: int, kind: str = "") -> Graph:
    """A network of two inputs and three outputs, of pieces that can be counted but for "sigmoid": what hurts."""
    s = Sketch((2,), seed)
    hinge, kind = HINGES[seed // len(KINDS) % len(HINGES)], kind or KINDS[seed % len(KINDS)]
    match kind:
        case "residual":
            stem = s.function(s.dense(0, 3), hinge)
            x = s.function(s.sum(stem, s.dense(stem, 3)), activations.relu())
        case "max" | "min":
            sign = 1.0 if kind == "max" else -1.0
            x = s.function(s.dense(s.extremum(sign, s.dense(0, 3), s.dense(0, 3)), 3), hinge)
        case "three":
            x = s.function(s.dense(s.extremum(1.0, *(s.dense(0, 2) for _ in range(3))), 2), hinge)
        case "convolution":
            image = s.affine(Selection.reshape((9,), (1, 1, 3, 3)), s.dense(0, 9))
            x = s.function(
                s.affine(Conv(s.normal(1, 1, 2, 2), (1, 1, 3, 3), (1, 1), (1, 1), ((0, 0),) * 2, 1), image), hinge
            )
            x = s.function(s.dense(x, 2), activations.relu())
        case "sorted":
            first = s.dense(0, 4)
            a, b = s.pick(first, s.places(first)[:2]), s.pick(first, s.places(first)[2:])
            x = s.function(s.dense(s.concat(s.extremum(1.0, a, b), s.extremum(-1.0, b, a)), 2), hinge)
        case "sigmoid":  # which has no sides, before and beside hinges
            first = s.dense(0, 3)
            x = s.concat(s.function(first, activations.sigmoid()), s.function(first, hinge))
            x = s.function(s.dense(x, 2), activations.relu())
        case _:
            weight, offset = s.normal(4, 2), s.normal(4) * 0.3
            if kind == "equal":  # and one opposite
                weight[1], offset[1], weight[2], offset[2] = weight[0], offset[0], -weight[0], -offset[0]
            if kind == "dead":
                weight[0], offset[0], offset[1] = 0.0, 0.0, -90.0
            if kind == "stable":
                offset[0], offset[1] = 90.0, 0.0
            x = s.function(s.dense(s.function(s.affine(Dense.plain(weight), 0, offset), hinge), 3), activations.relu())
    return simplify(s.graph(s.dense(x, 3)))


def place(seed: int, norm: Norm, radius: float = 1.0) -> Ball:
    """A ball, cut for every other seed by a domain near to its centre, on one side more than on the other."""
    centre = torch.randn(1, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    domain = Box(centre - torch.tensor([0.1, 0.7]), centre + torch.tensor([0.6, 0.2])) if seed % 2 else None
    return Ball(centre, torch.tensor([radius], dtype=torch.float64), norm, domain)


def around(ball: Ball, size: float) -> np.ndarray:
    """The square around the centre within the domain."""
    low, high = ball.centre - size, ball.centre + size
    if ball.domain is not None:
        low, high = torch.maximum(low, ball.domain.lower), torch.minimum(high, ball.domain.upper)
    return rectangle(low[0].numpy(), high[0].numpy())


def functionals(graph: Graph, ball: Ball, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(rows [1, J, K], lower bounds [J] of their values at the centre): differences of outputs, and others."""
    eye = units(graph, 1)[0].flatten(1)
    some = torch.randn(2, len(eye), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    rows = torch.cat([eye[0] - eye[1:], eye, some])
    box = values_at(graph, ball.centre)
    low, high = box.lower.flatten(), box.upper.flatten()
    least = tensor_down((torch.where(rows > 0, rows * low, rows * high)).sum(1) - 1e-14 * (1.0 + low.abs().amax()))
    return rows.reshape(1, -1, *graph.output_shape), least


def never_above_the_least(seed: int, norm: Norm, radius: float = 1.0) -> None:
    """What is proven, with good multipliers and with any, is at most the least value on the ball."""
    graph, ball = drawn(seed), place(seed, norm, radius)
    seeds, margins = functionals(graph, ball, seed)
    halved = Halved.of(near(graph, ball, Weights()), seeds, margins)
    corners, centre = around(ball, radius), ball.centre[0].numpy()
    found = [least_over(graph, corners, s.flatten().numpy(), centre, radius, norm) for s in seeds[0]]
    exact = torch.tensor(found, dtype=torch.float64)
    most = exact + 1e-9 * (1.0 + exact.abs())
    generator = torch.Generator().manual_seed(seed)
    which = torch.arange(len(margins))
    signs = halved.decided.expand(len(which), -1)
    guess = climbed(halved, which, signs, *begun(halved, len(which)), 8)
    for m in (guess.m, *torch.randn(3, *guess.m.shape, generator=generator, dtype=torch.float64)):
        proven = halved.proven(which, signs, m)
        assert bool((proven <= most).all()), f"{proven.tolist()} is proven, {exact.tolist()} is there"


def halves_hold(seed: int, norm: Norm, slack: float = 0.0) -> None:
    """No value on a part of a ball is below what is proven for it, with errors of rows up to their slack."""
    graph, ball = mlp(2, 5, 4, 2, seed=seed)[0], place(seed, norm, 0.8)
    seeds, margins = functionals(graph, ball, seed)
    halved = Halved.of(near(graph, ball, Weights()), seeds, margins)
    problem, asked = replace(halved.reduced, slack=halved.reduced.slack + slack), halved.asked
    halved = replace(halved, reduced=problem, asked=replace(asked, slack=asked.slack + slack))
    points = inside_of(ball, 600, seed)
    values, v, fine = simulated(problem, halved.asked, points, seed)
    generator, which = torch.Generator().manual_seed(seed), torch.arange(len(margins))
    for pick in range(12):
        some = torch.rand(problem.slope.shape, generator=generator) < 0.5
        signs = torch.where(some & problem.bent, (v[:, pick] - problem.knot).sign(), 0.0)
        side = (v - problem.knot.unsqueeze(1)) * signs.unsqueeze(1)
        there = fine & ((side >= 0) | (signs.unsqueeze(1) == 0)).all(2)
        least = margins + torch.where(there.unsqueeze(2), values, torch.inf).amin(1)[0]
        held = signs.expand(len(which), -1)
        guess = climbed(halved, which, held, *begun(halved, len(which)), 10)
        for m in (guess.m, guess.m * 1.5, torch.randn(guess.m.shape, generator=generator, dtype=torch.float64)):
            found = halved.proven(which, held, m)
            assert bool((found <= least + 1e-10 * (1.0 + values.abs().amax())).all())


def rows_of_neurons_hold(seed: int, norm: Norm) -> None:
    """What is proven of a neuron's own input, with any share of its own multiplier and of others', is at most met."""
    graph, ball = mlp(2, 5, 4, 2, seed=seed)[0], place(seed, norm, 0.8)
    halved = Halved.of(near(graph, ball, Weights()), *functionals(graph, ball, seed))
    r, count = halved.reduced, len(halved.bent)
    points = inside_of(ball, 400, seed)
    _, v, _ = simulated(r, halved.asked, points, seed)
    moved = (v - (r.centre.lower + r.centre.upper) / 2)[0]
    least = torch.cat([moved, -moved], 1).amin(0)
    own = Asked(*(torch.cat(pair, 1) for pair in ((r.rows, -r.rows), (r.inner, -r.inner), (r.slack, r.slack))))
    about = Halved(r, own, torch.zeros(2 * count, dtype=torch.float64))
    which, eye = torch.arange(2 * count), torch.eye(count, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    for share in (-1.0, -0.3, 0.5, 1.0, 1.5):
        others = torch.randn(2 * count, count, generator=generator, dtype=torch.float64)
        for more in (0.0, 0.3):
            m = share * torch.cat([eye, -eye]) + more * others
            found = about.proven(which, torch.zeros_like(m), m)
            assert bool((found <= least + 1e-10).all()), f"{found.tolist()} is proven, {least.tolist()} is met"


def rounded_outward(seed: int, norm: Norm) -> None:
    """What is proven is at most the same sum in rational numbers, for any multipliers (l1 and linf, no domain).

    Of functionals that their multipliers cancel but for rounding, and of large margins: elsewhere the room that the
    widths of the ball leave hides what is rounded.
    """
    graph, ball = mlp(2, 4, 3, 2, seed=seed)[0], Ball(place(seed, norm).centre, torch.ones(1).double(), norm)
    halved = Halved.of(near(graph, ball, Weights()), *functionals(graph, ball, seed))
    r, count, number = halved.reduced, len(halved.bent), 12
    # values at the centre to the last bit, no slack, and a ball beside which the ranges are small: all hide it too
    middle, larger = (r.centre.lower + r.centre.upper) / 2, ball.sized(ball.radius * 1024.0)
    r = replace(r, ball=larger, box=larger.box(), centre=Box.point(middle), slack=r.slack * 0.0)
    generator = torch.Generator().manual_seed(seed)
    m = torch.randn(number, count, generator=generator, dtype=torch.float64)
    asked = Asked((m @ r.rows[0])[None], (m @ r.inner[0])[None], torch.zeros(1, number, dtype=torch.float64))
    margins = torch.rand(number, generator=generator, dtype=torch.float64) * 1e3 * (torch.arange(number) % 2)
    halved, which, signs = Halved(r, asked, margins), torch.arange(number), torch.zeros_like(m)
    assert bool(halved.bent.all())

    def exact(x: torch.Tensor) -> list[Fraction]:
        return [Fraction(v) for v in x.reshape(-1).tolist()]

    rows, inner = ([exact(row) for row in x[0]] for x in (r.rows, r.inner))
    ends = [exact(x) for x in (r.range.lower, r.range.upper, r.centre.lower, r.centre.upper)]
    knot, left, right, k = (exact(x) for x in (r.knot, r.left, r.right, r.slope))
    # the ball is the one in real numbers; only its box is rounded
    for j, found in enumerate(halved.proven(which, signs, m).tolist()):
        own, total = exact(m[j]), Fraction(float(margins[j]))
        g, h = exact(halved.asked.rows[0, j]), exact(halved.asked.inner[0, j])
        for i, row in enumerate(rows):
            g = [a - own[i] * b for a, b in zip(g, row, strict=True)]
            h = [a - own[i] * b for a, b in zip(h, inner[i], strict=True)]
        total -= 1024 * (sum(map(abs, g)) if norm is Norm.LINF else max(map(abs, g)))
        for i in range(count):

            def bracket(t: Fraction, i: int = i, n: Fraction = h[i], mine: Fraction = own[i]) -> Fraction:
                u = t - knot[i]
                return n * ((left[i] if u < 0 else right[i]) - k[i]) * u + mine * u

            at = [ends[0][i], ends[1][i], *([knot[i]] if ends[0][i] < knot[i] < ends[1][i] else [])]
            total += min(map(bracket, at)) - max(bracket(ends[2][i]), bracket(ends[3][i]))
        assert Fraction(found) <= total, f"{found!r} is above {float(total)!r}"


def sample_of(graph: Graph, ball: Ball) -> Sample:
    """The ball's centre with its class's functionals."""
    own = int(graph.forward(ball.centre).argmax())
    eye = units(graph, 1)[0].flatten(1)
    others = [j for j in range(len(eye)) if j != own]
    box = values_at(graph, ball.centre)
    margins = tensor_down(box.lower.flatten()[own] - box.upper.flatten()[others])
    seeds = (eye[own] - eye[others]).reshape(1, -1, *graph.output_shape)
    return Sample(graph, ball.norm, ball.domain, ball.centre, seeds, margins, Weights())


def sample(seed: int, norm: Norm) -> tuple[Sample, float]:
    """(a sample, its exact radius; inf where nothing near it changes the class)."""
    graph, ball, size = drawn(seed), place(seed, norm), 4.0
    known = sample_of(graph, ball)
    rows = known.seeds[0].flatten(1).numpy()
    exact = radius_of(graph, around(ball, size), rows, ball.centre[0].numpy(), norm)
    return known, exact if exact < size else math.inf


def reachable(known: Sample, seed: int) -> bool:
    """Whether the bound on a part without open neurons is exact: not where three compete, nor where a domain cuts a
    ball whose widths (`Ball.widths`) are only bounds then."""
    return KINDS[seed % len(KINDS)] != "three" and (known.domain is None or known.norm is Norm.LINF)


def decided_on_both_sides(seed: int, norm: Norm, share: float = 1e-3, work: float = 1e9) -> bool:
    """A ball within the exact radius is proven, one that is not within it is not. Whether there was one."""
    known, exact = sample(seed, norm)
    if math.isinf(exact) or exact == 0.0:
        return False
    for size in (1.0 + 1e-9, 1.0 + share):
        for spent in (0.0, work):
            assert not known.stays(exact * size, Effort(spent))[0], f"{exact!r} is exact, and {size!r} of it is proven"
    if reachable(known, seed):
        assert known.stays(exact * (1.0 - share), Effort(work))[0], (
            f"{exact!r} is exact, {1 - share} of it is not proven"
        )
    return True


def raised_to_the_exact_radius(seed: int, norm: Norm, start: float = 0.5, close: float = 0.98) -> bool:
    """A raised radius is at most the exact one, and near it. Whether there was one."""
    known, exact = sample(seed, norm)
    if math.isinf(exact) or exact == 0.0:
        return False
    radius = raised(known, start * exact, WORK)
    assert radius <= exact * (1.0 + 1e-9), f"{radius!r} is above {exact!r}"
    if reachable(known, seed):
        assert radius >= close * exact, f"{radius!r} is far below {exact!r}"
    return True


def least_by_program(
    layers: list[list[np.ndarray]], seed: np.ndarray, centre: np.ndarray, radius: float, norm: Norm
) -> float:
    """The least of seed . f on a ball (l1 or linf), f a chain of (matrix, offset) and ReLUs, by HiGHS.

    Variables: the step, up and down; by neuron its two parts v = p - q, of which a binary leaves one.
    """
    n, hidden = len(centre), [len(offset) for _, offset in layers[:-1]]
    parts = 2 * sum(hidden)
    width = 2 * n + parts + sum(hidden)
    top = np.full(width, np.inf)
    top[: 2 * n], top[2 * n + parts :] = radius, 1.0
    rows, low, high, reach = list[np.ndarray](), list[float](), list[float](), np.abs(centre) + radius
    before, at = np.zeros((n, width)), centre
    before[:, :n], before[:, n : 2 * n] = np.eye(n), -np.eye(n)
    place, switch = 2 * n, 2 * n + parts
    for weight, offset in layers[:-1]:
        reach = np.abs(weight) @ reach + np.abs(offset)
        value, start = weight @ before, weight @ at + offset
        for j, most in enumerate(reach):
            own = value[j].copy()
            own[place + j] -= 1.0
            own[place + len(weight) + j] += 1.0
            rows, low, high = [*rows, own], [*low, -start[j]], [*high, -start[j]]
            for part, sign, room in ((place + j, -most, 0.0), (place + len(weight) + j, most, most)):
                row = np.zeros(width)
                row[part], row[switch + j] = 1.0, sign
                rows, low, high = [*rows, row], [*low, -np.inf], [*high, room]
        before, at = np.zeros((len(weight), width)), np.zeros(len(weight))
        before[:, place : place + len(weight)] = np.eye(len(weight))
        place, switch = place + 2 * len(weight), switch + len(weight)
    if norm is Norm.L1:
        rows, low, high = [*rows, np.append(np.ones(2 * n), np.zeros(width - 2 * n))], [*low, -np.inf], [*high, radius]
    whole = np.append(np.zeros(2 * n + parts), np.ones(width - 2 * n - parts))
    answer = milp(
        seed @ layers[-1][0] @ before,
        constraints=LinearConstraint(np.array(rows), low, high),
        bounds=Bounds(0.0, top),
        integrality=whole.astype(np.int64),
        options={"mip_rel_gap": 0.0},
    )
    assert answer.x is not None
    return float(answer.fun) + float(seed @ (layers[-1][0] @ at + layers[-1][1]))


def decided_on_both_sides_of_the_least(seed: int, norm: Norm) -> None:
    """A functional whose least value on a ball is above 0 is proven to be positive; a little below, it is not."""
    graph = mlp(4, 6, 5, 3, seed=seed)[0]
    centre = torch.randn(1, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    ball = Ball(centre, torch.tensor([0.7], dtype=torch.float64), norm)
    rows = torch.tensor([[1.0, -1.0, 0.0]], dtype=torch.float64)
    layers = [matrices(node.op) for node in graph.nodes if isinstance(node.op, Affine)]
    least = least_by_program(layers, rows[0].numpy(), centre[0].numpy(), 0.7, norm)
    fall = least - float(graph.forward(centre)[0] @ rows[0])
    problem, asked = near(graph, ball, Weights()).reduced(rows.reshape(1, 1, 3))
    for share in (0.05, -1e-7):  # what is left of the ascent where nothing is left to split is a few hundredths at most
        margins = torch.tensor([share * abs(fall) - fall], dtype=torch.float64)
        found = positive(Halved(problem, asked, margins), unmet, Effort(2e9))
        assert found.proven == (share > 0), f"the least is {share} of the fall: {found.proven}"


def unmet(which: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    """No point is against anything: the bounds alone decide."""
    return torch.ones(len(which), dtype=torch.float64)


def never_closed_without_a_number(seed: int, norm: Norm) -> None:
    """Margins, multipliers and rows that are no numbers, or infinite, prove nothing."""
    graph, ball = drawn(seed), place(seed, norm)
    seeds, margins = functionals(graph, ball, seed)
    halved = Halved.of(near(graph, ball, Weights()), seeds, margins.abs() + 100.0)
    which = torch.arange(len(margins))
    signs = torch.zeros(len(which), len(halved.bent), dtype=torch.float64)
    m = torch.zeros_like(signs)
    assert bool((halved.proven(which, signs, m) > 0).all())
    for wrong in (math.nan, math.inf, -math.inf):
        worse = torch.full_like(margins, wrong)
        assert not bool((replace(halved, margins=worse).proven(which, signs, m) > 0).any())
        assert not positive(replace(halved, margins=worse), unmet, Effort(2e8)).proven
        if bool(halved.bent.any()):
            assert not bool((halved.proven(which, signs, torch.full_like(m, wrong)) > 0).any())
        asked = replace(halved.asked, rows=torch.full_like(halved.asked.rows, wrong))
        assert not bool((replace(halved, asked=asked).proven(which, signs, m) > 0).any())


def bent_neurons_among_others_hold(seed: int, norm: Norm) -> None:
    """Of a network with sigmoids no value met is below what is proven, and no class changes inside a radius."""
    graph, ball = drawn(seed, "sigmoid"), place(seed, norm, 0.7)
    seeds, margins = functionals(graph, ball, seed)
    halved = Halved.of(near(graph, ball, Weights()), seeds, margins)
    assert bool(halved.bent.any())
    assert not bool(halved.bent.all())
    points = inside_of(ball, 400, seed)[0]
    met = (graph.forward(points).flatten(1) @ seeds[0].flatten(1).T).amin(0)
    which = torch.arange(len(margins))
    signs = halved.decided.expand(len(which), -1)
    guess = climbed(halved, which, signs, *begun(halved, len(which)), 8)
    for m in (guess.m, torch.randn(guess.m.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)):
        assert bool((halved.proven(which, signs, m) <= met + 1e-9 * (1.0 + met.abs())).all())
    # a little below the least that is met, so that neurons are split until none of them loses anything
    level = Halved(halved.reduced, halved.asked, margins - met - 1e-6)
    assert not positive(level, unmet, Effort(1e9)).proven
    known = sample_of(graph, ball)
    labels = graph.forward(ball.centre).argmax(1)
    radii = [r for r in (0.02, 0.1, 0.3) if known.stays(r, Effort(1e9))[0]]
    for radius in radii[-1:]:
        classes_hold(graph, ball.sized(torch.tensor([radius], dtype=torch.float64)), labels, seed, 100)
