"""A gate in (a simulated) GitHub Actions: annotations on stderr, the summary appended, stdout as everywhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lipaudit.cli import actions
from lipaudit.cli.options import Output
from lipaudit.cli.output import publish
from lipaudit.errors import UsageError
from lipaudit.render.github import GithubReporter
from lipaudit.render.markdown import MarkdownReporter
from lipaudit.render.text import TextReporter
from tests.render.reports import BOUND, GATE, GROUP, up


@pytest.fixture
def summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "summary.md"
    path.write_text("# What another step said\n")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    return path


@pytest.mark.parametrize("report", [GATE, GROUP], ids=["one", "several"])
def test_a_gate_annotates_and_summarises(summary: Path, report: type, capsys: pytest.CaptureFixture[str]) -> None:
    assert publish(report, Output(), []) == 1  # type: ignore[arg-type]
    said = capsys.readouterr()
    assert said.out == TextReporter().render(report)  # type: ignore[arg-type]
    assert said.err == GithubReporter().render(report)  # type: ignore[arg-type]
    assert summary.read_text() == f"# What another step said\n{MarkdownReporter().render(report)}\n"  # type: ignore[arg-type]


def test_only_there_only_a_gate_and_never_twice(
    summary: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(BOUND, Output(), [])
    assert capsys.readouterr().err == ""
    publish(GATE, Output(output_format="github"), [])
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out == GithubReporter().render(GATE)
    publish(GATE, Output(quiet=True), [])
    assert capsys.readouterr().err == ""
    before = summary.read_text()
    monkeypatch.setenv("GITHUB_ACTIONS", "false")
    publish(GATE, Output(), [])
    assert summary.read_text() == before


def test_a_summary_that_is_too_long_keeps_the_verdict(summary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = replace(GATE, layers=tuple(replace(GATE.layers[0], node=f"n{n}", gain=up(2.0)) for n in range(100)))
    monkeypatch.setattr(actions, "LARGEST_SUMMARY", 2000)
    publish(long, Output(), [])
    text = summary.read_text()
    assert "too long" in text
    assert text.endswith("Verdict: **fail**\n\n")
    assert len(text) < 2000


def test_a_summary_that_cannot_be_written_is_an_error(summary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary.parent / "no" / "file"))
    with pytest.raises(UsageError, match="cannot write"):
        publish(GATE, Output(), [])
