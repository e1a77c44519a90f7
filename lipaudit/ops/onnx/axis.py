"""Linear ops along one axis (CumSum), over patches (Col2Im) or by index letters (Einsum)."""

from __future__ import annotations

import math

import torch

from lipaudit.errors import Unsupported
from lipaudit.linear.dense import Dense
from lipaudit.linear.map import Adjoint
from lipaudit.linear.selection import NOTHING, Selection
from lipaudit.ops.onnx.linear import average, product
from lipaudit.ops.registry import Constant, Data, RawNode, Value, onnx_op, room


def along(node: RawNode, x: Data, axis: int, matrix: torch.Tensor, roundings: int = 0) -> Data:
    """matrix @ x along one axis, the same for all places on the others."""
    target = (*x.shape[:axis], matrix.shape[0], *x.shape[axis + 1 :])
    return node.affine(Dense(matrix, x.shape[:axis], math.prod(x.shape[axis + 1 :]), x.shape, target, roundings), x)


@onnx_op("CumSum", versions=(11, 14))
def _cumulative_sum(node: RawNode, *, exclusive: int = 0, reverse: int = 0) -> Data:
    """certified norm of the triangular matrix of ones: n in l1 and linf"""
    x = node.data()
    axis = node.integers(1, "axis")[0] % len(x.shape)
    room(x.shape[axis], x.shape[axis])
    ones = torch.ones(x.shape[axis], x.shape[axis], dtype=torch.float64)
    matrix = torch.triu(ones, exclusive) if reverse else torch.tril(ones, -exclusive)
    return along(node, x, axis, matrix)


@onnx_op("Col2Im", versions=(18,))
def _col2im(
    node: RawNode,
    *,
    dilations: list[int] | None = None,
    pads: list[int] | None = None,
    strides: list[int] | None = None,
) -> Data:
    """sqrt(blocks that share an entry) in l2: the transpose of cutting the image into blocks"""
    x, image, block = node.data(), node.integers(1, "image shape"), node.integers(2, "block shape")
    axes = len(image)
    dilation, stride = dilations or [1] * axes, strides or [1] * axes
    flat = pads or [0] * (2 * axes)
    batch, rows, columns = x.shape
    channels = rows // math.prod(block)
    target = (batch, channels, *image)
    room(*target, *block)
    places = torch.arange(math.prod(target)).reshape(target)
    for axis in range(axes):  # [N, C, *block so far, *counts so far, *rest] one spatial axis at a time
        reach = dilation[axis] * (block[axis] - 1) + 1
        count = (image[axis] + flat[axis] + flat[axis + axes] - reach) // stride[axis] + 1
        at = torch.arange(block[axis]).unsqueeze(1) * dilation[axis] + torch.arange(count) * stride[axis] - flat[axis]
        inside = (at >= 0) & (at < image[axis])
        moved = places.movedim(2 + 2 * axis, -1)
        taken = torch.where(inside, moved[..., at.clamp(0, image[axis] - 1)], torch.tensor(NOTHING))
        places = taken.movedim((-2, -1), (2 + 2 * axis, 3 + 2 * axis))
    blocks, counts = (list(range(start, 2 + 2 * axes, 2)) for start in (2, 3))
    cut = places.permute(0, 1, *blocks, *counts)
    if cut.numel() != batch * rows * columns:
        raise Unsupported(f"its input {list(x.shape)} is not made of the blocks of {image}")
    return node.affine(Adjoint(Selection.of(target, cut.reshape(x.shape))), x)


@onnx_op("Einsum", versions=(12, 28))
def _einsum(node: RawNode, *, equation: str) -> Data:
    """certified norm of the constant operand; of two data tensors, each bounded by the other's range"""
    values = [arg for arg in node.args if arg is not None]
    terms, result = _letters(equation, [len(value.shape) for value in values])
    if len(values) > 2:
        raise Unsupported("more than two operands are not supported")
    parts = [_diagonal(node, value, term) for value, term in zip(values, terms, strict=True)]
    if len(parts) == 1:
        return _single(node, parts[0], result)
    return _pair(node, parts[0], parts[1], result)


def _letters(equation: str, ranks: list[int]) -> tuple[list[str], str]:
    """The letters of every operand and of the result; an ellipsis becomes capitals that are not used otherwise."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        raise Unsupported(f"the equation {equation!r} does not name its {len(ranks)} operands")
    spare = [c for c in "ZYXWVUTSRQPONMLKJIHGFEDCBA" if c not in equation]
    widest = max((rank - len(term) + 3 for term, rank in zip(terms, ranks, strict=True) if "..." in term), default=0)
    dots = "".join(spare[:widest])
    if len(dots) < widest:
        raise Unsupported(f"the equation {equation!r} uses too many letters")
    spelt = []
    for term, rank in zip(terms, ranks, strict=True):
        count = rank - len(term) + 3
        spelt.append(term.replace("...", dots[widest - count :] if count else "") if "..." in term else term)
        if len(spelt[-1]) != rank or (rank and not spelt[-1].isalpha()):
            raise Unsupported(f"the equation {equation!r} does not fit an operand of rank {rank}")
    if not arrow:
        every = "".join(spelt)
        right = dots + "".join(sorted(c for c in set(every) - set(dots) if every.count(c) == 1))
    result = right.replace("...", dots)
    if set(result) - set("".join(spelt)) or len(set(result)) != len(result):
        raise Unsupported(f"the equation {equation!r} has a result that its operands do not give")
    return spelt, result


_Part = tuple[Value, str]


def _diagonal(node: RawNode, value: Value, term: str) -> _Part:
    """The operand with each letter once: of a repeated letter only equal places are taken."""
    while len(set(term)) < len(term):
        letter = next(c for c in term if term.count(c) > 1)
        first, second = term.index(letter), term.index(letter, term.index(letter) + 1)

        def take(places: torch.Tensor, a: int = first, b: int = second) -> torch.Tensor:
            return places.diagonal(0, a, b).movedim(-1, a)

        value = node.pick(value, take) if isinstance(value, Data) else Constant(take(value.value))
        term = term[:second] + term[second + 1 :]
    return value, term


def _single(node: RawNode, part: _Part, result: str) -> Data:
    value, term = part
    assert isinstance(value, Data)
    away = tuple(place for place, letter in enumerate(term) if letter not in result)
    if away:
        value = average(node, value, away, keep=False, divide=False)
    rest = [letter for letter in term if letter in result]
    return node.pick(value, lambda places: places.permute([rest.index(letter) for letter in result]))


def _pair(node: RawNode, a: _Part, b: _Part, result: str) -> Data:
    """A batched matrix product: letters of both and the result are its batch, of both alone the summed ones."""
    (a_value, a_term), (b_value, b_term) = _summed(node, a, result + b[1]), _summed(node, b, result + a[1])
    sizes = dict(zip(a_term, a_value.shape, strict=True))
    for letter, n in zip(b_term, b_value.shape, strict=True):
        if sizes.setdefault(letter, n) != n:
            raise Unsupported(f"its operands do not agree on the size of {letter!r}")
    batch = [c for c in a_term if c in b_term and c in result]
    inner = [c for c in a_term if c in b_term and c not in result]
    left = [c for c in a_term if c not in b_term]
    right = [c for c in b_term if c not in a_term]
    lead, rest = [sizes[c] for c in batch], [sizes[c] for c in (*left, *right)]
    k, m, n = (math.prod(sizes[c] for c in letters) for letters in (inner, left, right))
    rows = _arranged(node, a_value, a_term, [*batch, *left, *inner], (*lead, m, k))
    columns = _arranged(node, b_value, b_term, [*batch, *inner, *right], (*lead, k, n))
    y = product(node, rows, columns)
    spread = node.reshape(y, (*lead, *rest))
    order = [*batch, *left, *right]
    return node.pick(spread, lambda places: places.permute([order.index(letter) for letter in result]))


def _summed(node: RawNode, part: _Part, wanted: str) -> _Part:
    """The operand summed over letters that nothing else has."""
    value, term = part
    away = tuple(place for place, letter in enumerate(term) if letter not in wanted)
    if not away:
        return value, term
    rest = "".join(letter for letter in term if letter in wanted)
    if isinstance(value, Data):
        return average(node, value, away, keep=False, divide=False), rest
    raise Unsupported("a constant operand is summed on its own, which is not supported")


def _arranged(node: RawNode, value: Value, term: str, order: list[str], shape: tuple[int, ...]) -> Value:
    places = [term.index(letter) for letter in order]
    if isinstance(value, Data):
        return node.reshape(node.pick(value, lambda entries: entries.permute(places)), shape)
    return Constant(value.value.double().permute(places).reshape(shape).contiguous())
