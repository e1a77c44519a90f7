"""The product of layer gains, composed over the graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from lipaudit.engines.engine import Engine
from lipaudit.graph.graph import Node, fold
from lipaudit.graph.problem import Problem
from lipaudit.numerics.bound import ONE, UpperBound, tightest
from lipaudit.numerics.rounding import add_up, mul_up


@final
@dataclass(frozen=True, slots=True)
class LayerProduct(Engine):
    """L(f) <= product of the layers' gains along a chain; over a graph, each node's constant follows from its
    arguments'. Szegedy et al. 2014, section 4.3 (arXiv:1312.6199).

    Sound: for v = g(u_1..u_k) with gains g_i in each argument and g in all together,
    |dv| <= sum g_i |du_i| and |dv| <= g |(|du_1|, .., |du_k|)|; both hold, so the smaller does.
    Assumes nothing beyond the graph. Tight for one linear layer.
    """

    name: ClassVar[str] = "product"
    label: ClassVar[str] = "product of layer gains"

    def bound(self, problem: Problem) -> UpperBound:
        return constants(problem)[problem.graph.output]


def constants(problem: Problem) -> list[UpperBound]:
    """The constant of every value of the graph with respect to the input."""
    return fold(problem.graph, ONE, lambda node, args: _constant(problem, node, args))


def _constant(problem: Problem, node: Node, args: tuple[UpperBound, ...]) -> UpperBound:
    separate, joint = problem.gains(node)
    apart = add_up(*(mul_up(g.value, a.value) for g, a in zip(separate, args, strict=True)))
    together = mul_up(joint.value, problem.norm.combine_up([a.value for a in args]))
    return tightest(UpperBound(apart, "product of layer gains"), UpperBound(together, "product of layer gains"))
