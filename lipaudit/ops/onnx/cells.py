"""One step of a recurrent layer, emitted as affine maps, gates and products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch

from lipaudit.linear.dense import Dense
from lipaudit.linear.map import LinearMap, Shape
from lipaudit.linear.pointwise import Diagonal
from lipaudit.linear.selection import NOTHING, Selection
from lipaudit.ops.affine import Affine
from lipaudit.ops.bilinear import Multiply
from lipaudit.ops.elementwise import Elementwise
from lipaudit.ops.registry import Constant, Data, RawNode, Value
from lipaudit.ops.scalar import Scalar


@final
@dataclass(frozen=True, slots=True)
class Cell:
    """One direction of one layer: weights [gates * hidden, ...], values [batch, hidden] for one step."""

    node: RawNode
    input_weight: torch.Tensor
    hidden_weight: torch.Tensor
    input_bias: torch.Tensor
    hidden_bias: torch.Tensor
    peepholes: torch.Tensor | None
    functions: tuple[Scalar, ...]
    batch: int

    @property
    def hidden(self) -> int:
        return self.hidden_weight.shape[1]

    @property
    def shape(self) -> Shape:
        return (self.batch, self.hidden)

    def rows(self, matrix: torch.Tensor, gate: int) -> torch.Tensor:
        return matrix[gate * self.hidden : (gate + 1) * self.hidden]

    def gate(self, gate: int, function: Scalar, x: Data, h: Value, cell: Value | None = None, peep: int = 0) -> Data:
        """function(W x + R h + P c + biases) for one gate."""
        bias = self.rows(self.input_bias, gate) + self.rows(self.hidden_bias, gate)
        size = self.rows(self.input_bias, gate).abs() + self.rows(self.hidden_bias, gate).abs()
        terms: list[tuple[Value, LinearMap]] = [
            (x, self.dense(self.rows(self.input_weight, gate))),
            (h, self.dense(self.rows(self.hidden_weight, gate))),
        ]
        if cell is not None and self.peepholes is not None:
            terms.append((cell, Diagonal(self.rows(self.peepholes, peep), self.shape)))
        return self.apply(function, self.sum(terms, bias, size))

    def dense(self, weight: torch.Tensor) -> Dense:
        return Dense(weight, (self.batch,), 1, (self.batch, weight.shape[1]), (self.batch, weight.shape[0]))

    def apply(self, function: Scalar, x: Data) -> Data:
        return self.node.emit(Elementwise(function, x.shape), x)

    def sum(self, terms: list[tuple[Value, LinearMap]], bias: torch.Tensor, size: torch.Tensor) -> Data:
        """The sum of maps of values (constant ones go into the offset) and a bias, itself a rounded sum of `size`."""
        offset = bias.expand(self.shape)
        error = size.expand(self.shape) * 2.0**-52
        for value, part in terms:
            if isinstance(value, Constant):
                still = value.value.double()
                offset = offset + part.apply(still.unsqueeze(0))[0]
                reach = part.majorant().apply(still.abs().unsqueeze(0))[0]
                error = (error + (reach + offset.abs()) * (2.0**-52 * (part.roundings + 4))) * (1.0 + 1e-15)
        maps = tuple(part for value, part in terms if isinstance(value, Data))
        data = [value for value, _ in terms if isinstance(value, Data)]
        return self.node.emit(Affine(maps, offset.contiguous(), error.contiguous()), *data)

    def times(self, a: Data, b: Value) -> Data:
        if isinstance(b, Data):
            return self.node.emit(Multiply(self.shape), a, b)
        return self.node.affine(Diagonal(b.value.double(), self.shape), a)

    def plus(self, *terms: Data) -> Data:
        same = Selection.reshape(self.shape, self.shape)
        return self.node.emit(Affine((same,) * len(terms)), *terms)

    def complement(self, gate: Data) -> Data:
        """1 - gate."""
        minus = Diagonal(torch.tensor(-1.0, dtype=torch.float64), self.shape)
        return self.node.affine(minus, gate, torch.ones(self.shape, dtype=torch.float64))

    def constant(self, x: Data, terms: list[tuple[Value, LinearMap]], bias: torch.Tensor) -> Data:
        """A constant sum as a value of the graph (which depends on x with the factor 0), its rounding kept."""
        nothing = Selection.of(x.shape, torch.full(self.shape, NOTHING))
        return self.sum([(x, nothing), *terms], bias, torch.zeros_like(bias))
