"""@onnx_op: which ONNX ops are known, in which revisions, and what each is parsed into.

The parser's keyword signature is the schema of the attributes: an attribute that is not named there is refused by
the call itself, one that is left out takes the default written there. Whatever is not listed is refused by name.
"""

from __future__ import annotations

import importlib
import inspect
import math
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol, final

import torch

from lipaudit.errors import Unsupported
from lipaudit.linear.map import LinearMap, Shape
from lipaudit.linear.selection import Selection
from lipaudit.ops.affine import Affine
from lipaudit.ops.op import Op

MAX_ENTRIES = 2**26
"""Of one tensor on the way from the input to the output: a file of 200 bytes can ask for terabytes."""


def room(*shape: int) -> None:
    """Raises Unsupported where a tensor of that shape is too large, or has a negative size, before it is made."""
    if min(shape, default=0) < 0:
        raise Unsupported(f"a result of shape {list(shape)} has a negative size")
    if math.prod(shape) > MAX_ENTRIES:
        raise Unsupported(f"it takes a tensor of shape {list(shape)}, which is too large")


@final
@dataclass(frozen=True, slots=True, eq=False)
class Constant:
    """A tensor known at load time: float64 for every real type, int64, or bool."""

    value: torch.Tensor

    @property
    def shape(self) -> Shape:
        return tuple(self.value.shape)

    @property
    def real(self) -> bool:
        return self.value.dtype == torch.float64


@final
@dataclass(frozen=True, slots=True)
class Data:
    """A value that depends on the input: its number in the graph, and its shape."""

    number: int
    shape: Shape


Value = Constant | Data


class Emitter(Protocol):
    """Adds a node to the graph under construction."""

    def __call__(self, op: Op, *args: Data) -> Data: ...


@final
@dataclass(frozen=True, slots=True, eq=False)
class RawNode:
    """One ONNX node with its arguments resolved, as its parser sees it; no protobuf left.

    outputs: how many the node names; needed: up to which one (counted from 1) something uses them.
    masks: of values, by number, that a constant makes -inf in places: where they are not.
    kinds: of values, by number, that are whole numbers ('int') or truth values ('bool').
    """

    op: str
    name: str
    version: int
    args: tuple[Value | None, ...]
    outputs: int
    needed: int
    emit: Emitter
    masks: Mapping[int, torch.Tensor] = field(default_factory=dict)
    kinds: Mapping[int, str] = field(default_factory=dict)

    def arg(self, place: int) -> Value | None:
        """The argument at that place, None where it was left out."""
        return self.args[place] if place < len(self.args) else None

    def data(self, place: int = 0) -> Data:
        """The argument at that place, which must depend on the input."""
        value = self.arg(place)
        if not isinstance(value, Data):
            said = f"argument {place + 1} {'is left out' if value is None else 'is constant'}"
            varying = [at + 1 for at, arg in enumerate(self.args) if isinstance(arg, Data)]
            where = f", while argument {varying[0]} depends on the input" if varying else ""
            raise Unsupported(f"{said}{where}, for which there is no rule")
        return value

    def constant(self, place: int, what: str) -> torch.Tensor:
        """The constant at that place. `what` it is, for the refusal of one that is not constant."""
        value = self.arg(place)
        if not isinstance(value, Constant):
            raise Unsupported(f"its {what} {'is missing' if value is None else 'depends on the input'}")
        return value.value

    def optional(self, place: int, what: str) -> torch.Tensor | None:
        """The constant at that place, or None where it was left out."""
        return None if self.arg(place) is None else self.constant(place, what)

    def integers(self, place: int, what: str) -> list[int]:
        """The constant at that place as a list of whole numbers."""
        return [int(n) for n in self.constant(place, what).reshape(-1).tolist()]

    def affine(self, part: LinearMap, x: Data, offset: torch.Tensor | None = None) -> Data:
        """part(x) + offset."""
        return self.emit(Affine((part,), offset), x)

    def pick(self, x: Data, select: Callable[[torch.Tensor], torch.Tensor]) -> Data:
        """A rearrangement of entries, told by what it does to a tensor of flat indices in the shape of x."""
        places = torch.arange(torch.Size(x.shape).numel()).reshape(x.shape)
        return self.affine(Selection.of(x.shape, select(places)), x)

    def reshape(self, x: Data, shape: Sequence[int]) -> Data:
        """The same entries in another shape."""
        return x if x.shape == tuple(shape) else self.affine(Selection.reshape(x.shape, tuple(shape)), x)

    def broadcast(self, x: Data, shape: Sequence[int]) -> Data:
        """x repeated to a larger shape by numpy's rules."""
        room(*shape)
        return x if x.shape == tuple(shape) else self.pick(x, lambda places: places.expand(tuple(shape)))


Parser = Callable[..., "Data | tuple[Data, ...]"]


@final
@dataclass(frozen=True, slots=True)
class Entry:
    """A listed op: its revisions (since_version numbers), and its parser with the attributes it reads."""

    op: str
    versions: tuple[int, ...]
    parser: Parser

    @property
    def attributes(self) -> dict[str, inspect.Parameter]:
        parameters = inspect.signature(self.parser).parameters
        return {name: p for name, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}

    @property
    def summary(self) -> str:
        return (inspect.getdoc(self.parser) or "").split("\n")[0]


_REGISTRY: dict[str, Entry] = {}
_JUMPS: dict[str, Entry] = {}


def onnx_op(name: str, *, versions: tuple[int, ...], jumps: bool = False) -> Callable[[Parser], Parser]:
    """Registers the decorated parser for an op of the default ONNX domain, in the listed revisions only.

    jumps: the rule is for an op (or for arguments of it) that is not continuous, and asked only for an affine modulus.
    """

    def register(parser: Parser) -> Parser:
        entries = _JUMPS if jumps else _REGISTRY
        if name in entries:
            raise ValueError(f"{name} is registered twice")
        entries[name] = Entry(name, versions, parser)
        return parser

    return register


@cache
def registry() -> Mapping[str, Entry]:
    """Every listed op by name. The modules of lipaudit.ops.onnx are found, not listed."""
    package = importlib.import_module("lipaudit.ops.onnx")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return dict(sorted(_REGISTRY.items()))


@cache
def jump_registry() -> Mapping[str, Entry]:
    """Every rule that is asked for an affine modulus before the ordinary one, by name of the op."""
    registry()
    return dict(sorted(_JUMPS.items()))


def parse(node: RawNode, attributes: Mapping[str, Any], *, jumps: bool = False) -> tuple[Data, ...]:
    """The node's outputs as graph values. Raises Unsupported with the reason, for anything not listed.

    jumps: whether ops that are not continuous have their rules too.
    """
    entry = (jump_registry().get(node.op) if jumps else None) or registry().get(node.op)
    if entry is None:
        raise Unsupported("there is no rule for this op")
    if node.version not in entry.versions:
        known = ", ".join(str(v) for v in entry.versions)
        raise Unsupported(f"{node.op}-{node.version} is not supported (known revisions: {known})")
    stray = sorted(set(attributes) - set(entry.attributes))
    if stray:
        raise Unsupported(f"attribute {stray[0]!r} is not known for {node.op}-{node.version}")
    required = [n for n, p in entry.attributes.items() if p.default is p.empty and n not in attributes]
    if required:
        raise Unsupported(f"attribute {required[0]!r} is missing")
    for name, value in attributes.items():
        if not all(math.isfinite(v) for v in (value if isinstance(value, list) else [value]) if isinstance(v, float)):
            raise Unsupported(f"attribute {name!r} is not a finite number")
    result = entry.parser(node, **attributes)
    return result if isinstance(result, tuple) else (result,)


def float32(x: float) -> float:
    """The float32 nearest to x: an attribute's default is a float32 value, and 0.01 is not 0.01."""
    return float(torch.tensor(x, dtype=torch.float32))
