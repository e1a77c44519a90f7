"""The results of a gate's rules, and the waivers that excuse some of them for a while."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

Level = Literal["warn", "error"]
Result = Literal["pass", "fail", "inconclusive"]


@final
@dataclass(frozen=True, slots=True)
class Waiver:
    """Failures that a team has decided to live with until a day, and why.

    rule, model: patterns of rule ids (or a code) and of the model's path. expires: the last day, as YYYY-MM-DD.
    """

    rule: str
    reason: str
    expires: str
    model: str = "*"


@final
@dataclass(frozen=True, slots=True)
class RuleResult:
    """One rule of the gate: passed only by a finite value within its limit.

    code: of `lipaudit explain`. limit: None where it is relative to a baseline that does not hold the number; sign: how
    the measured value is held against it. recorded: the baseline's value where the limit is relative to it.
    level: a failure at "warn" is told and does not decide. waiver: the one that excuses this failure.
    """

    id: str
    subject: str
    measured: float | None
    limit: float | None
    result: Result
    detail: str = ""
    code: str = "LIP001"
    sign: Literal["<=", ">="] = "<="
    level: Level = "error"
    recorded: float | None = None
    waiver: Waiver | None = None

    @property
    def decides(self) -> bool:
        """Whether a failure of this rule is one of the gate: not at the level warn, and not while it is waived."""
        return self.level == "error" and self.waiver is None
