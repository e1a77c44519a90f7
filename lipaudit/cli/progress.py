"""Progress on stderr, for a person, once the work turns out to be long."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, final

from lipaudit.cli.options import Output

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from lipaudit.audit import Progress as Callback

PATIENCE = 1.0
"""Seconds of silence before a bar appears."""


@contextmanager
def progress(output: Output) -> Iterator[Callback | None]:
    """A callback for the audit, or None where nobody would see a bar."""
    if output.quiet or output.no_progress or not sys.stderr.isatty():
        yield None
        return
    bar = _Bar()
    try:
        yield bar.update
    finally:
        bar.close()


@final
class _Bar:
    """A bar that a timer opens: a long first step shows it too. The lock is between that timer and the audit."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._state = ("", 0, 1)
        self._closed = False
        self._shown: tuple[Progress, TaskID] | None = None
        self._timer = threading.Timer(PATIENCE, self._open)
        self._timer.daemon = True
        self._timer.start()

    def update(self, what: str, done: int, total: int) -> None:
        with self._lock:
            self._state = (what, done, total)
            self._draw()

    def close(self) -> None:
        self._timer.cancel()
        with self._lock:
            if self._shown is not None:
                self._shown[0].stop()
            self._closed = True

    def _open(self) -> None:
        with self._lock:
            if not self._closed:
                self._shown = _opened()
                self._draw()

    def _draw(self) -> None:
        if self._shown is not None:
            what, done, total = self._state
            self._shown[0].update(self._shown[1], description=what, completed=done, total=total)


def _opened() -> tuple[Progress, TaskID]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bar = Progress(*columns, console=Console(stderr=True, markup=False, highlight=False), transient=True)
    bar.start()
    return bar, bar.add_task("")
