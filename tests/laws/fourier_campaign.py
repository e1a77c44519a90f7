"""The Fourier recursion on thousands of small random networks: `make fuzz-fourier`.

Every bound is held against the worst Jacobian found that the slopes allow (`slope_laws`): as built and simplified,
with one multiplier a channel and written out to one a neuron in part. Prints a line a family; exit 1 for a violation.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable

import torch

from lipaudit.engines.engine import Declined
from lipaudit.engines.fourier_build import program
from lipaudit.engines.fourier_recursion import CLOSED, Symbols, closed
from lipaudit.engines.fourier_verify import verified
from lipaudit.graph.graph import Graph
from lipaudit.graph.problem import Problem
from lipaudit.graph.simplify import simplify
from lipaudit.numerics.norms import Norm
from tests.cases.conv_graphs import FAMILIES
from tests.laws.slope_laws import worst_slopes


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def bounds(problem: Problem, written_out: int) -> list[float]:
    """What every closed form proves."""
    try:
        steps = program(problem, written_out)
    except Declined:
        return []
    found = (closed(Symbols(steps, 2**26), rule) for rule in CLOSED)
    return [verified(steps, guess) for _, guess in filter(None, found)]


def campaign(family: Callable[[int], Graph], first: int, count: int) -> int:
    """The number of violations; prints what was met."""
    held, declined, wrong, ratios = 0, 0, 0, []
    for seed in range(first, first + count):
        for form in (family(seed), simplify(family(seed))):
            problem = Problem.over(form, Norm.L2)
            worst = worst_slopes(problem, seed)
            for written_out in (0, seed % 40):
                found = bounds(problem, written_out)
                best = min(found, default=math.inf)
                declined += best == math.inf
                held += len(found)
                if worst > best * (1 + 1e-12):
                    wrong += 1
                    say(f"VIOLATION {family.__name__} seed {seed}, {written_out}: {worst!r} above {best!r}")
                if 0.0 < best < math.inf:
                    ratios.append(worst / best)
    nearest, median = max(ratios), statistics.median(ratios)
    line = f"{family.__name__:10} {count} networks, {held} bounds, {declined} without, {wrong} wrong;"
    say(f"{line} allowed / bound: median {median:.3f}, at most {nearest:.6f}")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description="Bounds of the Fourier recursion against allowed slopes.")
    parser.add_argument("--count", type=int, default=500, help="networks of each family")
    parser.add_argument("--first", type=int, default=10_000, help="the first seed")
    options = parser.parse_args()
    torch.set_num_threads(1)
    started = time.process_time()
    wrong = sum(campaign(family, options.first, options.count) for family in FAMILIES)
    say(f"{time.process_time() - started:.0f} s of processor time")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
