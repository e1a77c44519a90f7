"""Problem: what an engine is asked. A simplified graph, a norm, a region, and norms that are computed once."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import final

import torch

from lipaudit.graph.graph import Graph, Node, fold
from lipaudit.linear.norms.limits import DEFAULT_LIMITS, Limits
from lipaudit.linear.norms.operator import OperatorNorms
from lipaudit.numerics.bound import UpperBound
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm, NormPair, Norms
from lipaudit.ops.affine import Affine
from lipaudit.ops.op import Op


@final
@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """Bound |f(x) - f(y)| / |x - y| in the norms of `pair` (target over source), for x and y in the region.

    region: boxes [B, *input_shape] (the bound holds inside each), all of R^n where the caller knows no domain.
    boxes: the range of every value over the region, in the graph's numbering.
    deadline: when to stop improving, in time.monotonic() seconds.
    hints: inputs [1, *input_shape] that an engine met and a search from below may begin at; no part of the question.
    """

    graph: Graph
    pair: NormPair
    region: Box
    boxes: tuple[Box, ...]
    norms: OperatorNorms = field(default_factory=OperatorNorms)
    deadline: float = float("inf")
    hints: list[torch.Tensor] = field(default_factory=list)

    @staticmethod
    def over(
        graph: Graph,
        norm: Norms,
        region: Box | None = None,
        budget: float = float("inf"),
        limits: Limits = DEFAULT_LIMITS,
    ) -> Problem:
        """The problem with its ranges propagated. norm: one for both sides, or a pair; region None: everywhere.

        limits: of every operator norm; the budget's deadline is added to them.
        """
        everywhere = Box.everything((1, *graph.input_shape)) if region is None else region
        boxes = fold(graph, everywhere, lambda node, args: node.op.interval(*args))
        deadline = time.monotonic() + budget
        norms = OperatorNorms(replace(limits, deadline=min(limits.deadline, deadline)))
        return Problem(graph, NormPair.of(norm), everywhere, tuple(boxes), norms, deadline)

    @property
    def norm(self) -> Norm:
        """The one norm of both sides. Raises ValueError where they differ: what asks for it knows one norm only."""
        if self.pair.mixed:
            raise ValueError(f"the problem is {self.pair}; one norm for both sides was expected")
        return self.pair.source

    def within(self, norm: Norms) -> Problem:
        """The same problem in another norm or pair; what is known of its maps is shared."""
        return replace(self, pair=NormPair.of(norm))

    def arguments(self, node: Node) -> tuple[Box, ...]:
        """The ranges of a node's arguments."""
        return tuple(self.boxes[i] for i in node.inputs)

    def gains(self, node: Node) -> tuple[tuple[UpperBound, ...], UpperBound]:
        """(the gain in each argument, the gain in all together) of a node over the region, norms computed once.

        Raises ValueError for a pair of different norms and a node that is not affine: ops know one norm.
        """
        if isinstance(node.op, Affine):
            separate = tuple(self.norms.of(part, self.pair) for part in node.op.maps)
            return separate, self.norms.of_row(node.op.maps, self.pair)
        boxes = self.arguments(node)
        separate = node.op.gains(self.norm, *boxes)
        return separate, separate[0] if len(separate) == 1 else node.op.joint_gain(self.norm, *boxes)

    @property
    def time_left(self) -> float:
        return self.deadline - time.monotonic()


def caveats(problem: Problem) -> list[tuple[Node, str]]:
    """The nodes whose gain is infinite over the region, each with the reason."""
    found = []
    for node in problem.graph.nodes:
        op: Op = node.op
        why = op.caveat(*problem.arguments(node))
        if why is not None:
            found.append((node, why))
    return found
