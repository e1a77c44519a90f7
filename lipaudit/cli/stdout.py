"""Standard output, which may be full, closed early, or unable to say a character."""

from __future__ import annotations

import io
import os
import sys

from lipaudit.errors import UsageError


def write(text: str) -> None:
    """Prints the text. A reader that has seen enough (`| head`) is no error: the exit code still says what we found.

    Raises UsageError where it cannot be printed: closed, or on a full disk.
    """
    if sys.stdout is None:
        raise UsageError("cannot print the report: standard output is closed")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a bar in an ASCII log is better than no report
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        abandon()
    except OSError as error:
        abandon()
        raise UsageError(f"cannot print the report: {error.strerror or error}") from None


def occupy() -> None:
    """Fills the standard descriptors that were closed: a report's file must not become somebody's standard output."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - as long as we run


def abandon() -> None:
    """Lets the interpreter's last flush go nowhere, so that it cannot replace our exit code by its own."""
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, sys.stdout.fileno())
    except (OSError, ValueError):
        return  # not a real stream, as under a test
    finally:
        os.close(null)
