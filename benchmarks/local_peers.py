"""Certified constants over linf balls of one output, beside what peers answer: `make bench-local`.

auto_LiRPA's Jacobian bounds (Shi et al. 2022, arXiv:2210.07394) came after the last version on PyPI, 0.3 of 2022, which
has none. What is beside ours are its answers, and those of RecurJac and Fast-Lip, recorded with the weights of
lirpa_mnist_fc_3layer for output 1 at one centre, which is not. Fast-Lip (Weng et al. 2018, arXiv:1804.09699: ranges by
linear relaxation, the gradient by intervals) is computed here, and so the centres are chosen: random ones where it
answers what is recorded for both small radii, to 2%, and where the gradient's norm is a little below the largest one
recorded. On the other networks auto_LiRPA as surveyed (0.7.1) has no rule for a node.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from lipaudit.audit import Settings, local
from lipaudit.audit.subject import subject
from lipaudit.graph.graph import Graph
from lipaudit.numerics.norms import Norm
from lipaudit.ops.elementwise import Elementwise

regions: Any = importlib.import_module("regions")  # beside this file
ROOT, SHARED = regions.ROOT, regions.SHARED

OUTPUT = 1
RADII = (("1/255", 1 / 255), ("4/255", 4 / 255), ("0.1", 0.1))
RECORDED = {
    "1/255": (107.5, 121.8, 128.8, 189.2),
    "4/255": (107.8, 361.9, 536.0, 712.0),
    "0.1": (125.3, 1463.0, 2446.0, 2446.0),
}
"""Of lirpa_mnist_fc_3layer: (largest sampled, auto_LiRPA, RecurJac, Fast-Lip)."""

ALIKE: tuple[tuple[int, Callable[[torch.Tensor], torch.Tensor]], ...] = (
    (8767, lambda u: u**3),
    (17707, lambda u: 2.0 * u - 1.0),
    (9591, lambda u: u**3),
    (14072, lambda u: 2.0 * u - 1.0),
    (21602, lambda u: u**3),
    (5914, lambda u: u**3),
)
"""(seed, of a uniform draw) of the centres: all that fit among 96,000."""

WITHOUT_RULE = (
    ("digits_gelu", "Gelu", ROOT / "sample_models" / "digits_gelu", 16.0),
    ("digits_cnn", "MaxPool", ROOT / "sample_models" / "digits_cnn", 16.0),
    ("vit_pgd_2_3_16", "Softmax", SHARED / "models" / "vit_pgd_2_3_16", 1.0),
)
"""(name, a node that auto_LiRPA has no Jacobian rule for, path without its suffix, width of the inputs' range)."""


def one_output(path: Path) -> onnx.ModelProto:
    """The model with one entry of its output alone."""
    model = onnx.load(path)
    name = model.graph.output[0].name
    place = numpy_helper.from_array(np.array([OUTPUT]), "chosen_place")
    whole = numpy_helper.from_array(np.array([1, -1]), "chosen_shape")
    model.graph.initializer.extend([place, whole])
    model.graph.node.append(helper.make_node("Reshape", [name, "chosen_shape"], ["chosen_flat"]))
    model.graph.node.append(helper.make_node("Gather", ["chosen_flat", "chosen_place"], ["chosen"], axis=1))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("chosen", TensorProto.FLOAT, [1, 1]))
    return model


def met(graph: Graph, centre: torch.Tensor, radius: float) -> float:
    """The largest |gradient|_1 met: random corners and points, and where hidden units are pushed either way."""
    generator = torch.Generator().manual_seed(0)
    steps = [torch.randn(512, *centre.shape, generator=generator, dtype=torch.float64).sign()]
    steps.append(2.0 * torch.rand(128, *centre.shape, generator=generator, dtype=torch.float64) - 1.0)
    for node in graph.nodes:
        value = node.inputs[0]
        if isinstance(node.op, Elementwise) and value and int(torch.Size(graph.shape(value)).numel()) <= 256:
            rows = regions.jacobians(Graph(graph.input_shape, graph.nodes[:value], value), centre[None])[0]
            steps += [sign * rows.sign().reshape(-1, *centre.shape) for sign in (1.0, -1.0)]
    found = [
        regions.jacobians(graph, centre + radius * part).abs().sum(2).amax()
        for part in torch.split(torch.cat(steps), 256)
    ]
    return float(torch.stack(found).max())


def fast_lip(path: Path, centre: torch.Tensor, radius: float) -> float:
    """Of a chain of two hidden ReLU layers."""
    model = onnx.load(path)
    stored = {i.name: torch.tensor(numpy_helper.to_array(i)).double() for i in model.graph.initializer}
    layers = [node for node in model.graph.node if node.op_type == "Gemm"]
    (w0, w1, w2), (b0, b1, _) = ([stored[node.input[i]] for node in layers] for i in (1, 2))
    z, r = w0 @ centre + b0, radius * w0.abs().sum(1)
    low, high = z - r, z + r
    undecided = (low < 0) & (high > 0)
    above = torch.where(undecided, high / (high - low), (low >= 0).double())
    below = torch.where(undecided, (high > -low).double(), above)
    ends = []
    for w in (w1, -w1):
        slopes = w.clamp(min=0) * above + w.clamp(max=0) * below
        offset = (w.clamp(min=0) * torch.where(undecided, -above * low, 0.0)).sum(1)
        rows = slopes @ w0
        ends.append(rows @ centre + slopes @ b0 + offset + radius * rows.abs().sum(1))
    upper, lower = ends[0] + b1, b1 - ends[1]
    least, most = w2[OUTPUT], w2[OUTPUT]
    for w, least_in, most_in in ((w1, lower, upper), (w0, low, high)):
        on, off = (least_in >= 0).double(), (most_in > 0).double()
        least, most = torch.minimum(least * on, least * off), torch.maximum(most * on, most * off)
        least, most = (
            least @ w.clamp(min=0) + most @ w.clamp(max=0),
            most @ w.clamp(min=0) + least @ w.clamp(max=0),
        )
    return float(torch.maximum(least.abs(), most.abs()).sum())


def ours(model: onnx.ModelProto, points: torch.Tensor, radius: float) -> tuple[np.ndarray, float]:
    """(bounds, seconds of processor time a point, the share of the global bound's included)."""
    started = time.process_time()
    found = local(model, points.numpy(), Settings(norm=Norm.LINF, budget=30.0), radius=radius).regions
    assert found is not None
    return found.values, (time.process_time() - started) / len(points)


def beside_recorded() -> None:
    path = SHARED / "models_peers" / "lirpa_mnist_fc_3layer.onnx"
    if not path.exists():
        print("\nlirpa_mnist_fc_3layer is not there")
        return
    model = one_output(path)
    graph = subject(model, Settings()).simplified
    draws = [(seed, torch.Generator().manual_seed(seed), shape) for seed, shape in ALIKE]
    points = torch.stack([shape(torch.rand(784, generator=g, dtype=torch.float64)) for _, g, shape in draws])
    print("\nlirpa_mnist_fc_3layer, output 1, linf")
    print("| radius | centre | met | Fast-Lip | auto_LiRPA | RecurJac | ours | ours / met | s |")
    for name, radius in RADII:
        sampled, lirpa, recurjac, fast = RECORDED[name]
        print(f"| {name} | the recorded | {sampled} | {fast} | {lirpa} ({lirpa / sampled:.2f}) | {recurjac} | | | |")
        bounds, seconds = ours(model, points, radius)
        for (seed, _), point, bound in zip(ALIKE, points, bounds, strict=True):
            most = met(graph, point.reshape(graph.input_shape), radius)
            print(
                f"| {name} | {seed} | {most:.1f} | {fast_lip(path, point, radius):.1f} | | |"
                f" {bound:.1f} | {bound / most:.2f} | {seconds:.2f} |",
                flush=True,
            )


def without_rule() -> None:
    print("\nWhere auto_LiRPA has no rule, output 1, linf\n| network | node | radius | met | ours | ours / met | s |")
    for name, node, base, width in WITHOUT_RULE:
        path = base.with_suffix(".onnx")
        inputs = base.with_suffix(".npz") if base.parent.name == "sample_models" else base.with_suffix(".inputs.npy")
        if not path.exists() or not inputs.exists():
            print(f"| {name} | not there |")
            continue
        stored = np.load(inputs)
        array = stored["x"] if isinstance(stored, np.lib.npyio.NpzFile) else stored
        model = one_output(path)
        graph = subject(model, Settings()).simplified
        points = torch.as_tensor(np.ascontiguousarray(array[:2])).double().reshape(-1, *graph.input_shape)[:2]
        for share in (1e-3, 1 / 255, 4 / 255):
            radius = share * width
            bounds, seconds = ours(model, points, radius)
            most = [met(graph, point, radius) for point in points]
            ratio = float(np.median(bounds / np.array(most)))
            print(
                f"| {name} | {node} | {radius:.4g} | {np.median(most):.4g} | {np.median(bounds):.4g} |"
                f" {ratio:.3g} | {seconds:.2f} |",
                flush=True,
            )


def main() -> None:
    torch.set_num_threads(1)
    beside_recorded()
    without_rule()


if __name__ == "__main__":
    main()
