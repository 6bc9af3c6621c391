"""The benchmark runs and prints one JSON document of the promised shape. Times are not judged here."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "reference_replay.py"
TINY = ["--sizes", "50", "200", "--repeats", "2", "--element-steps", "400"]
MEMORY = ["--memory-elements", "64", "--memory-steps", "2", "20"]


def run(*arguments, cwd):
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], cwd=cwd, capture_output=True, text=True)


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    finished = run(*TINY, *MEMORY, cwd=tmp_path_factory.mktemp("benchmark"))
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


def test_machine_facts(document):
    facts = document["machine"]
    assert document["schema"] == "optconform/benchmark/reference-replay/1"
    assert facts["threads"] == 1
    assert facts["cores"] >= 1
    assert facts["cpu"]
    assert facts["versions"]["numpy"]


def test_every_contender_is_timed_at_every_size(document):
    names = {"naive", "numpy_sqrt", "replay_numpy"}
    if importlib.util.find_spec("numba"):
        names |= {"replay_compiled"}
    if importlib.util.find_spec("torch"):
        names |= {"torch_float32", "torch_float64"}
    assert [(size["elements"], size["steps"]) for size in document["sizes"]] == [(50, 8), (200, 3)]
    for size in document["sizes"]:
        assert size["ns_per_element_step"].keys() == size["ratio_to_naive"].keys() == names
        assert all(value > 0 for value in size["ns_per_element_step"].values())
        assert size["ratio_to_naive"]["naive"] == 1.0


def test_requirement_is_judged_only_where_numba_is(document):
    requirement = document["requirement"]
    assert requirement["replay_compiled_to_naive_at_most"] == 0.45
    assert (requirement["met"] is None) == (importlib.util.find_spec("numba") is None)


def test_memory(document):
    memory = document["memory"]
    if memory is None:
        pytest.skip("this system does not tell the resident anonymous memory of a process")
    assert memory["trace_bytes"] == {"2": 512, "20": 5120}
    assert memory["growth_bytes"].keys() == {"2", "20"}


@pytest.fixture
def script(monkeypatch):
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        monkeypatch.setenv(name, "1")  # the script sets them; the test's own environment gets them back
    spec = importlib.util.spec_from_file_location("reference_replay_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_memory_that_grows_is_seen(script, monkeypatch):
    """A replay that keeps what it has read: 200 steps of 80,000 float64 are 128 MB.

    Half of that has to show: what tests before this one gave up is used again first (13 MB were seen).
    """

    def hoard(rule, theta, read_block, options, multipliers):
        return [read_block(step, 0, theta.size).astype(np.float64) for step in range(1, len(multipliers) + 1)]

    monkeypatch.setattr(script, "replay", hoard)
    memory = script.memory_growth(80_000, (10, 200))
    if memory is None:
        pytest.skip("this system does not tell the resident anonymous memory of a process")
    assert memory["growth_bytes"]["200"] > 64_000_000


def test_contenders_take_the_same_steps(script):
    """What is compared for speed computes the same parameters."""
    rng = np.random.default_rng(5)
    theta, grads = rng.standard_normal(100), [rng.standard_normal(100) for _ in range(2)]
    np.testing.assert_allclose(
        script.naive_adamw(theta, grads, 20), script.replayed(theta, grads, 20, "numpy"), rtol=1e-12, atol=1e-14
    )
