"""Laws of the models of single nodes: functions that raise AssertionError, with values of the op as the only oracle."""

from __future__ import annotations

import torch

from lipaudit.numerics.box import Box
from lipaudit.ops.affine import Affine
from lipaudit.ops.op import Op
from lipaudit.ranges.curved import Curved, secants_of, slopes_of
from lipaudit.ranges.entries import Unknown
from lipaudit.ranges.local import Local

RADII = (0.0, 1e-6, 1e-2, 0.3, 3.0)
REGIONS, POINTS = 3, 80


def boxes_of(op: Op, radius: float, seed: int) -> tuple[list[torch.Tensor], list[Box]]:
    """Centres [REGIONS, *in_shape], and boxes around them that reach further to one side than to the other."""
    generator = torch.Generator().manual_seed(seed)
    centres, boxes = [], []
    for shape in op.in_shapes:
        c = torch.randn(REGIONS, *shape, generator=generator, dtype=torch.float64) * (0.3 if seed % 2 else 1.5)
        c = torch.where(torch.rand(c.shape, generator=generator) < 0.1, 0.0, c)
        low, high = (radius * torch.rand(c.shape, generator=generator, dtype=torch.float64) for _ in range(2))
        centres.append(c)
        boxes.append(Box(c - low, c + high))
    return centres, boxes


def inside(box: Box, seed: int) -> torch.Tensor:
    """[REGIONS, POINTS, *shape]: corners, and points anywhere."""
    generator = torch.Generator().manual_seed(seed)
    t = torch.rand(len(box.lower), POINTS, *box.lower.shape[1:], generator=generator, dtype=torch.float64)
    corner = (torch.arange(POINTS) % 2 == 0).reshape(1, -1, *[1] * (t.dim() - 2))
    t = torch.where(corner, t.round(), t)
    low, high = box.lower.unsqueeze(1), box.upper.unsqueeze(1)
    return torch.minimum(torch.maximum(low + t * (high - low), low), high)


def _rows(op: Op, seed: int) -> torch.Tensor:
    """[REGIONS, R, *out_shape]: unit vectors and dense ones."""
    size = int(torch.Size(op.out_shape).numel())
    dense = torch.randn(6, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    rows = torch.cat([torch.eye(size, dtype=torch.float64), dense]).reshape(-1, *op.out_shape)
    return rows.expand(REGIONS, *rows.shape)


def _left(model: Local, rows: torch.Tensor, outs: torch.Tensor, ins: list[torch.Tensor]) -> torch.Tensor:
    """[REGIONS, POINTS, R]: g.d(out) - (M'g).d(in)."""
    found = torch.einsum("brk,bpk->bpr", rows.flatten(2), outs.flatten(2))
    for image, d in zip(model.pulls(rows), ins, strict=True):
        found = found - torch.einsum("brk,bpk->bpr", image.flatten(2), d.flatten(2))
    return found


def _values(op: Op, xs: list[torch.Tensor]) -> torch.Tensor:
    return op.forward(*(x.flatten(0, 1) for x in xs)).reshape(REGIONS, -1, *op.out_shape)


def model_between_holds(op: Op, radius: float, seed: int) -> bool:
    """For any two points of a box, d(out) = M d(in) + what the model says is left. Whether the op has a model there."""
    _, boxes = boxes_of(op, radius, seed)
    try:
        model = slopes_of(op, boxes)
    except Unknown:
        return False
    xs, ys = ([inside(box, seed + k) for box in boxes] for k in (11, 12))
    ins = [x - y for x, y in zip(xs, ys, strict=True)]
    rows, outs = _rows(op, seed), _values(op, xs) - _values(op, ys)
    left = _left(model, rows, outs, ins)
    if isinstance(model, Curved):
        each = [model.moved([d[:, p].abs().flatten(1) for d in ins]) for p in range(POINTS)]
        omega = torch.stack(each, 1)
    else:
        count = model.spread.shape[1]
        v = model.inputs(torch.arange(count).expand(REGIONS, count))
        omega = model.spread.unsqueeze(1) * torch.einsum("bjk,bpk->bpj", v.flatten(2), ins[0].flatten(2)).abs()
    most = torch.einsum("brj,bpj->bpr", model.coefficients(rows).abs(), omega)
    room = 1e-12 * (1.0 + rows.flatten(2).abs().sum(2)[:, None] * (1.0 + _values(op, xs).abs().amax()))
    assert bool((left.abs() <= most * (1 + 1e-12) + room).all()), f"{op}: {float((left.abs() - most).max())!r} too much"
    return True


def model_from_centre_holds(op: Op, radius: float, seed: int) -> bool:
    """The same from the centre of a box, where what is left lies between low and high."""
    centres, boxes = boxes_of(op, radius, seed)
    points = [Box.point(c) for c in centres]
    try:
        model = secants_of(op, boxes, points)
    except Unknown:
        return False
    xs = [inside(box, seed + 21) for box in boxes]
    ins = [x - c.unsqueeze(1) for x, c in zip(xs, centres, strict=True)]
    rows = _rows(op, seed)
    left = _left(model, rows, _values(op, xs) - _values(op, [c.unsqueeze(1) for c in centres]), ins)
    d = model.coefficients(rows)
    low, high = model.low.unsqueeze(1), model.high.unsqueeze(1)
    most = torch.where(d > 0, d * high, d * low).sum(2).unsqueeze(1)
    least = torch.where(d > 0, d * low, d * high).sum(2).unsqueeze(1)
    room = 1e-12 * (1.0 + rows.flatten(2).abs().sum(2)[:, None] * (1.0 + _values(op, xs).abs().amax()))
    over = torch.maximum(left - most, least - left)
    assert bool((over <= room + 1e-12 * (most - least)).all()), f"{op}: {float(over.max())!r} too much"
    return True


def gain_holds(op: Op, radius: float, seed: int) -> None:
    """The model's gain is at least the l2 norm of M, and of its absolute values."""
    _, boxes = boxes_of(op, radius, seed)
    try:
        model = slopes_of(op, boxes)
    except Unknown:
        return
    size = int(torch.Size(op.out_shape).numel())
    eye = torch.eye(size, dtype=torch.float64).reshape(1, size, *op.out_shape).expand(REGIONS, size, *op.out_shape)
    for image in model.pulls(eye):
        for matrix in (image.flatten(2), image.flatten(2).abs()):
            assert bool((torch.linalg.matrix_norm(matrix, 2) <= model.gain * (1 + 1e-12)).all())


def all_hold(op: Op, seed: int) -> bool:
    """All of these, for boxes of every size. Whether the op has a model in a small box."""
    if isinstance(op, Affine):
        return True
    known = []
    for radius in RADII:
        known += [model_between_holds(op, radius, seed), model_from_centre_holds(op, radius, seed)]
        gain_holds(op, radius, seed)
    return all(known[:4])
