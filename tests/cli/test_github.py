"""In GitHub Actions: the recipe of the README from a clean folder, the steps of the action, and the pre-commit hook."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml  # type: ignore[import-untyped]
from junitparser import JUnitXml

from lipaudit.cli import main

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "sample_models"
SCRIPTS = Path(sys.executable).parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A clean checkout: the model and its data under the names of the README."""
    shutil.copy(SAMPLES / "digits_mlp.onnx", tmp_path / "model.onnx")
    with np.load(SAMPLES / "digits_mlp.npz") as data:
        np.savez(tmp_path / "val.npz", x=data["x"][:20], y=data["y"][:20])
    return tmp_path


def block(language: str, after: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", README[README.index(after) :], re.DOTALL)
    assert found is not None
    return found[1]


def surroundings(folder: Path) -> dict[str, str]:
    """What a runner sets, and no more of this machine than it takes to run."""
    files = {name: str(folder / name.lower()) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    for path in files.values():
        Path(path).touch()
    temp = folder / "runner"
    (temp / "lipaudit" / "bin").mkdir(parents=True)
    for name in ("lipaudit", "python"):
        (temp / "lipaudit" / "bin" / name).symlink_to(SCRIPTS / name)
    basic = {"PATH": f"{SCRIPTS}:/usr/bin:/bin", "HOME": str(folder), "OMP_NUM_THREADS": "1", "LANG": "C.UTF-8"}
    return {**basic, **files, "GITHUB_ACTIONS": "true", "CI": "true", "RUNNER_TEMP": str(temp)}


def run(script: str, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_recipe_of_the_readme(folder: Path) -> None:
    (folder / "lipaudit.toml").write_text(block("toml", "## A gate in CI"))
    steps = yaml.safe_load(block("yaml", "## A gate in CI"))["steps"]
    commands = [step["run"] for step in steps if "run" in step]
    assert commands[0] == "pip install lipaudit"
    environment = surroundings(folder)
    for command in commands[1:]:
        done = run(command, folder, environment)
        assert done.returncode == 0, done.stderr
        assert done.stdout.endswith("verdict: pass\n")
    outputs = dict(line.split("=") for line in (folder / "github_output").read_text().splitlines())
    assert outputs["verdict"] == "pass"
    assert float(outputs["lower"]) <= float(outputs["upper"])
    assert "Verdict: **pass**" in (folder / "github_step_summary").read_text()
    assert JUnitXml.fromfile(str(folder / "lipaudit.xml")).failures == 0
    assert (folder / "lipaudit.sarif").is_file()


ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))


def step(number: int, folder: Path, environment: dict[str, str], **given: str) -> subprocess.CompletedProcess[str]:
    """Runs a step of the action with its inputs."""
    inputs = {name: str(spec.get("default", "")) for name, spec in ACTION["inputs"].items()} | given

    def resolved(text: str) -> str:
        return re.sub(r"\$\{\{ inputs\.([a-z-]+) \}\}", lambda m: inputs[m[1]], text)

    chosen = ACTION["runs"]["steps"][number]
    assert "${{" not in chosen["run"]  # an input in a script would be code
    values = {key: resolved(value) for key, value in chosen["env"].items()}
    where = folder / resolved(chosen.get("working-directory", "."))
    return run(chosen["run"], where, environment | values)


def test_the_action(folder: Path) -> None:
    start = block("toml", "## A gate in CI").split("[limits]")[0]
    (folder / "ci.toml").write_text(f"{start}[limits]\nupper = 0.1\n")
    environment = surroundings(folder)
    done = step(1, folder, environment, config="ci.toml", outputs="json:a.json\nmarkdown:b.md\n", models="model.onnx")
    assert done.returncode == 1, done.stderr
    outputs = dict(line.split("=") for line in (folder / "github_output").read_text().splitlines())
    assert (outputs["verdict"], outputs["exit-code"]) == ("fail", "1")
    assert (folder / "a.json").is_file()
    assert (folder / "b.md").is_file()
    assert "::error" in done.stderr
    assert {name: spec["value"] for name, spec in ACTION["outputs"].items()} == {
        name: f"${{{{ steps.gate.outputs.{name} }}}}" for name in ("verdict", "exit-code")
    }


def test_the_inputs_of_the_action_are_data(folder: Path) -> None:
    hostile = '$(touch pwned) "; touch pwned; #\n`touch pwned`\n--help\n'
    done = step(1, folder, surroundings(folder), models=hostile, outputs=hostile, config=hostile)
    assert done.returncode == 2
    assert not (folder / "pwned").exists()


def test_the_action_installs_itself(folder: Path) -> None:
    """With a pip that only says what it was asked for."""
    said = folder / "said"
    stub = folder / "python"
    stub.write_text(
        "#!/bin/bash\n"
        f'printf "%s\\n" "$@" >> {said}\n'
        '[ "$2" != venv ] || { rm -f "$3/bin/python"; mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; }\n'
    )
    stub.chmod(0o755)
    done = step(0, folder, surroundings(folder) | {"ACTION": "/action"}, python=str(stub))
    assert done.returncode == 0, done.stderr
    assert "install" in said.read_text().splitlines()
    assert said.read_text().splitlines()[-1].endswith("[html]")


def test_the_hook(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [hook] = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    assert hook["pass_filenames"] is False
    assert re.search(hook["files"], "models/a.onnx")
    assert re.search(hook["files"], "ci/lipaudit.toml")
    assert re.search(hook["files"], "lipaudit-baseline.toml")
    assert not re.search(hook["files"], "README.md")
    (folder / "lipaudit.toml").write_text(block("toml", "## A gate in CI"))
    monkeypatch.chdir(folder)
    assert main(shlex.split(hook["entry"])[1:]) == 0
    assert {path.name for path in folder.iterdir() if path.suffix in (".xml", ".json")} == set()
