"""Laws of the reduced problem of a region: functions that raise AssertionError."""

from __future__ import annotations

from fractions import Fraction

import torch

from lipaudit.graph.graph import fold
from lipaudit.numerics.norms import Norm
from lipaudit.ops.affine import Affine
from lipaudit.ranges.ball import Ball
from lipaudit.ranges.local import Winners
from lipaudit.ranges.near import Near, near
from lipaudit.ranges.reduced import Asked, Reduced
from lipaudit.ranges.rows import Weights
from lipaudit.ranges.swaps import Swaps
from tests.engines.test_entrywise import mlp
from tests.laws.region_laws import inside_of, units


def rows_hold(around: Near, seed: int, count: int = 60) -> None:
    """At points of every region the neurons' rows, ranges and remainders, and the functionals', are the network's.

    Of a network of elementwise nodes, sorted pairs, and maxima that two entries alone can win; of another nothing is
    looked at.
    """
    graph, joined = around.graph, around.joined
    problem, asked = around.reduced(units(graph, len(around.ball)))
    models = [around.secants[place] for place in joined.places]
    maxima = [isinstance(model, Winners) for model in models]
    for columns, is_max in zip(problem.columns, maxima, strict=True):
        if is_max and not bool((problem.bent | ~problem.held)[:, columns].all()):
            return
    points = inside_of(around.ball, count, seed)
    values = fold(graph, points.flatten(0, 1), lambda node, args: node.op.forward(*args))
    own = fold(graph, around.ball.centre, lambda node, args: node.op.forward(*args))

    def moved(value: int) -> torch.Tensor:
        return values[value].reshape(len(points), count, -1) - own[value].flatten(1).unsqueeze(1)

    size = sum(problem.sizes)
    v, rise, w = (torch.zeros(len(points), count, size, dtype=torch.float64) for _ in range(3))
    for place, which, columns in zip(joined.places, joined.which, problem.columns, strict=True):
        model = around.secants[place]
        if isinstance(model, Winners | Swaps):
            sign = model.sign if isinstance(model, Winners) else 1.0
            rows, node = model.inputs(which).flatten(2), graph.nodes[place - 1].inputs[0]
            there, here = (values[node].reshape(len(points), count, -1), own[node].flatten(1).unsqueeze(1))
            v[..., columns], rise[..., columns] = there @ rows.mT, (there - here) @ rows.mT
            bend = (sign * v).clamp(min=0.0) - (sign * (v - rise)).clamp(min=0.0)
            w[..., columns] = (sign * bend - problem.slope.unsqueeze(1) * rise)[..., columns]
            continue
        index, read = which.unsqueeze(1).expand(-1, count, -1), graph.nodes[place - 1].inputs[0]
        v[..., columns] = values[read].reshape(len(points), count, -1).gather(2, index)
        rise[..., columns] = moved(read).gather(2, index)
        w[..., columns] = moved(place).gather(2, index) - problem.slope[:, None, columns] * rise[..., columns]
    held = problem.held.unsqueeze(1).expand_as(v)
    v, rise, w = (torch.where(held, x, 0.0) for x in (v, rise, w))
    step = (points - around.ball.centre.unsqueeze(1)).flatten(2)
    room = 1e-10 * (1.0 + v.abs() + rise.abs() + w.abs().sum(2, keepdim=True))
    assert bool(((step @ problem.rows.mT + w @ problem.inner.mT - rise).abs() <= problem.slack[:, None] + room).all())
    assert bool(((v >= problem.range.lower[:, None] - room) & (v <= problem.range.upper[:, None] + room)).all())
    assert bool(((w >= problem.low[:, None] - room) & (w <= problem.high[:, None] + room)).all())
    assert bool((w.abs() <= problem.spread[:, None] * rise.abs() + room).all())
    assert bool((rise.abs() <= problem.reach[:, None] + room).all())
    signs = torch.where(problem.bent.unsqueeze(1), (v - problem.knot.unsqueeze(1)).sign(), 0.0)
    slopes = torch.randn(v.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    for number in range(0, count, 7):
        for cut in (None, signs[:, number]):
            low, high = problem.remainders(slopes[:, :1], cut)
            bent = w[:, number] - (slopes[:, 0] - problem.slope) * rise[:, number]
            assert bool(((bent >= low[:, 0] - room[:, number]) & (bent <= high[:, 0] + room[:, number])).all())
    out = moved(graph.output)
    found = step @ asked.rows.mT + w @ asked.inner.mT
    assert bool(((found - out).abs() <= asked.slack[:, None] + 1e-9 * (1.0 + out.abs().amax())).all())


def rows_hold_exactly(norm: Norm) -> None:
    """In rational arithmetic, without any room, on ReLU networks."""
    graph, weights = mlp(3, 7, 6, 2, seed=3)
    ops = [node.op for node in graph.nodes if isinstance(node.op, Affine)]
    offsets = [op.forward(torch.zeros(1, *op.in_shapes[0]).double()) for op in ops]
    exact = [([_exact(row) for row in torch.tensor(w)], _exact(o)) for w, o in zip(weights, offsets, strict=True)]
    centre = torch.randn(2, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    region = Ball(centre, torch.full((2,), 0.7, dtype=torch.float64), norm)
    around = near(graph, region, Weights())
    problem, asked = around.reduced(units(graph, 2))
    points = inside_of(region, 12, 0)
    for b in range(2):
        own = _run(exact, _exact(centre[b]))
        for x in points[b]:
            there = _run(exact, _exact(x))
            step = [p - q for p, q in zip(_exact(x), _exact(centre[b]), strict=True)]
            rises, ws = list[Fraction](), list[Fraction]()
            for number, (which, columns) in enumerate(zip(around.joined.which, problem.columns, strict=True)):
                for j, k, held in zip(
                    which[b].tolist(), _exact(problem.slope[b, columns]), problem.held[b, columns].tolist(), strict=True
                ):
                    rise = there[number][j] - own[number][j]
                    bend = max(there[number][j], Fraction(0)) - max(own[number][j], Fraction(0)) - k * rise
                    rises.append(rise if held else Fraction(0))
                    ws.append(bend if held else Fraction(0))
            out = [p - q for p, q in zip(there[-1], own[-1], strict=True)]
            _rows_are(problem, b, step, ws, rises)
            _rows_are(asked, b, step, ws, out)


def _rows_are(of: Reduced | Asked, b: int, step: list[Fraction], ws: list[Fraction], meant: list[Fraction]) -> None:
    for c, d, slack, rise in zip(of.rows[b], of.inner[b], _exact(of.slack[b]), meant, strict=True):
        assert abs(_dot(_exact(c), step) + _dot(_exact(d), ws) - rise) <= slack


def _run(layers: list[tuple[list[list[Fraction]], list[Fraction]]], x: list[Fraction]) -> list[list[Fraction]]:
    """The values before every ReLU, and the output."""
    found = list[list[Fraction]]()
    for matrix, offset in layers:
        x = [_dot(row, x) + o for row, o in zip(matrix, offset, strict=True)]
        found.append(x)
        x = [max(v, Fraction(0)) for v in x]
    return found


def _dot(a: list[Fraction], b: list[Fraction]) -> Fraction:
    return sum((p * q for p, q in zip(a, b, strict=True)), Fraction(0))


def _exact(x: torch.Tensor) -> list[Fraction]:
    return [Fraction(v) for v in x.reshape(-1).tolist()]
