"""benchmarks/recording.py, with a model of some hundred parameters: what it prints fits together."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytestmark = pytest.mark.torch

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "recording.py"
SMALL = ("--width", "8", "--layers", "1", "--words", "20", "--batch", "1", "--length", "3", "--steps", "2")


def test_the_document_holds_every_round_and_what_is_required(tmp_path):
    command = [sys.executable, str(SCRIPT), *SMALL, "--rounds", "1"]
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert not list(tmp_path.iterdir())
    document = json.loads(finished.stdout)
    seconds, medians = document["seconds_per_step"], document["medians"]
    assert list(seconds) == ["plain", "sampled", "full", "recorder", "safetensors"]
    assert [len(rounds) for rounds in seconds.values()] == [1, 1, 1, 2, 2], "rounds, and steps of all rounds"
    assert all(min(rounds) > 0.0 for rounds in seconds.values())
    assert medians == {name: statistics.median(rounds) for name, rounds in seconds.items()}
    assert document["sample_adds"] == medians["sampled"] / medians["plain"] - 1.0
    assert document["recorder_over_safetensors"] == medians["recorder"] / medians["safetensors"]
    at_best = min(seconds["recorder"]) / min(seconds["safetensors"])
    assert document["recorder_over_safetensors_at_best"] == at_best
    met = document["sample_adds"] <= 0.03 and max(document["recorder_over_safetensors"], at_best) <= 1.5
    assert document["requirement"]["met"] == met
