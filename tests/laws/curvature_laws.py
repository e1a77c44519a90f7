"""Laws of curvature over balls: functions that raise AssertionError. The oracle is autograd at sampled points."""

from __future__ import annotations

import torch

import lipaudit.ranges.curvature as curvature
from lipaudit.graph.graph import Graph
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.ops.affine import Affine
from lipaudit.ranges.ball import Ball
from lipaudit.ranges.cover import certified, jacobi
from lipaudit.ranges.curvature import Curvature, Ranges
from lipaudit.ranges.near import near
from lipaudit.ranges.rows import Weights
from lipaudit.ranges.trust_region import Factor
from tests.laws.region_laws import inside_of

INNER = (0.45, 0.75)


def functionals(graph: Graph, batch: int, seed: int, count: int = 3) -> torch.Tensor:
    """Rows of whole numbers, some of them pairs of outputs: [batch, count, *output_shape]."""
    size = int(torch.Size(graph.output_shape).numel())
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(-2, 3, (batch, count, size), generator=generator).double()
    rows[:, 0] = 0.0
    rows[:, 0, 0], rows[:, 0, -1] = 1.0, rows[:, 0, -1] - float(size > 1)
    return rows.reshape(batch, count, *graph.output_shape)


def gradients(graph: Graph, points: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
    """[P, n] of one functional."""
    leaf = points.clone().requires_grad_(True)
    value = (graph.forward(leaf).flatten(1) * row.reshape(1, -1)).sum()
    (slope,) = torch.autograd.grad(value, leaf)
    return slope.flatten(1)


def hessians(graph: Graph, points: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
    """[P, n, n] of one functional, by autograd twice."""
    leaf = points.clone().requires_grad_(True)
    value = (graph.forward(leaf).flatten(1) * row.reshape(1, -1)).sum()
    (slope,) = torch.autograd.grad(value, leaf, create_graph=True)
    if not slope.requires_grad:
        return torch.zeros(len(points), slope[0].numel(), slope[0].numel(), dtype=torch.float64)
    flat = slope.flatten(1)
    rows = [torch.autograd.grad(flat[:, i].sum(), leaf, retain_graph=True)[0].flatten(1) for i in range(flat.shape[1])]
    return torch.stack(rows, 1)


def neurons(graph: Graph, points: torch.Tensor) -> torch.Tensor:
    """[P, N, n]: the Jacobian of the inputs of all nodes that are not affine, in the order of the graph."""
    found = []
    for node in graph.nodes:
        if not isinstance(node.op, Affine):
            part = Graph(graph.input_shape, graph.nodes[: node.inputs[0]], node.inputs[0])
            size = int(torch.Size(graph.shape(node.inputs[0])).numel())
            eye = torch.eye(size, dtype=torch.float64)
            found += [gradients(part, points, row) if node.inputs[0] else row.expand(len(points), -1) for row in eye]
    return torch.stack(found, 1)


def ranges(graph: Graph, ball: Ball) -> Ranges:
    return Ranges.of(near(graph, ball, Weights()))


def hessians_hold(graph: Graph, ball: Ball, seed: int, count: int = 24) -> None:
    """H + V' m V is never negative, and V d is in the ellipsoid of every unit vector d, at any point of a ball."""
    seeds = functionals(graph, len(ball), seed)
    of = Curvature.of(ranges(graph, ball), seeds, ball)
    y, proven = certified(of.joint, jacobi(of.joint, 4.0))
    for row, own in enumerate(inside_of(ball, count, seed)):
        v = neurons(graph, own)
        covered = y[row, : v.shape[1], : v.shape[1]] - v @ v.mT
        least = float(torch.linalg.eigvalsh(covered).min()) if bool(proven[row]) else 0.0
        assert least >= -1e-9 * float(y[row].abs().max()), f"the ellipsoid misses slopes by {-least!r}"
        for k in range(seeds.shape[1]):
            left = torch.nan_to_num(hessians(graph, own, seeds[row, k])) + v.mT @ (of.most[row, k, :, None] * v)
            size = 1.0 + float((v.square().sum(2) * of.most[row, k].abs()).sum(1).max())
            least = float(torch.linalg.eigvalsh((left + left.mT) / 2).min())
            assert least >= -1e-10 * size, f"the network bends by {-least!r} more than said"


def falls_of(graph: Graph, ball: Ball, seeds: torch.Tensor, wanted: torch.Tensor | None = None) -> torch.Tensor:
    """[B, K], with what is known of smaller balls."""
    inner = [ranges(graph, ball.sized(ball.radius * part)) for part in INNER]
    asked = torch.ones(seeds.shape[:2], dtype=torch.bool) if wanted is None else wanted
    return curvature.bent_falls(ranges(graph, ball), inner, seeds, asked)


def falls_hold(graph: Graph, ball: Ball, seed: int, count: int = 24) -> list[float]:
    """No point found in a ball lies further below its centre than said, by random points and by descent.

    Gives met / bound.
    """
    seeds = functionals(graph, len(ball), seed)
    bounds, start, ratios = falls_of(graph, ball, seeds), inside_of(ball, count, seed), list[float]()
    for row in range(len(ball)):
        for k in range(seeds.shape[1]):
            x = start[row]
            tried = [x]
            for _ in range(4):
                slope = -gradients(graph, x, seeds[row, k])
                step = slope if ball.norm is Norm.L2 else ball.norm.dual.dual_vector(slope)
                size = ball.norm.of(step).clamp_min(1e-300)[:, None]
                move = (step / size).reshape(x.shape) * ball.radius[row] * (1.0 - 1e-12)
                x = ball.centre[row] + torch.where(torch.isfinite(move), move, 0.0)
                if ball.domain is not None:
                    x = torch.minimum(torch.maximum(x, ball.domain.lower), ball.domain.upper)
                tried.append(x)
            values = graph.forward(torch.cat([ball.centre[row : row + 1], *tried])).flatten(1) @ seeds[row, k].flatten()
            fall = float(values[0] - values.min())
            noise = 1e-12 * (1.0 + float(values.abs().max()))
            bound = float(bounds[row, k])
            assert fall <= bound + noise, f"falls by {fall!r}, {bound!r} is the bound"
            ratios.append(fall / bound if 0.0 < bound < torch.inf else 0.0)
    return ratios


def split_holds(seed: int) -> None:
    """No step of an l2 ball within its domain moves the part of a linear form that the edge stops by more than said."""
    generator = torch.Generator().manual_seed(seed)
    centre, rows = (torch.rand(*shape, generator=generator, dtype=torch.float64) for shape in ((2, 6), (2, 3, 6)))
    radius, rows = torch.tensor([0.4, 3.0], dtype=torch.float64), rows - 0.5
    ball = Ball(centre, radius, Norm.L2, Box(torch.zeros(1, 6).double(), torch.ones(1, 6).double()))
    free, stopped = ball.split(rows)
    steps = inside_of(ball, 200, seed) - centre.unsqueeze(1)
    moved = torch.einsum("brn,bpn->brp", rows - free, steps)
    corners = torch.where(
        rows - free > 0, 1.0 - centre.unsqueeze(1), torch.where(rows - free < 0, -centre.unsqueeze(1), 0)
    )
    moved = torch.maximum(moved.amax(2), ((rows - free) * corners).sum(2) * (radius >= 3.0)[:, None])
    assert bool((moved <= stopped * (1 + 1e-12)).all())
    assert bool((stopped > 0).any())


def steepest_fall(slope: torch.Tensor, hessian: torch.Tensor, radius: float) -> float:
    """max of -g.v - v'Hv/2 over |v| <= r, by eigenvectors and bisection (not the hard case)."""
    values, vectors = torch.linalg.eigh(-hessian)
    moved = vectors.T @ -slope
    low, high = max(float(values[-1]), 0.0) + 1e-13, max(float(values[-1]), 0.0) + float(slope.norm()) / radius + 1.0
    for _ in range(200):
        middle = (low + high) / 2
        long = float((moved / (middle - values)).norm()) > radius
        low, high = (middle, high) if long else (low, middle)
    v = moved / (high - values)
    return float(moved @ v + (values * v * v).sum() / 2)


def suprema_hold(seed: int) -> None:
    """The proven sup of -z_k + z' m z / 2 over ellipsoids is that of eigenvectors, and little more; so is the top."""
    generator = torch.Generator().manual_seed(seed)
    n, others = 1 + seed % 7, 2
    root = torch.randn(3, n + others, n + others, generator=generator, dtype=torch.float64)
    root = root * torch.randn(n + others, 1, generator=generator, dtype=torch.float64).exp2() ** 4
    y, turn = root @ root.mT, torch.randn(3, n, generator=generator, dtype=torch.float64) - float(seed % 3)
    factor, reach = Factor.of(y, n), torch.tensor([0.01, 1.0, 30.0], dtype=torch.float64)
    for k in range(others):
        found = factor.sup(turn, k, reach)
        for row in range(3):
            # z = root u: -root_k.u + u' root' m root u / 2 over |u| <= r
            bent = root[row, :n].mT @ (turn[row][:, None] * root[row, :n])
            exact = steepest_fall(root[row, n + k], -bent, float(reach[row]))
            size = exact + float(y[row].diagonal()[:n] @ turn[row].abs()) * float(reach[row]) ** 2 * 2.0**-24
            assert exact * (1 - 1e-9) <= float(found[row]) <= exact + 1e-3 * size + 2.0**-14 * exact
    tops = torch.linalg.eigvalsh(root[:, :n].mT @ (turn.unsqueeze(2) * root[:, :n]))[:, -1].clamp(min=0.0)
    assert bool((factor.top(turn) >= tops * (1 - 1e-9)).all())
