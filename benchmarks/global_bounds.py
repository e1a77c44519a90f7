"""Global l2 bounds: the product of layer gains against certified ellipsoids and the optimum of LipSDP-Neuron.

Run `python benchmarks/global_bounds.py [--seconds 30] [NAME ...]` beside ../shared (its networks are not part of the
repository; sample_models are). One thread. `ratio` is the ellipsoid over the product; `of optimum` the ellipsoid over
the optimum of the semidefinite program as measured with other solvers (models_peers/manifest.json).
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import torch

from lipaudit.audit.settings import Settings
from lipaudit.audit.subject import subject
from lipaudit.engines.ellipsoid import Ellipsoid
from lipaudit.engines.engine import run
from lipaudit.engines.layer_product import LayerProduct
from lipaudit.graph.problem import Problem
from lipaudit.numerics.norms import Norm

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
MORE = ("mnistfc_256x2", "eran_sigmoid_6x200")


def optima() -> dict[str, float]:
    """The known optima of LipSDP-Neuron, by the network's name."""
    path = SHARED / "models_peers" / "manifest.json"
    if not path.is_file():
        return {}
    entries = json.loads(path.read_text())
    found = {entry["name"]: entry.get("measured", {}).get("lipsdp_upper") for entry in entries}
    return {name: float(value) for name, value in found.items() if value is not None}


def networks() -> list[Path]:
    peers = sorted((SHARED / "models_peers").glob("*.onnx"))
    more = [path for name in MORE if (path := SHARED / "models" / f"{name}.onnx").is_file()]
    return [*peers, *more, *sorted((ROOT / "sample_models").glob("*.onnx"))]


def line(path: Path, seconds: float, optimum: float | None) -> str:
    """One row of the table."""
    graph = subject(path, Settings()).simplified
    problem = Problem.over(graph, Norm.L2)
    product = LayerProduct().bound(problem).value
    started = time.perf_counter()
    outcome = run(Ellipsoid(seconds=seconds), problem)
    took = time.perf_counter() - started
    if outcome.bound is None:
        return f"{path.stem:28} {product:13.6g} {outcome.reason}"
    value = outcome.bound.value
    known = f"{optimum:13.6g} {value / optimum:10.5f}" if optimum else f"{'':13} {'':10}"
    return f"{path.stem:28} {product:13.6g} {value:13.6g} {known} {value / product:8.4f} {took:8.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Global l2 bounds, certified.")
    parser.add_argument("--seconds", type=float, default=30.0, help="at most, for one network")
    parser.add_argument("names", nargs="*", help="only networks whose name contains one of these")
    options = parser.parse_args()
    torch.set_num_threads(1)
    known = optima()
    machine = f"torch {torch.__version__}, {os.cpu_count()} cores, one thread used"
    print(f"{machine}, at most {options.seconds:g} s a network")
    columns = f"{'product':>13} {'ellipsoid':>13} {'LipSDP':>13} {'of optimum':>10} {'ratio':>8} {'seconds':>8}"
    print(f"{'network':28} {columns}", flush=True)
    for path in networks():
        if not options.names or any(name in path.stem for name in options.names):
            print(line(path, options.seconds, known.get(path.stem)), flush=True)


if __name__ == "__main__":
    main()
