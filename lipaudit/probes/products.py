"""Products with the Jacobian of a batch, by autograd: one graph, many pulls and pushes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import final

import torch
from torch.autograd.graph import saved_tensors_hooks

Function = Callable[[torch.Tensor], torch.Tensor]

# Where only these are met, one batched pass beats a loop over cotangents. It loses on convolutions,
# and an op without a batching rule warns.
_BATCHED = (
    "AccumulateGrad Abs Add Addmm Clamp Clone Cos Div Elu Exp Expand LeakyRelu MaskedFill Maximum "
    "Mm Mul Neg Permute Relu ReshapeAlias Select Sgn Sigmoid Sin Slice Squeeze Sub Sum T Tanh "
    "Threshold Transpose UnsafeView Unsqueeze View Where"
)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Product:
    """w -> (d out / d source)^T w, sample by sample: out [B, a], source [B, ...] with b entries."""

    out: torch.Tensor
    source: torch.Tensor

    def __call__(self, w: torch.Tensor, *, graph: bool = False) -> torch.Tensor:
        """[B, a] -> [B, b], or [r, B, a] -> [r, B, b] in one batched pass."""
        image = None
        if self.out.requires_grad:  # otherwise a constant
            (image,) = torch.autograd.grad(
                self.out,
                self.source,
                w,
                retain_graph=True,
                create_graph=graph,
                is_grads_batched=w.ndim == 3,
                allow_unused=True,
            )
        shape = (*w.shape[:-1], self.source[0].numel())
        return w.new_zeros(shape) if image is None else image.reshape(shape)

    def blocks(self, rows: int) -> Iterator[torch.Tensor]:
        """The images of the a unit vectors in order, [B, r, b] at a time, r <= rows."""
        count, size = self.out.shape
        step = rows if self._batches() else 1
        for at in range(0, size, step):
            which = torch.arange(at, min(at + step, size))
            units = torch.nn.functional.one_hot(which, size).to(self.out)
            w = units[:, None].expand(-1, count, -1)
            yield self(w[0])[:, None] if len(w) == 1 else self(w).transpose(0, 1)

    def _batches(self) -> bool:
        seen, stack = set(), [self.out.grad_fn]
        while stack:
            node = stack.pop()
            if node is None or node in seen:
                continue
            name = node.name().rpartition(":")[2].rstrip("01").replace("Backward", "")
            if name not in _BATCHED.split():
                return False
            seen.add(node)
            stack += [parent for parent, _ in node.next_functions]
        return True


def survey(fn: Function, x: torch.Tensor) -> tuple[int, int]:
    """(m, bytes autograd keeps for a sample): what depends on it, masks and indices, no weights."""
    kept = [0]

    def keep(saved: torch.Tensor) -> torch.Tensor:
        if saved.requires_grad or not saved.is_floating_point():
            kept.append(saved.nbytes)
        return saved

    with saved_tensors_hooks(keep, lambda saved: saved):
        pull, _ = products(fn, x[:1], both=False)
    return pull.out.shape[1], sum(kept)


def products(fn: Function, x: torch.Tensor, *, both: bool) -> tuple[Product, Product]:
    """(pull, push) of the batch; not `both`: the pull twice, for half the graph."""
    with torch.enable_grad():
        source = x.detach().requires_grad_()
        y = fn(source)
        if y.dtype != x.dtype or not y.ndim or len(y) != len(x) or not y.numel():
            raise ValueError(f"not a float64 batch of {len(x)}: {tuple(y.shape)}, {y.dtype}")
        pull = Product(y.reshape(len(x), -1), source)
        if not both:
            return pull, pull
        u = torch.zeros_like(pull.out, requires_grad=True)
        return pull, Product(pull(u, graph=True), u)
