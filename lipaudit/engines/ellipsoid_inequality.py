"""LipSDP-Neuron of a program as one linear matrix inequality, in blocks.

q = (x, y_1, y_2, ...) holds the input and one coordinate for each bent neuron: its output w, or, where the slopes are
so narrow that w hardly leaves c v, its normalised output u (w = c v + d u, |u| <= |v|). In these coordinates a
pre-activation v reads only the values right before it, so that a chain's inequality is block-tridiagonal.
LipSDP-Neuron (Fazlyab et al. 2019, arXiv:1906.04893) reads

    minimise t  subject to  M = [[I_x + sum_k lambda_k A_k, E'], [E, t I]] >= 0,

A_k = u_k u_k' - v_k v_k' = sym(f g') with f = p e - s v and g = p e - z v, e the neuron's coordinate: (p, s, z) = (1/d,
c/d + 1, c/d - 1) for w, (1, 1, -1) for u. E is the output. Theta_k = 1 / lambda_k of the ellipsoid recursion, block by
block the same bound. An op known by its gain has one multiplier for all its u and v. Plain float64: a guess's data.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

import torch

from lipaudit.engines.ellipsoid_closed import Guess
from lipaudit.engines.ellipsoid_program import Gain, Linear, Program, Slope

NARROW = 20.0
"""A neuron enters by w where |c| <= NARROW d: beyond, w - c v would lose digits."""

Rows = dict[int, torch.Tensor]
"""A linear function of q, by the blocks of q that it reads: [rows, size of the block]."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Atoms:
    """sym(f_a g_a') for every row a: f = p e - s v, g = p e - z v.

    own: the block of q whose entries are the e, in order; None for none (p = 0). rows: the v. of: the multiplier of
    each. p, s, z: [len(of)].
    """

    own: int | None
    rows: Rows
    p: torch.Tensor
    s: torch.Tensor
    z: torch.Tensor
    of: torch.Tensor


@final
@dataclass(frozen=True, slots=True, eq=False)
class Inequality:
    """The data of M. sizes: of the blocks of q, the first that of x. places: for each slope or gain step its
    multipliers, -1 for none; count: how many there are."""

    sizes: tuple[int, ...]
    atoms: tuple[Atoms, ...]
    output: Rows
    places: dict[int, torch.Tensor]
    count: int

    @property
    def outputs(self) -> int:
        return max((len(rows) for rows in self.output.values()), default=0)

    @property
    def side(self) -> int:
        return sum(self.sizes) + self.outputs

    def eliminable(self) -> bool:
        """Whether M is the identity in x, as for slopes from 0: then x can be eliminated once and for all."""
        return 0 not in self.output and all(0 not in a.rows or not bool((a.s * a.z).any()) for a in self.atoms)

    def side_left(self) -> int:
        """The side of the matrix that an interior-point method works on."""
        return self.side - (self.sizes[0] if self.eliminable() else 0)


def inequality(program: Program) -> Inequality:
    """The program as one matrix inequality, with the input and the output reduced to what they can vary in."""
    first = program.steps[0] if program.steps else None
    entry = torch.eye(program.sizes[0], dtype=torch.float64)
    if program.starts() and isinstance(first, Linear):
        entry = first.matrix  # q begins with the coordinates of the row space of the first matrix
        if entry.shape[1] > entry.shape[0]:
            entry = torch.linalg.qr(entry.mT).R.mT
    form = Form([entry.shape[1]], {0: {0: entry}})
    for place, step in enumerate(program.steps):
        if place == 0 and program.starts() and isinstance(step, Linear):
            form.values.update(_pieces(form.values[0], step.targets, program.sizes))
        else:
            form.step(place, step, program.sizes)
    return form.finish(form.values[program.output])


@dataclass(slots=True, eq=False)
class Form:
    """An inequality under construction: the values so far as functions of q."""

    sizes: list[int]
    values: dict[int, Rows]
    atoms: list[Atoms] = field(default_factory=list)
    places: dict[int, torch.Tensor] = field(default_factory=dict)
    count: int = 0

    def step(self, place: int, step: Linear | Slope | Gain, sizes: tuple[int, ...]) -> None:
        """Adds one step of a program with values of these sizes."""
        match step:
            case Linear():
                out: Rows = {}
                start = 0
                for source in step.sources:
                    part = step.matrix[:, start : start + sizes[source]]
                    start += sizes[source]
                    for block, rows in self.values[source].items():
                        moved = part @ rows
                        out[block] = out[block] + moved if block in out else moved
                self.values.update(_pieces(out, step.targets, sizes))
            case Slope():
                self._slope(place, step)
            case Gain():
                self._gain(place, step, sizes[step.target])

    def _slope(self, place: int, step: Slope) -> None:
        v, c, d = self.values[step.source], step.centre, step.radius
        norms = _norms(v, len(c))
        live = (d > 0) & (norms > 1e-9 * norms.max().clamp_min(1e-200))
        bent = live.nonzero()[:, 0]
        k = len(bent)
        index = torch.full((len(c),), -1)
        index[bent] = torch.arange(self.count, self.count + k)
        self.places[place] = index
        own = self._block(k)
        wide = c[bent].abs() <= NARROW * d[bent]
        one = torch.ones(k, dtype=torch.float64)
        ratio = torch.where(wide, c[bent] / d[bent], 0.0)
        p = torch.where(wide, 1.0 / d[bent], one)
        self.atoms.append(Atoms(own, {b: r[bent] for b, r in v.items()}, p, ratio + 1.0, ratio - 1.0, index[bent]))
        self.count += k
        unit = torch.zeros(len(c), k, dtype=torch.float64)
        unit[bent, torch.arange(k)] = torch.where(wide, one, d[bent])
        straight = c.clone()
        straight[bent[wide]] = 0.0
        out = {own: unit}
        if bool(straight.any()):
            out |= {b: straight[:, None] * r for b, r in v.items()}
        self.values[step.target] = out

    def _gain(self, place: int, step: Gain, size: int) -> None:
        v = self.values[step.source]
        own, many = self._block(size), max((len(r) for r in v.values()), default=0)
        one, none = torch.ones(size, dtype=torch.float64), torch.zeros(size, dtype=torch.float64)
        self.atoms.append(Atoms(own, {}, one, none, none, torch.full((size,), self.count)))
        one, none = torch.ones(many, dtype=torch.float64), torch.zeros(many, dtype=torch.float64)
        self.atoms.append(Atoms(None, v, none, one, -one, torch.full((many,), self.count)))
        self.places[place] = torch.tensor([self.count])
        self.values[step.target] = {own: step.factor * torch.eye(size, dtype=torch.float64)}
        self.count += 1

    def _block(self, size: int) -> int:
        self.sizes.append(size)
        return len(self.sizes) - 1

    def finish(self, output: Rows) -> Inequality:
        """The inequality for this value as the output."""
        rows = max((len(r) for r in output.values()), default=0)
        if rows > (total := sum(self.sizes[b] for b in output)):
            joined = torch.linalg.qr(torch.cat(list(output.values()), 1)).R
            output = dict(zip(output, torch.split(joined, [self.sizes[b] for b in output], 1), strict=True))
            assert len(joined) == total
        return Inequality(tuple(self.sizes), tuple(self.atoms), output, self.places, self.count)


def _norms(v: Rows, size: int) -> torch.Tensor:
    squares = torch.zeros(size, dtype=torch.float64)
    for rows in v.values():
        squares = squares + rows.square().sum(1)
    return squares.sqrt()


def _pieces(rows: Rows, targets: tuple[int, ...], sizes: tuple[int, ...]) -> dict[int, Rows]:
    found: dict[int, Rows] = {target: {} for target in targets}
    for block, matrix in rows.items():
        for target, piece in zip(targets, torch.split(matrix, [sizes[t] for t in targets]), strict=True):
            if bool(piece.any()):
                found[target][block] = piece
    return found


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
