"""Colours, width, exit codes and progress: decided by the options and the report, not by luck."""

from __future__ import annotations

import io
import math
import sys
import time
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from lipaudit.cli import output as module
from lipaudit.cli import progress as progress_module
from lipaudit.cli.certify import telling_radii, with_radii
from lipaudit.cli.data import npz_bytes
from lipaudit.cli.options import Format, Output
from lipaudit.cli.output import exit_code, publish, targets
from lipaudit.cli.progress import progress
from lipaudit.errors import UsageError
from lipaudit.render import FORMATS, PER_SAMPLE
from lipaudit.report.finding import Finding
from lipaudit.report.report import AuditReport, Radii
from tests.render.reports import BOUND, CERTIFY, GATE, GROUP, INFINITE, LOCAL, REFUSED

BROKEN = Finding("LIP901", "product", "contradicted")


@pytest.mark.parametrize(
    ("report", "code"),
    [
        (BOUND, 0),
        (LOCAL, 0),
        (CERTIFY, 0),
        (INFINITE, 3),
        (replace(BOUND, upper=None), 3),
        (REFUSED, 3),
        (replace(REFUSED, command="check", findings=()), 0),
        (GATE, 1),
        (GROUP, 1),
        (replace(GATE, verdict="pass"), 0),
        (replace(GATE, verdict="inconclusive"), 3),
        (replace(GATE, verdict=None), 3),
        (replace(BOUND, findings=(BROKEN,)), 4),
        (replace(GATE, verdict="pass", findings=(BROKEN,)), 4),
    ],
)
def test_exit_codes(report: AuditReport, code: int) -> None:
    assert exit_code(report) == code


class Terminal(io.StringIO):
    """A stream that a person is looking at."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("option", "tty", "environment", "colored"),
    [
        ("auto", True, {}, True),
        ("auto", False, {}, False),
        ("auto", True, {"NO_COLOR": "1"}, False),
        ("auto", True, {"NO_COLOR": ""}, True),
        ("auto", True, {"TERM": "dumb"}, False),
        ("auto", False, {"CLICOLOR_FORCE": "1"}, True),
        ("auto", False, {"CLICOLOR_FORCE": "0"}, False),
        ("auto", False, {"CLICOLOR_FORCE": "1", "NO_COLOR": "1"}, False),
        ("always", False, {"NO_COLOR": "1"}, True),
        ("never", True, {"CLICOLOR_FORCE": "1"}, False),
    ],
)
def test_colours(
    monkeypatch: pytest.MonkeyPatch, option: str, tty: bool, environment: dict[str, str], colored: bool
) -> None:
    for name in ("NO_COLOR", "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    stream = Terminal() if tty else io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    publish(BOUND, Output(color=option), [])  # type: ignore[arg-type]
    assert ("\x1b[" in stream.getvalue()) == colored


@pytest.mark.parametrize(("columns", "width"), [(None, 80), ("120", 120), ("10", 60), ("99999", 240), ("x", 80)])
def test_width(monkeypatch: pytest.MonkeyPatch, columns: str | None, width: int) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    assert module._width() == width


def test_an_ascii_stream_gets_the_whole_report(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    assert publish(BOUND, Output(), []) == 0
    stream.flush()
    assert b"\\u2588" in raw.getvalue()


def test_arrays_of_samples() -> None:
    assert LOCAL.samples is not None
    kept = replace(LOCAL, samples=replace(LOCAL.samples, directions=np.ones((101, 1, 64))))
    content = npz_bytes(kept)
    assert content is not None
    with np.load(io.BytesIO(content)) as arrays:
        assert set(arrays) == {"norm", "direction"}
        assert np.array_equal(arrays["norm"], LOCAL.samples.values)
    assert npz_bytes(REFUSED) is None


def test_formats_of_samples_are_refused_where_there_are_none() -> None:
    for kind in PER_SAMPLE:
        with pytest.raises(UsageError, match="one row a sample"):
            targets(Output(output_format=kind), [])  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="is not FORMAT:PATH"):
            targets(Output(files=[f"{kind}:x"]), [])
    assert targets(Output(output_format="csv"), [], data=PER_SAMPLE) == []


def test_every_format_is_an_option() -> None:
    assert get_args(Format) == tuple(FORMATS)


def test_telling_radii() -> None:
    asked = with_radii(CERTIFY)
    assert asked.certified_at == (0.1, 0.25)
    found = with_radii(replace(CERTIFY, certified_at=())).certified_at
    assert found == (0.13, 0.28, 0.52, 0.76, 0.9)
    values = np.array([0.0, math.inf, 0.5])
    assert telling_radii(Radii("x", values, np.array([False, True, True]), (0.0, 0.0), "m")) == (0.5,)
    assert telling_radii(Radii("x", values, np.zeros(3, dtype=bool), (0.0, 0.0), "m")) == ()


def test_no_progress_without_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream, output in (
        (io.StringIO(), Output()),
        (Terminal(), Output(quiet=True)),
        (Terminal(), Output(no_progress=True)),
    ):
        monkeypatch.setattr(sys, "stderr", stream)
        with progress(output) as tell:
            assert tell is None


@pytest.mark.parametrize(("patience", "shown"), [(60.0, False), (0.0, True)])
def test_a_bar_is_for_long_work(monkeypatch: pytest.MonkeyPatch, patience: float, shown: bool) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress_module, "PATIENCE", patience)
    with progress(Output()) as tell:
        assert tell is not None
        for done in range(3):
            tell("upper bound: [bold]x[/y]", done, 3)
            time.sleep(0.1)
    assert ("upper bound: [bold]x[/y]" in stream.getvalue()) == shown
