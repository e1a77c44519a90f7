"""Help is instant: what does not audit imports neither torch nor onnx, and no command imports more than it says."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

HEAVY = ("torch", "onnx", "onnxruntime", "numpy", "scipy")
_PROBE = """
import sys
from lipaudit.cli import main
code = main(sys.argv[1:])
loaded = [name for name in {heavy!r} if name in sys.modules]
sys.stderr.write(f"{{code}} {{loaded}}")
"""


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["bound", "--help"], 0),
        (["certify", "-h"], 0),
        (["gate", "--help"], 0),
        (["--version"], 0),
        (["explain", "LIP101"], 0),
        (["explain"], 0),
        (["bound", "--no-such-option"], 2),
        (["bound", "m.onnx", "--budget", "soon"], 2),
        (["bound", "m.onnx", "--preprocess", "sale=3"], 2),
        (["gate", "--config", "/no/such/file.toml"], 2),
    ],
)
def test_nothing_heavy_is_imported(arguments: list[str], code: int) -> None:
    probe = [sys.executable, "-c", _PROBE.format(heavy=HEAVY), *arguments]
    done = subprocess.run(probe, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1].endswith(f"{code} []")


def test_help_takes_less_than_half_a_second_of_work() -> None:
    """Counted in modules, not in time: what makes help slow is importing what it does not need."""
    probe = [
        sys.executable,
        "-c",
        "import sys; from lipaudit.cli import main; main(['--help']); print(len(sys.modules))",
    ]
    done = subprocess.run(probe, capture_output=True, text=True, check=True)
    assert int(done.stdout.splitlines()[-1]) < 400


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    """What a shell asks while somebody types `lipaudit baseline w`, and the script that makes it ask."""
    probe = [sys.executable, "-c", "import sys; from lipaudit.cli import main; sys.exit(main(sys.argv[1:]))"]
    typed = {"COMP_WORDS": "lipaudit baseline w", "COMP_CWORD": "2", "_TYPER_COMPLETE_ARGS": "lipaudit baseline w"}
    asked = {
        **os.environ,
        **typed,
        "_LIPAUDIT_COMPLETE": f"complete_{shell}",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    done = subprocess.run(probe, capture_output=True, text=True, check=False, env=asked)
    assert "write" in done.stdout
    assert "diff" not in done.stdout
    assert all(name not in done.stderr for name in HEAVY)
    shown = subprocess.run([*probe, "--show-completion", shell], capture_output=True, text=True, check=True)
    assert "_LIPAUDIT_COMPLETE" in shown.stdout
