"""The soundness script runs, counts, and can fail: constants that are wrong by little are found."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from optconform.reference import BiasCorrection, Epsilon

FOLDER = Path(__file__).parents[2] / "benchmarks" / "soundness"
ADAMW = "optconform.adapters.numpy_optimizers:AdamW/default"
SGDW = "optconform.adapters.numpy_optimizers:SGDW/default"
ONE_ROUND = ("--elements", "256", "--rounds", "1", "--engine", "numpy")


def run(*arguments, cwd):
    return subprocess.run([sys.executable, str(FOLDER), *arguments], cwd=cwd, capture_output=True, text=True)


@pytest.fixture
def script(monkeypatch):
    """Import the script's modules, and forget them afterwards."""
    monkeypatch.syspath_prepend(str(FOLDER))
    names = [path.stem for path in FOLDER.glob("soundness_*.py")]
    import soundness_case

    yield soundness_case
    for name in names:
        sys.modules.pop(name, None)


def lane_named(name):
    from soundness_table import lanes

    return next(lane for lane in lanes() if lane.name == name)


def planted(script, monkeypatch, change):
    """Let the reference use other hyperparameters than the optimizer."""
    honest = script.reference_of

    def changed(lane, optimizer, drawn):
        hypothesis = honest(lane, optimizer, drawn)
        return replace(hypothesis, options=change(hypothesis.options, lane))

    monkeypatch.setattr(script, "reference_of", changed)


def outside(script, name, cases=3, elements=2048):
    """Return how many steps lay outside in each of the first cases of a lane."""
    counts = [script.Count() for _ in range(cases)]
    found = [
        script.run_case(script.Case(lane_named(name), 0, index, elements, "numpy"), count)
        for index, count in enumerate(counts)
    ]
    assert [len(violations) for violations in found] == [count.steps_outside for count in counts]
    return [count.steps_outside for count in counts]


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    finished = run(*ONE_ROUND, "--only", f"{ADAMW}/*", "--only", f"{SGDW}/*", cwd=tmp_path_factory.mktemp("soundness"))
    assert finished.returncode == 0, finished.stdout[-2000:] + finished.stderr
    assert finished.stderr == ""
    return json.loads(finished.stdout)


def test_totals_are_the_sum_of_the_lanes(document):
    assert document["schema"] == "optconform/benchmark/soundness/1"
    lanes = document["lanes"]
    assert [lane["lane"] for lane in lanes] == [
        f"{spec}/{dtype}" for dtype in ("float64", "float32", "bfloat16", "float16") for spec in (ADAMW, SGDW)
    ]
    for name in ("cases", "steps", "compared", "undecidable", "steps_outside"):
        assert document[name] == sum(lane[name] for lane in lanes)
        assert document[name] == sum(row[name] for row in document["by_framework_and_dtype"])
    assert document["worst_ratio"] == max(lane["worst_ratio"] for lane in lanes)
    assert document["cases"] == 8
    assert document["compared"] + document["undecidable"] == 8 * 8 * 256  # every case has as many elements times steps
    assert document["steps_outside"] == 0
    assert document["violations"] == []
    assert document["known_defects"] == []
    assert document["versions"]["numpy"] == np.__version__


def test_a_seed_says_everything(document, tmp_path):
    again = json.loads(run(*ONE_ROUND, "--only", f"{ADAMW}/float32", cwd=tmp_path).stdout)
    assert again["lanes"] == [lane for lane in document["lanes"] if lane["lane"] == f"{ADAMW}/float32"]


def test_less_than_was_asked_for_is_no_pass(tmp_path):
    finished = run("--seconds", "0", "--only", f"{ADAMW}/*", cwd=tmp_path)
    assert finished.returncode == 3
    assert json.loads(finished.stdout)["compared"] == 0
    assert run(*ONE_ROUND, "--only", "nothing of that name", cwd=tmp_path).returncode == 3


def moved_epsilon(options, lane):
    return replace(options, epsilon=Epsilon.HAT)


def rounded_beta2(options, lane):
    return replace(options, beta2=min(float(np.float16(options.beta2)), 1.0 - 2.0**-11))


def late_correction(options, lane):
    return replace(options, bias_correction=BiasCorrection.OFF_BY_ONE)


def lr_off_by_four_roundings(options, lane):
    return replace(options, lr=options.lr * (1.0 + 4.0 * lane.arithmetic.u))


@pytest.mark.parametrize("change", [moved_epsilon, rounded_beta2, late_correction])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_wrong_constants_are_found(script, monkeypatch, change, dtype):
    planted(script, monkeypatch, change)
    assert any(outside(script, f"{ADAMW}/{dtype}"))


def test_without_a_plant_nothing_is_found(script):
    assert outside(script, f"{ADAMW}/float64") == outside(script, f"{ADAMW}/float32") == [0, 0, 0]


@pytest.mark.torch
def test_a_learning_rate_off_by_four_roundings_is_found(script, monkeypatch):
    pytest.importorskip("torch")
    name = "torch.optim:SGD/loop/float32"
    assert outside(script, name) == [0, 0, 0]
    planted(script, monkeypatch, lr_off_by_four_roundings)
    assert any(outside(script, name))


def test_a_violation_is_told_with_what_repeats_it(script, monkeypatch):
    planted(script, monkeypatch, moved_epsilon)
    case = script.Case(lane_named(f"{ADAMW}/float32"), 5, 2, 512, "numpy")
    first = script.run_case(case, script.Count())[0]
    assert first["ratio"] > 1.0
    assert abs(first["found"] - first["expected"]) > first["bound"]
    assert {"lr", "weight_decay", "beta1", "beta2", "eps", "step", "element", "grad", "theta"} <= first.keys()
    assert first["rerun"].endswith(f"--seed 5 --elements 512 --only '{ADAMW}/float32' --first-case 2 --rounds 1")


def test_a_violation_fails_the_run(script, monkeypatch, capsys):
    planted(script, monkeypatch, moved_epsilon)
    monkeypatch.setattr(sys, "argv", ["soundness"])
    import runpy

    main = runpy.run_path(str(FOLDER / "__main__.py"), run_name="soundness_main")["main"]
    assert main([*ONE_ROUND, "--only", f"{ADAMW}/float32"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["steps_outside"] > 0
    assert 0 < len(found["violations"]) <= 20


@pytest.mark.torch
def test_known_defects_are_counted_apart(tmp_path):
    pytest.importorskip("torch")
    finished = run(*ONE_ROUND, "--only", "torch.optim:SGD/fused/bfloat16", cwd=tmp_path)
    found = json.loads(finished.stdout)
    assert [defect["lane"] for defect in found["known_defects"]] == ["torch.optim:SGD/fused/bfloat16"]
    assert "issues/191763" in found["known_defects"][0]["reason"]
    assert found["compared"] == 0
    assert found["lanes"] == []
    assert found["violations"] == []
