"""Regional bounds and radii against what is met, at length: `make campaign-local`.

Small random graphs of every family in every norm, in balls of very different sizes, some cut by a domain. A count of
what was tried is printed; the first slope above its bound, value outside its range or change of class inside a radius
ends the run with an AssertionError.
"""

from __future__ import annotations

import argparse
import time

import torch

from lipaudit.graph.simplify import simplify
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.ranges.ball import Ball
from lipaudit.ranges.constants import norms_over
from lipaudit.ranges.entries import Unknown
from lipaudit.ranges.near import near
from lipaudit.ranges.rows import Weights
from tests.cases.graphs import FAMILIES
from tests.cases.mixers import MIXERS
from tests.laws.region_laws import ball_around, classes_hold, grown_radii, ranges_hold, slopes_hold, units

ALL = (*FAMILIES, *MIXERS)
POINTS = 60


def one(name: str, seed: int, norm: Norm) -> tuple[int, int, list[float]]:
    """(points whose class was looked at, slopes and values looked at, met / bound) of one graph."""
    family = next(f for f in ALL if f.name == name)
    graph = simplify(family.build(seed))
    region = ball_around(graph, norm, seed)
    if seed % 3 == 0:
        edge = region.centre.abs().amax(0, keepdim=True)
        region = Ball(region.centre, region.radius, norm, Box(-edge, edge))
    around = near(graph, region, Weights())
    ranges_hold(around, seed, POINTS)
    tried, ratios = len(region) * POINTS, list[float]()
    try:
        bounds = norms_over(around, units(graph, len(region)))
        ratios = slopes_hold(graph, region, bounds, seed, POINTS).tolist()
    except Unknown:
        pass
    if int(torch.Size(graph.output_shape).numel()) < 2:
        return 0, tried, ratios
    labels = graph.forward(region.centre).flatten(1).argmax(1)
    radii = grown_radii(graph, norm, region.centre, labels, region.domain).clamp(max=1e6)
    return classes_hold(graph, Ball(region.centre, radii, norm, region.domain), labels, seed, POINTS), tried, ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--attempts", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    classes, slopes, ratios, graphs, seed, started = 0, 0, list[float](), 0, given.seed, time.process_time()
    while classes < given.attempts:
        for family in ALL:
            for norm in Norm:
                found = one(family.name, seed, norm)
                classes, slopes, graphs = classes + found[0], slopes + found[1], graphs + 1
                ratios += [r for r in found[2] if r > 0]
        seed += 1
    middle = sorted(ratios)[len(ratios) // 2]
    print(
        f"{graphs} graphs, {classes} attempts on classes, {slopes} points of slopes and ranges, none above its bound;"
        f" met / bound median {middle:.3f}, largest {max(ratios):.12f}; {time.process_time() - started:.0f} s"
    )


if __name__ == "__main__":
    main()
