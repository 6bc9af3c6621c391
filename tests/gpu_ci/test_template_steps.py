"""The shell steps of the templates, executed in a new project with the CPU standing in for the device.

What the actions do is left out, and so is the one step that installs: the commands are those that the tests run with.
"""

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.torch

TEMPLATES = Path(__file__).resolve().parents[2] / "gpu_ci" / "templates"
INSTALLS = "python -m pip install tox"
CASES = "--case torch/SGD/probe/float32/loop/*"


@pytest.fixture
def project(tmp_path):
    """A new project with the templates, and beside it the commands that are not installed."""
    folder = tmp_path / "project"
    workflows = folder / ".github" / "workflows"
    workflows.mkdir(parents=True)
    shutil.copy(TEMPLATES / "github-actions.yml", workflows / "gate.yml")
    shutil.copy(TEMPLATES / "gitlab-ci.yml", folder / ".gitlab-ci.yml")
    shutil.copy(TEMPLATES / "tox.ini", folder)
    commands = tmp_path / "bin"
    commands.mkdir()
    packages, python = shlex.quote(os.environ.get("PYTHONPATH", "")), shlex.quote(sys.executable)
    for name in ("tox", "optconform"):
        (commands / name).write_text(f'#!/bin/sh\nPYTHONPATH={packages} exec {python} -m {name} "$@"\n')
        (commands / name).chmod(0o755)
    return folder


def run_scripts(project, scripts, variables):
    """Execute `scripts` as a runner does, up to the first that fails, and return what became of the last."""
    assert scripts
    environment = {
        "PATH": f"{project.parent / 'bin'}:{os.environ['PATH']}",
        "HOME": str(project.parent),
        "CI": "true",
        # tox makes its environment, and installs nothing there: it finds the command outside.
        "TOX_SKIP_PKG_INSTALL": "1",
        "TOX_SKIP_ENV_INSTALL": "1",
        "TOX_OVERRIDE": "testenv:gpu-torch.allowlist_externals=optconform",
    }
    for script in scripts:
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
            cwd=project,
            env=environment | variables,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode:
            break
    return done


def run_workflow(project, options, **variables):
    """Execute the steps of the workflow for GitHub, for PyTorch."""
    workflow = yaml.safe_load((project / ".github" / "workflows" / "gate.yml").read_text(encoding="utf-8"))
    (job,) = workflow["jobs"].values()
    assert job["defaults"] == {"run": {"shell": "bash"}}
    steps = [step for step in job["steps"] if "run" in step]
    steps.remove({"name": "Install tox", "run": INSTALLS})
    (step,) = steps
    expressions = {"${{ matrix.environment }}": "gpu-torch", "${{ inputs.options }}": options}
    given = {name: expressions[value] for name, value in step["env"].items()}
    runner = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(project.parent / "summary.md")}
    return run_scripts(project, [step["run"]], runner | workflow["env"] | given | variables)


def test_they_make_a_baseline_and_hold_the_next_run_against_it(project):
    first = run_workflow(project, f"--update-baseline {CASES}", OPTCONFORM_DEVICE="cpu")
    assert first.returncode == 0, first.stdout + first.stderr
    assert [path.name for path in (project / "gpu_ci" / "baselines").iterdir()] == ["cpu.json"]

    second = run_workflow(project, CASES, OPTCONFORM_DEVICE="cpu")
    shown = second.stdout + second.stderr
    assert second.returncode == 0, shown
    left = project / "gate-output" / "gate-gpu-torch"
    assert {"gate.json", "junit.xml", "summary.md"} <= {path.name for path in left.iterdir()}
    document = json.loads((left / "gate.json").read_text(encoding="utf-8"))
    assert document["counts"]["ran"] == 1
    assert document["place"]["device"] == document["place"]["device_class"] == "cpu"
    # The CPU only stood in for the device, and every report says so.
    assert "device cpu" in (project.parent / "summary.md").read_text(encoding="utf-8")
    assert "device cpu" in shown
    assert "::notice" in shown


def test_a_device_that_is_not_there_fails_the_step(project):
    if torch.cuda.is_available():
        pytest.skip("a device is there")
    done = run_workflow(project, CASES)
    assert done.returncode == 3
    assert "--require cuda" in done.stderr + done.stdout


def test_the_script_for_gitlab_reaches_the_gate(project):
    pipeline = yaml.safe_load((project / ".gitlab-ci.yml").read_text(encoding="utf-8"))
    assert pipeline["gate"]["before_script"] == [INSTALLS]
    given = {
        name: value["value"] if isinstance(value, dict) else value for name, value in pipeline["variables"].items()
    }
    own = {"GATE_ENVIRONMENTS": "gpu-torch", "GATE_OPTIONS": f"--list {CASES}", "OPTCONFORM_DEVICE": "cpu"}
    # A runner executes the lines as one script.
    done = run_scripts(project, ["\n".join(pipeline["gate"]["script"])], given | own)
    assert done.returncode == 0, done.stdout + done.stderr
    listed = [line for line in done.stdout.splitlines() if line.startswith("torch/")]
    (wanted,) = re.findall("--case (.*)", CASES)
    assert listed
    assert fnmatch.filter(listed, wanted) == listed
