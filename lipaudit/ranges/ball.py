"""Balls of inputs, cut by a box: the regions around samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch

from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.numerics.rounding import gamma, sqrt_up, tensor_down, tensor_up, up


@final
@dataclass(frozen=True, slots=True, eq=False)
class Ball:
    """{x : |x - centre| <= radius in `norm`, x in domain}, one region a row; convex, and its centre belongs to it.

    centre: float64 [B, *shape]; radius: float64 [B], finite and not negative; domain: box [1, *shape], None for no cut.
    A centre outside the domain is not cut: its region is the whole ball.
    """

    centre: torch.Tensor
    radius: torch.Tensor
    norm: Norm
    domain: Box | None = None

    def __post_init__(self) -> None:
        if self.radius.shape != self.centre.shape[:1] or self.centre.dtype != torch.float64:
            raise ValueError("a ball has float64 centres [B, ...] and one radius for each")
        if not bool(((self.radius >= 0) & self.radius.isfinite() & self.centre.flatten(1).isfinite().all(1)).all()):
            raise ValueError("a ball has a finite centre and a finite radius that is not negative")

    def __len__(self) -> int:
        return len(self.centre)

    def rows(self, which: torch.Tensor | slice) -> Ball:
        """Some of the balls."""
        return Ball(self.centre[which], self.radius[which], self.norm, self.domain)

    def sized(self, radius: torch.Tensor) -> Ball:
        """The same centres with other radii."""
        return Ball(self.centre, radius, self.norm, self.domain)

    def box(self) -> Box:
        """The smallest box around each region, rounded outward: every norm's ball of radius r is in that of linf."""
        radius = self.radius.reshape(-1, *[1] * (self.centre.dim() - 1))
        around = Box(tensor_down(self.centre - radius), tensor_up(self.centre + radius))
        if self.domain is None:
            return around
        inside = self._inside(self.domain)
        lower = torch.where(inside, torch.maximum(around.lower, self.domain.lower), around.lower)
        return Box(lower, torch.where(inside, torch.minimum(around.upper, self.domain.upper), around.upper))

    def _inside(self, domain: Box) -> torch.Tensor:
        """[B, 1, ...]: which centres the domain holds."""
        within = ((self.centre >= domain.lower) & (self.centre <= domain.upper)).flatten(1).all(1)
        return within.reshape(-1, *[1] * (self.centre.dim() - 1))

    def reach(self) -> torch.Tensor:
        """[B]: at least |x - centre|_2 for every x of the region."""
        size = float(self.centre[0].numel()) if len(self) else 1.0
        return self.radius if self.norm is not Norm.LINF else tensor_up(self.radius * sqrt_up(size))

    def widths(self, rows: torch.Tensor, box: Box | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """(below, above), both [B, R] and not negative, with -below <= g.(x - centre) <= above over the region for the
        rows g [B, R, n].

        |g.d| <= |g|_dual |d| (Hölder). Where the domain cuts the ball, the entries of d that it stops short are bounded
        on their own: for any set S of entries, g.d <= sum over S of max(g_i d_i) + |g outside S|_dual |d|, and S is
        chosen as those that the ball's steepest point would carry over the edge. All sums are rounded up.
        box: `self.box()`, where the caller has it.
        """
        slack = up(1.0 + gamma(2 * rows.shape[-1] + 8))
        below, above = self.spans(rows, box)
        return tensor_up(below * slack), tensor_up(above * slack)

    def spans(self, rows: torch.Tensor, box: Box | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """The widths to nearest, sums of terms that are not negative."""
        whole = _dual(rows, self.norm) * self.radius[:, None]
        if self.domain is None:
            return whole, whole
        around = self.box() if box is None else box
        ends = []
        for sign in (-1.0, 1.0):
            size, room = self._rooms(rows * sign, around)
            ends.append(torch.minimum(self._stopped(size, room), whole))
        return ends[0], ends[1]

    def lowest(self, rows: torch.Tensor, box: Box) -> torch.Tensor:
        """Steps d [B, R, n] with g.d about the least that `widths` knows of, for guesses; d may leave the region."""
        radius, size = self.radius[:, None, None], rows.abs()
        if self.norm is Norm.L2 and self.domain is None:
            length: torch.Tensor = torch.linalg.vector_norm(rows, dim=-1, keepdim=True).clamp_min(1e-300)
            return rows * (-radius / length)
        size, room = self._rooms(-rows, box)
        if self.norm is Norm.LINF:
            step = room
        elif self.norm is Norm.L1:
            free = torch.where(room < radius, 0.0, size)
            most = free.amax(-1, keepdim=True)
            step = torch.where(room < radius, room, torch.where((free == most) & (most > 0), radius, 0.0))
        else:
            free = self._free(size, room, 2)
            scale = radius / torch.linalg.vector_norm(free, dim=-1, keepdim=True).clamp_min(1e-300)
            step = torch.where(free > 0, free * scale, room)
        return torch.where(rows > 0, -step, step)

    def split(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(g outside S [B, R, n], at least the sum over S of g_i d_i [B, R]) for the rows g, of balls of l2.

        S: the entries that the steepest point of the ball would carry over the domain's edge, as in `widths`.
        """
        if self.domain is None:
            return rows, torch.zeros(rows.shape[:2], dtype=torch.float64)
        size, room = self._rooms(rows, self.box())
        free = self._free(size, room) != 0
        stopped = torch.where(free, 0.0, size * room).sum(2) * up(1.0 + gamma(rows.shape[2] + 4))
        return torch.where(free, rows, 0.0), tensor_up(stopped)

    def _rooms(self, rows: torch.Tensor, box: Box) -> tuple[torch.Tensor, torch.Tensor]:
        """|g|, and how far each entry can go where g rises."""
        up_room = tensor_up(box.upper - self.centre).clamp(min=0.0).flatten(1)[:, None]
        down_room = tensor_up(self.centre - box.lower).clamp(min=0.0).flatten(1)[:, None]
        return rows.abs(), torch.where(rows >= 0, up_room, down_room)

    def _stopped(self, size: torch.Tensor, room: torch.Tensor) -> torch.Tensor:
        """sup of size.d over 0 <= d <= room, |d| <= radius, at least."""
        radius = self.radius[:, None, None]
        if self.norm is Norm.LINF:
            return (size * room).sum(-1)
        if self.norm is Norm.L1:  # one entry alone: the first to be bounded by its room
            capped = room < radius
            alone = (size * torch.where(capped, room, torch.zeros_like(room))).sum(-1)
            return alone + torch.where(capped, torch.zeros_like(size), size).amax(-1) * self.radius[:, None]
        free = self._free(size, room)
        stopped = (torch.where(free == 0, size, torch.zeros_like(size)) * room).sum(-1)
        rest: torch.Tensor = torch.linalg.vector_norm(free, dim=-1)
        # squares below the normal range are lost; they are made up for by 1e-150, far below one of the normal ones
        return stopped + (rest + 1e-150) * self.radius[:, None]

    def _free(self, size: torch.Tensor, room: torch.Tensor, rounds: int = 4) -> torch.Tensor:
        """size, 0 where the steepest point of the l2 ball would go further than its room."""
        radius, free = self.radius[:, None, None], size
        for _ in range(rounds):
            length = torch.linalg.vector_norm(free, dim=-1, keepdim=True).clamp_min(1e-300)
            free = torch.where(free * radius > room * length, 0.0, free)
        return free


def _dual(rows: torch.Tensor, norm: Norm) -> torch.Tensor:
    """|g|_dual of every row [B, R, n] -> [B, R], to nearest, with room for what underflow takes from squares."""
    if norm is Norm.LINF:
        return rows.abs().sum(-1)
    if norm is Norm.L1:
        return rows.abs().amax(-1) if rows.shape[-1] else rows.new_zeros(rows.shape[:-1])
    lengths: torch.Tensor = torch.linalg.vector_norm(rows, dim=-1)
    return lengths + 1e-150
