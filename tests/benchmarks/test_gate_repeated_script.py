"""benchmarks/gate_repeated.py: ten runs of the gate on a busy machine raise no alarm."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gate_repeated.py"


def test_ten_runs_on_a_busy_machine_raise_no_alarm(tmp_path):
    done = subprocess.run(
        [sys.executable, SCRIPT, "--runs", "10", "--case", "numpy/AdamW/probe/float32/*", "--busy", "1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    document = json.loads(done.stdout)
    assert (document["runs"], document["alarms"], document["exit_statuses"]) == (10, 0, {"0": 10})
    assert document["cases_run"] == 10 * len(document["cases"]) > 0
    assert document["findings"] == {}
