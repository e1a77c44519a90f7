"""assert_lipschitz: a pass is a proof, and a failure shows the bracket. As a function and as the installed fixture."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lipaudit import RefusedModel, assert_lipschitz
from lipaudit.report.report import AuditReport
from tests.cases.models import model, node, saved, weights

pytest_plugins = ["pytester"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """f(x) = 3 x: the constant is 3."""
    return saved(model([node("Mul", ["x", "w"])], weights(w=np.array([3.0]))), tmp_path)


@pytest.mark.parametrize("norm", ["l2", "l1", "linf"])
def test_a_pass_is_a_proof(assert_lipschitz: Callable[..., AuditReport], path: Path, norm: str) -> None:
    report = assert_lipschitz(path, max=3.0001, norm=norm)
    assert report.upper is not None
    assert report.upper.bound is not None
    assert 3.0 <= report.upper.bound.value <= 3.0001
    assert assert_lipschitz(str(path), max=3.0001, domain=(-1.0, 1.0)).problem.region is not None


def test_a_failure_shows_the_bracket(path: Path) -> None:
    with pytest.raises(AssertionError, match=r"is larger than 2\.5: L is in \[(2\.9|3)") as caught:
        assert_lipschitz(path, max=2.5)
    assert str(path) in str(caught.value)


def test_no_finite_bound_is_no_pass(tmp_path: Path) -> None:
    exp = saved(model([node("Exp", ["x"])]), tmp_path)
    with pytest.raises(AssertionError, match=r"is (larger than|not proven to be at most).*LIP110"):
        assert_lipschitz(exp, max=1e300)


def test_a_refused_model_is_no_pass(tmp_path: Path) -> None:
    with pytest.raises(RefusedModel):
        assert_lipschitz(saved(model([node("Sign", ["x"])]), tmp_path), max=1e300)


@pytest.mark.parametrize("limit", [math.nan, math.inf, -1.0])
def test_a_limit_is_a_number(path: Path, limit: float) -> None:
    with pytest.raises(ValueError, match="finite number"):
        assert_lipschitz(path, max=limit)


def test_the_plugin_is_installed(pytester: pytest.Pytester, path: Path) -> None:
    pytester.makepyfile(
        f"def test_smooth(assert_lipschitz):\n    assert_lipschitz({str(path)!r}, max=3.1)\n"
        f"def test_steep(assert_lipschitz):\n    assert_lipschitz({str(path)!r}, max=2.0)\n"
    )
    result = pytester.runpytest("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*AssertionError: the Lipschitz constant of*is larger than 2.0: L is in*"])
