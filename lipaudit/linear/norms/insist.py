"""A proof that needs a shift above the norm, tried until one is: as it is asked for, told more, loosely."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from lipaudit.linear.map import LinearMap
from lipaudit.linear.norms.limits import Limits
from lipaudit.linear.norms.lower import STEPS, Lower, lower_l2
from lipaudit.numerics.bound import UpperBound, tightest

Attempt = Callable[[Lower, Limits], UpperBound | None]
"""A bound of the map, infinite where its shift was too small; None where it would cost more than it may."""

LOOSER = 50.0


def insist(
    part: LinearMap, attempt: Attempt, best: UpperBound, lower: Lower, limits: Limits
) -> tuple[UpperBound, Lower]:
    """(the smallest bound, the largest lower value) after as many attempts as the precision takes, three at most.

    Where the top of the spectrum is crowded, Lanczos may seem to have settled and has not: the shift that it suggests
    is below the norm, and nothing is proven by it. It goes on then, to a thousandth of what it stopped at; and if that
    is not enough either, the shift is raised beyond the precision, for a bound that is at least near.
    """
    for sharper, looser in ((1.0, 1.0), (1e-3, 1.0), (1e-3, LOOSER)):
        if limits.reached(best.value, lower.value) or limits.spent:
            break
        if sharper < 1.0 and looser == 1.0:
            better = lower_l2(part, sharper * limits.precision, limits.deadline, 4 * STEPS)
            lower = Lower(max(better.value, lower.value), max(better.estimate, lower.estimate))
        found = attempt(lower, replace(limits, precision=looser * limits.precision))
        if found is None:
            break
        best = tightest(found, best)
    return best, lower
