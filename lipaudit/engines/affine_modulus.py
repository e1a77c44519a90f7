"""The affine modulus: |f(x) - f(y)| <= slope |x - y| + jump, composed over a graph whose ops may jump."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

from lipaudit.graph.graph import Node, fold
from lipaudit.graph.problem import Problem
from lipaudit.numerics.bound import ONE, ZERO, UpperBound
from lipaudit.numerics.box import Box
from lipaudit.numerics.rounding import add_up, mul_up
from lipaudit.ops.jumping import Jumping, length, spread


@final
@dataclass(frozen=True, slots=True)
class Modulus:
    """|v(x) - v(y)| <= slope |x - y| + jump for a value v, over the region."""

    slope: UpperBound
    jump: UpperBound

    @property
    def finite(self) -> bool:
        return self.slope.finite and self.jump.finite


def moduli(problem: Problem) -> list[Modulus]:
    """The modulus of every value of the graph with respect to the input.

    Sound: for v = g(u_1..u_k) with |dv| <= sum g_i |du_i| + j and |du_i| <= L_i |dx| + d_i, |dv| <= (sum g_i L_i) |dx|
    + sum g_i d_i + j. With the gain g in all arguments together, the vector of |du_i| has at most the norm
    |L| |dx| + |d|. And (0, w) holds for a value whose range has widths of the norm w. One of these is taken whole: the
    slope of one with the jump of another would prove nothing.
    """
    places = iter(range(1, len(problem.graph.nodes) + 1))
    start = Modulus(ONE, ZERO)
    return fold(problem.graph, start, lambda node, args: _modulus(problem, node, problem.boxes[next(places)], args))


def _modulus(problem: Problem, node: Node, box: Box, args: tuple[Modulus, ...]) -> Modulus:
    composed = _composed(problem, node, args)
    width = length(problem.norm, spread(box)).value
    # as far as a whole range is worth it: never a larger jump for a smaller slope
    return _as_modulus(0.0, width) if width <= composed.jump.value and width < math.inf else composed


def _composed(problem: Problem, node: Node, args: tuple[Modulus, ...]) -> Modulus:
    if isinstance(node.op, Jumping):
        boxes = problem.arguments(node)
        slopes, jump = node.op.slopes(problem.norm, *boxes), node.op.jump(problem.norm, *boxes)
        slope, moved = _sum(slopes, args)
        return _as_modulus(slope, add_up(moved, jump.value))
    separate, joint = problem.gains(node)
    combine = problem.norm.combine_up
    together = tuple(
        _times(joint.value, combine(parts)) for parts in ([a.slope.value for a in args], [a.jump.value for a in args])
    )
    return _as_modulus(*min(_sum(separate, args), (together[0], together[1])))


def _sum(gains: tuple[UpperBound, ...], args: tuple[Modulus, ...]) -> tuple[float, float]:
    slope = add_up(*(_times(g.value, a.slope.value) for g, a in zip(gains, args, strict=True)))
    return slope, add_up(*(_times(g.value, a.jump.value) for g, a in zip(gains, args, strict=True)))


def _times(gain: float, value: float) -> float:
    """The product rounded up, with inf * 0 = 0: what does not move is not amplified."""
    return 0.0 if gain == 0.0 or value == 0.0 else mul_up(gain, value)


def _as_modulus(slope: float, jump: float) -> Modulus:
    return Modulus(UpperBound(slope, "affine modulus"), UpperBound(jump, "affine modulus"))
