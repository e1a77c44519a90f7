"""Lipschitz constants of functionals of the output over balls, from the rows of their slopes.

For any two points of a region, F(x) - F(y) = C (x - y) + D w, w_j = (s_j - k_j) v_j with v_j the neurons' own inputs,
which are of the same form. So for any norm |.| of rows, n_j >= |dv_j/dx| by

    n_j = |C_j| + sum over earlier k of |D_jk| spread_k n_k,

entrywise where |.| is the largest entry, and for the rows asked for alike: this keeps every sign between two undecided
neurons, and is at most the layer by layer form of `entries`. In l2 the ellipsoid of `cover` takes its place.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import final

import torch

from lipaudit.linear.norms.dense_l2 import dense_l2
from lipaudit.numerics.norms import Norm
from lipaudit.numerics.rounding import gamma, sqrt_up, tensor_up, up
from lipaudit.ranges.cover import Block, Form, certified, form, improved
from lipaudit.ranges.entries import Unknown, magnitudes
from lipaudit.ranges.joined import JOINED, Late, Neurons
from lipaudit.ranges.lines import below
from lipaudit.ranges.near import Near, reaches
from lipaudit.ranges.nested import Nested, dual
from lipaudit.ranges.reduced import Reduced
from lipaudit.ranges.rows import pulled

ASCENT = 60
"""Steps of the ascent in the slopes of lines around the neurons, for margins."""

STEPS = 20
"""Of the descent in the ellipsoid's multipliers."""

ROWS = 1024
"""Most rows asked for at once."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Slopes:
    """The rows of some functionals of the output, and of all undecided neurons, over a batch of balls."""

    near: Near
    blocks: tuple[Block, ...]
    asked: Block

    @staticmethod
    def of(near: Near, seeds: torch.Tensor) -> Slopes:
        """Of the functionals seeds [B, K, *output_shape] (exact numbers). Raises Unknown where a node has no model."""
        if seeds.shape[1] > ROWS:
            raise Unknown(f"{seeds.shape[1]} rows are more than the {ROWS} that are pulled through each region")
        joined, graph = joined_between(near), near.graph
        pulls = [rows for _, rows in joined.pulls(graph.output, lambda part: seeds[:, part], seeds.shape[1])]
        return Slopes(near, tuple(joined.blocks), joined.block(pulls))

    def lengths(self, norm: Norm, weights: torch.Tensor | None = None, steps: int = STEPS) -> torch.Tensor:
        """[B, K]: the constant of each functional in the norm, |row|_dual at most, rounded up.

        weights: [B, K], not negative: how much each of them matters, which moves the effort and nothing that is proven.
        """
        if norm is Norm.L2:
            return lengths_of(form([*self.blocks, self.asked]), weights, steps, self.near.deadline)
        # |row|_1 <= sqrt(n) |row|_2, of the whole row or of what the neurons add to C; |row|_inf <= |row|_2
        size = sqrt_up(float(self.asked.rows.shape[2])) if norm is Norm.LINF else 1.0
        data = (form([*self.blocks, self.asked], d) for d in (False, True))
        whole, apart = (lengths_of(joint, weights, steps, self.near.deadline) * size for joint in data)
        around = tensor_up(
            torch.minimum(whole, dual(self.asked.rows, self.asked.error, norm) + apart) * (1.0 + 2.0**-48)
        )
        return torch.minimum(self.sums(norm), around)

    def norms(self, norm: Norm, steps: int = STEPS) -> torch.Tensor:
        """[B]: the operator norm of all rows together, rounded up; inf where nothing is proven."""
        if norm is Norm.LINF:
            return self.lengths(norm, steps=steps).amax(1)
        if norm is Norm.L2:
            return norm_of(form([*self.blocks, self.asked]), steps, self.near.deadline)
        count, n = self.asked.rows.shape[1:]
        # |column|_1 <= sqrt(K) |column|_2, of the whole matrix or of what the neurons add to C
        data = (form([*self.blocks, self.asked], d) for d in (False, True))
        whole, apart = (norm_of(joint, steps, self.near.deadline) * sqrt_up(float(count)) for joint in data)
        slip = self.asked.error.sum(1)
        columns = (self.asked.rows.abs().sum(1).amax(1) if n else slip) * up(1.0 + gamma(count + 4)) + slip
        around = tensor_up(torch.minimum(whole, columns + apart) * up(1.0 + gamma(count + 8)))
        return torch.minimum(self.columns(), around)

    def columns(self) -> torch.Tensor:
        """[B]: the largest column sum, by the recursion entry by entry."""
        found = self.entries()
        sums = found.sum(1).amax(1) if found.shape[2] else found.sum((1, 2))
        return sums * up(1.0 + gamma(found.shape[1] + 4))

    def entries(self) -> torch.Tensor:
        """[B, K, n]: the largest sizes of the entries, by the recursion entry by entry."""
        found = list[torch.Tensor]()
        for block in (*self.blocks, self.asked):
            total = block.rows.abs() + block.error.unsqueeze(2)
            for number, d in block.inner.items():
                spread = self.blocks[number].spread
                assert spread is not None
                reach = spread.unsqueeze(2) * found[number]
                slack = up(1.0 + gamma(2 * d.shape[2] + 12))
                total = total + (d.abs() @ reach) * slack
                total = total + block.inner_error[number].unsqueeze(2) * (reach.sum(1, keepdim=True) * slack)
            found.append(total * (1.0 + 2.0**-48 * (len(block.inner) + 2)) + 2.0**-900)
        return found[-1]

    def along(self, directions: torch.Tensor) -> Slopes:
        """The slopes along the directions [n, M] (exact numbers of size at most 1), in the place of the inputs'."""
        root = sqrt_up(float(len(directions)))

        def turned(block: Block) -> Block:
            length = torch.linalg.vector_norm(block.rows, dim=2) * up(1.0 + gamma(len(directions) + 8)) + 2.0**-500
            slip = (block.error + gamma(len(directions) + 2) * length) * root * (1.0 + 2.0**-48)
            return Block(block.rows @ directions, slip, block.inner, block.inner_error, block.spread)

        return Slopes(self.near, tuple(map(turned, self.blocks)), turned(self.asked))

    def sums(self, norm: Norm) -> torch.Tensor:
        """[B, K]: the recursion above in the dual norm of rows."""
        found = list[torch.Tensor]()
        for block in (*self.blocks, self.asked):
            total = dual(block.rows, block.error, norm)
            for number, d in block.inner.items():
                spread = self.blocks[number].spread
                assert spread is not None
                reach = spread * found[number]
                slack = up(1.0 + gamma(2 * d.shape[2] + 12))
                total = total + (d.abs() @ reach.unsqueeze(2)).squeeze(2) * slack
                total = total + block.inner_error[number] * torch.linalg.vector_norm(reach, dim=1)[:, None] * slack
            found.append(total * (1.0 + 2.0**-48 * (len(block.inner) + 2)) + 2.0**-900)
        return found[-1]


def joined_between(near: Near) -> Neurons:
    """The neurons that are undecided between all pairs of points. Raises Unknown where a node has no model."""
    graph = near.graph
    if graph.output in near.blocked:
        raise Unknown("a node on the way has no model by slopes")
    joined = Neurons(graph, near.weights, near.slopes(), near.deadline)
    for place in sorted(joined.models):
        if place <= graph.output:
            joined.add(place)
        if joined.size > JOINED:
            raise Unknown(f"more than {JOINED} neurons are undecided")
    return joined


def constants_of(near: Near, seeds: torch.Tensor, weights: torch.Tensor, steps: int = STEPS) -> torch.Tensor:
    """[B, J]: the constants of the functionals seeds [B, J, *output_shape] over each ball, in its norm, rounded up.

    weights, steps: as in `Slopes.lengths`. inf where nothing is proven.
    """
    norm, found = near.ball.norm, torch.full(seeds.shape[:2], torch.inf, dtype=torch.float64)
    try:
        found = Slopes.of(near, seeds).lengths(norm, weights, steps)
    except Unknown:
        with contextlib.suppress(Unknown):
            found = Nested.of(near, seeds).lengths()
    if bool(found.isinf().any()):
        try:
            entries = torch.cat(list(magnitudes(near.graph, near.boxes, seeds)), 1).flatten(2)
        except Unknown:
            return found
        size = norm.dual.of(entries.flatten(0, 1)).reshape(found.shape) + 2.0**-500
        found = torch.minimum(found, tensor_up(size * up(1.0 + gamma(entries.shape[2] + 8))))
    return found


def drops_of(near: Near, seeds: torch.Tensor, weights: torch.Tensor, steps: int) -> torch.Tensor:
    """[B, J]: how far below its value at the centre each functional can be in the ball, rounded up; inf if unknown.

    By linear relaxation (parallel lines, and those of `lines`), and by the ellipsoid of the secants from the centre.
    weights, steps: as in `Slopes.lengths`.
    """
    if near.graph.output in near.blocked:
        return torch.full(seeds.shape[:2], torch.inf, dtype=torch.float64)
    rows = pulled(near.graph, near.secants, near.weights, near.graph.output, seeds)
    drops = reaches(rows, near.secants, near.ball, near.boxes[0])[0]
    if near.joined.size > JOINED:
        return drops
    block = near.joined.block([rows])
    problem = Reduced.of(near.joined, near.ball, near.boxes, near.centres)
    drops = torch.minimum(drops, -below(problem, problem.asked(block), ASCENT))
    joint = form([*near.joined.blocks, block])
    around = tensor_up(lengths_of(joint, weights, steps, near.deadline) * near.ball.reach()[:, None])
    return torch.minimum(drops, around)


def norms_over(near: Near, seeds: torch.Tensor) -> torch.Tensor:
    """[B]: the operator norm of the functionals seeds [B, K, *output_shape] together over each ball, rounded up.

    By the ellipsoid of the neurons (`Slopes`), node by node (`Nested`) where that does not apply. Raises Unknown where
    neither does.
    """
    try:
        return Slopes.of(near, seeds).norms(near.ball.norm)
    except Unknown:
        return Nested.of(near, seeds).norms()


def lengths_of(joint: Form, weights: torch.Tensor | None, steps: int, deadline: float) -> torch.Tensor:
    """[B, K]: sqrt(Y_kk), at least the l2 length of each row asked for; inf where no multipliers prove any.

    Raises Late where the deadline comes first.
    """
    share = torch.ones(len(joint.start), joint.asked, dtype=torch.float64) if weights is None else weights
    found, done = [share[:0]], 0
    for part in joint.parts():
        if time.monotonic() > deadline:
            raise Late
        own = share[done : done + len(part.start)]
        done += len(part.start)

        def worst(y: torch.Tensor, own: torch.Tensor = own) -> torch.Tensor:
            return (y.diagonal(dim1=1, dim2=2) * own).amax(1)

        y, proven = certified(part, improved(part, worst, steps))
        root = tensor_up(tensor_up(y.diagonal(dim1=1, dim2=2).clamp(min=0.0).sqrt()))
        found.append(torch.where(proven[:, None], root, torch.inf))
    return torch.cat(found)


def norm_of(joint: Form, steps: int, deadline: float) -> torch.Tensor:
    """[B]: sqrt(lambda_max(Y)), at least the l2 norm of all rows asked for together; inf where unproven.

    Raises Late where the deadline comes first.
    """
    found: list[float] = []
    for part in joint.parts():
        if time.monotonic() > deadline:
            raise Late
        y, proven = certified(part, improved(part, _largest, steps))
        found += [
            sqrt_up(dense_l2(rows).value) if fine else torch.inf for rows, fine in zip(y, proven.tolist(), strict=True)
        ]
    return torch.tensor(found, dtype=torch.float64)


def _largest(y: torch.Tensor) -> torch.Tensor:
    """About lambda_max, NaN for NaN."""
    known = y.isfinite().flatten(1).all(1)
    values: torch.Tensor = torch.linalg.eigvalsh(torch.where(known[:, None, None], y, 0.0))[:, -1]
    return torch.where(known, values, torch.nan)
