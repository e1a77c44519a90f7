"""A graph as a program on a periodic lattice.

Every value is held as a signal on the torus that agrees with it on its window. It is *clean* where it is known to be 0
outside. On signals over all integers a convolution with zero padding of a clean signal is exact on the window, and the
torus adds up what lies a whole turn apart: so it is exact there while no other turn of the result reaches the window,
and without any need for a clean source where no position outside the window is read. A slope range that contains 0
may be taken as 0 outside the window, which makes its result clean; elsewhere a window is cut out by a step of its own,
slopes 1 inside and 0 outside, of the range [0, 1]. Leaving that out would be unsound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from lipaudit.engines.engine import Declined
from lipaudit.engines.fourier_blocks import Matrix, Part, Target, Value
from lipaudit.engines.fourier_ledger import Ledger
from lipaudit.engines.fourier_program import Program
from lipaudit.engines.fourier_state import State
from lipaudit.engines.fourier_taps import Order, Taps, identity, pieces_of, pooling, terms_of
from lipaudit.engines.fourier_views import View, by_channel, image, same_order
from lipaudit.graph.graph import Node
from lipaudit.graph.problem import Problem
from lipaudit.linear.map import LinearMap, Shape
from lipaudit.linear.norms.entries import underflow_of_copy
from lipaudit.numerics.rounding import div_up, gamma, mul_up, sqrt_up
from lipaudit.ops.affine import Affine
from lipaudit.ops.elementwise import Elementwise
from lipaudit.ops.maxlike import WindowMax

ENTRIES = 2**25
"""Most entries of one dense matrix."""

SIDE = 2048
"""Most entries of all values alive, written out one by one where nothing else will do."""


@dataclass(slots=True, eq=False)
class Chain:
    """What a node's argument contributes: taps of a value, one after the other."""

    source: int
    taps: list[Taps]


def program(problem: Problem, written_out: int = 0) -> Program:
    """The problem's graph as a program.

    written_out: values are written out neuron by neuron as soon as all that is alive has at most so many entries.
    Raises Declined where a slope or gain is infinite, or something is too large.
    """
    return _Planner(problem, written_out).run()


class _Planner:
    """Walks the graph; knows which of its values are which of the state's."""

    def __init__(self, problem: Problem, written_out: int) -> None:
        self.problem, self.graph, self.limit = problem, problem.graph, written_out
        self.ledger = Ledger(problem.graph)
        view, first = self._input()
        self.ledger.named[0], self.state = view, State(first)

    def run(self) -> Program:
        for place, node in enumerate(self.graph.nodes, start=1):
            self.ledger.place = place
            match node.op:
                case Affine() as op:
                    made = self._affine(node, op)
                case Elementwise() as op:
                    made = self._elementwise(node, op)
                case WindowMax() as op if (taps := pooling(op)) and self._sees_image(node):
                    made = self._pooled(node, op, taps)
                case _:
                    made = self._gain(node)
            self.ledger.name(made)
        view = self.ledger.named[self.graph.output]
        return self.state.finish(view.value, not self.state.values[view.value].size and view.order is None)

    def _input(self) -> tuple[View, Value]:
        """The input as the image that its first convolution reads, whatever moves entries before that."""
        shape = self.graph.input_shape
        for place, argument in self.ledger.uses.get(0, []):
            op = self.graph.nodes[place - 1].op
            for term in terms_of(op.maps[argument]) if isinstance(op, Affine) else ():
                pieces = pieces_of(term) or []
                if len(pieces) > 1 and isinstance(pieces[0], Order) and isinstance(pieces[1], Taps):
                    index, order = pieces[0].index, None
                    if index is not None:
                        order = torch.empty_like(index).index_copy_(0, index, torch.arange(len(index)))
                    return View(0, shape, order), image(pieces[0].shape)
        return View(0, shape), image(shape)

    def _alive(self, *more: int) -> list[int]:
        return self.ledger.alive(self.state, *more)

    # ------------------------------------------------------------------------------------------ slopes and gains

    def _elementwise(self, node: Node, op: Elementwise) -> View:
        slopes = op.slopes(self.problem.arguments(node)[0])
        low, high = slopes.lower.flatten(1).amin(0), slopes.upper.flatten(1).amax(0)
        if not bool((low.isfinite() & high.isfinite()).all()):
            raise Declined(op.caveat(*self.problem.arguments(node)) or f"the slope of {node.name} is unbounded")
        view = self.ledger.named[node.inputs[0]]
        value = self.state.values[view.value]
        low, high = (view.columns(value, end).reshape(value.channels, -1) for end in (low, high))
        low, high = low.amin(1), high.amax(1)
        if value.size and self._reads_outside(self.ledger.place):
            low, high = low.clamp_max(0.0), high.clamp_min(0.0)
        clean = not value.size or bool(((low <= 0) & (high >= 0)).all())
        return replace(view, value=self.state.bend(view.value, low, high, clean, self._alive()))

    def _reads_outside(self, name: int) -> bool:
        """Whether a use of a graph's value reads outside its window."""
        for place, argument in self.ledger.uses.get(name, []):
            op = self.graph.nodes[place - 1].op
            if isinstance(op, WindowMax) and (pooled := pooling(op)) and pooled.leaves_window():
                return True
            for term in terms_of(op.maps[argument]) if isinstance(op, Affine) else ():
                pieces = pieces_of(term)
                if pieces is None:
                    continue  # written out, or known by its norm: neither reads outside
                taps = [piece for piece in pieces if isinstance(piece, Taps)]
                if any(piece.leaves_window() for piece in taps) or (not taps and self._reads_outside(place)):
                    return True
        return False

    def _sees_image(self, node: Node) -> bool:
        view = self.ledger.named[node.inputs[0]]
        return view.is_image(self.state.values[view.value])

    def _pooled(self, node: Node, op: WindowMax, taps: Taps) -> View:
        """Max pooling: the windows' means, and what may be added to them."""
        source = self.ledger.named[node.inputs[0]].value
        if taps.leaves_window() and not self.state.values[source].clean:
            source = self.state.cut(source, self._alive(source))
        whole = self._step([(source, taps)], [])
        k, channels = math.prod(taps.kernel.shape[2:]), op.target[1]
        mean = whole
        if k > 1:
            factor = sqrt_up(div_up(k - 1.0, float(k)))
            mean, around = self.state.around(whole, channels, factor, self._alive())
            one = identity(channels, taps.out)
            mean = self._step([(mean, one), (around, one)], [])
        return View(mean, op.target)

    def _gain(self, node: Node) -> View:
        _, joint = self.problem.gains(node)
        if not math.isfinite(joint.value):
            reason = node.op.caveat(*self.problem.arguments(node))
            raise Declined(reason or f"the gain of {node.name} ({node.kind}) is infinite")
        return self._by_norm(node, joint.value)

    def _by_norm(self, node: Node, factor: float) -> View:
        """What is known by its gain alone: any value of its shape."""
        state, given = self.state, [self.ledger.named[i].value for i in node.inputs]
        sources = list(dict.fromkeys(given))
        most = max(given.count(v) for v in sources)
        if most > 1:  # |(d, d)| = sqrt 2 |d|
            factor = mul_up(factor, sqrt_up(float(most)))
        if len({state.values[v].exponent for v in sources}) > 1:
            raise Declined(f"{node.name} ({node.kind}) takes values of different scales")
        kept, shape = self._alive(), node.op.out_shape
        made = image(shape) if not kept else self._beside(sources[0], shape)
        apart = isinstance(node.op, WindowMax) and bool(made.size) and self._sees_image(node) and by_channel(node.op)
        return View(state.gain(sources, factor, made, kept, apart=apart), shape)

    def _beside(self, source: int, shape: Shape) -> Value:
        """A value of this shape on the lattice at hand, where others stay."""
        if not self.state.coarse:
            return Value(math.prod(shape), (), ())
        made, value = image(shape), self.state.values[source]
        if len(made.size) != len(self.state.coarse):
            raise Declined("a value that is known by its gain has other axes than one that is kept beside it")
        ratio = [max(1, round(n / m)) for n, m in zip(value.size, made.size, strict=True)]
        if any(q % r for q, r in zip(value.q, ratio, strict=True)):
            raise Declined("a value that is known by its gain is beside one of another resolution")
        return replace(made, q=tuple(q // r for q, r in zip(value.q, ratio, strict=True)))

    # ------------------------------------------------------------------------------------------ linear steps

    def _affine(self, node: Node, op: Affine) -> View:
        """By taps where they say what the node does, else written out, else (too large for that) by its norm."""
        if len(op.maps) == 1 and (self.ledger.place, 0) not in self.ledger.early:
            pieces = pieces_of(op.maps[0])
            if pieces is not None and all(isinstance(piece, Order) for piece in pieces):
                view = self.ledger.named[node.inputs[0]]
                for piece in pieces:
                    assert isinstance(piece, Order)
                    view = view.moved(piece)
                return replace(view, shape=op.out_shape)
        found = self._chains(node, op) if self.state.coarse else None
        total = math.prod(op.out_shape)
        for v in self._alive():
            linear = self.ledger.linear_uses(self.state, v) if self.state.coarse else None
            total += (
                self.state.values[v].entries if linear is None else sum(math.prod(o.out_shape) for _, _, o in linear)
            )
        if found is not None and total > self.limit:
            return self._by_taps(*found)
        if total > max(self.limit, SIDE):
            if any((self.ledger.place, a) in self.ledger.early for a in range(len(op.maps))):
                raise Declined(f"{node.name} ({node.kind}) is too large to be written out as a matrix")
            return self._by_norm(node, self.problem.gains(node)[1].value)
        return self._written_out(node, op)

    def _chains(self, node: Node, op: Affine) -> tuple[list[Chain], View] | None:
        """The arguments as chains of taps, and how the graph's tensor looks at the image that they add up to."""
        chains, views = [], []
        for argument, (name, part) in enumerate(zip(node.inputs, op.maps, strict=True)):
            if (self.ledger.place, argument) in self.ledger.early:
                early = self.ledger.early[self.ledger.place, argument]
                chains.append(Chain(early, []))
                views.append(View(-1, op.out_shape))
                continue
            for term in terms_of(part):
                pieces, view, taps = pieces_of(term), self.ledger.named[name], list[Taps]()
                if pieces is None:
                    return None
                size = self.state.values[view.value].size
                image = self.state.values[view.value]
                for piece in pieces:
                    if isinstance(piece, Order):
                        view = view.moved(piece)
                    elif view.is_image(image):
                        taps.append(piece)
                        image = Value(piece.kernel.shape[0], piece.out, ())
                        view = View(view.value, (1, image.channels, *image.size))
                    else:
                        return None
                if not taps and (view.order is not None or not size):
                    return None
                chains.append(Chain(self.ledger.named[name].value, taps))
                views.append(replace(view, value=-1))
        first = views[0]
        images = {self._image_of(chain) for chain in chains}
        same = all(same_order(v.order, first.order) for v in views)
        return (chains, replace(first, shape=op.out_shape)) if same and len(images) == 1 else None

    def _image_of(self, chain: Chain) -> tuple[int, Shape]:
        if chain.taps:
            return chain.taps[-1].kernel.shape[0], chain.taps[-1].out
        value = self.state.values[chain.source]
        return value.channels, value.size

    def _by_taps(self, chains: list[Chain], view: View) -> View:
        for chain in chains:
            while chain.taps:
                if chain.taps[0].leaves_window() and not self.state.values[chain.source].clean:
                    chain.source = self.state.cut(chain.source, self._alive(*(c.source for c in chains)))
                if len(chain.taps) == 1:
                    break
                first, source = chain.taps.pop(0), chain.source
                chain.source = -1
                others = [c.source for c in chains if c.source >= 0]
                chain.source = self._step([(source, first)], others)
        parts = []
        for chain in chains:
            taps = chain.taps or [identity(*self._image_of(chain))]
            parts.append((chain.source, taps[0]))
        return replace(view, value=self._step(parts, []))

    def _step(self, parts: list[tuple[int, Taps]], others: list[int]) -> int:
        """The sum of taps of values, as a new value; `others` are needed besides what later nodes need."""
        state = self.state
        factor = (1,) * len(state.coarse)
        for source, taps in parts:
            factor = tuple(
                math.lcm(f, 1 if taps.transposed else s // math.gcd(q, s))
                for f, q, s in zip(factor, state.values[source].q, taps.stride, strict=True)
            )
        target = self._target(parts, factor)
        if target is None:
            raise Declined("values of resolutions that do not fit are added up")
        kept, targets, uses = self._alive(*others), [target], list[tuple[int, int]]()
        if any(f > 1 for f in factor):
            for v in [v for v in kept if v not in others]:
                early = self._early(v, factor)
                if early is not None:
                    kept.remove(v)
                    uses += early[0]
                    targets += early[1]
        made = state.linear(targets, kept, factor)
        self.ledger.early |= dict(zip(uses, made[1:], strict=True))
        return made[0]

    def _target(self, parts: list[tuple[int, Taps]], factor: Shape) -> Target | None:
        """The sum as a value on a lattice that is coarser by `factor`; None where the parts' resolutions differ."""
        found = set()
        for source, taps in parts:
            q = []
            for p, f, s in zip(self.state.values[source].q, factor, taps.stride, strict=True):
                if not taps.transposed and p * f % s:
                    return None
                q.append(p * f * s if taps.transposed else p * f // s)
            found.add(tuple(q))
        if len(found) > 1:
            return None
        last = parts[0][1]
        clean = all(self.state.values[source].clean and taps.stays_inside() for source, taps in parts)
        return Target(Value(last.kernel.shape[0], last.out, found.pop(), clean=clean), tuple(parts))

    def _early(self, value: int, factor: Shape) -> tuple[list[tuple[int, int]], list[Target]] | None:
        """All that later nodes want of a value, where each is one map of taps and they are fewer channels than it."""
        uses, targets = [], []
        if value in self.ledger.pending():
            return None
        for name in [name for name, view in self.ledger.named.items() if view.value == value]:
            for place, argument in self.ledger.remaining(name):
                if place > len(self.graph.nodes):
                    return None
                op = self.graph.nodes[place - 1].op
                pieces = pieces_of(op.maps[argument]) if isinstance(op, Affine) else None
                if pieces is None or len(pieces) != 1 or not isinstance(pieces[0], Taps):
                    return None
                if not self.ledger.named[name].is_image(self.state.values[value]):
                    return None
                if pieces[0].leaves_window() and not self.state.values[value].clean:
                    return None
                target = self._target([(value, pieces[0])], factor)
                if target is None:
                    return None
                uses.append((place, argument))
                targets.append(target)
        width = self.state.values[value].width * math.prod(factor)
        return (uses, targets) if sum(t.value.width for t in targets) <= width else None

    # ------------------------------------------------------------------------------------------ written out

    def _written_out(self, node: Node, op: Affine) -> View:
        """The node as a matrix, on a lattice of one cell."""
        parts: list[tuple[int, Part]] = []
        for argument, (name, part) in enumerate(zip(node.inputs, op.maps, strict=True)):
            if (self.ledger.place, argument) in self.ledger.early:
                value = self.ledger.early[self.ledger.place, argument]
                eye = torch.eye(self.state.values[value].entries, dtype=torch.float64)
                eye = View(value, op.out_shape).columns(self.state.values[value], eye)
                parts.append((value, Matrix(eye, eye, 0.0, 0.0)))
            else:
                parts.append((self.ledger.named[name].value, self._matrix(node, self.ledger.named[name], part)))
        state, kept = self.state, self._alive()
        targets, uses = [Target(Value(math.prod(op.out_shape), (), ()), tuple(parts))], list[tuple[int, int]]()
        if state.coarse:
            for v in list(kept):
                early = self._early_matrices(v)
                if early is not None:
                    kept.remove(v)
                    uses += early[0]
                    targets += early[1]
        made = state.linear(targets, kept, None)
        self.ledger.early |= dict(zip(uses, made[1:], strict=True))
        return View(made[0], op.out_shape)

    def _matrix(self, node: Node, view: View, part: LinearMap) -> Matrix:
        if part.in_size * part.out_size > ENTRIES:
            raise Declined(f"{node.name} ({node.kind}) is too large to be written out as a matrix")
        value = self.state.values[view.value]
        weight, above = (view.columns(value, m.as_matrix()) for m in (part, part.majorant()))
        eta = gamma(3 * part.roundings + 8) if part.roundings else 0.0
        return Matrix(weight, torch.maximum(above, weight.abs()), eta, underflow_of_copy(part))

    def _early_matrices(self, value: int) -> tuple[list[tuple[int, int]], list[Target]] | None:
        """All that later nodes want of a value, where they are linear and have fewer entries than it."""
        uses, targets = [], []
        linear = self.ledger.linear_uses(self.state, value)
        if linear is None:
            return None
        for view, (place, argument), op in linear:
            matrix = self._matrix(self.graph.nodes[place - 1], view, op.maps[argument])
            uses.append((place, argument))
            targets.append(Target(Value(math.prod(op.out_shape), (), ()), ((value, matrix),)))
        return uses, targets
