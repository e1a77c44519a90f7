"""The product of layer gains for two different norms: where along the network to change from one to the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, final

from lipaudit.engines.engine import Declined, Engine
from lipaudit.graph.graph import Node
from lipaudit.graph.problem import Problem
from lipaudit.numerics.bound import UpperBound
from lipaudit.numerics.norms import Norm, NormPair
from lipaudit.numerics.rounding import add_up, mul_up
from lipaudit.ops.affine import Affine


class _Reach(NamedTuple):
    """|dv|_norm <= value |dx|_source for a value v; reached from the arguments in `before`, or by equivalence."""

    value: float
    before: Norm | None


@final
@dataclass(frozen=True, slots=True)
class Changeover(Engine):
    """The cheapest path from |x|_p to |f|_q through the norms of every value in between.

    For each value v and norm r the least proven b with |dv|_r <= b |dx|_p: an affine node takes every r to every s by
    its operator norm ||A||_{r->s}, any other node keeps r at its gain in r, and |v|_s <= c(r, s) |v|_r changes norms at
    no node at all. So the change is made where it costs least: the first map from linf to l2, say, or the last row by
    row. Sound: each step is a bound, and so is the product along a path and the smallest of all; a node of several
    arguments takes them as `product` does. Tight for one linear layer with a pair whose norm is exact.
    """

    name: ClassVar[str] = "changeover"
    label: ClassVar[str] = "product of layer gains, norms changed on the way"
    mixed: ClassVar[bool] = True

    def bound(self, problem: Problem) -> UpperBound:
        if not problem.pair.mixed:
            raise Declined("there is one norm on both sides, and nothing to change")
        best = _reaches(problem)[problem.graph.output][problem.pair.target]
        return UpperBound(best.value, "product of layer gains, norms changed on the way")


def path(problem: Problem) -> dict[int, NormPair]:
    """The norms in which each node's gain enters the bound, by the node's place; the first use for one of several."""
    reaches = _reaches(problem)
    found: dict[int, NormPair] = {}
    todo = [(problem.graph.output, problem.pair.target)]
    while todo:
        value, norm = todo.pop()
        before = reaches[value][norm].before
        if value == 0 or before is None or (value - 1) in found:
            continue
        found[value - 1] = NormPair(before, norm)
        todo += [(argument, before) for argument in problem.graph.nodes[value - 1].inputs]
    return {place: _settled(pair, problem.graph.nodes[place]) for place, pair in found.items()}


def _settled(pair: NormPair, node: Node) -> NormPair:
    """The pair of the node itself: an op that is not affine keeps its norm, what was changed after it aside."""
    return pair if isinstance(node.op, Affine) else NormPair(pair.source, pair.source)


def _reaches(problem: Problem) -> list[dict[Norm, _Reach]]:
    source = problem.pair.source
    start = {norm: _Reach(source.conversion_up(norm, _size(problem, 0)), None) for norm in Norm}
    answers = [start]
    for place, node in enumerate(problem.graph.nodes):
        direct = _steps(problem, node, [answers[i] for i in node.inputs])
        size = _size(problem, place + 1)
        answers.append({norm: _changed(direct, norm, size) for norm in Norm})
    return answers


def _size(problem: Problem, value: int) -> int:
    size = 1
    for n in problem.graph.shape(value):
        size *= n
    return size


def _changed(direct: dict[Norm, _Reach], norm: Norm, size: int) -> _Reach:
    """The best way to a norm: at the node, or from another norm of the same value."""
    options = [_Reach(mul_up(other.conversion_up(norm, size), d.value), d.before) for other, d in direct.items()]
    return min([direct[norm], *options], key=lambda reach: reach.value)


def _steps(problem: Problem, node: Node, args: list[dict[Norm, _Reach]]) -> dict[Norm, _Reach]:
    """Through the node itself: from every norm to every norm if it is affine, else from each to itself."""
    best: dict[Norm, _Reach] = {}
    for target in Norm:
        sources = tuple(Norm) if isinstance(node.op, Affine) else (target,)
        options = [_Reach(_through(problem, node, args, NormPair(norm, target)), norm) for norm in sources]
        best[target] = min(options, key=lambda reach: reach.value)
    return best


def _through(problem: Problem, node: Node, args: list[dict[Norm, _Reach]], pair: NormPair) -> float:
    separate, joint = problem.within(pair).gains(node)
    values = [reach[pair.source].value for reach in args]
    apart = add_up(*(mul_up(gain.value, value) for gain, value in zip(separate, values, strict=True)))
    return min(apart, mul_up(joint.value, pair.source.combine_up(values)))
