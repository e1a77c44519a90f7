"""Certified audits of a trained network's Lipschitz constant.

    from lipaudit import Settings, bound
    report = bound("model.onnx", Settings())

The names below are the public API. They are imported on first use: `import lipaudit` loads neither torch nor onnx.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lipaudit.audit import Domain, Preprocess, Settings, bound, certify, check, local
    from lipaudit.errors import Discontinuous, InternalError, InvalidInput, LipauditError, Unsupported, UsageError
    from lipaudit.loading import RefusedModel
    from lipaudit.numerics.bound import LowerBound, UpperBound
    from lipaudit.numerics.norms import Norm
    from lipaudit.report.report import AuditReport
    from lipaudit.testing import assert_lipschitz

__all__ = [
    "AuditReport",
    "Discontinuous",
    "Domain",
    "InternalError",
    "InvalidInput",
    "LipauditError",
    "LowerBound",
    "Norm",
    "Preprocess",
    "RefusedModel",
    "Settings",
    "Unsupported",
    "UpperBound",
    "UsageError",
    "assert_lipschitz",
    "bound",
    "certify",
    "check",
    "local",
]

_HOMES = {
    "lipaudit.audit": ("Domain", "Preprocess", "Settings", "bound", "certify", "check", "local"),
    "lipaudit.errors": ("Discontinuous", "InternalError", "InvalidInput", "LipauditError", "Unsupported", "UsageError"),
    "lipaudit.loading": ("RefusedModel",),
    "lipaudit.numerics.bound": ("LowerBound", "UpperBound"),
    "lipaudit.numerics.norms": ("Norm",),
    "lipaudit.report.report": ("AuditReport",),
    "lipaudit.testing": ("assert_lipschitz",),
}


def __getattr__(name: str) -> Any:
    """The public name, imported from its room. Raises AttributeError for any other."""
    from importlib import import_module

    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'lipaudit' has no attribute {name!r}")
