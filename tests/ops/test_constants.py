"""Constants of the vector ops are the smallest that hold: one hundredth less is caught by the same laws."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, final

import pytest
import torch

from lipaudit.linear.map import Shape
from lipaudit.numerics.bound import UpperBound
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.ops.entrywise import centred_entrywise, rms_entrywise
from lipaudit.ops.lengths import WindowLogSumExp, WindowNorm
from lipaudit.ops.op import Op
from lipaudit.ops.scaled import RootMeanSquare, UnitVector
from lipaudit.ops.smooth import Normalise
from lipaudit.ops.sorting import Largest
from lipaudit.ops.variance import least_variance
from tests.laws import op_laws


@final
@dataclass(frozen=True, slots=True, eq=False)
class Shrunk(Op):
    """An op whose author got its constant wrong by a hundredth."""

    right: Op
    family: ClassVar[str] = "Planted"

    @property
    def in_shapes(self) -> tuple[Shape, ...]:
        return self.right.in_shapes

    @property
    def out_shape(self) -> Shape:
        return self.right.out_shape

    def forward(self, *args: torch.Tensor) -> torch.Tensor:
        return self.right.forward(*args)

    def interval(self, *boxes: Box) -> Box:
        return self.right.interval(*boxes)

    def gains(self, norm: Norm, *boxes: Box) -> tuple[UpperBound, ...]:
        return tuple(UpperBound(gain.value * 0.99, "planted") for gain in self.right.gains(norm, *boxes))


class Attained(NamedTuple):
    """An op and a point at which its constant is met in some norm."""

    name: str
    build: Callable[[], Op]
    point: tuple[float, ...]

    def __str__(self) -> str:
        return self.name


_ROW = torch.arange(4).reshape(1, 4)
CASES = [
    Attained("length", lambda: WindowNorm(_ROW, (4,), (1,), 2.0), (1.0, 2.0, -3.0, 0.5)),
    Attained("sum of magnitudes", lambda: WindowNorm(_ROW, (4,), (1,), 1.0), (1.0, 2.0, -3.0, 0.5)),
    Attained("cubic length of equals", lambda: WindowNorm(_ROW, (4,), (1,), 3.0), (1.0, 1.0, 1.0, 1.0)),
    Attained("log-sum-exp", lambda: WindowLogSumExp(_ROW, (4,), (1,)), (0.1, 0.2, -0.3, 0.0)),
    Attained("root mean square at 0", lambda: RootMeanSquare(1, 4, 1e-3), (0.0, 0.0, 0.0, 0.0)),
    Attained("unit vector in its floor", lambda: UnitVector(1, 4, 2, 0.5), (0.1, 0.1, 0.0, 0.0)),
    Attained("unit vector over a shifted length", lambda: UnitVector(1, 4, 2, 0.5, True), (1e-9, 0.0, 0.0, 0.0)),
    Attained("unit vector", lambda: UnitVector(1, 4), (1.0, 0.0, 0.0, 0.0)),
    Attained("unit vector of the 1-norm", lambda: UnitVector(1, 4, 1), (1e-9, 1e-9, 1e-9, 1.0)),
    Attained("layer norm at a constant", lambda: Normalise(1, 4, 1e-3), (2.0, 2.0, 2.0, 2.0)),
    Attained("largest", lambda: Largest(1, 4, 2), (1.0, 2.0, -3.0, 0.5)),
]  # fmt: skip


def _box(case: Attained) -> tuple[Box, ...]:
    x = torch.tensor(case.point, dtype=torch.float64).reshape(1, *case.build().in_shapes[0])
    return (Box(x - 1e-12, x + 1e-12),)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_constant_holds_where_it_is_met(case: Attained) -> None:
    op_laws.gains_cover_jacobians(case.build(), _box(case))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_hundredth_less_is_caught(case: Attained) -> None:
    with pytest.raises(AssertionError):
        op_laws.gains_cover_jacobians(Shrunk(case.build()), _box(case))


def _largest_row(op: Op, x: torch.Tensor) -> float:
    leaf = x.reshape(1, 1, -1).clone().requires_grad_(True)
    out = op.forward(leaf).reshape(-1)
    rows = [torch.autograd.grad(entry, leaf, retain_graph=True)[0] for entry in out]
    return max(float(row.abs().sum()) for row in rows)


@pytest.mark.parametrize("size", [2, 3, 5, 8, 16, 64])
def test_global_entrywise_constants_are_met_from_below(size: int) -> None:
    """Search: rows of the Jacobian over many scales come near the constant, and never above it."""
    generator = torch.Generator().manual_seed(size)
    best = {"rms": 0.0, "centred": 0.0}
    for share in torch.linspace(0.02, 0.98, 49, dtype=torch.float64).tolist():
        for lean in torch.linspace(0.0, 1.0, 21, dtype=torch.float64).tolist():
            noise = torch.randn(size - 1, generator=generator, dtype=torch.float64).sign()
            for name, rest in (("rms", torch.ones(size - 1, dtype=torch.float64)), ("rms", noise), ("centred", noise)):
                first = torch.tensor([math.sqrt(lean * size)], dtype=torch.float64)
                x = torch.cat([first, -rest * math.sqrt((1 - lean) * size / max(1, size - 1))])
                x = x - x.mean() if name == "centred" else x
                if float(x.norm()) == 0.0:
                    continue
                x = x / x.norm() * math.sqrt(size * share / (1 - share))  # |x|^2 / (d s^2) = share, eps = 1
                op: Op = RootMeanSquare(1, size, 1.0) if name == "rms" else Normalise(1, size, 1.0)
                best[name] = max(best[name], _largest_row(op, x))
    assert best["rms"] <= rms_entrywise(size) * (1 + 1e-9)
    assert best["centred"] <= centred_entrywise(size) * (1 + 1e-9)
    assert best["rms"] >= 0.95 * rms_entrywise(size)
    assert best["centred"] >= 0.85 * centred_entrywise(size)


@pytest.mark.parametrize("size", [1, 2, 5, 12])
def test_least_variance_is_below_every_variance_and_near_the_least(size: int) -> None:
    generator = torch.Generator().manual_seed(size)
    lower = torch.randn(20, 3, size, generator=generator, dtype=torch.float64)
    upper = lower + torch.rand(20, 3, 1, generator=generator, dtype=torch.float64) * 1.5
    said = least_variance(Box(lower, upper))
    middles = torch.linspace(-4.0, 4.0, 2001, dtype=torch.float64).reshape(-1, 1, 1, 1)
    least = ((middles.clamp(lower, upper) - middles) ** 2).mean(-1).amin(0)
    assert bool((said <= least + 1e-15).all())
    assert bool((said >= least - 1e-3).all())
    infinite = Box(torch.full_like(lower, -math.inf), upper)
    assert bool((least_variance(infinite) == 0).all())
