"""The product of layer gains, composed over the graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from lipaudit.engines.attention import EVIDENCE, Whole, wholes
from lipaudit.engines.engine import Engine
from lipaudit.graph.graph import Node
from lipaudit.graph.problem import Problem
from lipaudit.numerics.bound import ONE, UpperBound, tightest
from lipaudit.numerics.norms import Norm, NormPair
from lipaudit.numerics.rounding import add_up, mul_up


@final
@dataclass(frozen=True, slots=True)
class LayerProduct(Engine):
    """L(f) <= product of the layers' gains along a chain; over a graph, each node's constant follows from its
    arguments'. Szegedy et al. 2014, section 4.3 (arXiv:1312.6199).

    Sound: for v = g(u_1..u_k) with gains g_i in each argument and g in all together,
    |dv| <= sum g_i |du_i| and |dv| <= g |(|du_1|, .., |du_k|)|; both hold, so the smaller does. In l2 the value of an
    attention has a constant from its tokens' directly (`attention_terms`), and again the smaller holds.
    Assumes nothing beyond the graph. Tight for one linear layer.
    """

    name: ClassVar[str] = "product"
    label: ClassVar[str] = "product of layer gains"

    def bound(self, problem: Problem) -> UpperBound:
        return constants(problem)[problem.graph.output]


def constants(problem: Problem) -> list[UpperBound]:
    """The constant of every value of the graph with respect to the input; in l2, attention as a whole where less."""
    return _constants(problem, wholes(problem) if problem.pair == NormPair.of(Norm.L2) else {})


def wholes_met(problem: Problem) -> dict[int, Whole]:
    """The attentions, by their output value, whose bound as a whole is below that of the product of their parts."""
    if problem.pair != NormPair.of(Norm.L2) or not (found := wholes(problem)):
        return {}
    values = _constants(problem, found)
    return {place: whole for place, whole in found.items() if values[place].evidence == EVIDENCE}


def _constants(problem: Problem, whole: dict[int, Whole]) -> list[UpperBound]:
    values = [ONE]
    for place, node in enumerate(problem.graph.nodes, start=1):
        value = _constant(problem, node, tuple(values[i] for i in node.inputs))
        values.append(tightest(value, whole[place].constant(values)) if place in whole else value)
    return values


def _constant(problem: Problem, node: Node, args: tuple[UpperBound, ...]) -> UpperBound:
    separate, joint = problem.gains(node)
    apart = add_up(*(mul_up(g.value, a.value) for g, a in zip(separate, args, strict=True)))
    together = mul_up(joint.value, problem.norm.combine_up([a.value for a in args]))
    return tightest(UpperBound(apart, "product of layer gains"), UpperBound(together, "product of layer gains"))
