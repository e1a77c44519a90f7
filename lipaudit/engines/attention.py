"""The gains of multi-head attention as a whole, where its tokens are bounded; the formula is in `attention_terms`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch

from lipaudit.engines.attention_parts import Ball
from lipaudit.engines.attention_terms import gains
from lipaudit.graph.attention import Attention, Tokens, attentions
from lipaudit.graph.graph import Graph
from lipaudit.graph.problem import Problem
from lipaudit.numerics.bound import UpperBound
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.numerics.rounding import add_up, gamma, hypot_up, mul_up, sqrt_up, up
from lipaudit.ops.scaled import RootMeanSquare
from lipaudit.ops.smooth import Normalise

EVIDENCE = "attention as a whole"


@final
@dataclass(frozen=True, slots=True)
class Whole:
    """An attention's gains in l2: of `attention.output` by its queries' source value and by its keys' and values'."""

    attention: Attention
    query: float
    others: float

    def constant(self, values: list[UpperBound]) -> UpperBound:
        """Of the output with respect to the input, from those of the values before it."""
        asking, asked = (values[part.tokens.source].value for part in (self.attention.query, self.attention.key))
        value = add_up(mul_up(self.query, asking), mul_up(self.others, asked))
        return UpperBound(value, EVIDENCE)

    @property
    def gain(self) -> UpperBound:
        """In the tokens' sources together, as one vector; of one source, their sum."""
        of = self.attention
        value = add_up(self.query, self.others) if of.one_source else hypot_up(self.query, self.others)
        return UpperBound(value, EVIDENCE)

    def own(self, graph: Graph) -> frozenset[int]:
        """The values that nothing outside the attention uses, its output among them."""
        inside = set(self.attention.inside)
        used = [set(node.inputs) for place, node in enumerate(graph.nodes, start=1) if place not in inside]
        outside = set().union({graph.output}, *used)
        return frozenset(inside - outside) | {self.attention.output}


def wholes(problem: Problem) -> dict[int, Whole]:
    """Every attention of the graph whose tokens are bounded over the region, by its output value."""
    found = {}
    for attention in attentions(problem.graph):
        whole = gains_of(problem, attention)
        if whole is not None:
            found[attention.output] = Whole(attention, *whole)
    return found


def gains_of(problem: Problem, attention: Attention) -> tuple[float, float] | None:
    """(gain in the queries' source, gain in the others' source), in l2; None where the tokens are not bounded."""
    balls = [token_ball(problem, attention.query.tokens)]
    balls.append(balls[0] if attention.one_source else token_ball(problem, attention.key.tokens))
    asking, asked = balls
    if asking is None or asked is None:
        return None
    query, others = gains(problem, attention, asking, asked)
    for_query, for_others = (_before(problem, part.tokens) for part in (attention.query, attention.key))
    return mul_up(query, for_query), mul_up(others, for_others)


def _before(problem: Problem, tokens: Tokens) -> float:
    return 1.0 if tokens.before is None else problem.norms.of(tokens.before, Norm.L2).value


def token_ball(problem: Problem, tokens: Tokens) -> Ball | None:
    """A ball around each token over the region, None where there is none.

    The output of a layer or RMS norm has |w| < sqrt(d) whatever the region: |x|^2 / (|x|^2 / d + eps) < d.
    """
    graph, source = problem.graph, tokens.source
    box = problem.boxes[source]
    hull = Box(box.lower.amin(0, keepdim=True), box.upper.amax(0, keepdim=True))
    centre, spread = hull.centre_radius()
    node = graph.nodes[source - 1] if source else None
    op = None if node is None or tokens.before is not None else node.op
    normal = isinstance(op, Normalise | RootMeanSquare)
    anywhere = Ball(torch.zeros_like(centre), sqrt_up(float(tokens.size)), isinstance(op, Normalise))
    if not hull.finite:
        return anywhere if normal else None
    if tokens.before is not None:
        spread = tokens.before.majorant().apply(spread) * up(1.0 + gamma(3 * tokens.before.roundings + 4))
    lengths = [Norm.L2.bounds_of(row)[1] for row in spread.reshape(-1, tokens.size)]
    here = Ball(centre, max(lengths, default=0.0), False)
    return anywhere if normal and anywhere.radius <= here.radius else here
