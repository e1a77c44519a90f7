"""One answer of another tool for a chain of ReLU layers, in its own process: `peers.py METHOD WEIGHTS.npz SECONDS`.

It is killed (SIGXCPU) once it has used that much processor time.

Prints one line of JSON: value and cpu (seconds of this process, imports aside), or why there is none. The inputs are
reduced to the row space of the first matrix beforehand, which changes no answer and is kind to every solver.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import resource
import sys
import time
import warnings
from typing import Any

import numpy as np


def eclipse(weights: list[np.ndarray], method: str) -> float:
    """eclipse-nn as published on PyPI: ECLipsE (SCS) or ECLipsE_Fast."""
    import torch

    module: Any = importlib.import_module("eclipse_nn.LipConstEstimator")
    estimator = module.LipConstEstimator(weights=[torch.tensor(w) for w in weights])
    with contextlib.redirect_stdout(io.StringIO()):
        return float(estimator.estimate(method))


def clarabel(weights: list[np.ndarray]) -> float:
    """LipSDP-Neuron for slopes in [0, 1] by cvxpy and Clarabel."""
    cp: Any = importlib.import_module("cvxpy")
    sizes = [w.shape[1] for w in weights]
    square = cp.Variable(nonneg=True)
    rates = [cp.Variable(n, nonneg=True) for n in sizes[1:]]
    blocks: list[list[Any]] = [[np.zeros((m, n)) for n in sizes] for m in sizes]
    blocks[0][0] = square * np.eye(sizes[0])
    for i, (w, rate) in enumerate(zip(weights[:-1], rates, strict=True), start=1):
        blocks[i][i] = 2 * cp.diag(rate)
        blocks[i][i - 1] = -cp.diag(rate) @ w
        blocks[i - 1][i] = (-cp.diag(rate) @ w).T
    blocks[-1][-1] = blocks[-1][-1] - weights[-1].T @ weights[-1]
    matrix = cp.bmat(blocks)
    problem = cp.Problem(cp.Minimize(square), [(matrix + matrix.T) / 2 >> 0])
    problem.solve(solver="CLARABEL")
    if problem.status not in ("optimal", "optimal_inaccurate"):
        raise RuntimeError(problem.status)
    return float(square.value**0.5)


def main() -> None:
    method, path, seconds = sys.argv[1:]
    with np.load(path) as stored:
        weights = [stored[f"w{i}"] for i in range(len(stored.files))]
    if weights[0].shape[1] > weights[0].shape[0]:
        weights[0] = np.linalg.qr(weights[0].T)[1].T
    if weights[-1].shape[0] > weights[-1].shape[1]:
        weights[-1] = np.linalg.qr(weights[-1])[1]
    warnings.simplefilter("ignore")
    try:
        importlib.import_module("cvxpy" if method == "clarabel" else "eclipse_nn.LipConstEstimator")
        started = time.process_time()
        limit = int(started) + int(seconds) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
        value = clarabel(weights) if method == "clarabel" else eclipse(weights, method)
        print(json.dumps({"value": value, "cpu": time.process_time() - started}))
    except Exception as error:  # noqa: BLE001 - whatever it says is the answer of the table
        print(json.dumps({"reason": f"{type(error).__name__}: {error}"[:100]}))


if __name__ == "__main__":
    main()
