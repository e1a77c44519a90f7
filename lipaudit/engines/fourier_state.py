"""The state of a lattice while a program is written: which values are where, and the steps that lead there."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from lipaudit.engines.fourier_blocks import Target, Value, blocks_of, everything
from lipaudit.engines.fourier_program import Bend, Gain, Linear, Program, Step
from lipaudit.engines.fourier_taps import Taps, identity
from lipaudit.linear.map import Shape
from lipaudit.linear.norms.sums import unscaled
from lipaudit.numerics.rounding import TINY, add_up, difference_up, gamma


class State:
    """Values by number; `order` are those alive, in the order of the state's channels."""

    def __init__(self, first: Value) -> None:
        self.values, self.order = [first], [0]
        self.steps: list[Step] = []
        self.first = first
        self._cells: dict[int, Shape] = {}  # of the lattice that a step lays, the input's at -1
        self._lay(-1, first)

    def _lay(self, step: int, value: Value) -> None:
        """A new lattice, for one value that is all there is. Needs: (coarsening, positions a cell, positions)."""
        self._laid, self.coarse = step, (1,) * len(value.size)
        self._needs = [(self.coarse, value.q, value.size)]

    def _settle(self) -> None:
        """The number of cells of the lattice at hand, now that all that happens on it is known."""
        cells = []
        for axis in range(len(self._needs[0][0])):
            total = max(c[axis] for c, _, _ in self._needs)  # each divides the next
            least = max(-(-positions[axis] * c[axis] // (q[axis] * total)) for c, q, positions in self._needs)
            cells.append(total * max(1, least))
        self._cells[self._laid] = tuple(cells)

    def finish(self, output: int, dense: bool) -> Program:
        """The program whose output is this value."""
        self._settle()
        steps = tuple(
            replace(step, cells=self._cells[i]) if i in self._cells and isinstance(step, Gain) else step
            for i, step in enumerate(self.steps)
        )
        index, exponent = self.indices([output]), self.values[output].exponent
        return Program(self._cells[-1], self.first.width, steps, index, exponent, dense)

    def indices(self, values: list[int]) -> torch.Tensor:
        """Where the channels of these values are."""
        starts, at = {}, 0
        for v in self.order:
            starts[v] = at
            at += self.values[v].width
        parts = [torch.arange(starts[v], starts[v] + self.values[v].width) for v in values]
        return torch.cat([*parts, torch.arange(0)])

    def add(self, value: Value) -> int:
        self.values.append(value)
        return len(self.values) - 1

    def bend(self, source: int, low: torch.Tensor, high: torch.Tensor, clean: bool, kept: list[int]) -> int:
        """A slope step: low, high for each channel of the image, alike in all phases of a cell."""
        value = self.values[source]
        centre = low / 2 + high / 2
        radius = torch.maximum(difference_up(high, centre), difference_up(centre, low))
        exponent = math.frexp(float((centre.abs() + radius).max()))[1] if len(low) else 0
        shift = max(0, exponent - 1)  # slopes up to 1 keep the scale
        scale = 2.0**-shift
        if shift:  # what scaling takes from numbers near the end of the range
            lost = (torch.minimum(centre.abs(), radius) < 2.0**-900) & ((centre != 0) | (radius != 0))
            radius = torch.where(lost, torch.nextafter(radius + 2.0**-890, radius + 1.0), radius)
        phases = math.prod(value.q)
        centre, radius = ((end * scale).repeat(phases) for end in (centre, radius))
        self.steps.append(Bend(self.indices([source]), self.indices(kept), centre, radius))
        target = self.add(replace(value, exponent=value.exponent + shift, clean=clean))
        self.order = [*kept, target]
        return target

    def cut(self, source: int, kept: list[int]) -> int:
        """The same value, 0 outside its window: slopes 1 and 0, of the range [0, 1]."""
        zeros = torch.zeros(self.values[source].channels, dtype=torch.float64)
        return self.bend(source, zeros, zeros + 1.0, True, kept)

    def around(self, source: int, channels: int, factor: float, kept: list[int]) -> tuple[int, int]:
        """(mean, w) of an image that has `channels` means first, then what bounds w: |w_c| <= factor |those of c|.

        source: (1 + n) `channels`, the last n `channels` those of c = 0, 1, .., 0, 1, ..
        """
        value, phases = self.values[source], math.prod(self.values[source].q)
        index = self.indices([source]).reshape(phases, -1)
        group = torch.arange(phases)[:, None] * channels + torch.arange(index.shape[1] - channels) % channels
        rest = torch.cat([self.indices(kept), index[:, :channels].flatten()])
        made = replace(value, channels=channels)
        spread = torch.arange(phases * channels)
        self.steps.append(Gain(index[:, channels:].flatten(), rest, factor, group.flatten(), spread, None))
        mean, around = self.add(made), self.add(replace(made, clean=True))
        self.order = [*kept, mean, around]
        return mean, around

    def gain(self, sources: list[int], factor: float, made: Value, kept: list[int], *, apart: bool) -> int:
        """A value that is known by its gain alone; sources of one exponent. apart: every channel by its own."""
        mantissa, power = math.frexp(factor)
        exponent = self.values[sources[0]].exponent + (power if factor else 0)
        source, rest = self.indices(sources), self.indices(kept)
        channels = made.channels if apart else 1
        group, spread = torch.arange(len(source)) % channels, torch.arange(made.width) % channels
        if kept:
            self._needs.append((self.coarse, made.q, made.size))
        else:
            self._settle()
            self._lay(len(self.steps), made)
        self.steps.append(Gain(source, rest, mantissa, group, spread, None))
        target = self.add(replace(made, exponent=exponent))
        self.order = [*kept, target]
        return target

    def linear(self, targets: list[Target], kept: list[int], factor: Shape | None) -> list[int]:
        """The targets' numbers; on a lattice of `factor` times fewer cells, None: of one, everything a vector.

        A kept value keeps its number.
        """
        rows: list[Target] = []
        for v in kept:
            value = self.values[v]
            if factor is None:
                rows.append(Target(value.written_out(), ((v, everything(value)),)))
            else:
                q = tuple(p * f for p, f in zip(value.q, factor, strict=True))
                rows.append(Target(replace(value, q=q), ((v, identity(value.channels, value.size)),)))
        columns = {v: int(self.indices([v])[0]) if self.values[v].width else 0 for v in self.order}
        height, width = (sum(t.value.width for t in (*rows, *targets)), sum(self.values[v].width for v in self.order))
        majorant = torch.zeros(height, width, dtype=torch.float64)
        blocks, losses, eta, terms, row, made = [], [16.0 * TINY], 0.0, 1, 0, []
        for number, target in enumerate((*rows, *targets)):
            exponent = self.values[kept[number]].exponent if number < len(kept) else self._exponent(target)
            count: dict[int, int] = {}
            for source, part in target.parts:
                shift = self.values[source].exponent - exponent
                for block, above in blocks_of(target.value, self.values[source], part, shift):
                    at = (
                        slice(row + block.row, row + block.row + block.weight.shape[1]),
                        slice(columns[source] + block.column, columns[source] + block.column + block.weight.shape[2]),
                    )
                    majorant[at] += above
                    blocks.append(replace(block, row=at[0].start, column=at[1].start))
                taps = math.prod(part.kernel.shape[2:]) if isinstance(part, Taps) else math.prod(part.weight.shape[2:])
                count[source] = count.get(source, 0) + taps + 1
                eta = max(eta, gamma(part.roundings) if isinstance(part, Taps) else part.eta)
                own = 0.0 if isinstance(part, Taps) else unscaled(part.loss, max(shift, -1500))
                losses.append((own + 16.0 * TINY) * (taps + 1))
            terms = max(terms, *count.values()) if count else terms
            if number >= len(kept):
                made.append(self.add(replace(target.value, exponent=exponent)))
            row += target.value.width
        if not bool(majorant.isfinite().all()):
            raise OverflowError("the weights overflow")
        majorant = majorant * (1.0 + 2.0**-30)
        self.steps.append(Linear(tuple(blocks), factor, majorant, eta, add_up(*losses), terms))
        for v, target in zip(kept, rows, strict=True):
            self.values[v] = target.value
        self.order = [*kept, *made]
        if factor is None:
            self.coarse = ()
        else:
            self.coarse = tuple(c * f for c, f in zip(self.coarse, factor, strict=True))
            for number, target in enumerate((*rows, *targets)):
                positions = [target.value.size] if number < len(kept) else self._positions(target)
                self._needs += [(self.coarse, target.value.q, p) for p in positions]
        return made

    def _positions(self, target: Target) -> list[Shape]:
        """How many positions of it the torus has to hold, for each part: no other turn may reach the window."""
        found = [target.value.size]
        for source, part in target.parts:
            assert isinstance(part, Taps)
            if part.leaves_window():
                assert self.values[source].clean
                reaches = [part.reach(axis) for axis in range(len(part.size))]
                found.append(
                    tuple(max(n - first, last + 1) for (first, last), n in zip(reaches, part.out, strict=True))
                )
        return found

    def _exponent(self, target: Target) -> int:
        """Such that the target's entries are about as large as those of its sources."""
        reach = []
        for source, part in target.parts:
            weight = part.kernel if isinstance(part, Taps) else part.weight
            largest = float(torch.linalg.vector_norm(weight.flatten(1), dim=1).max()) if weight.numel() else 0.0
            if largest > 0.0:
                if not math.isfinite(largest):
                    largest = float(weight.abs().max())
                reach.append(self.values[source].exponent + math.frexp(largest)[1])
        return max(reach, default=0)
