"""Every system call that writes fails once, in every way: no file is ever partial, and no failure is silent."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lipaudit.cli import output as module
from lipaudit.cli.files import append_whole, write_whole
from lipaudit.cli.options import Output
from lipaudit.cli.output import publish, targets
from lipaudit.errors import UsageError
from lipaudit.render import FORMATS
from tests.render.reports import ATTACKED, GATE

CALLS = ("open", "write", "fsync", "close", "replace", "unlink", "ftruncate")
ERRNOS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EMFILE)
OLD, NEW = b"old" * 5, b"the new content, of some length" * 3


@dataclass
class Fault:
    """The n-th system call fails, and where `lasting` each one after it. hit: whether it came to that."""

    n: int
    code: int
    lasting: bool = False
    count: int = 0
    hit: bool = False

    def wrap(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self.count += 1
            fails = self.count == self.n or (self.lasting and self.count > self.n)
            if not fails:
                if name == "write":  # a write takes what it wants to
                    return real(arguments[0], bytes(arguments[1])[:1024])
                return real(*arguments, **options)
            self.hit = True
            if name == "close":  # Linux closes the descriptor all the same
                real(*arguments)
            if name == "write":  # some of it is on the disk already
                real(arguments[0], bytes(arguments[1])[:5])
            raise OSError(self.code, os.strerror(self.code))

        return call


@contextmanager
def injected(fault: Fault) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, fault.wrap(name, getattr(os, name)))
        yield


def until_clean(attempt: Callable[[Fault], None], code: int, lasting: bool = False) -> int:
    """Runs the attempt with the first, the second, ... call failing, until none is left to fail."""
    for n in range(1, 1000):
        fault = Fault(n, code, lasting)
        attempt(fault)
        if not fault.hit:
            return n - 1
    raise AssertionError("it never ends")


@pytest.mark.parametrize("code", ERRNOS, ids=errno.errorcode.get)
@pytest.mark.parametrize("old", [None, OLD], ids=["absent", "there"])
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
def test_a_file_is_whole_or_not_there(tmp_path: Path, code: int, old: bytes | None, lasting: bool) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    path = folder / "r.json"

    def attempt(fault: Fault) -> None:
        for entry in folder.iterdir():
            entry.unlink()
        if old is not None:
            path.write_bytes(old)
        failed = ""
        try:
            with injected(fault):
                write_whole(path, NEW)
        except UsageError as error:
            failed = str(error)
        content = path.read_bytes() if path.exists() else None
        assert content == (old if failed else NEW)
        assert not failed or failed == f"cannot write {path}: {os.strerror(code)}"
        left = [entry for entry in folder.iterdir() if entry != path]
        assert lasting or not left  # where not even unlink works, what is left has another name

    assert until_clean(attempt, code, lasting) == 8  # open, write, fsync, close, replace; the folder's three


@pytest.mark.parametrize("code", ERRNOS, ids=errno.errorcode.get)
def test_an_addition_is_whole_or_nothing(tmp_path: Path, code: int) -> None:
    path = tmp_path / "summary.md"

    def attempt(fault: Fault) -> None:
        path.write_bytes(OLD)
        failed = False
        try:
            with injected(fault):
                append_whole(path, NEW * 40)
        except UsageError:
            failed = True
        content = path.read_bytes()
        assert content in (OLD, OLD + NEW * 40)
        assert failed or content != OLD

    assert until_clean(attempt, code) >= 5


def test_every_format_is_whole_or_not_there_and_the_report_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = (*FORMATS, "npz")
    output = Output(files=[f"{kind}:{tmp_path / kind}" for kind in kinds])
    wanted = targets(output, [], data=kinds)
    publish(ATTACKED, output, wanted)
    whole = {kind: (tmp_path / kind).read_bytes() for kind in kinds}
    printed = capsys.readouterr().out
    monkeypatch.setattr(module, "_content", lambda _, kind, __: whole[kind])  # it is made once: the writing is at stake
    monkeypatch.setattr(module, "_rendered", lambda *_: printed)
    monkeypatch.setattr(os, "fsync", lambda _: None)

    def attempt(fault: Fault) -> None:
        for kind in kinds:
            (tmp_path / kind).write_bytes(OLD)
        failed = ""
        try:
            with injected(fault):
                publish(ATTACKED, output, wanted)
        except UsageError as error:
            failed = str(error)
        states = {kind: (tmp_path / kind).read_bytes() for kind in kinds}
        assert all(state in (OLD, whole[kind]) for kind, state in states.items())
        assert [kind for kind in kinds if states[kind] == OLD] == [kind for kind in kinds if f"/{kind}: " in failed]
        assert len(list(tmp_path.iterdir())) == len(kinds)
        assert capsys.readouterr().out == printed

    assert until_clean(attempt, errno.ENOSPC) > 8 * len(kinds)


def test_a_size_limit_of_the_system_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(UsageError, match="File too large"):
            write_whole(path, b"x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def run(redirection: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = f'"$0" -m lipaudit.cli "$@" {redirection}'
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command, sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("arguments", [("explain", "LIP101"), ("explain",)])
def test_a_full_disk_or_a_closed_output_is_an_error(arguments: tuple[str, ...]) -> None:
    full = run(">/dev/full", *arguments)
    assert (full.returncode, full.stderr) == (
        2,
        "lipaudit: error: cannot print the report: No space left on device\n",
    )
    closed = run(">&-", *arguments)
    assert (closed.returncode, closed.stderr) == (
        2,
        "lipaudit: error: cannot print the report: standard output is closed\n",
    )


def test_a_reader_that_has_seen_enough_is_none() -> None:
    done = run("| true", "explain")
    assert (done.returncode, done.stderr) == (0, "")


def test_an_error_never_goes_to_standard_output() -> None:
    for redirection in ("2>&-", "<&- 2>&-", "2>/dev/full"):
        done = run(redirection, "explain", "no such word")
        assert (done.returncode, done.stdout) == (2, "")


def test_a_closed_descriptor_is_not_a_reports() -> None:
    script = (
        "import os; from lipaudit.cli.stdout import occupy; os.close(0); os.close(1); occupy(); "
        "os.write(2, str(os.open(os.devnull, os.O_RDONLY) > 2).encode())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr == "True"


def test_a_verdict_is_not_lost_to_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(files=[f"json:{tmp_path / 'a'}", f"junit:{tmp_path / 'b'}"])
    wanted = targets(output, [])
    (tmp_path / "a").mkdir()
    with pytest.raises(UsageError, match=r"cannot write .*/a: it is no regular file"):
        publish(GATE, output, wanted)
    assert (tmp_path / "b").is_file()
    assert capsys.readouterr().out.endswith("verdict: fail\n")
