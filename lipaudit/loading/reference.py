"""onnxruntime's answers, from a process of its own that may crash, hang or run out of memory without harm here."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lipaudit.linear.map import Shape
from lipaudit.loading import runtime

_FROM_FILE = "ORT_LOAD_CONFIG_FROM_MODEL"
"""Makes onnxruntime take its settings from the model."""

DEADLINE = 300.0
"""Seconds for one model at a few points; a large one takes some."""


class RuntimeFailed(Exception):
    """onnxruntime said no, or nothing at all; the message is one line."""


class Runtime:
    """The process, started on first use and again after it died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._lock = threading.Lock()

    def run(
        self, content: bytes, inputs: Sequence[tuple[str, Shape, str]], outputs: Sequence[str], points: np.ndarray
    ) -> np.ndarray:
        """The outputs at points [B, ...], one run each, flattened and joined: float64 [B, out_size].

        inputs: the name, shape and numpy type of each, cut from a point in that order. Raises RuntimeFailed.
        """
        flat = np.ascontiguousarray(points.reshape(len(points), -1), dtype=np.float64)
        width = flat.shape[1]
        job = {
            "model": len(content),
            "points": len(flat),
            "width": width,
            "inputs": list(inputs),
            "outputs": list(outputs),
        }
        with self._lock:
            answer = self._ask(job, content, flat.tobytes())
        if answer is None:
            raise RuntimeFailed(self._obituary())
        header, body = answer
        if "failed" in header:
            raise RuntimeFailed(str(header["failed"]))
        return np.frombuffer(body, np.float64).reshape(len(flat), -1)

    def start(self) -> None:
        """Starts the process where there is none, so that it is ready by the time it is asked."""
        if self._process is not None:
            if self._owner == os.getpid() and self._process.poll() is None:
                return
            _close(self._process)  # it died, or is the one of a process that we were forked from
        script = Path(runtime.__file__)
        environment = {key: value for key, value in os.environ.items() if key != _FROM_FILE}
        environment |= {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        # -P: neither the script's folder nor the current one is searched for modules
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            process_group=0,  # Ctrl-C at the terminal is for the audit, which may still ask something afterwards
        )
        if not self._owner:
            atexit.register(self.end)
        self._owner = os.getpid()

    def _ask(self, job: dict[str, Any], *body: bytes) -> tuple[dict[str, Any], bytes] | None:
        try:
            self.start()
        except OSError as error:
            raise RuntimeFailed(f"its process does not start ({error.strerror})") from None
        process = self._process
        assert process is not None
        timer = threading.Timer(DEADLINE, process.kill)
        timer.daemon = True
        timer.start()
        try:
            runtime.send(_pipe(process.stdin), job, *body)
            return runtime.receive(_pipe(process.stdout))
        except BrokenPipeError:
            return None
        except KeyboardInterrupt:
            process.kill()  # or it would give the next one who asks this answer
            process.wait()
            raise
        finally:
            timer.cancel()

    def _obituary(self) -> str:
        process, self._process = self._process, None
        assert process is not None
        process.kill()
        code = process.wait()
        _close(process)
        return f"it does not answer within {DEADLINE:.0f} s" if code == -9 else f"its process ended with {code}"

    def end(self) -> None:
        """Ends the process; it would end by itself with this one."""
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():
            return
        process.kill()
        process.wait()
        _close(process)


def _pipe(stream: Any) -> BinaryIO:
    assert stream is not None
    return stream  # type: ignore[no-any-return]


def _close(process: subprocess.Popen[bytes]) -> None:
    for stream in (process.stdin, process.stdout):
        try:
            _pipe(stream).close()
        except OSError:
            continue  # what was still to be written has no reader any more


RUNTIME = Runtime()
