"""The program an ellipsoid runs through: linear steps, slope steps and gain steps on scaled values.

Values are vectors of differences, f(x) - f(y) for two inputs of one box. Each is held divided by its own power of
two, so that nothing in a deep or badly scaled network leaves the range of float64: value k stands for 2^e_k of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch


@final
@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """(targets stacked) = W (sources stacked), where |W - matrix| <= eta majorant + loss entrywise, |W| <= majorant
    (1 + eta). kept: the values alive afterwards, besides the targets; of every step alike."""

    sources: tuple[int, ...]
    targets: tuple[int, ...]
    matrix: torch.Tensor
    majorant: torch.Tensor
    eta: float
    loss: float
    kept: tuple[int, ...] = ()


@final
@dataclass(frozen=True, slots=True, eq=False)
class Slope:
    """target_i = s_i source_i with |s_i - centre_i| <= radius_i, one s_i for every pair of inputs."""

    source: int
    target: int
    centre: torch.Tensor
    radius: torch.Tensor
    kept: tuple[int, ...] = ()

    @property
    def sources(self) -> tuple[int, ...]:
        return (self.source,)

    @property
    def targets(self) -> tuple[int, ...]:
        return (self.target,)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Gain:
    """|target| <= factor |source|, in l2."""

    source: int
    target: int
    factor: float
    kept: tuple[int, ...] = ()

    @property
    def sources(self) -> tuple[int, ...]:
        return (self.source,)

    @property
    def targets(self) -> tuple[int, ...]:
        return (self.target,)


Step = Linear | Slope | Gain


@final
@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """Steps from value 0, the input (never scaled), to value `output`, which stands for 2^exponent of it.

    exponents: those of all values.
    """

    steps: tuple[Step, ...]
    sizes: tuple[int, ...]
    output: int
    exponent: int
    exponents: tuple[int, ...]

    def starts(self) -> bool:
        """Whether the first step is linear, reads the input and leaves nothing of it alive."""
        first = self.steps[0] if self.steps else None
        return isinstance(first, Linear) and not first.kept
