"""A catalogue of unsound rules. Each is planted in the code, one at a time, and a law of the real tests must see it.

A suite that has never failed proves nothing. Every entry is a mistake that a published tool has made, or that we could.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

import lipaudit.engines.layer_product as product_module
import lipaudit.graph.problem as problem_module
import lipaudit.graph.simplify as simplify_package
import lipaudit.linear.fuse as fuse_module
import lipaudit.linear.norms.conv_tight as conv_tight
import lipaudit.linear.norms.entries as entries_module
import lipaudit.linear.norms.operator as operator_module
import lipaudit.ops.affine as affine_module
import lipaudit.ops.onnx.linear as onnx_linear
from lipaudit.graph.graph import Graph, fold
from lipaudit.graph.simplify import simplify
from lipaudit.linear.conv import Conv
from lipaudit.linear.dense import Dense
from lipaudit.linear.fuse import compose
from lipaudit.linear.map import Compose, LinearMap, Sum
from lipaudit.linear.norms.conv_l2 import conv_l2
from lipaudit.linear.norms.operator import OperatorNorms
from lipaudit.linear.pointwise import Diagonal
from lipaudit.linear.selection import Selection
from lipaudit.numerics.bound import UpperBound
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm, NormPair
from lipaudit.ops import activations
from lipaudit.ops.affine import Affine
from lipaudit.ops.bilinear import Divide, MatMulData, Multiply
from lipaudit.ops.elementwise import Elementwise
from lipaudit.ops.maxlike import PointwiseMax, SortPair, WindowMax
from lipaudit.ops.op import Op
from lipaudit.ops.scalar import Mark, Number, Scalar
from lipaudit.ops.scaled import RootMeanSquare
from lipaudit.ops.smooth import LogSoftmax, Normalise, Softmax
from tests.cases.graphs import Sketch, family
from tests.cases.maps import all_maps, exact
from tests.cases.models import linear_cases
from tests.cases.ops import all_op_cases
from tests.cases.scalars import SCALARS
from tests.laws import engine_laws, map_laws, model_laws, op_laws, scalar_laws

# the package's attributes of these names are the functions
merge_affine, pair_sorts = (import_module(f"lipaudit.graph.simplify.{name}") for name in ("merge_affine", "pair_sorts"))

Law = Callable[[Path], None]
Patch = Callable[[pytest.MonkeyPatch], None]


class Plant(NamedTuple):
    """name: the mistake; patch: makes it; law: holds without it, and must fail with it."""

    name: str
    patch: Patch
    law: Law

    def __str__(self) -> str:
        return self.name


# ------------------------------------------------------------------------------------------------ laws


def scalar_law(name: str) -> Law:
    """The scalar's ranges hold, and its global slopes are proven."""
    case = next(c for c in SCALARS if c.name == name)
    listed = case.build is getattr(activations, case.maker)  # the table holds the function itself, from before a patch

    def law(_: Path) -> None:
        built = getattr(activations, case.maker)() if listed else case.build()
        for x in case.telling:
            scalar_laws.range_encloses(case, x - 0.5, x + 0.5, built)
            scalar_laws.range_encloses(case, x, x, built)
        scalar_laws.range_encloses(case, -math.inf, math.inf, built)
        scalar_laws.global_slope_range_is_proven(case, built)

    return law


def op_law(
    name: str, *laws: Callable[[Op, tuple[Box, ...], int], None], flavours: tuple[str, ...] = op_laws.FLAVOURS
) -> Law:
    """The given laws of an op case over boxes of all flavours."""
    case = next(c for c in all_op_cases() if c.name == name)

    def law(_: Path) -> None:
        for flavour in flavours:
            for seed in range(3):
                op = case.build()
                boxes = tuple(op_laws.draw_box(s, flavour, case.points, seed + i) for i, s in enumerate(op.in_shapes))
                for each in laws:
                    each(op, boxes, seed)

    return law


def gains_of(name: str) -> Law:
    return op_law(name, op_laws.gains_cover_jacobians, flavours=("straddling", "point", "infinite"))


def map_law(name: str, *norms: Norm) -> Law:
    """The certified norms of a map are above the true ones."""
    case = next(c for c in all_maps() if c.name == name)

    def law(_: Path) -> None:
        for norm in norms or tuple(Norm):
            map_laws.norm_is_above(case.build(), norm)

    return law


def graph_law(name: str, *, boxed: bool = False, seeds: int = 12) -> Law:
    """No slope that is met exceeds the bound of any graph of a family."""

    def law(_: Path) -> None:
        for seed in range(seeds):
            graph = family(name).build(seed)
            centre = torch.full((1, *graph.input_shape), 0.1 * seed, dtype=torch.float64)
            engine_laws.bound_is_above(graph, seed, box=Box(centre - 1.0, centre + 1.0) if boxed else None)

    return law


def simplify_law(build: Callable[[int], Graph]) -> Law:
    """Simplifying a graph keeps its function."""

    def law(_: Path) -> None:
        for seed in range(8):
            engine_laws.functions_agree(build(seed), simplify(build(seed)), seed)

    return law


def model_law(name: str) -> Law:
    """A model is read as onnxruntime reads it, and its bound is above the slope that onnxruntime shows."""
    case = next(c for c in linear_cases() if c.name == name)
    return lambda folder: model_laws.bound_is_above_black_box(case.build(), folder)


def fused_law(first: Callable[[], LinearMap], second: Callable[[], LinearMap]) -> Law:
    """Composing keeps the matrix."""

    def law(_: Path) -> None:
        truth = exact(second()) @ exact(first())
        found = exact(fuse_module.compose(first(), second()))
        assert (abs(found - truth) <= 1e-12 * (1 + abs(truth))).all()

    return law


# ------------------------------------------------------------------------------------------------ patches


def gain(cls: type[Op], value: float) -> Patch:
    """The op's gain in every argument is a number that somebody remembered."""
    return lambda patch: patch.setattr(
        cls, "gains", lambda self, norm, *boxes: (UpperBound(value, "planted"),) * len(boxes)
    )


def scalar(maker: str, **changes: Any) -> Patch:
    """A scalar function with some of its facts wrong."""

    def apply(patch: pytest.MonkeyPatch) -> None:
        right = getattr(activations, maker)

        def wrong(*args: Any) -> Scalar:
            made: Scalar = right(*args)
            return dataclasses.replace(made, **changes)

        patch.setattr(activations, maker, wrong)
        for case in SCALARS:
            if case.maker == maker:
                assert case.build is right or case.build.__name__ == "<lambda>"

    return apply


def _at_most(value: Number, top: float) -> Number:
    return value.clamp(max=top) if isinstance(value, torch.Tensor) else min(value, top)


def capped(maker: str, top: float) -> Patch:
    """A scalar function whose slopes are believed to be at most `top`."""

    def apply(patch: pytest.MonkeyPatch) -> None:
        right = getattr(activations, maker)

        def wrong(*args: Any) -> Scalar:
            made: Scalar = right(*args)
            marks = tuple(Mark(m.at, tuple(_at_most(v, top) for v in m.values)) for m in made.slope_marks)
            limits = _at_most(made.slope_limits[0], top), _at_most(made.slope_limits[1], top)
            low, high = made.slope_span
            return dataclasses.replace(
                made, slope_marks=marks, slope_limits=limits, slope_span=(low, _at_most(high, top))
            )

        patch.setattr(activations, maker, wrong)

    return apply


def attribute(target: object, name: str, value: object) -> Patch:
    return lambda patch: patch.setattr(target, name, value)


def conv_norm(rule: Callable[..., float]) -> Patch:
    """Another norm of convolutions, trusted without a dense copy."""

    def apply(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(conv_tight, "conv_l2", lambda *args: UpperBound(rule(*args), "planted"))
        patch.setattr(operator_module, "dense_copy", lambda part: UpperBound(math.inf, "none"))

    return apply


def _spectral(matrix: torch.Tensor) -> float:
    return float(torch.linalg.matrix_norm(matrix, 2))


def _reshaped(kernel: torch.Tensor, *_: object) -> float:
    return _spectral(kernel.flatten(1))


def _same_grid(kernel: torch.Tensor, in_size: tuple[int, ...], *_: object) -> float:
    """The circular convolution on the image's own grid (Sedghi et al. 2019), for one that is padded with zeros."""
    symbol = torch.fft.fftn(kernel, in_size, dim=list(range(2, kernel.dim())))
    return float(torch.linalg.matrix_norm(symbol.flatten(2).permute(2, 0, 1), 2).max())


_TRUE_CONV = conv_l2


def _divided_by_stride(kernel: torch.Tensor, size: Any, stride: Any, *rest: Any) -> float:
    return _TRUE_CONV(kernel, size, (1,) * len(stride), *rest).value / float(math.prod(stride))


def _undilated(kernel: torch.Tensor, source: Any, stride: Any, dilation: Any, *rest: Any) -> Conv:
    return Conv(kernel, source, stride, (1,) * len(dilation), *rest)


def _without_padding(kernel: torch.Tensor, size: Any, stride: Any, dilation: Any, pads: Any, groups: int) -> float:
    return _TRUE_CONV(kernel, size, stride, dilation, ((0, 0),) * len(pads), groups).value


def _product_of_groups(kernel: torch.Tensor, size: Any, stride: Any, dilation: Any, pads: Any, groups: int) -> float:
    parts = kernel.chunk(groups)
    return math.prod(_TRUE_CONV(part, size, stride, dilation, pads, 1).value for part in parts)


def _first_group(kernel: torch.Tensor, size: Any, stride: Any, dilation: Any, pads: Any, groups: int) -> float:
    return _TRUE_CONV(kernel.chunk(groups)[0], size, stride, dilation, pads, 1).value


def _power_iteration(matrix: torch.Tensor) -> UpperBound:
    v = torch.ones(matrix.shape[1], dtype=torch.float64)
    for _ in range(5):
        v = matrix.T @ (matrix @ v)
        v = v / (v.norm() + 1e-12)
    return UpperBound(float((matrix @ v).norm()), "planted")


def _of_swapped(self: OperatorNorms, part: LinearMap, norm: NormPair) -> UpperBound:
    return _TRUE_OF(self, part, norm.dual)


_TRUE_OF = OperatorNorms.of


def _of_adjoint_without_dual(patch: pytest.MonkeyPatch) -> None:
    real = OperatorNorms._compute

    def wrong(self: OperatorNorms, part: LinearMap, norm: NormPair) -> tuple[UpperBound, float | None]:
        from lipaudit.linear.map import Adjoint

        return (self.of(part.of, norm), None) if isinstance(part, Adjoint) else real(self, part, norm)

    patch.setattr(OperatorNorms, "_compute", wrong)


def _composite(rule: Callable[[list[float]], float], kind: type[LinearMap]) -> Patch:
    """Composites bounded from their pieces by a wrong rule."""

    def apply(patch: pytest.MonkeyPatch) -> None:
        real = OperatorNorms._compute

        def wrong(self: OperatorNorms, part: LinearMap, norm: NormPair) -> tuple[UpperBound, float | None]:
            if isinstance(part, kind):
                pieces = part.maps if isinstance(part, Compose) else part.terms if isinstance(part, Sum) else ()
                return UpperBound(rule([self.of(p, norm).value for p in pieces]), "planted"), None
            return real(self, part, norm)

        patch.setattr(OperatorNorms, "_compute", wrong)

    return apply


def _diagonal_mean(patch: pytest.MonkeyPatch) -> None:
    real = OperatorNorms._compute

    def wrong(self: OperatorNorms, part: LinearMap, norm: NormPair) -> tuple[UpperBound, float | None]:
        if isinstance(part, Diagonal):
            return UpperBound(float(part.scale.abs().mean()), "planted"), None
        return real(self, part, norm)

    patch.setattr(OperatorNorms, "_compute", wrong)


def _combined(rule: Callable[[list[float]], float]) -> Patch:
    """Arguments of an op combined by a wrong rule."""

    def apply(patch: pytest.MonkeyPatch) -> None:
        def wrong(problem: Any, node: Any, args: tuple[UpperBound, ...]) -> UpperBound:
            separate, _ = problem.gains(node)
            return UpperBound(rule([g.value * a.value for g, a in zip(separate, args, strict=True)]), "planted")

        patch.setattr(product_module, "_constant", wrong)

    return apply


def _inward(real: Callable[..., Box], relative: float) -> Callable[..., Box]:
    def wrong(self: Op, *boxes: Box) -> Box:
        box = real(self, *boxes)
        finite = torch.isfinite(box.lower) & torch.isfinite(box.upper)
        lower = torch.where(finite, box.lower + box.lower.abs() * relative, box.lower)
        upper = torch.where(finite, box.upper - box.upper.abs() * relative, box.upper)
        middle = box.lower / 2 + box.upper / 2
        return Box(
            torch.where(finite, torch.minimum(lower, middle), lower),
            torch.where(finite, torch.maximum(upper, middle), upper),
        )

    return wrong


def _multiply_interval(self: Multiply, *boxes: Box) -> Box:
    a, b = boxes
    return Box.hull(*(p * q for p in (a.lower, a.upper) for q in (b.lower, b.upper)))


def _multiply_by_least(self: Multiply, norm: Norm, *boxes: Box) -> tuple[UpperBound, ...]:
    least = [torch.minimum(b.lower.abs(), b.upper.abs()) for b in boxes]
    return UpperBound(float(least[1].max()), "planted"), UpperBound(float(least[0].max()), "planted")


def _divide(numerator: bool, crossing: bool) -> Callable[..., tuple[UpperBound, ...]]:
    def wrong(self: Divide, norm: Norm, *boxes: Box) -> tuple[UpperBound, ...]:
        x, y = boxes
        least = torch.minimum(y.lower.abs(), y.upper.abs())
        if crossing:
            least = torch.where(y.straddles_zero, 0.0, least)
        inverse = 1.0 / least
        second = float((x.magnitude * inverse * inverse).nan_to_num(posinf=math.inf).max()) if numerator else 0.0
        return UpperBound(float(inverse.max()), "planted"), UpperBound(second, "planted")

    return wrong


def _joint_max(self: Op, norm: Norm, *boxes: Box) -> UpperBound:
    return UpperBound(max(g.value for g in self.gains(norm, *boxes)), "planted")


def _matmul_swapped(self: MatMulData, norm: Norm, *boxes: Box) -> tuple[UpperBound, ...]:
    from lipaudit.ops.bilinear import _product_gain

    a, b = (box.magnitude for box in boxes)
    return _product_gain(b, norm, "planted"), _product_gain(a.mT, norm, "planted")


def _merge_drops(op: Affine, keys: tuple[int, ...]) -> tuple[Affine, tuple[int, ...]]:
    first = {key: place for place, key in reversed(list(enumerate(keys)))}
    return Affine(tuple(op.maps[p] for p in first.values()), op.offset, op.offset_error), tuple(first)


def _pairs_of_any(graph: Graph) -> dict[int, int]:
    highs = [p for p, n in enumerate(graph.nodes, 1) if isinstance(n.op, PointwiseMax) and n.op.sign > 0]
    lows = [p for p, n in enumerate(graph.nodes, 1) if isinstance(n.op, PointwiseMax) and n.op.sign < 0]
    found = {}
    for a, b in zip(highs, lows, strict=False):
        found[a], found[b] = b, a
    return found


def _boxes_of_a_point(patch: pytest.MonkeyPatch) -> None:
    """Ranges propagated from the centre of the region only."""
    real = fold

    def wrong(graph: Graph, initial: Any, rule: Any) -> Any:
        if isinstance(initial, Box) and initial.finite:
            initial = Box.point(initial.lower / 2 + initial.upper / 2)
        return real(graph, initial, rule)

    patch.setattr(problem_module, "fold", wrong)


def _add_overlapping(*terms: LinearMap) -> LinearMap:
    if all(isinstance(t, Selection) for t in terms):
        filled = torch.stack([t.indices() for t in terms if isinstance(t, Selection)])
        return Selection.of(terms[0].in_shape, filled.amax(0).reshape(terms[0].out_shape))
    return _TRUE_ADD(*terms)


_TRUE_ADD = fuse_module.add


def _after_without_offset(self: Affine, index: int, inner: Affine) -> Affine:
    outer = self.maps[index]
    maps = (*self.maps[:index], *(compose(part, outer) for part in inner.maps), *self.maps[index + 1 :])
    return Affine(maps, self.offset, self.offset_error)


def _swish_without_its_factor(patch: pytest.MonkeyPatch) -> None:
    right = activations.swish
    patch.setattr(activations, "swish", lambda alpha: right(1.0))


def _quick_gelu(seed: int) -> Graph:
    s = Sketch((2,), seed)
    scaled = s.affine(Diagonal(torch.tensor(1.702, dtype=torch.float64), (2,)), 0)
    return s.graph(s.add(Multiply((2,)), 0, s.function(scaled, activations.sigmoid())))


def _channel_scale_before(groups: int) -> Callable[[], LinearMap]:
    from tests.cases.maps import conv

    return lambda: conv(4, (1, 4, 2, 2), (1, 1), groups=groups)


def _offsets_through(_: Path) -> None:
    """Merged affine runs keep the constant."""
    from tests.laws import graph_laws

    for seed in range(6):
        graph_laws.merged_offset_is_enclosed(graph_laws.affine_run(seed))


def catalogue() -> list[Plant]:
    """Every planted mistake."""
    return [
        # activations whose slope is believed to be at most 1, or less
        Plant("slope of SiLU is 1", capped("swish", 1.0), scalar_law("silu")),
        Plant("slope of GELU is 1", capped("gelu", 1.0), scalar_law("gelu")),
        Plant(
            "slope of tanh-GELU is that of erf-GELU", capped("gelu_tanh", 1.1289041451851549), scalar_law("gelu-tanh")
        ),
        Plant("slope of Mish is 1", capped("mish", 1.0), scalar_law("mish")),
        Plant("slope of HardSwish is 1", capped("hard_swish", 1.0), scalar_law("hard-swish")),
        Plant("slope of Selu is its gamma", capped("selu", 1.050701), scalar_law("selu")),
        Plant("slope of Erf is 1", capped("erf", 1.0), scalar_law("erf")),
        Plant("slope of LeakyRelu is 1 for alpha 2", capped("leaky_relu", 1.0), scalar_law("leaky-relu-2")),
        Plant(
            "slope of PRelu ignores negative alphas",
            scalar("prelu", slope_limits=(0.0, 1.0), slope_marks=(Mark(0.0, (0.0, 1.0)),)),
            scalar_law("prelu"),
        ),
        Plant(
            "slope of Clip is 0",
            scalar("clip", slope_marks=(), slope_limits=(0.0, 0.0), derivative=torch.zeros_like),
            scalar_law("clip"),
        ),
        Plant("slope of Relu is 0 at 0", scalar("relu", slope_marks=()), scalar_law("relu")),
        Plant("slope of Sigmoid is 1/5", capped("sigmoid", 0.2), scalar_law("sigmoid")),
        Plant("slope of Tanh forgets its top", scalar("tanh", slope_marks=()), scalar_law("tanh")),
        Plant("values of GELU are monotone", scalar("gelu", value_marks=()), scalar_law("gelu")),
        Plant("tail of Sigmoid is exact", scalar("sigmoid", fn_error=(16.0, 1e-300)), scalar_law("sigmoid")),
        # ops
        Plant("MaxPool is 1 in l2", gain(WindowMax, 1.0), gains_of("max-pool-k3-s1")),
        Plant("Max of two is 1/sqrt(2)", gain(PointwiseMax, 0.7071), gains_of("max-of-two")),
        Plant("MaxMin is 1/2", gain(SortPair, 0.5), gains_of("sort-pair")),
        Plant("Softmax is 1/4", gain(Softmax, 0.25), gains_of("softmax")),
        Plant("LogSoftmax is 1", gain(LogSoftmax, 1.0), gains_of("log-softmax")),
        Plant("LayerNorm is 1", gain(Normalise, 1.0), gains_of("normalise")),
        Plant("RMSNorm is 1", gain(RootMeanSquare, 1.0), gains_of("rms")),
        Plant("Mul takes the smaller ends", attribute(Multiply, "gains", _multiply_by_least), gains_of("multiply")),
        Plant(
            "Mul in both is the larger of its gains",
            attribute(Multiply, "joint_gain", _joint_max),
            gains_of("multiply"),
        ),
        Plant("Div ignores its numerator", attribute(Divide, "gains", _divide(False, True)), gains_of("divide")),
        Plant(
            "Div ignores a divisor that crosses 0", attribute(Divide, "gains", _divide(True, False)), gains_of("divide")
        ),
        Plant(
            "MatMul of data with rows for columns",
            attribute(MatMulData, "gains", _matmul_swapped),
            gains_of("matmul-data"),
        ),
        Plant(
            "MatMul of data is the larger of its gains",
            attribute(MatMulData, "joint_gain", _joint_max),
            gains_of("matmul-data"),
        ),
        Plant(
            "Affine in both is the larger of its gains", attribute(Affine, "joint_gain", _joint_max), gains_of("add")
        ),
        Plant(
            "elementwise slope of the centre",
            attribute(
                Elementwise,
                "slopes",
                lambda self, box: self.function.slope_range(
                    Box.point((box.lower.clamp(-1e9, 1e9) + box.upper.clamp(-1e9, 1e9)) / 2)
                ),
            ),
            gains_of("elementwise-gelu"),
        ),
        # ranges
        Plant(
            "affine range rounded inward",
            attribute(Affine, "interval", _inward(Affine.interval, 1e-14)),
            op_law("affine-dense-wide", op_laws.interval_encloses_exactly, flavours=("plain", "point")),
        ),
        Plant(
            "product range to nearest",
            attribute(Multiply, "interval", _multiply_interval),
            op_law("multiply", op_laws.interval_encloses_exactly, flavours=("plain", "point")),
        ),
        Plant(
            "affine range without rounding error",
            attribute(affine_module, "gamma", lambda n: 0.0),
            op_law("affine-dense-dense", op_laws.interval_encloses_exactly, flavours=("plain", "point")),
        ),
        Plant(
            "softmax range without its upper half",
            attribute(Softmax, "interval", _inward(Softmax.interval, 0.3)),
            op_law("softmax", op_laws.interval_encloses, flavours=("plain",)),
        ),
        Plant(
            "max range from lower ends",
            attribute(WindowMax, "interval", lambda self, box: Box.point(self.forward(box.lower))),
            op_law("max-windows", op_laws.interval_encloses, flavours=("plain",)),
        ),
        # linear norms
        Plant(
            "majorant is the map itself",
            attribute(Dense, "majorant", lambda self: self),
            lambda _: map_laws.majorant_dominates(next(c for c in all_maps() if c.name == "dense-wide").build()),
        ),
        Plant(
            "l1 and linf swapped",
            attribute(OperatorNorms, "of", _of_swapped),
            map_law("dense-wide", Norm.L1, Norm.LINF),
        ),
        Plant("adjoint keeps its norm in l1", _of_adjoint_without_dual, map_law("sum-over-axis", Norm.L1, Norm.LINF)),
        Plant(
            "five steps of power iteration",
            attribute(operator_module, "dense_l2", _power_iteration),
            map_law("dense-wide", Norm.L2),
        ),
        Plant("convolution by its reshaped kernel", conv_norm(_reshaped), map_law("conv2d-ones", Norm.L2)),
        Plant("convolution by the grid of its image", conv_norm(_same_grid), map_law("conv1d-off-grid", Norm.L2)),
        Plant("convolution divided by its stride", conv_norm(_divided_by_stride), map_law("conv2d-stride", Norm.L2)),
        Plant("padding ignored", conv_norm(_without_padding), map_law("conv1d-off-grid", Norm.L2)),
        Plant(
            "groups multiplied",
            conv_norm(_product_of_groups),
            lambda _: map_laws.norm_is_above(_small_groups(), Norm.L2),
        ),
        Plant(
            "groups but the first ignored",
            conv_norm(_first_group),
            lambda _: map_laws.norm_is_above(_small_groups(), Norm.L2),
        ),
        Plant("batch norm by the mean of its channels", _diagonal_mean, map_law("diagonal-channel")),
        Plant(
            "rounding of stored weights ignored",
            attribute(entries_module, "gamma", lambda n: 0.0),
            lambda _: map_laws.norm_is_above(
                Diagonal(torch.full((2,), 0.7, dtype=torch.float64), (2,), 30), Norm.LINF, weight_roundings=30
            ),
        ),
        Plant("product of merged layers by the least", _composite(min, Compose), map_law("dense-dense")),
        Plant("sum of maps by the largest", _composite(max, Sum), map_law("residual")),
        Plant("sum of maps as orthogonal", _composite(lambda v: math.hypot(*v), Sum), map_law("residual")),
        Plant("copies counted as one", attribute(Selection, "most_copies", lambda self: 1), map_law("repeat", Norm.L2)),
        Plant("underflow of a product ignored", _without_underflow, _underflow_law),
        Plant(
            "a scale before a convolution moved to its outputs",
            attribute(fuse_module, "_scaled_channels", _scaled_after(fuse_module._scaled_channels)),
            fused_law(
                lambda: Diagonal(torch.arange(1.0, 5.0, dtype=torch.float64).reshape(4, 1, 1), (1, 4, 2, 2)),
                _channel_scale_before(2),
            ),
        ),
        Plant(
            "a scale before a dense map moved to its outputs",
            attribute(fuse_module, "_scaled_columns", lambda d, w: fuse_module._scaled_rows(w, d)),
            fused_law(
                lambda: Diagonal(torch.arange(1.0, 4.0, dtype=torch.float64), (3,)),
                lambda: Dense.plain(torch.arange(9.0, dtype=torch.float64).reshape(3, 3)),
            ),
        ),
        # the graph
        Plant("residual sum by the larger branch", _combined(max), graph_law("duplicated")),
        Plant("residual sum as orthogonal", _combined(lambda v: math.hypot(*v)), graph_law("duplicated")),
        Plant("product rounded down by 1e-6", _combined(lambda v: sum(v) * (1 - 1e-6)), graph_law("aligned")),
        Plant(
            "concatenation by the largest in l2",
            attribute(Norm, "combine_up", lambda self, parts: max(parts, default=0.0)),
            graph_law("duplicated"),
        ),
        Plant(
            "joint gain times the first constant",
            attribute(Norm, "combine_up", lambda self, parts: parts[0] if parts else 0.0),
            graph_law("branches", seeds=15),
        ),
        Plant("ranges of the centre only", _boxes_of_a_point, graph_law("mlp", boxed=True)),
        Plant("ranges of the centre only, products", _boxes_of_a_point, graph_law("products", boxed=True)),
        Plant(
            "second branch dropped when merging",
            attribute(merge_affine, "merge_arguments", _merge_drops),
            simplify_law(family("branches").build),
        ),
        Plant(
            "second branch dropped, seen by slopes",
            attribute(merge_affine, "merge_arguments", _merge_drops),
            graph_law("duplicated"),
        ),
        Plant(
            "any Max is paired with any Min",
            attribute(pair_sorts, "_partners", _pairs_of_any),
            simplify_law(family("sorted-pairs").build),
        ),
        Plant(
            "overlapping selections merged",
            attribute(affine_module, "add", _add_overlapping),
            simplify_law(family("duplicated").build),
        ),
        Plant("offsets of merged layers lost", attribute(Affine, "after", _after_without_offset), _offsets_through),
        Plant("QuickGELU taken for SiLU", _swish_without_its_factor, simplify_law(_quick_gelu)),
        Plant(
            "activations fused whatever they gate",
            attribute(simplify_package, "REWRITES", (_fuse_everything, *simplify_package.REWRITES)),
            simplify_law(family("products").build),
        ),
        # models
        Plant("alpha of Gemm ignored", attribute(onnx_linear, "float32", lambda x: 1.0), model_law("gemm-alpha")),
        Plant(
            "epsilon of BatchNormalization ignored",
            attribute(onnx_linear, "float32", lambda x: 0.0),
            model_law("batch-norm"),
        ),
        Plant("epsilon added outside the root", attribute(onnx_linear, "torch", _Outside()), model_law("batch-norm")),
        Plant(
            "Gather of one entry twice is 1",
            attribute(Selection, "most_copies", lambda self: 1),
            model_law("gather-twice"),
        ),
        Plant("reflecting Pad is 1", attribute(Selection, "most_copies", lambda self: 1), model_law("pad-reflect")),
        Plant("Expand is 1", attribute(Selection, "most_copies", lambda self: 1), model_law("expand")),
        Plant("Tile is 1", attribute(Selection, "most_copies", lambda self: 1), model_law("tile")),
        Plant("dilation ignored", attribute(onnx_linear, "Conv", _undilated), model_law("conv-dilation")),
        Plant(
            "SAME_LOWER read as SAME_UPPER",
            attribute(onnx_linear, "resolve_pads", _upper_always),
            model_law("conv-same-lower"),
        ),
        Plant(
            "several inputs bounded one by one",
            attribute(
                OperatorNorms,
                "of_row",
                lambda self, parts, norm: max((self.of(p, norm) for p in parts), key=lambda b: b.value),
            ),
            model_law("two-inputs"),
        ),
    ]


def _small_groups() -> Conv:
    """Two groups of norms below 1, the second the larger one."""
    kernel = torch.tensor([[[0.25]], [[0.5]]], dtype=torch.float64)
    return Conv(kernel, (1, 2, 2), (1,), (1,), ((0, 0),), 2)


def _without_underflow(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(entries_module, "_underflow", lambda part, norm: 0.0)


def _underflow_law(_: Path) -> None:
    """Each factor is a plain number; their running product is not, and the whole is again."""
    pieces = tuple(Dense.plain(torch.full((2, 2), 2.0**e, dtype=torch.float64)) for e in (-900, -200, 1000))
    for norm in Norm:
        map_laws.norm_is_above(Compose(pieces), norm)


def _scaled_after(real: Callable[..., Conv | None]) -> Callable[..., Conv | None]:
    return lambda diagonal, conv, *, after: real(diagonal, conv, after=True)


def _fuse_everything(graph: Graph) -> Graph:
    nodes = list(graph.nodes)
    for place, node in enumerate(nodes):
        if isinstance(node.op, Multiply):
            op = Elementwise(activations.swish(1.0), node.op.shape)
            nodes[place] = dataclasses.replace(node, op=op, inputs=node.inputs[:1])
    return Graph(graph.input_shape, tuple(nodes), graph.output)


class _Outside:
    """torch, whose root of (variance + epsilon) is the root of the variance, plus epsilon."""

    def __getattr__(self, name: str) -> Any:
        return (lambda x: torch.sqrt(x - 0.5) + 0.5) if name == "sqrt" else getattr(torch, name)


def _upper_always(auto_pad: str, *rest: Any) -> Any:
    from lipaudit.ops.onnx.windows import resolve_pads

    return resolve_pads("SAME_UPPER", *rest)
