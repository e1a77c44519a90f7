"""For test suites: `assert_lipschitz`, as a function and as a pytest fixture (installed with lipaudit).

def test_the_model_is_smooth(assert_lipschitz):
    assert_lipschitz("model.onnx", max=5.0, domain=(0.0, 1.0))
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

try:
    import pytest
except ImportError:  # the function is of use without it
    pytest = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from lipaudit.loading import ModelLike
    from lipaudit.report.report import AuditReport


def assert_lipschitz(
    model: ModelLike,
    max: float,
    norm: str = "l2",
    domain: tuple[float, float] | None = None,
    **settings: Any,
) -> AuditReport:
    """Fails unless the model's Lipschitz constant is proven to be at most `max`; the message has the bracket.

    model: a path, an onnx.ModelProto, or a torch.nn.Module with example=... . norm: 'l2', 'l1', 'linf', or a pair such
    as 'linf:l2'. domain: (low, high) of every input entry, in the model's own units; None: all inputs.
    settings: further fields of lipaudit.Settings. Returns the report of a model that passes.
    Raises AssertionError, and what `lipaudit.bound` raises for a model that cannot be audited: neither is a pass.
    """
    from lipaudit.audit import Domain, Settings, bound
    from lipaudit.numerics.norms import NormPair
    from lipaudit.render.words import headlines

    if not (math.isfinite(max) and max >= 0.0):
        raise ValueError(f"max must be a finite number of at least 0, not {max!r}")
    pair = NormPair.parse(norm)
    box = None if domain is None else Domain(*domain, f"{domain[0]:g},{domain[1]:g}")
    report = bound(model, Settings(norm=pair if pair.mixed else pair.source, domain=box, **settings))
    upper = None if report.upper is None else report.upper.bound
    broken = any(finding.severity == "error" for finding in report.findings)
    if upper is not None and upper.finite and upper.value <= max and not broken:
        return report
    over = report.lower is not None and report.lower.bound.value > max
    said = "is larger than" if over else "is not proven to be at most"
    codes = "".join(f"; {f.code} {f.subject}: {f.message}" for f in report.findings)
    raise AssertionError(f"the Lipschitz constant of {report.model.path} {said} {max!r}: {headlines(report)[0]}{codes}")


if pytest is not None:

    @pytest.fixture(name="assert_lipschitz")
    def _assert_lipschitz() -> Callable[..., AuditReport]:
        """The function of the same name."""
        return assert_lipschitz
