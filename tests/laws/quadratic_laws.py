"""Laws of quadratic dual certificates: functions that raise AssertionError."""

from __future__ import annotations

import math

import torch

from lipaudit.graph.simplify import simplify
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.ranges import quadratic, semidefinite
from lipaudit.ranges.entries import Unknown
from lipaudit.ranges.near import near
from lipaudit.ranges.quadratic import Functional, Region, Shape
from lipaudit.ranges.rows import Weights
from tests.cases.graphs import Family
from tests.laws.lines_laws import both_ways
from tests.laws.region_laws import ball_around, inside_of


def drawn(seed: int, *, slack: float = 0.0, bent: bool = True, radius: float = 2.0) -> tuple[Region, Functional]:
    """A region of four neurons in two layers over two inputs: rows at random, ranges that are met nearly everywhere."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    rows, inner, c = normal(4, 2), torch.zeros(4, 4, dtype=torch.float64), 0.5 * normal(4)
    inner[2:, :2] = normal(2, 2)
    left, right = (torch.zeros(4).double(), torch.ones(4).double()) if seed % 2 else (0.3 * normal(4), 1.0 + normal(4))
    slope = (left + right) / 2
    spread = (right - left).abs() / 2
    reach = torch.linalg.vector_norm(rows, dim=1) * radius + slack
    for j in (2, 3):
        reach[j] += float((inner[j].abs() * spread * reach).sum())
    most = spread * reach
    around = Box(c - reach, c + reach)
    inside = torch.full((4,), bent) & (around.lower < 0) & (around.upper > 0)
    zero = torch.zeros(4, dtype=torch.float64)
    region = Region(
        radius, rows, inner, zero + slack, Box(c, c), around, slope, spread, -most, most, inside, zero, left, right
    )
    return region, Functional(normal(2), normal(4), slack)


def fallen(region: Region, functional: Functional, seed: int, count: int = 40000) -> float:
    """The furthest that the functional is seen to fall: on the sphere and inside, errors at their ends, and for neurons
    that are not bent any share of the slopes."""
    generator = torch.Generator().manual_seed(seed)
    u, n = region.rows.shape
    d = torch.randn(count, n, generator=generator, dtype=torch.float64)
    length = region.radius * torch.rand(count, 1, generator=generator, dtype=torch.float64).sqrt()
    length[::2] = region.radius
    d = d / torch.linalg.vector_norm(d, dim=1, keepdim=True) * length
    sign = torch.randint(0, 2, (count, u + 1), generator=generator).double() * 2.0 - 1.0
    share = torch.randint(0, 2, (count, u), generator=generator).double() * 2.0 - 1.0
    w = torch.zeros(count, u, dtype=torch.float64)
    for j in range(u):
        c, knot = region.centre.lower[j], region.knot[j]
        dv = d @ region.rows[j] + w @ region.inner[j] + sign[:, j] * region.slack[j]

        def f(v: torch.Tensor, j: int = j, knot: torch.Tensor = knot) -> torch.Tensor:
            return torch.where(v < knot, region.left[j], region.right[j]) * (v - knot)

        bent = f(c + dv) - f(c) - region.slope[j] * dv
        other = (share[:, j] * region.spread[j] * dv).clamp(region.low[j], region.high[j])
        w[:, j] = torch.where(region.bent[j], bent, other)
    value = d @ functional.rows + w @ functional.inner + sign[:, u] * functional.slack
    return -float(value.min())


def best(region: Region, functional: Functional) -> Shape:
    """The multipliers that the search ends with."""
    data = quadratic.program(region, functional, 1.0)
    assert data is not None
    found = semidefinite.solve(data, math.inf, math.inf)
    assert found is not None
    return quadratic.shape(region, found, 1.0)


def drawn_holds(seeds: range, *, slack: float = 0.0, bent: bool = True, radius: float = 2.0) -> list[float]:
    """No fall met is above the certificate of the best multipliers. Gives certified / met."""
    ratios = []
    for seed in seeds:
        region, functional = drawn(seed, slack=slack, bent=bent, radius=radius)
        bound, met = quadratic.certified(region, functional, best(region, functional)), fallen(region, functional, seed)
        assert met <= bound * (1 + 1e-12), f"falls by {met!r}, {bound!r} is certified"
        ratios.append(bound / met)
    return ratios


def any_multipliers_hold(seeds: range, *, bent: bool = True) -> int:
    """Nor is it above that of multipliers of any sign and size. Gives how many of them proved something."""
    proven = 0
    for seed in seeds:
        region, functional = drawn(seed, slack=0.1, bent=bent)
        met, right = fallen(region, functional, seed), best(region, functional)
        generator = torch.Generator().manual_seed(seed)
        for scale in (0.1, 0.5, 2.0):
            vv, vw, ww, v, w = (
                x + scale * torch.randn(x.shape, generator=generator, dtype=torch.float64)
                for x in (right.vv, right.vw, right.ww, right.v, right.w)
            )
            sector = right.sector * (1.0 + scale)
            for mu in (right.mu * (1.0 + scale), right.mu + 10.0 * scale):
                bound = quadratic.certified(region, functional, Shape(vv, vw, ww, v, w, sector, mu))
                assert met <= bound * (1 + 1e-12), f"falls by {met!r}, {bound!r} is certified"
                proven += bound < math.inf
    return proven


def suprema_hold(seeds: range) -> None:
    """No point of a bent neuron's curve has a larger phi than its supremum, which is not far above, for any phi."""
    for seed in seeds:
        region, _ = drawn(seed)
        generator = torch.Generator().manual_seed(seed)
        phi = torch.randn(5, 4, generator=generator, dtype=torch.float64)
        low, high = region.range.lower, region.range.upper
        v = low + (high - low) * torch.linspace(0.0, 1.0, 4001, dtype=torch.float64)[:, None]
        c, dv = region.centre.lower, v - region.centre.lower
        w = torch.where(v < 0, region.left, region.right) * v - torch.where(c < 0, region.left, region.right) * c
        w = w - region.slope * dv
        met = phi[0] * dv * dv + 2.0 * phi[1] * dv * w + phi[2] * w * w + phi[3] * dv + phi[4] * w
        bound = quadratic.suprema(
            region, Shape(phi[0], phi[1], phi[2], phi[3], phi[4], torch.zeros(4, dtype=torch.float64), 1.0)
        )
        assert bool(region.bent.all())
        assert -1e-12 <= bound - float(met.amax(0).sum()) <= 1e-3


def indefinite_proves_nothing(seeds: range) -> None:
    """A form that falls without end in some direction has no minimum."""
    for seed in seeds:
        region, functional = drawn(seed)
        right = best(region, functional)
        wrong = Shape(right.vv - 100.0, right.vw, right.ww, right.v, right.w, right.sector, right.mu)
        assert quadratic.certified(region, functional, wrong) == math.inf


def network_holds(family: Family, seed: int, count: int = 60) -> int:
    """No output falls in a ball further than certified, and none rises. Gives how many certificates there were."""
    graph, proven = simplify(family.build(seed)), 0
    region = ball_around(graph, Norm.L2, seed, 2)
    try:
        problem, asked = near(graph, region, Weights()).reduced(both_ways(graph, len(region)))
    except Unknown:
        return 0
    own = graph.forward(region.centre).flatten(1).unsqueeze(1)
    points = inside_of(region, count, seed)
    rise = graph.forward(points.flatten(0, 1)).reshape(len(region), count, -1) - own
    falls = -torch.cat([rise, -rise], 2).amin(1)
    room = 1e-10 * float(1.0 + own.abs().amax() + rise.abs().amax())
    for row in range(len(region)):
        for which in range(min(falls.shape[1], 4)):
            near_by = max(float(falls[row, which]), 1e-3)
            for share in (1.0, 3.0):
                bound = quadratic.shown(problem, asked, row, which, share * near_by, math.inf)
                assert float(falls[row, which]) <= bound + room, f"{float(falls[row, which])!r} is above {bound!r}"
                proven += bound < math.inf
    return proven
