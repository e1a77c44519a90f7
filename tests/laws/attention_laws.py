"""The gain of an attention against Jacobians of its definition, over tokens of the set that it is for."""

from __future__ import annotations

import torch

from lipaudit.engines.attention import wholes
from lipaudit.graph.graph import Graph
from lipaudit.graph.problem import Problem
from lipaudit.graph.simplify import simplify
from lipaudit.linear.map import LinearMap
from lipaudit.linear.tokenwise import NOBODY, tokenwise
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from tests.cases.attentions import AttentionCase


def blocks(case: AttentionCase, asking: torch.Tensor, asked: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """dO/d(queries' tokens) and dO/d(keys' tokens), as matrices; of the directions that the tokens can move in."""
    found = torch.autograd.functional.jacobian(case.value, (asking, asked), create_graph=True)  # type: ignore[no-untyped-call]
    parts = []
    for part, count in zip(found, (case.queries, case.keys), strict=True):
        part = part - part.mean(-1, keepdim=True) if case.tokens == "layer" else part
        parts.append(part.reshape(-1, count * case.size))
    return parts[0], parts[1]


def met(case: AttentionCase, seed: int = 0, starts: int = 2, steps: int = 6) -> tuple[float, float]:
    """The largest norms of the two blocks that a search over the tokens finds; the telling tokens first."""
    generator = torch.Generator().manual_seed(seed)
    best = [0.0, 0.0]
    points = [*case.telling, *(case.drawn(generator) for _ in range(starts))]
    for place, start in enumerate(points):
        asking, asked = start
        for step in range(1 if place < len(case.telling) else steps):
            leaves = [x.clone().requires_grad_(True) for x in (asking, asked)]
            if not case.cross:
                leaves[0] = leaves[1]
            sizes = [torch.linalg.matrix_norm(part, 2) for part in blocks(case, *leaves)]
            best = [max(old, float(new.detach())) for old, new in zip(best, sizes, strict=True)]
            total = torch.log(sizes[0] + 1e-9) if step % 2 else torch.log(sizes[1] + 1e-9)
            grads = torch.autograd.grad(total, leaves, allow_unused=True)
            moved = []
            for x, grad in zip((asking, asked), grads, strict=True):
                if grad is None or not bool(grad.isfinite().all()):
                    moved.append(x)
                    continue
                pace = torch.linalg.vector_norm(x) * 0.5 * 0.8**step + 1e-3
                moved.append(case.inside(x + grad * pace / torch.linalg.vector_norm(grad).clamp(min=1e-12)).detach())
            asking, asked = moved if case.cross else (moved[1], moved[1])
    return best[0], best[1]


def gains_hold(case: AttentionCase, seed: int = 0) -> tuple[float, float] | None:
    """No block's norm that is met is above its gain. Gives met / gain for both; None where nothing was recognised."""
    graph, region = case.build()
    problem = Problem.over(simplify(graph), Norm.L2, region)
    found = list(wholes(problem).values())
    if not found:
        return None
    (whole,) = found
    lower = met(case, seed)
    for name, low, gain in (("queries", lower[0], whole.query), ("keys", lower[1], whole.others)):
        assert low <= gain * (1.0 + 1e-9) + 1e-12, f"{case.name}, {name}: {low!r} is met, {gain!r} is the gain"
    return lower[0] / max(whole.query, 1e-300), lower[1] / max(whole.others, 1e-300)


def matrices_hold(part: LinearMap, size: int, groups: int, tokens: int) -> None:
    """Every block of the dense matrix is the one kept, within its error, at the token's owner, and 0 elsewhere."""
    found = tokenwise(part, size, groups, tokens)
    assert found is not None
    blocks = part.as_matrix().reshape(groups, tokens, -1, part.in_size // size, size)
    for token, owner in enumerate(found.owner.tolist()):
        for source in range(blocks.shape[3]):
            block = blocks[:, token, :, source]
            kept = found.matrix if source == owner and owner != NOBODY else torch.zeros_like(block)
            away = torch.linalg.matrix_norm(block - kept).tolist()
            assert all(off <= error for off, error in zip(away, found.error, strict=True)), f"{token} of {source}"


def values_hold(graph: Graph, box: Box, seed: int = 0) -> None:
    """The output at inputs of the box, corners among them, is in the simplified graph's range of it."""
    generator = torch.Generator().manual_seed(seed)
    shares = torch.rand(64, *graph.input_shape, generator=generator, dtype=torch.float64)
    shares = torch.cat([shares, shares.round()])
    values = graph.forward(box.lower + (box.upper - box.lower) * shares)
    simple = simplify(graph)
    said = Problem.over(simple, Norm.L2, box).boxes[simple.output]
    assert bool(((values >= said.lower - 1e-9) & (values <= said.upper + 1e-9)).all())
