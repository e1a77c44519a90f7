"""A graph as a program of scaled linear, slope and gain steps."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from lipaudit.engines.ellipsoid_program import Gain, Linear, Program, Slope, Step
from lipaudit.engines.engine import Declined
from lipaudit.graph.graph import Node
from lipaudit.graph.problem import Problem
from lipaudit.linear.map import LinearMap
from lipaudit.linear.norms.entries import underflow_of_copy
from lipaudit.linear.norms.sums import unscaled
from lipaudit.numerics.rounding import TINY, add_up, difference_up, gamma
from lipaudit.ops.affine import Affine
from lipaudit.ops.elementwise import Elementwise
from lipaudit.ops.maxlike import PointwiseMax, SortPair

ENTRIES = 2**25
"""Most entries of one dense matrix."""

NEURONS = 16000
"""Most neurons in all."""

SIDE = 4096
"""Most entries of all values alive at once: what a step works on is a matrix of this side."""


def program(problem: Problem) -> Program:
    """The problem's graph as a program. Raises Declined where a slope or gain is infinite, or a matrix too large."""
    graph, builder = problem.graph, _Builder(int(torch.Size(problem.graph.input_shape).numel()))
    named = {0: 0}
    first = [
        place
        for place, node in enumerate(graph.nodes, start=1)
        if isinstance(node.op, Affine) and set(node.inputs) == {0}
    ]
    if first:
        ops = [graph.nodes[place - 1].op for place in first]
        rows = [[(0, part) for part in op.maps] for op in ops if isinstance(op, Affine)]
        named.update(zip(first, builder.linear(rows), strict=True))
    for place, node in enumerate(graph.nodes, start=1):
        if place not in named:
            named[place] = _node(builder, problem, node, [named[i] for i in node.inputs])
    return builder.finish(named[graph.output])


def _node(builder: _Builder, problem: Problem, node: Node, args: list[int]) -> int:
    match node.op:
        case Affine() as op:
            return builder.linear([list(zip(args, op.maps, strict=True))])[0]
        case Elementwise() as op:
            slopes = op.slopes(problem.arguments(node)[0])
            low, high = slopes.lower.flatten(1).amin(0), slopes.upper.flatten(1).amax(0)
            if not bool((low.isfinite() & high.isfinite()).all()):
                raise Declined(op.caveat(*problem.arguments(node)) or f"the slope of {node.name} is unbounded")
            return builder.slope(args[0], low, high)
        case SortPair() as op:
            return builder.pair(args[0], [0.5, -0.5])
        case PointwiseMax() as op if op.arity == 2:
            return builder.pair(args[0], [math.copysign(0.5, op.sign)])
        case _:
            factor = problem.gains(node)[1].value
            if not math.isfinite(factor):
                reason = node.op.caveat(*problem.arguments(node))
                raise Declined(reason or f"the gain of {node.name} ({node.kind}) is infinite")
            return builder.gain(args, factor, int(torch.Size(node.op.out_shape).numel()))


class _Builder:
    """Collects steps and the sizes and exponents of their values."""

    def __init__(self, size: int) -> None:
        self.steps: list[Step] = []
        self.sizes, self.exponents = [size], [0]
        self.entries = 0

    def value(self, size: int, exponent: int) -> int:
        self.sizes.append(size)
        self.exponents.append(exponent)
        return len(self.sizes) - 1

    def linear(self, rows: list[list[tuple[int, LinearMap]]]) -> list[int]:
        """One target for each row; a row lists its (source, map); all rows share their sources."""
        sources = tuple(dict.fromkeys(source for row in rows for source, _ in row))
        parts = [part for row in rows for _, part in row]
        self.room(sum(row[0][1].out_size for row in rows), sum(self.sizes[s] for s in sources))
        dense = [[(source, part.as_matrix(), part.majorant().as_matrix()) for source, part in row] for row in rows]
        roundings = max(part.roundings for part in parts) + len(sources) + max(map(len, rows))
        loss = add_up(*(underflow_of_copy(part) for part in parts))
        return self.dense(sources, dense, gamma(3 * roundings + 8) if any(p.roundings for p in parts) else 0.0, loss)

    def dense(
        self,
        sources: tuple[int, ...],
        rows: list[list[tuple[int, torch.Tensor, torch.Tensor]]],
        eta: float,
        loss: float,
    ) -> list[int]:
        """The same from matrices and their majorants."""
        targets, matrices, majorants, losses = [], [], [], [0.0]
        for row in rows:
            size = len(row[0][1])
            reach = [self.exponents[s] + exponent for s, m, _ in row if (exponent := _exponent(m)) is not None]
            e = max(reach, default=0)
            blocks = {s: (torch.zeros(size, self.sizes[s], dtype=torch.float64),) * 2 for s in sources}
            for s, m, majorant in row:
                if not bool(majorant.any()):
                    continue
                shift = self.exponents[s] - e
                matrix, above = blocks[s]
                blocks[s] = (matrix + _scaled(m, shift), above + _scaled(majorant, shift))
                losses += [unscaled(loss, max(shift, -1500)), 16.0 * TINY]
            matrices.append(torch.cat([blocks[s][0] for s in sources], 1))
            majorants.append(torch.cat([blocks[s][1] for s in sources], 1))
            targets.append(self.value(size, e))
        matrix, majorant = torch.cat(matrices), torch.cat(majorants)
        if any(len({s for s, _, _ in row}) < len(row) for row in rows):
            eta = max(eta, gamma(8 + max(map(len, rows))))  # two maps of one source were added up
        if not bool((matrix.isfinite() & majorant.isfinite()).all()):
            raise Declined("a linear map overflows when it is written out as a matrix")
        majorant = torch.maximum(majorant, matrix.abs())
        self.steps.append(Linear(sources, tuple(targets), matrix, majorant, eta, add_up(*losses)))
        return targets

    def slope(self, source: int, low: torch.Tensor, high: torch.Tensor) -> int:
        centre = low / 2 + high / 2
        radius = torch.maximum(difference_up(high, centre), difference_up(centre, low))
        exponent = math.frexp(float((centre.abs() + radius).max()))[1] if len(low) else 0
        shift = max(0, exponent - 1)  # slopes up to 1 keep the scale
        target = self.value(self.sizes[source], self.exponents[source] + shift)
        scale = 2.0**-shift
        if shift:  # what scaling takes from numbers near the end of the range
            lost = (torch.minimum(centre.abs(), radius) < 2.0**-900) & ((centre != 0) | (radius != 0))
            radius = torch.where(lost, torch.nextafter(radius + 2.0**-890, radius + 1.0), radius)
        self.steps.append(Slope(source, target, centre * scale, radius * scale))
        return target

    def pair(self, source: int, weights: list[float]) -> int:
        """(a + b) / 2 + w |a - b| for each weight w, of (a, b) = source: max and min. |.| has slopes in [-1, 1].

        max(a, b) = (a + b + |a - b|) / 2, min(a, b) = (a + b - |a - b|) / 2: exactly, with weights 1 and 1/2.
        """
        size = self.sizes[source] // 2
        eye = torch.eye(size, dtype=torch.float64)
        turn = torch.cat([torch.cat([eye, eye], 1), torch.cat([eye, -eye], 1)])
        (turned,) = self.dense((source,), [[(source, turn, turn.abs())]], 0.0, 0.0)
        one = torch.ones(size, dtype=torch.float64)
        bent = self.slope(turned, torch.cat([one, -one]), torch.ones(2 * size, dtype=torch.float64))
        back = torch.cat([torch.cat([0.5 * eye, w * eye], 1) for w in weights])
        return self.dense((bent,), [[(bent, back, back.abs())]], 0.0, 0.0)[0]

    def gain(self, args: list[int], factor: float, size: int) -> int:
        if len(args) > 1:  # one vector of all arguments, in one scale
            total, start, row = sum(self.sizes[a] for a in args), 0, []
            self.room(total, total)
            for a in args:
                pick = torch.zeros(total, self.sizes[a], dtype=torch.float64)
                pick[start : start + self.sizes[a]] = torch.eye(self.sizes[a], dtype=torch.float64)
                start += self.sizes[a]
                row.append((a, pick, pick))
            args = self.dense(tuple(dict.fromkeys(args)), [row], 0.0, 0.0)
        mantissa, exponent = math.frexp(factor)
        target = self.value(size, self.exponents[args[0]] + (exponent if factor else 0))
        self.steps.append(Gain(args[0], target, mantissa))
        return target

    def room(self, rows: int, columns: int) -> None:
        """Raises Declined where one matrix, or all of them, would be too large."""
        self.entries += rows * columns
        if rows * columns > ENTRIES or self.entries > 4 * ENTRIES:
            raise Declined(
                f"a linear map of {rows} x {columns} entries is too large to write out as a matrix (limit {ENTRIES}); "
                "the other methods bound it without"
            )

    def finish(self, output: int) -> Program:
        last = {source: place for place, step in enumerate(self.steps) for source in step.sources}
        last[output] = len(self.steps)
        neurons = sum(self.sizes[step.target] for step in self.steps if not isinstance(step, Linear))
        if neurons > NEURONS:
            raise Declined(f"{neurons} neurons are more than the {NEURONS} that are joined in one ellipsoid")
        alive: tuple[int, ...] = (0,)
        steps: list[Step] = []
        for place, step in enumerate(self.steps):
            kept = tuple(v for v in alive if last.get(v, -1) > place)
            alive = (*kept, *(t for t in step.targets if last.get(t, -1) > place))
            side = sum(self.sizes[v] for v in {*kept, *step.targets})
            if side > SIDE:
                raise Declined(f"{side} values are alive at once, more than the {SIDE} of one ellipsoid")
            steps.append(replace(step, kept=kept))
        if not isinstance(steps[0] if steps else None, Linear) and self.sizes[0] > SIDE:
            raise Declined(f"{self.sizes[0]} inputs are more than the {SIDE} of one ellipsoid")
        return Program(tuple(steps), tuple(self.sizes), output, self.exponents[output], tuple(self.exponents))


def _exponent(matrix: torch.Tensor) -> int | None:
    """e with ||matrix||_2 about 2^e at most, None for a zero one: a scale, nothing that is proven."""
    peak = float(matrix.abs().max()) if matrix.numel() else 0.0
    if not 0.0 < peak < math.inf:
        return None
    e = math.frexp(peak)[1]
    m = _scaled(matrix, -e).abs()
    return e + math.frexp(math.sqrt(float(m.sum(0).max()) * float(m.sum(1).max())))[1]


def _scaled(x: torch.Tensor, exponent: int) -> torch.Tensor:
    """x 2^exponent, exact but for entries that leave the normal range (off by 2 TINY at most)."""
    if exponent == 0:
        return x
    half = exponent // 2
    return x * 2.0 ** max(half, -1022) * 2.0 ** max(exponent - half, -1022)
