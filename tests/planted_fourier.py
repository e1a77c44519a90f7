"""Mistakes in the Fourier recursion, each with a law that must see it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
import torch

from lipaudit.engines import fourier_blocks, fourier_build, fourier_rounding, fourier_state, fourier_symbols
from lipaudit.engines import fourier_verify as verify_module
from lipaudit.engines.fourier_build import program
from lipaudit.engines.fourier_program import Bend
from lipaudit.engines.fourier_recursion import Symbols, closed, jacobi, row_sums
from lipaudit.engines.fourier_verify import verified
from lipaudit.graph.graph import Graph
from lipaudit.graph.problem import Problem
from lipaudit.linear.conv import Conv
from lipaudit.linear.map import Adjoint, LinearMap
from lipaudit.linear.selection import Selection
from lipaudit.numerics.norms import Norm
from lipaudit.ops import activations
from lipaudit.ops.affine import Affine
from lipaudit.ops.maxlike import Pool, WindowMax
from tests.cases.conv_graphs import Images
from tests.cases.graphs import windows_of
from tests.laws.slope_laws import worst_slopes

Law = Callable[[], None]


class Plant(NamedTuple):
    """name: the mistake; patch: makes it; law: holds without it, and must fail with it."""

    name: str
    patch: Callable[[pytest.MonkeyPatch], None]
    law: Law

    def __str__(self) -> str:
        return self.name


def bound_of(graph: Graph) -> float:
    """The proven bound of a closed form."""
    steps = program(Problem.over(graph, Norm.L2))
    found = (closed(Symbols(steps, 2**24), rule) for rule in (jacobi(0.5), row_sums(0.5)))
    return min((verified(steps, guess) for _, guess in filter(None, found)), default=math.inf)


def above(graph: Graph, seed: int, *, starts: int = 2) -> None:
    """The bound is above every Jacobian that the slopes allow."""
    worst, bound = worst_slopes(Problem.over(graph, Norm.L2), seed, starts=starts), bound_of(graph)
    assert worst <= bound * (1 + 1e-12), f"seed {seed}: {worst!r} is allowed, {bound!r} is the bound"


# ------------------------------------------------------------------------------------------------ laws


def small_conv(s: Images, value: int, *, padded: bool = True) -> Conv:
    """A convolution with as much padding as its kernel has room for: on two or three positions that is most of it."""
    channels, *size = s.at(value)[1:]
    kernel = s.normal(1, channels, *[3] * len(size))
    pad = 1 if padded else 0
    return Conv(kernel, s.at(value), (1,) * len(size), (1,) * len(size), ((pad, pad),) * len(size))


def linear_chains() -> None:
    """Convolutions with nothing between: the constant is the norm of a matrix."""
    for seed in range(40):
        s = Images(seed, 3)
        s.shape = (1, 1, *[s.some(2, 3)] * (1 + seed % 2))
        x = s.affine(small_conv(s, 0), 0)
        above(s.graph(s.affine(small_conv(s, x), x)), seed, starts=1)


def hardly_bent_chains() -> None:
    """The same with slopes of [0.95, 1] between."""
    for seed in range(40):
        s = Images(seed, 3)
        s.shape = (1, 1, *[s.some(2, 3)] * (1 + seed % 2))
        x = s.function(s.affine(small_conv(s, 0), 0), activations.leaky_relu(0.95))
        above(s.graph(s.affine(small_conv(s, x), x)), seed)


def odd_shapes() -> None:
    """One convolution with any stride, dilation and padding, or the transpose of one, before a dense head or alone."""
    for seed in range(60):
        s = Images(seed, 5)
        part: LinearMap = s.conv(0, 2)
        if seed % 3 == 0:
            there = Conv(
                s.normal(s.shape[1], 2, *[2] * (len(s.shape) - 2)),
                (1, 2, *(2 * n for n in s.shape[2:])),
                (2,) * (len(s.shape) - 2),
                (1,) * (len(s.shape) - 2),
                ((0, 0),) * (len(s.shape) - 2),
            )
            part = Adjoint(there)
        x = s.affine(part, 0)
        above(s.graph(s.dense(x, 2) if seed % 2 else x), seed, starts=1)


def sums() -> None:
    """Two convolutions of one value, of other dilations and offsets, added up: how they lie to each other counts."""
    for seed in range(20):
        s = Images(seed, 4)
        s.shape = (1, 1, 6)
        wide = Conv(s.normal(1, 1, 3), s.shape, (1,), (2,), ((2, 2),))
        near = Conv(s.normal(1, 1, 3), s.shape, (1,), (1,), ((1, 1),))
        above(s.graph(s.add(Affine((wide, near)), 0, 0)), seed, starts=1)


def skips() -> None:
    """A branch and its skip, of one resolution or with a stride in both; a channel-wise concatenation of two."""
    for seed in range(30):
        s = Images(seed, 4)
        s.shape = (1, 1, 4)
        stride = 1 + seed % 2
        x = s.affine(small_conv(s, 0), 0)
        y = s.function(s.affine(Conv(s.normal(1, 1, 3), (1, 1, 4), (stride,), (1,), ((1, 1),)), x), activations.relu())
        main = Conv(s.normal(1, 1, 3), s.at(y), (1,), (1,), ((1, 1),))
        skip: LinearMap = Selection.reshape((1, 1, 4), (1, 1, 4))
        if stride > 1:
            skip = Conv(s.normal(1, 1, 1) * 3, (1, 1, 4), (2,), (1,), ((0, 0),))
        above(s.graph(s.add(Affine((main, skip)), y, x)), seed)


def pools() -> None:
    """Max pooling of a convolution, with windows that overlap or not."""
    for seed in range(24):
        s = Images(seed, 4)
        s.shape = (1, 1, 4)
        x = s.affine(small_conv(s, 0), 0)
        kernel, stride = ((2,), (2,)) if seed % 2 else ((3,), (1,))
        windows = windows_of(s.at(x), kernel, stride, (1,))
        op = WindowMax(
            windows.reshape(-1, kernel[0]),
            s.at(x),
            tuple(windows.shape[:-1]),
            pool=Pool(kernel, stride, (0,), (1,), False),
        )
        above(s.graph(s.add(op, x)), seed)


def other_multipliers() -> None:
    """Multipliers that are too small, negative or of another shape prove nothing that is false."""
    for seed in range(12):
        s = Images(seed, 4)
        s.shape = (1, 1, 4)
        x = s.function(s.affine(small_conv(s, 0), 0), activations.absolute())
        graph = s.graph(s.affine(small_conv(s, x), x))
        problem = Problem.over(graph, Norm.L2)
        worst, steps = worst_slopes(problem, seed), program(problem)
        found = closed(Symbols(steps, 2**24), jacobi(0.5))
        assert found is not None
        for factor in (0.6, 0.3, -1.0, -3.0):
            value = verified(steps, {place: theta * factor for place, theta in found[1].items()})
            assert worst <= value * (1 + 1e-12), f"seed {seed}: {worst!r} is allowed, {value!r} is said"


# ------------------------------------------------------------------------------------------------ mistakes


def attribute(target: object, name: str, value: object) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: patch.setattr(target, name, value)


def _mistaken_as_clean(patch: pytest.MonkeyPatch) -> None:
    real = fourier_state.State.bend

    def bend(self: Any, source: int, low: Any, high: Any, clean: bool, kept: list[int]) -> int:
        return real(self, source, low, high, True, kept)

    patch.setattr(fourier_state.State, "bend", bend)
    patch.setattr(fourier_build._Planner, "_reads_outside", lambda self, name: False)


def _no_cut(patch: pytest.MonkeyPatch) -> None:
    def cut(self: fourier_state.State, source: int, kept: list[int]) -> int:
        self.values[source] = replace(self.values[source], clean=True)
        return source

    patch.setattr(fourier_state.State, "cut", cut)


def _folded(change: Callable[[torch.Tensor, int], torch.Tensor]) -> Callable[[pytest.MonkeyPatch], None]:
    real = fourier_symbols.folded

    def folded(left: Any, right: Any, cells: Any, factor: Any, product: Any = torch.matmul) -> torch.Tensor:
        return change(real(left, right, cells, factor, product), math.prod(factor))

    return attribute(verify_module, "folded", folded)


def _first_alias(left: Any, right: Any, cells: Any, factor: Any, product: Any = torch.matmul) -> torch.Tensor:
    place, turned = fourier_symbols.aliases(cells, factor) if any(f > 1 for f in factor) else (None, None)
    if place is None or turned is None:
        whole: torch.Tensor = product(left, right.mH)
        return whole
    taken = product(left[place[:, 0]], right[place[:, 0]].mH)
    return torch.where(turned[:, 0, None, None], taken.conj(), taken)


def _unverified(y: torch.Tensor, theta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """An inverse root of |G|, whatever G is."""
    g = torch.diag(theta).to(y.dtype) - y
    values, vectors = torch.linalg.eigh(g)
    root = vectors / values.abs().clamp_min(1e-9).sqrt()[:, None]
    return root.mH, torch.ones(len(y), dtype=torch.float64)


def _any_sign(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(verify_module, "_positive", lambda multipliers, place, count: multipliers[place])
    patch.setattr(fourier_rounding, "_inverse_root", _unverified)


def _half_radius(step: Bend) -> Bend:
    return replace(step, radius=step.radius * 0.5)


def _bend_of(change: Callable[[Bend], Bend]) -> Callable[[pytest.MonkeyPatch], None]:
    real = verify_module._bend
    return attribute(verify_module, "_bend", lambda y, step, theta: real(y, change(step), theta))


def _uncorrelated(patch: pytest.MonkeyPatch) -> None:
    """What is kept is taken as independent of what is bent."""
    real = fourier_rounding.eliminated

    def eliminated(y: Any, v: Any, theta: Any, rest: Any, *more: Any) -> torch.Tensor:
        made = real(y, v, theta, rest, *more)
        k = len(rest)
        made[:, :k, k:], made[:, k:, :k] = 0.0, 0.0
        return made

    patch.setattr(verify_module, "eliminated", eliminated)


def _untransposed(part: Any, position: Any, tap: Any) -> Any:
    return _READ(replace(part, transposed=False), position, tap)


def _undilated(part: Any, position: Any, tap: Any) -> Any:
    return _READ(replace(part, dilation=(1,) * len(part.dilation)), position, tap)


_READ = fourier_blocks._read


def _half_of_frequencies(cells: Any) -> Any:
    """The other half is left out of means."""
    found = fourier_symbols.half.__wrapped__(cells)
    return replace(found, weight=torch.ones_like(found.weight) * (0.5 if cells and cells[-1] > 2 else 1.0))


def catalogue() -> list[Plant]:
    """Every planted mistake."""
    return [
        Plant("a padded convolution reads what a linear one says outside", _no_cut, linear_chains),
        Plant("a slope range without 0 counts as 0 outside", _mistaken_as_clean, hardly_bent_chains),
        Plant(
            "a torus of the image's size",
            attribute(fourier_state.State, "_positions", lambda self, target: [target.value.size]),
            odd_shapes,
        ),
        Plant("aliases divided by their number once more", _folded(lambda y, n: y / n), odd_shapes),
        Plant("only the first alias", attribute(verify_module, "folded", _first_alias), odd_shapes),
        Plant(
            "half of the frequencies in a dense head",
            attribute(verify_module, "half", _half_of_frequencies),
            odd_shapes,
        ),
        Plant(
            "transposed convolutions read as plain ones", attribute(fourier_blocks, "_read", _untransposed), odd_shapes
        ),
        Plant("dilation ignored", attribute(fourier_blocks, "_read", _undilated), sums),
        Plant("half of the slopes' range", _bend_of(_half_radius), hardly_bent_or_skips),
        Plant("a skip is independent of its branch", _uncorrelated, skips),
        Plant(
            "the winner of a window moves by half of what it may",
            attribute(fourier_build, "div_up", lambda a, b: 0.25 * a / b),
            pools,
        ),
        Plant(
            "multipliers that were not verified",
            attribute(fourier_rounding, "_inverse_root", _unverified),
            other_multipliers,
        ),
        Plant("negative multipliers", _any_sign, other_multipliers),
    ]


def hardly_bent_or_skips() -> None:
    """Both laws of slopes."""
    hardly_bent_chains()
    skips()
    other_multipliers()
