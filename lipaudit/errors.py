"""The errors a caller may catch. Each knows its exit code; the command line alone turns one into an exit."""

from __future__ import annotations

from typing import ClassVar


class LipauditError(Exception):
    """Anything lipaudit says no to. The message is one line: what, where and what to do."""

    exit_code: ClassVar[int] = 4


class UsageError(LipauditError):
    """Options or configuration that make no sense together, or unknown keys."""

    exit_code: ClassVar[int] = 2


class InvalidInput(LipauditError):
    """A file that cannot be read as what it should be: a model, an array, labels, a domain."""

    exit_code: ClassVar[int] = 2


class Unsupported(LipauditError):
    """The input is well-formed, but nothing can be proven about it (an op without a rule, say)."""

    exit_code: ClassVar[int] = 3


class Discontinuous(Unsupported):
    """The function jumps: it has no Lipschitz constant, and no rule could give it one."""


class InternalError(LipauditError):
    """A fault of lipaudit itself: two of its answers contradict each other. Please report it."""

    exit_code: ClassVar[int] = 4


def one_word(name: str) -> str:
    """A name from a file inside an example of what to type: as it is, or quoted where it would break the line."""
    return name if name.isprintable() else repr(name)
