"""Laws of the certified convolution norm, checked on the matrix that torch's convolution is."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterable
from typing import NamedTuple

import pytest
import torch
from torch.nn import functional

import lipaudit.linear.norms.conv_l2 as module
from lipaudit.linear.norms.conv_l2 import conv_l2
from lipaudit.numerics.rounding import TINY


class Case(NamedTuple):
    kernel: torch.Tensor
    in_size: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    groups: int

    def matrix(self) -> torch.Tensor:
        """(inputs, outputs), by pushing unit vectors through torch's own convolution."""
        inputs = self.kernel.shape[1] * self.groups * math.prod(self.in_size)
        units = torch.eye(inputs, dtype=torch.float64).reshape(inputs, -1, *self.in_size)
        padded = functional.pad(units, [p for pads in reversed(self.pads) for p in pads])
        convolve = [functional.conv1d, functional.conv2d, functional.conv3d][len(self.in_size) - 1]
        rest = None, self.stride, 0, self.dilation, self.groups
        return convolve(padded, self.kernel, *rest).reshape(inputs, -1)

    def truth(self) -> float:
        return float(torch.linalg.svdvals(self.matrix())[0])


ConvNorm = Callable[[Case], float]


def violations(norm_fn: ConvNorm, cases: Iterable[Case]) -> int:
    """How many of the cases have a dense singular value, less its error, above what is said."""
    return sum(not norm_fn(case) >= case.truth() * (1.0 - 1e-13) for case in cases)


def ours(case: Case, **changes: object) -> float:
    return conv_l2(*case._replace(**changes)).value  # type: ignore[arg-type]


def uniform(kernel: torch.Tensor, size: int, *, s: int = 1, pad: int = 0, groups: int = 1) -> Case:
    n = kernel.dim() - 2
    return Case(kernel, (size,) * n, (s,) * n, (1,) * n, ((pad, pad),) * n, groups)


def gauss(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def cosine(k: tuple[int, ...], omega: float, phase: float = 0.0) -> torch.Tensor:
    """Taps cos(omega (a_1 + a_2 + ..) + phase), loudest at a frequency that is on few grids."""
    index = torch.stack(torch.meshgrid(*map(torch.arange, k), indexing="ij")).sum(0)
    return torch.cos(omega * index.double() + phase)


def draw_kernel(draw: random.Random, shape: tuple[int, ...]) -> torch.Tensor:
    """Gaussian, signs, integers, flat, cosine or a single tap; of some scale."""
    noise = gauss(*shape, seed=draw.randrange(2**40))
    wave = cosine(shape[2:], draw.uniform(0.0, math.pi), draw.uniform(0.0, 3.0))
    tap, ones = torch.zeros_like(noise), torch.ones_like(noise)
    tap.flatten(2)[..., draw.randrange(math.prod(shape[2:]))] = 1.0
    kinds = noise, noise.sign(), (2.0 * noise).round(), ones, ones * wave, noise * tap
    return draw.choice(kinds) * 2.0 ** draw.choice([0, 0, 99, -400])


def geometries(count: int, seed: int) -> list[Case]:
    """Small convolutions: strides, dilations, asymmetric pads, groups, images below kernels."""
    draw, cases = random.Random(seed), list[Case]()
    while len(cases) < count:
        n = draw.choice([1, 1, 2, 2, 2, 3])
        sizes = tuple(draw.randint(1, (0, 12, 6, 4)[n]) for _ in range(n))
        k = tuple(draw.randint(1, (0, 6, 4, 3)[n]) for _ in range(n))
        stride, dilation = (tuple(draw.randint(1, top) for _ in range(n)) for top in (3, 2))
        pads = tuple((draw.randint(0, 3), draw.randint(0, 3)) for _ in range(n))
        groups = draw.choice([1, 1, 2, 3])
        kernel = draw_kernel(draw, (groups * draw.randint(1, 3), draw.randint(1, 3), *k))
        axes = zip(sizes, pads, k, dilation, strict=True)
        if all(h + sum(p) > (a - 1) * d for h, p, a, d in axes):
            cases.append(Case(kernel, sizes, stride, dilation, pads, groups))
    return cases


OFF_GRID = [
    uniform(cosine((k,) * n, omega * math.pi / 12.0)[None, None], 3, pad=k // 2)
    for k, n, omega in itertools.product((2, 3, 5), (1, 2), range(13))
]
CASES = geometries(500, seed=0) + OFF_GRID


def power_iteration(case: Case) -> float:
    matrix, v = case.matrix(), case.matrix().sum(0)
    for _ in range(10):
        v = matrix.mT @ (matrix @ functional.normalize(v, dim=0, eps=TINY))
    return float((matrix @ functional.normalize(v, dim=0, eps=TINY)).norm())


def same_grid(case: Case) -> float:
    """By FFT with the image's own period (Sedghi et al.), where that is defined."""
    fits = all(k <= h for k, h in zip(case.kernel.shape[2:], case.in_size, strict=True))
    if not fits or {*case.stride, *case.dilation, case.groups} != {1}:
        return math.inf
    symbol = torch.fft.fftn(case.kernel, case.in_size, tuple(range(2, case.kernel.dim())))
    return float(torch.linalg.svdvals(symbol.flatten(2).permute(2, 0, 1)).max())


PLANTED: dict[str, ConvNorm] = {
    "power iteration": power_iteration,
    "same-grid FFT": same_grid,
    "reshaped kernel": lambda c: float(torch.linalg.svdvals(c.kernel.flatten(1))[0]),
    "groups": lambda c: math.prod(ours(c, kernel=k, groups=1) for k in c.kernel.chunk(c.groups)),
    "dilation ignored": lambda c: ours(c, dilation=(1,) * len(c.dilation)),
    "stride divides": lambda c: ours(c, stride=(1,) * len(c.stride)) / math.prod(c.stride),
    "epsilon": lambda c: (n := float(c.kernel.norm())) * ours(c, kernel=c.kernel / (n + 1e-9)),
}


@pytest.mark.parametrize("frequencies", [module._FREQUENCIES, 16, 1])
def test_never_below_the_dense_norm(frequencies: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FREQUENCIES", frequencies)  # fewer: a coarser grid
    assert violations(ours, CASES) == 0


@pytest.mark.parametrize("planted", PLANTED)
def test_the_law_rejects_a_planted_bug(planted: str) -> None:
    assert violations(PLANTED[planted], CASES) > 0


@pytest.mark.parametrize("d", [1, 2, 5])
def test_the_factor_of_a_coarse_grid_is_attained(d: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """I + R(t) e^{i d phi} has norm 2 max |cos((d phi +- t) / 2)|: 2, but between two points."""
    monkeypatch.setattr(module, "_FREQUENCIES", 7 * d / 2.0)
    cos, sin = math.cos(math.pi / 7.0), math.sin(math.pi / 7.0)
    kernel = torch.zeros(2, 2, d + 1, dtype=torch.float64)
    kernel[..., 0] = torch.eye(2)
    kernel[..., d] = torch.tensor([[cos, -sin], [sin, cos]], dtype=torch.float64)
    assert 2.0 * (1.0 - 1e-8) <= ours(uniform(kernel, 10**5)) <= 2.0 * (1.0 + 1e-11)


@pytest.mark.parametrize("size", [40, 150, 400])
def test_separable_kernels_on_large_images(size: int) -> None:
    """The norm of a Kronecker product is the product of the norms; at last the grid is coarse."""
    taps = gauss(2, 3, seed=size)
    truth = math.prod(uniform(line[None, None], size, pad=1).truth() for line in taps)
    value = ours(uniform(torch.outer(*taps)[None, None], size, pad=1))
    assert truth * (1.0 - 1e-12) <= value <= truth * 1.01


WIDTHS = [
    (uniform(gauss(6, 2, 1, 1), 5, groups=3), 1e-10),
    (uniform(gauss(3, 1, 3, 3), 9, s=3, groups=3), 1e-10),
    (Case(gauss(4, 4, 7), (2,), (1,), (9,), ((27, 27),), 1), 1e-10),
    (uniform(gauss(4, 4, 3, 3), 16, pad=1), 0.02),
    (uniform(gauss(9, 1, 3, 3), 8, pad=1, groups=9), 0.1),
    (uniform(gauss(2, 2, 3, 3, 3), 7, pad=1), 0.2),
]


@pytest.mark.parametrize(("case", "width"), WIDTHS)
def test_is_tight(case: Case, width: float) -> None:
    truth = case.truth()
    for scale in (1.0, 2.0**-900, 2.0**900):
        value = ours(case, kernel=case.kernel * scale) / scale
        assert truth * (1.0 - 1e-13) <= value <= truth * (1.0 + width)


def test_edges() -> None:
    zero = torch.zeros(2, 2, 3, dtype=torch.float64)
    for nothing in (zero, zero[:0], zero[:, :0]):
        assert ours(uniform(nothing, 5)) == 0.0
    for bad in (math.nan, math.inf, -math.inf):
        assert ours(uniform(zero + bad, 5)) == math.inf
    assert 5e-324 <= ours(uniform(zero + 5e-324, 5)) <= 24.0 * TINY
    assert ours(Case(gauss(1, 1, 1), (1,), (4,), (1,), ((2, 2),), 1)) == 0.0  # reads padding only


def test_what_is_no_convolution_is_refused() -> None:
    case = uniform(gauss(2, 2, 3), 5)
    wrong: dict[str, list[object]] = {
        "kernel": [torch.ones(2, 2, 3), torch.ones(2, 2, dtype=torch.float64)],
        "in_size": [(5, 5), (0,), (2,)],
        **{name: [(0,), (1, 1), ()] for name in ("stride", "dilation")},
        "pads": [((-1, 0),), ((0, -1),), ()],
        "groups": [0, 3],
    }
    for name, value in ((name, value) for name, values in wrong.items() for value in values):
        with pytest.raises(ValueError):
            ours(case, **{name: value})
