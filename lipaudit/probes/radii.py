"""Certified radii: margins enclosed, divided by the constants of the pairwise differences, rounded down."""

from __future__ import annotations

import torch

from lipaudit.graph.graph import Graph
from lipaudit.numerics.rounding import tensor_down
from lipaudit.probes.witness import batches, values_at


def classification_radii(
    graph: Graph, pairs: torch.Tensor, x: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """(radii [N], correct [N]): closer than its radius, no input is classified otherwise than x is, correctly.

    pairs: [K, K] upper bounds of Lip(f_a - f_b); x: [N, *input_shape]; labels: int64 [N].
    A sample whose label's output is not strictly the largest, by enclosures, is not correct and has radius 0.
    Sound: f_y - f_j > 0 at x, and it falls by at most pairs[y, j] |x' - x|, so it stays positive while
    |x' - x| < (f_y - f_j) / pairs[y, j] for every j (Tsuzuku, Sato, Sugiyama 2018, Prop. 1, per pair).
    """
    radii, correct = [], []
    for rows in batches(graph, len(x)):
        values, label = values_at(graph, x[rows]), labels[rows]
        low = values.lower.reshape(len(label), -1).gather(1, label[:, None])
        margin = tensor_down(low - values.upper.reshape(len(label), -1))
        margin = margin.scatter(1, label[:, None], torch.inf)  # its own class never wins against itself
        ratio = tensor_down(margin / pairs[label])
        ratio = torch.where(torch.isnan(ratio), torch.zeros_like(ratio), ratio)
        ratio = ratio.scatter(1, label[:, None], torch.inf)
        right = (margin > 0).all(1)
        radii.append(torch.where(right, ratio.amin(1).clamp(min=0.0), torch.zeros_like(ratio[:, 0])))
        correct.append(right)
    return torch.cat(radii), torch.cat(correct)


def regression_radius(constant: float, tolerance: float) -> float:
    """The distance within which no output vector moves by more than `tolerance` in the norm of the constant."""
    if constant == 0.0:
        return float("inf")
    return max(0.0, float(tensor_down(torch.tensor(tolerance / constant, dtype=torch.float64))))
