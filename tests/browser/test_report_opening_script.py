"""benchmarks/report_opening.py runs and prints one JSON document; how long things take is not asserted."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("playwright")
pytestmark = pytest.mark.browser

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "report_opening.py"


def test_one_document(tmp_path):
    done = subprocess.run(
        [sys.executable, SCRIPT, "--targets", "3", "--repeats", "1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    document = json.loads(done.stdout)
    assert document["targets"] == 3
    assert document["bytes"] > 1_000_000
    assert set(document["seconds"]) == {"load", "interactive", "first_picture"}
    assert all(value > 0 for value in document["seconds"].values())
