"""The process that onnxruntime runs in, so that a crash or a hang of it on a stranger's file is an answer, not an end.

Run as a script, by `lipaudit.loading.reference` alone: it imports nothing of lipaudit, and so starts in half a second.
It reads jobs from stdin and answers on stdout; whatever onnxruntime itself prints goes to stderr.

A message is two lengths (unsigned, 8 bytes), then a header (JSON) and a body of those lengths.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import threading
import time
from typing import Any, BinaryIO

LENGTHS = struct.Struct("<QQ")


def send(stream: BinaryIO, header: dict[str, Any], *body: bytes) -> None:
    """One message, its body in parts."""
    text = json.dumps(header).encode()
    stream.write(LENGTHS.pack(len(text), sum(len(part) for part in body)))
    for part in (text, *body):
        stream.write(part)
    stream.flush()


def receive(stream: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    """The next message, None where the stream has ended."""
    lengths = stream.read(LENGTHS.size)
    if len(lengths) < LENGTHS.size:
        return None
    text, body = (stream.read(length) for length in LENGTHS.unpack(lengths))
    if len(text) + len(body) < sum(LENGTHS.unpack(lengths)):
        return None
    return json.loads(text), body


def _answer(job: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
    """{"rows": B} and float64 [B, out_size], or {"failed": the reason in one line}."""
    import numpy as np

    points = np.frombuffer(body, np.float64, offset=job["model"]).reshape(job["points"], job["width"])
    try:
        session = _session(body[: job["model"]])
        rows = []
        for point in points:
            feeds, start = {}, 0
            for name, shape, kind in job["inputs"]:
                size = int(np.prod(shape))
                feeds[name] = point[start : start + size].reshape(shape).astype(kind)
                start += size
            answers = session.run(job["outputs"], feeds)
            rows.append(np.concatenate([np.asarray(a, dtype=np.float64).reshape(-1) for a in answers]))
        return {"rows": len(rows)}, np.stack(rows).tobytes()
    except Exception as error:  # noqa: BLE001 - onnxruntime raises types of its own that it does not export
        lines = str(error).splitlines()
        return {"failed": lines[0][:200] if lines else type(error).__name__}, b""


def _session(content: bytes) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"], enable_fallback=0)


def _end_with(parent: int) -> None:
    """Ends a run, however deep in it, whose answer nobody waits for any more."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def main() -> None:
    """Answers jobs until stdin ends, which it does with the process that wrote them."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while (message := receive(sys.stdin.buffer)) is not None:
        header, body = _answer(*message)
        send(answers, header, body)


if __name__ == "__main__":
    main()
