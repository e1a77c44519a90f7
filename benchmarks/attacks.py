"""The attack of `certify` beside those of foolbox, on the same samples, in the same domain, in float64.

Run `make bench-attacks`, or `python -m benchmarks.attacks [--norms l2 linf] [--seconds 6.7] [--only NAME ...]`. Without
foolbox (`pip install foolbox numba requests`) only ours is run. Medians are over the samples that are right; one
without a counterexample counts as infinitely far. Seconds are of processor time, one thread.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import time
import warnings
from typing import Any

import numpy as np
import torch

from benchmarks.regions import RADII, data
from lipaudit.audit import Domain, Settings
from lipaudit.audit.certifying import without_softmax
from lipaudit.audit.regions import drawn
from lipaudit.audit.subject import subject
from lipaudit.graph.graph import Graph
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.probes.aims import OtherClass
from lipaudit.probes.attack import nearest_changes

OTHERS: dict[Norm, tuple[tuple[str, str, dict[str, int]], ...]] = {
    Norm.L2: (
        ("DeepFool", "L2DeepFoolAttack", {}),
        ("DDN 1000", "DDNAttack", {"steps": 1000}),
        ("FMN 1000", "L2FMNAttack", {"steps": 1000}),
        ("BB 1000", "L2BrendelBethgeAttack", {"steps": 1000}),
    ),
    Norm.LINF: (
        ("DeepFool", "LinfDeepFoolAttack", {}),
        ("FMN 1000", "LInfFMNAttack", {"steps": 1000}),
        ("BB 1000", "LinfinityBrendelBethgeAttack", {"steps": 1000}),
    ),
    Norm.L1: (("FMN 1000", "L1FMNAttack", {"steps": 1000}), ("EAD", "EADAttack", {})),
}

FAR = 20.0
"""Where a network has no domain, foolbox is given one that stops nothing."""


class Module(torch.nn.Module):
    """A graph as foolbox wants it."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.graph.forward(x).flatten(1)


def samples(name: str) -> tuple[Graph, torch.Tensor, torch.Tensor, Box | None] | None:
    """The network up to its logits, and the samples of the table of radii that are right."""
    _, where, domain, limit = next(row for row in RADII if row[0] == name)
    path, x, y = data(where)
    if not path.exists():
        return None
    ends = [float(end) for end in domain.split(",")] if domain else []
    target = subject(path, Settings(domain=Domain(ends[0], ends[1], domain) if ends else None))
    graph = without_softmax(target.simplified)
    picked = drawn(len(x), limit, 0)
    some = np.arange(len(x)) if picked is None else picked
    points = torch.as_tensor(np.ascontiguousarray(x[some]), dtype=torch.float64).reshape(len(some), *graph.input_shape)
    answers = graph.forward(points).flatten(1).argmax(1)
    labels = answers if y is None else torch.as_tensor(y[some]).reshape(-1).long()
    right = answers == labels
    if target.region is not None:
        right &= ((points >= target.region.lower) & (points <= target.region.upper)).flatten(1).all(1)
    return graph, points[right], labels[right], target.region


def others(
    graph: Graph, norm: Norm, x: torch.Tensor, labels: torch.Tensor, region: Box | None
) -> list[tuple[str, str, float]]:
    """(attack, median, seconds a sample) of each of foolbox's."""
    found = []
    foolbox, attacks = (importlib.import_module(part) for part in ("foolbox", "foolbox.attacks"))
    low, high = (-FAR, FAR) if region is None else (float(region.lower.min()), float(region.upper.max()))
    model = foolbox.PyTorchModel(Module(graph).eval(), bounds=(low, high), device="cpu")
    for label, name, options in OTHERS[norm]:
        torch.manual_seed(0)
        started = time.process_time()
        try:
            made: Any = getattr(attacks, name)(**options)(model, x, labels, epsilons=None)[1]
        except (AssertionError, ImportError, ValueError) as error:  # BB stops where its start is not adversarial
            found.append((label, f"none ({type(error).__name__})", float("nan")))
            continue
        seconds = (time.process_time() - started) / len(x)
        changed = graph.forward(made).flatten(1).argmax(1) != labels
        found.append((label, median(torch.where(changed, norm.of(made - x), torch.inf)), seconds))
    return found


def median(distances: torch.Tensor) -> str:
    """Also of how many there is one, where it is not all."""
    have = int(distances.isfinite().sum())
    return f"{np.median(distances):.4g}" + ("" if have == len(distances) else f" ({have} of {len(distances)})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--norms", nargs="*", default=["l2", "linf"])
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument(
        "--seconds", type=float, default=20.0 / 3.0, help="what ours is reckoned to take (10 s of --attack)"
    )
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for name in given.only or [row[0] for row in RADII]:
        ready = samples(name)
        if ready is None:
            print(f"| {name} | not there |")
            continue
        graph, x, labels, region = ready
        for norm in map(Norm, given.norms):
            started = time.process_time()
            ours = nearest_changes(graph, norm, x, OtherClass(labels), region, seconds=given.seconds)
            seconds = (time.process_time() - started) / len(x)
            rows = [("ours", median(ours.distances), seconds)]
            if importlib.util.find_spec("foolbox") is not None:
                rows += others(graph, norm, x, labels, region)
            told = " | ".join(f"{label} {value}, {took:.3f} s" for label, value, took in rows)
            print(f"| {name} | {norm.value} | {len(x)} | {told} |", flush=True)


if __name__ == "__main__":
    main()
