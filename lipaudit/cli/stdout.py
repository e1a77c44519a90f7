"""Standard output, which may be full, closed early, or unable to say a character."""

from __future__ import annotations

import io
import os
import sys


def write(text: str) -> None:
    """Prints the text. A reader that has seen enough (`| head`) is no error: the exit code still says what we found."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a bar in an ASCII log is better than no report
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        abandon()


def abandon() -> None:
    """Lets the interpreter's last flush go nowhere, so that it cannot replace our exit code by its own."""
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, sys.stdout.fileno())
    except (OSError, ValueError):
        return  # not a real stream, as under a test
    finally:
        os.close(null)
