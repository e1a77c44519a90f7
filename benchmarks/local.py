"""Local Jacobian norms: what `lipaudit local` runs against what one would write without it, on one thread.

Run `make bench-local`, or `python benchmarks/local.py [--repeats 5]`. Every way computes the l2 norm of the Jacobian
at the same inputs in float64 (one more line: the naive loop in float32). Ours works on the network's ONNX file, as
exported by torch, loaded beforehand. Repeats are interleaved, seconds are medians, `speedup` is naive float64 / way,
`apart` the largest relative distance to it.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import logging
import os
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from lipaudit.audit import Settings
from lipaudit.audit.sampling import Sampler
from lipaudit.audit.subject import subject

Way = Callable[[nn.Module, torch.Tensor], torch.Tensor]
BATCH = 32


class Case(NamedTuple):
    name: str
    net: nn.Module
    x: torch.Tensor


def naive(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """One input at a time: `functional.jacobian`, then its spectral norm."""
    rows = []
    for i in range(len(x)):
        j = torch.autograd.functional.jacobian(net, x[i : i + 1])  # type: ignore[no-untyped-call]
        rows.append(torch.linalg.matrix_norm(j.reshape(-1, x[0].numel()), ord=2))
    return torch.stack(rows)


def vmapped(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """`vmap(jacrev)` of the batch, then all singular values."""
    j = torch.func.vmap(torch.func.jacrev(lambda point: net(point[None])[0]))(x)
    values: torch.Tensor = torch.linalg.svdvals(j.reshape(len(x), -1, x[0].numel()))
    return values[:, 0]


def loaded(net: nn.Module, x: torch.Tensor, folder: Path) -> Sampler:
    """The network as lipaudit sees it: exported to ONNX and loaded."""
    path = folder / "net.onnx"
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        torch.onnx.export(copy.deepcopy(net).float(), (x[:1].float(),), str(path), dynamo=True, external_data=False)
        logging.disable(logging.NOTSET)
    return Sampler.of(subject(path, Settings()))


def ours(sampler: Sampler, x: torch.Tensor) -> torch.Tensor:
    return sampler(x.reshape(len(x), *sampler.graph.input_shape)).norm


def cases() -> list[Case]:
    generator = torch.Generator().manual_seed(0)

    def mlp(outputs: int) -> nn.Module:
        hidden = [nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU()]
        return nn.Sequential(*hidden, nn.Linear(256, outputs))

    def cnn(width: int) -> nn.Module:
        first = [nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        second = [nn.Conv2d(width, 2 * width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(98 * width, 10))

    nets = {
        "MLP 64-96-64-10": nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 64), nn.ReLU(), nn.Linear(64, 10)),
        "MLP 784-256-256-10": mlp(10),
        "CNN 8-16, 10 classes": cnn(8),
        "CNN 32-64, 10 classes": cnn(32),
        "MLP 784-256-256-784": mlp(784),
    }
    found = []
    for name, net in nets.items():
        net.double().eval().requires_grad_(False)
        for p in net.parameters():
            spread = p[0].numel() ** -0.5 if p.ndim > 1 else 0.1
            # float32 values, so that the exported file holds the same network
            p.copy_((torch.randn(p.shape, generator=generator, dtype=p.dtype) * spread).float().double())
        first = next(net.children())
        shape = (BATCH, first.in_features) if isinstance(first, nn.Linear) else (BATCH, 1, 28, 28)
        found.append(Case(name, net, torch.rand(shape, generator=generator, dtype=torch.float64)))
    return found


def compare(case: Case, repeats: int, folder: Path) -> None:
    """Prints a line for each way."""
    sampler = loaded(case.net, case.x, folder)
    single, points = copy.deepcopy(case.net).float(), case.x.float()
    ways: dict[str, Callable[[], torch.Tensor]] = {
        "naive": lambda: naive(case.net, case.x),
        "naive float32": lambda: naive(single, points).double(),
        "vmap(jacrev)": lambda: vmapped(case.net, case.x),
        "lipaudit": lambda: ours(sampler, case.x),
    }
    naive(case.net, case.x[:2])
    vmapped(case.net, case.x[:2])
    ours(sampler, case.x[:2])
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, torch.Tensor] = {}
    for _ in range(repeats):
        for name, way_of_case in ways.items():
            begin = time.perf_counter()
            found[name] = way_of_case()
            seconds[name].append(time.perf_counter() - begin)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    for name, median in medians.items():
        apart = float((found[name] / found["naive"] - 1.0).abs().max())
        ratio = medians["naive"] / median
        print(f"{case.name:22} {name:14} {median:9.4f} {ratio:8.1f}x {apart:9.1e}", flush=True)


def machine() -> str:
    """The processor, its cores, and the versions that were measured."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cpu = models[0] if models else platform.processor()
    versions = f"python {platform.python_version()}, torch {torch.__version__}"
    return f"{cpu}, {os.cpu_count()} cores, one thread used; {versions}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Local Jacobian norms against the naive loop.")
    parser.add_argument("--repeats", type=int, default=5, help="interleaved runs of each way")
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    print(machine())
    print(f"l2 norms of {BATCH} Jacobians, float64 unless said; medians of {repeats} interleaved runs")
    print(f"{'network':22} {'way':14} {'seconds':>9} {'speedup':>9} {'apart':>9}")
    with tempfile.TemporaryDirectory() as folder:
        for case in cases():
            compare(case, repeats, Path(folder))


if __name__ == "__main__":
    main()
