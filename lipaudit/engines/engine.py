"""What an engine is, what it may answer, and the harness that runs it."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, final

from lipaudit.graph.problem import Problem
from lipaudit.numerics.bound import LowerBound, UpperBound
from lipaudit.numerics.norms import Norm


class Declined(Exception):
    """An engine's word that it has no bound for this problem, with a reason that a person can act on."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C while an engine was improving a bound that it had proven already. Who does not know it stops, as ever."""

    def __init__(self, bound: UpperBound) -> None:
        super().__init__()
        self.bound = bound


class Inapplicable(Declined):
    """The same of an engine for another kind of network: said where somebody asked for it by name, else left out."""


class Engine(ABC):
    """One theorem that bounds the Lipschitz constant of a graph from above."""

    __slots__ = ()
    name: ClassVar[str]
    label: ClassVar[str]
    norms: ClassVar[frozenset[Norm]] = frozenset(Norm)
    """The norms it has something to say in; asked for another, it declines."""
    mixed: ClassVar[bool] = False
    """Whether it knows pairs of different norms; where not, the harness declines for it."""

    @abstractmethod
    def bound(self, problem: Problem) -> UpperBound:
        """A certified upper bound over the problem's region. Raises Declined where the theorem does not apply."""


@final
@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one engine: exactly one of bound and reason is there.

    apt: false where the engine is for another kind of network altogether.
    """

    engine: Engine
    seconds: float
    bound: UpperBound | None = None
    reason: str | None = None
    apt: bool = True


def run(engine: Engine, problem: Problem) -> Outcome:
    """The engine's answer, timed. Whatever it throws is an answer that it declined; none of it becomes a bound."""
    start = time.monotonic()
    if problem.pair.mixed and not engine.mixed:
        return Outcome(engine, 0.0, reason=f"it knows one norm for both sides, not {problem.pair}")
    if problem.time_left <= 0:
        return Outcome(engine, 0.0, reason="the budget was spent before it started")
    try:
        answer = engine.bound(problem)
    except Declined as why:
        return Outcome(engine, time.monotonic() - start, reason=str(why), apt=not isinstance(why, Inapplicable))
    except MemoryError:
        return Outcome(engine, time.monotonic() - start, reason="it ran out of memory")
    except (ArithmeticError, ValueError, RuntimeError) as error:
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        return Outcome(engine, time.monotonic() - start, reason=f"it failed ({detail[:160]}); please report it")
    if not isinstance(answer, UpperBound) or math.isnan(answer.value):
        return Outcome(engine, time.monotonic() - start, reason="it answered with something that is no bound")
    return Outcome(engine, time.monotonic() - start, bound=answer)


def contradicted(outcome: Outcome, attained: LowerBound | None) -> bool:
    """Whether the engine's bound lies below a value that is attained, which no sound engine's can."""
    return outcome.bound is not None and attained is not None and outcome.bound.value < attained.value
