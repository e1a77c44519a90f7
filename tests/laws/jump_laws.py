"""What an op that jumps promises: an interval around its values, and |f(x) - f(y)| <= slopes |x - y| + jump."""

from __future__ import annotations

import itertools

import torch

from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.ops.jumping import Jumping

PAIRS = 400


def points(boxes: tuple[Box, ...], count: int, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """[count, ..] each: random ones, corners, halves and whole numbers, all inside the boxes; never infinite."""
    found = []
    for box in boxes:
        low, high = box.lower.clamp(min=-1e3), box.upper.clamp(max=1e3)
        share = torch.rand(count, *box.shape[1:], generator=generator, dtype=torch.float64)
        corner = torch.rand(count, *box.shape[1:], generator=generator)
        x = low + share * (high - low)
        x = torch.where(corner < 0.15, low, torch.where(corner > 0.85, high, x))
        snapped = torch.round(x * 2.0) / 2.0 + torch.where(share > 0.5, 1e-9, -1e-9) * (share > 0.3)
        x = torch.where((corner > 0.4) & (corner < 0.6), snapped, x)
        found.append(_inside(x, Box(low, high)))
    return tuple(found)


def _inside(x: torch.Tensor, box: Box) -> torch.Tensor:
    return torch.minimum(torch.maximum(x, box.lower), box.upper)


def interval_encloses(op: Jumping, boxes: tuple[Box, ...], seed: int = 0) -> None:
    around, value = op.interval(*boxes), op.forward(*points(boxes, PAIRS, torch.Generator().manual_seed(seed)))
    assert around.contains(value)


def modulus_holds(op: Jumping, boxes: tuple[Box, ...], seed: int = 0) -> None:
    """In every norm, for pairs far apart and for pairs that are close."""
    generator = torch.Generator().manual_seed(seed)
    x, y = points(boxes, PAIRS, generator), points(boxes, PAIRS, generator)
    near = tuple(
        torch.minimum(torch.maximum(a + 1e-6 * (b - a), box.lower), box.upper)
        for a, b, box in zip(x, y, boxes, strict=True)
    )
    for norm, other in itertools.product(Norm, (y, near)):
        moved = norm.of(op.forward(*x) - op.forward(*other))
        slopes, jump = op.slopes(norm, *boxes), op.jump(norm, *boxes)
        allowed = torch.full_like(moved, jump.value)
        for slope, a, b in zip(slopes, x, other, strict=True):
            allowed = allowed + slope.value * norm.of(a - b)
        assert bool((moved <= allowed * (1.0 + 1e-12) + 1e-12).all()), norm
