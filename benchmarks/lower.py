"""Lower bounds: what the search attains, beside what is known from others, and exact constants of small networks.

Run `python benchmarks/lower.py [--seconds 4] [NAME ...]` beside ../shared. One thread. `known` is the lower bound that
others' searches reach (models_peers/manifest.json); `of upper` the attained value over LipSDP-Neuron's optimum there.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from lipaudit.audit.settings import Domain, Settings
from lipaudit.audit.subject import subject
from lipaudit.engines.exact import Exact
from lipaudit.graph.problem import Problem
from lipaudit.numerics.norms import Norm
from lipaudit.probes.ascent import ascend

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"
MORE = (
    "mnistfc_256x2",
    "eran_sigmoid_6x200",
    "oval21_cifar_base_kw",
    "cifar10_resnet_2b",
    "acasxu_1_1",
    "tll_n8_0_0",
    "dnnv_dronet",
)


def searched(path: Path, seconds: float, known: dict[str, float]) -> str:
    """One row: the search over all inputs, in l2."""
    target = subject(path, Settings())
    started = time.process_time()
    witness = ascend(target.graph, Norm.L2, None, seconds=seconds, guide=target.simplified)
    took = time.process_time() - started
    value = 0.0 if witness is None else witness.bound.value
    before, upper = known.get("lower_bound"), known.get("lipsdp_upper")
    others = f"{before:12.6g}" if before else f"{'':12}"
    share = f"{value / upper:9.4f}" if upper else f"{'':9}"
    return f"{path.stem:26} {value:12.6g} {others} {share} {took:8.2f}"


def exactly(path: Path) -> str:
    """One row: the exact constants over [0, 1] in every norm."""
    target = subject(path, Settings(domain=Domain(0.0, 1.0, "0,1")))
    cells = []
    for norm in Norm:
        started = time.process_time()
        found = Exact().explore(Problem.over(target.simplified, norm, target.region))
        said = "" if found.complete and found.point is not None else " (not ended)"
        cells.append(f"{norm.value} {found.value:.9g}{said} {time.process_time() - started:.2f} s")
    return f"{path.stem:26} {', '.join(cells)}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Lower bounds and exact constants.")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each search")
    parser.add_argument("names", nargs="*", help="only networks whose name contains one of these")
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = SHARED / "models_peers"
    known = {entry["name"]: entry.get("measured", {}) for entry in json.loads((folder / "manifest.json").read_text())}
    paths = [*sorted(folder.glob("*.onnx")), *(SHARED / "models" / f"{name}.onnx" for name in MORE)]
    chosen = [p for p in paths if not options.names or any(name in p.stem for name in options.names)]
    print(f"{'network':26} {'attained':>12} {'known':>12} {'of upper':>9} {'cpu s':>8}", flush=True)
    for path in chosen:
        print(searched(path, options.seconds, known.get(path.stem, {})), flush=True)
    for path in chosen:
        if path.stem.startswith("lipmip"):
            print(exactly(path), flush=True)


if __name__ == "__main__":
    main()
