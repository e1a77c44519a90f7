"""The fuzz campaign: thousands of mutated models through a whole audit each, in processes that may die of it.

    python tests/fuzz/campaign.py --count 10000 --seed 0 --budget 3600

Prints a table of outcomes, and one line for every failure with the command that repeats it; the failing files are kept
under --keep. Exits 1 where anything failed, or where the budget ended before the count.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import selectors
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from tests.fuzz.judging import GOOD, seed_files  # noqa: E402

CPU_SECONDS = 10
WALL_SECONDS = 60
MEMORY = 4 * 2**30
LIFE = 400
"""Mutants that one process sees before it is replaced, so that what one leaves behind does not fail another."""


@dataclass(frozen=True)
class Answer:
    """What a worker says about one mutant. rss: the largest that its process has been, in KiB."""

    number: int
    outcome: str
    detail: str
    seconds: float
    origin: str = ""
    done: tuple[str, ...] = ()
    rss: int = 0
    compared: int = 0
    tightness: tuple[float, ...] = ()


@dataclass(eq=False)
class Worker:
    """One process and the mutant it is at."""

    seed: int
    log: Path
    number: int = -1
    since: float = 0.0
    seen: int = 0
    ready: bool = False
    process: subprocess.Popen[str] = field(init=False)
    _stderr: IO[str] = field(init=False)

    def __post_init__(self) -> None:
        self.log.write_text("")
        self._stderr = self.log.open("a")
        limits = [str(self.seed), str(CPU_SECONDS), str(MEMORY), str(self.log)]
        command = [sys.executable, "-m", "tests.fuzz.worker", *limits]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            cwd=ROOT,
            env=environment,
        )
        self.since = time.monotonic()

    @property
    def answers(self) -> IO[str]:
        assert self.process.stdout is not None
        return self.process.stdout

    def give(self, number: int) -> None:
        assert self.process.stdin is not None
        self.number, self.since, self.seen = number, time.monotonic(), self.seen + 1
        try:
            self.process.stdin.write(f"{number}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return  # its end shows on the other pipe

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self._stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def obituary(self) -> Answer:
        """The verdict on the mutant that the process died of."""
        code = self.process.wait()
        outcome = {-24: "timeout", -9: "killed"}.get(code, f"crash ({code})")
        tail = self.log.read_text(errors="replace")[-3000:]
        return Answer(self.number, outcome, tail, time.monotonic() - self.since)


def results(numbers: list[int], seed: int, budget: float, workers: int) -> Iterator[Answer]:
    """A verdict for each number, in the order they come, until the budget ends."""
    deadline = time.monotonic() + budget
    waiting = list(reversed(numbers))
    with tempfile.TemporaryDirectory() as folder:
        pool = [Worker(seed, Path(folder) / f"{place}.log") for place in range(min(workers, len(numbers)))]
        try:
            while (waiting or any(worker.number >= 0 for worker in pool)) and time.monotonic() < deadline:
                yield from _round(pool, waiting)
        finally:
            for worker in pool:
                worker.end()


def _round(pool: list[Worker], waiting: list[int]) -> Iterator[Answer]:
    with selectors.DefaultSelector() as selector:
        for worker in pool:
            selector.register(worker.answers, selectors.EVENT_READ, worker)
        spoken = [key.data for key, _ in selector.select(timeout=1.0)]
    for place, worker in enumerate(pool):
        if worker in spoken:
            line = worker.answers.readline()
            if line and not worker.ready:
                worker.ready = True
            elif line:
                yield Answer(**json.loads(line))
                worker.number = -1
            else:
                if not worker.ready:
                    raise RuntimeError(f"the worker does not start: {worker.log.read_text()}")
                yield worker.obituary()
                worker.end()
                pool[place] = worker = Worker(worker.seed, worker.log)
        elif worker.number >= 0 and time.monotonic() - worker.since > WALL_SECONDS:
            worker.process.kill()  # the end of its pipe is seen in the next round
            continue
        if worker.ready and worker.number < 0 and waiting:
            if worker.seen >= LIFE:
                worker.end()
                pool[place] = Worker(worker.seed, worker.log)
            else:
                worker.give(waiting.pop())


def main() -> int:
    options = _options()
    files, missing = seed_files()
    for line in missing:
        _say(f"note: {line}")
    numbers = options.only or list(range(options.start, options.start + options.count))
    keep = Path(options.keep or tempfile.mkdtemp(prefix="lipaudit-fuzz-"))
    _say(f"{len(numbers)} mutants of {len(files)} models, seed {options.seed}")
    outcomes: Counter[str] = Counter()
    mutators: Counter[str] = Counter()
    answers: list[Answer] = []
    failures = peak = 0
    started = time.monotonic()
    for answer in results(numbers, options.seed, options.budget, options.workers):
        answers.append(answer)
        outcomes[answer.outcome] += 1
        mutators.update(answer.done)
        if options.verbose and (answer.rss > peak + 200_000 or answer.seconds > 2.0):
            _say(f"{answer.number} {answer.origin} {answer.done}: {answer.rss // 1024} MiB, {answer.seconds:.1f} s")
        peak = max(peak, answer.rss)
        if answer.outcome not in GOOD:
            failures += 1
            _report(answer, options.seed, keep, files)
        if len(answers) % 500 == 0:
            _say(f"{len(answers)} done, {failures} failed, {time.monotonic() - started:.0f} s")
    _say(f"\n{len(answers)} mutants in {time.monotonic() - started:.0f} s, {len(mutators)} kinds of change")
    for outcome in (*GOOD, *sorted(set(outcomes) - set(GOOD))):
        _say(f"  {outcome:<24} {outcomes[outcome]:>7}")
    if answers:
        slowest = max(answers, key=lambda answer: answer.seconds)
        median = statistics.median(answer.seconds for answer in answers)
        _say(f"slowest {slowest.seconds:.1f} s (mutant {slowest.number}), median {median:.3f} s")
        _say(f"largest process {peak // 1024} MiB")
    tightness = [ratio for answer in answers for ratio in answer.tightness]
    compared = sum(answer.compared for answer in answers)
    _say(f"sampled Jacobian norms compared with bounds: {compared}, of them with a finite bound: {len(tightness)}")
    if tightness:
        _say(f"median of norm / bound {statistics.median(tightness):.3f}, largest {max(tightness):.12f}")
    survived = sum("its process ended" in answer.detail or "does not answer" in answer.detail for answer in answers)
    _say(f"crashes and hangs of onnxruntime in its own process: {survived}")
    if failures:
        _say(f"{failures} failures kept in {keep}")
    return 1 if failures or len(answers) < len(numbers) else 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _report(answer: Answer, seed: int, keep: Path, files: list[Path]) -> None:
    from tests.fuzz.worker import mutant

    origin, content, done, _ = mutant(answer.number, seed, files)
    keep.mkdir(parents=True, exist_ok=True)
    (keep / f"{seed}-{answer.number}.onnx").write_bytes(content)
    said = answer.detail.strip()
    lines = [f"{answer.outcome}: {origin.name}, {', '.join(done)}", said]
    lines.append(f"repeat: python tests/fuzz/campaign.py --seed {seed} --only {answer.number}")
    (keep / f"{seed}-{answer.number}.txt").write_text("\n".join(lines) + "\n")
    _say(f"FAILED {answer.number} {lines[0]}\n    {said.splitlines()[-1][:300] if said else ''}\n    {lines[-1]}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--count", type=int, default=10_000, help="how many mutants")
    parser.add_argument("--start", type=int, default=0, help="the number of the first")
    parser.add_argument("--seed", type=int, default=0, help="of all random choices")
    parser.add_argument("--only", type=int, nargs="+", help="these mutants alone")
    parser.add_argument("--budget", type=float, default=7200.0, help="seconds in all")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--keep", help="where failing files go (a new temporary folder)")
    parser.add_argument("-v", "--verbose", action="store_true", help="a line for every slow or large mutant")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
