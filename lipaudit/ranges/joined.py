"""The undecided neurons of a batch of balls, with their rows, in the order of the graph."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import final

import torch

from lipaudit.graph.graph import Graph
from lipaudit.numerics.rounding import tensor_up
from lipaudit.ranges.ball import Ball
from lipaudit.ranges.cover import Block, certified, form, jacobi
from lipaudit.ranges.curved import Curved
from lipaudit.ranges.local import Local
from lipaudit.ranges.rows import Pulled, Weights, pulled

ENTRIES = 2**24
"""Entries of one value's rows at once, for all regions of a batch together."""

JOINED = 1200
"""Most undecided neurons of a region that are joined in one ellipsoid."""

Seeds = Callable[[slice], torch.Tensor]
"""Rows [B, r, *shape of a value] of a slice of those asked for."""


class Late(Exception):
    """The deadline came before the rows were done."""


def chosen(mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(which [B, U], held [B, U]): the places where the mask [B, n] is set, in order; held is False where padded."""
    most = int(mask.sum(1).max()) if len(mask) else 0
    which = torch.argsort(mask.to(torch.int8), dim=1, descending=True, stable=True)[:, :most]
    return which, mask.gather(1, which)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Neurons:
    """The undecided neurons met so far, with their rows. Grows while a batch of balls is looked at.

    apart: that none are joined, however few they are.
    """

    graph: Graph
    weights: Weights
    models: dict[int, Local]
    deadline: float
    apart: bool = False
    places: list[int] = field(default_factory=list)
    which: list[torch.Tensor] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)

    @property
    def largest(self) -> int:
        """Entries of the graph's largest value."""
        return max(int(torch.Size(self.graph.shape(i)).numel()) for i in range(len(self.graph.nodes) + 1))

    @property
    def size(self) -> int:
        """More than JOINED where they are apart, or where a node mixes entries: an ellipsoid does not know of it."""
        if self.apart or any(isinstance(model, Curved) for model in self.models.values()):
            return JOINED + 1
        return sum(which.shape[1] for which in self.which)

    def add(self, place: int) -> None:
        """The undecided neurons of a node that has a model."""
        model = self.models[place]
        which, held = chosen(model.spread > 0)
        if not which.shape[1]:
            return

        def seeds(part: slice) -> torch.Tensor:
            rows = model.inputs(which[:, part])
            return rows * held[:, part].double().reshape(len(rows), -1, *[1] * (rows.dim() - 2))

        value = self.graph.nodes[place - 1].inputs[0]
        pulls = [rows for _, rows in self.pulls(value, seeds, which.shape[1])]
        self.blocks.append(self.block(pulls, model.spread.gather(1, which) * held))
        self.places.append(place)
        self.which.append(which)

    def pulls(self, value: int, seeds: Seeds, count: int) -> Iterator[tuple[slice, Pulled]]:
        """`count` rows of a value pulled to the input, some at a time."""
        probe = seeds(slice(0, 1))
        step = max(1, ENTRIES // max(1, self.largest * len(probe)))
        for start in range(0, count, step):
            if time.monotonic() > self.deadline:
                raise Late
            part = slice(start, min(start + step, count))
            yield part, pulled(self.graph, self.models, self.weights, value, seeds(part))

    def block(self, pulls: list[Pulled], spread: torch.Tensor | None = None) -> Block:
        """Pulled rows as a block of an ellipsoid: what they read of the input, and of the neurons met before."""
        inner, errors = {}, {}
        for number, (place, which) in enumerate(zip(self.places, self.which, strict=True)):
            if place in pulls[0].neurons:
                index = which.unsqueeze(1)
                read = [p.neurons[place] for p in pulls]
                inner[number] = torch.cat([d.gather(2, index.expand(-1, d.shape[1], -1)) for d in read], 1)
                errors[number] = torch.cat([p.errors[place] for p in pulls], 1)
        rows, error = torch.cat([p.input for p in pulls], 1), torch.cat([p.input_error for p in pulls], 1)
        return Block(rows, error, inner, errors, spread)

    def radius(self, asked: Block, ball: Ball) -> torch.Tensor:
        """[B, R]: how far the rows asked for may move from the centre, by the ellipsoid of the secants."""
        joint = form([*self.blocks, asked])
        y, proven = certified(joint, jacobi(joint, 0.5))
        root = tensor_up(tensor_up(y.diagonal(dim1=1, dim2=2).clamp(min=0.0).sqrt()) * ball.reach()[:, None])
        return torch.where(proven[:, None], root, torch.inf)
