"""Where a bound comes from that is far above what data shows: layer norms near inputs without variation."""

from __future__ import annotations

import math

from lipaudit.graph.graph import Node
from lipaudit.graph.problem import Problem
from lipaudit.numerics.rounding import U, sqrt_up
from lipaudit.ops.scaled import RootMeanSquare
from lipaudit.ops.smooth import Normalise
from lipaudit.report.finding import Finding


def steepest_norms(problem: Problem) -> tuple[Finding, ...]:
    """One note on the normalisations that may be met at their steepest, 1/sqrt(eps), over the region; none without.

    A layer norm's Jacobian has the norm 1/sqrt(var + eps), largest where all entries are equal (an RMS norm's where all
    are 0). That is the supremum of the layer, attained; whether the network's layers can be there all at once is not
    known, so their product is an upper bound.
    """
    found = [node for node in problem.graph.nodes if _steepest(problem, node)]
    if not found:
        return ()
    eps = min(node.op.eps for node in found if isinstance(node.op, Normalise | RootMeanSquare))
    gain, count = 1.0 / math.sqrt(eps), len(found)
    where = "it is" if count == 1 else f"all {count} normalisations are"
    said = f"the bound allows for inputs at which {where} steepest, 1/sqrt(eps) = {gain:.4g}, which happens only "
    said += "where what is normalised does not vary; at inputs that do, the slope is smaller by orders of magnitude"
    return (Finding("LIP112", found[0].name, said, found[0].kind),)


def _steepest(problem: Problem, node: Node) -> bool:
    if not isinstance(node.op, Normalise | RootMeanSquare) or node.op.size == 1:
        return False
    (box,) = problem.arguments(node)
    least = node.op.least_deviation(box)
    return least <= sqrt_up(node.op.eps) * (1.0 + 8 * U)
