from __future__ import annotations

import subprocess
import sys

import pytest

from lipaudit.ops.registry import registry
from lipaudit.ops.table import table
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "ops.md"


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == table(), "run: python -m lipaudit.ops.table > docs/ops.md"


def test_the_page_needs_no_onnx() -> None:
    script = "import sys; from lipaudit.ops.table import table; table(); sys.exit('onnx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize("op", registry())
def test_every_op_says_its_gain(op: str) -> None:
    assert registry()[op].summary, f"the first line of {op}'s parser is its gain rule"
    assert f"| {op} |" in table()
