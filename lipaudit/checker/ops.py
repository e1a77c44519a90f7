"""The checker's own table of ops: how each acts on differences. An op or an attribute that is not here is rejected."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import numpy as np

from lipaudit.checker.forms import Form, Rejected, added, in_range, moved, weighted
from lipaudit.checker.model import Step

Args = list[Form | np.ndarray | None]
"""What a step reads: a form where it depends on the input, an array where it is constant, None where it is left out."""


def slopes(step: Step) -> tuple[float, float] | None:
    """[low, high] that holds every slope of an activation; None for a step that is none.

    Each pair holds the slopes of the real function: tanh-like ones are steepest at 0, erf by 2/sqrt(pi).
    """
    alpha = _real(step, "alpha", 0.01 if step.op == "LeakyRelu" else 1.0)
    table = {
        "Relu": (0.0, 1.0),
        "Tanh": (0.0, 1.0),
        "Sigmoid": (0.0, 0.25),
        "Softplus": (0.0, 1.0),
        "Softsign": (0.0, 1.0),
        "Abs": (-1.0, 1.0),
        "Erf": (0.0, 1.1283791670955128),
        "LeakyRelu": (min(alpha, 1.0), max(alpha, 1.0)),
        "Elu": (min(0.0, alpha), max(alpha, 1.0)),
    }
    if step.op not in table:
        return None
    _known(step, "alpha") if step.op in ("LeakyRelu", "Elu") else _known(step)
    if step.op == "Elu" and not alpha >= 0.0:
        raise Rejected("Elu with a negative alpha is not known")
    low, high = table[step.op]
    return low, high


def linear(step: Step, args: Args) -> Form:
    """The form of a step that is affine in what depends on the input. Raises Rejected."""
    rule = _TABLE.get(step.op)
    if rule is None:
        raise Rejected(f"the op {step.op} is not known to the checker")
    return rule(step, args)


def _known(step: Step, *names: str) -> None:
    if unknown := sorted(set(step.attributes) - set(names)):
        raise Rejected(f"{step.op}: the attribute {unknown[0]!r} is not known to the checker")


def _real(step: Step, name: str, default: float) -> float:
    """A float attribute: a float32, and so is its default."""
    value = step.attributes.get(name, float(np.float32(default)))
    if not isinstance(value, float) or not math.isfinite(value):
        raise Rejected(f"{step.op}: {name} is no finite number")
    return value


def _whole(step: Step, name: str, default: int) -> int:
    value = step.attributes.get(name, default)
    if not isinstance(value, int):
        raise Rejected(f"{step.op}: {name} is no whole number")
    return value


def _several(step: Step, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    value = step.attributes.get(name, default)
    if not isinstance(value, tuple) or len(value) != len(default):
        raise Rejected(f"{step.op}: {name} must be {len(default)} whole numbers")
    return cast("tuple[int, ...]", value)


def _form(step: Step, args: Args, place: int) -> Form:
    value = args[place] if place < len(args) else None
    if not isinstance(value, Form):
        raise Rejected(
            f"{step.op} {step.name!r}: its input {place} should depend on the input, and nothing else should"
        )
    return value


def _constant(step: Step, args: Args, place: int) -> np.ndarray:
    value = args[place] if place < len(args) else None
    if not isinstance(value, np.ndarray):
        raise Rejected(f"{step.op} {step.name!r}: its input {place} is not constant")
    return value


def _no_more(step: Step, args: Args, count: int) -> None:
    if any(arg is not None for arg in args[count:]):
        raise Rejected(f"{step.op} {step.name!r} has more inputs than are known")


def _gemm(step: Step, args: Args) -> Form:
    _known(step, "alpha", "beta", "transA", "transB")
    x, w = _form(step, args, 0), _constant(step, args, 1)
    if len(args) > 2 and args[2] is not None:
        _constant(step, args, 2)  # a bias has no difference
    _no_more(step, args, 3)
    if _whole(step, "transA", 0) or len(x.shape) != 2 or w.ndim != 2:
        raise Rejected("Gemm: only x times a matrix is known")
    in_range(w)
    matrix = (w.T if _whole(step, "transB", 0) else w) * _real(step, "alpha", 1.0)
    return _times(x, matrix, 1)


def _matmul(step: Step, args: Args) -> Form:
    _known(step)
    _no_more(step, args, 2)
    if isinstance(args[0], np.ndarray):
        x, w = _form(step, args, 1), args[0]
        if w.ndim != 2 or len(x.shape) not in (1, 2):
            raise Rejected("MatMul: only a matrix on the left is known")
        return weighted(x, w.shape[1], lambda a, up: np.tensordot(abs(w) if up else w, a, (1, 0)), w)
    x, w = _form(step, args, 0), _constant(step, args, 1)
    if w.ndim != 2 or not x.shape:
        raise Rejected("MatMul: only a matrix on the right is known")
    return _times(x, w, 0)


def _times(x: Form, w: np.ndarray, own: int) -> Form:
    """The last axis of x times w [n, m]."""
    if x.shape[-1] != w.shape[0]:
        raise Rejected(f"a matrix of {w.shape[0]} rows meets {x.shape[-1]} entries")

    def step(a: np.ndarray, up: bool) -> np.ndarray:
        product: np.ndarray = np.moveaxis(np.tensordot(a, abs(w) if up else w, (a.ndim - 2, 0)), -1, -2)
        return product

    return weighted(x, w.shape[0], step, w, own)


def _sum(sign: float) -> Callable[[Step, Args], Form]:
    def rule(step: Step, args: Args) -> Form:
        _known(step)
        _no_more(step, args, 2)
        one, other = args[0], args[1]
        if isinstance(one, Form) and isinstance(other, Form):
            return added(one, other, sign)
        form = one if isinstance(one, Form) else _form(step, args, 1)
        constant = _constant(step, args, 1 if isinstance(one, Form) else 0)
        shape = np.broadcast_shapes(form.shape, constant.shape)
        flip = sign if form is other else 1.0
        lead = (1,) * (len(shape) - len(form.shape))
        same = moved(form, lambda a: np.broadcast_to(a.reshape(*lead, *a.shape), (*shape, a.shape[-1])))
        return same if flip == 1.0 else moved_sign(same)

    return rule


def moved_sign(form: Form) -> Form:
    """-form: only A changes its sign."""
    return Form(form.shape, {k: (-a, m) for k, (a, m) in form.blocks.items()}, form.roundings)


def _scale(step: Step, args: Args) -> Form:
    _known(step)
    _no_more(step, args, 2)
    if isinstance(args[0], Form):
        x, c = args[0], _constant(step, args, 1)
    elif step.op == "Mul":
        x, c = _form(step, args, 1), _constant(step, args, 0)
    else:
        raise Rejected("Div by what depends on the input is not known")
    if c.dtype.kind == "i" or (step.op == "Div" and not np.all(c)):
        raise Rejected(f"{step.op} by whole numbers or by 0 is not known")
    return scaled(x, c, step.op == "Div")


def scaled(x: Form, c: np.ndarray, divide: bool = False, own: int = 0) -> Form:
    """x times (or divided by) a constant, with broadcasting; own: roundings of the constant itself."""
    shape = np.broadcast_shapes(x.shape, c.shape)
    lead = (1,) * (len(shape) - len(x.shape))

    def step(a: np.ndarray, up: bool) -> np.ndarray:
        factor = (abs(c) if up else c)[..., None]
        wide = np.broadcast_to(a.reshape(*lead, *a.shape), (*shape, a.shape[-1]))
        result: np.ndarray = wide / factor if divide else wide * factor
        return result

    return weighted(x, 1, step, c, own)


def _same(step: Step, args: Args) -> Form:
    _known(step)
    _no_more(step, args, 1)
    return _form(step, args, 0)


def _negative(step: Step, args: Args) -> Form:
    return moved_sign(_same(step, args))


def _flatten(step: Step, args: Args) -> Form:
    _known(step, "axis")
    x, axis = _form(step, args, 0), _whole(step, "axis", 1)
    axis += len(x.shape) if axis < 0 else 0
    if not 0 <= axis <= len(x.shape):
        raise Rejected("Flatten: the axis is out of range")
    rows = math.prod(x.shape[:axis])
    return moved(x, lambda a: a.reshape(rows, x.size // rows, a.shape[-1]))


def _reshape(step: Step, args: Args) -> Form:
    _known(step, "allowzero")
    x, wanted = _form(step, args, 0), _constant(step, args, 1)
    if (_whole(step, "allowzero", 0) and not np.all(wanted)) or wanted.dtype.kind != "i" or wanted.ndim != 1:
        raise Rejected("Reshape: only to a constant shape without a kept 0 is known")
    sizes = [x.shape[n] if s == 0 and n < len(x.shape) else int(s) for n, s in enumerate(wanted)]
    if sizes.count(-1) == 1 and all(s > 0 for s in sizes if s != -1):
        rest = math.prod(s for s in sizes if s != -1)
        sizes = [x.size // rest if s == -1 else s for s in sizes]
    if not all(s > 0 for s in sizes) or math.prod(sizes) != x.size:
        raise Rejected("Reshape: the shape does not fit")
    return moved(x, lambda a: a.reshape(*sizes, a.shape[-1]))


def _transpose(step: Step, args: Args) -> Form:
    _known(step, "perm")
    x = _form(step, args, 0)
    order = _several(step, "perm", tuple(reversed(range(len(x.shape)))))
    if sorted(order) != list(range(len(x.shape))):
        raise Rejected("Transpose: perm is no order of the axes")
    return moved(x, lambda a: a.transpose(*order, a.ndim - 1))


def _mean(step: Step, args: Args) -> Form:
    _known(step, "axes", "keepdims", "noop_with_empty_axes")
    x = _form(step, args, 0)
    given = args[1] if len(args) > 1 else None
    listed = step.attributes.get("axes") if given is None else tuple(np.asarray(_constant(step, args, 1)).reshape(-1))
    if (
        not isinstance(listed, tuple)
        or not listed
        or (given is not None and _constant(step, args, 1).dtype.kind != "i")
    ):
        raise Rejected("ReduceMean: only over given axes is known")
    axes = tuple(sorted({int(n) % len(x.shape) for n in listed}))
    count, keep = math.prod(x.shape[n] for n in axes), bool(_whole(step, "keepdims", 1))
    weight = np.array([1.0 / count])
    return weighted(x, count + 1, lambda a, _: a.sum(axis=axes, keepdims=keep) * weight[0], weight, 1)


def _normalise(step: Step, args: Args) -> Form:
    _known(step, "epsilon", "momentum", "training_mode")
    if _whole(step, "training_mode", 0):
        raise Rejected("BatchNormalization in training mode is not known")
    x = _form(step, args, 0)
    scale, _, _, variance = (_constant(step, args, n) for n in range(1, 5))
    _no_more(step, args, 5)
    total = variance + _real(step, "epsilon", 1e-5)
    if len(x.shape) < 2 or scale.shape != (x.shape[1],) or variance.shape != scale.shape or not np.all(total > 0.0):
        raise Rejected("BatchNormalization: the parameters do not fit, or a variance is not positive")
    in_range(scale)
    in_range(total)
    factor = (scale / np.sqrt(total)).reshape(-1, *[1] * (len(x.shape) - 2))
    return scaled(x, factor, own=4)


def _conv(step: Step, args: Args) -> Form:
    _known(step, "auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
    x, w = _form(step, args, 0), _constant(step, args, 1)
    if len(args) > 2 and args[2] is not None:
        _constant(step, args, 2)
    if len(x.shape) != 4 or w.ndim != 4 or step.attributes.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise Rejected("Conv: only two dimensions with explicit pads are known")
    (height, width), group = w.shape[2:], _whole(step, "group", 1)
    top, left, bottom, right = _several(step, "pads", (0, 0, 0, 0))
    (sh, sw), (dh, dw) = _several(step, "strides", (1, 1)), _several(step, "dilations", (1, 1))
    fits = group > 0 and x.shape[1] == w.shape[1] * group and w.shape[0] % group == 0
    same = _several(step, "kernel_shape", (height, width)) == (height, width)
    if not (fits and same and min(top, left, bottom, right) >= 0 and min(sh, sw, dh, dw) > 0):
        raise Rejected("Conv: the kernel, its groups or its pads do not fit")
    rows = (x.shape[2] + top + bottom - dh * (height - 1) - 1) // sh + 1
    columns = (x.shape[3] + left + right - dw * (width - 1) - 1) // sw + 1
    if rows < 1 or columns < 1:
        raise Rejected("Conv: nothing is left of the image")

    def apply(a: np.ndarray, up: bool) -> np.ndarray:
        kernel = abs(w) if up else w
        room = np.pad(a, ((0, 0), (0, 0), (top, bottom), (left, right), (0, 0)))
        out = np.zeros((a.shape[0], w.shape[0], rows, columns, a.shape[-1]))
        cin, cout = w.shape[1], w.shape[0] // group
        for g in range(group):
            for i in range(height):
                for j in range(width):
                    part = room[:, g * cin : (g + 1) * cin, i * dh :: sh, j * dw :: sw][:, :, :rows, :columns]
                    k = kernel[g * cout : (g + 1) * cout, :, i, j]
                    out[:, g * cout : (g + 1) * cout] += np.moveaxis(np.tensordot(k, part, (1, 1)), 0, 1)
        return out

    return weighted(x, w.shape[1] * height * width, apply, w)


_TABLE: dict[str, Callable[[Step, Args], Form]] = {
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Conv": _conv,
    "Add": _sum(1.0),
    "Sub": _sum(-1.0),
    "Mul": _scale,
    "Div": _scale,
    "Neg": _negative,
    "Identity": _same,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "ReduceMean": _mean,
    "BatchNormalization": _normalise,
}
