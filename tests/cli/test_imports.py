"""Help is instant: what does not audit imports neither torch nor onnx, and no command imports more than it says."""

from __future__ import annotations

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
