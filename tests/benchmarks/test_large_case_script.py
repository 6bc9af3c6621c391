"""benchmarks/large_case.py runs and prints one JSON document; how long things take is not asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "large_case.py"
TINY = ("--framework", "torch", "--elements", "2000", "--sample", "300", "--steps", "2", "--rounds", "1")

pytestmark = pytest.mark.torch


def test_document(tmp_path):
    pytest.importorskip("torch")
    command = [sys.executable, str(SCRIPT), *TINY, "--ways", "sample_on_device"]
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    document = json.loads(finished.stdout)
    assert document["schema"] == "optconform/benchmark/large-case/1"
    assert document["machine"]["versions"]["torch"]
    (case,) = document["cases"]
    assert (case["framework"], case["elements"], case["sample"], case["steps"]) == ("torch", 2000, 300, 2)
    assert case["ratios"].keys() == {"sample_on_device"}
    assert all(seconds > 0 for seconds in case["seconds"].values())
    assert case["conforms"] is True
    assert case["place"]["name"]
    assert case["flags"]
