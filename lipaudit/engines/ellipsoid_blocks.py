"""What an interior-point method asks of the matrices A_k of an inequality, block by block.

With A_k = sum of sym(f g') over the atoms of multiplier k, f = p e - s v and g = p e - z v, everything about A_k and a
symmetric X follows from V X and V X V', V the rows v of all atoms, which read few blocks of q each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch

from lipaudit.engines.ellipsoid_inequality import Atoms, Inequality


@final
@dataclass(frozen=True, slots=True, eq=False)
class Products:
    """X against the atoms' vectors: ee = p e'X e p, ve = v'X e p, vv = v'X v, for all pairs of atoms."""

    ee: torch.Tensor
    ve: torch.Tensor
    vv: torch.Tensor

    def between(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """(p e - left v)' X (p e - right v) for all pairs: left is s or z for the rows, right for the columns."""
        result = self.vv * right
        result.mul_(left[:, None])
        result += self.ee
        result -= left[:, None] * self.ve
        result -= self.ve.mT * right
        return result


class Blocks:
    """The atoms of an inequality, stacked, and where their blocks are in q without the blocks `without`."""

    def __init__(self, data: Inequality, without: frozenset[int] = frozenset()) -> None:
        self.data, self.at = data, dict[int, slice]()
        place = 0
        for block, size in enumerate(data.sizes):
            if block not in without:
                self.at[block] = slice(place, place + size)
                place += size
        self.q = place
        self.y = slice(place, place + data.outputs)
        self.side = place + data.outputs
        self.atoms: list[tuple[slice, Atoms]] = []
        start = 0
        for a in data.atoms:
            self.atoms.append((slice(start, start + len(a.of)), a))
            start += len(a.of)
        self.total = start
        self.p = torch.cat([*(a.p for a in data.atoms), torch.zeros(0, dtype=torch.float64)])
        self.s = torch.cat([*(a.s for a in data.atoms), torch.zeros(0, dtype=torch.float64)])
        self.z = torch.cat([*(a.z for a in data.atoms), torch.zeros(0, dtype=torch.float64)])
        self.of = torch.cat([*(a.of for a in data.atoms), torch.arange(0)])
        self.own = torch.cat([*(self._own(a) for a in data.atoms), torch.arange(0)])
        self.single = self.total == data.count  # one atom for each multiplier, in their order

    def _own(self, atoms: Atoms) -> torch.Tensor:
        if atoms.own is None:  # p = 0: any entry will do
            return torch.zeros(len(atoms.of), dtype=torch.int64)
        at = self.at[atoms.own]
        return torch.arange(at.start, at.stop)

    def spread(self, rate: torch.Tensor) -> torch.Tensor:
        """sum_k rate_k A_k without the rows and columns left out: [side, side], nothing in the rows of the output."""
        m = torch.zeros(self.side, self.side, dtype=torch.float64)
        half = torch.zeros(self.side, self.side, dtype=torch.float64)
        for place, a in self.atoms:
            r = rate[a.of]
            if a.own is not None:
                m.diagonal()[self.at[a.own]] += r * self.p[place].square()
            cross, inner = r * a.p * (a.s + a.z) / 2, r * a.s * a.z
            within = [(self.at[block], rows) for block, rows in a.rows.items() if block in self.at]
            for at, rows in within:
                if a.own is not None:
                    half[self.at[a.own], at] -= cross[:, None] * rows
            if bool(inner.any()):
                for at, rows in within:
                    for other, right in within:
                        m[at, other] += (inner[:, None] * rows).mT @ right
        m += half
        m += half.mT
        return m

    def left(self, x: torch.Tensor) -> torch.Tensor:
        """V X for X [side, n]."""
        result = torch.zeros(self.total, x.shape[1], dtype=torch.float64)
        for place, a in self.atoms:
            for block, rows in a.rows.items():
                if block in self.at:
                    result[place] += rows @ x[self.at[block]]
        return result

    def both(self, vx: torch.Tensor) -> torch.Tensor:
        """V X V' from V X."""
        result = torch.zeros(self.total, self.total, dtype=torch.float64)
        for place, a in self.atoms:
            for block, rows in a.rows.items():
                if block in self.at:
                    result[:, place] += vx[:, self.at[block]] @ rows.mT
        return result

    def products(self, x: torch.Tensor, vx: torch.Tensor, vv: torch.Tensor) -> Products:
        """The products of X, from X, V X and V X V'."""
        return Products(x[self.own[:, None], self.own] * self.p * self.p[:, None], vx[:, self.own] * self.p, vv)

    def against(self, x: torch.Tensor) -> torch.Tensor:
        """tr(A_k X) for every multiplier, X symmetric; nothing left out."""
        vx = self.left(x)
        vv = torch.zeros(self.total, dtype=torch.float64)
        for place, a in self.atoms:
            for block, rows in a.rows.items():
                vv[place] += (vx[place, self.at[block]] * rows).sum(1)
        ve = vx[torch.arange(self.total), self.own] * self.p
        ee = x.diagonal()[self.own] * self.p.square()
        return self.summed(ee - (self.s + self.z) * ve + self.s * self.z * vv)

    def summed(self, x: torch.Tensor) -> torch.Tensor:
        """x summed over the atoms of each multiplier, along its first axis."""
        if self.single:
            return x
        return torch.zeros(self.data.count, *x.shape[1:], dtype=torch.float64).index_add_(0, self.of, x)

    def table(self, x: torch.Tensor) -> torch.Tensor:
        """The same along both axes."""
        return x if self.single else self.summed(self.summed(x).mT).mT


@final
@dataclass(frozen=True, slots=True, eq=False)
class Scaled:
    """Solves with a positive definite matrix, through a factor of it with unit diagonal."""

    factor: torch.Tensor
    size: torch.Tensor

    @staticmethod
    def of(matrix: torch.Tensor) -> Scaled | None:
        """None where the matrix is not even nearly positive definite."""
        size = matrix.diagonal().clamp_min(1e-300).sqrt()
        scaled = matrix / size / size[:, None]
        for ridge in (1e-15, 1e-13, 1e-11, 1e-9, 1e-6):
            scaled.diagonal().add_(ridge)
            factor = cholesky(scaled)
            if factor is not None:
                return Scaled(factor, size)
        return None

    def __call__(self, right: torch.Tensor) -> torch.Tensor:
        return torch.cholesky_solve((right / self.size)[:, None], self.factor)[:, 0] / self.size


def cholesky(matrix: torch.Tensor) -> torch.Tensor | None:
    """The lower factor; None where there is none."""
    factor, info = torch.linalg.cholesky_ex(matrix)
    return factor if int(info) == 0 and bool(factor.isfinite().all()) else None
