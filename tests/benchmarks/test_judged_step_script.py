"""benchmarks/judged_step.py runs and prints one JSON document; how long things take is not asserted."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "judged_step.py"
TINY = {"--size": [700], "--sizes": [50, 200], "--repeats": [1], "--element-steps": [1400], "--memory-steps": [1, 2]}
NUMBA, TORCH = (bool(importlib.util.find_spec(name)) for name in ("numba", "torch"))
ENGINES = ("numpy", "compiled") if NUMBA else ("numpy",)


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    command = [sys.executable, str(SCRIPT), *(str(word) for name, values in TINY.items() for word in (name, *values))]
    finished = subprocess.run(command, cwd=tmp_path_factory.mktemp("benchmark"), capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


def test_machine_facts(document):
    assert document["schema"] == "optconform/benchmark/judged-step/1"
    assert document["machine"]["threads"] == [1, 2]
    assert document["rivals"] == 12


def test_every_contender_is_timed_at_every_number_of_threads(document):
    judged = {f"{what}_{engine}_{n}" for what in ("follow", "judge") for engine in ENGINES for n in (1, 2)}
    torch = {f"torch_{path}_{n}" for path in ("default", "loop", "fused") for n in (1, 2)} if TORCH else set()
    times = document["step"]["ns_per_element_step"]
    assert times.keys() == {"naive_1"} | judged | torch
    assert all(value > 0 for value in times.values())
    assert (document["step"]["elements"], document["step"]["steps"]) == (700, 2)


def test_every_requirement_has_its_figure(document):
    ratios = document["ratios"]
    assert all(f"{engine}_to_naive_1" in ratios for engine in ENGINES)
    assert all(f"{engine}_to_torch_{n}" in ratios for engine in ENGINES for n in (1, 2)) or not TORCH
    assert ("compiled_largest_to_smallest" in ratios) == NUMBA
    assert [each["elements"] for each in document["sizes"]] == [50, 200]


def test_memory(document):
    memory = document["memory"]
    if memory is None:
        pytest.skip("without PyTorch, or on a system that does not tell the memory of a process")
    assert {engine: set(steps) for engine, steps in memory["bytes_per_element"].items()} == {
        engine: {"1", "2"} for engine in ENGINES
    }
