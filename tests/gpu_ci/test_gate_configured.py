"""`optconform gate` with a configuration: its targets are the cases, its baseline is what they are held against."""

import json
from pathlib import Path

import pytest

from optconform.adapters.execution import RUNTIMES
from optconform.conformance.configuration.errors import ConfigurationError
from optconform.conformance.configuration.values import Configuration, ConfiguredTarget
from optconform.conformance.workers.limits import Limits
from optconform.gpu_ci import configured_cases

SGDW = "optconform.adapters.numpy_optimizers:SGDW"
CONFIGURATION = f"""
[tool.optconform]
traces = ["synthetic:mixed"]
baseline = "baselines/cpu.json"
ignore = ["OC411"]

[[tool.optconform.targets]]
target = "{SGDW}"
framework = "numpy"
dtypes = ["float32", "float64"]
set = {{ momentum = 0.5 }}

[[tool.optconform.targets]]
target = "optim.py:Mine"
framework = "numpy"
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text(CONFIGURATION)
    (tmp_path / "optim.py").write_text("from optconform.adapters.numpy_optimizers import AdamW as Mine\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_its_targets_are_held_against_its_baseline(gate, project):
    assert gate() == 2, "there is no baseline yet"
    assert gate("--list") == 0
    assert gate("--update-baseline") == 0
    assert list(json.loads(Path("baselines/cpu.json").read_text())["cases"]) == [
        "numpy/Mine/default/float32/default/synthetic:mixed",
        "numpy/SGDW/momentum=0.5/float32/default/synthetic:mixed",
        "numpy/SGDW/momentum=0.5/float64/default/synthetic:mixed",
    ]
    status, document = gate.document("--strict")
    assert status == 0
    assert document["baseline"]["file"] == str(Path("baselines/cpu.json"))
    assert "findings not counted: OC411" in document["left_out"]
    rerun = document["results"][0]["rerun"]
    assert rerun.startswith("optconform gate optim.py:Mine --framework numpy")


def test_the_command_line_wins(gate, project):
    assert gate("--no-config", "--framework", "numpy", "--list") == 0
    assert "numpy/AdamW/probe/float32" in gate.out
    assert gate("--baseline", "my.json", "--update-baseline", "--dtype", "float64", "--case", "*Mine*") == 0
    assert "my.json" in gate.err + gate.out
    assert gate("--baseline", "my.json", "--rule", "adamw") == 2
    assert "--rule needs a TARGET: those of the configuration have their own" in gate.err
    assert gate("optim.py:Mine", "--config", "pyproject.toml") == 2
    assert "--config does not go with TARGET" in gate.err


def test_a_baseline_knows_files_by_their_path(gate, project, monkeypatch):
    Path("below").mkdir()
    monkeypatch.chdir("below")
    assert gate("--baseline", "new.json", "--update-baseline") == 2
    assert "a baseline knows optim.py:Mine by its path from the folder of the configuration" in gate.err
    assert "run the gate there: cd .." in gate.err


def test_what_cannot_run_here_is_left_out_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(configured_cases, "runtime_present", lambda row: row is not RUNTIMES["jax"])
    configuration = Configuration(
        targets=(ConfiguredTarget("a:B", framework="jax"), ConfiguredTarget(SGDW, framework="numpy"))
    )
    found = configured_cases.cases_of_configuration(configuration, (), (), "gpu:0", Limits())
    assert (found.cases, found.absent) == ((), ("jax",))
    assert found.left_out == ("a:B: jax is not installed", f"{SGDW}: numpy runs on the CPU alone")


def test_the_gate_must_know_the_framework():
    configuration = Configuration(targets=(ConfiguredTarget("my_package.optim:Mine"),))
    with pytest.raises(ConfigurationError, match=r"targets\[0\].framework is missing: the gate cannot tell whose"):
        configured_cases.cases_of_configuration(configuration, (), (), "cpu", Limits())
