"""Regional bounds and radii against what is met, at length: `make campaign-local`.

Small random graphs of every family in every norm, in balls of very different sizes, some cut by a domain. A count of
what was tried is printed; the first slope above its bound, value outside its range or change of class inside a radius
ends the run with an AssertionError.
"""

from __future__ import annotations

import argparse
import time
from typing import NamedTuple

import torch

from lipaudit.graph.simplify import simplify
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.ranges.ball import Ball
from lipaudit.ranges.constants import norms_over
from lipaudit.ranges.entries import Unknown
from lipaudit.ranges.near import near
from lipaudit.ranges.rows import Weights
from tests.cases.graphs import FAMILIES, Family
from tests.cases.mixers import MIXERS
from tests.laws.branching_laws import drawn
from tests.laws.region_laws import ball_around, classes_hold, grown_radii, ranges_hold, slopes_hold, units

ALL = (*FAMILIES, *MIXERS, Family("pieces", drawn), Family("beside sigmoids", lambda seed: drawn(seed, "sigmoid")))
POINTS = 60
SECONDS = 1.0
"""For the radii of one graph's samples, by quadratic certificates and by trees; most of it is reckoned."""


class Found(NamedTuple):
    """Of one graph: points whose class was looked at, slopes and values looked at, met / bound, radii, and how many of
    them are larger than by balls alone."""

    classes: int
    slopes: int
    ratios: list[float]
    radii: int = 0
    raised: int = 0


def one(name: str, seed: int, norm: Norm) -> Found:
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
        return Found(0, tried, ratios)
    labels = graph.forward(region.centre).flatten(1).argmax(1)
    balls, radii = (grown_radii(graph, norm, region.centre, labels, region.domain, s) for s in (0.0, SECONDS))
    assert bool((radii >= balls).all())
    within = Ball(region.centre, radii.clamp(max=1e6), norm, region.domain)
    attempts = classes_hold(graph, within, labels, seed, POINTS)
    return Found(attempts, tried, ratios, int((radii > 0).sum()), int((radii > balls).sum()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--attempts", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    found, seed, started = list[Found](), given.seed, time.process_time()
    while sum(f.classes for f in found) < given.attempts:
        found += [one(family.name, seed, norm) for family in ALL for norm in Norm]
        seed += 1
    ratios = sorted(r for f in found for r in f.ratios if r > 0)
    print(
        f"{len(found)} graphs, {sum(f.classes for f in found)} attempts on classes,"
        f" {sum(f.slopes for f in found)} points of slopes and ranges, none above its bound;"
        f" {sum(f.raised for f in found)} of {sum(f.radii for f in found)} radii raised;"
        f" met / bound median {ratios[len(ratios) // 2]:.3f}, largest {ratios[-1]:.12f};"
        f" {time.process_time() - started:.0f} s"
    )


if __name__ == "__main__":
    main()
