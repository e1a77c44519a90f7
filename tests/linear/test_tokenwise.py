"""The matrix of one token against the dense matrix of all."""

from __future__ import annotations

import pytest
import torch

from lipaudit.linear.dense import Dense
from lipaudit.linear.map import LinearMap
from lipaudit.linear.tokenwise import tokenwise
from tests.cases.token_maps import token_maps
from tests.laws.attention_laws import matrices_hold


@pytest.mark.parametrize(("part", "size", "groups", "tokens"), token_maps().values(), ids=token_maps().keys())
def test_the_matrix_of_one_token_is_that_of_all(part: LinearMap, size: int, groups: int, tokens: int) -> None:
    matrices_hold(part, size, groups, tokens)


def test_one_matrix_for_all_has_no_error_but_rounding() -> None:
    part, *sizes = token_maps()["heads"]
    found = tokenwise(part, *sizes)
    assert found is not None
    assert max(found.error) < 1e-12


def test_tokens_that_are_mixed_have_no_matrix() -> None:
    assert tokenwise(Dense(torch.ones(2, 2, dtype=torch.float64), (), 3, (2, 3), (2, 3)), 3, 1, 2) is None


def test_a_token_used_twice_has_no_matrix() -> None:
    part, size, groups, tokens = token_maps()["gone"]
    assert tokenwise(part, size, groups, tokens) is not None
    assert tokenwise(token_maps(twice=True)["gone"][0], size, groups, tokens) is None
