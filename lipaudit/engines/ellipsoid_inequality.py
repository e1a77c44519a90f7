"""LipSDP-Neuron of a program as one linear matrix inequality.

With every value written as a linear function of q = (x, u), u the normalised outputs of the bent neurons
(w = C v + D u, |u_k| <= |v_k|), LipSDP-Neuron (Fazlyab et al. 2019, arXiv:1906.04893) reads

    minimise t  subject to  M = [[I_x + sum_k lambda_k (e_k e_k' - v_k v_k'), E'], [E, t I]] >= 0,

v_k the row of the pre-activation, E that of the output. Theta_k = 1 / lambda_k of the ellipsoid recursion, block by
block the same bound. An op known by its gain has one multiplier for all its u and v. Plain float64: a guess's data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch

from lipaudit.engines.ellipsoid_closed import Guess
from lipaudit.engines.ellipsoid_program import Gain, Linear, Program, Slope


@final
@dataclass(frozen=True, slots=True, eq=False)
class Inequality:
    """The data of M, with q = (x [inputs], u).

    unit: indices [N] of the u in q; own: the multiplier [N] each belongs to; rows: [R, side of q], with theirs in
    `of` [R]; output: [p, side of q]; places: for each slope or gain step its multipliers, -1 for none.
    """

    inputs: int
    unit: torch.Tensor
    own: torch.Tensor
    rows: torch.Tensor
    of: torch.Tensor
    output: torch.Tensor
    places: dict[int, torch.Tensor]

    @property
    def count(self) -> int:
        return 1 + int(max(self.own.max(), self.of.max())) if len(self.own) else 0

    @property
    def side(self) -> int:
        return self.output.shape[1] + self.output.shape[0]


def inequality(program: Program) -> Inequality:
    """The program as one matrix inequality, with the input and the output reduced to what they can vary in."""
    sizes = program.sizes
    first = program.steps[0]
    entry = torch.eye(sizes[0], dtype=torch.float64)
    if program.starts() and isinstance(first, Linear):
        entry = first.matrix  # q begins with the coordinates of the row space of the first matrix
        if entry.shape[1] > entry.shape[0]:
            entry = torch.linalg.qr(entry.mT).R.mT
    n = entry.shape[1]
    total = n + sum(sizes[s.target] for s in program.steps if not isinstance(s, Linear))
    values = {0: torch.nn.functional.pad(entry, (0, total - n))}
    units, own, rows, of = [], [], [], []
    places: dict[int, torch.Tensor] = {}
    used, count = n, 0
    for place, step in enumerate(program.steps):
        match step:
            case Linear() if place == 0 and program.starts():
                values.update(zip(step.targets, _pieces(values[0], step.targets, sizes), strict=True))
            case Linear():
                out = step.matrix @ torch.cat([values[s] for s in step.sources])
                values.update(zip(step.targets, _pieces(out, step.targets, sizes), strict=True))
            case Slope():
                v = values[step.source]
                norms = torch.linalg.vector_norm(v, dim=1)
                live = (step.radius > 0) & (norms > 1e-9 * norms.max().clamp_min(1e-200))
                k = int(live.sum())
                index = torch.full((len(v),), -1)
                index[live] = torch.arange(count, count + k)
                unit = torch.arange(used, used + k)
                w = step.centre[:, None] * v
                w[live.nonzero()[:, 0], unit] += step.radius[live]
                values[step.target] = w
                units.append(unit)
                own.append(index[live])
                rows.append(v[live])
                of.append(index[live])
                places[place] = index
                used, count = used + k, count + k
            case Gain():
                v, k = values[step.source], sizes[step.target]
                unit = torch.arange(used, used + k)
                w = torch.zeros(k, total, dtype=torch.float64)
                w[torch.arange(k), unit] = step.factor
                values[step.target] = w
                units.append(unit)
                own.append(torch.full((k,), count))
                rows.append(v)
                of.append(torch.full((len(v),), count))
                places[place] = torch.tensor([count])
                used, count = used + k, count + 1
    output = values[program.output][:, :used]
    if output.shape[0] > used:
        output = torch.linalg.qr(output).R
    none, empty = torch.arange(0), torch.empty(0, total, dtype=torch.float64)
    return Inequality(
        n,
        torch.cat([*units, none]),
        torch.cat([*own, none]),
        torch.cat([*rows, empty])[:, :used],
        torch.cat([*of, none]),
        output,
        places,
    )


def _pieces(rows: torch.Tensor, targets: tuple[int, ...], sizes: tuple[int, ...]) -> tuple[torch.Tensor, ...]:
    return torch.split_with_sizes(rows, [sizes[t] for t in targets])


def multipliers(data: Inequality, rate: torch.Tensor) -> Guess:
    """Theta = 1 / lambda; neurons that cannot move get a little of the others' mean."""
    found: Guess = {}
    for place, index in data.places.items():
        known = 1.0 / rate[index.clamp_min(0)] if data.count else torch.ones(len(index), dtype=torch.float64)
        live = index >= 0
        little = 1e-6 * float(known[live].mean()) if bool(live.any()) else 1.0
        found[place] = torch.where(live, known, torch.full_like(known, little))
    return found


def rates(data: Inequality, guess: Guess) -> torch.Tensor:
    """lambda = 1 / Theta from given multipliers."""
    rate = torch.ones(data.count, dtype=torch.float64)
    for place, index in data.places.items():
        live = index >= 0
        rate[index[live]] = 1.0 / guess[place][: len(index)][live]
    return rate


def sums(x: torch.Tensor, index: torch.Tensor, count: int) -> torch.Tensor:
    """x summed over the entries of each multiplier."""
    return torch.zeros(count, dtype=torch.float64).index_add_(0, index, x)


def table(x: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, count: int) -> torch.Tensor:
    """x summed over the rows and columns of each multiplier; x itself where there is one of each."""
    if len(rows) == len(columns) == count:
        return x
    by_row = torch.zeros(count, x.shape[1], dtype=torch.float64).index_add_(0, rows, x)
    return torch.zeros(count, count, dtype=torch.float64).index_add_(1, columns, by_row)
