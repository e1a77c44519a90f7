"""The gain of attention as a whole: above what is met, close to it, and found in what exporters write."""

from __future__ import annotations

import numpy as np
import pytest

from lipaudit.engines.attention import wholes
from lipaudit.graph.attention import attentions
from lipaudit.graph.problem import Problem
from lipaudit.graph.simplify import simplify
from lipaudit.numerics.norms import Norm
from tests.cases.attentions import random_case, telling_cases
from tests.cases.near_attentions import OTHERWISE, blended, one_key_head, otherwise, patches
from tests.laws.attention_laws import gains_hold, values_hold
from tests.laws.engine_laws import bound_is_above

MET = {
    "key": (1, 0.95),
    "query": (0, 0.999),
    "masked": (1, 0.999),
    "biased": (1, 0.999),
    "heads": (1, 0.999),
    "offsets": (0, 0.999),
    "apart": (1, 0.93),
    "damped": (0, 0.94),
    "constant": (1, 0.999),
}
"""Which gain of a telling case (0: the queries', 1: the keys' and values') is met, and to which part at least."""


@pytest.mark.parametrize("case", telling_cases(), ids=lambda case: case.name)
def test_the_gain_is_met(case) -> None:  # type: ignore[no-untyped-def]
    ratios = gains_hold(case)
    assert ratios is not None
    if case.name in MET:
        place, least = MET[case.name]
        assert ratios[place] >= least


def test_no_jacobian_of_random_attention_exceeds_its_gains() -> None:
    ratios = [gains_hold(random_case(seed), seed) for seed in range(24)]
    assert all(ratio is not None for ratio in ratios)
    assert np.median([ratio[1] for ratio in ratios if ratio is not None]) > 0.2


def test_no_slope_of_a_graph_with_attention_exceeds_its_bound() -> None:
    for seed in range(12):
        graph, box = random_case(seed).build()
        bound_is_above(graph, seed, box=box)
    for graph, box in (blended(), patches()):
        bound_is_above(graph, box=box)


def test_tokens_that_are_mixed_are_no_attention() -> None:
    graph, _ = blended()
    assert not attentions(simplify(graph))


@pytest.mark.parametrize("which", OTHERWISE)
def test_what_is_not_attention_in_one_thing_is_left_to_its_parts(which: str) -> None:
    graph, box = otherwise(which)
    assert not attentions(simplify(graph))
    bound_is_above(graph, box=box)
    values_hold(graph, box)


@pytest.mark.parametrize("build", [lambda: otherwise(""), lambda: otherwise("uneven"), one_key_head])
def test_attention_in_a_usual_and_an_unusual_form_is_found(build) -> None:  # type: ignore[no-untyped-def]
    graph, box = build()
    assert len(attentions(simplify(graph))) == 1
    bound_is_above(graph, box=box)
    values_hold(graph, box)


def test_an_average_of_values_is_among_them() -> None:
    graph, box = otherwise("")
    simple = simplify(graph)
    boxes = Problem.over(simple, Norm.L2, box).boxes
    (values,) = {each.value.value for each in attentions(simple)}
    assert float(boxes[simple.output].magnitude.max()) <= float(boxes[values].magnitude.max())
    as_built = Problem.over(graph, Norm.L2, box).boxes[graph.output]
    assert float(as_built.magnitude.max()) > 1.5 * float(boxes[simple.output].magnitude.max())


def test_unbounded_tokens_have_no_gain() -> None:
    case = next(random_case(seed) for seed in range(99) if random_case(seed).tokens == "box")
    graph, _ = case.build()
    assert not wholes(Problem.over(simplify(graph), Norm.L2))
