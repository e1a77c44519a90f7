"""docs/benchmarks.md: spectral norms of convolutions, ours beside the field's published methods, in one run.

`make bench-norms` takes every convolution of the networks in ../shared/models and a random set of CIFAR size, and
prints for each method the ratio to the true norm and its processor time. "True" is what is attained from below, never
above the truth, and within 1e-6 of it by our tightest proof. The others are written anew from their papers, in float64:

  embedding on the image's own grid   Sedghi et al. 2019, Delattre et al. 2023 (lip4conv): period H, stride ignored
  Gram iteration of the kernel        Delattre et al. 2024 (lip4conv, orthogonium): 4 steps, stride ignored
  reshaped kernel and coefficient     deel-torchlip: ||reshape(K)|| sqrt(ceil(k / s) ...), one a group
  power iteration                     10 and 100 steps, what spectral normalisation does: a value from below
  svdvals                             of the dense matrix, to 1200 rows

and then, for each network with a convolution, what all its merged linear layers take at both precisions.
"""

from __future__ import annotations

import argparse
import math
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch.nn import functional

from lipaudit.audit.settings import Settings
from lipaudit.audit.subject import subject
from lipaudit.errors import LipauditError
from lipaudit.graph.problem import Problem
from lipaudit.linear.conv import Conv
from lipaudit.linear.map import Adjoint, Compose, LinearMap, Sum
from lipaudit.linear.norms.limits import Limits
from lipaudit.linear.norms.operator import OperatorNorms
from lipaudit.loading import load_model
from lipaudit.numerics.norms import Norm
from lipaudit.ops.affine import Affine

MODELS = Path(__file__).parents[2] / "shared" / "models"
DENSE = 1200
GRAM_FLOPS = 1e10


class Layer(NamedTuple):
    """One convolution, and which set it is counted in."""

    group: str
    name: str
    conv: Conv


def collected() -> Iterator[Layer]:
    """Every convolution of the networks, each once."""
    for path in sorted(MODELS.glob("*.onnx")):
        try:
            graph = load_model(path).graph
        except LipauditError:  # refused: not what is measured here
            continue
        for node in graph.nodes:
            for part in node.op.maps if isinstance(node.op, Affine) else ():
                for conv in _convs(part):
                    if conv.groups < conv.kernel.shape[0] or conv.groups == 1:
                        strided = max(conv.stride) > 1
                        yield Layer("trained, strided" if strided else "trained", f"{path.stem} {node.name}", conv)


def _convs(part: LinearMap) -> Iterator[Conv]:
    match part:
        case Conv():
            yield part
        case Adjoint():
            yield from _convs(part.of)
        case Compose():
            for piece in part.maps:
                yield from _convs(piece)
        case Sum():
            for term in part.terms:
                yield from _convs(term)
        case _:
            return


def drawn() -> Iterator[Layer]:
    """A random set of CIFAR size: (in, out, kernel, image, stride, groups, dilation)."""
    for place, (c, o, k, h, s, g, d) in enumerate(
        [
            (3, 16, 3, 32, 1, 1, 1),
            (16, 16, 3, 32, 1, 1, 1),
            (16, 32, 3, 32, 2, 1, 1),
            (32, 32, 3, 16, 1, 1, 1),
            (32, 64, 3, 16, 2, 1, 1),
            (64, 64, 3, 8, 1, 1, 1),
            (64, 64, 3, 16, 1, 1, 1),
            (64, 64, 3, 32, 1, 1, 1),
            (3, 64, 7, 32, 2, 1, 1),
            (16, 16, 5, 16, 1, 1, 1),
            (16, 16, 3, 16, 1, 1, 2),
            (64, 64, 3, 32, 1, 64, 1),
            (32, 32, 3, 32, 1, 4, 1),
            (128, 128, 3, 8, 1, 1, 1),
            (64, 128, 3, 32, 2, 1, 1),
        ]
    ):
        noise = torch.randn((o, c // g, k, k), generator=torch.Generator().manual_seed(place), dtype=torch.float64)
        pad = d * (k - 1) // 2
        conv = Conv(noise / math.sqrt(c // g * k * k), (1, c, h, h), (s, s), (d, d), ((pad, pad),) * 2, g)
        yield Layer("random", f"{c}->{o} {k}x{k} at {h} /{s} g{g} d{d}", conv)


# ------------------------------------------------------------------------------------------------ methods


def ours(conv: Conv) -> float:
    """What `lipaudit` answers when nothing is asked for."""
    return OperatorNorms().of(conv, Norm.L2).value


def own_grid(conv: Conv) -> float | None:
    """max over the image's own frequencies of the kernel's symbol; a stride only takes outputs away."""
    if conv.groups > 1 or max(conv.dilation) > 1:
        return None
    if any(k > h for k, h in zip(conv.kernel.shape[2:], conv.source[2:], strict=True)):
        return None
    axes = tuple(range(2, conv.kernel.dim()))
    symbol = torch.fft.rfftn(conv.kernel, conv.source[2:], axes).flatten(2).permute(2, 0, 1)
    small = symbol if symbol.shape[1] <= symbol.shape[2] else symbol.mH
    return math.sqrt(float(torch.linalg.eigvalsh(small @ small.mH)[:, -1].max()))


def gram_iteration(conv: Conv, steps: int = 4) -> float | None:
    """The kernel convolved with its own transpose, `steps` times; then the largest sum of |entries| of a row."""
    kernel = conv.kernel
    if conv.groups > 1 or max(conv.dilation) > 1 or kernel.dim() != 4:
        return None
    c = min(kernel.shape[:2])
    side = max(kernel.shape[2:]) * 2 ** (steps - 1)
    if 2.0 * c**3 * side**2 * (2 * side) ** 2 > GRAM_FLOPS:
        return None
    if kernel.shape[0] > kernel.shape[1]:
        kernel = kernel.transpose(0, 1)
    log_scale = 0.0
    for step in range(steps):
        scale = float(kernel.norm())
        log_scale += math.log(scale) / 2.0**step
        kernel = kernel / scale
        pad = (kernel.shape[2] - 1, kernel.shape[3] - 1)
        kernel = functional.conv2d(kernel, kernel, padding=pad)
    bound = float(kernel.abs().sum((1, 2, 3)).max())
    return math.exp(log_scale + math.log(bound) / 2.0**steps)


def coefficient(conv: Conv) -> float:
    """The norm of the reshaped kernel times sqrt(ceil(k / s)) an axis, the largest of the groups."""
    sizes = zip(conv.kernel.shape[2:], conv.stride, strict=True)
    factor = math.sqrt(math.prod(-(-k // s) for k, s in sizes))
    return factor * max(float(torch.linalg.matrix_norm(k.flatten(1), 2)) for k in conv.kernel.chunk(conv.groups))


def power(conv: Conv, steps: int) -> float:
    """The naive estimate."""
    x = torch.randn(conv.source, generator=torch.Generator().manual_seed(0), dtype=torch.float64).unsqueeze(0)
    for _ in range(steps):
        x = conv.adjoint(conv.apply(x / x.norm()))
    return float(conv.apply(x / x.norm()).norm())


def svd(conv: Conv) -> float | None:
    """Of the dense matrix, where that is small."""
    if min(conv.in_size, conv.out_size) > DENSE or conv.in_size * conv.out_size > 2**25:
        return None
    return float(torch.linalg.svdvals(conv.as_matrix())[0])


METHODS: dict[str, Callable[[Conv], float | None]] = {
    "lipaudit": ours,
    "own grid (lip4conv 2023)": own_grid,
    "Gram iteration, 4 (lip4conv 2024, orthogonium)": gram_iteration,
    "coefficient (deel-torchlip)": coefficient,
    "power iteration, 10": lambda conv: power(conv, 10),
    "power iteration, 100": lambda conv: power(conv, 100),
    "svdvals": svd,
}


TIGHTEST = "lipaudit --precision 1e-6"


def measured(layers: list[Layer]) -> None:
    """The table of all methods and sets."""
    found: dict[str, dict[str, list[tuple[float, float]]]] = {name: {} for name in (*METHODS, TIGHTEST)}
    for layer in layers:
        started = time.process_time()
        account = OperatorNorms(Limits(precision=1e-6, flops=math.inf)).account((layer.conv,), Norm.L2)
        spent = time.process_time() - started
        if account.lower is None or not account.lower.value > 0.0:
            continue
        truth = account.lower.value
        found[TIGHTEST].setdefault(layer.group, []).append((account.upper.value / truth, spent))
        for name, method in METHODS.items():
            started = time.process_time()
            said = method(layer.conv)
            spent = time.process_time() - started
            if said is not None:
                found[name].setdefault(layer.group, []).append((said / truth, spent))
    _say("| method | set | layers | ratio, median | ratio, least to largest | seconds, median | seconds, largest |")
    _say("|---|---|---|---|---|---|---|")
    for name, sets in found.items():
        for group, rows in sets.items():
            ratios, seconds = zip(*rows, strict=True)
            low, high = min(ratios), max(ratios)
            middle = statistics.median(ratios)
            cells = (name, group, len(rows), _ratio(middle), f"{_ratio(low)} to {_ratio(high)}")
            _say(f"| {' | '.join(map(str, cells))} | {statistics.median(seconds):.3f} | {max(seconds):.2f} |")


def _ratio(value: float) -> str:
    excess = value - 1.0
    return f"1 + {excess:.0e}" if 0.0 <= excess < 1e-3 else f"{value:.3f}"


def networks() -> None:
    """What all merged linear layers of each network with a convolution take."""
    _say("\n| network | linear layers | largest gap, seconds | with --precision 1e-6 |")
    _say("|---|---|---|---|")
    for path in sorted(MODELS.glob("*.onnx")):
        try:
            target = subject(path, Settings())
        except LipauditError:
            continue
        parts = [node.op.maps for node in target.simplified.nodes if isinstance(node.op, Affine)]
        if not any(True for maps in parts for part in maps for _ in _convs(part)):
            continue
        cells = []
        for precision in (1e-3, 1e-6):
            limits = Settings(precision=precision).limits
            problem = Problem.over(target.simplified, Norm.L2, limits=limits)
            started, gaps = time.process_time(), []
            for maps in parts:
                account = problem.norms.account(maps, Norm.L2)
                if account.lower is not None and account.lower.value > 0.0:
                    gaps.append(account.upper.value / account.lower.value - 1.0)
            cells.append(f"{max(gaps, default=0.0):.0e}, {time.process_time() - started:.1f} s")
        _say(f"| {path.stem} | {len(parts)} | {cells[0]} | {cells[1]} |")


def _say(line: str) -> None:
    print(line, flush=True)


def main() -> None:
    """Both tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--random-only", action="store_true", help="leave the networks out")
    given = parser.parse_args()
    torch.set_num_threads(1)
    _say(f"Python {platform.python_version()}, torch {torch.__version__}, {platform.machine()}, one thread, float64\n")
    measured(([] if given.random_only else list(collected())) + list(drawn()))
    if not given.random_only:
        networks()


if __name__ == "__main__":
    main()
