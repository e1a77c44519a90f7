"""A campaign against operator norms: random convolutions and merged maps, against dense singular values and balls.

`make fuzz-norms` runs it over 20,000 geometries; a slice is in the test suite. Every map is asked of every method there
is: the pipeline at its default precision and at 1e-7, and each proof of its own, told the truth and told less. Nothing
may lie below the dense float64 singular value lowered by its error bound, and for maps of few rows nothing below what
ball arithmetic proves; what is attained from below may not lie above; the pipeline must be as tight as it says.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import flint
import torch

from lipaudit.linear.conv import Conv
from lipaudit.linear.map import Adjoint, Compose, LinearMap, Sum
from lipaudit.linear.norms import composite, conv_tight, semi_circulant
from lipaudit.linear.norms.conv_l2 import conv_l2
from lipaudit.linear.norms.entries import schur_sum
from lipaudit.linear.norms.limits import Limits
from lipaudit.linear.norms.lower import Lower
from lipaudit.linear.norms.operator import OperatorNorms
from lipaudit.linear.pointwise import Diagonal
from lipaudit.linear.selection import Selection
from lipaudit.numerics.norms import Norm

SMALL = 10
"""Up to this many rows (or columns), every bound is proven again in ball arithmetic of 240 bits."""


class Sample(NamedTuple):
    """A map, and in what words it was drawn."""

    part: LinearMap
    words: str


class Fault(NamedTuple):
    """A bound that is wrong: what was said by whom, and what is true."""

    words: str
    method: str
    said: float
    truth: float


def draw(seed: int) -> Sample:
    """The map of a seed: a convolution, and one time in four something merged with it."""
    chance = random.Random(seed)
    while True:
        conv, kind = _conv(chance)
        if conv is not None:
            break
    shape = f"{conv.source} by {tuple(conv.kernel.shape)}, /{conv.stride} d{conv.dilation} p{conv.pads}"
    words = f"seed {seed}: {kind}, {shape}"
    roll = chance.random()
    if roll < 0.75:
        part: LinearMap = Adjoint(conv) if roll < 0.1 else conv
        return Sample(part, f"{words} g{conv.groups}{' transposed' if roll < 0.1 else ''}")
    name, part = chance.choice([_padded, _pooled, _residual, _scaled])(conv, chance)
    return Sample(part, f"{words} g{conv.groups} {name}")


def _conv(chance: random.Random) -> tuple[Conv | None, str]:
    axes = chance.choice([1, 1, 2, 2, 2, 2, 3])
    sizes = tuple(chance.randint(1, (0, 14, 7, 4)[axes]) for _ in range(axes))
    k = tuple(chance.randint(1, (0, 7, 4, 3)[axes]) for _ in range(axes))
    stride, dilation = (tuple(chance.choice((1, 1, 2, 3)) for _ in range(axes)) for _ in range(2))
    pads = tuple((chance.randint(0, 3), chance.randint(0, 3)) for _ in range(axes))
    if any(h + sum(p) <= (a - 1) * d for h, p, a, d in zip(sizes, pads, k, dilation, strict=True)):
        return None, ""
    groups = chance.choice([1, 1, 1, 2, 3])
    kernel, kind = _kernel(chance, (groups * chance.randint(1, 3), chance.randint(1, 3), *k))
    scale = 10.0 ** chance.uniform(-20.0, 20.0) if chance.random() < 0.5 else 1.0
    return Conv(kernel * scale, (1, kernel.shape[1] * groups, *sizes), stride, dilation, pads, groups), kind


def _kernel(chance: random.Random, shape: tuple[int, ...]) -> tuple[torch.Tensor, str]:
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(chance.randrange(2**40)), dtype=torch.float64)
    out, others = shape[0], math.prod(shape[1:])
    kind = chance.choice(["normal", "sign", "integer", "flat", "rank one", "one tap", "wave", "ones"])
    if kind == "sign":
        noise = torch.where(noise < 0, -1.0, 1.0).double()
    elif kind == "integer":
        noise = (3.0 * noise).round()
    elif kind == "flat":  # orthogonal rows or columns of the reshaped kernel
        noise = torch.linalg.qr(noise.reshape(out, others).mT if out < others else noise.reshape(out, others)).Q
        noise = (noise.mT if out < others else noise).reshape(shape)
    elif kind == "rank one":
        noise = (noise.reshape(out, -1)[:, :1] * noise.reshape(out, -1)[:1]).reshape(shape)
    elif kind == "one tap":
        tap = torch.zeros(math.prod(shape[2:]), dtype=torch.float64)
        tap[chance.randrange(len(tap))] = 1.0
        noise = noise * tap.reshape(shape[2:])
    elif kind == "wave":  # loudest at a frequency that few grids have
        index = torch.stack(torch.meshgrid(*map(torch.arange, shape[2:]), indexing="ij")).sum(0)
        noise = (
            torch.cos(chance.uniform(0.0, math.pi) * index + chance.uniform(0.0, 3.0)).expand(shape).clone().double()
        )
    elif kind == "ones":
        noise = torch.ones_like(noise)
    return noise, kind


def _padded(conv: Conv, chance: random.Random) -> tuple[str, LinearMap]:
    """A convolution without zeros behind another padding, as ONNX Pad has it."""
    mode = chance.choice(["reflect", "edge", "wrap"])
    inner, picked = torch.arange(conv.in_size).reshape(conv.source), []
    for axis, (begin, end) in enumerate(conv.pads):
        n = conv.source[2 + axis]
        index = torch.arange(-begin, n + end)
        if mode == "edge":
            index = index.clamp(0, n - 1)
        elif mode == "wrap":
            index = index % n
        else:
            period = max(1, 2 * (n - 1))
            index = (n - 1 - (index % period - (n - 1)).abs()) % n
        picked.append(index)
    for axis, index in enumerate(picked):
        inner = inner.index_select(2 + axis, index)
    bare = replace(conv, source=tuple(inner.shape), pads=((0, 0),) * len(conv.pads))
    return f"behind {mode} padding", Compose((Selection.of(conv.source, inner), bare))


def _pooled(conv: Conv, chance: random.Random) -> tuple[str, LinearMap]:
    shape = conv.out_shape
    window = tuple(min(n, 2) for n in shape[2:])
    kernel = torch.full((shape[1], 1, *window), 1.0 / math.prod(window), dtype=torch.float64)
    ones = (1,) * len(window)
    return "pooled", Compose((conv, Conv(kernel, shape, window, ones, ((0, 0),) * len(window), shape[1])))


def _residual(conv: Conv, chance: random.Random) -> tuple[str, LinearMap]:
    """x + c conv'(conv x), which has one shape for any geometry."""
    around = Compose((conv, Adjoint(conv)))
    peak = float(conv.kernel.abs().max()) or 1.0
    scale = Diagonal(torch.tensor(chance.uniform(-1.0, 1.0) / peak / peak, dtype=torch.float64), conv.source)
    return "residual", Sum((Selection.reshape(conv.source, conv.source), Compose((around, scale))))


def _scaled(conv: Conv, chance: random.Random) -> tuple[str, LinearMap]:
    noise = torch.randn(conv.out_shape, generator=torch.Generator().manual_seed(chance.randrange(2**40)))
    return "scaled by entry", Compose((conv, Diagonal(noise.double(), conv.out_shape)))


def audit(sample: Sample) -> Iterator[Fault]:
    """Every bound of every method that lies on the wrong side."""
    part, matrix = sample.part, sample.part.as_matrix()
    peak = float(matrix.abs().max()) if matrix.numel() else 0.0
    unit = matrix / (2.0 ** math.frexp(peak)[1]) if peak else matrix
    truth = float(torch.linalg.svdvals(unit)[0]) * 2.0 ** math.frexp(peak)[1] if peak else 0.0
    slack = 4.0 * (sum(matrix.shape) + part.roundings) * 2.0**-53
    cancelled = (
        64.0 * part.roundings * 2.0**-53 * float(part.majorant().as_matrix().abs().sum()) if _merged(part) else 0.0
    )
    below = truth * (1.0 - slack) - cancelled
    for method, said in _bounds(part, truth):
        if not said >= below:
            yield Fault(sample.words, method, said, truth)
        elif min(matrix.shape) <= SMALL and not _merged(part) and peak and not _proven(matrix, said):
            yield Fault(sample.words, f"{method}, in balls", said, truth)
    for precision in (1e-3, 1e-7):
        account = OperatorNorms(Limits(precision=precision)).account((part,), Norm.L2)
        low = 0.0 if account.lower is None else account.lower.value
        if low > truth * (1.0 + slack) + cancelled:
            yield Fault(sample.words, "attained", low, truth)
        if account.upper.value > (truth * (1.0 + slack) + cancelled) * (1.0 + 2.0 * precision) + 1e-290:
            yield Fault(sample.words, f"not within {precision:g}", account.upper.value, truth)


def _merged(part: LinearMap) -> bool:
    return isinstance(part, Compose | Sum)


def _bounds(part: LinearMap, truth: float) -> Iterator[tuple[str, float]]:
    for precision in (1e-3, 1e-7):
        yield f"pipeline {precision:g}", OperatorNorms(Limits(precision=precision)).of(part, Norm.L2).value
    told = [Lower(factor * truth, factor * truth) for factor in (1.0, 0.97)]
    inner = part.of if isinstance(part, Adjoint) else part
    if _merged(part):
        yield "without a copy", OperatorNorms(Limits(entries=0, small_side=0)).of(part, Norm.L2).value
        schur = schur_sum(part)
        if 1e-150 < schur < 1e150 and truth > 0.0:
            for lower in told:
                found = composite._banded(part, lower.value, schur, Limits())
                assert found is not None
                yield "sparse", found.value
        return
    assert isinstance(inner, Conv)
    yield (
        "embedding",
        conv_l2(inner.kernel, inner.source[2:], inner.stride, inner.dilation, inner.pads, inner.groups).value,
    )
    if inner.groups == 1:
        kernel, axes = conv_tight.live(inner)
        if kernel.numel() and bool(kernel.any()):
            for lower in told:
                yield "band", conv_tight.band(kernel, axes, lower, Limits(precision=1e-7)).value
                if len(axes) > 1:
                    yield "semi", semi_circulant.semi_circulant(kernel, axes, lower, Limits(precision=1e-7)).value


def _proven(matrix: torch.Tensor, bound: float) -> bool:
    """Whether ||A|| < bound (1 + 2^-80) in ball arithmetic: b^2 I - A A' = L D L' with every D > 0."""
    if bound == math.inf:
        return True
    flint.ctx.prec = 240
    rows = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mT
    a = flint.arb_mat(rows.shape[0], rows.shape[1], [flint.arb(v) for v in rows.flatten().tolist()])
    gram = a * a.transpose()
    n = rows.shape[0]
    square = (flint.arb(bound) * (1 + flint.arb(2) ** -80)) ** 2
    work = [[(square if i == j else flint.arb(0)) - gram[i, j] for j in range(n)] for i in range(n)]
    for k in range(n):
        if not work[k][k] > 0:
            return False
        for i in range(k + 1, n):
            factor = work[i][k] / work[k][k]
            for j in range(k + 1, i + 1):
                work[i][j] -= factor * work[j][k]
    return True


def campaign(seeds: range, tell: Callable[[str], None] = lambda line: None) -> tuple[list[Fault], Counter[str]]:
    """The faults of all seeds, and how often each kind was drawn."""
    faults, drawn = [], Counter[str]()
    for seed in seeds:
        sample = draw(seed)
        drawn[sample.words.split(": ")[1].split(",")[0]] += 1
        drawn[type(sample.part).__name__] += 1
        for fault in audit(sample):
            faults.append(fault)
            tell(f"{fault.method}: {fault.said!r} for {fault.truth!r}   {fault.words}")
    return faults, drawn


def say(line: str) -> None:
    """A line on stdout."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run from the command line; exit code 1 where anything was wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    started = time.process_time()
    faults, drawn = campaign(range(given.seed, given.seed + given.count), say)
    kinds = ", ".join(f"{name} {count}" for name, count in drawn.most_common())
    spent = time.process_time() - started
    say(f"{given.count} maps from seed {given.seed}, {spent:.0f} s: {len(faults)} faults ({kinds})")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
