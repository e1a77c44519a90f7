"""Every fault is one line on stderr and the documented exit code; stdout stays empty."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lipaudit.cli import main
from lipaudit.errors import InternalError, InvalidInput, Unsupported

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration of the surroundings speaks here."""
    monkeypatch.chdir(tmp_path)


def fails(capsys: Captured, *arguments: str) -> tuple[int, str]:
    code = main(arguments)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("lipaudit: error: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    return code, err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["bnd"], "No such command 'bnd'. Did you mean 'bound'? (see lipaudit --help)"),
        (["bound", "m", "--fo"], "No such option: --fo"),
        (["bound", "m", "--norm", "l3"], "'l3' is neither l1, l2 or linf nor a pair"),
        (["bound"], "give a MODEL"),
        (["bound", "nope.onnx"], "model nope.onnx does not exist"),
        (["bound", "m", "--domain", "1"], "--domain '1' is neither"),
        (["bound", "m", "--domain", "2,1"], "--domain '2,1' is neither"),
        (["bound", "m", "--domain", "0,nan"], "--domain '0,nan' is neither"),
        (["bound", "m", "--domain", "no.npz"], "domain no.npz does not exist"),
        (["bound", "m", "--shape", "x"], "--shape 'x' is not NAME"),
        (["bound", "m", "--shape", "x=0"], "--shape 'x=0' is not NAME"),
        (["bound", "m", "--budget", "0s"], "'0s' is no duration"),
        (["bound", "m", "--precision", "0"], "--precision '0' is not a number from 1e-9 to 1"),
        (["bound", "m", "--precision", "nan"], "--precision 'nan' is not"),
        (["bound", "m", "--memory", "2"], "'2' is no size of memory"),
        (["bound", "m", "--memory", "0GB"], "'0GB' is no size of memory"),
        (["bound", "m", "--norm", "linf:"], "--norm 'linf:' is neither"),
        (["bound", "m", "--preprocess", "scale=0"], "must be positive"),
        (["bound", "m", "--preprocess", "mean=1;mean=2"], "is none of"),
        (["bound", "m", "--method", "a,,b"], "has an empty name"),
        (["bound", "m", "--seed", "-1"], "--seed"),
        (["bound", "m", "-o", "json"], "-o 'json' is not FORMAT:PATH"),
        (["bound", "m", "-o", "csv:x.csv"], "is not FORMAT:PATH with a format of text, json, markdown"),
        (["bound", "m", "-o", "json:no/folder/x.json"], "there is no folder no/folder"),
        (["bound", "m", "-o", "json:a", "-o", "text:a"], "two reports cannot be one file"),
        (["bound", "m", "-o", f"json:{os.devnull}"], "no regular file"),
        (["local", "m"], "local needs --inputs"),
        (["local", "m", "--inputs", "x.npy", "--directions"], "add -o npz:PATH"),
        (["local", "m", "--inputs", "x.npy", "--radius", "0"], "--radius 0.0 is not a positive number"),
        (["certify", "m", "--inputs", "x.npy"], "certify needs --labels"),
        (["certify", "m", "--inputs", "x.npy", "--labels", "y.npy", "--method", "sideways"], "--method"),
        (["certify", "m", "--inputs", "x.npy", "--labels", "y.npy", "--radius", "-1"], "--radius"),
        (["gate"], "gate needs a policy"),
        (["gate", "--config", "no.toml"], "no.toml does not exist"),
        (["explain", "bund"], "did you mean 'bound'?"),
    ],
)
def test_usage(capsys: Captured, arguments: list[str], said: str) -> None:
    code, err = fails(capsys, *arguments)
    assert code == 2
    assert said in err


def raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr("lipaudit.cli.bound.resolve", refuse)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InvalidInput("no model"), 2, "no model"),
        (Unsupported("no rule"), 3, "no rule"),
        (InternalError("we disagree"), 4, "we disagree"),
        (RuntimeError("oh\nno \x1b[2J"), 4, r"internal error, please report: RuntimeError: oh\x0ano \x1b[2J (--debug"),
        (MemoryError(), 3, "out of memory"),
        (PermissionError(13, "Permission denied", "x.json"), 2, "x.json: Permission denied"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_exceptions(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, said: str
) -> None:
    raising(monkeypatch, error)
    if isinstance(error, KeyboardInterrupt):
        assert main(["bound"]) == 130
        return
    assert fails(capsys, "bound") == (code, f"lipaudit: error: {said}" + fails_rest(said))


def fails_rest(said: str) -> str:
    if said.endswith("(--debug"):
        return " shows the traceback)\n"
    return ": nothing was decided\n" if said == "out of memory" else "\n"


def test_debug_shows_the_traceback(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    raising(monkeypatch, RuntimeError("oh"))
    assert main(["bound", "--debug"]) == 4
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.endswith("(--debug shows the traceback)\n")


def test_a_reader_that_leaves_is_no_error() -> None:
    for arguments in ("explain", "--help", "bound --help", "--version"):
        command = f"{sys.executable} -m lipaudit.cli {arguments} | true; exit ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_error() -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "lipaudit.cli", "explain"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "lipaudit: error: cannot print the report: No space left on device\n"


def test_version_and_help(capsys: Captured) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("lipaudit 0.")
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for command in ("bound", "local", "certify", "gate", "check", "explain"):
        assert f"\n  {command} " in out
    assert "..." not in out.split("Commands:")[1]


def test_explain(capsys: Captured) -> None:
    assert main(["explain", "lip203"]) == 0
    assert capsys.readouterr().out.startswith("LIP203 undeclared preprocessing (error)\n")
    assert main(["explain", "Bracket"]) == 0
    assert "lower end is attained" in " ".join(capsys.readouterr().out.split())
    assert main(["explain"]) == 0
    out = capsys.readouterr().out
    assert "LIP901" in out
    assert "witness" in out
