"""Mistakes that a bound of attention invites, each planted in the code; a law of the tests must see it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

import lipaudit.engines.attention as attention_module
import lipaudit.engines.attention_terms as terms
import lipaudit.graph.attention as graph_module
import lipaudit.linear.token_rows as rows_module
import lipaudit.linear.tokenwise as tokenwise_module
import lipaudit.ops.bilinear as bilinear_module
from lipaudit.engines.attention_parts import matrices
from lipaudit.linear.dense import Dense
from lipaudit.linear.norms.dense_l2 import dense_l2
from lipaudit.linear.pointwise import Diagonal
from lipaudit.numerics.rounding import sqrt_up
from tests.cases.attentions import telling_cases
from tests.cases.near_attentions import blended, otherwise, patches
from tests.cases.token_maps import token_maps
from tests.laws.attention_laws import gains_hold, matrices_hold, values_hold
from tests.laws.engine_laws import bound_is_above
from tests.planted import Law, Plant

mark_module = import_module("lipaudit.graph.simplify.mark_averages")  # its package has a function of this name

Patch = Callable[[pytest.MonkeyPatch], None]


def telling(name: str) -> Law:
    """The gain of a telling case is above what is met."""

    def law(_: Path) -> None:
        graph_module.attentions.cache_clear()
        terms._norms.cache_clear()
        (case,) = (case for case in telling_cases() if case.name == name)
        assert gains_hold(case) is not None

    return law


def graph_law(build: Callable[[], Any]) -> Law:
    """No slope that is met exceeds the bound of a whole graph."""

    def law(_: Path) -> None:
        graph, box = build()
        bound_is_above(graph, 0, box=box)

    return law


def values_law(build: Callable[[], Any]) -> Law:
    """No value that is met lies outside the range of a graph."""

    def law(_: Path) -> None:
        graph, box = build()
        values_hold(graph, box)

    return law


def token_law(name: str) -> Law:
    """The matrix of one token is that of all, within its error."""

    def law(_: Path) -> None:
        matrices_hold(*token_maps()[name])

    return law


def swapped(module: Any, name: str, changed: Callable[[Any], Any]) -> Patch:
    """The module's function as `changed` makes it."""
    return lambda patch: patch.setattr(module, name, changed(getattr(module, name)))


def with_attention(name: str, change: Callable[[Any], dict[str, Any]], module: Any = terms) -> Patch:
    """A term's function that sees another attention."""

    def changed(old: Any) -> Any:
        return lambda problem, attention, *rest: old(problem, replace(attention, **change(attention)), *rest)

    return swapped(module, name, changed)


def _heads_by_maximum(old: Any) -> Any:
    def stack(part: Any, free: bool, weights: list[float], errors: Any) -> float:
        g, _ = matrices(part, free)
        return max(dense_l2(matrix).value * w for matrix, w in zip(g, weights, strict=True))

    return stack


def _scale_of_first(part: Diagonal) -> Diagonal:
    return replace(part, scale=part.scale[:1].expand(part.scale.shape))


def _first_of_stack(part: Dense) -> Dense:
    return replace(part, weight=part.weight[:1].expand(part.weight.shape)) if part.weight.dim() > 2 else part


def _in_order(owners: Any) -> Any:
    low, high = owners
    return low.sort().values, torch.where(high < 0, high, low.sort().values)


def _mixing_unseen(old: Any) -> Any:
    def carried(part: Any, owners: Any) -> Any:
        return owners if isinstance(part, Dense) and part.in_shape == part.out_shape else old(part, owners)

    return carried


def catalogue() -> list[Plant]:
    """Every entry with the law that sees it."""
    return [
        Plant("the mask is ignored", with_attention("shares", lambda _: {"keep": None}), telling("masked")),
        Plant(
            "the bias is ignored",
            with_attention("shares", lambda a: {"bias": torch.zeros_like(a.bias)}),
            telling("biased"),
        ),
        Plant(
            "tau is missing",
            with_attention("gains", lambda a: {"scale": (1.0,) * a.heads}, attention_module),
            telling("key"),
        ),
        Plant(
            "sqrt(n) is missing in the key term",
            swapped(terms, "_damping", lambda old: lambda most, varying: old(most[:1], varying[:1])),
            telling("key"),
        ),
        Plant(
            "sqrt(n) is missing in the value term",
            swapped(terms, "_columns", lambda old: lambda most: old(most[:1])),
            telling("masked"),
        ),
        Plant(
            "1/4 for 1/2 in the key term",
            swapped(terms, "_damping", lambda old: lambda *a: 0.7 * old(*a)),
            telling("key"),
        ),
        Plant(
            "half of sup |G_k'q|",
            swapped(terms, "_key_slopes", lambda old: lambda *a: [[0.5 * slope for slope in row] for row in old(*a)]),
            telling("key"),
        ),
        Plant(
            "the radius of values is halved",
            swapped(terms, "_radii", lambda old: lambda *a: [0.5 * radius for radius in old(*a)]),
            telling("key"),
        ),
        Plant(
            "tokens' matrices that differ are taken for one",
            swapped(
                graph_module,
                "tokenwise",
                lambda old: (
                    lambda part, size, heads, count: replace(old(part, size, heads, count), error=(0.0,) * heads)
                ),
            ),
            graph_law(lambda: otherwise("uneven")),
        ),
        Plant("heads by their maximum", swapped(terms, "_stack", _heads_by_maximum), telling("heads")),
        Plant(
            "rho for rho^2",
            swapped(
                terms,
                "_covariance",
                lambda old: lambda rho, known, h, k, v: old(sqrt_up(rho), known, h, k, v),
            ),
            telling("query"),
        ),
        Plant("half of |Cov|", swapped(terms, "_joint", lambda old: lambda *a: 0.5 * old(*a)), telling("query")),
        Plant(
            "offsets that differ are ignored",
            swapped(terms, "_deviation", lambda old: lambda c: [0.0] * len(c.lower)),
            telling("offsets"),
        ),
        Plant(
            "logits differ by half as much",
            swapped(terms, "_spread", lambda old: lambda *a: 0.5 * old(*a)),
            telling("apart"),
        ),
        Plant(
            "a variance of rest rho^2",
            swapped(terms, "_varying", lambda old: lambda most: 0.25 * old(most)),
            telling("damped"),
        ),
        Plant(
            "an RMS norm's tokens sum to 0",
            swapped(
                attention_module,
                "token_ball",
                lambda old: lambda *a: replace(old(*a), free=True),
            ),
            telling("constant"),
        ),
        Plant(
            "values that mix tokens are taken for one token's",
            swapped(tokenwise_module, "_carried", _mixing_unseen),
            graph_law(blended),
        ),
        Plant(
            "what the tokens went through has no gain",
            swapped(attention_module, "_before", lambda old: lambda *a: 1.0),
            graph_law(patches),
        ),
        Plant(
            "shares of the other axis have row sums of 1",
            swapped(mark_module, "softmax_rows", lambda old: lambda *a: True),
            values_law(lambda: otherwise("axis")),
        ),
        Plant(
            "one token's scale for all",
            swapped(rows_module, "_scaled", lambda old: lambda part, of: old(_scale_of_first(part), of)),
            token_law("scaled"),
        ),
        Plant(
            "one matrix of a stack for all",
            swapped(rows_module, "_multiplied", lambda old: lambda part, of: old(_first_of_stack(part), of)),
            token_law("of its own each"),
        ),
        Plant(
            "tokens in the order of the output",
            swapped(tokenwise_module, "owners_of", lambda old: lambda part, labels: _in_order(old(part, labels))),
            token_law("gone"),
        ),
        Plant(
            "a row sum of 1 where columns have it",
            swapped(
                bilinear_module,
                "_product_gain",
                lambda old: lambda matrix, norm, evidence, widest=math.inf: old(matrix, norm, evidence, 1.0),
            ),
            graph_law(lambda: otherwise("axis")),
        ),
    ]
