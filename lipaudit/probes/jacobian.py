"""Operator norms of the Jacobian J of a function at many inputs: float64 numbers, not proofs.

J is m x n, n = prod(in_shape), m = prod(out_shape). A pull u -> J^T u is one backward pass of the
batch; a push v -> J v differentiates the pull, which is linear in u ("double backward").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, final

import torch

from lipaudit.errors import InvalidInput
from lipaudit.numerics.norms import Norm, NormPair, Norms
from lipaudit.probes.bidiagonal import lanczos, length, or_one
from lipaudit.probes.mixed_jacobian import ascended, is_hard, largest_line, line_direction
from lipaudit.probes.products import Function, Product, products, survey

_EXPLICIT = 40  # min(m, n) up to which all of J costs no more than Lanczos does
_MEMORY = 2**27  # bytes kept at a time, as far as autograd tells; passes may take as much again
_ROWS = 512  # samples x cotangents in one pass: beyond, a matrix product gains nothing
_STEPS = 64  # Lanczos steps of the first round; the few samples that need more have a second


@final
@dataclass(frozen=True, slots=True, eq=False)
class JacobianNorms:
    """What `jacobian_norms` computed at N inputs.

    norm: [N], the operator norm of one vector norm on both sides, or of a pair. At a kink it belongs to
        the one element of the Clarke Jacobian that autograd returns; rounding is not bounded.
    direction: [N, *in_shape] with |d| = 1 and |J d| = norm, or None where not asked for.
        l2: a top right singular vector, its sign fixed by the seed; l1: the unit vector of the
        first largest column; linf: the signs (0 counts as +) of the first largest row.
    residual: [N], |J^T u - norm v| of the pair: some singular value is that near. 0 if explicit.
    converged: [N] bool: residual <= tolerance * norm, or the Krylov space is all there is.
    method: "explicit", "lanczos", or "ascent": values that are attained, at most the norms.
    """

    norm: torch.Tensor
    direction: torch.Tensor | None
    residual: torch.Tensor
    converged: torch.Tensor
    method: str


def jacobian_norms(
    fn: Function,
    x: torch.Tensor,
    norms: Norms,
    *,
    method: Literal["auto", "explicit", "lanczos", "ascent"] = "auto",
    tolerance: float = 1e-6,
    directions: bool = False,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
    batch_size: int | None = None,
) -> JacobianNorms:
    """|J(x_b)| for each row of x: [N, *in_shape] float64.

    fn: [B, *in_shape] -> [B, *out_shape], float64; row b of the output depends on row b of the
        input only; autograd differentiates it (twice for pushes: "lanczos", or n < m).
    "explicit" takes all min(m, n) pulls or pushes; l1 and linf need it. "lanczos" (l2 only) is
        Golub-Kahan bidiagonalisation with the smaller side's vectors reorthogonalised, which is
        enough: Simon and Zha 2000 (SIAM J. Sci. Comput. 21(6)). "auto" is explicit for l1, linf and
        min(m, n) <= 40, and for pairs from l1 or to linf. The other pairs are NP-hard: "ascent" has
        to be asked for by name, and answers with directions and what they attain.
    Lanczos stops a sample at residual <= tolerance * norm. Its norm is at most |J| (rounding aside)
        and that near to a singular value: the top one, unless the start is orthogonal to it.
    seed: of the start, the same for each sample, and of the sign of a direction.
    progress: called with the number of samples finished so far, at last N.
    batch_size: samples at a time, by default what fits 256 MB. Results depend on it by
        rounding only (unless a residual is within rounding of the tolerance and the stop moves).
    Raises InvalidInput if a Jacobian is not finite, ValueError for arguments unlike the above.
    """
    if x.dtype != torch.float64 or not x.numel() or (batch_size or 1) < 1:
        raise ValueError(f"not a float64 batch, or empty: {tuple(x.shape)}, {x.dtype}")
    inputs, (outputs, held) = x[0].numel(), survey(fn, x)
    small, pulls = min(inputs, outputs), outputs <= inputs
    pair = NormPair.of(norms)
    norm = pair.source
    if (method == "ascent") != is_hard(pair):
        raise ValueError(f"{pair}: ascent is for the norms that are hard to compute, and they have nothing else")
    krylov = norm is Norm.L2 and not pair.mixed
    explicit = method == "explicit" or (method == "auto" and (not krylov or small <= _EXPLICIT))
    if method == "lanczos" and not krylov:
        raise ValueError(f"method lanczos is for l2, not {pair}")
    noise = torch.Generator().manual_seed(seed)
    start, sign = (torch.randn(k, generator=noise, dtype=x.dtype).to(x) for k in (small, inputs))
    value, residual = x.new_zeros(len(x)), x.new_zeros(len(x))
    converged = torch.full_like(value, explicit, dtype=torch.bool)
    direction = torch.zeros_like(x) if directions else None
    todo, finished = torch.arange(len(x), device=x.device), 0
    rounds = [min(_STEPS, small), min(small, max(_STEPS, _MEMORY // (8 * small)))]
    if explicit:
        rounds = [max(inputs, outputs) if krylov else 1]
    elif method == "ascent":
        rounds = [1]
    for steps in rounds:
        fit = max(1, _MEMORY // (3 * held + 8 * (small * steps + 4 * (inputs + outputs))))
        batch = min(_ROWS, fit, batch_size or _ROWS)
        for at in range(0, len(todo), batch):
            part = todo[at : at + batch]
            pull, push = products(fn, x[part], both=not (explicit and pulls))
            rows = max(1, min(_ROWS, fit) // len(part))
            along: torch.Tensor | None = None
            sides = (pull, push) if pulls else (push, pull)
            if method == "ascent":
                value[part], along = ascended(pull, push, pair, seed)
            elif pair.mixed:
                value[part], top = largest_line(sides, pair, rows, pulls=pulls)
                along = line_direction(pair, top, pull) if directions else None
            elif explicit:
                value[part], top = _explicit(sides[0], norm, rows, pulls=pulls)
            else:
                found = lanczos(*sides, start, steps, tolerance)
                value[part], top, residual[part], converged[part] = found
            bad = part[~value[part].isfinite()]
            if len(bad):
                raise InvalidInput(f"the Jacobian at sample {int(bad[0])} is not finite")
            if direction is not None:
                if along is None:
                    along = _direction(norm, top, pull, sign, pulls=pulls)
                direction[part] = along.reshape(x[part].shape)
            finished += len(part) if steps == rounds[-1] else int(converged[part].sum())
            if progress is not None:
                progress(finished)
        todo = todo[~converged[todo]]
    used = "ascent" if method == "ascent" else "explicit" if explicit else "lanczos"
    return JacobianNorms(value, direction, residual, converged, used)


def _explicit(product: Product, norm: Norm, rows: int, *, pulls: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """(norm [B], top vector of the smaller side [B, s] or index [B] of the row or column)."""
    if norm is not Norm.L2:
        if (norm is Norm.LINF) == pulls:  # a block holds whole rows (columns) of what is summed
            sums = torch.cat([block.abs().sum(2) for block in product.blocks(rows)], 1)
        else:
            sums = torch.zeros_like(product.source).flatten(1)
            for block in product.blocks(rows):
                sums += block.abs().sum(1)
        value, where = sums.max(1)
        return value, where
    blocks = list(product.blocks(rows))
    j = blocks[0] if len(blocks) == 1 else torch.cat(blocks, 1)
    gram, scale = j @ j.mT, torch.ones_like(j[:, 0, 0])
    peak = gram.diagonal(dim1=1, dim2=2).amax(1)
    if not bool(((peak > 1e-250) & (peak < 1e250)).all()):  # also zero, inf and nan
        scale = or_one(j.abs().amax((1, 2)))
        j = j / scale[:, None, None]
        gram = (j @ j.mT).nan_to_num()
    squares, vectors = torch.linalg.eigh(gram)  # sigma_1 loses nothing by being squared
    return squares[:, -1].clamp(min=0.0).sqrt() * scale, vectors[:, :, -1]


def _direction(norm: Norm, top: torch.Tensor, pull: Product, sign: torch.Tensor, *, pulls: bool) -> torch.Tensor:
    """[B, n]: the input direction of `top`, of norm 1."""
    outputs, inputs = pull.out.shape[1], len(sign)
    one_hot = torch.nn.functional.one_hot
    if norm is Norm.L1:
        return one_hot(top, inputs).to(sign)
    if norm is Norm.LINF:
        return torch.where(pull(one_hot(top, outputs).to(sign)) < 0.0, -1.0, 1.0).to(sign)
    d = pull(top) if pulls else top
    size = length(d)
    d = torch.where(size > 0.0, d / or_one(size), one_hot(torch.zeros_like(top[:, 0]).long(), inputs))
    return d * torch.where(d @ sign < 0.0, -1.0, 1.0)[:, None]
