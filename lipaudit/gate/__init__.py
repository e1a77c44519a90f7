"""The gate: a policy says what is required, a verdict whether it was proven. What is not known never passes."""

from __future__ import annotations

from lipaudit.gate.limits import Limits
from lipaudit.gate.policy import ModelPolicy, Policy, Preprocessing, parse_policy
from lipaudit.gate.verdict import judge, verdict_of

__all__ = ["Limits", "ModelPolicy", "Policy", "Preprocessing", "judge", "parse_policy", "verdict_of"]
