"""Golub-Kahan-Lanczos bidiagonalisation of many maps at once, for the largest singular value."""

from __future__ import annotations

import torch

from lipaudit.probes.products import Product


def lanczos(
    first: Product, second: Product, start: torch.Tensor, steps: int, tolerance: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """(norm, top vector of the smaller side, residual, converged) of A = first, A^T = second.

    A V = U B and A^T U = V B^T + beta v e^T with B upper bidiagonal: its top triple p, sigma, q
    gives U p, sigma, V q, where A^T U p misses sigma V q by beta |p_k|.
    """
    count, size = first.out.shape
    basis = start.new_empty(count, steps, size)
    v, u, beta = (start / length(start)).expand(count, size), start.new_zeros(()), start[:1] * 0.0
    value, residual = start.new_zeros(count), start.new_full((count,), torch.inf)
    weights, done = start.new_zeros(count, steps), torch.zeros(count, dtype=torch.bool)
    alphas, betas, check = [], [], 1
    for k in range(1, steps + 1):
        basis[:, k - 1] = v
        u = first(v) - beta * u
        alpha = length(u)
        u = u / or_one(alpha)
        w = second(u) - alpha * v
        for _ in range(2):  # twice is enough
            w = w - (w[:, None] @ basis[:, :k].mT @ basis[:, :k])[:, 0]
        beta = length(w)
        v = w / or_one(beta)
        alphas.append(alpha)
        betas.append(beta)
        if not bool((alpha + beta).isfinite().all()):
            return (alpha + beta)[:, 0], start, residual, done
        if k not in (check, steps):
            continue
        check += 1 + k // 8
        b = torch.diag_embed(torch.cat(alphas, 1))
        b[:, :-1, 1:] += torch.diag_embed(torch.cat([*betas[:-1], beta[:, :0]], 1))
        p, sigma, q = torch.linalg.svd(b)
        value = torch.where(done, value, sigma[:, 0])
        residual = torch.where(done, residual, beta[:, 0] * p[:, -1, 0].abs())
        weights[:, :k] = torch.where(done[:, None], weights[:, :k], q[:, 0])
        done = done | (residual <= tolerance * value) | (k == size)
        if bool(done.all()):
            break
    return value, (weights[:, None, :k] @ basis[:, :k])[:, 0], residual, done


def length(x: torch.Tensor) -> torch.Tensor:
    """[..., d] -> [..., 1], the l2 norm, free of overflow and underflow."""
    scale = or_one(x.abs().amax(-1, keepdim=True))
    found: torch.Tensor = torch.linalg.vector_norm(x / scale, dim=-1, keepdim=True)
    return found * scale


def or_one(x: torch.Tensor) -> torch.Tensor:
    """x, a divisor: 1 for 0."""
    return torch.where(x == 0.0, 1.0, x)
