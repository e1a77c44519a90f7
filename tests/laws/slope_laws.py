"""What bounds of LipSDP's kind are bounds of: the norm of every Jacobian whose slopes lie in their ranges.

The slopes of all neurons are free of each other here, which is more than any input of the network can do: a bound
from multipliers has to be above all of it. Nothing of the engines is used.
"""

from __future__ import annotations

import torch

from lipaudit.graph.graph import Graph, Node, evaluate
from lipaudit.graph.problem import Problem
from lipaudit.ops.affine import Affine
from lipaudit.ops.elementwise import Elementwise
from lipaudit.ops.maxlike import WindowMax


class Pattern:
    """A choice of all slopes, t in [0, 1] of slope = low + t (high - low), and of the winners of all pools."""

    def __init__(self, problem: Problem, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.graph, self.low, self.high, self.t = (
            problem.graph,
            dict[int, torch.Tensor](),
            dict[int, torch.Tensor](),
            {},
        )
        self.winner = dict[int, torch.Tensor]()
        for place, node in enumerate(problem.graph.nodes):
            if isinstance(node.op, Elementwise):
                box = node.op.slopes(problem.arguments(node)[0])
                self.low[place], self.high[place] = box.lower.amin(0), box.upper.amax(0)
                ends = torch.rand(node.op.shape, generator=generator, dtype=torch.float64) < (0.5, 0.8, 1.1)[seed % 3]
                self.t[place] = ends.double()
            elif isinstance(node.op, WindowMax):
                windows = node.op.windows
                choice = torch.randint(windows.shape[1], (len(windows), 1), generator=generator)
                self.winner[place] = windows.gather(1, choice)[:, 0]

    def jacobian(self, t: dict[int, torch.Tensor]) -> torch.Tensor:
        """The Jacobian [in, out] of this pattern."""
        places = {id(node): place for place, node in enumerate(self.graph.nodes)}
        inputs = torch.Size(self.graph.input_shape).numel()

        def rule(node: Node, args: tuple[torch.Tensor, ...]) -> torch.Tensor:
            place = places[id(node)]
            match node.op:
                case Affine() as op:
                    return torch.stack([part.apply(x) for part, x in zip(op.maps, args, strict=True)]).sum(0)
                case Elementwise():
                    return args[0] * (self.low[place] + t[place] * (self.high[place] - self.low[place]))
                case WindowMax() as op:
                    return args[0].flatten(1)[:, self.winner[place]].reshape(inputs, *op.target)
                case _:
                    raise NotImplementedError(type(node.op).__name__)

        eye = torch.eye(inputs, dtype=torch.float64).reshape(inputs, *self.graph.input_shape)
        return evaluate(self.graph, eye, rule).reshape(inputs, -1)


def worst_slopes(problem: Problem, seed: int = 0, starts: int = 4, rounds: int = 8) -> float:
    """The largest norm found: all slopes at the end of their range that the gradient points to, again and again."""
    best = 0.0
    for start in range(starts):
        pattern = Pattern(problem, 97 * seed + start)
        t = pattern.t
        for _ in range(rounds):
            leaves = {place: x.clone().requires_grad_(True) for place, x in t.items()}
            norm = torch.linalg.matrix_norm(pattern.jacobian(leaves), 2)
            best = max(best, float(norm.detach()))
            if not leaves or not norm.requires_grad:
                break
            gradients = torch.autograd.grad(norm, list(leaves.values()), allow_unused=True)
            ends = {
                place: x if g is None else torch.where(g == 0, x, (g > 0).double())
                for (place, x), g in zip(t.items(), gradients, strict=True)
            }
            if all(torch.equal(ends[place], t[place]) for place in t):
                break
            t = ends
    return best


def is_above_all_slopes(graph: Graph, bound: float, problem: Problem, seed: int = 0) -> float:
    """No choice of slopes exceeds the bound. Gives the largest norm found over the bound."""
    found = worst_slopes(problem, seed)
    assert found <= bound * (1.0 + 1e-12), f"slopes allow {found!r}, the bound is {bound!r} of {graph.input_shape}"
    return found / bound if bound else 0.0
