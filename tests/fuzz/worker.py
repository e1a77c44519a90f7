"""The process that mutants die in: reads the numbers of mutants, answers with a line of JSON each.

    python -m tests.fuzz.worker SEED CPU_SECONDS MEMORY_BYTES LOG < numbers

Memory and the processor time of each mutant are limited by the kernel; a mutant beyond the time kills the process,
which leaves the Python stack in LOG. What a library prints to stdout is a failure of its own: that is the report's.
"""

from __future__ import annotations

import faulthandler
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import torch

from tests.fuzz.judging import Verdict, judge, seed_files
from tests.fuzz.structural import mutate


def mutant(number: int, seed: int, files: list[Path]) -> tuple[Path, bytes, tuple[str, ...], random.Random]:
    """The file it comes from, its bytes, what was done, and the generator for the choices of its audit."""
    rng = random.Random(f"{seed}:{number}")
    origin = rng.choice(files)
    content, done = mutate(origin.read_bytes(), rng)
    return origin, content, done, rng


def main(seed: int, seconds: int, memory: int, log: Path) -> None:
    torch.set_num_threads(1)
    trace = log.open("a")
    faulthandler.enable(trace)
    faulthandler.register(signal.SIGXCPU, trace, chain=True)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "w")
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "stdout").open("w+b") as stray:
        os.dup2(stray.fileno(), 1)
        files, _ = seed_files()
        path = Path(folder) / "mutant.onnx"
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        print(json.dumps({"ready": True}), file=answers, flush=True)
        for line in sys.stdin:
            number = int(line)
            origin, content, done, rng = mutant(number, seed, files)
            path.write_bytes(content)
            spent = resource.getrusage(resource.RUSAGE_SELF)
            used = spent.ru_utime + spent.ru_stime
            resource.setrlimit(resource.RLIMIT_CPU, (int(used) + 1 + seconds, resource.RLIM_INFINITY))
            started = time.perf_counter()
            verdict = judge(path, rng)
            took = time.perf_counter() - started
            sys.stdout.flush()
            if stray.tell() or os.fstat(stray.fileno()).st_size:
                stray.seek(0)
                verdict = Verdict("stdout polluted", stray.read(2000).decode("utf-8", "replace"))
                os.ftruncate(stray.fileno(), 0)
                stray.seek(0)
            after = resource.getrusage(resource.RUSAGE_SELF)
            answer = {"number": number, "origin": origin.name, "done": done, "seconds": took, "rss": after.ru_maxrss}
            print(json.dumps({**answer, **asdict(verdict)}), file=answers, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
