"""How to audit: plain values, without torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

from lipaudit.errors import UsageError
from lipaudit.linear.norms.limits import DEFAULT_LIMITS, Limits
from lipaudit.numerics.norms import Norm, NormPair, Norms

if TYPE_CHECKING:
    import numpy as np

Progress = Callable[[str, int, int], None]
"""Called with (what is being done, how much is done, of how much)."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Domain:
    """The box of inputs that are possible, in raw units: numbers, or arrays of the shape of one input.

    source: as the user wrote it ('0,1', 'box.npz'), for the report.
    """

    lower: float | np.ndarray
    upper: float | np.ndarray
    source: str


@final
@dataclass(frozen=True, slots=True)
class Preprocess:
    """Raw input x to model input (x - mean) / std, by channel (axis 1 of the input) or one number for all.

    source: as the user declared it, for the report. Declared "none" is mean 0, std 1.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str

    @property
    def trivial(self) -> bool:
        """Whether it changes nothing."""
        return set(self.mean) == {0.0} and set(self.std) == {1.0}


@final
@dataclass(frozen=True, slots=True, eq=False)
class Fixed:
    """The value of an input that does not vary: a number for all its entries, or an array of its shape.

    source: as the user wrote it, for the report.
    """

    value: float | np.ndarray
    source: str


@final
@dataclass(frozen=True, slots=True)
class Settings:
    """How to audit.

    norm: one norm for both sides, or a pair (of inputs, of outputs).
    methods: names of engines, () for all that apply. budget: seconds for the upper bounds. precision: how far above
    the truth the norm of a linear map may be, relatively, before a costlier method is tried; memory: bytes for one.
    device: where `local`
    computes Jacobian norms ('cpu', 'cuda'); whatever is certified is computed on the CPU.
    shapes, output, inputs, fixed: which function of the file is audited: the shapes of open axes, the output, the
    inputs that vary (jointly; (): all that have no value in `fixed`), and the values of others by name.
    modulus: whether ops that jump are read, for an affine modulus instead of a Lipschitz constant (bound and certify).
    example: what a torch module is called with to be exported, a tensor or a tuple of them; of no use for files.
    """

    norm: Norms = Norm.L2
    domain: Domain | None = None
    preprocess: Preprocess | None = None
    methods: tuple[str, ...] = ()
    budget: float = 60.0
    precision: float = 1e-3
    memory: float = 2.0**31
    seed: int = 0
    device: str = "cpu"
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    output: str | None = None
    inputs: tuple[str, ...] = ()
    fixed: Mapping[str, Fixed] = field(default_factory=dict)
    modulus: bool = False
    example: object = None

    @property
    def pair(self) -> NormPair:
        """The norms of inputs and outputs."""
        return NormPair.of(self.norm)

    @property
    def limits(self) -> Limits:
        """What one operator norm may cost. A precision that was asked for is worth the whole budget."""
        if self.precision >= DEFAULT_LIMITS.precision:
            return Limits(precision=self.precision, memory=self.memory)
        return Limits(precision=self.precision, flops=math.inf, memory=self.memory)

    def one_norm(self, why: str) -> Norm:
        """The norm of both sides. Raises UsageError, with the reason, where they differ."""
        if self.pair.mixed:
            raise UsageError(f"--norm {self.pair.source.value}:{self.pair.target.value}: {why}")
        return self.pair.source


DEFAULTS = Settings()
"""The norm l2, all inputs, every method that applies."""
